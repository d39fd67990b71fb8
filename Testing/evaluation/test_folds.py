"""The runs of a cross-validation: how they stand, and their evaluations as one."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from statistics import stdev

import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.evaluation.folds import fold_text, read_folds, summarise, write_summary
from DualGlowLib.evaluation.report import write_report
from DualGlowLib.files import hash_file
from DualGlowLib.training.status import StatusWriter
from tiny_training import make_simulated, write_settings


def result(*psnr: float, prefix: str = "sub", **more: object) -> dict:
    """An evaluation of as many cases."""
    mean = sum(psnr) / len(psnr)
    cases = [{"case": f"{prefix}-{i}", "methods": {"model": {"psnr": value}}} for i, value in enumerate(psnr)]
    return {"data_range_suvr": 3.0, "summary": {"model": {"psnr": mean}}, "sd": {}, "regions": {}, "rank_fifths": {},
            "cases": cases, "left_out": [], **more}  # fmt: skip


def run(folder: Path, fold: int, *, ends: bool = True, splits: Path | None = None) -> Path:
    """A run of a fold, done or dead, with something for a bundle."""
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "config.json").write_text(json.dumps({"fold": fold}))
    splits = splits or folder.parent.parent / "folds.json"
    status = StatusWriter(folder, ["cases", "--splits", str(splits), "--fold", str(fold)])
    status.__enter__()
    if ends:
        status.__exit__(None, None, None)
    return folder


def evaluated(folder: Path, of: int, *psnr: float, **more: object) -> None:
    digest = hash_file(folder / "bundle" / "config.json")
    values = {"prefix": f"fold{of}", "fold": of, "bundle_sha256": digest, **more}
    write_report(result(*psnr, **values), folder / "report.json")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Folds 0 and 1 evaluated, 2 not, 3 dead, 4 without a run."""
    subjects = {f"sub-{i}": {"fold": i} for i in range(5)}
    (tmp_path / "folds.json").write_text(json.dumps({"subjects": subjects}))
    for fold in range(4):
        run(tmp_path / "runs" / f"fold-{fold}", fold, ends=fold < 3)
    evaluated(tmp_path / "runs" / "fold-0", 0, 20.0, 22.0)
    evaluated(tmp_path / "runs" / "fold-1", 1, 24.0)
    return tmp_path / "runs"


def test_folds_that_are_done_count_and_the_others_are_named(runs: Path) -> None:
    found = summarise(read_folds(runs))
    assert [one["state"] for one in found["folds"]] == ["done", "done", "done", "dead", "missing"]
    assert [bool(one["problem"]) for one in found["folds"]] == [False, False, True, True, True]
    numbers = found["summary"]["model"]["psnr"]
    assert numbers["by_fold"] == {"0": 21.0, "1": 24.0}
    assert numbers["folds"] == {"mean": 22.5, "sd": pytest.approx(stdev([21, 24])), "n": 2}
    assert numbers["cases"] == {"mean": 22.0, "sd": 2.0, "n": 3}
    said = fold_text(found)
    assert "fold 3: dead" in said
    assert "fold 4: missing; it has no run yet" in said
    assert "2 of 5 folds count" in said
    assert "22.50 ± 2.12" in said
    assert "22.00 ± 2.00" in said


def test_the_tables_of_folds_have_only_rows_with_numbers() -> None:
    spread = {"mean": 0.5, "sd": None, "n": 1}
    law = {key: {"folds": spread, "cases": spread} for key in ("crps", "region_crps")}
    both = {"psnr": {"folds": spread, "cases": spread}}
    said = fold_text({"folds": [{"fold": 0, "problem": ""}], "summary": {"model": both, "model, mean of 4": law}})
    assert "| law of region means, 1 fold | CRPS SUVR |\n|---|---|\n| model, mean of 4 | 0.5000 |\n" in said
    assert "| in the brain mask, 1 case | PSNR dB |\n|---|---|\n| model | 0.50 |\n" in said
    assert "|  |" not in said


@pytest.mark.parametrize("change", [{"fold": 1}, {"bundle_sha256": "0"}])
def test_an_evaluation_of_something_else_does_not_count(runs: Path, change: dict) -> None:
    evaluated(runs / "fold-0", 0, 20.0, **change)
    assert "is no evaluation of this bundle on fold 0" in read_folds(runs)[0].problem


def test_a_case_of_two_folds_is_an_error(runs: Path) -> None:
    evaluated(runs / "fold-1", 1, 24.0, prefix="fold0")
    with pytest.raises(InputError, match="fold0-0 is evaluated in the folds 0 and 1"):
        summarise(read_folds(runs))


def test_two_runs_of_a_fold_and_two_files_of_folds_are_refused(runs: Path) -> None:
    again = run(runs / "again", 1)
    with pytest.raises(InputError, match="both of fold 1"):
        read_folds(runs)
    shutil.rmtree(again)
    run(runs / "other", 4, splits=runs / "other.json")
    with pytest.raises(InputError, match="from two files"):
        read_folds(runs)
    with pytest.raises(InputError, match="holds no run of a fold"):
        read_folds(runs.parent)


def test_the_table_has_every_number(runs: Path, tmp_path: Path) -> None:
    path = write_summary(summarise(read_folds(runs)), tmp_path / "summary.csv")
    rows = list(csv.DictReader(path.open()))
    assert [(row["fold"], float(row["mean"])) for row in rows] == [
        ("0", 21.0), ("1", 24.0), ("all folds", 22.5), ("all cases", 22.0)
    ]  # fmt: skip


def test_from_folds_to_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """With the commands of the manual; one fold is trained, then the other."""
    cases, splits, runs = str(make_simulated(tmp_path / "cases", 4)), str(tmp_path / "folds.json"), tmp_path / "runs"
    settings = str(write_settings(tmp_path / "settings.json", steps=1, sampled_cases=0))
    assert main(["validate", cases, "--splits", splits, "--folds", "2"]) == 0
    for fold in ("0", "1"):
        own = runs / f"fold-{fold}"
        of = ["--splits", splits, "--fold", fold, "--device", "cpu"]
        assert main(["train", cases, *of, "--output", str(own), "--config", settings]) == 0
        assert main(["evaluate", str(own / "bundle"), cases, *of, "--output", str(own / "report.json")]) == 0
        capsys.readouterr()
        assert main(["folds", str(runs), "--output", str(tmp_path / "all.json"), "--json"]) == int(fold == "0")
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["problem"] for one in told["folds"]] == ["", ""]
    assert told["summary"]["model"]["psnr"]["cases"]["n"] == 4
    assert json.loads((tmp_path / "all.json").read_text())["summary"] == told["summary"]
