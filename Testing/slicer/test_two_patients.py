"""Two patients in one window: at no moment is anything shown, named or exported under the wrong patient or question."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from hand_client import sampled
from host import views
from loaded import SYNTHESIS, host, slicer
from module_scene import item_of
from two_patients import SHAPE, CodedClient, Database, Desk, add_patient, open_desk

from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowSynthesisLib.nodes import belonging, results  # isort: skip
from DualGlowSlicerLib import dependencies, volumes  # isort: skip


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    monkeypatch.setattr(dependencies, "missingPackages", list)
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    made = open_desk(CodedClient(), tmp_path, monkeypatch)
    yield made
    if made.module is not None:
        SYNTHESIS.close(made.module)
    assert host.slot_errors == []


def apply(desk: Desk) -> None:
    desk.ui.applyButton.click()
    desk.check()
    desk.finish()
    desk.check()


# ------------------------------------------------------------------------------------------------ the walk as written


def test_two_patients_in_turn_twice(desk: Desk, tmp_path: Path) -> None:
    ui = desk.ui
    anna, bert = add_patient(1, "T1", "2.1.1"), add_patient(2, "T1_1")
    pet = slicer.util.addVolumeFromArray(np.ones((3, 3, 3), np.float32), name="PET of Anna")
    outputs = {}
    for turn in range(2):
        for patient in (anna, bert):
            ui.inputSelector.setCurrentNode(patient)
            desk.check()
            parameters = desk.parameters
            if turn == 0:
                assert (parameters.ageKnown, parameters.sex) == ((True, "F") if patient is anna else (False, "unknown"))
                assert parameters.petVolume is None
            elif patient is anna:
                assert (parameters.age, parameters.sex, parameters.petVolume) == (60, "F", pet)
            else:
                assert not parameters.ageKnown
            assert parameters.outputVolume is outputs.get(patient)
            apply(desk)
            outputs[patient] = parameters.outputVolume
            if patient is anna:
                ui.petSelector.setCurrentNode(pet)
                ui.ageSlider.value = 60
                desk.check()
                desk.finish()
                desk.check()
                assert volumes.provenanceOf(outputs[anna])["Age"] == 60
            desk.export()
            ui.sweepButton.click()
            desk.check()
            desk.finish()
            desk.check()
            assert "The views show" in ui.agreementLabel.text
            if patient is anna:
                ui.compareButton.click()
                desk.finish()
                desk.check()
                assert "PET of Anna (age 60)" in ui.compareText.text
            desk.export()
    assert desk.exports == 8
    assert outputs[anna] is not outputs[bert]
    assert [outputs[one].GetName() for one in (anna, bert)] == [
        "Patient 1, T1 synthetic FDG", "T1_1 synthetic FDG",
    ]  # fmt: skip

    # Saved with the second as input; read again while the module is shown.
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    assert (ui.compareText.text, ui.statusLabel.text) == ("", "Choose a T1-weighted MRI of the brain.")
    assert ui.regionsView.mrmlTableNode() is None
    slicer.util.loadScene(path)
    desk.check()
    parameters = desk.parameters
    assert parameters.inputVolume.GetName() == "T1_1"
    assert not parameters.ageKnown
    ui.ageSlider.value = 90
    desk.check()
    assert "Press Apply" in ui.agreementLabel.text  # nothing is prepared, so that nothing follows
    apply(desk)
    assert ui.agreementLabel.text == ""

    # Module reloaded: the panel is as it was, and so is what it says.
    SYNTHESIS.close(desk.module)
    desk.module = SYNTHESIS.open()
    desk.check()
    assert desk.parameters.age == 90
    desk.ui.ageSlider.value = 55
    desk.check()
    assert "age 90 (chosen: 55)" in desk.ui.agreementLabel.text

    # The output deleted: nothing else takes its place.
    before = {node.GetID(): volumes.provenanceOf(node) for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode")}
    slicer.mrmlScene.RemoveNode(desk.parameters.outputVolume)
    desk.check()
    assert desk.parameters.outputVolume is None
    apply(desk)
    for identity, about in before.items():
        node = slicer.mrmlScene.GetNodeByID(identity)
        assert node is None or volumes.provenanceOf(node) == about


# ------------------------------------------------------------------------------------------------- each fault by itself


def test_deleting_the_mri_chooses_nobody_else(desk: Desk) -> None:
    _one, two, _three = add_patient(1, "One"), add_patient(2, "Two"), add_patient(3, "Three")
    desk.ui.inputSelector.setCurrentNode(two)
    apply(desk)
    slicer.mrmlScene.RemoveNode(two)
    desk.check()
    assert desk.parameters.inputVolume is None
    assert desk.ui.statusLabel.text == "Choose a T1-weighted MRI of the brain."


@pytest.mark.parametrize("field", ["maskVolume", "petVolume"])
def test_deleting_a_mask_or_pet_chooses_none(desk: Desk, field: str) -> None:
    add_patient(1, "One")
    other = add_patient(2, "Other")
    setattr(desk.parameters, field, other)
    slicer.mrmlScene.RemoveNode(other)
    assert getattr(desk.parameters, field) is None


def test_mask_and_pet_belong_to_the_patient(desk: Desk) -> None:
    one, two, mine = add_patient(1, "One"), add_patient(2, "Two"), add_patient(1, "Mine")
    desk.ui.inputSelector.setCurrentNode(one)
    desk.parameters.maskVolume = desk.parameters.petVolume = mine
    desk.ui.inputSelector.setCurrentNode(two)
    assert (desk.parameters.maskVolume, desk.parameters.petVolume) == (None, None)
    desk.ui.inputSelector.setCurrentNode(one)
    assert (desk.parameters.maskVolume, desk.parameters.petVolume) == (mine, mine)


def test_another_input_chosen_while_it_runs(desk: Desk) -> None:
    one, two = add_patient(1, "One"), add_patient(2, "Two")
    desk.ui.inputSelector.setCurrentNode(one)
    slicer.util.setSliceViewerLayers(background=one)
    desk.ui.applyButton.click()
    desk.ui.inputSelector.setCurrentNode(two)
    desk.finish()
    desk.check()
    assert desk.parameters.outputVolume is None
    assert "PET of One is ready" in desk.ui.statusLabel.text
    desk.ui.inputSelector.setCurrentNode(one)
    desk.check()
    assert desk.parameters.outputVolume.GetName() == "One synthetic FDG"


def test_a_copy_of_an_mri_has_results_of_its_own(desk: Desk) -> None:
    one = add_patient(1, "One")
    desk.ui.sweepButton.click()
    desk.finish()
    apply(desk)
    first = desk.parameters.outputVolume
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = slicer.vtkSlicerSubjectHierarchyModuleLogic.CloneSubjectHierarchyItem(hierarchy, item_of(one))
    copy = hierarchy.GetItemDataNode(item)
    slicer.util.arrayFromVolume(copy)[:] = 2
    slicer.util.arrayFromVolumeModified(copy)
    desk.ui.inputSelector.setCurrentNode(copy)
    desk.check()
    assert desk.parameters.outputVolume is None
    apply(desk)
    assert desk.parameters.outputVolume is not first
    desk.ui.sweepButton.click()
    desk.finish()
    desk.check()


def test_ids_used_again_are_another_patient(desk: Desk) -> None:
    one = add_patient(1, "One", "2.1.1")
    apply(desk)
    identity = one.GetID()
    slicer.mrmlScene.Clear(0)
    two = add_patient(2, "Two", "2.2.1")
    assert two.GetID() == identity
    desk.check()
    assert (desk.parameters.ageKnown, desk.parameters.sex) == (False, "M")
    apply(desk)


def test_an_acquired_image_is_no_output(desk: Desk) -> None:
    add_patient(1, "One")
    other = add_patient(2, "Other")
    desk.ui.outputSelector.setCurrentNode(other)
    assert desk.parameters.outputVolume is None
    assert "holds another image" in desk.ui.statusLabel.text
    apply(desk)
    assert np.all(slicer.util.arrayFromVolume(other) == 2)


def test_a_voxel_changed_after_apply_is_said(desk: Desk) -> None:
    one = add_patient(1, "One")
    apply(desk)
    assert desk.ui.agreementLabel.text == ""
    slicer.util.arrayFromVolumeModified(one)
    one.Modified()
    assert "before it was changed" in desk.ui.agreementLabel.text


def test_the_probability_names_the_threshold_that_it_was_made_with(desk: Desk) -> None:
    add_patient(1, "One")
    desk.parameters.temperature, desk.parameters.samples, desk.parameters.live = 1.0, 4, False
    apply(desk)
    desk.parameters.shown = "below"
    desk.parameters.belowThreshold = 1.5
    node = results.resultOf(desk.parameters.outputVolume, "below")
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert "P(<1)" in legend.GetTitleText()
    assert "threshold 1 (chosen: 1.5)" in desk.ui.agreementLabel.text
    assert "below 1" in desk.window.marks.textIn("Red")


def test_a_sweep_before_the_exact_image_has_come(desk: Desk) -> None:
    add_patient(1, "One")
    desk.ui.ageSlider.value = 60
    apply(desk)
    desk.ui.ageSlider.value = 80
    assert desk.window.shownNodes()[0] is desk.window.run.preview.node
    desk.ui.sweepButton.click()  # no preview stays over the MRI, and the window says what is shown
    desk.check()
    assert desk.window.shownNodes()[0] is desk.parameters.outputVolume
    assert "age 60 (chosen: 80)" in desk.ui.agreementLabel.text
    desk.finish()
    desk.check()
    assert volumes.provenanceOf(desk.parameters.outputVolume)["Age"] == 80  # it came after the sweep
    assert volumes.provenanceOf(desk.window.shownNodes()[0])["Content"] == "sweep"  # which stays in the views
    assert slicer.modules.sequences.toolBar().visible
    desk.ui.ageSlider.value = 90
    desk.finish()
    assert desk.window.shownNodes()[0] is desk.parameters.outputVolume
    desk.check()


def test_the_mark_and_the_scale_go_with_the_overlay(desk: Desk) -> None:
    if views.unavailable():
        pytest.skip(views.unavailable())
    one = add_patient(1, "One")
    acquired = slicer.util.addVolumeFromArray(np.zeros(SHAPE[::-1], np.float32), name="Acquired PET")

    def seen() -> tuple[bool, bool]:
        """Whether the mark's letters and the legend's scale, at the right below, are drawn."""
        red, green, blue = np.moveaxis(views.render("Red").astype(int), 2, 0)
        mark = (red > 180) & (green > 130) & (blue < 120)
        return bool(mark[:80].sum() > 100), bool((red[250:, 300:] > 150).sum() > 50)

    slicer.util.setSliceViewerLayers(background=acquired)
    assert seen() == (False, False)
    apply(desk)
    assert seen() == (True, True)
    for layers in ({"background": acquired, "foreground": None}, {"background": None, "foreground": acquired}):
        slicer.util.setSliceViewerLayers(**layers)
        assert seen() == (False, False)
    slicer.util.setSliceViewerLayers(background=one, foreground=desk.parameters.outputVolume)
    assert seen() == (True, True)


def test_a_scene_of_an_earlier_version_is_taken_as_it_is(desk: Desk, tmp_path: Path) -> None:
    one, two = add_patient(1, "One"), add_patient(2, "Two", "2.1.1")
    desk.ui.inputSelector.setCurrentNode(two)
    desk.ui.ageSlider.value = 66
    desk.ui.sexBox.setCurrentIndex(2)
    apply(desk)
    output, node = desk.parameters.outputVolume, desk.parameters.parameterNode
    new = ("Identity", "InputIdentity", "InputName", "Covariates", "DicomRead", "Preparation")
    for one_of_them in (one, two, output, results.resultOf(output, "table")):
        for name in new:
            one_of_them.RemoveAttribute(f"DualGlow.{name}")
    node.UnsetParameter("patient")
    path = str(tmp_path / "old.mrb")
    SYNTHESIS.exit(desk.module)
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    SYNTHESIS.enter(desk.module)
    slicer.util.loadScene(path)
    parameters = desk.parameters
    assert (parameters.inputVolume.GetName(), parameters.age, parameters.sex) == ("Two", 66, "M")
    assert parameters.outputVolume is not None
    desk.check()
    apply(desk)


def clone_of(node) -> object:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = slicer.vtkSlicerSubjectHierarchyModuleLogic.CloneSubjectHierarchyItem(hierarchy, item_of(node))
    return hierarchy.GetItemDataNode(item)


def test_a_copy_of_an_mri_has_covariates_of_its_own(desk: Desk) -> None:
    one = add_patient(1, "One")
    desk.ui.ageSlider.value = 60
    copy = clone_of(one)
    desk.ui.inputSelector.setCurrentNode(copy)
    desk.ui.ageSlider.value = 80
    desk.ui.inputSelector.setCurrentNode(one)
    assert desk.parameters.age == 60
    desk.ui.inputSelector.setCurrentNode(copy)
    assert desk.parameters.age == 80


def test_a_copy_of_a_mask_is_another_mask(desk: Desk) -> None:
    add_patient(1, "One")
    mask = add_patient(1, "Mask")
    desk.parameters.maskVolume = mask
    apply(desk)
    assert desk.ui.agreementLabel.text == ""
    desk.parameters.maskVolume = clone_of(mask)
    assert "another brain mask" in desk.ui.agreementLabel.text


def test_a_copy_of_a_result_leaves_the_originals_parts_alone(desk: Desk) -> None:
    add_patient(1, "One")
    desk.parameters.temperature, desk.parameters.samples, desk.parameters.live = 1.0, 4, False
    desk.ui.ageSlider.value = 60
    apply(desk)
    first = desk.parameters.outputVolume
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    copy.Copy(first)  # with its references, as scripts copy; the subject hierarchy leaves them out
    copy.SetName("Copy")
    desk.ui.outputSelector.setCurrentNode(copy)
    desk.ui.ageSlider.value = 80
    apply(desk)
    assert desk.parameters.outputVolume is copy
    for output, age in ((first, 60), (copy, 80)):
        parts = [*results.partsOf(output), results.resultOf(output, "table")]
        assert len(parts) == 4
        assert [volumes.provenanceOf(node)["Age"] for node in parts] == [age] * 4


def test_the_mri_changed_while_it_ran(desk: Desk) -> None:
    one = add_patient(1, "One")
    desk.ui.applyButton.click()
    while desk.client.asked[0].do != "sample":
        desk.client.answer()
    slicer.util.arrayFromVolumeModified(one)
    desk.finish()
    assert "before it was changed" in desk.ui.agreementLabel.text


def test_frames_are_of_the_present_voxels(desk: Desk) -> None:
    one = add_patient(1, "One")
    desk.ui.ageSlider.value = 60
    apply(desk)
    assert len(desk.window.run.frames) > 0
    slicer.util.arrayFromVolume(one)[:] = 2
    slicer.util.arrayFromVolumeModified(one)
    desk.ui.applyButton.click()
    while desk.client.asked[0].do != "keyframes":
        desk.client.answer()
    desk.ui.ageSlider.value = 70
    preview = desk.window.run.preview.node
    assert preview is None or int(slicer.util.arrayFromVolume(preview).flat[0]) // 1000 == 2


def test_what_a_script_wrote_has_no_samples_of_the_windows(desk: Desk) -> None:
    one = add_patient(1, "One")
    desk.parameters.temperature, desk.parameters.samples, desk.parameters.live = 1.0, 4, False
    desk.ui.ageSlider.value = 60
    apply(desk)
    output = desk.parameters.outputVolume
    question = Question({"age": 80.0}, temperature=1.0, samples=4)
    made = sampled(question, np.full(SHAPE, 1080, np.float32), sd=None, **desk.client.told(question))
    results.writeResult(one, output, made, None)
    desk.parameters.shown = "sample"
    desk.finish()
    assert results.resultOf(output, "sample") is None


def test_another_output_chosen_while_live_runs(desk: Desk) -> None:
    add_patient(1, "One")
    desk.ui.ageSlider.value = 60
    apply(desk)
    first = desk.parameters.outputVolume
    desk.ui.ageSlider.value = 80
    desk.settle()
    desk.ui.outputSelector.setCurrentNode(None)
    desk.finish()
    desk.check()
    assert desk.parameters.outputVolume is None
    assert volumes.provenanceOf(first)["Age"] == 60


def test_a_sample_other_than_the_chosen_one_is_said(desk: Desk) -> None:
    add_patient(1, "One")
    desk.parameters.temperature, desk.parameters.samples = 1.0, 4
    desk.parameters.shown = "sample"
    apply(desk)
    assert "sample 1" in desk.window.marks.textIn("Red")
    SYNTHESIS.close(desk.module)
    desk.client.forget()
    desk.module = SYNTHESIS.open()
    desk.parameters.sampleNumber = 3
    assert "sample 1" in desk.window.marks.textIn("Red")
    assert "sample 1 (chosen: 3)" in desk.ui.agreementLabel.text


def test_an_mri_moved_in_another_session_is_said(desk: Desk) -> None:
    one = add_patient(1, "One")
    apply(desk)
    SYNTHESIS.close(desk.module)
    desk.module = SYNTHESIS.open()
    assert desk.ui.agreementLabel.text == ""
    one.SetOrigin(10, 0, 0)
    assert "before it was changed" in desk.ui.agreementLabel.text


def test_a_scene_added_leaves_what_was_said(desk: Desk, tmp_path: Path) -> None:
    add_patient(2, "Two")
    apply(desk)
    path = str(tmp_path / "two.mrb")
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    one = add_patient(1, "One")
    desk.ui.inputSelector.setCurrentNode(one)
    desk.ui.ageSlider.value = 60
    apply(desk)
    slicer.util.loadScene(path)
    desk.check()
    desk.ui.inputSelector.setCurrentNode(one)
    desk.check()
    assert (desk.parameters.ageKnown, desk.parameters.age) == (True, 60)


def test_words_about_the_next_patient_stay(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = add_patient(1, "One"), add_patient(2, "Two", "2.1.1")
    desk.ui.inputSelector.setCurrentNode(one)
    monkeypatch.setattr(Database, "instanceValue", lambda _self, _uid, tag: "118Y" if tag == "0010,1010" else "")
    desk.ui.inputSelector.setCurrentNode(two)
    assert not desk.parameters.ageKnown
    assert "118 years, which is outside" in desk.ui.statusLabel.text


def test_a_models_range_says_no_age_of_anybody(desk: Desk) -> None:
    one, two = add_patient(1, "One"), add_patient(2, "Two")
    desk.ui.inputSelector.setCurrentNode(one)
    desk.ui.ageSlider.value = 90
    desk.ui.inputSelector.setCurrentNode(two)
    panel = desk.window.patient
    panel.setModel({"covariates": [{"name": "age", "range": [75, 85]}]})
    desk.window.onParametersChanged()
    assert not desk.parameters.ageKnown
    desk.ui.inputSelector.setCurrentNode(one)
    assert desk.parameters.ageKnown
    assert "Age 90 is outside" in desk.ui.statusLabel.text
    desk.ui.inputSelector.setCurrentNode(two)
    assert not desk.parameters.ageKnown
    add_patient(3, "Three")
    desk.ui.inputSelector.setCurrentNode(slicer.util.getNode("Three"))
    assert not desk.parameters.ageKnown


def test_marks_follow_the_patients_name(desk: Desk) -> None:
    one = add_patient(1, "T1", "2.1.1")
    apply(desk)
    assert "Patient 1, T1" in desk.window.marks.textIn("Red")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemName(hierarchy.GetItemAncestorAtLevel(item_of(one), "Patient"), "1")
    assert "1, T1" in desk.window.marks.textIn("Red").split("\n")


def test_an_overlay_left_behind_by_its_mri_is_said(desk: Desk) -> None:
    one = add_patient(1, "One")
    desk.ui.sweepButton.click()
    desk.finish()
    assert "NOT" not in desk.window.marks.textIn("Red")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    one.SetAndObserveTransformNodeID(transform.GetID())
    assert "NOT where the MRI lies now" in desk.window.marks.textIn("Red")
    one.SetAndObserveTransformNodeID(None)
    assert "NOT" not in desk.window.marks.textIn("Red")
    one.SetOrigin(5, 0, 0)
    assert "NOT where the MRI lies now" in desk.window.marks.textIn("Red")


def test_marks_name_both_layers_and_none_that_is_invisible(desk: Desk) -> None:
    one, two = add_patient(1, "One"), add_patient(2, "Two")
    outputs = []
    for patient in (one, two):
        desk.ui.inputSelector.setCurrentNode(patient)
        apply(desk)
        outputs.append(desk.parameters.outputVolume)
    slicer.util.setSliceViewerLayers(background=outputs[0], foreground=outputs[1], foregroundOpacity=0.5)
    text = desk.window.marks.textIn("Red")
    assert "Two" in text
    assert "One" in text
    slicer.util.setSliceViewerLayers(background=outputs[0], foreground=two, foregroundOpacity=0.5)
    assert "NOT made from Two" in desk.window.marks.textIn("Red")
    slicer.util.setSliceViewerLayers(background=two, foreground=outputs[1], foregroundOpacity=0.0)
    assert desk.window.marks.textIn("Red") == ""
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(outputs[1])
    assert not legend.GetVisibility()
    slicer.util.setSliceViewerLayers(foregroundOpacity=0.3)
    assert "Two" in desk.window.marks.textIn("Red")
    assert legend.GetVisibility()


# -------------------------------------------------------------------------------------------------------- a random walk


class User:
    """Does what a user can do, in any order."""

    def __init__(self, desk: Desk, seed: int, folder: Path) -> None:
        self.desk, self.random, self.folder = desk, random.Random(seed), folder
        self.scenes: list[str] = []
        self.codes = 0
        self.moves = sorted(name for name in dir(self) if name.startswith("do_"))

    def step(self) -> str:
        name = self.random.choice(self.moves)
        getattr(self, name)()
        return name

    def _any(self, nodes):
        nodes = list(nodes)
        return self.random.choice(nodes) if nodes else None

    def _volumes(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [node for node in nodes if not node.GetHideFromEditors()]

    def do_add_patient(self) -> None:
        if len(self.desk.patients()) < 4:
            self.codes = self.codes % 9 + 1
            dicom = self.random.choice(["", f"2.1.{self.codes}", f"2.2.{self.codes}"])
            add_patient(self.codes, self.random.choice(["T1", "5: MPRAGE", f"sub-{self.codes}"]), dicom)

    def do_choose_input(self) -> None:
        if self.desk.parameters is not None:
            self.desk.ui.inputSelector.setCurrentNode(self._any(self.desk.patients()))

    do_choose_another_input = do_choose_input

    def do_apply_or_cancel(self) -> None:
        if self.desk.ui.applyButton.enabled and self.desk.parameters is not None:
            self.desk.ui.applyButton.click()

    def do_apply(self) -> None:
        if self.desk.ui.applyButton.text == "Apply":
            self.do_apply_or_cancel()
            self.desk.finish()

    do_apply_again = do_apply

    def do_answer(self) -> None:
        self.desk.client.answer()

    do_answer_more = do_answer_much = do_answer

    def do_settle(self) -> None:
        self.desk.settle()

    def do_finish(self) -> None:
        self.desk.finish()

    def do_move_age(self) -> None:
        if self.desk.parameters is not None:
            self.desk.ui.ageSlider.value = float(self.random.randint(40, 99))

    do_move_age_again = do_move_age

    def do_toggle_age(self) -> None:
        self.desk.ui.ageKnownBox.checked = not self.desk.ui.ageKnownBox.checked

    def do_sex(self) -> None:
        self.desk.ui.sexBox.setCurrentIndex(self.random.randrange(3))

    def do_temperature(self) -> None:
        self.desk.ui.temperatureSlider.value = self.random.choice([0.0, 0.5, 1.0])

    def do_samples(self) -> None:
        self.desk.ui.samplesBox.value = self.random.choice([1, 4])

    def do_live(self) -> None:
        self.desk.ui.liveBox.checked = not self.desk.ui.liveBox.checked

    def do_show(self) -> None:
        self.desk.ui.shownBox.setCurrentIndex(self.random.randrange(4))

    def do_sweep(self) -> None:
        if self.desk.parameters is not None and self.desk.ui.sweepButton.enabled:
            self.desk.ui.sweepButton.click()

    def do_browse(self) -> None:
        browser = self._any(slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"))
        if browser is not None and browser.GetNumberOfItems():
            browser.SetSelectedItemNumber(self.random.randrange(browser.GetNumberOfItems()))
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)

    def do_compare(self) -> None:
        if self.desk.parameters is not None:
            self.desk.ui.petSelector.setCurrentNode(self._any(self.desk.patients()))
            if self.desk.ui.compareButton.enabled:
                self.desk.ui.compareButton.click()

    def do_choose_output(self) -> None:
        if self.desk.parameters is not None:
            self.desk.ui.outputSelector.setCurrentNode(self._any(self._volumes()))

    def do_new_output(self) -> None:
        if self.desk.parameters is not None:
            self.desk.ui.outputSelector.setCurrentNode(None)

    def do_delete(self) -> None:
        node = self._any([*self._volumes(), *slicer.util.getNodesByClass("vtkMRMLTableNode")])
        if node is not None:
            slicer.mrmlScene.RemoveNode(node)

    def do_delete_output(self) -> None:
        if self.desk.parameters is not None and self.desk.parameters.outputVolume is not None:
            slicer.mrmlScene.RemoveNode(self.desk.parameters.outputVolume)

    def do_rename(self) -> None:
        node = self._any(self.desk.patients())
        if node is not None:
            node.SetName(f"renamed {self.random.randrange(100)}")

    def do_show_by_hand(self) -> None:
        node = self._any(self._volumes())
        slicer.util.setSliceViewerLayers(**{self.random.choice(["background", "foreground"]): node})

    def do_opacity(self) -> None:
        slicer.util.setSliceViewerLayers(foregroundOpacity=self.random.choice([0.0, 0.5, 1.0]))

    def do_copy(self) -> None:
        node = self._any(self._volumes())
        if node is not None and len(self._volumes()) < 30:
            if self.random.random() < 0.5:
                clone_of(node)
            else:
                slicer.mrmlScene.AddNewNodeByClass(node.GetClassName()).Copy(node)

    def do_change_voxels(self) -> None:
        node = self._any(self.desk.patients())
        if node is not None:
            slicer.util.arrayFromVolumeModified(node)

    def do_move_mri(self) -> None:
        node = self._any(self.desk.patients())
        if node is not None:
            transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
            node.SetAndObserveTransformNodeID(self.random.choice([None, transform.GetID()]))

    def do_leave(self) -> None:
        SYNTHESIS.exit(self.desk.module)

    def do_enter(self) -> None:
        SYNTHESIS.enter(self.desk.module)

    do_enter_again = do_enter_once_more = do_enter

    def do_reload(self) -> None:
        SYNTHESIS.close(self.desk.module)
        self.desk.client.forget()
        self.desk.client.isRunning = True
        self.desk.module = SYNTHESIS.open()

    def do_save(self) -> None:
        path = str(self.folder / f"scene{len(self.scenes)}.mrb")
        if len(self.scenes) < 6 and slicer.util.saveScene(path):
            self.scenes.append(path)

    def do_load(self) -> None:
        if self.scenes and self.random.random() < 0.5:
            self.desk.first_codes.clear()
            slicer.util.loadScene(self.random.choice(self.scenes))

    def do_close_scene(self) -> None:
        if self.random.random() < 0.3:
            self.desk.first_codes.clear()
            slicer.mrmlScene.Clear(0)

    def do_worker_dies(self) -> None:
        self.desk.client.die()

    def do_export(self) -> None:
        output = self.desk.parameters.outputVolume if self.desk.parameters is not None else None
        if belonging.inputOf(output) is not None:
            self.desk.export()


@pytest.mark.parametrize("seed", [1, 2])
def test_random_walk(desk: Desk, tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "scenes"
    folder.mkdir()
    user = User(desk, seed, folder)
    done: list[str] = []
    for _ in range(300):
        done.append(user.step())
        try:
            desk.check()
            assert host.slot_errors == []
        except Exception as error:
            raise AssertionError(f"after {len(done)} steps, the last {done[-12:]}: {error}") from error
    assert len(set(done)) > 30
