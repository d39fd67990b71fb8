"""The Synthesis window at awkward moments: left, saved or robbed of nodes while the overlay follows a slider."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QAbstractButton

from hand_client import HandClient, opened, sampled
from host.pythonqt import unwrap
from loaded import SYNTHESIS, host, slicer
from screenshots import grab

from DualGlowSlicerLib import client as clients  # isort: skip
from DualGlowSlicerLib import dependencies, volumes  # isort: skip
from DualGlowSynthesisLib.nodes import display  # isort: skip
from DualGlowSynthesisLib.window.engine import Engine  # isort: skip
from DualGlowSynthesisLib.window.window import Window  # isort: skip

SHAPE = (5, 4, 3)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> HandClient:
    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    monkeypatch.setattr(dependencies, "missingPackages", list)
    yield HandClient()
    assert host.slot_errors == []


@pytest.fixture
def module(client: HandClient, monkeypatch: pytest.MonkeyPatch):
    import DualGlowSynthesis

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    widget = SYNTHESIS.open()
    yield widget
    SYNTHESIS.close(widget)


@pytest.fixture
def t1(module):
    volume = slicer.util.addVolumeFromArray(np.ones(SHAPE[::-1], np.int16), name="T1")
    slicer.util.setSliceViewerLayers(background=volume)
    return volume


@pytest.fixture
def previewing(module, client: HandClient, t1):
    """A PET at 70 years, and the slider on its way to 75; gives the output."""
    module.ui.ageKnownBox.checked = True
    module.ui.applyButton.click()
    client.answer_readying()
    client.answer_sample(SHAPE)
    client.answer_frames()
    client.answer_frames()
    module.ui.ageSlider.value = 75
    assert foregrounds() == {module.window.run.preview.node.GetID()}
    return module._parameterNode.outputVolume


def views() -> list:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def foregrounds() -> set:
    return {view.GetForegroundVolumeID() for view in views()}


def settle(module) -> None:
    assert module.window.run._settled.active
    module.window.run._settled.stop()
    module.window.run._onSettled()


def test_the_preview_has_a_legend_of_its_own(module, previewing) -> None:
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(module.window.run.preview.node)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "SUVR"
    assert "SYNTHETIC" in module.window.marks.textIn("Red")
    assert not legend.GetSaveWithScene()
    assert not module.window.run.preview.node.GetDisplayNode().GetSaveWithScene()


@pytest.mark.parametrize("ends", [(0, 2.5), (0, 3), (-0.5, 0.5), (0.5, 1.2), (1, 1.6)])
def test_the_legend_says_the_values_as_they_are(module, previewing, ends: tuple[float, float]) -> None:
    node = module.window.run.preview.node
    node.GetDisplayNode().SetWindowLevelMinMax(*ends)
    display.addLegend(node, "SUVR")
    form = slicer.modules.colors.logic().GetColorLegendDisplayNode(node).GetLabelFormat()
    for value in (*ends, sum(ends) / 2):
        assert float(form % value) == pytest.approx(value, abs=0.005)


def test_leaving_puts_the_output_back_and_entering_goes_on(module, client: HandClient, previewing) -> None:
    settle(module)
    late = client.the("sample")
    SYNTHESIS.exit(module)
    assert foregrounds() == {previewing.GetID()}
    assert late.isCancelled
    late.done(sampled(late.question, np.zeros(SHAPE, np.float32)))  # too late
    assert np.all(slicer.util.arrayFromVolume(previewing) == 70)
    SYNTHESIS.enter(module)
    settle(module)
    client.answer_sample(SHAPE)
    assert np.all(slicer.util.arrayFromVolume(previewing) == 75)


def test_a_sweep_that_ends_after_leaving_is_shown(module, client: HandClient, t1) -> None:
    module.ui.sweepLastBox.value = 60
    module.ui.sweepButton.click()
    client.answer_readying()
    SYNTHESIS.exit(module)
    client.answer_sweep(SHAPE)
    (proxy,) = [slicer.mrmlScene.GetNodeByID(identity) for identity in foregrounds()]
    assert proxy.GetName() == "T1 synthetic FDG by age"


@pytest.mark.parametrize("gone", ["input", "output"])
def test_a_node_deleted_under_the_preview_takes_it_along(module, t1, previewing, gone: str) -> None:
    slicer.mrmlScene.RemoveNode(t1 if gone == "input" else previewing)
    assert module.window.run.preview.node is None
    assert not module.window.run._settled.active


def test_no_preview_stays_when_the_exact_image_fails(module, client: HandClient, previewing) -> None:
    settle(module)
    client.the("sample").fail("Traceback (most recent call last):\n  File\nMemoryError: too large")
    assert foregrounds() == {previewing.GetID()}
    assert module.ui.statusLabel.text == "MemoryError: too large"


@pytest.mark.parametrize("step", ["open", "prepare", "sample"])
def test_a_step_that_is_done_before_it_hears_of_cancel_is_the_last(module, client: HandClient, t1, step: str) -> None:
    module.ui.applyButton.click()
    before = slicer.mrmlScene.GetNumberOfNodes()
    if step != "open":
        client.the("open").done(opened())
    if step == "sample":
        client.answer_readying()
    asked = client.the(step)
    module.ui.applyButton.click()
    asked.isCancelled = False  # what it says was on its way
    if step == "sample":
        client.answer_sample(SHAPE)
    else:
        client.answer_readying()
    assert client.asked == []
    assert not module.window.run.isBusy
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert "nothing was changed" in module.ui.statusLabel.text


def test_views_of_something_else_stay_as_they_are(module, client: HandClient, t1, previewing) -> None:
    other = slicer.util.addVolumeFromArray(np.ones(SHAPE[::-1], np.int16), name="T2")
    chosen = views()[0]
    chosen.SetForegroundVolumeID(other.GetID())
    settle(module)
    client.answer_sample(SHAPE)
    assert foregrounds() == {other.GetID(), previewing.GetID()}
    assert chosen.GetForegroundVolumeID() == other.GetID()


def test_an_overlay_over_a_faded_volume_is_seen(t1) -> None:
    other = slicer.util.addVolumeFromArray(np.ones(SHAPE[::-1], np.int16), name="T2")
    slicer.util.setSliceViewerLayers(foreground=other, foregroundOpacity=0)
    made = slicer.util.addVolumeFromArray(np.ones(SHAPE[::-1], np.float32), name="PET")
    volumes.markSynthetic(made, {})
    display.showOverlay(made, t1)
    assert {view.GetForegroundOpacity() for view in views()} == {0.5}
    slicer.util.setSliceViewerLayers(foregroundOpacity=0.2)
    display.showOverlay(made, t1)
    assert {view.GetForegroundOpacity() for view in views()} == {0.2}  # the user's own


def test_the_panel_is_narrow_and_cuts_no_button(module, client: HandClient, previewing) -> None:
    t1 = module._parameterNode.inputVolume
    t1.SetName("A very long name of a T1-weighted volume, MPRAGE sagittal isotropic 1 mm, second session")
    for name in ("model", "sweep", "compare", "export"):
        getattr(module.ui, f"{name}CollapsibleButton").collapsed = False
    module.ui.shownBox.setCurrentIndex(3)
    panel = unwrap(SYNTHESIS.panel)
    grab(SYNTHESIS.panel, 350)
    assert panel.minimumSizeHint().width() <= 350
    for button in panel.findChildren(QAbstractButton):
        if button.isVisibleTo(panel) and button.text():
            assert button.width() >= button.minimumSizeHint().width(), button.text()


# ------------------------------------------------------------------------------------------------ large arrays, threads


def test_memory_that_becomes_a_volume_stays_its_own() -> None:
    slicer.mrmlScene.Clear(0)
    reference = slicer.util.addVolumeFromArray(np.zeros((20, 30, 40), np.int16))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    gc.freeze()  # else every collection goes through all that was ever imported
    for seed in range(20):
        array = np.asfortranarray(np.random.default_rng(seed).random((40, 30, 20), dtype=np.float32))
        expected = array.copy()
        volumes.updateVolumeFromArray(node, array, reference, isOwned=True)
        del array
        gc.collect()
        _junk = [np.full((40, 30, 20), 7, np.float32) for _ in range(3)]
        assert np.array_equal(slicer.util.arrayFromVolume(node).transpose(2, 1, 0), expected)
    gc.unfreeze()
    kept = np.asfortranarray(np.ones((40, 30, 20), np.float32))
    volumes.updateVolumeFromArray(node, kept, reference)
    kept[:] = 5
    assert np.all(slicer.util.arrayFromVolume(node) == 1)  # otherwise it is a copy


PROGRAM = """
import json, os, sys, time
import numpy as np
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "sleep":
        time.sleep(asked["seconds"])
        path = os.path.join(sys.argv[1], f"out-{asked['id']}.npy")
        np.save(path, np.ones(3))
        print(json.dumps({"id": asked["id"], "event": "done", "path": path}), flush=True)
"""


def test_a_patient_cancel_lets_the_process_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "GRACE_SECONDS", 0.05)
    (tmp_path / "worker.py").write_text(PROGRAM)
    client = clients.WorkerClient(lambda folder: [sys.executable, str(tmp_path / "worker.py"), str(folder)])
    heard: list = []
    first = client.request("sleep", seconds=0.4, onDone=heard.append, onCancelled=lambda: heard.append("cancelled"))
    client.cancel(first, isForced=False)
    client.request("sleep", seconds=0, onDone=lambda reply: heard.append(client.load(reply["path"]).sum()))
    end = time.monotonic() + 60
    while len(heard) < 2:
        assert time.monotonic() < end
        client.poll()
        time.sleep(0.005)
    assert client.starts == 1
    assert json.loads(json.dumps(heard[0]))["event"] == "done"  # it was through before it heard
    assert heard[1] == 3
    assert sorted(os.listdir(client.folder)) == ["client.lock", "worker.log"]  # arrays go, wanted or not
    client.close()


def test_views_are_looked_at_once_however_much_a_result_writes(module, client: HandClient, t1, monkeypatch) -> None:
    """Each attribute of each node that is shown calls for a look, and a look at all views takes milliseconds."""
    marks, looks = module.window.marks, []
    looked = marks._showLegends
    monkeypatch.setattr(marks, "_showLegends", lambda made: (looks.append(1), looked(made)))
    module.ui.ageKnownBox.checked = True
    module.ui.temperatureSlider.value = 1
    module.ui.samplesBox.value = 4
    module.ui.applyButton.click()
    client.answer_readying()
    looks.clear()
    client.answer_sample(SHAPE)
    assert "mean of 4 samples" in marks.textIn("Red")  # written with the image, not later
    assert len(looks) <= 3
    with marks.hold():
        module._parameterNode.outputVolume.RemoveAttribute("DualGlow.Synthetic")
        assert "SYNTHETIC" in marks.textIn("Red")
    assert marks.textIn("Red") == ""
