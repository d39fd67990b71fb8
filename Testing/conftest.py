"""Shared fixtures: fixed seeds, the real test data where it lies beside the checkout."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from DualGlowLib.startup import set_up_process
from places import SHARED

set_up_process()  # as the programs do; the tests that run in this process wait less for memory

SLOW = (
    "adaptation/test_adapt", "evaluation/test_memorisation",
    "preparation/test_verdicts", "preparation/test_pet", "slicer/test_end_to_end", "cohorts/test_cohort",
    "worker/test_worker", "simulate/test_simulated_cohort", "training/test_run", "synthesis/test_session",
    "slicer/test_modules", "preparation/test_t1", "preparation/test_field_of_view", "preparation/test_deformable",
    "volumes/test_dicom_reading", "training/test_training", "training/test_runs", "slicer/test_two_patients",
    "cli/test_command_line", "volumes/test_geometry", "volumes/test_voxels", "bundle/test_bundled_model",
    "cli/test_command_line_cohorts", "preparation/test_quality", "model/test_likelihood", "training/test_photos",
    "evaluation/test_evaluation", "training/test_checkpoints", "slicer/test_window", "slicer/test_first_start",
    "slicer/test_client", "cli/test_own_covariate", "slicer/test_training_window", "training/test_status",
)  # fmt: skip
"""Files that take longest, the longest first: begun last, one would keep a single process busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: places.get("/".join(item.path.with_suffix("").parts[-2:]), len(SLOW)))


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
