"""What has made other flows fail: constant channels, extreme scales, values that are not finite, half precision, one
case a batch. Each test fails without the safeguard that it names."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from DualGlowLib import flow
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.case import Case
from DualGlowLib.flow import transform
from DualGlowLib.model import DualGlow, ModelConfig, preset
from DualGlowLib.training.data import Cohort
from DualGlowLib.training.loop import Interrupted, Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import Grid

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")),
]
STEP = flow.FlowConfig(depths=(2, 2), widths=(8, 8))


def noisy(net: nn.Module, size: float = 0.05) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return net


# ---------------------------------------------------------------------------------------------------- bounded scales


def test_nearly_constant_channels_at_the_start() -> None:
    """Air: all channels but for some corners of a few volumes are constant. Unbounded, ActNorms would blow up by 1e6
    what another image has there, once per step."""
    net = flow.MultiScaleFlow(1, 3, STEP)
    x = torch.zeros(4, 1, 8, 8, 8)
    x[:, :, :2, :2, :2] = torch.randn(4, 1, 2, 2, 2)
    flow.initialize(net, [(x,)])
    other = torch.rand(2, 1, 8, 8, 8)
    with torch.no_grad():
        latents, _ = net(other)
        assert max(float(z.abs().max()) for z in latents) < 1e5
        torch.testing.assert_close(net.inverse(latents), other, rtol=0, atol=1e-3)


def extreme_layers(value: float) -> dict[str, flow.Transform]:
    """Layers whose log-scales training has driven as far as it can."""
    found: dict[str, flow.Transform] = {"actnorm": flow.ActNorm(6, 3), "plu": flow.PLUConv(6)}
    nn.init.constant_(found["actnorm"].log_scale, value)
    nn.init.constant_(found["plu"].log_s, value)
    for scale in ("exp", "sigmoid"):
        found[f"coupling {scale}"] = flow.AffineCoupling(6, 8, 3, scale=scale)
        nn.init.constant_(found[f"coupling {scale}"].net[-1].bias[1::2], value)
    return found


@pytest.mark.parametrize("value", [-1e4, 1e4])
@pytest.mark.parametrize("name", list(extreme_layers(0.0)))
def test_no_scale_is_beyond_return(name: str, value: float) -> None:
    # In float64: two scales e⁻³ and e³ apart in one small matrix leave float32 few digits.
    layer = extreme_layers(value)[name].double()
    x = torch.randn(2, 6, 4, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        z, log_det = layer(x)
        assert torch.isfinite(log_det).all()
        assert torch.isfinite(z).all()
        torch.testing.assert_close(layer.inverse(z), x)
        # Nor can the inverse of another latent come near what float32 holds.
        assert layer.inverse(torch.randn_like(z)).abs().max() < 1e6


# -------------------------------------------------------------------------------------------------- initialisation


def test_initialisation_takes_all_batches_together() -> None:
    """Lists of tensors (the couplings' contexts) are joined as tensors are."""
    x, contexts = torch.randn(4, 1, 8, 8), [torch.randn(4, 3, 4, 4), torch.randn(4, 3, 2, 2)]
    x[2:] = 5 + 3 * x[2:]
    config = replace(STEP, centred=True)
    made = []
    for parts in ([slice(0, 4)], [slice(0, 1), slice(1, 4)], [slice(0, 1)]):
        torch.manual_seed(0)
        net = flow.MultiScaleFlow(1, 2, config, (3, 3))
        for layer in net.modules():
            if isinstance(layer, flow.ZeroConv):
                nn.init.normal_(layer.weight, 0.0, 0.05)
        flow.initialize(net, [(x[part], [context[part] for context in contexts]) for part in parts])
        made.append(torch.cat([parameter.flatten() for parameter in net.parameters()]))
    torch.testing.assert_close(made[0], made[1])
    assert (made[0] - made[2]).abs().max() > 0.1


def test_a_case_that_is_not_finite_does_not_reach_the_actnorms() -> None:
    x = torch.randn(4, 1, 8, 8)
    poisoned = torch.cat([x, torch.full((1, 1, 8, 8), math.nan), torch.full((1, 1, 8, 8), math.inf)])
    nets = []
    for images in (x, poisoned):
        torch.manual_seed(0)
        nets.append(flow.MultiScaleFlow(1, 2, STEP))
        flow.initialize(nets[-1], [(images,)])
    for mine, theirs in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)
    with pytest.raises(ValueError, match="not finite"):
        flow.initialize(flow.MultiScaleFlow(1, 2, STEP), [(poisoned[4:],)])


# ------------------------------------------------------------------------------------------------- half precision


def exact_parts() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """All of a flow but its coupling networks, which start at the constant 0."""
    return {
        "flow": (flow.MultiScaleFlow(1, 3, replace(STEP, squeeze="haar", cosine_top=True)), torch.randn(2, 1, 8, 8, 8)),
        "dense": (flow.DenseConv(32), torch.randn(2, 32, 8, 8, 8)),
        "plu": (flow.PLUConv(32), torch.randn(2, 32, 8, 8, 8)),
        "rotation": (noisy(flow.RotationConv(32), 0.1), torch.randn(2, 32, 8, 8, 8)),
        "actnorm": (noisy(flow.ActNorm(32, 3), 1.0), torch.randn(2, 32, 8, 8, 8)),
        "cosine": (flow.CosineTransform(), torch.randn(2, 32, 8, 8, 8)),
    }


def flat(value: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.flatten() for part in value]) if isinstance(value, list) else value.flatten()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", list(exact_parts()))
def test_mixed_precision_leaves_what_must_be_exact(name: str, device: str) -> None:
    """Under bfloat16 autocast, with TF32 allowed on top, these layers give what they give without."""
    layer, x = exact_parts()[name]
    layer, x = layer.to(device), x.to(device)
    torch.backends.cudnn.allow_tf32 = False  # the networks' convolutions, which are not what is looked at
    with torch.no_grad():
        expected, expected_log_det = layer(x)
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast(device, dtype=torch.bfloat16):
                z, log_det = layer(x)
                back = layer.inverse(z)
        finally:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = True
    assert log_det.dtype == flat(z).dtype == torch.float32
    torch.testing.assert_close(flat(z), flat(expected), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-5)


def test_matrix_products_ask_for_all_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU would make TF32 of, seen without one: the precision asked for at each product, and given back."""
    asked = []
    product = torch.matmul

    def matmul(*arguments):
        asked.append(torch.get_float32_matmul_precision())
        return product(*arguments)

    monkeypatch.setattr(torch, "matmul", matmul)
    x = torch.randn(1, 4, 2, 2, 2)
    torch.set_float32_matmul_precision("high")
    try:
        for layer in (flow.PLUConv(4), flow.DenseConv(4)):
            layer.inverse(layer(x)[0])
        with pytest.raises(RuntimeError):
            layer(torch.randn(1, 3, 2, 2, 2))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert asked == ["highest"] * 5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", ["exp", "sigmoid"])
def test_a_coupling_with_a_half_precision_network_returns_exactly(scale: str, device: str) -> None:
    """The network's output is rounded; what is made of it is not, and its log-scales are summed in float32."""
    layer = noisy(flow.AffineCoupling(8, 16, 3, scale=scale), 0.1).to(device)
    x = torch.randn(2, 8, 8, 8, 8, device=device)
    with torch.no_grad(), torch.autocast(device, dtype=torch.bfloat16):
        z, log_det = layer(x)
        torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-5)
        half = layer.net(x[:, :4])
    assert half.dtype == torch.bfloat16  # or the test shows nothing
    raw = half.double()[:, 1::2]
    log_s = nn.functional.logsigmoid(raw + 2) if scale == "sigmoid" else layer.bound * torch.tanh(raw / layer.bound)
    assert log_det.dtype == torch.float32
    torch.testing.assert_close(log_det.double(), log_s.flatten(1).sum(1), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_whole_model_in_mixed_precision(device: str) -> None:
    """Bits per dimension stay those of float32 to the noise of the networks, and a training step is finite."""
    # Twice tiny: with two planes left at the coarsest level, oneDNN's bfloat16 conv3d leaves a part of the gradient
    # of its weights unset, at random (torch 2.13, AVX-512).
    config = replace(tiny("standard"), shape=(16, 16, 16))
    model = DualGlow(config).to(device)
    pet, mri = (torch.rand(2, 1, *config.shape, device=device) for _ in range(2))
    covariates = torch.zeros(2, sum(covariate.size for covariate in config.covariates), device=device)
    model.initialize(pet, mri, covariates)
    noisy(model, 0.02)
    with torch.no_grad():
        exact = model(pet, mri, covariates)
    with torch.autocast(device, dtype=torch.bfloat16):
        mixed = model(pet, mri, covariates)
    mixed.loss.mean().backward()
    assert mixed.loss.dtype == torch.float32
    torch.testing.assert_close(mixed.mri_bits, exact.mri_bits, rtol=0, atol=0.02)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


def test_half_precision_images_are_taken_up_in_full() -> None:
    net = noisy(flow.MultiScaleFlow(1, 2, STEP))
    x = torch.randn(1, 1, 8, 8).half()
    with torch.no_grad():
        latents, log_det = net(x)
        assert net.inverse([z.bfloat16() for z in latents]).dtype == log_det.dtype == torch.float32
        torch.testing.assert_close(net.inverse(latents), x.float(), rtol=0, atol=1e-4)


def test_full_precision_is_at_least_float32() -> None:
    kinds = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float64: torch.float64}
    assert {kind: transform.full(torch.zeros(1, dtype=kind)).dtype for kind in kinds} == kinds


# ---------------------------------------------------------------------------------------------------- training runs


def tiny(name: str) -> ModelConfig:
    config = preset(name, (16, 16, 16))
    flows = {side: replace(getattr(config, side), depths=(1, 1), widths=(8, 8)) for side in ("mri", "pet")}
    link = replace(config.link, widths=(8, 8), context=(4, 4)) if config.link.kind == "unet" else config.link
    return replace(config, shape=(8, 8, 8), link=link, **flows)


def cohort(count: int, seed: int = 0) -> Cohort:
    """A PET that is its T1 and some noise, in a cube with air around."""
    generator = torch.Generator().manual_seed(seed)
    t1 = torch.zeros(count, 1, 8, 8, 8)
    t1[..., 1:-1, 1:-1, 1:-1] = torch.rand(count, 1, 6, 6, 6, generator=generator)
    pet = 0.5 * t1 + 0.02 * torch.randn(t1.shape, generator=generator)
    cases = [Case(f"sub-{i:02d}", f"sub-{i:02d}", Path(), Path()) for i in range(count)]
    return Cohort(t1.half(), pet.half(), cases, 1.0)


def trainer(folder: Path, train: Cohort, **settings: object) -> Trainer:
    usual = {"steps": 12, "warmup": 2, "batch": 2, "initialize_with": 4, "validate_every": 4, "learning_rate": 3e-3}
    grid = Grid("cube", (8, 8, 8), (10.0, 10.0, 10.0))
    chosen = replace(TrainingSettings(), **{**usual, **settings})
    return Trainer(folder / "run", tiny("standard"), chosen, grid, train, cohort(2, seed=1))


def history(run: Trainer) -> list[dict]:
    return [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_batches_that_are_not_finite_are_skipped_and_counted(tmp_path: Path, poison: float) -> None:
    train = cohort(6)
    train.pet[3, 0, 4, 4, 4] = poison
    run = trainer(tmp_path, train, initialize_with=5, steps=30, validate_every=10)
    run.run()
    lines = history(run)
    bad = [not math.isfinite(line["loss"]) for line in lines]
    assert sum(bad) == 10  # the case comes once in three steps
    assert [line["skipped"] for line in lines] == [sum(bad[: i + 1]) for i in range(len(bad))]
    for model in (run.model, run.average.model):
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert all(math.isfinite(line["validation_loss"]) for line in lines if "validation_loss" in line)
    sound = [line["loss"] for line in lines if math.isfinite(line["loss"])]
    assert sum(sound[-5:]) < sum(sound[:5])
    assert load_bundle(run.folder / "bundle").training["skipped_steps"] == 10


def test_one_case_a_batch_and_one_to_initialise_with(tmp_path: Path) -> None:
    run = trainer(tmp_path, cohort(4), batch=1, initialize_with=1, steps=40)
    run.run()
    losses = [line["loss"] for line in history(run)]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-8:]) < sum(losses[:8])
    assert run.skipped == 0


def test_the_average_of_the_weights_is_what_is_evaluated_and_bundled(tmp_path: Path) -> None:
    run = trainer(tmp_path, cohort(4))
    run.run()
    expected = run.validate()
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(math.nan)
    assert run.validate() == expected
    bundled = load_bundle(run.folder / "bundle").model
    for name, parameter in run.average.model.named_parameters():
        torch.testing.assert_close(bundled.get_parameter(name), parameter, rtol=1e-3, atol=1e-4, msg=name)


def test_the_flow_begins_after_the_image_law(tmp_path: Path) -> None:
    """And a run that was interrupted on either side of it takes the steps that it would have taken."""
    settings = {"steps": 16, "image_share": 0.5, "checkpoint_every": 100, "learning_rate": 5e-4}
    whole = trainer(tmp_path / "whole", cohort(6), **settings)
    start = {name: p.clone() for name, p in whole.model.named_parameters()}
    whole.run()
    lines = history(whole)
    assert [line["step"] for line in lines] == list(range(1, 17))
    for stop_at in (5, 11):
        run = trainer(tmp_path / str(stop_at), cohort(6), **settings)
        run.stop = lambda run=run, stop_at=stop_at: run.step == stop_at
        with pytest.raises(Interrupted):
            run.run()
        moved = any(not torch.equal(p, start[n]) for n, p in run.model.named_parameters() if n.startswith("pet_flow"))
        assert moved == run.joint == (stop_at > 8)
        again = trainer(tmp_path / str(stop_at), cohort(6), **settings)
        again.run(resume=True)
        kept = ("step", "loss", "pet_bits", "validation_loss")
        mine, theirs = ([{key: line.get(key) for key in kept} for line in history(r)] for r in (again, whole))
        assert mine == theirs
        for name, parameter in whole.average.model.named_parameters():
            assert torch.equal(again.average.model.get_parameter(name), parameter), name


def test_large_gradients_that_stay_are_taken_as_usual(tmp_path: Path) -> None:
    run = trainer(tmp_path, cohort(6), steps=40, image_share=0.0, learning_rate=1e-4)
    run.begin(False)
    run.usual = 1e-6  # as if everything had been far easier so far
    for _ in range(40):
        run._take_step()
        run.step += 1
    assert 0 < run.skipped < 25


def test_weights_that_are_lost_come_back_from_their_average(tmp_path: Path) -> None:
    run = trainer(tmp_path, cohort(6), steps=60, image_share=0.0, learning_rate=1e-4)
    run.begin(False)
    for _ in range(4):
        run._take_step()
        run.step += 1
    with torch.no_grad():
        next(run.model.pet_flow.parameters()).fill_(math.nan)
    losses = []
    for _ in range(30):
        losses.append(run._take_step()["loss"])
        run.step += 1
    assert run.skipped == 25
    assert all(map(math.isnan, losses[:25]))
    assert all(map(math.isfinite, losses[25:]))
