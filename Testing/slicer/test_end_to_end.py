"""The Synthesis window with its real worker and the model that ships: heads in, PETs over them, seen in the views."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from PySide6.QtWidgets import QApplication

from DualGlowLib.atlas.template import load_template
from DualGlowLib.volumes.morphology import filled
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from host import Gaps, gestures, pump, views
from loaded import SYNTHESIS, host, slicer

from DualGlowSlicerLib import volumes  # isort: skip
from DualGlowSynthesisLib.nodes import marks  # isort: skip
from DualGlowSynthesisLib.nodes.results import resultOf  # isort: skip

WAIT = 300  # seconds; far more than it takes


@pytest.fixture(scope="module")
def worker():
    """One worker for all windows of this file: it takes seconds to start."""
    from DualGlowSynthesisLib.window.engine import Engine

    engine = Engine()
    engine.client.request("devices")  # starts it here, so that no test is taken for leaving it behind
    assert pump(until=lambda: not engine.client.isBusy, timeout=WAIT)
    yield engine
    engine.close()


@pytest.fixture
def module(worker, monkeypatch: pytest.MonkeyPatch):
    import DualGlowSynthesis
    from DualGlowSynthesisLib.window.window import Window

    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    monkeypatch.setattr(worker, "close", worker.forget)  # it outlives the window
    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, worker))
    widget = SYNTHESIS.open()
    yield widget
    SYNTHESIS.close(widget)
    pump(until=lambda: not worker.client.isBusy, timeout=WAIT)
    assert host.slot_errors == []


@pytest.fixture(scope="module")
def template_head():
    """The template at 2 mm: scanner axes in another order, left-handed and turned, so that nothing is at rest."""
    lattice = np.array([[0.0, -1.9, -0.6, 85.0], [0.0, 0.6, -1.9, 95.0], [-3.0, 0.0, 0.0, 90.0], [0, 0, 0, 1.0]])
    template = load_template()
    return tuple(
        resample(image.data, image.affine, (60, 100, 115), lattice) for image in (template.t1, template.gm, template.wm)
    ), lattice


def finish(module) -> None:
    assert pump(until=lambda: not module.window.run.isBusy, timeout=WAIT)


def settled(module, **choices) -> bool:
    """Whether the result shown is the exact one for these choices."""
    output = module._parameterNode.outputVolume
    about = {} if output is None else volumes.provenanceOf(output)
    agrees = output is not None and not module.window.run.disagreements()
    return agrees and all(about[name.capitalize()] == value for name, value in choices.items())


def seen() -> np.ndarray:
    """The view Red without words: neither its lower edge, where Slicer writes names, nor our own mark."""
    actors = marks.install()._actors.values()
    shown = [actor.GetVisibility() for actor in actors]
    for actor in actors:
        actor.SetVisibility(False)
    picture = views.render("Red", 300, 300)[:250].astype(int)
    for actor, was in zip(actors, shown, strict=True):
        actor.SetVisibility(was)
    return picture


def voxels(node) -> np.ndarray:
    return slicer.util.arrayFromVolume(node).transpose(2, 1, 0)


def turned() -> object:
    """A transform that turns and shifts."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn = vtk.vtkTransform()
    turn.RotateX(20)
    turn.RotateZ(-15)
    turn.Translate(12, -7, 30)
    transform.SetMatrixTransformToParent(turn.GetMatrix())
    return transform


def add_head(data: np.ndarray, affine: np.ndarray, name: str = "Head"):
    return slicer.util.addVolumeFromArray(data.transpose(2, 1, 0), affine, name)


# ---------------------------------------------------------------------------------------------- a head that ships


def test_apply_puts_the_pet_over_the_head(module, template_head) -> None:
    (head, grey, white), lattice = template_head
    volume = add_head(head, lattice)
    volume.SetAndObserveTransformNodeID(turned().GetID())
    ui = module.ui
    ui.ageSlider.value = 60
    gestures.click(ui.applyButton)
    finish(module)
    young = module._parameterNode.outputVolume
    assert young.GetName() == "Head synthetic FDG"
    first = voxels(young).copy()
    ui.ageSlider.value = 90
    gestures.click(ui.applyButton)
    finish(module)
    assert module._parameterNode.outputVolume is young  # running again updates the same node
    second = voxels(young)
    matrix, expected = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    young.GetIJKToRASMatrix(matrix)
    volume.GetIJKToRASMatrix(expected)
    assert np.array_equal(slicer.util.arrayFromVTKMatrix(matrix), slicer.util.arrayFromVTKMatrix(expected))
    assert young.GetParentTransformNode() is volume.GetParentTransformNode()
    assert young.GetAttribute("DualGlow.Synthetic") == "true"
    assert young.GetAttribute("DualGlow.Age") == "90"
    assert len(young.GetAttribute("DualGlow.BundleSHA256")) == 64
    brain = head > 0
    assert first[grey > 0.8].mean() > 1.3 * first[white > 0.95].mean()
    assert first[brain].sum() > 0.97 * first.sum()
    assert second[brain].mean() < 0.98 * first[brain].mean()


def test_preview_agrees_with_the_exact_image(module, template_head) -> None:
    (head, _grey, _white), lattice = template_head
    add_head(head, lattice)
    ui, run = module.ui, module.window.run
    gestures.click(ui.ageKnownBox)
    gestures.click(ui.applyButton)
    finish(module)
    assert pump(until=lambda: run._live is None and len(run.frames) >= 10, timeout=WAIT)
    before = seen()
    ui.ageSlider.value = 86
    node = run.preview.node
    assert node is not None
    previewed = seen()
    coarse, matrix = voxels(node).copy(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    assert pump(until=lambda: settled(module, age=86.0), timeout=WAIT)
    exact = seen()
    moved = np.abs(exact - before).sum(axis=2).mean()
    assert np.abs(exact - previewed).sum(axis=2).mean() < moved  # it shows the way, and nothing that isn't there
    fine = voxels(module._parameterNode.outputVolume)
    shown = resample(coarse, slicer.util.arrayFromVTKMatrix(matrix), fine.shape, lattice)
    inside = fine > 0.6
    assert np.corrcoef(shown[inside], fine[inside])[0, 1] > 0.98
    assert abs(shown[inside].mean() / fine[inside].mean() - 1) < 0.02


def test_the_window_answers_while_it_computes(module, template_head) -> None:
    (head, _grey, _white), lattice = template_head
    add_head(head + np.float32(0.001), lattice)  # another head than the worker knows
    with Gaps() as gaps:
        gestures.click(module.ui.applyButton)
        pump(until=lambda: "Preparing" in module.ui.progressBar.format, timeout=WAIT)
        pump(until=lambda: "Sampling" in module.ui.progressBar.format, timeout=WAIT)
    assert gaps.calls > 50
    finish(module)
    # No time is tested, which would depend on the machine: that none of it runs here is what keeps the window alive.
    assert module.window.engine.client.isRunning
    assert module._parameterNode.outputVolume is not None


def test_cancel_in_the_middle_leaves_the_scene(module, template_head) -> None:
    (head, _grey, _white), lattice = template_head
    add_head(head + np.float32(0.002), lattice)
    for stage in ("Preparing", "Sampling"):
        before = slicer.mrmlScene.GetNumberOfNodes()
        module.ui.temperatureSlider.value = 1
        module.ui.samplesBox.value = 32
        gestures.click(module.ui.applyButton)
        assert pump(until=lambda stage=stage: stage in module.ui.progressBar.format, timeout=WAIT)
        gestures.click(module.ui.applyButton)
        finish(module)
        assert slicer.mrmlScene.GetNumberOfNodes() == before
        assert "nothing was changed" in module.ui.statusLabel.text
        assert (module._parameterNode.outputVolume is None) == (stage == "Preparing")
        module.ui.temperatureSlider.value = 0
        gestures.click(module.ui.applyButton)
        finish(module)
        assert module._parameterNode.outputVolume is not None


def test_scene_saved_closed_and_loaded_again(module, template_head, tmp_path: Path) -> None:
    (head, _grey, _white), lattice = template_head
    mirrored = np.diag([1.0, 1, -1, 1])  # Slicer's files turn a left-handed lattice into this right-handed one
    mirrored[2, 3] = head.shape[2] - 1
    add_head(head[:, :, ::-1], lattice @ mirrored)
    ui = module.ui
    ui.temperatureSlider.value = 1
    ui.samplesBox.value = 2
    gestures.click(ui.applyButton)
    finish(module)
    saved = voxels(module._parameterNode.outputVolume).copy()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert module._parameterNode.outputVolume is None
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    module.initializeParameterNode()
    parameters = module._parameterNode
    assert (parameters.temperature, parameters.samples, parameters.inputVolume.GetName()) == (1, 2, "Head")
    assert np.array_equal(voxels(parameters.outputVolume), saved)
    assert resultOf(parameters.outputVolume, "sd") is not None
    assert parameters.outputVolume.GetAttribute("DualGlow.Synthetic") == "true"
    gestures.click(ui.applyButton)
    finish(module)
    assert np.allclose(voxels(parameters.outputVolume), saved, atol=1e-5)  # the same seed, the same images


# ---------------------------------------------------------------------------------------------- real heads


def test_the_whole_way_on_a_real_head(module, shared: Path, tmp_path: Path) -> None:
    volume = slicer.util.loadVolume(str(shared / "data" / "t1_real" / "ixi012_T1.nii.gz"))
    ui, run = module.ui, module.window.run
    gestures.click(ui.ageKnownBox)
    gestures.click(ui.applyButton)
    finish(module)
    assert "good" in ui.verdictLabel.text
    gestures.click(ui.verdictButton)
    (picture,) = [one for one in QApplication.topLevelWidgets() if one.windowTitle().endswith("brain over the MRI")]
    assert picture.isVisible()
    picture.close()
    output = module._parameterNode.outputVolume
    plain = voxels(output).copy()
    pictures = [seen()]
    gestures.drag(ui.ageSlider, 50.0, 60.0, 75.0, 90.0)
    assert pump(until=lambda: settled(module, age=90.0), timeout=WAIT)
    old = voxels(output).copy()
    inside = plain > 0.6
    assert old[inside].mean() < 0.97 * plain[inside].mean()
    pictures.append(seen())
    assert np.abs(pictures[1] - pictures[0]).max() > 20
    gestures.drag(ui.temperatureSlider, 0.5, 1.0)
    assert pump(until=lambda: settled(module, temperature=1.0), timeout=WAIT)
    assert np.abs(voxels(output) - old)[inside].mean() > 0.02

    ui.sweepCollapsibleButton.collapsed = False
    ui.sweepLastBox.value = 70
    gestures.click(ui.sweepButton)
    finish(module)
    (sequence,) = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    assert [sequence.GetNthIndexValue(i) for i in range(sequence.GetNumberOfDataNodes())] == ["50", "60", "70"]
    means = [slicer.util.arrayFromVolume(sequence.GetNthDataNode(i)).mean() for i in range(3)]
    assert means[0] > means[1] > means[2]

    ui.exportCollapsibleButton.collapsed = False
    ui.exportPath.currentPath = str(tmp_path)
    for button in (ui.exportNiftiButton, ui.exportTableButton, ui.exportReportButton):
        gestures.click(button)
        assert "Written" in ui.statusLabel.text
    written = read_scan(next(tmp_path.glob("*.nii.gz")))
    assert np.allclose(written.data, voxels(output), atol=1e-3)
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["Age"] == 90
    assert "Research use only" in next(tmp_path.glob("*.html")).read_text()
    assert run.isBusy is False
    assert volume.GetScene() is not None


def surface_distance(first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> float:
    """Mean distance between the surfaces of two masks, both ways, in millimetres."""
    maps, edges = [], []
    for mask in (first, second):
        image = sitk.GetImageFromArray(mask.transpose(2, 1, 0).astype(np.uint8))
        image.SetSpacing([float(size) for size in spacing])
        signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        maps.append(np.abs(sitk.GetArrayFromImage(signed)))
        edges.append(sitk.GetArrayFromImage(sitk.LabelContour(image)) > 0)
    return float(np.concatenate([maps[1][edges[0]], maps[0][edges[1]]]).mean())


OBLIQUE = np.array([[0.94, -0.34, 0.0], [0.32, 0.89, -0.34], [0.12, 0.32, 0.94]])  # turned by 20° twice
HEADS = {
    "elderly": ("elderly/Subj18_T1.nii.gz", "elderly/Subj18_DLMUSE.nii.gz", None, False),
    "under a transform": ("t1_real/ixi012_T1.nii.gz", "seg_real/ixi012_T1_DLMUSE.nii.gz", None, True),
    "oblique": ("t1_real/ixi012_T1.nii.gz", "seg_real/ixi012_T1_DLMUSE.nii.gz", (2.0, 2.0, 2.0), False),
    "anisotropic": ("elderly/Subj10_T1.nii.gz", "elderly/Subj10_DLMUSE.nii.gz", (2.0, 5.0, 2.0), False),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_edge_of_the_pet_is_that_of_the_brain(module, shared: Path, name: str) -> None:
    path, labels, spacing, isMoved = HEADS[name]
    t1, brain = read_scan(shared / "data" / path), read_scan(shared / "data" / labels)
    head, affine, inside = t1.data, t1.affine, (brain.data > 0).astype(np.float32)
    if spacing is not None:  # on a lattice of its own, turned about the head's middle
        shape = tuple(int(np.ceil(210 / size)) for size in spacing)
        turn = OBLIQUE if name == "oblique" else np.eye(3)
        middle = affine[:3] @ [*(np.array(head.shape) / 2), 1]
        affine = np.eye(4)
        affine[:3, :3] = turn * spacing
        affine[:3, 3] = middle - affine[:3, :3] @ (np.array(shape) / 2)
        head, inside = (resample(data, t1.affine, shape, affine) for data in (head, inside))
    volume = add_head(head, affine)
    if isMoved:
        volume.SetAndObserveTransformNodeID(turned().GetID())
    gestures.click(module.ui.applyButton)
    finish(module)
    output = module._parameterNode.outputVolume
    pet, expected = filled(voxels(output) > 0.3), filled(inside > 0.5)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    assert surface_distance(pet, expected, size) < max(size)

    # The same as drawn: where the overlay is seen, against the labels, through the views' own geometry.
    toWorld = vtk.vtkMatrix4x4()
    if isMoved:
        volume.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
    toVoxels = np.linalg.inv(slicer.util.arrayFromVTKMatrix(toWorld) @ affine)
    for view in ("Red", "Green", "Yellow"):
        slicer.util.setSliceViewerLayers(foregroundOpacity=0.001)  # not seen, but its mark and scale are still there
        bare = views.render(view, 300, 300).astype(int)
        slicer.util.setSliceViewerLayers(foregroundOpacity=0.7)
        drawn = np.abs(views.render(view, 300, 300).astype(int) - bare).sum(axis=2) > 12
        places = views.pixelToRas(view, *np.indices((300, 300)))
        index = np.rint(places @ toVoxels[:3, :3].T + toVoxels[:3, 3]).astype(int)
        there = np.all((index >= 0) & (index < expected.shape), axis=-1)
        labelled = np.zeros((300, 300), bool)
        labelled[there] = expected[tuple(index[there].T)]
        assert labelled.sum() > 2000
        overlap = 2 * (drawn & labelled).sum() / (drawn.sum() + labelled.sum())
        assert overlap > 0.88, (view, overlap)
