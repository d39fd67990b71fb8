"""The window of DualGlow Training, with real processes: from a folder of cases to a model, also when it is closed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from PySide6.QtWidgets import QLabel, QPushButton

from adni_download import make_download
from host import gestures, views
from host.pythonqt import unwrap
from loaded import SYNTHESIS, TRAINING, host, slicer
from places import TRAIN
from screenshots import grab
from tiny_training import make_simulated, write_settings
from two_processes import environment, furthest, torchrun

from DualGlowLib.training.status import ask, read_status  # isort: skip
from DualGlowSlicerLib import volumes  # isort: skip
from DualGlowTrainingLib import charts, runPanel  # isort: skip
from DualGlowTrainingLib.history import History  # isort: skip

PATIENCE = 200  # seconds
STEPS = 10**6


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    import qt

    qt.QSettings().remove(runPanel.LAST_RUN)
    yield
    qt.QSettings().remove(runPanel.LAST_RUN)
    assert host.slot_errors == []


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    return make_simulated(tmp_path_factory.mktemp("cohort") / "my cases", 6)


@contextlib.contextmanager
def opened():
    widget = TRAINING.open()
    assert host.pump(until=lambda: widget._window is not None)
    try:
        yield widget
    finally:
        TRAINING.close(widget)


@contextlib.contextmanager
def ended(run: Path):
    """Whatever happens in the block, the run's process is no more afterwards, and its parent has noticed."""
    try:
        yield
    finally:
        holder = read_status(run).holder
        if holder and holder.alive:
            os.kill(holder.pid, signal.SIGKILL)
        host.pump(timeout=0.3)
        subprocess._cleanup()


def wait(until) -> None:
    assert host.pump(until=until, timeout=PATIENCE)


def choose(widget, cases: Path, run: Path, settings: Path) -> None:
    widget.ui.casesPath.currentPath, widget.ui.outputPath.currentPath = str(cases), str(run)
    widget.ui.settingsPath.currentPath = str(settings)


def in_plain_python(cases: Path, run: Path, options: list[str]) -> Path:
    """The same training by the script, as on a server."""
    words = [sys.executable, str(TRAIN), str(cases), "--output", str(run), *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return run


def losses(run: Path) -> list[dict]:
    """All numbers of all steps, but for the time."""
    steps = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in step.items() if name != "seconds"} for step in steps]


def refused(widget, button, monkeypatch) -> str:
    """What a box says after a button was pressed."""
    said = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, *_, **__: said.append(text))
    gestures.click(button)
    wait(lambda: said or "…" not in widget.ui.foundLabel.text + widget.ui.runLabel.text)
    host.pump(timeout=1.5)
    return said[0] if said else ""


# --------------------------------------------------------------------------------------------------- the whole way


def test_a_cohort_is_trained_from_the_window_closed_killed_and_resumed(cases: Path, tmp_path: Path) -> None:
    """Checked, started, closed and opened again while it runs, paused, killed (and said to be dead), resumed, used."""
    run, settings = tmp_path / "run", write_settings(tmp_path / "settings.json", steps=STEPS, validate_every=4)
    with ended(run):
        with opened() as widget:
            ui = widget.ui
            choose(widget, cases, run, settings)
            gestures.click(ui.checkCasesButton)
            wait(lambda: "can be used" in ui.foundLabel.text)
            assert ui.foundLabel.text == "6 of 6 cases can be used, of 6 subjects."
            assert ui.casesTable.rowCount == 6
            gestures.click(ui.startButton)
            assert ui.runLabel.text == "The training starts …"
            assert not ui.startButton.enabled
            wait(lambda: widget.window.run.status.step >= 5)
            wait(lambda: "PET" in ui.numbersLabel.text and "held-out" in ui.numbersLabel.text)
            wait(lambda: ui.samplesLabel.text.startswith("Held-out cases at step "))
            titles = [ui.curveBox.itemText(index) for index in range(ui.curveBox.count)]
            assert {"PET NLL (bits/dim)", "PSNR (dB)", "CRPS (SUVR)"} <= set(titles)
            assert f"step {widget.window.run.status.step} of {STEPS}" in ui.runLabel.text
            gestures.click(ui.curvesButton)
        pid = read_status(run).holder.pid
        step = read_status(run).step
        with opened() as widget:  # it finds the run by itself
            ui = widget.ui
            assert (ui.outputPath.currentPath, ui.casesPath.currentPath) == (str(run), str(cases))
            wait(lambda: widget.window.run.status.step > step)
            gestures.click(ui.pauseButton)
            wait(lambda: widget.window.run.status.state == "paused")
            assert ui.pauseButton.text == "Continue"
            assert ui.runLabel.text == "Paused, and saved."
            gestures.click(ui.pauseButton)
            wait(lambda: widget.window.run.status.state == "training")
            if sys.platform == "linux":
                os.kill(pid, signal.SIGSTOP)
                wait(lambda: f"of {STEPS}. The run's process {pid} is suspended; kill -CONT" in ui.runLabel.text)
                os.kill(pid, signal.SIGCONT)
                wait(lambda: "suspended" not in ui.runLabel.text)
            os.kill(pid, signal.SIGKILL)
            wait(lambda: widget.window.run.status.state == "dead")
            assert f"process {pid}" in ui.runLabel.text
            assert "has died at step" in ui.runLabel.text
            died = widget.window.run.status.step
            assert (ui.startButton.text, ui.startButton.enabled, ui.stopButton.enabled) == ("Resume", True, False)
            gestures.click(ui.startButton)
            wait(lambda: widget.window.run.status.step > died)  # what the dead one said of itself is still there before
            assert read_status(run).holder.pid != pid
            gestures.click(ui.stopButton)
            wait(lambda: widget.window.run.status.state == "stopped")
            assert ui.runLabel.text.startswith("Stopped at step ")
            wait(lambda: ui.startButton.enabled)
            assert ui.startButton.text == "Resume"


def test_a_model_is_used_and_exported(tmp_path: Path, monkeypatch) -> None:
    """It is the model that a script and ``torchrun`` train on the same 24 cases, step by step."""
    run, settings = tmp_path / "run", write_settings(tmp_path / "settings.json")
    cases = make_simulated(tmp_path / "my cases", 24)
    with ended(run), opened() as widget:
        ui = widget.ui
        choose(widget, cases, run, settings)
        assert not ui.useButton.enabled
        gestures.click(ui.startButton)
        wait(lambda: widget.window.run.status.state in ("done", "failed"))
        assert ui.runLabel.text == "Done: 4 steps."
        assert not ui.startButton.enabled
        assert "another output folder" in ui.startButton.toolTip
        options = widget.window.plan.options()
        assert losses(run) == losses(in_plain_python(cases, tmp_path / "plain", options))
        words = torchrun(TRAIN, cases, "--output", tmp_path / "two", *options)
        assert subprocess.run(words, env=environment(), capture_output=True, check=False).returncode == 0
        assert furthest(run, tmp_path / "two") < 1e-4
        widget.window.run.export(str(tmp_path / "model.zip"))
        wait(lambda: "SHA-256" in ui.exportLabel.text)
        assert hashlib.sha256((tmp_path / "model.zip").read_bytes()).hexdigest() in ui.exportLabel.text
        with zipfile.ZipFile(tmp_path / "model.zip") as archive:
            assert set(archive.namelist()) == {f"run/{n}" for n in ("config.json", "weights.safetensors", "README.md")}
        said = []
        monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, *_, **__: said.append(text))
        widget.window.run.export(str(tmp_path / "model.zip"))  # which is there by now
        wait(lambda: said)
        assert said == [f"{tmp_path / 'model.zip'} exists already; give another name."]
        host.pump(timeout=0.6)
        gestures.click(ui.useButton)
        synthesis = slicer.util.getModuleWidget("DualGlowSynthesis")
        wait(lambda: synthesis.ui.modelBox.currentText == f"run ({run / 'bundle'})")
        slicer.util.selectModule("Volumes")
        SYNTHESIS.close(synthesis)
        from DualGlowSynthesisLib.models import models

        models._store(models._FOLDERS, [])


def test_scans_as_they_come_are_prepared_and_trained(tmp_path: Path) -> None:
    """With the real preparation, whose pictures are then those of the cases in the table."""
    folder, run = make_download(tmp_path / "scans"), tmp_path / "run"
    settings = write_settings(tmp_path / "settings.json", steps=2, batch=1)
    with ended(run), opened() as widget:
        ui = widget.ui
        choose(widget, folder, run, settings)
        gestures.choose(ui.gridBox, "small")
        gestures.click(ui.checkCasesButton)
        wait(lambda: "2 of" in ui.foundLabel.text)
        ui.casesTable.selectRow(0)
        assert "There are no pictures" in ui.caseText.text
        gestures.click(ui.startButton)
        wait(lambda: "Preparing the cases: " in ui.runLabel.text)
        wait(lambda: widget.window.run.status.state in ("done", "failed"))
        assert ui.runLabel.text == "Done: 2 steps."
        ui.casesTable.selectRow(1)
        wait(lambda: not unwrap(ui.petPicture).isHidden())
    assert losses(run)[-1]["step"] == 2


# ------------------------------------------------------------------------------------------------------------- folds


def test_folds_are_trained_one_after_another_killed_found_again_and_resumed(cases: Path, tmp_path: Path) -> None:
    """All of it in one process, which goes on without the window."""
    folder, settings = tmp_path / "runs", write_settings(tmp_path / "settings.json")
    runs = [folder / "fold-0", folder / "fold-1"]
    with ended(folder):
        with opened() as widget:
            ui = widget.ui
            choose(widget, cases, folder, settings)
            assert unwrap(ui.foldBox).isHidden()
            ui.foldsBox.value = 2
            assert [ui.foldBox.itemText(index) for index in range(3)] == [
                "all folds, one after another", "fold 0", "fold 1"
            ]  # fmt: skip
            commands = ui.commandText.plainText.splitlines()
            assert len(commands) == 2
            assert commands[1].endswith(f"--splits {folder / 'folds.json'} --fold 1")
            gestures.click(ui.startButton)
            assert (ui.runLabel.text, ui.startButton.enabled) == ("The training starts …", False)
            wait(lambda: read_status(runs[1]).is_running)
            ask(runs[1], "pause")  # so that it is still there when it is killed
            wait(lambda: ui.shownBox.currentText == "fold-1: paused")  # the run that goes on is shown
        holder = read_status(folder).holder
        assert holder.alive
        os.kill(holder.pid, signal.SIGKILL)
        wait(lambda: not read_status(folder).holder.alive)  # the window finds it dead
        before = (runs[0] / "bundle" / "config.json").stat().st_mtime_ns
        with opened() as widget:
            ui = widget.ui
            assert (ui.outputPath.currentPath, ui.foldsBox.value) == (str(folder), 2)
            wait(lambda: "has died" in ui.runLabel.text)
            assert ui.shownBox.itemText(0) == "fold-0: done"
            wait(lambda: ui.startButton.enabled)
            assert ui.startButton.text == "Resume"
            gestures.click(ui.startButton)
            wait(lambda: read_status(runs[1]).state == "done")
            wait(lambda: "ended" in ui.startButton.toolTip)
            assert ui.shownBox.itemText(1) == "fold-1: done"
            assert ui.useButton.enabled
    assert (runs[0] / "bundle" / "config.json").stat().st_mtime_ns == before
    people = [json.loads((run / "bundle" / "config.json").read_text())["training"]["cases"] for run in runs]
    assert people == [3, 3]


def test_folds_of_ones_own(cases: Path, tmp_path: Path) -> None:
    """Their file says how many there are; one that says nothing of use can't be started with."""
    names = sorted(path.name for path in cases.glob("sub-*"))
    table = tmp_path / "folds.tsv"
    table.write_text("subject\tfold\n" + "".join(f"{name}\t{index % 3}\n" for index, name in enumerate(names)))
    with opened() as widget:
        ui = widget.ui
        choose(widget, cases, tmp_path / "run", tmp_path / "none.json")
        ui.splitsPath.currentPath = str(table)
        assert [ui.foldBox.itemText(index) for index in range(1, 4)] == ["fold 0", "fold 1", "fold 2"]
        assert not ui.foldsBox.enabled
        gestures.choose(ui.foldBox, "fold 2")
        assert ui.commandText.plainText.endswith(f"--splits {table} --fold 2")
        assert f"--output {tmp_path / 'run' / 'fold-2'} " in ui.commandText.plainText
        assert unwrap(ui.shownBox).isHidden()
        (tmp_path / "other.tsv").write_text("subject\tfold\nsub-1\tfirst\n")
        ui.splitsPath.currentPath = str(tmp_path / "other.tsv")
        assert not ui.startButton.enabled
        assert ui.startButton.toolTip.endswith("puts 'sub-1' into the fold 'first'; folds are the numbers from 0.")
        ui.splitsPath.currentPath = ""


# ----------------------------------------------------------------------------------------------------------- samples


def write_samples(run: Path, step: int, value: float) -> None:
    folder = run / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((90, 640, 3), 90, np.uint8)).save(folder / f"step-{step:07d}.png")
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    affine[:3, 3] = [-40, -60, -20]
    for name, factor in (("T1w", 0.5), ("pet", 1.0), ("mean", 1.1), ("sample", 1.2)):
        data = np.full((16, 20, 12), value * factor, np.float32)
        nib.save(nib.Nifti1Image(data, affine), folder / f"latest_{name}.nii.gz")
        (folder / f"latest_{name}.json").write_text(json.dumps({"Synthetic": name in ("mean", "sample")}))


def test_samples_are_shown_beside_their_truth_and_the_scene_is_given_back(tmp_path: Path) -> None:
    mine = slicer.util.addVolumeFromArray(np.random.default_rng(0).random((9, 10, 11), np.float32), name="mine")
    slicer.util.setSliceViewerLayers(background=mine, foreground=None, fit=True)
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.SetFieldOfView(33.0, 44.0, 1.0)
    before, nodes = views.render("Red"), slicer.mrmlScene.GetNumberOfNodes()
    run = tmp_path / "run"

    def shown() -> str:
        view = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        return slicer.mrmlScene.GetNodeByID(view.GetBackgroundVolumeID()).GetName()

    with opened() as widget:
        ui = widget.ui
        choose(widget, tmp_path, run, tmp_path / "none.json")
        assert unwrap(ui.samplesBox).isHidden()
        write_samples(run, 500, 1.0)
        wait(lambda: ui.samplesLabel.text == "Held-out cases at step 500.")
        assert not unwrap(ui.samplesPicture).pixmap().isNull()
        assert ui.logText.plainText == ""
        assert "started elsewhere" in unwrap(ui.logText).placeholderText()
        assert shown() == "mine"
        gestures.choose(ui.viewsBox, "sample")
        wait(lambda: shown() == "run: SYNTHETIC sample")
        sample = slicer.util.getNode("run: SYNTHETIC sample")
        assert np.allclose(slicer.util.arrayFromVolume(sample), 1.2)
        assert sample.GetAttribute("DualGlow.Synthetic") == "true"
        assert slicer.util.getNode("run: pet").GetAttribute("DualGlow.Synthetic") is None
        bounds = [0.0] * 6
        sample.GetRASBounds(bounds)
        assert np.allclose(bounds, [-42.5, 37.5, -62.5, 37.5, -22.5, 37.5])
        gestures.choose(ui.viewsBox, "PET")
        assert shown() == "run: pet"
        write_samples(run, 1000, 2.0)
        wait(lambda: np.allclose(slicer.util.arrayFromVolume(sample), 2.4))  # in its place
        wait(lambda: ui.samplesLabel.text.endswith("step 1000."))
        assert shown() == "run: pet"
        assert volumes.firstAcquired() is mine
        assert not any(node.GetSaveWithScene() for node in (sample, sample.GetDisplayNode()))
        gestures.choose(ui.viewsBox, "as they are")
        assert slicer.mrmlScene.GetNumberOfNodes() == nodes
        assert np.array_equal(views.render("Red"), before)
        gestures.choose(ui.viewsBox, "mean")
        wait(lambda: shown() == "run: SYNTHETIC mean")
        slicer.mrmlScene.Clear(0)
        wait(lambda: ui.viewsBox.currentText == "as they are")
        gestures.choose(ui.viewsBox, "mean")
        wait(lambda: slicer.util.getNodes("run: SYNTHETIC mean*"))
    assert not slicer.util.getNodes("run: *")  # nor when the window is closed


# --------------------------------------------------------------------------------------------------------- the cases


@pytest.fixture
def prepared(cases: Path, tmp_path: Path) -> Path:
    """Cases of which one has lost its PET and one has pictures, as if prepared."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    for path in sorted(cases.iterdir()):
        if path.name != "sub-0003":
            (folder / path.name).symlink_to(path)
    (folder / "sub-0003" / "anat").mkdir(parents=True)
    for path in (cases / "sub-0003" / "anat").iterdir():
        (folder / "sub-0003" / "anat" / path.name).symlink_to(path)
    (folder / "qc").mkdir()
    for suffix in ("T1w", "pet"):
        Image.fromarray(np.full((60, 120, 3), 90, np.uint8)).save(folder / "qc" / f"sub-0002_{suffix}.png")
    return folder


def test_the_table_says_who_can_be_used_and_shows_pictures(prepared: Path, tmp_path: Path) -> None:
    with opened() as widget:
        ui = widget.ui
        choose(widget, prepared, tmp_path / "run", tmp_path / "none.json")
        gestures.click(ui.checkCasesButton)
        wait(lambda: "can be used" in ui.foundLabel.text)
        assert ui.foundLabel.text.startswith("5 of 6 cases can be used")
        assert sum(int(line.split("n = ")[1].split(",")[0]) for line in ui.demographicsLabel.text.splitlines()) == 5
        assert " ± " in ui.demographicsLabel.text
        gestures.choose(ui.whichBox, "not usable")
        assert ui.casesTable.rowCount == 1
        ui.casesTable.selectRow(0)
        assert ui.caseText.text.startswith("sub-0003: ")
        assert "PET" in ui.caseText.text
        assert unwrap(ui.t1Picture).isHidden()
        gestures.choose(ui.whichBox, "all")
        gestures.type_text(ui.filterEdit, "0002", enter=False)
        assert [ui.casesTable.item(0, 0).text(), ui.casesTable.rowCount] == ["sub-0002", 1]
        ui.casesTable.selectRow(0)
        assert (unwrap(ui.t1Picture).isHidden(), unwrap(ui.petPicture).isHidden()) == (False, False)
        assert unwrap(ui.t1Picture).pixmap().width() == 340
        gestures.click(ui.agesButton)
        chart = next(iter(slicer.util.getNodesByClass("vtkMRMLPlotChartNode")))
        assert chart.GetNumberOfPlotSeriesNodes() == len(ui.demographicsLabel.text.splitlines())
        assert not chart.GetSaveWithScene()


def test_a_large_cohort_is_shown_piece_by_piece(tmp_path: Path) -> None:
    one = {"covariates": {"age": "70", "sex": "F", "diagnosis": "CN"}, "reasons": [], "notes": [], "usable": True}
    people = [{"case": f"sub-{number:05d}", **one} for number in range(5000)]
    with opened() as widget:
        panel = widget.window.cases
        widget.ui.casesPath.currentPath = str(tmp_path)
        panel.report = {"usable": 5000, "cases": 5000, "subjects": 5000, "list": people}
        panel._showReport("")
        filled = []
        while not filled or filled[-1] < 5000:
            filled.append(panel._filled)
            assert host.pump(until=lambda: panel._filled != filled[-1] or panel._filled == 5000)
        assert max(np.diff(filled)) <= 200  # of which each takes 15 ms
        widget.ui.filterEdit.text = "sub-04"
        assert widget.ui.casesTable.rowCount == 1000


def test_a_folder_without_cases_is_one_sentence(tmp_path: Path) -> None:
    with opened() as widget:
        ui = widget.ui
        for folder, words in ((tmp_path / "none", "There is no folder"), (tmp_path, "no case that can be used")):
            choose(widget, folder, tmp_path / "run", tmp_path / "none.json")
            gestures.click(ui.checkCasesButton)
            wait(lambda: "…" not in ui.foundLabel.text)
            assert words in ui.foundLabel.text
            assert "Traceback" not in ui.foundLabel.text


# -------------------------------------------------------------------------------------------------- before it begins


def test_the_estimate_is_told_and_what_does_not_fit_can_not_be_started(cases: Path, tmp_path: Path) -> None:
    settings = write_settings(tmp_path / "settings.json")
    with opened() as widget:
        ui = widget.ui
        choose(widget, cases, tmp_path / "run", settings)
        gestures.click(ui.estimateButton)
        assert ui.estimateButton.text == "Cancel"
        wait(lambda: ui.estimateButton.text == "Estimate")
        for words in ("Memory: ", "Disk: ", "A step: ", "for 4 steps"):
            assert words in ui.estimateLabel.text
        assert not (tmp_path / "run").exists()
        assert ui.startButton.enabled
        plan = widget.window.plan
        plan._onEvent({"event": "estimate", **plan._found, "refusal": "No.", "proposal": {"memory": "invertible"}})
        plan._onEnd(2, "The run needs more.")
        assert ui.estimateLabel.text == "The run needs more."
        assert (ui.startButton.enabled, ui.startButton.toolTip) == (False, "No.")
        gestures.click(ui.proposalButton)
        assert ui.memoryBox.currentText == "invertible"
        assert "--memory invertible" in ui.commandText.plainText
        assert ui.startButton.enabled
        assert unwrap(ui.estimateLabel).isHidden()


def test_a_cancelled_estimate_leaves_no_process(cases: Path, tmp_path: Path) -> None:
    """Neither does a window that is closed while one is made (``leaks``)."""
    with opened() as widget:
        choose(widget, cases, tmp_path / "run", write_settings(tmp_path / "settings.json"))
        gestures.click(widget.ui.estimateButton)
        host.pump(timeout=0.5)
        gestures.click(widget.ui.estimateButton)
        assert widget.ui.estimateLabel.text == "Cancelled."
        gestures.click(widget.ui.estimateButton)


def test_what_is_wrong_is_one_sentence(cases: Path, tmp_path: Path, monkeypatch) -> None:
    with opened() as widget:
        (tmp_path / "settings.json").write_text('{"training": {"step": 3}}')
        choose(widget, cases, tmp_path / "run", tmp_path / "settings.json")
        said = refused(widget, widget.ui.startButton, monkeypatch)
        assert "step" in said
        assert "\n" not in said
        assert widget.ui.startButton.enabled
        (tmp_path / "file").write_text("")
        widget.ui.outputPath.currentPath = str(tmp_path / "file" / "run")
        host.pump(timeout=0.3)
        said = refused(widget, widget.ui.startButton, monkeypatch)
        assert "choose another output folder" in said


# ----------------------------------------------------------------------------------------------------------- details


def test_curves_follow_a_file_that_grows_and_one_that_is_cut(tmp_path: Path) -> None:
    history, path = History(tmp_path), tmp_path / "history.jsonl"
    assert not history.read()
    path.write_text('{"step": 1, "loss": 3.0, "skipped": 0}\n{"step": 2, "lo')
    assert history.read()
    assert history.curves == {"loss": ([1], [3.0])}
    with path.open("a") as file:
        file.write('ss": 2.0, "validation_loss": 2.5}\n{"step": 3, "loss": null}\n[]\n')
    history.read()
    assert history.curves == {"loss": ([1, 2], [3.0, 2.0]), "validation_loss": ([2], [2.5])}
    (tmp_path / "new").write_text('{"step": 1, "loss": 9.0}\n')
    os.replace(tmp_path / "new", path)  # as a run does that is resumed
    history.read()
    assert history.curves == {"loss": ([1], [9.0])}
    with path.open("a") as file:
        file.writelines(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(2, 20001))
    began = time.monotonic()
    while history.read():
        assert time.monotonic() < began + PATIENCE
    assert history.last["step"] == 20000
    assert 500 < len(history.curves["loss"][0]) <= 2000
    assert len(history.curves["loss"][0]) == len(history.curves["loss"][1])


def test_a_chart_is_drawn_again_in_the_same_nodes() -> None:
    for count in (3, 5):
        chart = charts.updateChart("run", "r", "Step", "loss", {"training": (range(count), range(count))})
    assert chart.GetNthPlotSeriesNode(0).GetTableNode().GetNumberOfRows() == 5
    for kind in ("PlotChart", "PlotSeries", "Table"):
        assert slicer.mrmlScene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") == 1


def test_no_word_is_cut_at_the_panel_s_width(prepared: Path, tmp_path: Path) -> None:
    with opened() as widget:
        ui = widget.ui
        choose(widget, prepared, tmp_path / "run", tmp_path / "none.json")
        gestures.click(ui.checkCasesButton)
        wait(lambda: "can be used" in ui.foundLabel.text)
        ui.moreBox.collapsed = ui.logBox.collapsed = ui.commandCollapsibleButton.collapsed = False
        picture = grab(widget.parent)
        assert picture.width() == host.PANEL_WIDTH
        top = unwrap(widget.parent)
        for label in top.findChildren(QLabel):
            if label.isVisibleTo(top) and not label.wordWrap() and label.text():
                assert label.sizeHint().width() <= label.width(), label.text()
        for button in top.findChildren(QPushButton):
            if button.isVisibleTo(top):
                assert button.sizeHint().width() <= button.width(), button.text()
