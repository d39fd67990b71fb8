"""The validation report: every case, usable or why not, and the numbers of the cohort."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from DualGlowLib.cases.report import validate_cases


def image(path: Path, shape: tuple[int, ...] = (10, 11, 12), nan: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(1).random(shape).astype(np.float32)
    nib.save(nib.Nifti1Image(np.full_like(data, np.nan) if nan else data, np.eye(4)), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Eight cases, each with another trouble but the first three."""
    for name in ("a1", "a2", "b", "cut", "flat", "nan"):
        image(tmp_path / name / "t1.nii.gz")
        image(tmp_path / name / "pet.nii.gz")
    cut = tmp_path / "cut" / "t1.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-2000])
    image(tmp_path / "flat" / "pet.nii.gz", (10, 11, 12, 5))
    image(tmp_path / "nan" / "pet.nii.gz", nan=True)
    image(tmp_path / "alone" / "t1.nii.gz")
    image(tmp_path / "half" / "pet.nii.gz")
    rows = [
        "case,age,sex,diagnosis,subject,session",
        "a1,70,F,CN,ann,1",
        "a2,72.5,F,MCI,ann,2",  # a person may have two diagnoses
        "b,,M,,,",
        "cut,60,M,CN,,",
        "flat,60,M,CN,,",
        "nan,60,M,CN,,",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_each_case_has_its_reason(cohort: Path) -> None:
    heard = []
    report = validate_cases(cohort, deep=True, progress=lambda name, fraction: heard.append(fraction))
    assert [case.name for case in report.usable] == ["a1", "a2", "b"]
    reasons = {item.name: "; ".join(item.problems) for item in report.unusable}
    assert set(reasons) == {"cut", "flat", "nan", "alone", "half"}
    assert "cut" in reasons["cut"]
    assert "incomplete" in reasons["cut"]
    assert "holds 5 volumes" in reasons["flat"]
    assert "no finite voxel" in reasons["nan"]
    assert reasons["alone"] == "no PET"
    assert reasons["half"] == "no T1"
    assert heard == sorted(heard)
    assert heard[-1] == 1


def test_headers_alone_show_less(cohort: Path) -> None:
    names = {item.name for item in validate_cases(cohort).unusable}
    assert names == {"flat", "alone", "half"}


def test_the_numbers(cohort: Path) -> None:
    counts = validate_cases(cohort, deep=True).counts()
    assert counts["cases"] == 8
    assert counts["usable"] == 3
    assert counts["subjects"] == 2
    assert counts["sessions_per_subject"] == {1: 1, 2: 1}
    assert counts["age"] == {"minimum": 70, "maximum": 72.5, "missing": 1}
    assert counts["sex"] == {"F": 2, "M": 1}
    assert counts["diagnosis"] == {"CN": 1, "MCI": 1, "missing": 1}


def test_the_report_as_text_and_json(cohort: Path) -> None:
    report = validate_cases(cohort)
    text = report.to_text()
    lines = text.splitlines()
    column = lines[0].index("usable")
    assert [line[column : column + 3].strip() for line in lines[1:9]] == [
        "yes", "yes", "no", "yes", "yes", "no", "no", "yes"
    ]  # fmt: skip
    assert "5 of 8 cases can be used, of 4 subjects." in text
    assert "age        60 to 72.5, missing in 1" in text
    assert text.endswith("Layout: plain. Only headers were read.")
    values = json.loads(json.dumps(report.to_dict()))
    assert values["layout"] == "plain"
    assert [row["case"] for row in values["list"] if not row["usable"]] == ["alone", "flat", "half"]
    assert values["list"][0]["covariates"] == {"age": "70", "sex": "F", "diagnosis": "CN"}


def test_a_mistake_in_a_table_concerns_its_case_alone(cohort: Path) -> None:
    table = cohort / "cases.csv"
    table.write_text(table.read_text().replace("b,,M", "b,abc,M"))
    report = validate_cases(cohort)
    assert "b" not in [case.name for case in report.usable]
    assert "a1" in [case.name for case in report.usable]
    assert "age 'abc' is not understood" in report.to_text()


def test_the_shared_pair_is_usable(shared: Path) -> None:
    report = validate_cases(shared / "data" / "pairs", deep=True)
    assert [case.name for case in report.usable] == ["brainweb06"]
    assert "1 of 1 cases can be used, of 1 subject." in report.to_text()
    assert "No case has age, sex or diagnosis; they would be in participants.tsv" in report.to_text()
