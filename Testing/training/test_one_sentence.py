"""What goes wrong around a training is one clear sentence, and nothing is lost: mended, it ends in the same model."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

import DualGlowLib.training.run as run_of
from DualGlowLib.__main__ import main
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.errors import InputError
from DualGlowLib.files import write_whole
from DualGlowLib.locks import only_one
from DualGlowLib.training.folder import writing
from DualGlowLib.training.loop import Trainer
from raw_cohort import make_cohort, quick_case
from tiny_training import make_simulated, write_settings
from toy_runs import content, in_process

STEPS = {"steps": 4, "checkpoint_every": 1, "validate_every": 2, "sampled_cases": 0}


def train(cases: Path, run: Path, *more: str) -> int:
    return main(["train", str(cases), "--output", str(run), "--device", "cpu", *more])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_simulated(tmp_path_factory.mktemp("cohort") / "cases", 4)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_settings(tmp_path_factory.mktemp("settings") / "settings.json", **STEPS)


@pytest.fixture(scope="module")
def whole(cohort: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What becomes of a run that nothing disturbs."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(cohort, run, "--config", str(settings)) == 0
    return content(run)


@pytest.fixture(scope="module")
def stopped(cohort: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which two steps are done."""
    run, steps = tmp_path_factory.mktemp("stopped") / "run", []
    with pytest.raises(run_of.Interrupted):
        run_of.train(
            run_of.Plan(cohort, run, settings_file=settings), report=steps.append, stop=lambda: len(steps) == 2
        )
    return run


@pytest.fixture
def begun(cohort: Path, stopped: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Cases of its own and a run that was begun on them."""
    shutil.copytree(cohort, tmp_path / "cases")
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "cases", tmp_path / "run"


# Each of these is a state of things, which is mended when it ends.


@contextmanager
def vanished(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    (cases / "sub-0003").rename(cases.parent / "away")
    yield []
    (cases.parent / "away").rename(cases / "sub-0003")


@contextmanager
def damaged(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    pet = next((cases / "sub-0002").rglob("*_pet.nii.gz"))
    data = pet.read_bytes()
    pet.write_bytes(data[: len(data) // 2])
    yield []
    pet.write_bytes(data)


@contextmanager
def wrong_key(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    (run.parent / "wrong.json").write_text('{"training": {"learning_rat": 0.1}}')
    yield ["--config", str(run.parent / "wrong.json")]


@contextmanager
def wrong_covariate(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    model = {"covariates": ["age", {"name": "sites", "kind": "categorical"}]}
    (run.parent / "wrong.json").write_text(json.dumps({"model": model}))
    yield ["--config", str(run.parent / "wrong.json")]


@contextmanager
def second(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with only_one(run / "run.lock", "training"):
        yield []


@contextmanager
def lost_gpu(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """As torch says it; no test can take a GPU away."""

    def fail(self: Trainer, *_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later.")

    with patch.context() as one:
        one.setattr(Trainer, "_take_step", fail)
        yield []


@contextmanager
def small_gpu(cases: Path, run: Path, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    def fail(self: Trainer, *_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with patch.context() as one:
        one.setattr(Trainer, "_take_step", fail)
        yield []


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (vanished, r"began with sub-0003, which can't be used any more; give the cases that it began with, or train"),
        (damaged, r"sub-0002\S+_pet\.nii\.gz .+"),
        (wrong_key, r"wrong\.json: 'learning_rat' is no setting; there are .*learning_rate"),
        (wrong_covariate, r"has the covariate sites, but age, .+; correct its name"),
        (second, r"Another process is training into .+ \(process \d+ on "),
        (
            lost_gpu,
            r"device cpu has failed after step 2 \(CUDA error: unspecified launch failure\); go on with --resume",
        ),
        (small_gpu, r"out of memory after step 2 .+; go on with --resume, with --memory checkpoint"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_one_sentence_and_mended_the_run_ends_in_the_same_model(
    trouble: Callable, says: str, begun: tuple[Path, Path], settings: Path, whole: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    usual = ["--config", str(settings)]
    with trouble(*begun, monkeypatch) as options:
        assert train(*begun, "--resume", *(options or usual)) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(says, said), said
    assert said.startswith("dualglow train: ")
    assert said.endswith(".")
    assert train(*begun, "--resume", *usual) == 0
    assert content(begun[1]) == whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit on files is one of a process")
def test_a_full_disk(begun: tuple[Path, Path], settings: Path, whole: dict[str, str], capfd) -> None:
    """Files of more than 50 kB can't be written: no checkpoint, but status and history."""
    usual = ["--config", str(settings), "--resume"]

    def full() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        os._exit(train(*begun, *usual))

    assert in_process(full) == 2
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"checkpoint-3\.safetensors can't be written: File too large; mend that and go on with", said), (
        said
    )
    assert train(*begun, *usual) == 0
    assert content(begun[1]) == whole


@pytest.mark.parametrize("may_write", [True, False])
def test_a_run_says_to_mend_a_folder_that_can_not_be_written(
    may_write: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: may_write)
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(InputError) as error, writing(tmp_path):
        write_whole(tmp_path / "history.jsonl", "")
    said = str(error.value)
    assert said.endswith("; mend that and go on with --resume.")
    assert str(tmp_path) in said
    assert may_write or "another" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that nobody can write to")
def test_an_output_that_can_not_be_written(cohort: Path, settings: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(cohort, Path("/sys/run"), "--config", str(settings)) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"/sys/run.* can't be (made|written).+; (choose|give) another", said), said


def test_a_damaged_last_checkpoint_is_said_and_the_one_before_serves(
    begun: tuple[Path, Path], settings: Path, whole: dict[str, str], capsys: pytest.CaptureFixture
) -> None:
    data = begun[1] / "checkpoint-2.safetensors"
    data.write_bytes(data.read_bytes()[:-100])
    assert train(*begun, "--resume", "--config", str(settings), "--json") == 0
    said = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines() if '"notice"' in line]
    assert [one for one in said if "the checkpoint of step 2 is damaged (" in one and "goes on from step 1" in one]
    assert content(begun[1]) == whole


def test_prepared_cases_that_were_damaged_are_prepared_anew(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(run_of, "prepare_cohort", partial(prepare_cohort, work=quick_case))
    scans = make_cohort(tmp_path / "scans", ["sub-1", "sub-2", "sub-3"])
    runs, more = (tmp_path / "first", tmp_path / "second"), ["--grid", "small", "--config", str(settings)]
    assert train(scans, runs[0], *more) == 0
    cut, gone = sorted(tmp_path.glob("scans-small-*/sub-[12]/pet/*_pet.nii.gz"))
    cut.write_bytes(cut.read_bytes()[:-50])
    gone.unlink()
    assert train(scans, runs[1], *more) == 0
    assert "1 were prepared before" in capsys.readouterr().err
    first, second = ((run / "bundle" / "weights.safetensors").read_bytes() for run in runs)
    assert first == second
