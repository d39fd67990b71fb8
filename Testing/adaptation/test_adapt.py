"""A model for another site: better there on persons that it was not fitted to, no worse where nothing differs."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import DualGlowLib.adaptation.adapt as adapting
from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.adaptation.adapt import Adaptation, Adapted, adapt
from DualGlowLib.adaptation.maps import errors
from DualGlowLib.adaptation.trainer import refitted
from DualGlowLib.bundle.bundle import Bundle, load_bundle
from DualGlowLib.bundle.verification import verify_bundle
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.model import DualGlow, preset
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.training.folder import has_run
from DualGlowLib.training.status import Interrupted, read_status
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.writing import write_scan
from other_site import make_site
from tiny_training import write_settings
from toy_runs import content, in_process, watch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs that the model is trained on, pairs to adapt it by, and pairs to judge it by: here and elsewhere."""
    folder = tmp_path_factory.mktemp("cohorts")
    for seed, (name, count) in enumerate({"trained": 16, "own": 24, "others": 12}.items()):
        simulate_cohort(folder / name, count, GRIDS["small"], seed=40 + seed, independent_anatomy=True)
    for name in ("own", "others"):
        make_site(folder / name, folder / f"{name} elsewhere", blur=6.0, gamma=1.4, uptake=1.25)
    return folder


@pytest.fixture(scope="module")
def model(cohorts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    usual = {"steps": 30, "learning_rate": 3e-3, "image_share": 0.7, "warmup": 3, "ema": 0.8, "sampled_cases": 0}
    settings = write_settings(place / "settings.json", **usual)
    assert main(["train", str(cohorts / "trained"), "--output", str(place / "run"), "--config", str(settings)]) == 0
    return place / "run/bundle"


def plan_of(model: Path, cases: Path, folder: Path, **more: object) -> Adaptation:
    return replace(Adaptation(model, cases, folder, steps=12, samples=4), **more)


@pytest.fixture(scope="module")
def elsewhere(model: Path, cohorts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Adapted]:
    folder = tmp_path_factory.mktemp("elsewhere") / "run"
    return folder, adapt(plan_of(model, cohorts / "own elsewhere", folder))


def error(bundle: Bundle, cases: Path) -> float:
    """SUVR, root of the mean squared error in the brain."""
    ages = next(one for one in bundle.config.covariates if one.name == "age")
    taken = [case for case in read_cases(cases) if ages.minimum <= float(case.covariates["age"]) <= ages.maximum]
    return float(np.sqrt(errors(bundle, taken, CPU).mean()))


def test_at_another_site_it_is_better_on_others_too(
    elsewhere: tuple[Path, Adapted], model: Path, cohorts: Path
) -> None:
    """Other resolution, contrast and level of uptake: the error of persons in no part of it falls by a quarter."""
    folder, made = elsewhere
    adapted = load_bundle(folder / "bundle")
    assert error(adapted, cohorts / "others elsewhere") < 0.75 * error(load_bundle(model), cohorts / "others elsewhere")
    before, after = made.about["before"], made.about["after"]
    assert after["rmse"] < 0.75 * before["rmse"]
    assert abs(after["bias"]) < 0.5 * abs(before["bias"])
    assert after["region_crps"] < before["region_crps"]


def test_the_bundle_says_what_it_was_made_from(elsewhere: tuple[Path, Adapted], model: Path) -> None:
    folder, made = elsewhere
    verify_bundle(folder / "bundle")
    parent, adapted = load_bundle(model), load_bundle(folder / "bundle")
    about = adapted.training["adaptation"]
    assert about == made.about
    assert about["parent"] == {"name": "run", "sha256": parent.digest}
    assert 20 <= about["cases"] + about["held_out"]["cases"] <= 24  # some are older than any that it was trained on
    assert adapted.pet_scale == pytest.approx(parent.pet_scale * about["pet_gain"])
    assert adapted.training["cases"] == parent.training["cases"]
    card = (folder / "bundle/README.md").read_text()
    assert parent.digest in card
    assert f"{about['before']['psnr']:.2f} → {about['after']['psnr']:.2f} dB" in card


def test_couplings_stay(elsewhere: tuple[Path, Adapted], model: Path) -> None:
    parent, adapted = load_bundle(model).model, elsewhere[1].bundle.model
    free, kept = refitted(parent), dict(adapted.state_dict())
    for name, value in parent.state_dict().items():
        if name not in free and name != "link.base_mean":
            torch.testing.assert_close(kept[name], value, rtol=0, atol=0, msg=name)
    assert any("coupling" in name for name in kept)
    assert not any("coupling" in name for name in free)


def test_where_nothing_differs_it_is_no_worse(model: Path, cohorts: Path, tmp_path: Path, capsys) -> None:
    words = ["--output", str(tmp_path / "run"), "--steps", "4", "--samples", "2", "--device", "cpu", "--json"]
    assert main(["adapt", str(model), str(cohorts / "own"), *words]) == 0
    about = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert about["after"]["rmse"] <= about["before"]["rmse"]
    parent, adapted = load_bundle(model), load_bundle(tmp_path / "run/bundle")
    assert error(adapted, cohorts / "others") <= 1.02 * error(parent, cohorts / "others")
    if about["kept"] == "parent":
        assert about["before"] == about["after"]
        for name, value in parent.model.state_dict().items():
            torch.testing.assert_close(adapted.model.state_dict()[name], value, rtol=0, atol=0)


@pytest.fixture(scope="module")
def short(model: Path, cohorts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adaptation, dict[str, str]]:
    """A plan that takes seconds, and what becomes of it undisturbed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "site"
    plan = plan_of(model, cohorts / "own elsewhere", folder, steps=4, samples=2)
    adapt(plan)
    return plan, content(folder)


def test_stopped_and_resumed_it_comes_to_the_same(short: tuple[Adaptation, dict[str, str]], tmp_path: Path) -> None:
    plan = replace(short[0], folder=tmp_path / "site")
    steps: list[int] = []
    with pytest.raises(Interrupted):
        adapt(plan, report=lambda event: steps.append(event["step"]), stop=lambda: len(steps) >= 2)
    with pytest.raises(InputError, match="--resume"):
        adapt(plan)
    with pytest.raises(InputError, match="other cases"):
        adapt(replace(plan, seed=5), resume=True)
    adapt(plan, resume=True)
    assert content(tmp_path / "site") == short[1]


@pytest.mark.skipif(os.name != "posix", reason="other systems have no SIGKILL")
def test_killed_at_any_stage_and_resumed_it_comes_to_the_same(
    short: tuple[Adaptation, dict[str, str]], tmp_path: Path
) -> None:
    """One run, killed at each of these moments and resumed to the next: without and with a checkpoint or model."""
    folder = tmp_path / "site"
    plan = replace(short[0], folder=folder)

    def killed_at(moment: str) -> None:
        def heard(what: str) -> None:
            if what == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        watch(folder, heard)
        adapt(
            plan,
            resume=has_run(folder),
            progress=lambda stage, fraction, detail: heard(f"{stage} done" if fraction == 1 else stage),
            report=lambda event: heard(f"step {event['step']}"),
        )

    for moment in ("rename maps.json", "step 2", "measuring done", "rename config.json"):
        assert in_process(partial(killed_at, moment)) == -signal.SIGKILL, moment
    assert read_status(folder).state == "dead"
    assert in_process(lambda: adapt(plan, resume=True)) == 0
    assert content(folder) == short[1]
    assert not [path for path in folder.rglob(".*") if path.is_file()]


def test_with_enough_held_out_cases_the_intervals_are_calibrated(
    model: Path, cohorts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "_HELD_OUT", 0.6)
    monkeypatch.setattr(Path, "write_text", None)  # which leaves half of a file where the disk is full
    notes: list[str] = []
    made = adapt(plan_of(model, cohorts / "own elsewhere", tmp_path / "run", steps=1), note=notes.append)
    calibration = load_bundle(tmp_path / "run/bundle").calibration
    assert calibration.certificate["fitted"] == 9
    assert calibration == made.bundle.calibration
    assert not any("not calibrated" in note for note in notes)
    assert "calibration" in (tmp_path / "run/bundle/README.md").read_text()


def _few(folder: Path) -> None:
    for subject in list(folder.glob("sub-*"))[:5]:
        for path in subject.rglob("*_pet.nii.gz"):
            path.unlink()


def _in_counts(folder: Path) -> None:
    for case in read_cases(folder):
        scan = read_scan(case.pet)
        scan.data = scan.data * 4000
        case.pet.unlink()
        write_scan(scan, case.pet)


def _of_another_diagnosis(folder: Path) -> None:
    table = folder / "participants.tsv"
    table.write_text(re.sub(r"(sub-000\d\t[^\t]+\t[^\t]+\t)\w+", r"\1SMC", table.read_text()))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_few, "has 19 pairs of 19 persons"),
        (_in_counts, "not SUVR"),
        (_of_another_diagnosis, r"has 15 pairs.*left out: sub-0001: .*SMC"),
    ],
)
def test_cases_that_a_model_can_not_be_adapted_to(model: Path, cohorts: Path, tmp_path: Path, spoil, said: str) -> None:
    make_site(cohorts / "own", tmp_path / "cases", blur=0.0, gamma=1.0, uptake=1.0)
    spoil(tmp_path / "cases")
    with pytest.raises(InputError, match=said):
        adapt(plan_of(model, tmp_path / "cases", tmp_path / "run"))
    assert not (tmp_path / "run/bundle").exists()


def test_another_grid_is_refused(cohorts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"grid 'medium'.*prepare"):
        adapt(plan_of(Path(__file__).parents[2] / "Resources/Models/simulated-fdg-medium", cohorts / "own", tmp_path))


@pytest.mark.parametrize("name", ["standard", "paper", "paper-conditional", "authors"])
def test_of_every_preset_little_is_refitted(name: str) -> None:
    model = DualGlow(preset(name, (16, 16)))
    free = refitted(model)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert {part.split(".")[0] for part in free} == {"mri_flow", "pet_flow", "link"}
    assert not any("coupling" in part or "mixing" in part for part in free)
    flows = [part for part in sizes if not part.startswith("link.")]
    assert sum(sizes[part] for part in flows if part in free) < 0.1 * sum(sizes[part] for part in flows)
