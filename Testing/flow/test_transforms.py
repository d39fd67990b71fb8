"""What every ``Transform`` must do, in one loop over all of the library; a new one fails here until it is listed."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
from torch import Tensor

import DualGlowLib
from DualGlowLib import flow
from DualGlowLib.flow.reversible import run_steps
from layers import jacobian_log_det, off_start

BATCH = 2
SPACE = {2: (3, 2), 3: (2, 3, 2)}


def image(dims: int, channels: int) -> Tensor:
    return torch.randn(BATCH, channels, *SPACE[dims], dtype=torch.float64)


@dataclass(frozen=True)
class Example:
    """One configuration of a transform.

    Attributes:
        make: for 2 or 3 dimensions.
        channels: of its input.
        context: what it gets beside the input, for so many dimensions: a tensor or several, with the batch first.
    """

    make: Callable[[int], flow.Transform]
    channels: int = 4
    context: Callable[[int], Tensor | tuple[Tensor, ...]] | None = None


def step(**changes) -> Callable[[int], flow.Transform]:
    config = flow.FlowConfig(depths=(1,), widths=(8,), **changes)
    return lambda dims: flow.FlowStep(4, 8, dims, config, context=3)


def coupling(channels: int = 4, **options) -> Callable[[int], flow.Transform]:
    return lambda dims: flow.AffineCoupling(channels, 8, dims, **options)


def three(dims: int) -> Tensor:
    return image(dims, 3)


EXAMPLES: dict[type[flow.Transform], dict[str, Example]] = {
    flow.ActNorm: {
        "": Example(lambda dims: flow.ActNorm(4, dims)),
        "centred": Example(lambda dims: flow.ActNorm(4, dims, centred=True)),
    },
    flow.DenseConv: {"": Example(lambda dims: flow.DenseConv(4))},
    flow.PLUConv: {"": Example(lambda dims: flow.PLUConv(4))},
    flow.RotationConv: {"": Example(lambda dims: flow.RotationConv(4))},
    flow.AffineCoupling: {
        "": Example(coupling()),
        "odd": Example(coupling(5), channels=5),
        "edge": Example(coupling(edge=True, context=3), context=three),
        "sigmoid": Example(coupling(scale="sigmoid", context=3), context=three),
        "centred": Example(coupling(centred=True, context=3), context=three),
    },
    flow.FlowStep: {
        "plu": Example(step(), context=three),
        "authors": Example(step(mixing="dense", scale="sigmoid", edge=True), context=three),
        "centred": Example(step(mixing="rotation", squeeze="haar", centred=True), context=three),
    },
    flow.CosineTransform: {"": Example(lambda dims: flow.CosineTransform())},
    flow.ConditionalAffine: {
        "": Example(lambda dims: flow.ConditionalAffine(), context=lambda dims: (image(dims, 4), 0.3 * image(dims, 4)))
    },
    flow.LowRankWhitening: {
        "": Example(
            lambda dims: flow.LowRankWhitening(),
            context=lambda dims: 3 * torch.randn(BATCH, 3, 4, *SPACE[dims], dtype=torch.float64),
        )
    },
}


def subclasses(cls: type) -> set[type]:
    return {cls}.union(*(subclasses(one) for one in cls.__subclasses__()))


def test_every_transform_of_the_library_is_listed() -> None:
    for module in pkgutil.walk_packages(DualGlowLib.__path__, "DualGlowLib."):
        if not module.name.endswith("__main__") and "_resources" not in module.name:
            import_module(module.name)
    found = {one for one in subclasses(flow.Transform) if one.__module__.startswith("DualGlowLib.")}
    bases = {one for one in found if one is flow.Transform or one.__name__.startswith("_")}
    missing = {one.__name__ for one in found - bases - set(EXAMPLES)}
    assert not missing, (
        f"List {', '.join(sorted(missing))} in EXAMPLES, so that what every transform must do is tested."
    )


Rig = tuple[flow.Transform, Tensor, tuple]


@pytest.fixture(
    params=[
        pytest.param((example, dims), id=f"{cls.__name__} {name} {dims}-D".replace("  ", " "))
        for cls, examples in EXAMPLES.items()
        for name, example in examples.items()
        for dims in SPACE
    ]
)
def rig(request: pytest.FixtureRequest) -> Rig:
    """A layer, its input, and a tuple of its context, empty without one."""
    example, dims = request.param
    layer = off_start(example.make(dims)).double()
    return layer, image(dims, example.channels), (example.context(dims),) if example.context else ()


def tensors(context: tuple) -> list[Tensor]:
    return [one for part in context for one in (part if isinstance(part, tuple) else (part,))]


def of_case(context: tuple, i: int) -> tuple:
    return tuple(tuple(one[i : i + 1] for one in c) if isinstance(c, tuple) else c[i : i + 1] for c in context)


def test_the_inverse_brings_back_what_went_in(rig: Rig) -> None:
    layer, x, context = rig
    z, log_det = layer(x, *context)
    assert z.shape == x.shape
    assert log_det.shape == (BATCH,)
    assert (z - x).abs().max() > 1e-3
    torch.testing.assert_close(layer.inverse(z, *context), x, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer(layer.inverse(x, *context), *context)[0], x, rtol=0, atol=1e-9)


def test_the_log_determinant_is_that_of_the_jacobian(rig: Rig) -> None:
    layer, x, context = rig
    _, log_det = layer(x, *context)
    for i in range(BATCH):
        one, its = x[i : i + 1], of_case(context, i)
        expected = jacobian_log_det(lambda v, its=its: layer(v, *its)[0], one)
        torch.testing.assert_close(log_det[i], expected, rtol=1e-5, atol=1e-8)


def test_cases_of_a_batch_know_nothing_of_each_other(rig: Rig) -> None:
    layer, x, context = rig
    z, log_det = layer(x, *context)
    back = layer.inverse(x, *context)
    for i in range(BATCH):
        one, its = x[i : i + 1], of_case(context, i)
        mine, my_log_det = layer(one, *its)
        torch.testing.assert_close(mine, z[i : i + 1], rtol=0, atol=1e-12)
        torch.testing.assert_close(my_log_det, log_det[i : i + 1], rtol=0, atol=1e-12)
        torch.testing.assert_close(layer.inverse(one, *its), back[i : i + 1], rtol=0, atol=1e-12)


def test_the_context_counts(rig: Rig) -> None:
    layer, x, context = rig
    z, _ = layer(x, *context)
    for tensor in tensors(context):
        kept = tensor.clone()
        tensor.copy_(tensor.flip(0))
        assert (layer(x, *context)[0] - z).abs().max() > 1e-3
        assert (layer.inverse(z, *context) - x).abs().max() > 1e-3
        tensor.copy_(kept)


def test_a_saved_state_makes_another_the_same(rig: Rig, request: pytest.FixtureRequest, tmp_path) -> None:
    layer, x, context = rig
    example, dims = request.node.callspec.params["rig"]
    z, log_det = layer(x, *context)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    other = off_start(example.make(dims), seed=2).double()
    if list(layer.parameters()):
        assert (other(x, *context)[0] - z).abs().max() > 1e-3
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    again, its_log_det = other(x, *context)
    assert torch.equal(again, z)
    assert torch.equal(its_log_det, log_det)
    torch.testing.assert_close(other.inverse(z, *context), x, rtol=0, atol=1e-9)


def loss_of(z: Tensor, log_det: Tensor) -> Tensor:
    """Every number and every case's log-determinant with a weight of its own."""
    weights = torch.arange(1.0, 1 + BATCH, dtype=log_det.dtype)
    return (torch.linspace(0.5, 1.5, z.numel()).to(z) * z.flatten() ** 2).sum() - 3 * (weights * log_det).sum()


def gradients(rig: Rig, run: Callable[[flow.Transform, Tensor, tuple], tuple[Tensor, Tensor, list[Tensor]]]):
    """Of parameters, context and input; ``run`` says ``z``, the log-determinant, and what makes up the input."""
    layer, x, context = rig
    layer.zero_grad(set_to_none=True)
    for tensor in tensors(context):
        tensor.requires_grad_().grad = None
    z, log_det, parts = run(layer, x, context)
    loss_of(z, log_det).backward()
    return [*(one.grad for one in (*layer.parameters(), *tensors(context))), torch.cat([one.grad for one in parts], 1)]


def forward(layer: flow.Transform, x: Tensor, context: tuple) -> tuple[Tensor, Tensor, list[Tensor]]:
    x = x.clone().requires_grad_()
    return *layer(x, *context), [x]


def test_gradients_on_the_way_back_are_those_of_the_way_there(rig: Rig) -> None:
    """``retrace`` finds the input from the output; so trains the memory mode "invertible"."""
    context = rig[2]
    plain = gradients(rig, forward)

    def back(layer: flow.Transform, x: Tensor, context: tuple) -> tuple[Tensor, Tensor, list[Tensor]]:
        with torch.no_grad():
            z, _ = layer(x, *context)
        parts, *found = layer.retrace(z, *context)
        torch.testing.assert_close(torch.cat(parts, 1).detach(), x, rtol=0, atol=1e-9)
        return *found, list(parts)

    torch.testing.assert_close(gradients(rig, back), plain, rtol=1e-7, atol=1e-8)
    if not any(isinstance(one, tuple) for one in context):
        for mode in flow.MEMORY_MODES:

            def run(layer: flow.Transform, x: Tensor, context: tuple, mode: str = mode):
                x = x.clone().requires_grad_()
                return *run_steps([layer], x, context[0] if context else None, mode), [x]

            torch.testing.assert_close(gradients(rig, run), plain, rtol=1e-7, atol=1e-8)
