"""Shared fixtures: fixed seeds, the real test data where it lies beside the checkout."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from places import SHARED


def pytest_report_header() -> str:
    """Which versions the tests ran with; those of Slicer differ (``make test-slicer-versions``)."""
    return ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "SimpleITK", "nibabel", "pydicom"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real heads and recorded numbers; they may not be committed, so a clone alone lacks them."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real test data in ../shared, which is not part of the repository")
    return SHARED
