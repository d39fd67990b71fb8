"""A scene that an earlier DualGlow saved (Testing/made_before/README.md): today's window goes on with it."""

from __future__ import annotations

import numpy as np
import pytest

from hand_client import HandClient, step
from loaded import ROOT, SYNTHESIS, host, slicer

from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowSlicerLib import dependencies, volumes  # isort: skip
from DualGlowSynthesisLib.nodes import belonging, results, sweep  # isort: skip
from DualGlowSynthesisLib.window.engine import Engine  # isort: skip
from DualGlowSynthesisLib.window.window import Window  # isort: skip

SCENE = ROOT / "Testing" / "made_before" / "scene.mrb"
SHAPE = (5, 4, 3)


@pytest.fixture
def client() -> HandClient:
    return HandClient()


@pytest.fixture
def module(client: HandClient, monkeypatch: pytest.MonkeyPatch):
    """The window, open, and then the scene."""
    import DualGlowSynthesis

    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    monkeypatch.setattr(dependencies, "missingPackages", list)
    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    widget = SYNTHESIS.open()
    slicer.util.loadScene(str(SCENE))
    yield widget
    SYNTHESIS.close(widget)
    assert host.slot_errors == []


@pytest.fixture
def parameters(module):
    return module._parameterNode


def only(node) -> float:
    """The value that every voxel has."""
    (value,) = np.unique(slicer.util.arrayFromVolume(node))
    return float(value)


def test_the_choices_are_those_that_were_saved(parameters) -> None:
    assert parameters.inputVolume.GetName() == "T1"
    assert parameters.outputVolume.GetName() == "T1 synthetic FDG"
    assert (parameters.age, parameters.ageKnown, parameters.sex, parameters.diagnosis) == (71.5, True, "F", "unknown")
    assert (parameters.temperature, parameters.samples, parameters.seed) == (0.7, 4, 12)
    assert (parameters.belowThreshold, parameters.shown, parameters.sampleNumber) == (1.2, "sample", 2)


def test_the_result_is_known_with_all_its_parts(module, parameters) -> None:
    output = parameters.outputVolume
    assert belonging.inputOf(output) is parameters.inputVolume
    parts = {kind: results.resultOf(output, kind) for kind in ("mean", "sample", "sd", "below")}
    values = {kind: only(node) for kind, node in parts.items()}
    assert values == pytest.approx({"mean": 71.5, "sample": 3, "sd": 0.715, "below": 0.0715})
    assert all(volumes.isSynthetic(node) for node in parts.values())
    assert results.partsOf(output) == list(parts.values())  # there was no change since an age
    about = volumes.provenanceOf(output)
    assert (about["Age"], about["Sex"], about["Temperature"], about["Samples"], about["Seed"]) == (
        71.5,
        "F",
        0.7,
        4,
        12,
    )
    table = results.resultOf(output, "table")
    assert module.ui.regionsView.mrmlTableNode() is table
    assert table.GetTable().GetValue(0, 1).ToString() == "1.500"
    assert not volumes.isSynthetic(parameters.inputVolume)


def test_the_sweep_is_known(parameters) -> None:
    made = sweep.sweepOf(parameters.inputVolume)
    ages = [float(made.sequence.GetNthIndexValue(i)) for i in range(made.sequence.GetNumberOfDataNodes())]
    assert ages == [60, 70]
    assert only(made.sequence.GetNthDataNode(1)) == 70
    assert volumes.isSynthetic(made.proxy)
    copy = slicer.mrmlScene.CopyNode(parameters.inputVolume)
    assert copy.GetNodeReference("DualGlow.Sweep") is made.sequence
    assert sweep.sweepOf(copy) is None  # it is none of a copy's
    new = step(Question(), 80, np.full(SHAPE, 80, np.float32, order="F"))
    assert sweep.makeSweep(parameters.inputVolume, [new], new.provenance).sequence is made.sequence


def test_a_new_result_takes_the_place_of_the_old(module, parameters, client: HandClient) -> None:
    output = parameters.outputVolume
    table = results.resultOf(output, "table")
    parameters.age = 80.0
    assert "71.5" in module.ui.agreementLabel.text
    module.ui.applyButton.click()
    client.answer_readying()
    asked = client.the("sample").question
    assert (asked.samples, asked.seed) == (4, 12)
    client.answer_sample(SHAPE)
    assert parameters.outputVolume is output
    assert only(output) == 80
    assert results.resultOf(output, "table") is table
