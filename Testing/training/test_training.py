"""Training as its user runs it: a simulated cohort, real processes, interruption, resume, the bundle at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.model import preset
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.training.checkpoints import Checkpoints
from DualGlowLib.training.data import Cohort, split_subjects
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import GRIDS
from places import TRAIN

STEPS = 9


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    simulate_cohort(folder, 6, "small", seed=7)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = {
        "steps": STEPS,
        "warmup": 4,
        "initialize_with": 6,
        "learning_rate": 2e-4,
        "checkpoint_every": 4,
        "validate_every": 3,
    }
    flow = {"depths": [1, 1, 1], "widths": [16, 16, 16]}
    model = {"mri": flow, "pet": flow, "link": {"widths": [16, 16, 16], "context": [4, 4, 4]}}
    path = tmp_path_factory.mktemp("settings") / "settings.json"
    values = {"preset": "standard", "model": model, "training": {**training, "validation": 0.2}}
    path.write_text(json.dumps(values))
    return path


def command(cases: Path, settings: Path, run: Path, *more: str) -> list[str]:
    arguments = [str(cases), "--grid", "small", "--config", str(settings), "--output", str(run), "--device", "cpu"]
    return [sys.executable, str(TRAIN), *arguments, "--json", *more]


def environment() -> dict[str, str]:
    """One thread: sums in one order, so that runs can be compared bit by bit. No PYTHONPATH: the script must do."""
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "OMP_NUM_THREADS": "1"}


def go_on(cases: Path, settings: Path, run: Path, *more: str) -> None:
    """Resume a run to its end."""
    torch.set_num_threads(1)
    assert main(["train", *command(cases, settings, run, "--resume", *more)[2:]]) == 0


def history(run: Path) -> list[tuple]:
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line.get("validation_loss")) for line in lines]


@pytest.fixture(scope="module")
def whole(cases: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed; in this process, which has loaded torch already."""
    run, said = tmp_path_factory.mktemp("whole") / "run", StringIO()
    torch.set_num_threads(1)
    with redirect_stdout(said):
        assert main(["train", *command(cases, settings, run)[2:]]) == 0
    events = [json.loads(line) for line in said.getvalue().splitlines()]
    assert events[-1]["event"] == "done"
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, STEPS + 1))
    return run


def test_the_run_learns_and_bundles(whole: Path, cases: Path) -> None:
    curve = history(whole)
    assert [step for step, *_ in curve] == list(range(1, STEPS + 1))
    held_out = {step: loss for step, _, loss in curve if loss is not None}
    assert list(held_out) == [3, 6, 9]
    assert held_out[9] < held_out[3]
    bundle = load_bundle(whole / "bundle")
    assert bundle.grid == GRIDS["small"]
    assert bundle.training["simulated"] is True
    assert "simulated" in (whole / "bundle" / "README.md").read_text()
    case = read_cases(cases)[0]
    cohort = Cohort.load([case], bundle.grid, bundle.pet_scale)
    synthesizer = Synthesizer(bundle)
    encoding = synthesizer.encode_prepared(cohort.t1[0, 0].float().numpy() * 1.5)
    pet = synthesizer.distribution(encoding, Question({"age": 60})).mean
    truth = cohort.pet[0, 0].float().numpy() * bundle.pet_scale
    # Nine steps only: it has to know the mean PET by then, in the right place and the right unit.
    assert np.corrcoef(pet.ravel(), truth.ravel())[0, 1] > 0.9
    assert abs(pet.mean() - truth.mean()) < 0.2 * truth.mean()


def test_interrupted_killed_and_resumed_gives_the_same_curve(
    whole: Path, cases: Path, settings: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for number, after, code, more in ((signal.SIGINT, 2, 1, []), (signal.SIGKILL, 6, -signal.SIGKILL, ["--resume"])):
        with subprocess.Popen(
            command(cases, settings, run, *more),
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "step" and event["step"] == after:
                    process.send_signal(number)
            assert process.wait() == code
        assert not (run / "bundle").exists()
        assert 0 < Checkpoints(run).steps()[0] < STEPS
    go_on(cases, settings, run)
    assert history(run) == history(whole)
    mine, theirs = (load_bundle(folder / "bundle").model.state_dict() for folder in (run, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_finished_run_can_be_made_longer(whole: Path, cases: Path, settings: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    go_on(cases, settings, run, "--steps", str(STEPS + 1))
    assert history(run)[:STEPS] == history(whole)
    assert len(history(run)) == STEPS + 1
    assert load_bundle(run / "bundle").training["steps"] == STEPS + 1


def refusal(capsys: pytest.CaptureFixture, script: list[str]) -> str:
    """What the script says when it is given this; in this process, since nothing is trained."""
    assert main(["train", *script[2:]]) == 2
    return capsys.readouterr().err


def test_what_can_not_be_begun_again_is_refused(
    whole: Path, cases: Path, settings: Path, capsys: pytest.CaptureFixture
) -> None:
    said = refusal(capsys, command(cases, settings, whole))
    assert said == f"dualglow train: {whole} holds a run already; go on with --resume or give another folder.\n"


def test_no_run_goes_into_the_cases(cases: Path, settings: Path, capsys: pytest.CaptureFixture) -> None:
    before = sorted(cases.rglob("*"))
    assert "holds the cases themselves" in refusal(capsys, command(cases, settings, cases))
    assert sorted(cases.rglob("*")) == before


def test_scans_off_the_grid_are_refused(
    cases: Path, settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = command(cases, settings, tmp_path / "run")
    arguments[arguments.index("small")] = "medium"
    for options in ([], ["--estimate"]):
        assert "lies on the grid 'small', not on 'medium': choose 'small', or give" in refusal(
            capsys, arguments + options
        )
        assert not (tmp_path / "run").exists()


def test_sessions_of_a_subject_stay_on_one_side() -> None:
    cases = [Case(f"sub-{i // 3}_ses-{i % 3}", f"sub-{i // 3}", Path(), Path()) for i in range(30)]
    train_side, validation_side = split_subjects(cases, 0.3, seed=1)
    assert sorted(train_side + validation_side) == list(range(30))
    assert len(validation_side) == 9
    assert not {cases[i].subject for i in train_side} & {cases[i].subject for i in validation_side}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"trainning": {}}', "'trainning' is no part of the settings"),
        ('{"training": {"step": 3}}', "'step' is no setting"),
        ("[]", "must hold"),
        ('{"training": {"steps": "many"}}', "steps must be a whole number, not 'many'"),
        ('{"model": "paper"}', "model must be an object of settings, not 'paper'"),
        ('{"training": {"learning_rate": NaN}}', "NaN is no finite number"),
        ('{"training": {"clip": 1e999}}', "1e999 is no finite number"),
    ],
)
def test_settings_files_are_checked(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        TrainingSettings.read(path)


def test_settings_files_may_change_the_model(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    changes = {"conditioning": "paper", "covariates": ["age", {"name": "apoe", "kind": "categorical"}]}
    path.write_text(json.dumps({"preset": "paper", "model": changes, "training": {"covariate_dropout": 0.3}}))
    settings, rest = TrainingSettings.read(path)
    assert settings.covariate_dropout == 0.3
    config = preset(rest["preset"], (64, 96, 64), **rest["model"])
    assert config.link.conditioning == "paper"
    assert [covariate.name for covariate in config.covariates] == ["age", "apoe"]


def test_covariates_are_named_as_the_columns_of_tables_are_read() -> None:
    """Else a column MMSE, which is read as mmse, would be left out of the model without a word."""
    config = preset("standard", (64, 96, 64), covariates=[{"name": " MMSE", "kind": "numeric"}])
    assert [covariate.name for covariate in config.covariates] == ["mmse"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["age", "Age"], "The covariate age is there twice"),
        ([""], "is called ''"),
        (["a=b"], "is called 'a=b'"),
        (["two\nlines"], r"is called 'two\\nlines'"),
    ],
)
def test_names_of_covariates_are_checked(names: list[str], says: str) -> None:
    given = [{"name": name, "kind": "numeric"} for name in names]
    with pytest.raises(InputError, match=says):
        preset("standard", (64, 96, 64), covariates=given)


def test_a_flip_moves_both_images_and_nothing_else(cases: Path) -> None:
    cohort = Cohort.load(read_cases(cases)[:4], GRIDS["small"])
    plain = cohort.batch([0, 1, 2, 3])
    seen = set()
    for seed in range(8):
        batch = cohort.batch([0, 1, 2, 3], torch.Generator().manual_seed(seed))
        for i in range(4):
            flipped = not torch.equal(batch.pet[i], plain.pet[i])
            seen.add(flipped)
            expected = plain.pet[i].flip(1) if flipped else plain.pet[i]
            assert torch.equal(batch.pet[i], expected)
            brain = (plain.mri[i].flip(1) if flipped else plain.mri[i]) > 0
            assert torch.equal(batch.mri[i] > 0, brain)
    assert seen == {True, False}
