"""An ADNI download, made up in its shape over the template, from its folders to a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adni_download import N3, UNIFORM, download, row, table
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from raw_cohort import coarse_template

FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
SETTINGS = {
    "model": {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2], "patterns": 2}},
    "training": {"steps": 2, "batch": 1, "validation": 0.3, "initialize_with": 2, "warmup": 1},
}
PEOPLE = {"941_S_1311": ("LMCI", "70"), "002_S_4295": ("SMC", "72")}
"""The first has a T1 that ADNI processed, as NIfTI; the second one as it was acquired, and both scans in DICOM."""


@pytest.fixture(scope="module")
def adni(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adni")
    coarse, maps = coarse_template()
    rows = []
    for number, (subject, (group, age)) in enumerate(PEOPLE.items()):
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = [-98 + 2 * number, -135, -90]
        stretch = np.diag([1 + 0.02 * number, 1, 1, 1])
        t1, brain, gm, wm = (resample(data, stretch @ coarse, (50, 60, 50), affine) for data in maps)
        scatter = np.random.default_rng(number).uniform(0, 0.01, t1.shape)  # measured all over
        uptake = 8000 * (2.4 * gm + 0.5 * wm + 0.05 * brain + scatter)
        description, dicom = ("MP-RAGE", ("MR", "PT")) if number else (N3, ("", ""))
        mri, pet = Scan(np.clip(t1, 0, None), affine), Scan(uptake, affine)
        download(folder, subject, description, "2007-05-20", f"I{number}00", mri, dicom[0])
        download(folder, subject, UNIFORM, "2007-06-01", f"I{number}01", pet, dicom[1])
        download(folder, subject, "Co-registered, Averaged", "2007-06-01", f"I{number}02", pet)
        rows += [row(f"I{number}01", subject, UNIFORM, "2007-06-01", group, age)]
    rows.append(row("I999", "941_S_1311", UNIFORM, "2009-06-01", "LMCI"))
    table(folder / "collection_6_01_2024.csv", *rows)
    return folder


def test_it_is_checked_prepared_and_trained_by_one_command(
    adni: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["validate", str(adni), "--deep"]) == 0
    report = capsys.readouterr().out
    assert "2 of 3 cases can be used, of 2 subjects." in report
    assert "LMCI 1, SMC 1" in report
    assert "I999 (Coreg, Avg, Std Img and Vox Siz, Uniform Resolution) is listed" in report
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    options = ["--grid", "small", "--no-bias", "--reference", "brain", "--device", "cpu", "--groups", "CN=CN,SMC"]
    run = ["--config", str(tmp_path / "settings.json"), "--output", str(tmp_path / "run")]
    assert main(["train", str(adni), *run, *options]) == 0
    known = {one.name: one for one in load_bundle(tmp_path / "run" / "bundle").config.covariates}
    assert known["diagnosis"].values == ("CN", "LMCI")
    assert (known["age"].minimum, known["age"].maximum) == (70, 72)
    (prepared,) = (path.parent for path in tmp_path.glob("*/manifest.json"))
    second, first = read_cases(prepared)
    assert (first.name, first.subject) == ("sub-941S1311_ses-20070601", "sub-941S1311")
    assert first.covariates == {"age": "70", "sex": "M", "diagnosis": "LMCI"}
    assert second.covariates["diagnosis"] == "SMC"  # grouped in the model alone
    assert first.columns["pet_image"] == "I001"
    assert first.columns["days_from_t1_to_pet"] == "12"
