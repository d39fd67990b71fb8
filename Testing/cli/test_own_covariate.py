"""A covariate of one's own, from the cohort's table to the sidecar of a synthesis, without touching code."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.writing import write_scan
from heads import coarse_template

COVARIATES = ["age", {"name": "education", "kind": "numeric"}, {"name": "site", "kind": "categorical"}]
FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
MODEL = {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2]}}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated, with two more columns in its table."""
    folder = simulate_cohort(tmp_path_factory.mktemp("cohort"), 6, "small", seed=3)
    path = folder / "participants.tsv"
    rows = list(csv.DictReader(path.open(), delimiter="\t"))
    for number, row in enumerate(rows):
        row |= {"education": str(8 + 2 * number), "site": ["Rome", "Oslo"][number % 2]}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def bundle(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    settings = {
        "model": {**MODEL, "covariates": COVARIATES},
        "training": {"steps": 2, "warmup": 1, "initialize_with": 2, "batch": 1, "validation": 0.2},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    options = ["--grid", "small", "--config", str(folder / "settings.json"), "--device", "cpu"]
    assert main(["train", str(cohort), "--output", str(folder / "run"), *options]) == 0
    return folder / "run" / "bundle"


@pytest.fixture(scope="module")
def t1(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The template in large voxels, and its mask."""
    folder = tmp_path_factory.mktemp("t1")
    for scan, name in zip(coarse_template(4), ("t1.nii.gz", "mask.nii.gz"), strict=True):
        write_scan(scan, folder / name)
    return str(folder / "t1.nii.gz"), str(folder / "mask.nii.gz")


def test_the_model_knows_the_column(bundle: Path) -> None:
    known = {one.name: one for one in load_bundle(bundle).config.covariates}
    assert list(known) == ["age", "education", "site"]
    assert (known["education"].minimum, known["education"].maximum) == (8, 18)
    assert known["site"].values == ("Oslo", "Rome")


def test_evaluate(bundle: Path, cohort: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert main(["evaluate", str(bundle), str(cohort), "--output", str(report), "--device", "cpu"]) == 0
    assert len(json.loads(report.read_text())["cases"]) == 6


def test_evaluate_on_a_cohort_with_other_columns(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What no case has is said; a value that can't be is refused before the first case."""
    cohort = simulate_cohort(tmp_path / "cohort", 1, "small", seed=4)
    command = ["evaluate", str(bundle), str(cohort), "--output", str(tmp_path / "report.json"), "--device", "cpu"]
    assert main(command) == 0
    assert "no case has education, which the model knows; it counts as unknown" in capsys.readouterr().err
    table = cohort / "participants.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    table.write_text("".join("\t".join([*row, new]) + "\n" for row, new in zip(rows, ["education", "90"], strict=True)))
    assert main([*command, "--force"]) == 2
    assert "sub-0001: education 90 is outside the range 8 to 18" in capsys.readouterr().err


def test_synthesize(bundle: Path, t1: tuple[str, str], tmp_path: Path) -> None:
    """What was said reaches the network and the sidecar; what was not is unknown."""
    images = []
    for number, said in enumerate(["education=10", "education=17.5", ""]):
        path = tmp_path / f"{number}.nii.gz"
        options = ["--mask", t1[1], "--bundle", str(bundle), "--device", "cpu", "--age", "70"]
        options += ["--covariate", said, "--covariate", "site=rome"] if said else []
        assert main(["synthesize", t1[0], "--output", str(path), *options]) == 0
        about = json.loads(path.with_name(f"{number}.json").read_text())
        value = float(said.partition("=")[2]) if said else None
        assert about["Covariates"] == {"age": 70.0, "education": value, "site": "Rome" if said else None}
        assert about["Age"] == 70.0
        assert not {"Sex", "Diagnosis"} & about.keys()  # it doesn't know them
        images.append(read_scan(path).data)
    assert np.abs(images[0] - images[1]).max() > 0
    assert np.abs(images[0] - images[2]).max() > 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["--covariate", "education=300"], "education 300 is outside the range 8 to 18"),
        (["--covariate", "education=many"], "education"),
        (["--covariate", "site=Paris"], "site is 'Paris'; this model knows Oslo, Rome"),
        (["--covariate", "income=3"], "doesn't know income, but age, education, site"),
        (["--covariate", "education"], "give NAME=VALUE"),
        (["--covariate", "education="], "give NAME=VALUE"),
        (["--covariate", "education=9", "--covariate", "education=12"], "'education' is given twice"),
        (["--age", "70", "--covariate", "age=80"], "'age' is given twice"),
        (["--covariate", "in\x1b[2J\ncome=3"], r"doesn't know 'in\x1b[2J\ncome'"),
        (["--covariate", f"education={'x' * 9999}"], "must be a number, not 'xxxx"),
        (["--covariate", "x" * 9999], "give NAME=VALUE"),
        (["--sex", "F"], "doesn't know sex"),
    ],
)
def test_what_cannot_be_is_refused(
    bundle: Path, t1: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture, said: list[str], words: str
) -> None:
    output = tmp_path / "pet.nii.gz"
    assert main(["synthesize", t1[0], "--output", str(output), "--bundle", str(bundle), *said]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    assert len(error) < 500
    assert not output.exists()


def test_no_sweep_over_an_age_that_the_model_does_not_know(
    cohort: Path, t1: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Else it would write the same PET under three ages."""
    training = {"steps": 1, "warmup": 1, "initialize_with": 2, "batch": 1}
    settings = {"model": {**MODEL, "covariates": []}, "training": training}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    options = ["--grid", "small", "--config", str(tmp_path / "settings.json"), "--device", "cpu"]
    assert main(["train", str(cohort), "--output", str(tmp_path / "run"), *options]) == 0
    capsys.readouterr()
    ages = ["--ages", "50:90:20", "--output", str(tmp_path / "out"), "--bundle", str(tmp_path / "run" / "bundle")]
    assert main(["sweep", t1[0], *ages]) == 2
    assert "doesn't know age, but no covariates; leave it out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_ages_of_a_sweep_are_given_once(
    bundle: Path, t1: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """An age that would have no effect is refused."""
    options = ["--ages", "60:70:10", "--covariate", "age=80", "--bundle", str(bundle)]
    assert main(["sweep", t1[0], "--output", str(tmp_path / "out"), *options]) == 2
    assert "a sweep takes its ages from --ages" in capsys.readouterr().err
