"""The two modules, loaded once in the test host; tests that import this are skipped where Qt can't be loaded.

Not in continuous integration, which has Qt's libraries: there the tests fail.
"""

from __future__ import annotations

import os

import pytest

from places import ROOT

try:
    import host
except ImportError as reason:
    if os.environ.get("CI"):
        raise
    pytest.skip(str(reason), allow_module_level=True)

__all__ = ["ROOT", "SYNTHESIS", "TRAINING", "host", "slicer"]


slicer = host.start()
SYNTHESIS = host.load(ROOT / "DualGlowSynthesis" / "DualGlowSynthesis.py")
TRAINING = host.load(ROOT / "DualGlowTraining" / "DualGlowTraining.py")
