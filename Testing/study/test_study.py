"""A study of two methods and two folds by its command, what it reports, and what becomes of failures."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace

import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.baselines.methods import METHODS
from DualGlowLib.baselines.recipe import recipe
from DualGlowLib.cases.case import Case
from DualGlowLib.cli.study import _PARTS
from DualGlowLib.model import PRESETS
from DualGlowLib.outputs import kind_of_file
from DualGlowLib.study.methods import Method, method_named, shortened
from DualGlowLib.study.numbers import table3
from DualGlowLib.study.plan import Run, begin_study, read_settings, read_study
from DualGlowLib.study.report import PARTS
from DualGlowLib.study.results import read_results
from DualGlowLib.study.running import share_of
from DualGlowLib.volumes.grid import GRIDS
from tiny_training import make_simulated

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_simulated(tmp_path_factory.mktemp("study") / "cases", 6)


@pytest.fixture(scope="module")
def quick(cases: Path) -> Path:
    """A study, run and reported."""
    out = cases.parent / "out"
    assert main(["study", "run", str(cases), str(out), "--quick", "--device", "cpu"]) == 0
    assert main(["study", "report", str(out)]) == 0
    return out


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_every_run_has_a_folder_of_its_own(quick: Path) -> None:
    study = read_study(quick)
    assert list(study.methods) == ["mean", "standard"]
    assert [(run.method, run.fold) for run in study.runs] == [(m, f) for f in (0, 1) for m in ("mean", "standard")]
    held_out = []
    for run in study.runs:
        evaluation = json.loads((run.folder / "evaluation.json").read_text())
        assert (evaluation["method"], evaluation["fold"]) == (run.method, run.fold)
        assert {case["case"] for case in evaluation["cases"]} == {case.name for case in study.sides(run.fold)[1]}
        held_out += [case["case"] for case in evaluation["cases"] if run.method == "mean"]
    assert len(held_out) == len(set(held_out)) == 6


def test_table_1_has_each_case_once(quick: Path) -> None:
    """Mean ± sd over cases and over folds, of the numbers of the evaluations; the law's mean is the best row."""
    every = list(csv.DictReader((quick / "report" / "table1.csv").open()))
    kinds = {row["table"].partition(":")[0] for row in every}
    assert {"in the brain mask", "whole volume, mostly air"} <= kinds
    fifths = [float(row["value"]) for row in every if row["table"].startswith("rank of region means")]
    assert len(fifths) == 5
    assert sum(fifths) == pytest.approx(1)
    rows = [row for row in every if row["table"].startswith("in the brain mask")]
    found = read_results(quick)
    values = [[case["methods"]["mean"]["psnr"] for case in one.evaluation["cases"]] for one in found.of("mean")]
    for over, expected in (("cases", list(chain(*values))), ("folds", [fmean(own) for own in values])):
        (row,) = [
            row for row in rows
            if (row["row"], row["column"]) == ("mean PET", "PSNR dB") and row["table"].endswith(f"over {over}")
        ]  # fmt: skip
        assert float(row["value"]) == pytest.approx(fmean(expected))
        assert float(row["sd"]) == pytest.approx(stdev(expected))
        assert int(row["n"]) == len(expected)
    over_cases = {row["row"]: float(row["value"]) for row in rows
                  if row["column"] == "PSNR dB" and row["table"].endswith("over cases")}  # fmt: skip
    assert list(over_cases) == ["mean PET", "standard", "standard, mean of 3", "best possible (the law's mean)"]
    assert max(over_cases.values()) == over_cases["best possible (the law's mean)"]


def test_regions_agree_as_bland_and_altman_say(quick: Path) -> None:
    """Of all held-out cases together; the law's mean is among the methods."""
    people = read_results(quick).people("mean")
    names = json.loads((quick / "runs" / "mean" / "fold-0" / "regions.json").read_text())["regions"]
    place = names.index("lateral_temporal_L")
    errors = [row["predicted"][place] - row["truth"][place] for row in people]
    rows = {
        (row["table"].partition(":")[0], row["row"], row["column"]): row
        for row in csv.DictReader((quick / "report" / "regions.csv").open())
    }
    one = rows["synthetic minus simulated PET, SUVR", "lateral temporal left", "mean PET"]
    assert float(one["value"]) == pytest.approx(fmean(errors))
    assert float(one["sd"]) == pytest.approx(stdev(errors))
    icc = {key[2]: float(row["value"]) for key, row in rows.items() if key[:2] == ("agreement, ICC(A,1)", "occipital")}
    assert max(icc, key=icc.get) == "best possible (the law's mean)"
    assert any(key[0].startswith("asymmetry index") and key[1] == "insula" for key in rows)


def test_the_report_has_every_part_and_is_ours(quick: Path) -> None:
    report = quick / "report"
    kinds = {path.name: kind_of_file(path) for path in report.iterdir()}
    assert "" not in kinds.values()
    assert {"table1.md", "table1.csv", "table3.md", "fig4.svg", "fig7.png", "fig14.csv", "index.html"} <= kinds.keys()
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "The cohort is simulated" in page
    assert "4 of 4 runs are done" in page
    assert "table2: " not in page.partition("What is missing")[0]
    assert "fig17: Fig. 17 compares values of λ" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_report_is_the_same_each_time(quick: Path) -> None:
    before = contents(quick / "report")
    for part in ("table1", "fig4", "fig6"):
        assert main(["study", part, str(quick)]) == 0
    assert contents(quick / "report") == before


def test_pictures_are_of_marked_synthetic_pets(quick: Path) -> None:
    examples = sorted((quick / "runs" / "standard" / "fold-0" / "examples").glob("*.nii.gz"))
    assert examples
    assert {kind_of_file(path) for path in examples} == {"image SYNTHETIC FDG DualGlow, research use only"}
    assert not (quick / "runs" / "standard" / "fold-1" / "examples").exists()


def test_the_diagnosis_is_hidden_where_classifiers_learn(quick: Path) -> None:
    """Region means of measures are those of a PET without the diagnosis, on the grid's regions."""
    from DualGlowLib.atlas.regions import weights
    from DualGlowLib.cases.ongrid import read_on_grid
    from DualGlowLib.preparation.t1 import PreparedT1
    from DualGlowLib.study.methods import load

    study, run = read_study(quick), Run(quick, "standard", 1)
    case, grid = study.sides(1)[1][0], study.grid()
    row = next(one for one in read_results(quick).people("standard") if one["case"] == case.name)
    t1, pet, mask = read_on_grid(case, grid)
    attributes = {**case.attributes, "diagnosis": ""}
    image = load(study.methods["standard"], run.folder).predict(PreparedT1(grid, t1, mask), attributes)
    for key, volume in (("predicted", image), ("truth", pet)):
        assert row[key] == pytest.approx(((weights(grid) * volume).sum((1, 2, 3))).tolist(), abs=1e-4)


def test_a_run_that_fails_stops_no_other(quick: Path, cases: Path, capsys: pytest.CaptureFixture) -> None:
    """What is done is kept, a method can be added, and the report says what is missing."""
    kept = {run: (run.folder / "regions.json").stat().st_mtime_ns for run in read_study(quick).runs}
    command = ["study", "run", str(cases), str(quick), "--quick", "--device", "cpu", "--methods", "linear"]
    assert main(command) == 1
    assert re.search(r"linear, fold 0 failed: \d cases are too few to regress", capsys.readouterr().err)
    assert {run: (run.folder / "regions.json").stat().st_mtime_ns for run in kept} == kept
    assert main(["study", "table1", str(quick)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"linear, fold 1: failed, \d cases are too few", said)
    assert "Folds that count, of 2: mean PET 2, standard 2." in said


def test_another_study_in_the_folder_is_refused(quick: Path, cases: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["study", "run", str(cases), str(quick), "--quick", "--device", "cpu"]
    assert main([*command, "--folds", "3"]) == 2
    assert "holds a study with other settings" in capsys.readouterr().err
    assert main([*command[:2], str(cases), str(cases / "out"), "--quick"]) == 2
    assert "whose cases are to be read" in capsys.readouterr().err
    assert main(["study", "report", str(cases)]) == 2
    assert "holds no study" in capsys.readouterr().err


def test_a_damaged_study_says_what_to_do(quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "damaged study"
    shutil.copytree(quick, folder, ignore=shutil.ignore_patterns("report", "bundle", "checkpoints"))
    run = Run(folder.resolve(), "standard", 0)
    said = json.loads((run.folder / "regions.json").read_text())
    (run.folder / "regions.json").write_text(json.dumps({"GeneratedBy": said["GeneratedBy"]}))
    missing = read_results(folder).missing  # beside runs that failed, if another test asked for them
    assert [text for text in missing if text.startswith("standard")] == [
        f"standard, fold 0: its files can't be read (regions.json has no regions); delete {run.folder} and run the "
        "study again"
    ]
    (run.folder / "regions.json").write_text(json.dumps(said))
    shutil.rmtree(run.folder / "examples")
    for part in ("fig5", "fig6"):
        assert main(["study", part, str(folder)]) == 2
        assert re.search(f"delete ({run.folder}|that folder) and run the study again", capsys.readouterr().err)
    (folder / "folds.json").unlink()
    study = read_study(folder)
    with pytest.raises(InputError, match=r"folds\.json is missing; put it back"):
        begin_study(folder, study.source, list(study.methods.values()), study.settings)
    (folder / "study.json").write_text((folder / "study.json").read_text()[:200])
    assert main(["study", "table1", str(folder)]) == 2
    assert "study.json is damaged" in capsys.readouterr().err


def test_table_3_of_a_cohort_without_ages(tmp_path: Path) -> None:
    cases = [Case(f"sub-{k}", f"sub-{k}", tmp_path, tmp_path, {"sex": "F"}) for k in range(2)]
    results = SimpleNamespace(cases=cases)
    assert "| no diagnosis | 2 |  | 2 | 0 |" in table3(results).markdown()


def test_tasks_of_a_job_array_divide_the_runs(quick: Path) -> None:
    runs = read_study(quick).runs
    parts = [share_of(runs, index, 3) for index in range(3)]
    assert sorted(chain(*parts), key=runs.index) == runs
    with pytest.raises(InputError, match="--index 3 --of 3"):
        share_of(runs, 3, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"methods": {"mine": {"preset": "standard"}}, "fold": 3}', "'fold' is no part of the settings; there are"),
        ('{"methods": []}', "must be an object of settings by name"),
        ('{"methods": {"Mine": {}}}', "give it small letters"),
        ('{"methods": {"mean": {}}}', "give yours another name"),
        ('{"samples": "many"}', "samples"),
        ('{"samples": 1}', "give at least 2"),
        ('{"folds": "5"}', "folds must be a whole number"),
        ('{"methods": {"mine": {"method": ["unet"]}}}', "The method mine: method must be the name of a baseline"),
        ("[", "can't be read as JSON"),
    ],
)
def test_mistakes_in_a_settings_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_settings(path, None, True, {})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"method": "unet", "training": 3}, "training must be an object of settings, not 3"),
        ({"method": "unet", "training": {"stepz": 3}}, "'stepz' is no setting"),
        ({"method": "unet", "model": {"loss": "l3"}}, "loss must be one of l1, l2"),
        ({"method": "unet", "extra": 1}, "'extra' is no part of the settings"),
        ({"preset": "sketchy"}, "There is no preset 'sketchy'"),
        ({"model": {"mri_weight": -1}}, "mri_weight must be at least 0"),
    ],
)
def test_settings_of_a_method_are_tried_before_any_run(own: dict, message: str) -> None:
    """They never change once they are in a study; so a slip must not get into one."""
    with pytest.raises(InputError, match=f"The method mine: .*{message}"):
        shortened(method_named("mine", own), GRIDS["small"].shape, None, False)


def test_a_baseline_that_is_gone_fails_its_runs_alone() -> None:
    assert not Method("gone", {"method": "of-a-package-that-is-gone"}).is_closed


def test_the_command_offers_every_part() -> None:
    assert set(PARTS) == set(_PARTS)


def test_methods_of_a_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    own = {"mine": {"method": "unet", "model": {"loss": "l2"}}, "flow": {"preset": "standard", "model": {}}}
    path.write_text(json.dumps({"methods": own, "folds": 7, "ages": [60, 70]}))
    methods, settings = read_settings(path, None, False, {"folds": None})
    assert {one.name: dict(one.settings) for one in methods} == {"mean": {"method": "mean"}, **own}
    assert (settings.folds, settings.ages) == (7, (60, 70))
    chosen, _ = read_settings(path, ["flow", "linear"], False, {})
    assert [one.name for one in chosen] == ["mean", "flow", "linear"]


@pytest.mark.parametrize("name", [*METHODS, *PRESETS])
def test_every_method_can_be_made_quick(name: str) -> None:
    """A few channels, as many steps as are asked for; settings of it that its training takes."""
    shape = GRIDS["small"].shape
    settings = shortened(method_named(name), shape, 4, True).settings
    assert settings["training"]["steps"] == 4
    config = recipe(settings.get("method")).config(settings.get("preset"), settings["model"], shape)
    whole = recipe(settings.get("method")).config(settings.get("preset"), {}, shape)
    if name not in ("mean", "mean-age", "linear"):
        assert config != whole


def test_methods_by_name() -> None:
    assert method_named("lambda-0.01").settings["model"] == {"mri_weight": 0.01}
    assert method_named("lambda-0.01").weight == 0.01
    assert method_named("mean").is_closed
    for name, message in (("median", "There is no method 'median'"), ("lambda-x", "after lambda- comes a number")):
        with pytest.raises(InputError, match=message):
            method_named(name)
    methods, settings = read_settings(None, ["standard", "unet"], True, {"folds": 4, "seed": None})
    assert [one.name for one in methods] == ["mean", "standard", "unet"]
    assert (settings.folds, settings.seed) == (4, 0)
