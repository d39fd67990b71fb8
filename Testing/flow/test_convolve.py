"""Convolution by way of oneDNN: the function and the gradients are those of any other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from DualGlowLib.flow.convolve import convolve
from DualGlowLib.flow.coupling import NormConv


def case(
    batch: int, kernel: int, bias: bool, dtype: torch.dtype = torch.float32, channels=(5, 7), space=(6, 8, 6)
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(kernel)
    inputs, outputs = channels
    shapes = [(batch, inputs, *space), (outputs, inputs, *[kernel] * 3), *([(outputs,)] if bias else [])]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def gradients(y: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)
    return list(torch.autograd.grad((y * weights).sum(), inputs))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("batch", [1, 2])
def test_values_and_gradients(batch: int, kernel: int, bias: bool) -> None:
    inputs, exact = case(batch, kernel, bias), case(batch, kernel, bias, torch.float64)
    expected = F.conv3d(exact[0], exact[1], exact[2] if bias else None, padding=kernel // 2)
    found = convolve(*inputs)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    for mine, theirs in zip(gradients(found, inputs), gradients(expected, exact), strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("channels", [(4, 24), (24, 4), (20, 17), (17, 20)])
@pytest.mark.parametrize("space", [(5, 4, 6), (1, 9, 9), (24, 26, 2)], ids=str)
def test_many_and_few_channels(channels: tuple[int, int], space: tuple[int, ...]) -> None:
    """Each way of making the convolution and its gradients, by the channels of both sides and the size of the image."""
    inputs, exact = (case(2, 3, True, dtype, channels, space) for dtype in (torch.float32, torch.float64))
    expected = F.conv3d(*exact, padding=1)
    found = convolve(*inputs)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    for mine, theirs in zip(gradients(found, inputs), gradients(expected, exact), strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("wanted", [0, 1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_only_what_is_wanted_in_any_layout(wanted: int, layout: torch.memory_format) -> None:
    inputs = [one.detach() for one in case(1, 3, True)]
    inputs[:2] = [one.contiguous(memory_format=layout) for one in inputs[:2]]
    inputs[wanted].requires_grad_()
    expected = F.conv3d(*inputs, padding=1)
    (mine,), (theirs,) = (gradients(y, [inputs[wanted]]) for y in (convolve(*inputs), expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("space", [(1, 1, 1), (2, 3, 1), (2, 3, 2), (1, 7, 4)])
@pytest.mark.parametrize("dims", [2, 3])
def test_images_smaller_than_the_kernel(space: tuple[int, ...], dims: int) -> None:
    """The rest of the kernel meets the padding alone: its gradient is 0."""
    x = torch.randn(2, 5, *space[:dims], requires_grad=True)
    weight = torch.randn(7, 5, *[5] * dims, requires_grad=True)
    expected = {2: F.conv2d, 3: F.conv3d}[dims](x, weight, padding=2)
    found = convolve(x, weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    for mine, theirs in zip(gradients(found, [x, weight]), gradients(expected, [x, weight]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-3)


def test_without_gradients_nothing_is_kept() -> None:
    inputs = case(1, 3, True)
    with torch.no_grad():
        assert convolve(*inputs).grad_fn is None
    with torch.inference_mode():
        assert convolve(*inputs).is_inference()


@pytest.mark.parametrize("space", [(5, 4), (1, 2, 7), (3, 6, 4), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("kernel", [3, 5])
def test_the_edge_is_one_more_channel(space: tuple[int, ...], kernel: int) -> None:
    """A convolution that sees the edge is one of the image and of a map that is 1 in the padding (Glow)."""
    dims = len(space)
    layer = NormConv(4, 6, kernel, dims, edge=True)
    x = torch.randn(2, 4, *space)
    padding = [kernel // 2] * (2 * dims)
    both = torch.cat([F.pad(x, padding), F.pad(torch.zeros(2, 1, *space), padding, value=1.0)], 1)
    weight = torch.cat([layer.weight, layer.edge_weight], 1)
    expected = {2: F.conv2d, 3: F.conv3d}[dims](both, weight, layer.bias)
    found = layer(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    parameters = [layer.weight, layer.edge_weight, layer.bias]
    for mine, theirs in zip(gradients(found, parameters), gradients(expected, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)
