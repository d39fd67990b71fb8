"""The Synthesis window with the library and the model that ship: a head in the scene, Apply, the PET over it."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

from DualGlowLib.scans import load_template, resample
from loaded import SYNTHESIS, host, slicer

# Left-handed, axes in another order, turned; as scanners write them.
LATTICE = np.array([[0.0, -1.9, -0.6, 85.0], [0.0, 0.6, -1.9, 95.0], [-3.0, 0.0, 0.0, 90.0], [0.0, 0.0, 0.0, 1.0]])
SHAPE = (60, 100, 115)


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    template = load_template().t1
    return resample(template.data, template.affine, SHAPE, LATTICE)


def test_apply_puts_the_pet_over_the_head(head: np.ndarray) -> None:
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    volume = slicer.util.addVolumeFromArray(head.transpose(2, 1, 0), LATTICE, "Head")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    window = SYNTHESIS.open()
    try:
        window.ui.ageSlider.value = 60
        window.ui.applyButton.click()
        assert host.slot_errors == []
        young = window._parameterNode.outputVolume
        assert young.GetName() == "Head synthetic FDG"
        first = slicer.util.arrayFromVolume(young).copy()
        window.ui.ageSlider.value = 90
        window.ui.applyButton.click()
        assert window._parameterNode.outputVolume is young  # running again updates the same node
        second = slicer.util.arrayFromVolume(young)
    finally:
        SYNTHESIS.close(window)
    matrix, expected = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    young.GetIJKToRASMatrix(matrix)
    volume.GetIJKToRASMatrix(expected)
    assert np.array_equal(slicer.util.arrayFromVTKMatrix(matrix), slicer.util.arrayFromVTKMatrix(expected))
    assert young.GetParentTransformNode() is transform
    assert young.GetAttribute("DualGlow.Synthetic") == "true"
    assert young.GetAttribute("DualGlow.Age") == "90"
    assert len(young.GetAttribute("DualGlow.BundleSHA256")) == 64

    template = load_template()
    grey, white = (
        resample(tissue.data, tissue.affine, SHAPE, LATTICE).transpose(2, 1, 0) for tissue in (template.gm, template.wm)
    )
    brain = head.transpose(2, 1, 0) > 0
    assert first[grey > 0.8].mean() > 1.3 * first[white > 0.95].mean()
    assert first[brain].sum() > 0.97 * first.sum()
    assert second[brain].mean() < 0.98 * first[brain].mean()
