"""For how long the Training window stands still: the longest gap between two turns of the event loop, step by step.

    PYTHONPATH=Testing/support python Testing/benchmarks/training_window.py [CASES]

The module runs in the test host with its real processes, on cases that ``simulate`` wrote (24 of the small grid are
made if none are given). Prints a Markdown table: seconds until each step was done, and the longest gap in milliseconds,
of which at most 100 ms are wanted. The window of another module is loaded before, so that what the test host takes to
load its own stand-ins for Slicer's widgets, which are there in Slicer, does not count.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from DualGlowLib.training.status import read_status
from loaded import TRAINING, host, slicer
from places import ROOT
from tiny_training import make_simulated, write_settings

WAIT = 300.0


def measure(name: str, act: Callable[[], object], is_done: Callable[[], object]) -> None:
    start = time.monotonic()
    with host.Gaps() as gaps:
        act()
        if not host.pump(until=is_done, timeout=WAIT):
            raise SystemExit(f"{name} did not end.")
    print(f"| {name} | {time.monotonic() - start:.1f} | {1000 * gaps.longest:.0f} |", flush=True)


def walk(cases: Path, folder: Path) -> None:
    """From the opening to a killed run."""
    run, settings = folder / "run", write_settings(folder / "settings.json", steps=10**6, validate_every=5)
    widgets = []

    def open_window() -> None:
        widgets.append(TRAINING.open())

    def status() -> object:
        return widget.window.run.status

    def kill() -> None:
        os.kill(read_status(run).holder.pid, signal.SIGKILL)

    slicer.util.loadUI(str(ROOT / "DualGlowSynthesis/Resources/UI/DualGlowSynthesis.ui"))
    print("| step | s | longest gap, ms |\n|---|---|---|", flush=True)
    measure("opened", open_window, lambda: widgets[-1]._window is not None)
    widget = widgets[-1]
    ui = widget.ui
    ui.casesPath.currentPath, ui.outputPath.currentPath = str(cases), str(run)
    ui.settingsPath.currentPath = str(settings)
    measure("checked", ui.checkCasesButton.click, lambda: "can be used" in ui.foundLabel.text)
    measure("estimated", ui.estimateButton.click, lambda: ui.estimateButton.text == "Estimate")
    measure("started", ui.startButton.click, lambda: status().step > 20)
    measure("curves and samples followed", ui.curvesButton.click, lambda: status().step > 120)
    measure("paused", ui.pauseButton.click, lambda: status().state == "paused")
    measure("continued", ui.pauseButton.click, lambda: status().state == "training")
    measure("stopped", ui.stopButton.click, lambda: status().state == "stopped")
    measure("resumed", ui.startButton.click, lambda: status().state == "training")
    measure("killed", kill, lambda: status().state == "dead")
    TRAINING.close(widget)
    measure("opened again, with the dead run", open_window, lambda: widgets[-1]._window is not None)
    widget = widgets[-1]
    measure("the run found", lambda: None, lambda: status() is not None and status().state == "dead")
    TRAINING.close(widget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="?", type=Path)
    given = parser.parse_args().cases
    with tempfile.TemporaryDirectory() as folder:
        walk(given or make_simulated(Path(folder) / "cases", 24), Path(folder))


if __name__ == "__main__":
    main()
