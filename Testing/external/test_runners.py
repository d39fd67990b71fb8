"""The runners of public suites, each on a made-up suite that has a right case and one that is not."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dicom_files import write_enhanced, write_series
from places import ROOT

LATTICE = np.diag([2.0, 2.0, 2.0, 1.0])
RUNNERS = ROOT / "Testing" / "external"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Runs a runner on a folder: its exit code, the verdict on each case, and what was printed."""

    def table(runner: str, folder: Path) -> tuple[int, dict[str, str], str]:
        monkeypatch.syspath_prepend(RUNNERS)
        monkeypatch.setattr("sys.argv", [runner, str(folder)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(RUNNERS / f"{runner}.py"), run_name="__main__")
        printed = capsys.readouterr().out
        lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
        return ended.value.code, {line[0]: line[1] for line in lines[1:]}, printed

    return table


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (12, 10, 9)).astype(np.int16)


def save(voxels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, LATTICE), path)


def test_ibsi_suv(run: Callable, tmp_path: Path) -> None:
    tenths = np.full((10, 10, 10), 10, np.int16)
    tenths[3, 3, 3], tenths[5, 5, 5] = 2, 40
    for name, slope, units in (("DRO_1", "0.1", "GML"), ("DRO_2", "0.2", "GML"), ("DRO_3", "0.1", "CPS")):
        place = tmp_path / "DRO" / name
        for folder in (place, place.with_name(f"{name}_error")):
            tags = {"Units": units, "RescaleSlope": slope, "RescaleIntercept": "0"}
            write_series(folder / "PT", tenths, LATTICE, "PT", **tags)
            save(np.ones_like(tenths), folder / "mask" / "mask.nii.gz")
    code, verdicts, printed = run("ibsi_suv", tmp_path)
    assert code == 1
    assert verdicts == {
        "DRO_1": "right", "DRO_1_error": "wrong", "DRO_2": "wrong", "DRO_2_error": "wrong",
        "DRO_3": "refused", "DRO_3_error": "right",
    }  # fmt: skip
    assert "| 0.200, 1.000, 4.000 |" in printed
    assert printed.endswith("6 cases: 2 right, 1 refused, 3 wrong\n")


def test_calculate_suv(run: Callable, tmp_path: Path) -> None:
    known = {"Units": "CNTS", "DecayCorrection": "START", "PhilipsPETPrivateGroup": {"SUVScaleFactor": "0.000551"}}
    (tmp_path / "test" / "metadata").mkdir(parents=True)
    for name, values in (("A", known), ("B", known), ("C", {**known, "Units": "CPS"})):
        (tmp_path / "test" / "metadata" / f"{name}-instances.json").write_text(json.dumps([values]))
    lines = [
        f"precomputedSUVFactors.set(\n '{name}', {factor}\n);" for name, factor in (("A", 551e-6), ("B", 1), ("C", 1))
    ]
    (tmp_path / "test" / "calculateSUV_SampleData.test.ts").write_text("\n".join(lines))
    code, verdicts, _ = run("calculate_suv", tmp_path)
    assert (code, verdicts) == (1, {"A": "right", "B": "wrong", "C": "refused"})


def test_bids_pet(run: Callable, tmp_path: Path, voxels: np.ndarray) -> None:
    dataset = tmp_path / "pet001"
    for subject, t1, tracer in (("sub-01", voxels, "FDG"), ("sub-02", voxels, "DASB"), ("sub-03", voxels[:4], "FDG")):
        save(t1, dataset / subject / "anat" / f"{subject}_T1w.nii.gz")
        save(voxels, dataset / subject / "pet" / f"{subject}_pet.nii.gz")
        (dataset / subject / "pet" / f"{subject}_pet.json").write_text(json.dumps({"TracerName": tracer}))
    (dataset / "participants.tsv").write_text("participant_id\tage\tgender\nsub-01\t71.5\tF\nsub-02\t60\tM\n")
    code, verdicts, printed = run("bids_pet", tmp_path)
    assert code == 1
    assert verdicts == {"pet001 sub-01": "right", "pet001 sub-02": "right", "pet001 sub-03": "refused"}
    assert "| can be used |" in printed
    assert "DASB only" in printed


def test_library_files(run: Callable, tmp_path: Path, voxels: np.ndarray) -> None:
    save(voxels, tmp_path / "a.nii.gz")
    save(np.stack([voxels, voxels], axis=-1), tmp_path / "deep" / "b.nii")
    write_enhanced(tmp_path / "c.dcm", voxels, LATTICE)
    write_series(tmp_path, voxels[:, :, :1], LATTICE)
    (tmp_path / "README.txt").write_text("about them")
    code, verdicts, printed = run("library_files", tmp_path)
    assert (code, set(verdicts.values())) == (0, {"right"})
    assert len(verdicts) == 4
    assert "NIfTI, 12×10×9, affine differs by 0" in printed
    assert "DICOM, 12×10×9, voxels as pydicom has them" in printed
    assert "holds 2 volumes" in printed


def test_decubitus(run: Callable, tmp_path: Path, voxels: np.ndarray) -> None:
    write_series(tmp_path / "In" / "HFS" / "1_t1_sag", voxels, LATTICE)
    code, verdicts, printed = run("decubitus", tmp_path)
    assert (code, verdicts) == (1, {"HFS": "refused"})
    assert "too little for a brain" in printed
    judged = runpy.run_path(str(RUNNERS / "decubitus.py"))["judged"]
    found = {"L": {"pons": 1.0, "insula": 1.0}, "R": {"pons": 1.05, "insula": None}, "P": {"pons": 1.0, "insula": 1.3}}
    assert judged("L", found)[0] == "wrong"  # its insula lies 13 % below the median of two
    assert judged("R", found) == ("right", "pons +5.0%; no value for insula")


def test_a_folder_without_a_case_is_told(run: Callable, tmp_path: Path) -> None:
    assert run("ibsi_suv", tmp_path)[0] == 2
