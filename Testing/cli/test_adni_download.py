"""An ADNI download, made up in its shape over the template, from its folders to a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adni_download import make_download
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.layouts import read_cases

FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
SETTINGS = {
    "model": {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2], "patterns": 2}},
    "training": {"steps": 2, "batch": 1, "validation": 0.3, "initialize_with": 2, "warmup": 1},
}


@pytest.fixture(scope="module")
def adni(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_download(tmp_path_factory.mktemp("adni"))


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
