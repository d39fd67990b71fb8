"""What the settings make of a run's steps: optimisers, schedules, pieces of a batch, early stopping."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.flow.actnorm import ActNorm
from DualGlowLib.model import Covariate, DualGlow, ModelConfig, preset
from DualGlowLib.training.checkpoints import Checkpoints
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.optim import build_optimizer, learning_rate
from DualGlowLib.training.precision import has_bfloat16, in_precision, precision_note
from DualGlowLib.training.run import Plan, train
from DualGlowLib.training.settings import PRESET_TRAINING, TrainingSettings
from DualGlowLib.training.status import Interrupted
from tiny_training import make_simulated, write_settings
from toy_runs import content, toy_cases, toy_trainer


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    trainer.begin()
    trainer.step = 1
    trainer._gradients(trainer.joint)
    return [parameter.grad.clone() for parameter in trainer.model.parameters() if parameter.grad is not None]


# ---- optimisers and schedules


def test_weight_decay_is_for_the_weights_of_networks_alone() -> None:
    model = DualGlow(preset("standard", (16, 16, 16)))
    optimizer = build_optimizer(model, TrainingSettings(optimizer="adamw", weight_decay=0.1), 10)
    decaying, others = optimizer.param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for group in (decaying, others) for p in group["params"]} == {id(p) for p in model.parameters()}
    still = {id(p) for p in others["params"]}
    norms = [module for module in model.modules() if isinstance(module, ActNorm)]
    assert norms
    assert all(id(parameter) in still for norm in norms for parameter in norm.parameters())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(names[id(parameter)].endswith("weight") for parameter in decaying["params"])
    assert sum(p.numel() for p in decaying["params"]) > 0.9 * sum(p.numel() for p in model.parameters())


def test_weight_decay_is_decoupled() -> None:
    """Without a gradient, a weight loses that share of itself times the learning rate."""
    model = DualGlow(preset("standard", (16, 16, 16)))
    optimizer = build_optimizer(model, TrainingSettings(optimizer="adamw", weight_decay=0.1, learning_rate=0.5), 10)
    before = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    decaying = {id(p) for p in optimizer.param_groups[0]["params"]}
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.allclose(parameter, old * (1 - 0.05) if id(parameter) in decaying else old, rtol=1e-6)


def test_the_authors_norm_decays_by_the_cases() -> None:
    model = DualGlow(preset("standard", (16, 16, 16)))
    assert build_optimizer(model, TrainingSettings(optimizer="authors"), 726).defaults["betas"] == (0.9, 1 - 1 / 726)


@pytest.mark.parametrize(("name", "of_torch"), [("adam", "Adam"), ("adamw", "AdamW"), ("adamax", "Adamax")])
def test_steps_are_those_of_torch(name: str, of_torch: str) -> None:
    """To the bit, and outside the graph of gradients."""
    found = []
    for theirs in (False, True):
        torch.manual_seed(1)
        layer = torch.nn.Linear(3, 2)
        optimizer = build_optimizer(layer, TrainingSettings(optimizer=name, weight_decay=0.1), 10)
        if theirs:
            optimizer = getattr(torch.optim, of_torch)(optimizer.param_groups)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
        assert all(parameter.is_leaf for parameter in layer.parameters())
        found.append(layer.state_dict())
    assert all(torch.equal(found[1][part], mine) for part, mine in found[0].items())


def test_schedules() -> None:
    settings = TrainingSettings(steps=100, warmup=10, learning_rate=1.0)
    assert learning_rate(settings, 4) == 0.5
    assert learning_rate(settings, 10) == pytest.approx(1.0)
    assert learning_rate(settings, 55) == pytest.approx(0.505)
    assert learning_rate(settings, 100) == pytest.approx(0.01)
    constant = replace(settings, schedule="constant")
    assert [learning_rate(constant, step) for step in (4, 10, 55, 99)] == [0.5, 1.0, 1.0, 1.0]
    assert learning_rate(constant, 50, since=50) == 0.1  # after the model began anew


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "authors"])
def test_each_optimizer_goes_on_as_if_nothing_had_been(optimizer: str, tmp_path: Path) -> None:
    toy_trainer(tmp_path / "whole", optimizer=optimizer).run()
    (part := toy_trainer(tmp_path / "part", optimizer=optimizer)).stop = lambda: part.step == 3
    with pytest.raises(Interrupted):
        part.run()
    toy_trainer(tmp_path / "part", optimizer=optimizer).run(resume=True)
    assert content(tmp_path / "part/run") == content(tmp_path / "whole/run")


# ---- what a step is made of


@pytest.mark.parametrize("pieces", [2, 3, 100])
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(pieces: int, tmp_path: Path) -> None:
    whole = gradients(toy_trainer(tmp_path / "whole", batch=5, covariate_dropout=0.5, image_share=0.0))
    parts = gradients(
        toy_trainer(tmp_path / "parts", batch=5, covariate_dropout=0.5, image_share=0.0, accumulate=pieces)
    )
    assert max(float(gradient.abs().max()) for gradient in whole) > 1e-3
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def test_pieces_leave_the_rest_of_a_run_as_it_is(tmp_path: Path) -> None:
    for name, pieces in (("whole", 1), ("parts", 2)):
        toy_trainer(tmp_path / name, accumulate=pieces).run()
    for one, other in zip(*(history(tmp_path / name / "run") for name in ("whole", "parts")), strict=True):
        assert one.keys() == other.keys()
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_cases_stay_as_they_are_without_augmentation(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, augment=False, covariate_dropout=0.0)
    asked = []
    batch = trainer.train_cases.batch
    trainer.train_cases.batch = lambda indices, augment, *rows: asked.append(augment) or batch(indices, augment, *rows)
    trainer.run()
    assert len(asked) > 3
    assert set(asked) == {None}


def test_without_bfloat16_of_its_own_a_processor_computes_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False}, raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert "computes in float32" in precision_note("bf16", cpu)
    assert not precision_note("bf16", gpu)
    assert not precision_note("float32", cpu)
    with in_precision("bf16", cpu):
        assert not torch.is_autocast_enabled("cpu")
    said: list[str] = []
    toy_trainer(tmp_path / "float32").run()
    half = toy_trainer(tmp_path / "bf16", precision="bf16")
    half.note = said.append
    half.run()
    assert any("bf16" in sentence for sentence in said)
    assert [event["loss"] for event in history(tmp_path / "float32/run")] == [
        event["loss"] for event in history(tmp_path / "bf16/run")
    ]


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="this processor has no bfloat16 of its own")
def test_a_processor_with_bfloat16_comes_close_to_float32(tmp_path: Path) -> None:
    said: list[str] = []
    toy_trainer(tmp_path / "float32").run()
    half = toy_trainer(tmp_path / "bf16", precision="bf16")
    half.note = said.append
    half.run()
    assert not said
    losses, halved = ([event["loss"] for event in history(tmp_path / name / "run")] for name in ("float32", "bf16"))
    assert halved == pytest.approx(losses, rel=0.02)
    assert halved != losses
    assert all(parameter.dtype == torch.float32 for parameter in half.model.parameters())


def test_a_run_that_goes_on_in_another_precision_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    begun = toy_trainer(tmp_path, precision="bf16")
    begun.report, begun.stop = lambda event: steps.append(event["step"]), lambda: len(steps) >= 2
    monkeypatch.setattr(Trainer, "_precision", "bf16")
    with pytest.raises(Interrupted):
        begun.run()
    monkeypatch.setattr(Trainer, "_precision", "float32")
    said: list[str] = []
    resumed = toy_trainer(tmp_path, precision="bf16")
    resumed.note = said.append
    resumed.run(resume=True)
    assert any("precision float32 in place of bf16" in sentence for sentence in said)


def test_epochs_stand_for_steps(tmp_path: Path) -> None:
    """Six cases, four a batch: one batch an epoch, the two that are left over are shuffled into the next."""
    trainer = toy_trainer(tmp_path, epochs=3, batch=4)
    assert trainer.settings.steps == 3
    trainer.run()
    assert len(history(tmp_path / "run")) == 3
    assert toy_trainer(tmp_path, epochs=2, batch=2).settings.steps == 6
    settings = TrainingSettings(epochs=5)
    assert settings.updated({"steps": 7}).in_steps(6).steps == 7
    assert settings.updated({"steps": 7, "epochs": 2}).in_steps(6).steps == 6
    assert settings.updated({"batch": 1}).in_steps(6).steps == 30


def test_mri_weight_is_that_of_log_densities_whatever_the_channels() -> None:
    """Eq. 12: of an image with three channels the bits per dimension are a third of its nats over its voxels."""
    photo = ModelConfig.from_dict({**preset("paper", (16, 16)).to_dict(), "channels": (1, 3), "mri_weight": 0.5})
    small = replace(photo, mri=replace(photo.mri, depths=(1,), widths=(4,)), pet=replace(photo.pet, depths=(1,),
                    widths=(4,)))  # fmt: skip
    found = DualGlow(small)(torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16), torch.zeros(2, 0))
    assert torch.allclose(found.loss, found.pet_bits + 0.5 / 3 * found.mri_bits, rtol=1e-6)


# ---- early stopping


def worse_from(trainer: Trainer, step: int) -> None:
    """Let the held-out loss fall to a step and rise from there."""
    validate: Callable[[], dict] = trainer.validate

    def with_loss() -> dict:
        return {**validate(), "validation_loss": float(abs(trainer.step - step))}

    trainer.validate = with_loss


EARLY = {"steps": 12, "image_share": 0.0, "validate_every": 1, "checkpoint_every": 2, "patience": 4}


def early(folder: Path, **changes: object) -> Trainer:
    trainer = toy_trainer(folder, **{**EARLY, **changes})
    worse_from(trainer, 5)
    return trainer


def test_a_run_ends_when_it_gets_no_better_with_the_best_weights(tmp_path: Path) -> None:
    said: list[str] = []
    trainer = early(tmp_path)
    trainer.note = said.append
    trainer.run()
    run = tmp_path / "run"
    assert [event["best_step"] for event in history(run)] == [1, 2, 3, 4, 5, 5, 5, 5, 5]
    assert any("ends at step 9" in sentence and "step 5" in sentence for sentence in said)
    bundle = load_bundle(run / "bundle")
    assert (bundle.training["steps"], bundle.training["best_step"]) == (9, 5)
    assert "weights of step 5" in (run / "bundle/README.md").read_text()
    five = toy_trainer(tmp_path / "five", **{**EARLY, "patience": 0})
    five.stop = lambda: five.step == 5
    with pytest.raises(Interrupted):
        five.run()
    wanted = five.average.model.state_dict()
    for name, tensor in bundle.model.state_dict().items():
        assert torch.allclose(tensor.float(), wanted[name].float(), rtol=2e-3, atol=1e-4), name


@pytest.mark.parametrize("stops", [[3], [5, 6], [7, 8]])
def test_one_that_is_resumed_ends_the_same_way(stops: list[int], tmp_path: Path) -> None:
    early(tmp_path / "whole").run()
    for number, last in enumerate(stops):
        part = early(tmp_path / "part")
        part.stop = lambda part=part, last=last: part.step == last
        with pytest.raises(Interrupted):
            part.run(resume=number > 0)
    early(tmp_path / "part").run(resume=True)
    assert content(tmp_path / "part/run") == content(tmp_path / "whole/run")


def test_a_checkpoint_that_is_gone_back_to_has_its_best(tmp_path: Path) -> None:
    """The newest is damaged, and the best has changed since the one before: its own best is still there."""
    early(tmp_path / "whole").run()
    part = early(tmp_path / "part")
    part.stop = lambda: part.step == 6
    with pytest.raises(Interrupted):
        part.run()
    run = tmp_path / "part/run"
    assert Checkpoints(run).steps()[:2] == [6, 4]
    data = run / "checkpoint-6.safetensors"
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\1")
    assert {4, 5} <= set(Checkpoints(run, "best").steps())
    early(tmp_path / "part").run(resume=True)
    assert content(run) == content(tmp_path / "whole/run")


def test_a_run_that_had_ended_goes_on_with_more_patience(tmp_path: Path) -> None:
    early(tmp_path).run()
    early(tmp_path).run(resume=True)
    assert len(history(tmp_path / "run")) == 9
    early(tmp_path, patience=6).run(resume=True)
    assert len(history(tmp_path / "run")) == 11


def test_best_weights_that_are_damaged_are_said(tmp_path: Path) -> None:
    early(tmp_path).run()
    shutil.rmtree(tmp_path / "run/bundle")
    best = tmp_path / "run/best-5.safetensors"
    best.write_bytes(best.read_bytes()[:-4] + b"\0\0\0\1")
    said: list[str] = []
    again = early(tmp_path)
    again.note = said.append
    again.run(resume=True)
    assert any("are lost" in sentence and "the last are bundled" in sentence for sentence in said)
    assert "best_step" not in load_bundle(tmp_path / "run/bundle").training


def test_patience_needs_cases_to_watch(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path)
    with pytest.raises(InputError, match="no case is kept out to watch"):
        Trainer(
            tmp_path, trainer.config, replace(trainer.settings, patience=1), trainer.grid, toy_cases(4),
            toy_cases(2).subset([]),
        )  # fmt: skip


def test_the_wait_begins_with_the_whole_model(tmp_path: Path) -> None:
    """Before, the loss is another one."""
    early(tmp_path, image_share=0.5, steps=12).run()
    assert next(event["step"] for event in history(tmp_path / "run") if "best_step" in event) == 7


# ---- presets, and runs of before


@pytest.mark.parametrize("name", ["paper", "paper-conditional", "authors"])
def test_a_preset_brings_its_training(name: str) -> None:
    settings = TrainingSettings.of_preset(name)
    assert (settings.epochs, settings.batch, settings.learning_rate) == (90, 1, 1e-3)
    assert (settings.schedule, settings.augment, settings.covariate_dropout) == ("constant", False, 0.0)
    assert settings.optimizer == ("authors" if name == "authors" else "adamax")
    assert preset(name, (16, 16, 16)).noise == "uniform"
    assert PRESET_TRAINING.keys() == {"paper", "paper-conditional", "authors"}


def test_each_setting_of_a_preset_can_be_another(tmp_path: Path) -> None:
    assert TrainingSettings.of_preset("standard") == TrainingSettings()
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"preset": "paper", "training": {"epochs": 3, "augment": True}}))
    settings, _ = TrainingSettings.read(path)
    assert (settings.epochs, settings.augment, settings.optimizer) == (3, True, "adamax")
    path.write_text(json.dumps({"preset": "paper", "training": {"steps": 70}}))
    assert TrainingSettings.read(path)[0].in_steps(10).steps == 70


def test_a_run_of_before_goes_on_as_it_began(tmp_path: Path) -> None:
    """Its checkpoint knows nothing of later settings; they are what they were, not what is asked for now."""
    part = toy_trainer(tmp_path)
    part.stop = lambda: part.step == 2
    with pytest.raises(Interrupted):
        part.run()
    run = tmp_path / "run"
    values, tensors, _ = Checkpoints(run).read()
    old = {key: value for key, value in values["settings"].items() if key not in ("schedule", "augment", "epochs")}
    files = Checkpoints(run)
    files.write({key: value for key, value in values.items() if key not in ("best", "format", "sha256")} |
                {"settings": old}, tensors)  # fmt: skip
    with pytest.raises(InputError, match=r"began with other settings \(schedule\)"):
        toy_trainer(tmp_path, schedule="constant").run(resume=True)
    toy_trainer(tmp_path).run(resume=True)
    toy_trainer(tmp_path / "whole").run()
    assert content(run) == content(tmp_path / "whole/run")


def test_one_process_says_that_it_has_all_of_a_model_that_is_to_be_divided(tmp_path: Path) -> None:
    said: list[str] = []
    trainer = toy_trainer(tmp_path, steps=1, sharding="full")
    trainer.note = said.append
    trainer.run()
    assert [sentence for sentence in said if "torchrun" in sentence] == said != []


def test_a_run_goes_on_with_its_own_model_where_none_is_given(tmp_path: Path) -> None:
    """As ``train CASES --output RUN --resume`` does, without the settings file that it began with."""
    cases = make_simulated(tmp_path / "cases", 4)
    settings = write_settings(tmp_path / "settings.json", steps=3)
    for name, groups in (("run", {}), ("grouped", {"MCI": "AD"})):
        plan, heard = Plan(cases, tmp_path / name, settings_file=settings, groups=groups), []
        weights = tmp_path / name / "bundle" / "weights.safetensors"
        with pytest.raises(Interrupted):
            train(plan, report=heard.append, stop=lambda heard=heard: len(heard) == 2)
        alone = Plan(cases, tmp_path / name)
        bundle = train(alone, resume=True)
        whole = train(replace(plan, folder=tmp_path / f"{name}-whole"))
        assert bundle.model.config == whole.model.config
        assert weights.read_bytes() == (tmp_path / f"{name}-whole" / "bundle" / weights.name).read_bytes()
        train(plan, resume=True)
        train(replace(alone, groups=groups), resume=True)
    with pytest.raises(InputError, match="another model or grid"):
        train(replace(alone, preset="paper"), resume=True)


def test_a_run_does_not_go_on_with_other_persons_or_scans_of_the_same_names(tmp_path: Path) -> None:
    toy_trainer(tmp_path, steps=2).run()
    persons = toy_trainer(tmp_path)
    persons.config = replace(persons.config, covariates=(Covariate("age", "numeric", 71.0, 9.0),))
    with pytest.raises(InputError, match="cases of other ages, sexes or diagnoses"):
        persons.run(resume=True)
    scans = toy_cases(6)
    scans.pet_scale = 1.7
    with pytest.raises(InputError, match=r"other scans of these cases.*1\.5 SUVR, not 1\.7"):
        toy_trainer(tmp_path, cases=scans).run(resume=True)
    toy_trainer(tmp_path).run(resume=True)


def test_a_run_goes_on_with_its_own_settings_where_none_are_given(tmp_path: Path) -> None:
    """Also one of a preset that had no training of its own when it began."""
    cases = make_simulated(tmp_path / "cases", 3)
    flow = {"depths": [1, 1], "widths": [4, 4]}
    file = {"preset": "paper", "model": {"mri": flow, "pet": flow}}
    before = {**TrainingSettings().to_dict(), "steps": 3, "validation": 0.0, "initialize_with": 2, "seed": 4}
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**file, "training": before}))
    plan, heard = Plan(cases, tmp_path / "run", settings_file=path), []
    with pytest.raises(Interrupted):
        train(plan, report=heard.append, stop=lambda: len(heard) == 2)
    path.write_text(json.dumps(file))
    train(plan, resume=True)
    assert len(history(tmp_path / "run")) == 3
    with pytest.raises(InputError, match=r"began with other settings \(seed\)"):
        train(replace(plan, changes={"seed": 5}), resume=True)
