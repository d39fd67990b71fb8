"""Diagnoses in groups through the commands: training, evaluation and synthesis, with models of before."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.writing import write_scan
from heads import coarse_template

FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
MODEL = {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2]}}
SAID = ["CN", "SMC", "EMCI", "MCI", "LMCI", "AD"]
TABLE2 = ["--groups", "CN=CN,SMC", "MCI=EMCI,MCI,LMCI"]


def simulated(folder: Path, diagnoses: list[str], seed: int) -> Path:
    """A simulated cohort with these diagnoses in its table, all of one age."""
    simulate_cohort(folder, len(diagnoses), "small", seed=seed)
    path = folder / "participants.tsv"
    rows = list(csv.DictReader(path.open(), delimiter="\t"))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "age": "70", "diagnosis": one} for row, one in zip(rows, diagnoses, strict=True))
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("cohort"), SAID, seed=3)


def train(cohort: Path, folder: Path, *more: str, **model: object) -> int:
    folder.mkdir(exist_ok=True)
    training = {"steps": 1, "warmup": 1, "initialize_with": 2, "batch": 1, "validation": 0.2}
    (folder / "settings.json").write_text(json.dumps({"model": {**MODEL, **model}, "training": training}))
    options = ["--config", str(folder / "settings.json"), "--device", "cpu"]
    return main(["train", str(cohort), "--output", str(folder / "run"), *options, *more])


def knows(folder: Path) -> tuple[str, ...]:
    return next(one.values for one in load_bundle(folder / "run/bundle").config.covariates if one.name == "diagnosis")


def evaluate(bundle: Path, cohort: Path, folder: Path, *more: str) -> dict:
    report = folder / "report.json"
    assert main(["evaluate", str(bundle), str(cohort), "--output", str(report), "--device", "cpu", *more]) == 0
    return json.loads(report.read_text())


def test_the_diagnoses_of_the_cohort_are_the_models(cohort: Path, tmp_path: Path) -> None:
    assert train(cohort, tmp_path) == 0
    assert knows(tmp_path) == tuple(SAID)
    assert len(evaluate(tmp_path / "run/bundle", cohort, tmp_path)["cases"]) == len(SAID)


def test_groups_are_trained_and_taken_by_every_command(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert train(cohort, tmp_path, *TABLE2) == 0
    bundle = tmp_path / "run" / "bundle"
    assert knows(tmp_path) == ("CN", "MCI", "AD")
    assert "CN (of CN, SMC), MCI (of EMCI, MCI, LMCI), AD" in (bundle / "README.md").read_text()
    capsys.readouterr()
    assert len(evaluate(bundle, cohort, tmp_path)["cases"]) == len(SAID)
    assert "diagnosis SMC counts as CN for this model (1 case)" in capsys.readouterr().err


def test_a_model_of_cn_mci_and_ad_takes_the_parts_of_what_it_knows(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """SMC is a diagnosis of its own until somebody says otherwise."""
    assert train(simulated(tmp_path / "before", ["AD", "CN", "MCI", "CN"], seed=4), tmp_path) == 0
    bundle = tmp_path / "run" / "bundle"
    assert knows(tmp_path) == ("CN", "MCI", "AD")
    capsys.readouterr()
    result = evaluate(bundle, cohort, tmp_path)
    said = capsys.readouterr().err
    assert "diagnosis EMCI counts as MCI for this model (1 case)" in said
    assert "diagnosis LMCI counts as MCI for this model (1 case)" in said
    assert len(result["cases"]) == len(SAID) - 1
    assert "this model knows CN, MCI, AD" in result["left_out"][0]["reason"]
    assert len(evaluate(bundle, cohort, tmp_path, "--groups", "CN=CN,SMC")["cases"]) == len(SAID)

    for scan, name in zip(coarse_template(4), ("t1.nii.gz", "mask.nii.gz"), strict=True):
        write_scan(scan, tmp_path / name)
    t1, mask, out = (str(tmp_path / name) for name in ("t1.nii.gz", "mask.nii.gz", "pet.nii.gz"))
    command = ["synthesize", t1, "--mask", mask, "--output", out, "--bundle", str(bundle), "--device", "cpu"]
    capsys.readouterr()
    assert main([*command, "--diagnosis", "early MCI"]) == 0
    assert "diagnosis EMCI counts as MCI for this model" in capsys.readouterr().err
    assert "'MCI'" in str(json.loads((tmp_path / "pet.json").read_text()))
    assert main([*command, "--diagnosis", "SMC"]) == 2


def test_mistakes_are_found_first(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(cohort, tmp_path, "--groups", "CN=CN,SCM") == 2
    assert "--groups names SCM, but the diagnoses of the cases are" in capsys.readouterr().err
    own = [{"name": "diagnosis", "kind": "categorical", "groups": {"SMC": "CN"}}]
    assert train(cohort, tmp_path, *TABLE2, covariates=own) == 2
    assert "both group the diagnoses" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert train(cohort, tmp_path, covariates=own) == 0
    assert knows(tmp_path) == ("CN", "EMCI", "MCI", "LMCI", "AD")
    bundle = str(tmp_path / "run" / "bundle")
    for command in (
        ["calibrate", bundle, str(cohort)],
        ["evaluate", bundle, str(cohort), "--output", f"{bundle}.json"],
    ):
        capsys.readouterr()
        assert main([*command, "--device", "cpu", "--groups", "CN=CN,SCM"]) == 2
        assert "--groups names SCM" in capsys.readouterr().err
