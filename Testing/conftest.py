"""Shared fixtures: fixed seeds, the real test data where it lies beside the checkout."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from DualGlowLib.startup import set_up_process
from places import SHARED

set_up_process()  # as the programs do; the tests that run in this process wait less for memory
# Else each of the hundreds of processes that tests start compiles the library anew, and each worker all test files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

SLOW = (
    "slicer/test_training_window", "cohorts/test_cohort", "house/test_benchmarks", "adaptation/test_adapt",
    "baselines/test_methods", "training/test_distributed", "training/test_run", "preparation/test_pet",
    "synthesis/test_session", "study/test_study", "study/test_own_parts", "study/test_photo_figures",
    "slicer/test_end_to_end", "evaluation/test_evaluation", "cohorts/test_cluster", "simulate/test_simulated_cohort",
    "preparation/test_quality", "slicer/test_modules", "preparation/test_verdicts", "volumes/test_dicom_reading",
    "slicer/test_window", "training/test_cache", "training/test_training", "training/test_runs",
    "training/test_checkpoints", "training/test_status", "preparation/test_field_of_view", "model/test_numerics",
    "worker/test_worker", "training/test_slurm", "training/test_one_sentence", "training/test_loop",
    "evaluation/test_calibration", "model/test_likelihood", "preparation/test_t1", "evaluation/test_memorisation",
    "training/test_photos", "slicer/test_first_start", "preparation/test_deformable", "cli/test_command_line_cohorts",
    "bundle/test_bundled_model", "slicer/test_two_patients",
)  # fmt: skip
"""Files that take longest, the longest first: begun last, one would keep a single process busy at the end."""


def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores: tests wait for processes that they start, windows for their timers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: places.get("/".join(item.path.with_suffix("").parts[-2:]), len(SLOW)))


def pytest_report_header() -> str:
    """Which versions the tests ran with; those of Slicer differ (``make test-slicer-versions``)."""
    return ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "SimpleITK", "nibabel", "pydicom"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import torch  # not before: a process that only hands out tests needs none of it

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real heads and recorded numbers; they may not be committed, so a clone alone lacks them."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real test data in ../shared, which is not part of the repository")
    return SHARED
