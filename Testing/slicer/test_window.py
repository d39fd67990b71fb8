"""The Synthesis window, its worker played by hand: when what is asked, what is shown, and what a user can upset."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
import vtk
from PySide6.QtWidgets import QComboBox, QLabel, QPushButton, QStyle, QStyleOptionComboBox, QWidget

from hand_client import HandClient, opened, provenance, row, sampled
from host import gestures
from host.pythonqt import unwrap
from loaded import SYNTHESIS, host, slicer

from DualGlowLib import progress  # isort: skip
from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowLib.worker.replies import Framed  # isort: skip
from DualGlowSlicerLib import dependencies, volumes  # isort: skip
from DualGlowSynthesisLib.window.engine import Engine  # isort: skip
from DualGlowSynthesisLib.nodes.results import resultOf  # isort: skip
from DualGlowSynthesisLib.window import engine as engine_module  # isort: skip
from DualGlowSynthesisLib.window import runPanel as window_of_runs  # isort: skip
from DualGlowSynthesisLib.window import window as window_module  # isort: skip
from DualGlowSynthesisLib.window.window import Window  # isort: skip

AXES = np.array([[0.0, -0.8, 0.6, 10.0], [0.0, 0.6, 0.8, -20.0], [-1.5, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])
SHAPE = (5, 4, 3)


@pytest.fixture(autouse=True)
def _clean_scene(monkeypatch: pytest.MonkeyPatch):
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    monkeypatch.setattr(dependencies, "missingPackages", list)
    yield
    assert host.slot_errors == []


@pytest.fixture
def client() -> HandClient:
    return HandClient()


@pytest.fixture
def module(client: HandClient, monkeypatch: pytest.MonkeyPatch):
    """The module's widget, open."""
    import DualGlowSynthesis

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    widget = SYNTHESIS.open()
    yield widget
    SYNTHESIS.close(widget)


@pytest.fixture
def ui(module):
    return module.ui


def t1(name: str = "T1"):
    """A volume of 5×4×3 voxels on oblique axes, under a transform."""
    volume = slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5) % 7, AXES, name)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn = vtk.vtkTransform()
    turn.RotateZ(30)
    transform.SetMatrixTransformToParent(turn.GetMatrix())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


def apply(ui, client: HandClient) -> None:
    """Press Apply at the age that the slider shows, and let the worker answer all of it."""
    ui.ageKnownBox.checked = True
    ui.applyButton.click()
    client.answer_readying()
    client.answer_sample(SHAPE)


def settle(module) -> None:
    """The slider has rested."""
    assert module.window.run._settled.active
    module.window.run._settled.stop()
    module.window.run._onSettled()


def values(node) -> np.ndarray:
    return slicer.util.arrayFromVolume(node)


def counted() -> dict[str, int]:
    kinds = [node.GetClassName() for node in slicer.util.getNodes("*", useLists=True).values() for node in node]
    return {kind: kinds.count(kind) for kind in set(kinds)}


# ------------------------------------------------------------------------------------------------- before anything runs


def test_window_warns_and_waits_for_an_mri(ui) -> None:
    assert "Synthetic image, research use only" in ui.bannerLabel.text
    for button in (ui.applyButton, ui.sweepButton, ui.compareButton, ui.exportNiftiButton, ui.verdictButton):
        assert not button.enabled
    assert "Choose" in ui.applyButton.toolTip
    volume = t1()
    assert ui.inputSelector.currentNode() is volume
    assert ui.applyButton.enabled
    assert ui.sweepButton.enabled
    assert not ui.compareButton.enabled
    assert "Synthesize" in ui.applyButton.toolTip


def test_output_may_not_be_the_input(ui) -> None:
    volume = t1()
    ui.outputSelector.setCurrentNode(volume)
    assert ui.outputSelector.currentNode() is None
    assert "other than the input" in ui.statusLabel.text


def test_synthetic_volume_is_neither_chosen_nor_taken() -> None:
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


def test_a_diagnosis_that_a_model_knows_as_a_part_of_another(ui, module) -> None:
    def offer(values: list[str], **more: object) -> None:
        about = {"name": "diagnosis", "kind": "categorical", "values": values, **more}
        module.window.patient.setModel({"covariates": [about]})
        module.window.onParametersChanged()

    offer(["CN", "EMCI", "SMC"])
    module._parameterNode.diagnosis = "EMCI"
    offer(["CN", "MCI"])
    assert module._parameterNode.diagnosis == "MCI"
    assert "EMCI counts as MCI" in ui.statusLabel.text
    for groups, kept in (({"SMC": "CN"}, "CN"), ({}, "unknown")):
        offer(["CN", "EMCI", "SMC"])
        module._parameterNode.diagnosis = "SMC"
        offer(["CN", "MCI"], groups=groups)
        assert module._parameterNode.diagnosis == kept


def test_patient_section_offers_what_the_model_knows(ui, module) -> None:
    assert (ui.ageSlider.minimum, ui.ageSlider.maximum) == (40, 100)
    assert "ages 40 to 100" in ui.trainedLabel.text
    sexes = [ui.sexBox.itemText(index) for index in range(ui.sexBox.count)]
    assert sexes == ["unknown", "female", "male"]
    assert ui.diagnosisBox.count == 4
    ui.diagnosisBox.setCurrentIndex(3)
    assert module._parameterNode.diagnosis == "AD"
    module.window.patient.setModel({"covariates": [{"name": "age", "kind": "numeric", "range": [50, 60]}]})
    assert ui.diagnosisBox.count == 1
    module.window.onParametersChanged()
    assert module._parameterNode.diagnosis == "unknown"
    assert (ui.ageSlider.minimum, ui.ageSlider.maximum) == (50, 60)
    assert module._parameterNode.age == 60


def test_sliders_and_parameter_node_follow_each_other(ui, module) -> None:
    parameters = module._parameterNode
    assert (ui.temperatureSlider.value, ui.temperatureSlider.maximum) == (0, 1.5)
    ui.ageSlider.value = 81
    ui.temperatureSlider.setValue(0.7)
    assert (parameters.age, parameters.temperature) == (81, 0.7)
    parameters.age = 55.0
    assert ui.ageSlider.value == 55
    assert ui.ageKnownBox.checked
    ui.ageKnownBox.checked = False
    assert "age" not in module.window.choices().question.covariates
    ui.ageSlider.value = 56  # who moves the slider says the age
    assert module.window.choices().question.covariates["age"] == 56
    with pytest.raises(ValueError, match="within range"):
        parameters.age = 130.0


def test_most_likely_image_is_one(ui, module) -> None:
    ui.samplesBox.value = 8
    assert not ui.samplesBox.enabled
    assert "most likely" in ui.temperatureText.text
    assert module.window.choices().question.samples == 1
    ui.temperatureSlider.value = 1
    assert ui.samplesBox.enabled
    assert module.window.choices().question.samples == 8


def test_dice_draws_another_seed(ui, module) -> None:
    ui.temperatureSlider.value = 1  # without noise none makes a difference
    seeds = set()
    for _ in range(5):
        ui.diceButton.click()
        seeds.add(module._parameterNode.seed)
    assert len(seeds) > 1
    assert ui.seedBox.value == module._parameterNode.seed


def test_age_and_sex_come_from_dicom_once(ui, module, monkeypatch: pytest.MonkeyPatch) -> None:
    class Database:
        def instanceValue(self, _uid: str, tag: str) -> str:
            return {"0010,1010": "083Y", "0010,0040": "F "}[tag]

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    parameters = module._parameterNode
    volume = t1()
    assert not parameters.ageKnown
    other = t1("Second")
    ui.inputSelector.setCurrentNode(other)
    other.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")  # as Slicer does, after it has added the volume
    assert (parameters.age, parameters.ageKnown, parameters.sex) == (83, True, "F")
    ui.ageSlider.value = 60
    assert parameters.age == 60
    ui.inputSelector.setCurrentNode(volume)  # of whom nobody said anything
    assert (parameters.ageKnown, parameters.sex) == (False, "unknown")
    ui.inputSelector.setCurrentNode(other)  # what the user said stays
    assert (parameters.age, parameters.ageKnown, parameters.sex) == (60, True, "F")


# ----------------------------------------------------------------------------------------------------- Apply and Cancel


def test_apply_opens_prepares_samples_and_shows(ui, module, client: HandClient) -> None:
    volume = t1()
    ui.ageSlider.value = 60
    ui.applyButton.click()
    assert client.history == ["open"]
    assert ui.applyButton.text == "Cancel"
    assert not ui.sweepButton.enabled
    client.the("open").event("progress", stage="weights", fraction=0.5)
    assert "Loading the model: weights" in ui.progressBar.format
    client.answer_readying()
    assert client.the("sample").question == Question({"age": 60.0})
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1  # nothing before it is done
    client.answer_sample(SHAPE)
    assert ui.applyButton.text == "Apply"
    output = ui.outputSelector.currentNode()
    assert output.GetName() == "T1 synthetic FDG"
    assert np.all(values(output) == 60)
    assert output.GetParentTransformNode() is volume.GetParentTransformNode()
    assert output.GetAttribute("DualGlow.Synthetic") == "true"
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (volume.GetID(), output.GetID())
    assert resultOf(output, "table").GetTable().GetNumberOfRows() == 1
    assert "good" in ui.verdictLabel.text
    assert "cpu" in ui.deviceText.text


def test_the_worker_gets_the_voxels_as_they_lie(ui, client: HandClient) -> None:
    volume = t1()
    mask = slicer.util.addVolumeFromArray(
        (values(volume) > 3).astype(np.uint8), AXES, "Mask", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    ui.maskSelector.setCurrentNode(mask)
    ui.applyButton.click()
    client.the("open").done(opened())
    asked = client.the("prepare").arguments
    assert asked["voxels"][4, 3, 2] == values(volume)[2, 3, 4]
    assert asked["voxels"].dtype == np.int16
    assert np.allclose(asked["affine"], AXES)
    assert np.array_equal(asked["mask"].astype(bool), asked["voxels"] > 3)
    assert asked["prepared"] is False


def test_nothing_is_asked_again_that_did_not_change(ui, client: HandClient) -> None:
    volume = t1()
    apply(ui, client)
    ui.liveBox.checked = False
    before = list(client.history)
    ui.ageSlider.value = 50
    assert "Press Apply" in ui.agreementLabel.text
    apply(ui, client)
    assert client.history[len(before) :] == ["sample"]
    slicer.util.arrayFromVolume(volume)[:] += 1
    slicer.util.arrayFromVolumeModified(volume)
    apply(ui, client)
    assert client.history[len(before) + 1 :] == ["prepare", "sample"]
    client.die()
    apply(ui, client)
    assert client.history[len(before) + 3 :] == ["open", "prepare", "sample"]


def test_running_again_updates_the_same_nodes(ui, client: HandClient) -> None:
    t1()
    ui.liveBox.checked = False
    ui.temperatureSlider.value = 1
    ui.samplesBox.value = 4
    apply(ui, client)
    output = ui.outputSelector.currentNode()
    sd = resultOf(output, "sd")
    before = counted()
    ui.ageSlider.value = 50
    apply(ui, client)
    assert ui.outputSelector.currentNode() is output
    assert resultOf(output, "sd") is sd
    assert counted() == before
    ui.temperatureSlider.value = 0
    apply(ui, client)
    assert resultOf(output, "sd") is None
    assert sd.GetScene() is None  # it belonged to the result that was overwritten


@pytest.mark.parametrize("stage", ["open", "prepare", "sample"])
def test_cancel_leaves_the_scene_as_it_was(ui, module, client: HandClient, stage: str) -> None:
    t1()
    before = counted()
    ui.applyButton.click()
    if stage != "open":
        client.the("open").done(opened())
    if stage == "sample":
        client.answer_readying()
    asked = client.the(stage)
    ui.applyButton.click()
    assert asked.isCancelled
    asked.cancelled()
    assert counted() == before
    assert ui.applyButton.text == "Apply"
    assert "nothing was changed" in ui.statusLabel.text
    assert module._parameterNode.outputVolume is None
    apply(ui, client)
    assert ui.outputSelector.currentNode() is not None


def test_refusal_is_one_sentence_and_failure_has_details(ui, client: HandClient, caplog) -> None:
    t1()
    ui.applyButton.click()
    client.the("open").done(opened())
    with caplog.at_level(logging.ERROR):
        client.the("prepare").refuse("T1 holds no brain; choose a T1-weighted MRI of a head.")
    assert ui.statusLabel.text == "T1 holds no brain; choose a T1-weighted MRI of a head."
    assert [record.message for record in caplog.records] == [ui.statusLabel.text]
    ui.applyButton.click()
    with caplog.at_level(logging.ERROR):
        client.the("prepare").fail("Traceback\nout of luck")
    assert "out of luck" in caplog.text
    assert ui.applyButton.enabled
    assert ui.applyButton.text == "Apply"


def test_unusable_input_is_told_before_anything_starts(ui, client: HandClient, caplog) -> None:
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with caplog.at_level(logging.ERROR):
        ui.applyButton.click()
    assert client.history == []
    assert [re.search(r"Nothing has no voxels;[^\n]*", record.message) is not None for record in caplog.records] == [
        True
    ]


def test_mask_on_other_voxels_is_refused(ui, client: HandClient) -> None:
    t1()
    mask = slicer.util.addVolumeFromArray(np.ones((3, 3, 3), np.uint8), name="Mask")
    ui.maskSelector.setCurrentNode(mask)
    ui.applyButton.click()
    client.the("open").done(opened())
    assert "Mask does not lie on the voxels of T1" in ui.statusLabel.text
    assert client.asked == []
    assert ui.applyButton.text == "Apply"


def test_input_deleted_while_running(ui, module, client: HandClient, caplog) -> None:
    volume = t1()
    ui.applyButton.click()
    client.answer_readying()
    slicer.mrmlScene.RemoveNode(volume)
    client.answer_sample(SHAPE)
    assert "was deleted" in ui.statusLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert not ui.applyButton.enabled
    t1("Next")
    apply(ui, client)
    assert ui.outputSelector.currentNode().GetName() == "Next synthetic FDG"


def test_output_deleted_while_running_is_made_anew(ui, client: HandClient) -> None:
    t1()
    apply(ui, client)
    ui.applyButton.click()
    slicer.mrmlScene.RemoveNode(ui.outputSelector.currentNode())
    client.answer_sample(SHAPE)
    assert np.all(values(ui.outputSelector.currentNode()) == 70)


def test_two_inputs_in_turn(ui, client: HandClient) -> None:
    first, second = t1("First"), t1("Second")
    ui.inputSelector.setCurrentNode(first)
    apply(ui, client)
    one = ui.outputSelector.currentNode()
    ui.inputSelector.setCurrentNode(second)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):  # the first one's overlay is gone
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (second.GetID(), None)
    apply(ui, client)
    two = ui.outputSelector.currentNode()
    assert (one.GetName(), two.GetName()) == ("First synthetic FDG", "Second synthetic FDG")
    assert client.history.count("prepare") == 2


def test_leaving_the_module_does_not_stop_it(ui, module, client: HandClient) -> None:
    t1()
    ui.applyButton.click()
    client.answer_readying()
    SYNTHESIS.exit(module)
    client.answer_sample(SHAPE)
    SYNTHESIS.enter(module)
    assert ui.outputSelector.currentNode().GetName() == "T1 synthetic FDG"
    assert ui.applyButton.text == "Apply"


# -------------------------------------------------------------------------------------------------- what is shown of it


def test_parts_of_the_result_take_turns_over_the_mri(ui, client: HandClient) -> None:
    t1()
    ui.liveBox.checked = False
    ui.temperatureSlider.value = 1
    ui.samplesBox.value = 4
    apply(ui, client)
    output = ui.outputSelector.currentNode()

    def over() -> str:
        return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetForegroundVolumeID()

    assert over() == output.GetID()
    for index, kind in ((2, "sd"), (3, "below"), (0, "mean")):
        ui.shownBox.setCurrentIndex(index)
        assert over() == resultOf(output, kind).GetID()
    ui.shownBox.setCurrentIndex(1)
    asked = client.the("sample")
    assert asked.question == Question({"age": 70.0}, temperature=1.0)
    asked.done(sampled(asked.question, np.full(SHAPE, 3, np.float32, order="F")))
    sample = resultOf(output, "sample")
    assert over() == sample.GetID()
    assert np.all(values(sample) == 3)
    assert sample.GetAttribute("DualGlow.SampleNumber") == "1"
    ui.sampleBox.value = 3
    assert client.the("sample").question == Question({"age": 70.0}, temperature=1.0, first=2)


def test_change_since_an_age_lies_over_the_mri(ui, module, client: HandClient) -> None:
    """In SUVR and in per cent, in colours of its own; another age of either end asks anew."""
    t1()
    apply(ui, client)
    output = ui.outputSelector.currentNode()
    red = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    ui.sinceBox.value = 60
    gestures.choose(ui.shownBox, "change since age … (SUVR)")
    asked = client.the("change")
    assert (asked.arguments["since"], asked.question) == (60, Question({"age": 70.0}))
    assert not unwrap(ui.sinceBox).isHidden()
    client.answer_change(SHAPE)
    change, percent = resultOf(output, "change"), resultOf(output, "percent")
    assert red.GetForegroundVolumeID() == change.GetID()
    assert change.GetDisplayNode().GetColorNode().GetName() == "DualGlow change since an age"
    assert change.GetDisplayNode().GetWindowLevelMin() == -change.GetDisplayNode().GetWindowLevelMax()
    assert "change since age 60" in module.window.marks.textIn("Red")
    assert not ui.colorBox.enabled
    assert not ui.windowWidget.enabled
    table = ui.regionsView.mrmlTableNode()
    assert [table.GetCellText(0, column) for column in range(4)] == ["left frontal", "1.500", "-0.100", "-1.0"]
    gestures.choose(ui.shownBox, "change since age … (%)")
    assert red.GetForegroundVolumeID() == percent.GetID()
    assert client.history.count("change") == 1
    ui.sinceBox.value = 50
    assert "since age 60 (chosen: 50)" in ui.agreementLabel.text
    client.answer_change(SHAPE, 0.2)
    assert percent.GetAttribute("DualGlow.SinceAge") == "50"
    np.testing.assert_allclose(values(percent), -2.0)
    ui.ageSlider.value = 80
    settle(module)
    client.answer_sample(SHAPE)
    assert resultOf(output, "change") is None  # it was that of another result
    assert client.the("change").question.covariates["age"] == 80
    client.answer_change(SHAPE)
    assert red.GetForegroundVolumeID() == resultOf(output, "percent").GetID()
    gestures.choose(ui.shownBox, "mean")
    assert ui.colorBox.enabled
    assert ui.regionsView.mrmlTableNode() is resultOf(output, "table")


def test_sample_nearest_to_a_bound_of_a_region(ui, module, client: HandClient) -> None:
    t1()
    ui.temperatureSlider.value, ui.samplesBox.value = 1, 4
    apply(ui, client)
    output = ui.outputSelector.currentNode()
    gestures.choose(ui.shownBox, "sample at a region's 5 %")
    asked = client.the("sample").question  # sample 2, as the rows say
    assert (asked.samples, asked.first) == (1, 1)
    assert [ui.regionBox.itemText(number) for number in range(ui.regionBox.count)] == ["left frontal"]
    client.answer_sample(SHAPE, 3.0)
    sample = resultOf(output, "sample")
    assert np.unique(values(sample)) == 3.0
    assert "at 5 % of left frontal" in module.window.marks.textIn("Red")
    gestures.choose(ui.shownBox, "sample at a region's 95 %")
    assert client.the("sample").question.first == 2
    client.answer_sample(SHAPE, 4.0)
    assert resultOf(output, "sample") is sample
    assert sample.GetAttribute("DualGlow.SampleNumber") == "3"
    assert ui.colorBox.enabled  # a sample is a PET
    gestures.choose(ui.shownBox, "sample number")
    ui.sampleBox.value = 3
    client.answer_sample(SHAPE, 4.0)
    assert "left frontal" not in module.window.marks.textIn("Red")


def test_the_tool_bar_of_sequences_shows_a_sweep(ui, client: HandClient) -> None:
    volume = t1()
    slicer.modules.sequences.setToolBarVisible(False)
    ui.sweepCollapsibleButton.collapsed = False
    ui.ageKnownBox.checked = True
    gestures.click(ui.sweepButton)
    client.answer_readying()
    client.answer_sweep(SHAPE)
    assert slicer.modules.sequences.isToolBarVisible()
    browser = slicer.modules.sequences.toolBar().activeBrowserNode()
    assert browser is volume.GetNodeReference("DualGlow.SweepBrowser")


def test_controls_that_act_on_nothing_shown_are_disabled(ui, client: HandClient) -> None:
    t1()
    assert not ui.seedBox.enabled  # without noise every seed gives the same image
    assert not ui.diceButton.enabled
    ui.temperatureSlider.value, ui.samplesBox.value = 1, 4
    assert ui.seedBox.enabled
    apply(ui, client)
    styles = (ui.colorBox, ui.windowWidget, ui.thresholdSlider)
    for title, acts in (("standard deviation", False), ("mean", True), ("probability below SUVR …", False)):
        gestures.choose(ui.shownBox, title)
        assert [widget.enabled for widget in styles] == [acts] * 3, title
        assert ui.opacitySlider.enabled
    gestures.choose(ui.shownBox, "mean")
    ui.sweepCollapsibleButton.collapsed = False
    gestures.click(ui.sweepButton)
    client.answer_sweep(SHAPE)
    assert [widget.enabled for widget in styles] == [False] * 3  # they are the output's, and the views show the sweep
    assert ui.opacitySlider.enabled


def test_long_work_is_told_before_it_starts(ui, client: HandClient, monkeypatch) -> None:
    """As long as it took before on this computer; and whether its memory will do."""
    now = [100.0]
    for place in (engine_module, window_of_runs, progress):
        monkeypatch.setattr(place.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(window_module, "computer_memory", lambda: 8 << 30)
    client.isRunning = False
    t1()
    ui.ageKnownBox.checked = True
    assert "Apply takes about" in ui.estimateLabel.text  # the MRI has to be prepared
    assert "memory" not in ui.estimateLabel.text
    monkeypatch.setattr(window_module, "computer_memory", lambda: 100 << 20)
    ui.samplesBox.value = 2
    assert "0.4 GiB of memory, and 0.1 GiB are free" in ui.estimateLabel.text
    client.isRunning = True
    ui.temperatureSlider.value, ui.samplesBox.value = 1, 4
    ui.ageKnownBox.checked = True
    ui.applyButton.click()
    client.answer_readying()
    now[0] += 16  # for four samples
    client.answer_sample(SHAPE)
    assert ui.estimateLabel.text == ""  # there is nothing to apply
    ui.liveBox.checked = False
    ui.samplesBox.value = 20
    assert ui.estimateLabel.text == "Apply takes about 80 s."


def test_check_says_of_each_device_whether_it_can_be_used(ui, client: HandClient) -> None:
    ui.modelCollapsibleButton.collapsed = False
    gestures.click(ui.deviceButton)
    client.answer_devices()
    assert ui.deviceText.text.split("\n")[-1] == "CPU: can be used."


@pytest.mark.parametrize("width", [383])
def test_no_word_is_cut_at_the_width_that_the_panel_has(ui, module, client: HandClient, width: int) -> None:
    """Every title of every button and box, and every line of text, in every state of the section on the result."""
    t1("sub-0001_ses-baseline_T1w")
    ui.temperatureSlider.value, ui.samplesBox.value = 1, 20
    apply(ui, client)
    for button in (ui.modelCollapsibleButton, ui.sweepCollapsibleButton, ui.exportCollapsibleButton):
        button.collapsed = False
    gestures.click(ui.deviceButton)
    client.answer_devices()
    for number in range(ui.shownBox.count):
        ui.shownBox.setCurrentIndex(number)
        panel = host.lay_out(module.parent, width)
        assert panel.width() == width
        assert cut(panel) == [], ui.shownBox.currentText


OWN_TITLES = ("preparationBox", "shownBox", "regionBox", "deviceBox", "modelBox")


def cut(panel) -> list[str]:
    """Texts of visible widgets that have less room than they need, but for names that the user gave."""
    found = []
    for widget in panel.findChildren(QWidget):
        if not widget.isVisible():
            continue
        if isinstance(widget, QLabel) and widget.text():
            needs = widget.heightForWidth(widget.width()) if widget.wordWrap() else 0
            if widget.height() < needs or (not widget.wordWrap() and widget.width() < widget.sizeHint().width()):
                found.append(widget.text())
        elif isinstance(widget, QPushButton) and widget.width() < widget.minimumSizeHint().width():
            found.append(widget.text())
        elif isinstance(widget, QComboBox) and widget.objectName() in (
            "shownBox",
            "regionBox",
            "deviceBox",
            "modelBox",
        ):
            room = widget.style().subControlRect(
                QStyle.ComplexControl.CC_ComboBox, combo(widget), QStyle.SubControl.SC_ComboBoxEditField, widget
            )
            needs = widget.fontMetrics().horizontalAdvance(widget.currentText())
            if room.width() < needs:
                found.append(widget.currentText())
    return found


def combo(widget: QComboBox) -> QStyleOptionComboBox:
    option = QStyleOptionComboBox()
    widget.initStyleOption(option)
    return option


def test_one_image_has_no_bounds(ui, client: HandClient) -> None:
    t1()
    apply(ui, client)
    gestures.choose(ui.shownBox, "sample at a region's 5 %")
    assert "no interval" in ui.statusLabel.text
    assert not any(one.do == "sample" for one in client.asked)


def test_no_column_of_the_regions_is_cut(ui, module, client: HandClient) -> None:
    """At the panel's usual width, also when a further result has wider numbers."""
    ui.inputSelector.setCurrentNode(t1())
    apply(ui, client)
    ui.temperatureSlider.value, ui.samplesBox.value = 1.0, 4
    ui.applyButton.click()
    about = {**row(many=True), "region": "posterior_cingulate_precuneus", "mean": 1.542, "low": 1.049, "high": 1.994}
    client.answer_sample(SHAPE, regions=[about] * 30)
    host.lay_out(module.parent, host.PANEL_WIDTH)
    view = unwrap(ui.regionsView)
    for column in range(4):
        assert view.columnWidth(column) >= view.sizeHintForColumn(column) > 20
    assert sum(map(view.columnWidth, range(4))) <= view.viewport().width()


def test_colours_follow_the_controls(ui, client: HandClient) -> None:
    t1()
    apply(ui, client)
    shown = ui.outputSelector.currentNode().GetDisplayNode()
    ui.windowWidget.setValues(0.5, 1.5)
    ui.thresholdSlider.value = 0.3
    ui.opacitySlider.value = 0.8
    titles = [ui.colorBox.itemText(index) for index in range(ui.colorBox.count)]
    assert {"PET-Heat", "PET-Rainbow", "Grey"} <= set(titles)
    ui.colorBox.setCurrentIndex(titles.index("PET-Rainbow"))
    assert (shown.GetWindowLevelMin(), shown.GetWindowLevelMax()) == (0.5, 1.5)
    assert shown.GetLowerThreshold() == pytest.approx(0.3)
    assert shown.GetColorNodeID().endswith("PET-Rainbow")
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {view.GetForegroundOpacity() for view in views} == {0.8}
    apply(ui, client)  # what the user set stays
    assert (shown.GetWindowLevelMin(), shown.GetColorNodeID().endswith("PET-Rainbow")) == (0.5, True)
    assert {view.GetForegroundOpacity() for view in views} == {0.8}


# ----------------------------------------------------------------------------------------------------- the live overlay


def test_overlay_follows_the_slider_and_then_becomes_exact(ui, module, client: HandClient) -> None:
    t1()
    apply(ui, client)
    output = ui.outputSelector.currentNode()
    client.answer_frames()  # ages at this temperature …
    client.answer_frames()  # … and temperatures at this age
    assert client.asked == []
    ui.ageSlider.value = 75
    preview = module.window.run.preview.node
    assert np.allclose(values(preview), 75)  # between the frames of 70 and 80
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {view.GetForegroundVolumeID() for view in views} == {preview.GetID()}
    assert np.all(values(output) == 70)
    ui.ageSlider.value = 85
    assert np.allclose(values(module.window.run.preview.node), 85)
    assert client.asked == []  # nothing is computed while it moves
    settle(module)
    client.answer_sample(SHAPE)
    assert np.all(values(output) == 85)
    assert {view.GetForegroundVolumeID() for view in views} == {output.GetID()}
    assert client.history.count("prepare") == 1


def test_temperature_moves_the_overlay_too(ui, module, client: HandClient) -> None:
    t1()
    apply(ui, client)
    client.answer_frames()
    client.answer_frames()
    ui.temperatureSlider.value = 0.25
    assert np.allclose(values(module.window.run.preview.node), 70 + 250)
    settle(module)
    assert client.the("sample").question.temperature == 0.25


def test_preview_lies_where_the_model_grid_lies(ui, module, client: HandClient) -> None:
    volume = t1()
    apply(ui, client)
    client.answer_frames()
    ui.ageSlider.value = 75
    matrix = vtk.vtkMatrix4x4()
    module.window.run.preview.node.GetIJKToRASMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix)[:3], [[2, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7]])
    assert module.window.run.preview.node.GetParentTransformNode() is volume.GetParentTransformNode()


def test_slider_moved_while_the_exact_image_is_made(ui, module, client: HandClient) -> None:
    t1()
    apply(ui, client)
    client.answer_frames()
    client.answer_frames()
    ui.ageSlider.value = 75
    settle(module)
    first = client.the("sample")
    ui.ageSlider.value = 90
    settle(module)
    assert first.isCancelled  # nobody wants it any more
    first.cancelled()
    client.answer_sample(SHAPE)
    assert np.all(values(ui.outputSelector.currentNode()) == 90)


def test_frames_of_another_person_are_not_shown(ui, module, client: HandClient) -> None:
    t1()
    apply(ui, client)
    client.answer_frames()
    ui.sexBox.setCurrentIndex(1)
    assert module.window.run.preview.node is None
    settle(module)
    assert client.the("sample").question.covariates["sex"] == "F"


def test_what_follows_the_sliders_for_long_is_told_in_the_bar(ui, module, client: HandClient, monkeypatch) -> None:
    """Twenty samples take as long live as with Apply; what is quick stays quiet."""
    now = [100.0]
    for place in (window_of_runs, progress):
        monkeypatch.setattr(place.time, "monotonic", lambda: now[0])
    t1()
    apply(ui, client)
    client.answer_frames()
    client.answer_frames()
    ui.temperatureSlider.value, ui.samplesBox.value = 1, 20
    settle(module)
    asked = client.the("sample")
    asked.event("progress", stage="sampling", fraction=0.01)
    now[0] += 0.5
    asked.event("progress", stage="sampling", fraction=0.05)
    assert ui.progressBar.value <= 0
    now[0] += 10
    asked.event("progress", stage="sampling", fraction=0.25)
    now[0] += 10
    asked.event("progress", stage="sampling", fraction=0.5)
    assert ui.progressBar.value == 50
    assert "Sampling" in ui.progressBar.format
    assert "about 20 s left" in ui.progressBar.format
    client.answer_sample(SHAPE)
    assert ui.progressBar.value <= 0


def test_a_bar_promises_nothing_of_what_was_quick_before(ui, client: HandClient, monkeypatch) -> None:
    """A patient that is prepared already is most of the bar at once; the comparison is what takes the time."""
    now = [100.0]
    for place in (window_of_runs, progress):
        monkeypatch.setattr(place.time, "monotonic", lambda: now[0])
    t1()
    ui.samplesBox.value = 4
    pet = t1("PET")
    ui.petSelector.setCurrentNode(pet)
    ui.compareCollapsibleButton.collapsed = False
    ui.compareButton.click()
    now[0] += 2
    client.answer_readying()
    asked = client.the("compare")
    asked.event("progress", stage="registration", fraction=0.0)
    now[0] += 1
    asked.event("progress", stage="registration", fraction=0.01)
    assert "left" not in ui.progressBar.format
    now[0] += 9
    asked.event("progress", stage="registration", fraction=0.1)
    assert "about 90 s left" in ui.progressBar.format
    client.answer_compare(SHAPE)


def test_late_frames_of_another_choice_are_dropped(ui, module, client: HandClient) -> None:
    t1()
    apply(ui, client)
    late = client.the("keyframes")
    ui.sexBox.setCurrentIndex(1)
    settle(module)
    client.answer_sample(SHAPE)
    frame = np.full((4, 4, 4), 7, np.float32)
    late.event("keyframe", age=70.0, temperature=0.0, values=frame, provenance=provenance(late.question))
    assert len(module.window.run.frames) == 0


def test_a_dead_worker_ends_the_live_overlay_with_a_word(ui, module, client: HandClient) -> None:
    t1()
    apply(ui, client)
    client.the("keyframes").fail("The process that computes has ended unexpectedly; try again.")
    assert "ended unexpectedly" in ui.statusLabel.text
    client.die()
    ui.ageSlider.value = 80
    assert "Press Apply" in ui.agreementLabel.text
    apply(ui, client)
    assert np.all(values(ui.outputSelector.currentNode()) == 80)


# ------------------------------------------------------------------------------------------------------------ the scene


@pytest.mark.parametrize("moment", ["idle", "opening", "sampling", "live"])
def test_scene_closed_in_the_middle(ui, module, client: HandClient, moment: str) -> None:
    t1()
    if moment == "live":
        apply(ui, client)
        ui.ageSlider.value = 80
        settle(module)
    elif moment != "idle":
        ui.applyButton.click()
        if moment == "sampling":
            client.answer_readying()
    ui.ageSlider.value = 90
    waiting = list(client.asked)
    used = []
    scene = slicer.mrmlScene
    observers = [
        scene.AddObserver(scene.StartCloseEvent, lambda *_: used.clear(), -1.0),  # after the window has heard of it
        scene.AddObserver(scene.NodeRemovedEvent, lambda *_: used.append(module._parameterNode)),
        scene.AddObserver(scene.EndCloseEvent, lambda *_: used.append("end"), 1.0),
    ]
    scene.Clear(0)
    for observer in observers:
        scene.RemoveObserver(observer)
    during = used[: used.index("end")]
    assert len(during) > 2
    assert set(during) == {None}  # while nodes go, the window writes to none
    assert all(one.isCancelled for one in waiting)
    for one in waiting:
        mean = np.zeros(SHAPE, np.float32)
        reply = opened() if one.do == "open" else Framed() if one.do == "keyframes" else sampled(one.question, mean)
        one.done(reply)  # too late, and heard by nobody
    client.asked.clear()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    assert not ui.applyButton.enabled
    assert ui.applyButton.text == "Apply"
    assert module._parameterNode.age == 70
    t1("Next")
    apply(ui, client)
    assert ui.outputSelector.currentNode().GetName() == "Next synthetic FDG"


def test_closing_the_scene_while_another_module_is_shown(ui, module) -> None:
    t1()
    SYNTHESIS.exit(module)
    slicer.mrmlScene.Clear(0)
    assert module._parameterNode is None
    volume = t1()
    SYNTHESIS.enter(module)
    assert module._parameterNode.inputVolume is volume
    assert ui.applyButton.enabled


def test_closed_window_observes_nothing_and_ends_its_worker(client: HandClient, monkeypatch) -> None:
    import DualGlowSynthesis

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    widget = SYNTHESIS.open()
    SYNTHESIS.close(widget)
    assert widget.Observations == []
    assert client.isClosed
    t1()
    slicer.mrmlScene.Clear(0)


def test_missing_packages_are_told_and_nothing_starts(ui, module, client: HandClient, monkeypatch) -> None:
    monkeypatch.setattr(dependencies, "missingPackages", lambda: ["torch>=2.4"])
    t1()
    ui.applyButton.click()
    assert client.history == []
    assert "torch" in ui.missingLabel.text
    assert "torch" in ui.statusLabel.text
    assert ui.applyButton.text == "Apply"


def test_scene_saved_in_the_middle_holds_no_preview(ui, module, client: HandClient, tmp_path) -> None:
    t1()
    apply(ui, client)
    client.answer_frames()
    ui.ageSlider.value = 75
    assert module.window.run.preview.node is not None
    settle(module)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    client.answer_sample(SHAPE)  # and what ran goes on
    assert np.all(values(ui.outputSelector.currentNode()) == 75)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    names = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert sorted(names) == ["T1", "T1 synthetic FDG"]
    module.initializeParameterNode()
    assert module._parameterNode.age == 75
    apply(ui, client)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_a_wrong_bundle_is_told_and_another_can_be_chosen(ui, module, client: HandClient) -> None:
    t1()
    ui.applyButton.click()
    client.the("open").refuse(
        "The weights in /models/other don't have the checksum that its config states; copy it anew."
    )
    assert "checksum" in ui.statusLabel.text
    assert module.window.engine.prepared is None
    apply(ui, client)
    assert client.history[:4] == ["open", "open", "prepare", "sample"]


def test_module_reloaded_while_it_runs(client: HandClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import DualGlowSynthesis

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    widget = SYNTHESIS.open()
    t1()
    widget.ui.applyButton.click()
    client.answer_readying()
    late = client.the("sample")
    SYNTHESIS.close(widget)  # as reloading does, before it makes another
    assert client.isClosed
    again = SYNTHESIS.open()
    late.done(sampled(late.question, np.zeros(SHAPE, np.float32)))  # heard by nobody
    assert again.ui.applyButton.text == "Apply"
    assert again.ui.applyButton.enabled
    SYNTHESIS.close(again)
