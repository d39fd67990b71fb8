"""The main job in one command: from scans as they were acquired to a model, also after the process was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import DualGlowLib.training.run as run_of
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.locks import only_one
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.volumes.grid import GRIDS
from places import TRAIN
from raw_cohort import GRID, make_cohort, quick_case

TINY = {"steps": 2, "batch": 2, "validation": 0.3, "initialize_with": 2, "warmup": 1, "sampled_cases": 0}
FLOW = {"widths": [8, 8, 8], "depths": [1, 1, 1]}
MODEL = {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [2, 2, 2], "patterns": 2}}
NAMES = ["sub-1", "sub-2", "sub-3"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("raw") / "scans", NAMES)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("settings") / "settings.json"
    path.write_text(json.dumps({"model": MODEL, "training": TINY}))
    return str(path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All is real but the registrations, see ``quick_case``."""
    monkeypatch.setattr(run_of, "prepare_cohort", partial(prepare_cohort, work=quick_case))


def events(capsys: pytest.CaptureFixture) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def weights(run: Path) -> bytes:
    return (run / "bundle" / "weights.safetensors").read_bytes()


def caches(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if (path / "dataset_description.json").exists())


# ---------------------------------------------------------------------------------------------------- the real thing


def arguments(cases: Path, settings: str, run: Path, *more: str) -> list[str]:
    options = ["--grid", "small", "--config", settings, "--device", "cpu", "--no-bias", "--reference", "brain"]
    return [str(cases), "--output", str(run), *options, *more, "--json"]


def start(cases: Path, settings: str, run: Path, *more: str) -> subprocess.Popen:
    """The script as its user runs it, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(TRAIN), *arguments(cases, settings, run, *more)],
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_killed_while_it_prepares_and_resumed_it_ends_as_prepare_and_train_do(
    settings: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cases, run, whole = make_cohort(tmp_path / "scans", NAMES[:2]), tmp_path / "one" / "run", tmp_path / "two" / "run"
    with start(cases, settings, run) as process:
        for line in process.stdout:
            if json.loads(line).get("stage") == "preparing":
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.communicate()
    assert not (run / "bundle").exists()
    with start(cases, settings, run, "--resume") as process:
        for line in process.stdout:
            if json.loads(line).get("stage") == "preparing":
                process.send_signal(signal.SIGINT)
                break
        output, errors = process.communicate()
    assert process.returncode == 1, errors
    assert json.loads(output.splitlines()[-1]) == {"event": "interrupted", "step": 0}
    with start(cases, settings, run, "--jobs", "2", "--resume") as process:
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(output.splitlines()[-1]) == {"event": "done", "bundle": str(run / "bundle")}
    (cache,) = caches(run.parent)
    torch.set_num_threads(1)
    assert main(["train", *arguments(cache, settings, whole)]) == 0  # in this process, which has loaded torch already
    assert events(capsys)[-1] == {"event": "done", "bundle": str(whole / "bundle")}
    assert weights(run) == weights(whole)
    bundle = load_bundle(run / "bundle")
    assert bundle.grid == GRIDS["small"]
    assert bundle.preparation == Preparation(bias=False, reference="brain")
    assert bundle.training["cases"] == 1
    assert [case.name for case in read_cases(cache)] == NAMES[:2]
    assert (cache / "qc" / "index.html").is_file()


# --------------------------------------------------------------------------------------------------------- the cache


def test_a_second_run_finds_the_prepared_cases(
    quick: None, cases: Path, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def train(name: str, *more: str) -> str:
        command = ["train", str(cases), "--grid", "small", "--config", settings, "--output", str(tmp_path / name)]
        assert main([*command, *more, "--json"]) == 0
        return " ".join(event["message"] for event in events(capsys) if event["event"] == "notice")

    assert "0 were prepared before" in train("first")
    before = {path: path.stat().st_mtime_ns for path in caches(tmp_path)[0].rglob("sub-*/*/*")}
    assert "3 were prepared before" in train("second", "--steps", "1")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "0 were prepared before" in train("third", "--resolution", "6")  # elsewhere: the first run may be resumed
    assert len(caches(tmp_path)) == 2
    assert load_bundle(tmp_path / "third" / "bundle").preparation == Preparation(resolution=6.0)
    assert "3 were prepared before" in train("first", "--resume", "--steps", "3")
    assert load_bundle(tmp_path / "first" / "bundle").training["steps"] == 3
    command = ["train", str(cases), "--output", str(tmp_path / "first"), "--resume", "--json"]
    capsys.readouterr()
    assert main([*command, "--resolution", "6"]) == 2
    assert "began with cases that were prepared otherwise; give the same options" in capsys.readouterr().err
    assert main(command) == 0  # with the grid and the model that it began with


def test_prepared_cases_say_which_grid_they_lie_on(
    quick: None, cases: Path, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    prepare_cohort(cases, tmp_path / "prepared", GRID, Preparation(reference="brain"), work=quick_case)
    command = ["train", str(tmp_path / "prepared"), "--config", settings, "--output", str(tmp_path / "run")]
    assert main([*command, "--reference", "cerebellum"]) == 2
    assert "is prepared already, with other settings" in capsys.readouterr().err
    assert main([*command, "--reference", "brain"]) == 0
    assert load_bundle(tmp_path / "run" / "bundle").grid == GRID
    assert caches(tmp_path) == [tmp_path / "prepared"]


def test_folds_are_those_of_the_scans(
    quick: None, cases: Path, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Under the names that the user gave, of which the prepared cases keep letters and digits alone."""
    found, table = read_cases(cases), tmp_path / "cases.csv"
    rows = [f"No {i},{case.t1},{case.pet},{case.mask},{60 + i}" for i, case in enumerate(found)]
    table.write_text("\n".join(["case,t1,pet,mask,age", *rows]) + "\n")
    folds = tmp_path / "folds.tsv"
    folds.write_text("subject\tfold\nNo 0\t0\nNo 1\t1\nNo 2\t0\n")
    command = ["train", str(table), "--grid", "small", "--config", settings, "--output", str(tmp_path / "run")]
    assert main([*command, "--splits", str(folds), "--fold", "0"]) == 0
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert bundle.training["cases"] == 1
    (age,) = (covariate for covariate in bundle.config.covariates if covariate.name == "age")
    assert (age.minimum, age.maximum) == (60, 62)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--grid", "huge"], "There is no grid 'huge'"),
        (["--reference", "moon"], "no reference region 'moon'"),
        (["--fold", "0"], "--splits and --fold go together"),
        (["--preset", "none"], "none"),
        (["--resume"], "has no run to resume from"),
        (["--layout", "caps"], "has no case with both a T1 and an FDG-PET"),
    ],
)
def test_mistakes_are_found_before_anything_is_prepared(
    cases: Path, tmp_path: Path, options: list[str], says: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(["train", str(cases), "--output", str(tmp_path / "run"), *options]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_put_among_the_scans(cases: Path, settings: str, capsys: pytest.CaptureFixture) -> None:
    before = sorted(cases.rglob("*"))
    for inside in ("runs/one", "sub-1/run"):
        assert main(["train", str(cases), "--config", settings, "--output", str(cases / inside)]) == 2
        assert "lies inside" in capsys.readouterr().err
    assert sorted(cases.rglob("*")) == before


def test_a_covariate_that_is_none_is_found_before_anything_is_prepared(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = {"covariates": ["age", {"name": "site", "kind": "numeric"}]}
    (tmp_path / "settings.json").write_text(json.dumps({"model": model}))
    command = ["train", str(cases), "--config", str(tmp_path / "settings.json"), "--output", str(tmp_path / "run")]
    assert main(command) == 2
    assert f"sub-1 in {cases}: " in capsys.readouterr().err
    assert caches(tmp_path) == []


def test_a_covariate_that_no_case_has_is_found_before_anything_is_prepared(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Else a misspelt one would be left out of the model without a word."""
    model = {"covariates": ["age", {"name": "sites", "kind": "categorical"}]}
    (tmp_path / "settings.json").write_text(json.dumps({"model": model}))
    command = ["train", str(cases), "--config", str(tmp_path / "settings.json"), "--output", str(tmp_path / "run")]
    assert main(command) == 2
    assert "has the covariate sites, but age, diagnosis, sex, site; correct its name" in capsys.readouterr().err
    assert caches(tmp_path) == []


def test_a_run_of_another_process_is_found_before_anything_is_prepared(
    cases: Path, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["train", str(cases), "--grid", "small", "--config", settings, "--output", str(tmp_path / "run")]
    with only_one(tmp_path / "run" / "run.lock", "training"):
        assert main(command) == 2
    assert "Another process is training into" in capsys.readouterr().err
    assert caches(tmp_path) == []


def test_a_case_that_failed_stops_the_run_until_it_is_mended(
    quick: None, settings: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Else the run would go on without it, and its sequel with it."""
    scans = make_cohort(tmp_path / "scans", ["sub-1", "sub-2", "sub-die"])
    command = ["train", str(scans), "--grid", "small", "--config", settings, "--output", str(tmp_path / "run")]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "1 of the cases could not be prepared, the first sub-die (its process was killed (SIGKILL)" in said
    (cache,) = caches(tmp_path)
    assert str(cache / "logs") in said
    (cache / "logs" / "survived").touch()  # see quick_case
    assert main(command) == 0  # as with --resume: no step was taken yet
    assert load_bundle(tmp_path / "run" / "bundle").training["cases"] == 2
