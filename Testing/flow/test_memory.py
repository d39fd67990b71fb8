"""Training with less memory: the same gradients as plain autograd, and no more memory for more depth."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import pytest
import torch
from torch import Tensor, nn

from DualGlowLib import flow
from DualGlowLib.model import DualGlow, preset
from layers import off_start

SPACE = (4, 8, 4)
CONFIGS = {
    "plu": flow.FlowConfig(depths=(2, 2), widths=(8, 8)),
    "dense, sigmoid, edge": flow.FlowConfig((2, 2), (8, 8), scale="sigmoid", mixing="dense", edge=True),
    "centred": flow.FlowConfig((2, 2), (8, 8), squeeze="haar", cosine_top=True, centred=True),
}
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


def loss_of(latents: list[Tensor], log_det: Tensor) -> Tensor:
    """Every number of the latents and every image's log-determinant with a weight of its own."""
    weights = torch.arange(1.0, 1 + len(log_det), dtype=log_det.dtype)
    numbers = torch.cat([z.flatten() for z in latents])
    return (torch.linspace(0.5, 1.5, len(numbers)).to(numbers) * numbers**2).sum() - 3 * (weights * log_det).sum()


def distance(mine: list[Tensor | None], theirs: list[Tensor | None]) -> float:
    """Largest error of a tensor relative to its own norm."""
    assert [x is None for x in mine] == [x is None for x in theirs]
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if b is not None]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs)


def flow_gradients(net: flow.MultiScaleFlow, mode: str, x: Tensor, contexts: list[Tensor]) -> list[Tensor | None]:
    """Of the parameters, the input and the contexts."""
    flow.set_memory(net, mode)
    net.zero_grad(set_to_none=True)
    inputs = [tensor.clone().requires_grad_() for tensor in (x, *contexts)]
    loss_of(*net(inputs[0], inputs[1:] or None)).backward()
    return [tensor.grad for tensor in (*net.parameters(), *inputs)]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("with_context", [False, True])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_gradients_equal_those_of_plain_autograd(name: str, with_context: bool, dims: int, dtype: torch.dtype) -> None:
    if name == "centred" and not with_context:
        return  # a centred coupling needs one
    net = off_start(flow.MultiScaleFlow(1, dims, CONFIGS[name], (3, 3) if with_context else None)).to(dtype)
    x = torch.randn(2, 1, *SPACE[:dims], dtype=dtype)
    spaces = [[side // 2**level for side in SPACE[:dims]] for level in (1, 2)]
    contexts = [torch.randn(2, 3, *space, dtype=dtype) for space in spaces] if with_context else []
    plain = flow_gradients(net, "plain", x, contexts)
    assert all(gradient is not None for gradient in plain)
    for mode in ("checkpoint", "invertible"):
        assert distance(flow_gradients(net, mode, x, contexts), plain) < TOLERANCE[dtype], mode


def test_each_network_runs_once_on_the_way_back() -> None:
    """The evaluation that inverts the coupling also gives its gradient: the step costs a third more, not two thirds."""
    net = off_start(flow.MultiScaleFlow(1, 2, CONFIGS["plu"]))
    calls = []
    for level in net.levels:
        for step in level:
            step.coupling.net.register_forward_hook(lambda module, *_: calls.append(module))
    flow_gradients(net, "invertible", torch.randn(1, 1, 8, 8), [])
    assert len(calls) == 2 * 4
    assert len(set(calls[:4])) == len(set(calls[4:])) == 4


@pytest.mark.parametrize("name", ["standard", "authors"])
def test_a_whole_model_in_float32(name: str) -> None:
    """Gradients reach the link through the couplings' contexts, and every flow of the model takes the mode."""
    config = preset(name, (16, 16, 16))
    flows = {side: replace(getattr(config, side), depths=(3, 3), widths=(8, 8)) for side in ("mri", "pet")}
    link = config.link
    if link.kind == "unet":  # with a channel a group, biases before a normalisation would have no gradient to compare
        link = replace(link, widths=(8, 8), context=(4, 4), groups=2)
    config = replace(config, shape=(8, 8, 8), link=link, **flows)
    model = DualGlow(config)
    pet, mri = torch.rand(2, 1, 8, 8, 8), torch.rand(2, 1, 8, 8, 8)
    covariates = torch.rand(2, sum(covariate.size for covariate in config.covariates))
    model.initialize(pet, mri, covariates)
    off_start(model, 0.03)
    found = []
    for mode in flow.MEMORY_MODES:
        flow.set_memory(model, mode)
        assert model.mri_flow.memory_mode == model.pet_flow.memory_mode == mode
        model.zero_grad(set_to_none=True)
        model(pet, mri, covariates).loss.mean().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for other in found[1:]:
        assert distance(other, found[0]) < 1e-4


def peak_bytes(net: flow.MultiScaleFlow, x: Tensor, mode: str) -> int:
    """Most bytes that one forward and backward pass holds above what was there before, by the allocator's record."""
    flow.set_memory(net, mode)
    net.zero_grad(set_to_none=False)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loss_of(*net(x)).backward()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def test_memory_does_not_grow_with_depth() -> None:
    x = torch.randn(2, 1, 64, 64)
    peaks: dict[str, list[int]] = {mode: [] for mode in flow.MEMORY_MODES}
    for depth in (2, 8):
        net = off_start(flow.MultiScaleFlow(1, 2, flow.FlowConfig((depth, depth), (32, 32))), 0.03)
        for mode in flow.MEMORY_MODES:
            flow_gradients(net, mode, x, [])  # gradients are allocated here, and stay
            peaks[mode].append(peak_bytes(net, x, mode))
    assert peaks["invertible"][1] <= 1.15 * peaks["invertible"][0]
    assert peaks["plain"][1] > 3 * peaks["plain"][0]
    assert peaks["invertible"][1] < peaks["checkpoint"][1] < peaks["plain"][1]


def test_gradients_hold_over_64_couplings() -> None:
    """In float32, what comes back has gone through 64 inverses: rounding adds up to no more than plain autograd's."""
    net = flow.MultiScaleFlow(1, 2, flow.FlowConfig((16,) * 4, (8,) * 4))
    x = torch.randn(2, 1, 32, 32)
    for layer in net.modules():
        if isinstance(layer, flow.ZeroConv):
            nn.init.normal_(layer.weight, 0.0, 0.03)
    flow.initialize(net, [(x,)])
    found = [flow_gradients(net, mode, x, []) for mode in ("plain", "invertible")]
    found.append(flow_gradients(net.double(), "plain", x.double(), []))
    plain, invertible, exact = ([torch.cat([gradient.flatten() for gradient in one]).double()] for one in found)
    assert distance(invertible, exact) < max(3 * distance(plain, exact), 1e-4)


@pytest.mark.parametrize("mode", flow.MEMORY_MODES)
def test_initialisation_is_that_of_the_plain_mode(mode: str) -> None:
    made = []
    for one in ("plain", mode):
        torch.manual_seed(0)
        net = flow.MultiScaleFlow(1, 2, CONFIGS["plu"])
        flow.set_memory(net, one)
        flow.initialize(net, [(3 + 5 * torch.randn(4, 1, 8, 8),)])
        made.append(net.state_dict())
    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())
    assert all(value for name, value in made[1].items() if name.endswith("initialized"))


def test_frozen_parts_and_inputs_without_gradients() -> None:
    net = off_start(flow.MultiScaleFlow(1, 2, CONFIGS["plu"])).double()
    for parameter in net.levels[0].parameters():
        parameter.requires_grad_(False)
    net.levels[1][0].actnorm.requires_grad_(False)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    found = []
    for mode in ("plain", "invertible"):
        flow.set_memory(net, mode)
        net.zero_grad(set_to_none=True)
        loss_of(*net(x)).backward()
        found.append([parameter.grad for parameter in net.parameters()])
    assert any(gradient is None for gradient in found[0])
    assert distance(found[1], found[0]) < 1e-9
    net.requires_grad_(False)
    assert not net(x)[1].requires_grad


def test_a_weight_changed_before_the_backward_pass_is_noticed() -> None:
    """Going back with other weights than one came with would give wrong gradients without a word."""
    net = off_start(flow.MultiScaleFlow(1, 2, CONFIGS["plu"]))
    flow.set_memory(net, "invertible")
    loss = loss_of(*net(torch.randn(1, 1, 8, 8)))
    with torch.no_grad():
        net.levels[0][0].actnorm.log_scale.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_under_mixed_precision() -> None:
    """The backward pass may run outside the autocast region; the networks must compute again what they did inside."""
    net = off_start(flow.MultiScaleFlow(1, 2, CONFIGS["plu"]), 0.05)
    x = torch.randn(2, 1, 16, 16)
    flow.initialize(net, [(x,)])
    kinds, found = [], []
    for level in net.levels:
        for step in level:
            step.coupling.net.register_forward_hook(lambda module, arguments, output: kinds.append(output.dtype))
    for mode in ("plain", "invertible"):
        flow.set_memory(net, mode)
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(*net(x))
        loss.backward()
        found.append([torch.cat([parameter.grad.flatten() for parameter in net.parameters()])])
    assert distance(found[1], found[0]) < 1e-2
    assert kinds == [torch.bfloat16] * (4 + 2 * 4)


def test_the_mode_is_no_part_of_the_saved_function() -> None:
    net = flow.MultiScaleFlow(1, 2, CONFIGS["plu"])
    before = list(net.state_dict())
    flow.set_memory(net, "invertible")
    assert list(net.state_dict()) == before
    assert net.config == CONFIGS["plu"]
    with pytest.raises(ValueError, match="no memory mode 'small'"):
        flow.set_memory(net, "small")
