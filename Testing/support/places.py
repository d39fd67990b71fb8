"""Where things lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LIBRARY", "ROOT", "SHARED", "SUPPORT", "TRAIN"]

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
LIBRARY = ROOT / "DualGlowSynthesis"  # what holds the package DualGlowLib
TRAIN = ROOT / "DualGlowTraining" / "Scripts" / "train.py"
SHARED = ROOT.parent / "shared"  # the real test data, not part of the repository
