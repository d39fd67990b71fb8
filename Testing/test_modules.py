"""Both modules in the test host: a real MRML scene, real Qt widgets made from their .ui files."""

from __future__ import annotations

import logging
import re
import shlex
import types

import numpy as np
import pytest
import vtk

from host.members import RECORD, members
from host.widgets import CTK, QMRML
from loaded import ROOT, SYNTHESIS, TRAINING, host, slicer

from DualGlowLib import InputError  # isort: skip
from DualGlowSynthesisLib import dependencies, volumes  # isort: skip
from DualGlowSynthesisLib.logic import DualGlowSynthesisLogic  # isort: skip

OBLIQUE = np.array([[0.0, -0.8, 0.6, 10.0], [0.0, 0.6, 0.8, -20.0], [-1.5, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])


class Arithmetic:
    """In the place of the library's Synthesizer: the PET is the T1 times the age, which a test can foretell."""

    def __init__(self) -> None:
        self.encoded, self.asked = [], []

    def encode(self, scan, progress=None):
        self.encoded.append(scan)
        if progress:
            progress("Prepare", 0.5)
        return scan

    def sample(self, encoding, age, sex, diagnosis, temperature, samples, seed):
        self.asked.append((age, sex, diagnosis, temperature, samples, seed))
        mean = encoding.like(encoding.data * np.float32(age))
        sd = encoding.like(np.full(encoding.shape, 0.25, np.float32)) if samples > 1 else None
        provenance = {"Synthetic": True, "Age": age, "Bundle": "test bundle", "ToTemplate": [[1.0, 0.0]]}
        return types.SimpleNamespace(mean=mean, sd=sd, provenance=provenance)


@pytest.fixture(autouse=True)
def _clean_scene():
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    yield
    assert host.slot_errors == []


@pytest.fixture
def synthesizer() -> Arithmetic:
    return Arithmetic()


@pytest.fixture
def logic(synthesizer) -> DualGlowSynthesisLogic:
    return DualGlowSynthesisLogic(synthesizerFactory=lambda: synthesizer)


@pytest.fixture
def window(synthesizer):
    widget = SYNTHESIS.open()
    widget.logic._synthesizerFactory = lambda: synthesizer
    yield widget
    SYNTHESIS.close(widget)


def t1(name: str = "T1"):
    """A volume of 5×4×3 voxels on oblique axes, under a transform."""
    volume = slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5) % 7, OBLIQUE, name)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    turn = vtk.vtkTransform()
    turn.RotateZ(30)
    transform.SetMatrixTransformToParent(turn.GetMatrix())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


# --------------------------------------------------------------------------------------------------------- both modules


@pytest.mark.parametrize("module", [SYNTHESIS, TRAINING], ids=lambda module: module.name)
def test_modules_introduce_themselves(module):
    facts = module.facts
    assert facts.title.startswith("DualGlow")
    assert facts.categories == ["Image Synthesis"]
    assert "ICCV 2019" in facts.helpText
    assert "Sun H." in facts.helpText
    assert "Haoliang Sun" in facts.acknowledgementText
    assert not facts.icon.isNull()


@pytest.mark.parametrize("module", [SYNTHESIS, TRAINING], ids=lambda module: module.name)
def test_own_tests_of_the_modules_pass(module):
    """Those that run in Slicer."""
    slicer.selfTests[module.name]()


@pytest.mark.parametrize("stand_in", [*CTK, *QMRML], ids=lambda cls: cls.__name__)
def test_stand_ins_offer_nothing_that_slicer_lacks(stand_in):
    if not RECORD.is_file():
        pytest.skip("needs the record of PythonQt's members in ../shared, which is not part of the repository")
    widget = stand_in()
    meta = widget.metaObject()
    offered = {meta.property(index).name() for index in range(meta.propertyOffset(), meta.propertyCount())}
    offered |= {meta.method(index).name().data().decode() for index in range(meta.methodOffset(), meta.methodCount())}
    own = {name for name in offered if not name.startswith("_")}  # PySide lists our connected functions too
    assert own | set(stand_in.constants) <= members(stand_in.__name__)


# -------------------------------------------------------------------------------------------------- the synthesis logic


def test_result_lies_where_the_mri_lies(logic):
    volume = t1()
    output = logic.synthesize(volume, age=2)
    assert output.GetName() == "T1 synthetic FDG"
    assert np.array_equal(slicer.util.arrayFromVolume(output), 2.0 * slicer.util.arrayFromVolume(volume))
    matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
    volume.GetIJKToRASMatrix(matrices[0])
    output.GetIJKToRASMatrix(matrices[1])
    assert np.array_equal(*map(slicer.util.arrayFromVTKMatrix, matrices))
    assert output.GetParentTransformNode() is volume.GetParentTransformNode()


def test_library_gets_the_mri_in_its_own_terms(logic, synthesizer):
    volume = t1()
    logic.synthesize(volume, age=72.0, sex="F", diagnosis="CN", temperature=0.7, samples=2, seed=5)
    scan = synthesizer.encoded[0]
    assert scan.data.dtype == np.float32
    assert scan.data[4, 3, 2] == slicer.util.arrayFromVolume(volume)[2, 3, 4]  # i, j, k and k, j, i
    assert np.allclose(scan.affine, OBLIQUE)
    assert scan.source == "T1"
    assert synthesizer.asked == [(72.0, "F", "CN", 0.7, 2, 5)]
    scan.data[:] = -1
    assert slicer.util.arrayFromVolume(volume).min() == 0  # the library has a copy


def test_result_says_that_it_is_synthetic(logic):
    output = logic.synthesize(t1(), age=72.0, temperature=0.5, seed=3)
    attributes = {name: output.GetAttribute(f"DualGlow.{name}") for name in ("Synthetic", "Age", "Temperature", "Seed")}
    assert attributes == {"Synthetic": "true", "Age": "72", "Temperature": "0.5", "Seed": "3"}
    assert output.GetAttribute("DualGlow.Sex") == "unknown"
    assert output.GetAttribute("DualGlow.Bundle") == "test bundle"
    assert output.GetAttribute("DualGlow.ToTemplate") == "[[1.0, 0.0]]"


def test_overlay_in_every_slice_view(logic):
    volume = t1()
    output = logic.synthesize(volume, age=1)
    display = output.GetDisplayNode()
    assert display.GetColorNodeID() == "vtkMRMLPETProceduralColorNodePET-Heat"
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == volumes.SUVR_WINDOW
    assert display.GetApplyThreshold()
    assert 0 < display.GetLowerThreshold() < 0.2
    assert display.GetUpperThreshold() >= slicer.util.arrayFromVolume(output).max()
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert len(views) == 3
    for view in views:
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (volume.GetID(), output.GetID())
        assert view.GetForegroundOpacity() == 0.5


def test_mri_is_encoded_once_until_it_changes(logic, synthesizer):
    volume = t1()
    output = logic.synthesize(volume, age=60)
    assert logic.synthesize(volume, age=80, outputVolume=output) is output
    assert len(synthesizer.encoded) == 1
    slicer.util.arrayFromVolume(volume)[:] += 1
    slicer.util.arrayFromVolumeModified(volume)
    logic.synthesize(volume, age=80, outputVolume=output)
    assert len(synthesizer.encoded) == 2
    volume.SetOrigin(1, 2, 3)
    logic.synthesize(volume, age=80, outputVolume=output)
    assert len(synthesizer.encoded) == 3


def test_several_samples_give_their_sd_too(logic):
    volume = t1()
    output = logic.synthesize(volume, samples=4, temperature=1.0)
    sd = output.GetNodeReference("DualGlow.SD")
    assert sd.GetName() == "T1 synthetic FDG SD"
    assert np.all(slicer.util.arrayFromVolume(sd) == 0.25)
    assert sd.GetAttribute("DualGlow.Synthetic") == "true"
    again = logic.synthesize(volume, samples=4, temperature=1.0, outputVolume=output)
    assert again.GetNodeReference("DualGlow.SD") is sd
    logic.synthesize(volume, outputVolume=output)
    assert output.GetNodeReference("DualGlow.SD") is None
    assert sd.GetScene() is None  # it belonged to the result that was overwritten


def test_chosen_output_keeps_its_name_and_takes_the_geometry(logic):
    chosen = slicer.util.addVolumeFromArray(np.zeros((2, 2, 2), np.uint8), name="My PET")
    output = logic.synthesize(t1(), age=1, outputVolume=chosen)
    assert output is chosen
    assert output.GetName() == "My PET"
    assert output.GetImageData().GetDimensions() == (5, 4, 3)


@pytest.mark.parametrize("case", ["none", "empty", "colour", "same", "synthetic"])
def test_unusable_volumes_get_one_sentence(logic, synthesizer, case):
    volume = None if case == "none" else t1()
    if case == "empty":
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    if case == "colour":
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Colour")
        image = vtk.vtkImageData()
        image.SetDimensions(2, 2, 2)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
        volume.SetAndObserveImageData(image)
    if case == "synthetic":
        volumes.markSynthetic(volume, {})
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(InputError, match=r"^[A-Z][^\n]*\.$"):
        logic.synthesize(volume, outputVolume=volume if case == "same" else None)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert synthesizer.encoded == []


def test_result_on_another_lattice_is_refused():
    volume = t1()
    scan = volumes.scanFromVolume(volume)
    scan.affine[0, 3] += 1
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(ValueError, match="lattice of T1"):
        volumes.updateVolumeFromScan(output, scan, volume)


# ------------------------------------------------------------------------------------------------- the synthesis window


@pytest.fixture
def complete(monkeypatch):
    """A Python that has every package, whatever this one has."""
    monkeypatch.setattr(dependencies, "missingPackages", list)


def test_window_warns_and_waits_for_an_mri(window):
    assert "Synthetic image, research use only" in window.ui.bannerLabel.text
    assert not window.ui.applyButton.enabled
    assert "Choose" in window.ui.applyButton.toolTip
    volume = t1()
    assert window.ui.inputSelector.currentNode() is volume
    assert window.ui.applyButton.enabled
    assert "Synthesize" in window.ui.applyButton.toolTip


def test_output_may_not_be_the_input(window):
    volume = t1()
    window.ui.outputSelector.setCurrentNode(volume)
    assert not window.ui.applyButton.enabled
    assert "other than the input" in window.ui.applyButton.toolTip


def test_synthetic_volume_is_neither_chosen_nor_taken():
    made = t1("Made")
    volumes.markSynthetic(made, {})
    slicer.util.addVolumeFromArray(np.zeros((2, 2, 2), np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode")
    acquired = t1("Acquired")
    widget = SYNTHESIS.open()
    assert widget.ui.inputSelector.currentNode() is acquired
    assert widget.ui.applyButton.enabled
    widget.ui.inputSelector.setCurrentNode(made)
    assert not widget.ui.applyButton.enabled
    assert "synthetic" in widget.ui.applyButton.toolTip
    SYNTHESIS.close(widget)


def test_sliders_and_parameter_node_follow_each_other(window):
    parameters = window._parameterNode
    assert (window.ui.ageSlider.value, window.ui.ageSlider.minimum, window.ui.ageSlider.maximum) == (70, 40, 100)
    assert (window.ui.temperatureSlider.value, window.ui.temperatureSlider.maximum) == (0, 1.5)
    window.ui.ageSlider.value = 81
    window.ui.temperatureSlider.setValue(0.7)
    assert (parameters.age, parameters.temperature) == (81, 0.7)
    parameters.age = 55.0
    assert window.ui.ageSlider.value == 55
    with pytest.raises(ValueError, match="within range"):
        parameters.age = 120.0


@pytest.mark.usefixtures("complete")
def test_apply_synthesizes_into_a_new_volume(window, synthesizer):
    volume = t1()
    window.ui.ageSlider.value = 60
    window.ui.applyButton.click()
    output = window.ui.outputSelector.currentNode()
    assert output.GetName() == "T1 synthetic FDG"
    assert output.GetParentTransformNode() is volume.GetParentTransformNode()
    assert synthesizer.asked == [(60, None, None, 0, 1, 0)]
    window.ui.applyButton.click()
    assert window.ui.outputSelector.currentNode() is output
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


@pytest.mark.usefixtures("complete")
def test_progress_is_shown_while_it_runs(window, monkeypatch):
    shown = []
    real = window._showProgress

    def watch(stage, fraction):
        real(stage, fraction)
        shown.append(window.ui.progressBar.text)

    monkeypatch.setattr(window, "_showProgress", watch)
    t1()
    window.ui.applyButton.click()
    assert shown == ["Prepare 50%"]
    assert window.ui.progressBar.text == ""


@pytest.mark.usefixtures("complete")
def test_unusable_input_is_told_in_one_sentence(window, caplog):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with caplog.at_level(logging.ERROR):
        window.ui.applyButton.click()
    assert [re.search(r"Nothing has no voxels;[^\n]*", record.message) is not None for record in caplog.records] == [
        True
    ]


def test_closing_the_scene_with_the_window_open(window):
    t1()
    window.ui.ageSlider.value = 90
    used = []
    event = slicer.mrmlScene.NodeRemovedEvent
    observer = slicer.mrmlScene.AddObserver(event, lambda *_: used.append(window._parameterNode))
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.RemoveObserver(observer)
    assert set(used) == {None}  # while nodes go, the window writes to none
    assert not window.ui.applyButton.enabled
    assert window._parameterNode.age == 70
    volume = t1("Next")
    assert window.ui.inputSelector.currentNode() is volume
    window.ui.ageSlider.value = 45
    assert window._parameterNode.age == 45


def test_closing_the_scene_while_another_module_is_shown(window):
    volume = t1()
    SYNTHESIS.exit(window)
    slicer.mrmlScene.Clear(0)
    assert window._parameterNode is None
    volume = t1()
    SYNTHESIS.enter(window)
    assert window._parameterNode.inputVolume is volume
    assert window.ui.applyButton.enabled


def test_closed_window_observes_nothing():
    widget = SYNTHESIS.open()
    SYNTHESIS.close(widget)
    assert widget.Observations == []
    t1()
    slicer.mrmlScene.Clear(0)


# ------------------------------------------------------------------------------------------------------------- training


@pytest.fixture
def training():
    widget = TRAINING.open()
    yield widget
    TRAINING.close(widget)


def test_command_is_complete_when_both_folders_are_chosen(training):
    assert not training.ui.copyButton.enabled
    training.ui.casesPath.currentPath = "/data/my cases"
    assert not training.ui.copyButton.enabled
    training.ui.outputPath.currentPath = "/data/run"
    training.ui.presetBox.currentIndex = 1
    training.ui.copyButton.click()
    command = slicer.app.clipboard().text()
    assert command == training.ui.commandText.plainText
    script = str(ROOT / "DualGlowTraining" / "Scripts" / "train.py")
    head = [slicer.app.launcherExecutableFilePath, "--no-splash", "--no-main-window", "--python-script", script, "--"]
    assert shlex.split(command) == [*head, "/data/my cases", "--output", "/data/run", "--preset", "paper"]


def test_presets_are_those_of_the_library(training):
    from DualGlowLib.model import PRESETS

    box = training.ui.presetBox
    assert [box.itemText(index) for index in range(box.count)] == list(PRESETS)
