"""Both modules in the test host: a real MRML scene, real Qt widgets made from their .ui files."""

from __future__ import annotations

import shlex
import subprocess
import sys
import types

import numpy as np
import pytest
import vtk

from hand_client import provenance, row
from host.members import RECORD, members
from host.widgets import CTK, QMRML
from loaded import ROOT, SYNTHESIS, TRAINING, host, slicer
from raw_cohort import make_cohort
from tiny_training import write_settings

from DualGlowLib import InputError  # isort: skip
from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowSlicerLib import volumes  # isort: skip
from DualGlowSynthesisLib.nodes.display import SUVR_WINDOW, colorMaps  # isort: skip
from DualGlowSynthesisLib.logic import DualGlowSynthesisLogic  # isort: skip

OBLIQUE = np.array([[0.0, -0.8, 0.6, 10.0], [0.0, 0.6, 0.8, -20.0], [-1.5, 0.0, 0.0, 30.0], [0.0, 0.0, 0.0, 1.0]])


class Arithmetic:
    """In the place of the library's Session: the PET is the T1 times the age, which a test can foretell."""

    def __init__(self) -> None:
        self.encoded, self.asked, self.opened, self.device = [], [], [], "cpu"
        self._key, self._scan = None, None

    def open(self, bundle, device):
        self.opened.append((bundle, device))

    def prepare(self, scan, mask, prepared, key, progress):
        if key != self._key:
            self._key, self._scan = key, scan()
            self.encoded.append(self._scan)

    def sample(self, question, progress=None):
        self.asked.append(question)
        scan, many = self._scan, question.drawn > 1
        return types.SimpleNamespace(
            mean=scan.like(scan.data * np.float32(question.covariates.get("age") or 0)),
            sd=scan.like(np.full(scan.shape, 0.25, np.float32)) if many else None,
            below=None if question.below is None else scan.like(np.full(scan.shape, question.below, np.float32)),
            regions=[row(many)],
            provenance=provenance(question, Bundle="test bundle", ToTemplate=[[1.0, 0.0]]),
        )

    def sweep(self, question, ages, step, progress):
        for age in ages:
            step(age, self.sample(question.at(age=age)))


@pytest.fixture(autouse=True)
def _clean_scene():
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    yield
    assert host.slot_errors == []


@pytest.fixture
def session() -> Arithmetic:
    return Arithmetic()


@pytest.fixture
def logic(session) -> DualGlowSynthesisLogic:
    return DualGlowSynthesisLogic(sessionFactory=lambda: session)


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
    if module.panel is not None:  # in the application it stays until the end
        module.close(module.panel._object.window)


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
    widget.deleteLater()  # its own slots keep it


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


def test_library_gets_the_mri_in_its_own_terms(logic, session):
    volume = t1()
    logic.synthesize(
        volume, age=72.0, sex="F", diagnosis=None, education=12, temperature=0.7, samples=2, seed=5, below=1
    )
    scan = session.encoded[0]
    assert scan.data.dtype == np.float32
    assert scan.data[4, 3, 2] == slicer.util.arrayFromVolume(volume)[2, 3, 4]  # i, j, k and k, j, i
    assert np.allclose(scan.affine, OBLIQUE)
    assert scan.source == "T1"
    assert session.asked == [Question({"age": 72.0, "sex": "F", "education": 12}, 0.7, 2, 5, below=1)]
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
    assert display.GetColorNodeID() in colorMaps().values()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == SUVR_WINDOW
    assert display.GetApplyThreshold()
    assert 0 < display.GetLowerThreshold() < 0.2
    assert display.GetUpperThreshold() >= slicer.util.arrayFromVolume(output).max()
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert len(views) == 3
    for view in views:
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (volume.GetID(), output.GetID())
        assert view.GetForegroundOpacity() == 0.5


def test_mri_is_encoded_once_until_it_changes(logic, session):
    volume = t1()
    output = logic.synthesize(volume, age=60)
    assert logic.synthesize(volume, age=80, outputVolume=output) is output
    assert len(session.encoded) == 1
    slicer.util.arrayFromVolume(volume)[:] += 1
    slicer.util.arrayFromVolumeModified(volume)
    logic.synthesize(volume, age=80, outputVolume=output)
    assert len(session.encoded) == 2
    volume.SetOrigin(1, 2, 3)
    logic.synthesize(volume, age=80, outputVolume=output)
    assert len(session.encoded) == 3


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
    chosen, volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "My PET"), t1()
    output = logic.synthesize(volume, age=1, outputVolume=chosen)
    assert output is chosen
    assert output.GetName() == "My PET"
    assert output.GetImageData().GetDimensions() == (5, 4, 3)
    assert logic.synthesize(volume, age=2, outputVolume=chosen) is chosen


def test_neither_an_image_nor_the_result_of_another_mri_is_written_over(logic, session):
    acquired = slicer.util.addVolumeFromArray(np.ones((2, 2, 2), np.uint8), name="Acquired")
    first, second = t1(), t1()
    made = logic.synthesize(first, age=1)
    for output, sentence in ((acquired, "holds another image"), (made, "was made from"), (second, "the input")):
        before = slicer.util.arrayFromVolume(output).copy()
        with pytest.raises(InputError, match=sentence):
            logic.synthesize(second, age=2, outputVolume=output)
        assert np.array_equal(slicer.util.arrayFromVolume(output), before)


@pytest.mark.parametrize("case", ["none", "empty", "colour", "same", "synthetic"])
def test_unusable_volumes_get_one_sentence(logic, session, case):
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
    assert session.encoded == []


def test_result_on_another_lattice_is_refused():
    volume = t1()
    scan = volumes.scanFromVolume(volume)
    scan.affine[0, 3] += 1
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(ValueError, match="lattice of T1"):
        volumes.updateVolumeFromScan(output, scan, volume)


def test_sweep_makes_a_sequence_over_the_mri(logic, session):
    volume = t1()
    made = logic.sweep(volume, [60, 70], sex="F", education=12, temperature=0.7, samples=2, seed=5)
    assert session.asked == [Question({"age": age, "sex": "F", "education": 12}, 0.7, 2, 5) for age in (60, 70)]
    assert made.sequence.GetNumberOfDataNodes() == 2
    assert volumes.provenanceOf(made.table)["WithinTrainingRange"] is True
    later = logic.sweep(volume, [60, 95])
    assert volumes.provenanceOf(later.table)["WithinTrainingRange"] is False
    made = logic.sweep(volume, [60, 70])
    assert made.proxy.GetParentTransformNode() is volume.GetParentTransformNode()
    second = slicer.util.arrayFromVolume(made.sequence.GetNthDataNode(1))
    assert np.array_equal(second, 70.0 * slicer.util.arrayFromVolume(volume))


# ------------------------------------------------------------------------------------------------------------- training


@pytest.fixture
def training():
    widget = TRAINING.open()
    assert widget.window is not None  # it is made to the end
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


def test_a_box_that_a_file_speaks_for_says_so(training):
    files = {"presetBox": ("settingsPath", "settings file"), "foldsBox": ("splitsPath", "folds file")}
    for name, (path, words) in files.items():
        box, chosen = getattr(training.ui, name), getattr(training.ui, path)
        usual = box.toolTip
        chosen.currentPath = "/data/file.json"
        assert (box.enabled, words in box.toolTip, "below More" in box.toolTip) == (False, True, True)
        chosen.currentPath = ""
        assert (box.enabled, box.toolTip) == (True, usual)


def test_choices_are_those_of_the_library(training):
    from DualGlowLib.model import PRESETS
    from DualGlowLib.volumes.grid import GRIDS

    for box, names in ((training.ui.presetBox, PRESETS), (training.ui.gridBox, ["automatic", *GRIDS])):
        assert [box.itemText(index) for index in range(box.count)] == list(names)


def test_the_command_trains_on_scans_as_they_were_acquired(training, tmp_path):
    """Prepared onto the chosen grid; then, with the grid left to the command, on the prepared cases."""
    from DualGlowLib.__main__ import main
    from DualGlowLib.bundle.bundle import load_bundle

    scans, settings = make_cohort(tmp_path / "my scans", ["sub-1", "sub-2"]), write_settings(tmp_path / "few.json")

    def arguments(cases, run: str, grid: str) -> list[str]:
        training.ui.casesPath.currentPath, training.ui.outputPath.currentPath = str(cases), str(tmp_path / run)
        training.ui.gridBox.currentText = grid
        training.ui.settingsPath.currentPath = str(settings)
        _, _, given = training.ui.commandText.plainText.partition("--python-script ")
        return [*shlex.split(given), "--steps", "1"]

    done = subprocess.run([sys.executable, *arguments(scans, "first", "small")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (prepared,) = tmp_path.glob("my scans-small-*")
    script, dashes, *options = arguments(prepared, "second", "automatic")  # and in this process, which is faster
    assert (script, dashes) == (str(ROOT / "DualGlowTraining" / "Scripts" / "train.py"), "--")
    assert main(["train", *options]) == 0
    assert [load_bundle(tmp_path / run / "bundle").grid.name for run in ("first", "second")] == ["small", "small"]
