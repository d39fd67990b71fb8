"""The multi-scale flow in two and three dimensions, and what some of its layers do beyond ``test_transforms``."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn

from DualGlowLib import InputError, flow
from DualGlowLib.model import DualGlow, ModelConfig, preset
from layers import jacobian_log_det, off_start

SPACE = {2: (4, 8), 3: (4, 6, 4)}
CONFIGS = {
    "paper": flow.FlowConfig(depths=(2, 2), widths=(8, 8)),
    "authors": flow.FlowConfig(depths=(2, 1), widths=(8, 8), scale="sigmoid", mixing="dense", edge=True),
    "standard": flow.FlowConfig(depths=(1, 2), widths=(8, 8), squeeze="haar", cosine_top=True),
    "flat": flow.FlowConfig(depths=(2, 2), widths=(8, 8), split=False),
    "flat haar": flow.FlowConfig(depths=(1, 2), widths=(8, 8), squeeze="haar", cosine_top=True, split=False),
}


@pytest.mark.parametrize("dims", [2, 3])
def test_low_rank_whitening_has_the_covariance_of_its_patterns(dims: int) -> None:
    layer = flow.LowRankWhitening()
    x = torch.randn(1, 1, *SPACE[dims], dtype=torch.float64)
    patterns = 3 * torch.randn(1, 4, 1, *SPACE[dims], dtype=torch.float64)
    assert not layer.inverse(torch.zeros_like(x), patterns).any()
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v.reshape(x.shape), patterns)[0], x.flatten())
    whiten, rows = jacobian.reshape(x.numel(), -1), patterns.flatten(2)[0]
    eye = torch.eye(x.numel(), dtype=torch.float64)
    torch.testing.assert_close(whiten @ (eye + rows.T @ rows) @ whiten.T, eye)


def test_low_rank_whitening_of_strong_patterns_keeps_its_digits_in_float32() -> None:
    """Patterns as a PET has them: 40 000 voxels that vary together by four times their own noise."""
    generator = torch.Generator().manual_seed(0)
    layer, x = flow.LowRankWhitening(), torch.randn(2, 1, 40, 40, 24, generator=generator)
    patterns = 4 + torch.randn(1, 8, 1, 40, 40, 24, generator=generator)
    z, _ = layer(layer.inverse(x, patterns), patterns)
    assert (z - x).abs().max() < 2e-5
    back = layer.inverse(layer(5 * x, patterns)[0], patterns)
    assert (back - 5 * x).abs().max() < 2e-5


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("mixing", ["dense", "plu", "rotation"])
def test_haar_flows_begin_with_the_mean_band_in_the_half_that_goes_on(mixing: str, dims: int) -> None:
    config = flow.FlowConfig(depths=(2, 2), widths=(8, 8), squeeze="haar", mixing=mixing)
    net, shape = flow.MultiScaleFlow(1, dims, config), (8,) * dims
    flow.initialize(net, [(torch.randn(8, 1, *shape),)])
    x = torch.randn(1, 1, *shape)
    early, late = (higher - lower for higher, lower in zip(net(x + 3)[0], net(x)[0], strict=True))
    assert early.abs().max() < 1e-4  # nothing of it leaves early
    assert late[0, 0].min() > 2
    assert late[0, 1:].abs().max() < 1e-4


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("forward", "inverse"), [(flow.squeeze, flow.unsqueeze), (flow.haar_squeeze, flow.haar_unsqueeze)]
)
def test_squeeze(forward, inverse, dims: int) -> None:
    x = torch.randn(2, 3, *SPACE[dims], dtype=torch.float64)
    y = forward(x)
    assert y.shape == (2, 3 * 2**dims, *(side // 2 for side in SPACE[dims]))
    torch.testing.assert_close(inverse(y), x)
    torch.testing.assert_close(y.square().sum(), x.square().sum())  # orthonormal: log-determinant 0


def test_squeeze_has_the_order_of_pixel_unshuffle() -> None:
    x = torch.randn(2, 3, 4, 6)
    assert torch.equal(flow.squeeze(x), nn.functional.pixel_unshuffle(x, 2))


def test_haar_puts_the_mean_first() -> None:
    y = flow.haar_squeeze(torch.ones(1, 2, 4, 4, 4))
    torch.testing.assert_close(y[:, :2], torch.full((1, 2, 2, 2, 2), 8**0.5))
    torch.testing.assert_close(y[:, 2:], torch.zeros(1, 14, 2, 2, 2))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_flow_inverse_log_det_and_shapes(name: str, dims: int) -> None:
    net = off_start(flow.MultiScaleFlow(1, dims, CONFIGS[name])).double()
    shape = (4, 8) if dims == 2 else (4, 4, 8)
    x = torch.randn(2, 1, *shape, dtype=torch.float64)
    latents, log_det = net(x)
    assert [tuple(z.shape[1:]) for z in latents] == net.latent_shapes(shape)
    assert sum(z.numel() for z in latents) == x.numel()
    torch.testing.assert_close(net.inverse(latents), x, rtol=0, atol=1e-8)
    expected = jacobian_log_det(lambda v: torch.cat([z.flatten() for z in net(v)[0]]), x[:1])
    torch.testing.assert_close(log_det[0], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dims", [2, 3])
def test_centred_flow_keeps_zero(dims: int) -> None:
    config = flow.FlowConfig(depths=(2, 2), widths=(8, 8), squeeze="haar", cosine_top=True, centred=True)
    net = off_start(flow.MultiScaleFlow(1, dims, config, context=(3, 3))).double()
    shape = (4, 8) if dims == 2 else (4, 4, 8)
    spaces = [tuple(side // 2**level for side in shape) for level in (1, 2)]
    contexts = [torch.randn(1, 3, *space, dtype=torch.float64) for space in spaces]
    x = torch.randn(1, 1, *shape, dtype=torch.float64)
    flow.initialize(net, [(3 + 5 * x, contexts)])
    latents, log_det = net(x, contexts)
    torch.testing.assert_close(net.inverse(latents, contexts), x, rtol=0, atol=1e-8)
    expected = jacobian_log_det(lambda v: torch.cat([z.flatten() for z in net(v, contexts)[0]]), x)
    torch.testing.assert_close(log_det[0], expected, rtol=1e-5, atol=1e-8)
    assert not net.inverse([torch.zeros_like(z) for z in latents], contexts).any()
    mirrored, _ = net(-x, contexts)
    assert (mirrored[-1] + latents[-1]).abs().max() > 1e-3  # it is no linear map


def test_flow_in_float32_returns_within_1e_4() -> None:
    net = off_start(flow.MultiScaleFlow(1, 3, flow.FlowConfig(depths=(4, 4), widths=(16, 16))), 0.05)
    x = torch.randn(1, 1, 8, 8, 8)
    assert (net.inverse(net(x)[0]) - x).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(6, 8, 8), (8, 8, 10)])
def test_flow_refuses_sides_that_do_not_divide(shape: tuple[int, ...]) -> None:
    net = flow.MultiScaleFlow(1, 3, CONFIGS["paper"])
    with pytest.raises(ValueError, match="must divide by 4"):
        net.latent_shapes(shape)
    with pytest.raises(ValueError, match="must be even"):
        net(torch.zeros(1, 1, *shape))


def test_initialisation_normalises_every_layer_and_is_saved() -> None:
    net = flow.MultiScaleFlow(1, 3, flow.FlowConfig(depths=(2, 1), widths=(8, 8)))
    x = 3 + 5 * torch.randn(8, 1, 8, 8, 8)
    flow.initialize(net, [(x[:4],), (x[4:],)])
    first, _ = net.levels[0][0].actnorm(flow.squeeze(x))
    torch.testing.assert_close(first.mean((0, 2, 3, 4)), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(first.std((0, 2, 3, 4)), torch.ones(8), rtol=0, atol=1e-2)

    loaded = flow.MultiScaleFlow(1, 3, net.config)
    loaded.load_state_dict(net.state_dict())
    flow.initialize(loaded, [(100 * x,)])  # a loaded model must not be set from data again
    for mine, theirs in zip(loaded.parameters(), net.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_initialisation_bounds_a_constant_channel() -> None:
    layer = flow.ActNorm(2, 3)
    x = torch.randn(4, 2, 4, 4, 4)
    x[:, 1] = 7.0
    flow.initialize(layer, [(x,)])
    z, _ = layer(x + 1e-3)
    assert z.abs().max() < 10


def test_mixing_inverse_follows_its_weights() -> None:
    """The inverse is kept between calls; a changed weight must not meet the old one."""
    for layer in (flow.DenseConv(4), flow.PLUConv(4)):
        x = torch.randn(1, 4, 2, 2, 2)
        with torch.no_grad():
            layer.inverse(layer(x)[0])
            for parameter in layer.parameters():
                parameter.mul_(1.3)
            torch.testing.assert_close(layer.inverse(layer(x)[0]), x, rtol=0, atol=1e-5)


def test_plu_stays_invertible_whatever_its_weights() -> None:
    layer = flow.PLUConv(6, bound=2.0)
    with torch.no_grad():
        layer.log_s.fill_(-1e4)
    assert torch.isfinite(layer.log_abs_det())
    assert layer.log_abs_det() >= -12.001


def test_what_is_kept_from_sampling_serves_training() -> None:
    """Constants that are first computed under ``inference_mode`` must not be tied to it."""
    for module, constant in (("frequency", "_dct_matrix"), ("squeeze", "_haar_matrix")):
        getattr(import_module(f"DualGlowLib.flow.{module}"), constant).cache_clear()
    config = flow.FlowConfig(depths=(1,), widths=(4,), squeeze="haar", cosine_top=True)
    net = flow.MultiScaleFlow(1, 2, config).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        net(x.detach())
    latents, _ = net(x)
    latents[0].sum().backward()
    assert x.grad.isfinite().all()


# ------------------------------------------------------------------------------------------ without a split: one latent


def test_flat_flow_keeps_every_channel_to_the_top() -> None:
    net = flow.MultiScaleFlow(1, 3, flow.FlowConfig(depths=(1, 1, 1), widths=(8, 8, 8), split=False))
    assert net.latent_shapes((8, 16, 8)) == [(512, 1, 2, 1)]
    assert [level[0].actnorm.log_scale.numel() for level in net.levels] == [8, 64, 512]
    with pytest.raises(ValueError, match="has 1 latents, not 3"):
        net.inverse([torch.zeros(1, 4, 4, 8, 4)] * 3)


def test_split_is_what_saved_flows_have() -> None:
    """A configuration written before there was the switch means the flow that it always meant."""
    config = preset("standard", (8, 16, 8))
    values = config.to_dict()
    for part in ("mri", "pet"):
        del values[part]["split"]
    assert ModelConfig.from_dict(values) == config
    assert config.mri.split
    assert config.pet.split


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("centred", [False, True])
def test_flat_flow_takes_a_context_at_every_level_and_the_memory_modes(dims: int, centred: bool) -> None:
    config = flow.FlowConfig(depths=(2, 2), widths=(8, 8), squeeze="haar", centred=centred, split=False)
    net = off_start(flow.MultiScaleFlow(1, dims, config, context=(3, 3))).double()
    shape = (4, 8, 4)[:dims]
    contexts = [torch.randn(2, 3, *(side // 2**level for side in shape), dtype=torch.float64) for level in (1, 2)]
    contexts = [context.requires_grad_() for context in contexts]
    x = torch.randn(2, 1, *shape, dtype=torch.float64, requires_grad=True)
    found = {}
    for mode in flow.MEMORY_MODES:
        flow.set_memory(net, mode)
        (z,), log_det = net(x, contexts)
        found[mode] = torch.autograd.grad(z.pow(3).sum() - 2 * log_det.sum(), [x, *contexts, *net.parameters()])
        torch.testing.assert_close(net.inverse([z], contexts), x, rtol=0, atol=1e-8)
    assert all(gradient.abs().max() > 0 for gradient in found["plain"][:3])
    for mode in ("checkpoint", "invertible"):
        torch.testing.assert_close(found[mode], found["plain"], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("link", [{}, {"layers": 2, "hidden": 8}, {"learned_top": True}, {"authors": True}])
def test_model_of_flat_flows(link: dict) -> None:
    """The levelwise link has one network, at the top; log p(x_p | x_m, c) has the log-determinant of the whole map."""
    part = {"depths": [1, 1], "widths": [8, 8], "split": False}
    model = off_start(
        DualGlow(preset("paper", (16, 16), mri=part, pet=part, link=link, conditioning="release"))
    ).double()
    assert len(model.link.nets) == 1
    mri, pet = torch.rand(2, 2, 1, 16, 16, dtype=torch.float64)
    covariates = torch.randn(2, sum(one.size for one in model.config.covariates), dtype=torch.float64)
    law = model.link.decode(model.encode(mri).features, covariates)
    latents, log_det = model.pet_latents(pet, law)
    assert [tuple(z.shape[1:]) for z in latents] == [(16, 4, 4)]
    torch.testing.assert_close(model.pet_from_latents(latents, law), pet, rtol=0, atol=1e-8)
    expected = jacobian_log_det(lambda v: model.pet_flow(v)[0][0].flatten(), pet[:1] - 0.5)
    torch.testing.assert_close(log_det[0], expected, rtol=1e-6, atol=1e-8)
    mode = model.sample(model.encode(mri), covariates, 0.0)
    other = model.sample(model.encode(mri.flip(0)), covariates, 0.0)
    assert (mode - other).abs().max() > 1e-6  # the MRI reaches the PET
    objective = model(pet, mri, covariates)
    objective.loss.sum().backward()
    assert torch.isfinite(objective.loss).all()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("standard", {"mri": {"split": False}, "pet": {"split": False}}, "U-Net link needs a latent at every level"),
        ("paper-conditional", {"mri": {"split": False}, "pet": {"split": False}}, "'paper' needs a latent at every"),
        ("paper", {"mri": {"split": False}}, "on in one flow and off in the other"),
    ],
)
def test_what_needs_latents_at_every_level_refuses_flat_flows(name: str, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preset(name, (16, 16, 16), **changes)
