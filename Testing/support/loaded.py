"""The two modules, loaded once in the test host; tests that import this are skipped where Qt can't be loaded.

Not in continuous integration, which has Qt's libraries: there the tests fail.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from places import ROOT

try:
    import host
except ImportError as reason:
    if os.environ.get("CI"):
        raise
    pytest.skip(str(reason), allow_module_level=True)

__all__ = ["ROOT", "SYNTHESIS", "TRAINING", "add_model", "host", "slicer"]


slicer = host.start()
SYNTHESIS = host.load(ROOT / "DualGlowSynthesis" / "DualGlowSynthesis.py")
TRAINING = host.load(ROOT / "DualGlowTraining" / "DualGlowTraining.py")


def add_model(synthesis: Any, folder: Path) -> None:
    """Have the Synthesis window's widget choose the model in a folder, and wait until it has."""
    synthesis.window.model.add(str(folder))
    assert host.pump(until=lambda: synthesis.ui.addModelButton.enabled)
