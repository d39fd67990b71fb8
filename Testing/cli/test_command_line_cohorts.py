"""The command line on cohorts (check, divide, prepare, train, evaluate) and on DICOM series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_files import write_series
from DualGlowLib.__main__ import main
from DualGlowLib.atlas.template import load_template
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.preparation.transforms import read_transform
from DualGlowLib.volumes.marking import is_synthetic
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from raw_cohort import make_cohort

TINY = {"steps": 2, "batch": 2, "validation": 0.5, "initialize_with": 2, "warmup": 1}
FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
MODEL = {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2]}}


def events(capsys: pytest.CaptureFixture) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_from_a_folder_of_scans_to_an_evaluated_model(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cases = make_cohort(tmp_path / "cases", [f"sub-{number}" for number in range(3)])
    (cases / "sub-2" / "pet" / "sub-2_trc-18FFDG_space-orig_pet.nii.gz").unlink()
    assert main(["validate", str(cases)]) == 0
    text = capsys.readouterr().out
    assert "2 of 3" in text
    assert next(line for line in text.splitlines() if line.startswith("sub-2")).split()[4] == "no"

    prepared = str(tmp_path / "prepared")
    command = ["prepare", str(cases), prepared, "--grid", "small", "--jobs", "2", "--json"]
    assert main(command) == 0
    done = events(capsys)[-1]
    assert done["event"] == "done"
    assert done["counts"] == {"good": 2, "refused": 1}
    assert "no FDG-PET" in done["cases"]["sub-2"]["reasons"][0]
    assert main(command) == 0
    assert events(capsys)[-1]["kept"] == 2
    assert (tmp_path / "prepared" / "qc" / "index.html").is_file()

    folds = str(tmp_path / "folds.json")
    assert main(["validate", prepared, "--splits", folds, "--folds", "2", "--json"]) == 0
    assert [event["event"] for event in events(capsys)[-2:]] == ["report", "output"]
    (tmp_path / "settings.json").write_text(json.dumps({"model": MODEL, "training": TINY}))
    train = ["train", prepared, "--grid", "small", "--config", str(tmp_path / "settings.json"), "--json"]
    assert main([*train, "--splits", folds, "--output", str(tmp_path / "run")]) == 2  # --fold is missing
    assert main([*train, "--splits", folds, "--fold", "1", "--output", str(tmp_path / "run")]) == 0
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.training["cases"] == 1
    assert bundle.preparation == Preparation()
    assert bundle.training["preparation"] == {"bias": True, "reference": "pons", "resolution": 8.0}

    capsys.readouterr()
    report = tmp_path / "report.json"
    evaluate = ["evaluate", str(tmp_path / "run" / "bundle"), prepared, "--output", str(report)]
    assert main([*evaluate, "--splits", folds, "--fold", "1"]) == 0
    (tested,) = [case["case"] for case in json.loads(report.read_text())["cases"]]
    assert json.loads(Path(folds).read_text())["subjects"][tested]["fold"] == 1


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """The template as a DICOM T1 in sagittal slices, of a woman of 71."""
    template = load_template().t1
    affine = np.array([[0, 0, -3.0, 94], [2.5, 0, 0, -120], [0, -2.5, 0, 90], [0, 0, 0, 1]])
    voxels = resample(template.data, template.affine, (84, 72, 63), affine)
    write_series(
        tmp_path / "Ann T1",
        np.round(10 * voxels).astype(np.int16),
        affine,
        SeriesDescription="Sag MPRAGE",
        PatientAge="071Y",
        PatientSex="F",
    )
    return tmp_path / "Ann T1"


def test_a_dicom_series_gets_a_derived_series(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made, transform, picture = tmp_path / "derived", tmp_path / "t1.tfm", tmp_path / "qc.png"
    command = ["synthesize", str(series), "--output", str(tmp_path), "--dicom", str(made)]
    assert main([*command, "--transform", str(transform), "--qc", str(picture)]) == 0
    assert "age 71 taken from the DICOM header" in capsys.readouterr().err
    path = tmp_path / "sub-Ann_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert (sidecar["Age"], sidecar["Sex"], sidecar["ReferenceRegion"]) == (71.0, "F", "pons")
    assert sidecar["Verdict"]["status"] in ("good", "doubtful")

    pet, derived = read_scan(path), read_scan(made)
    assert is_synthetic(pet)
    assert is_synthetic(derived)
    step = np.linalg.inv(pet.affine) @ derived.affine
    corner = np.rint(step[:3, 3]).astype(int)
    assert np.allclose(step[:3, :3], np.round(step[:3, :3]), atol=1e-4)
    back = resample(derived.data, derived.affine, pet.shape, pet.affine, antialias=False)
    assert np.abs(back - pet.data).max() < 2e-3, corner
    np.testing.assert_allclose(read_transform(transform), sidecar["ToTemplate"], atol=1e-5)
    assert min(sitk.ReadImage(str(picture)).GetSize()) > 200
    assert main(["synthesize", str(made), "--output", str(tmp_path / "again.nii.gz")]) == 2
    assert "is synthetic" in capsys.readouterr().err


def test_an_unknown_series_is_refused(series: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["synthesize", str(series), "--series", "FLAIR", "--output", str(tmp_path / "p.nii.gz")]) == 2
    assert "Sag MPRAGE" in capsys.readouterr().err


def test_a_folder_without_cases_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["prepare", str(tmp_path), str(tmp_path / "out"), "--grid", "small"]) == 2
    assert main(["validate", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
