"""What the module must do in Slicer, on made-up cases; run by Slicer's self-tests and by the test host."""

import json
import tempfile
import time
import unittest
from pathlib import Path

import slicer

from DualGlowLib.training.status import read_status
from DualGlowSlicerLib import dependencies

from .programs import COMMAND_LINE, Program

__all__ = ["trainFromTheWindow"]

PATIENCE_SECONDS = 600

_FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
_SETTINGS = {
    "model": {"mri": _FLOW, "pet": _FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2], "patterns": 2}},
    "training": {"steps": 4, "initialize_with": 2, "warmup": 1, "validation": 0.3},
}


def trainFromTheWindow() -> None:
    """Simulate a few cases, check them, train a tiny model, see its samples, and have it at the end."""
    missing = dependencies.missingPackages()
    if missing:
        raise unittest.SkipTest(dependencies.missingText(missing))
    widget = slicer.util.getModuleWidget("DualGlowTraining")
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("DualGlowTraining")
    ui, window = widget.ui, widget.window
    before = ui.casesPath.currentPath, ui.outputPath.currentPath, ui.settingsPath.currentPath
    with tempfile.TemporaryDirectory() as place:
        cases, run, settings = (str(Path(place, name)) for name in ("cases", "run", "settings.json"))
        Path(settings).write_text(json.dumps(_SETTINGS), encoding="utf-8")
        codes = []
        words = ["simulate", cases, "--cases", "4", "--grid", "small", "--json"]
        program = Program(COMMAND_LINE, words, lambda event: None, lambda code, said: codes.append((code, said)))
        _wait(lambda: not program.poll())
        assert codes[0][0] == 0, codes
        try:
            ui.casesPath.currentPath, ui.outputPath.currentPath, ui.settingsPath.currentPath = cases, run, settings
            ui.checkCasesButton.click()
            _wait(lambda: window.cases.report)
            assert window.cases.report["usable"] == 4
            _wait(lambda: ui.startButton.enabled)
            ui.startButton.click()
            _wait(lambda: window.run.status.state in ("done", "failed"))
            assert window.run.status.state == "done", ui.runLabel.text
            assert Path(run, "bundle", "config.json").is_file()
            assert ui.useButton.enabled
            _wait(lambda: ui.samplesLabel.text)
            nodes = slicer.mrmlScene.GetNumberOfNodes()
            ui.viewsBox.currentIndex = ui.viewsBox.count - 1
            _wait(lambda: window.run.samples.isShown)
            ui.viewsBox.currentIndex = 0
            assert slicer.mrmlScene.GetNumberOfNodes() == nodes
            assert read_status(run).holder is None
        finally:
            ui.casesPath.currentPath, ui.outputPath.currentPath, ui.settingsPath.currentPath = before


def _wait(condition) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "It takes too long."
        slicer.app.processEvents()
        time.sleep(0.005)
