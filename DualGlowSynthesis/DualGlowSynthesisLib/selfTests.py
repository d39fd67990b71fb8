"""What the module must do in Slicer, on data that ships with it; run by Slicer's self-tests and by the test host."""

import time
import unittest

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from DualGlowLib.resources import resource
from DualGlowSlicerLib import dependencies, volumes

from .nodes import results

__all__ = ["CASES", "synthesisOfTheTemplate", "volumeToScanAndBack"]

PATIENCE_SECONDS = 300


def volumeToScanAndBack() -> None:
    """Voxels and geometry survive the way into the library and out, for an oblique volume under a transform."""
    axes = np.array([[0.0, -0.8, 0.6, 10], [0.0, 0.6, 0.8, -20], [-1.5, 0.0, 0.0, 30], [0, 0, 0, 1]])
    voxels = np.arange(60.0).reshape(3, 4, 5)
    volume = slicer.util.addVolumeFromArray(voxels, axes, "T1")
    volume.SetAndObserveTransformNodeID(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode").GetID())
    scan = volumes.scanFromVolume(volume)
    assert scan.data[4, 3, 2] == voxels[2, 3, 4]
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    volumes.updateVolumeFromScan(copy, scan, volume)
    assert np.array_equal(slicer.util.arrayFromVolume(copy), voxels)
    assert copy.GetTransformNodeID() == volume.GetTransformNodeID()
    assert np.allclose(volumes.scanFromVolume(copy).affine, axes)


def synthesisOfTheTemplate() -> None:
    """Load the sample T1, cancel, apply, look at the PET and at the views, move the age; close the scene."""
    volume, widget = _begin()
    try:
        _cancel(widget)
        widget.ui.ageSlider.value = 60
        output = _apply(widget)
        assert output.GetName() == f"{volume.GetName()} synthetic FDG"
        assert np.array_equal(volumes.affineOf(output), volumes.affineOf(volume))
        assert output.GetAttribute("DualGlow.Synthetic") == "true"
        assert output.GetAttribute("DualGlow.Age") == "60"
        pet, inside = slicer.util.arrayFromVolume(output), slicer.util.arrayFromVolume(volume) > 0
        assert pet.shape == inside.shape
        assert np.isfinite(pet).all()
        assert 0.5 < pet[inside].mean() < 2.0
        assert pet[inside].sum() > 0.95 * pet.sum()
        assert results.resultOf(output, "table").GetTable().GetNumberOfRows() > 1
        _lookAtViews(volume, output)
        young = float(pet[inside].mean())
        widget.ui.ageSlider.value = 90
        _wait(lambda: output.GetAttribute("DualGlow.Age") == "90")
        assert float(slicer.util.arrayFromVolume(output)[inside].mean()) < 0.99 * young
        assert widget.ui.outputSelector.currentNode() is output
        slicer.mrmlScene.Clear()
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    finally:
        _end(widget)


CASES = (volumeToScanAndBack, synthesisOfTheTemplate)


def _begin() -> tuple:
    """The sample T1 in the scene, and the module's widget, shown.

    Raises:
        unittest.SkipTest: if a package is missing, as in a Slicer where the module was never used.
    """
    missing = dependencies.missingPackages()
    if missing:
        raise unittest.SkipTest(dependencies.missingText(missing))
    volume = slicer.util.loadVolume(str(resource("Template", "mni152_t1.nii.gz")))
    widget = slicer.util.getModuleWidget("DualGlowSynthesis")
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("DualGlowSynthesis")
    else:
        widget.enter()
    widget.ui.inputSelector.setCurrentNode(volume)
    assert widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip
    return volume, widget


def _end(widget) -> None:
    widget.window.engine.close()
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("Volumes")
    else:
        widget.exit()


def _nodeNames() -> list[str]:
    nodes = (slicer.mrmlScene.GetNthNode(index) for index in range(slicer.mrmlScene.GetNumberOfNodes()))
    return [f"{node.GetID()} {node.GetName()}" for node in nodes]


def _cancel(widget) -> None:
    """Cancel ends the computation soon, and no node is new."""
    before = _nodeNames()
    widget.ui.applyButton.click()
    _wait(lambda: widget.window.engine.client.isRunning and widget.ui.progressBar.value > 0)
    widget.ui.applyButton.click()
    _wait(lambda: not widget.window.run.isBusy)
    assert _nodeNames() == before, set(_nodeNames()) ^ set(before)
    assert widget.ui.applyButton.text == _("Apply")


def _apply(widget):
    """Press the button and wait; gives the output."""
    widget.ui.applyButton.click()
    assert widget.ui.applyButton.text == _("Cancel"), widget.ui.statusLabel.text
    _wait(lambda: not widget.window.run.isBusy)
    output = widget.ui.outputSelector.currentNode()
    assert output is not None, widget.ui.statusLabel.text
    return output


def _wait(condition) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "The computation takes too long."
        slicer.app.processEvents()
        time.sleep(0.005)


def _lookAtViews(volume, output) -> None:
    """The output lies over the volume in every view, in colour, with a legend that says what it is."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    for view in views:
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (volume.GetID(), output.GetID())
        assert view.GetForegroundOpacity() > 0
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(output)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "SUVR"
    manager = slicer.app.layoutManager()
    logics = manager.mrmlSliceLogics() if manager is not None else vtk.vtkCollection()
    for index in range(logics.GetNumberOfItems()):
        logic = logics.GetItemAsObject(index)
        colors = _pixels(logic)
        if colors.size < 10000:  # a view that is not on the screen
            continue
        spread = colors[..., :3].max(axis=-1).astype(int) - colors[..., :3].min(axis=-1)
        assert (spread > 20).mean() > 0.02, f"No colour in {logic.GetName()}."


def _pixels(logic) -> np.ndarray:
    """What a slice view draws of its volumes, uint8 (rows, columns, 4)."""
    port = logic.GetImageDataConnection()
    port.GetProducer().Update()
    image = port.GetProducer().GetOutputDataObject(port.GetIndex())
    columns, rows, _slices = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1).copy()
