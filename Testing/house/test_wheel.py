"""The wheel: built without a warning, and all that the command line needs is in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from DualGlowLib.volumes.writing import write_scan
from heads import coarse_template

ROOT = Path(__file__).parents[2]


def run(place: Path, *arguments: str, path: Path | None = None) -> str:
    """What Python prints in a folder, with nothing of the checkout to import."""
    hidden = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")  # with the second, setuptools warns
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_installed_wheel_makes_a_sweep_and_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="setuptools 77 or newer is not installed")
    source, work, target = tmp_path / "source", tmp_path / "work", tmp_path / "target"
    for folder in ("DualGlowSynthesis/DualGlowLib", "Resources"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "Screenshots"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    said = run(source, "-c", "from setuptools import build_meta; build_meta.build_wheel('..')")
    assert not [line for line in said.splitlines() if "warning" in line.lower() or "deprecat" in line.lower()], said
    (wheel,) = tmp_path.glob("dualglow-*.whl")
    work.mkdir()
    run(work, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    where = run(work, "-c", "import DualGlowLib; print(DualGlowLib.__file__)", path=target)
    assert Path(where.strip()).is_relative_to(target)

    for scan, name in zip(coarse_template(3), ("t1", "mask"), strict=True):
        write_scan(scan, work / f"{name}.nii.gz")
    asked = ["--mask", "mask.nii.gz", "--ages", "60:80:20", "--regions", "--output", "out", "--qc", "qc.png"]
    run(work, "-W", "error::DeprecationWarning", "-m", "DualGlowLib", "sweep", "t1.nii.gz", *asked, path=target)
    assert (work / "qc.png").stat().st_size > 10_000
    assert (work / "out" / "sweep.png").stat().st_size > 10_000
    assert len(list((work / "out").glob("sub-work/pet/*_pet.nii.gz"))) == 2
