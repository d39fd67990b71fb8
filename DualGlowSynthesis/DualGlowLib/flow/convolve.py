"""Same-padded convolution in two and three dimensions, on the fast path of the processor that it runs on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

__all__ = ["Conv", "convolve"]

_CONV = {4: F.conv2d, 5: F.conv3d}
_FEW = 64  # voxels up to which torch's own choice for a single 3-D image is the faster one
_LARGE = 20480  # product of the first four sides from which torch itself chooses oneDNN
_FEW_CHANNELS = 16  # below which a convolution is made of wider ones, if
_PARTS = 1 << 22  # elements are enough for their results: what leaves the cache costs more than it saves


class _OneDnn(torch.autograd.Function):
    """oneDNN's convolution of 3-D images, forward and backward, by name."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _one_dnn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            _one_dnn(gradient, _turned(weight), None) if to_x else None,
            _weight_gradient(x, gradient, weight) if to_weight else None,
            gradient.sum([0, 2, 3, 4]) if to_bias else None,
        )


def _turned(weight: Tensor) -> Tensor:
    """The weights of the convolution that takes a gradient back to the image."""
    return weight.transpose(0, 1).flip(2, 3, 4)


def _padding(weight: Tensor) -> list[int]:
    return [side // 2 for side in weight.shape[2:]]


def _one_dnn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    outputs, inputs, planes, *others = weight.shape
    if outputs >= _FEW_CHANNELS or planes == 1 or planes * outputs * x[:, 0].numel() > _PARTS:
        return torch.ops.aten.mkldnn_convolution(x, weight, bias, _padding(weight), [1] * 3, [1] * 3, 1)
    # Its kernels make 16 channels or more at once: the planes of the weights one beside the other, then shifted sums.
    flat = weight.movedim(2, 0).reshape(-1, inputs, 1, *others)
    parts = torch.ops.aten.mkldnn_convolution(x, flat, None, _padding(flat), [1] * 3, [1] * 3, 1)
    parts = parts.unflatten(1, (planes, outputs)).unbind(1)
    middle, sides = planes // 2, x.shape[2]
    y = parts[middle].clone() if bias is None else parts[middle] + bias.reshape(-1, 1, 1, 1)
    for plane, part in enumerate(parts):
        shift = plane - middle
        if shift and abs(shift) < sides:
            y.narrow(2, max(0, -shift), sides - abs(shift)).add_(part.narrow(2, max(0, shift), sides - abs(shift)))
    return y


def _weight_gradient(x: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
    outputs, inputs, *kernel = weight.shape
    if max(kernel) == 1:
        return (gradient.flatten(2) @ x.flatten(2).mT).sum(0).reshape(weight.shape)
    if outputs < inputs:  # with the smaller of the two in the image's place: up to 8 times as fast
        return _turned(_weight_gradient(gradient, x, _turned(weight))).contiguous()
    if x.shape[:4].numel() > _LARGE:
        x, gradient = (one.contiguous(memory_format=torch.channels_last_3d) for one in (x, gradient))
    else:
        x, gradient = x.to_mkldnn(), gradient.to_mkldnn()  # in oneDNN's own form no other backward comes into question
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, [1] * 3, _padding(weight), [1] * 3, False, [0] * 3, 1, [False, True, False]
    )[1]
    return found.to_dense() if found.is_mkldnn else found.contiguous()


def _in_few_voxels(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same as one product of the weights, as they lie in memory, with what the kernel sees at each voxel."""
    dims = weight.dim() - 2
    seen = F.pad(x, [side // 2 for side in reversed(weight.shape[2:]) for _ in range(2)])
    for axis, side in enumerate(weight.shape[2:], 2):
        seen = seen.unfold(axis, side, 1)
    seen = seen.permute(0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims)).flatten(1 + dims + 1)
    y = (weight.flatten(1) @ seen.flatten(1, -2)).unflatten(2, x.shape[2:])
    return y if bias is None else y + bias.reshape(-1, *[1] * dims)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` ``(B, in, *spatial)`` with ``weight`` ``(out, in, *kernel)``, padded by half the kernel.

    For a single 3-D image on a CPU, torch chooses a convolution that is 2 to 6 times slower than oneDNN's (it counts
    only the first four sides of the input to see whether that one pays), and so for its gradients; sampling, and
    training with one case a batch, are just this case, so oneDNN is asked for by name. Where most of a large kernel
    lies outside of the image, the time goes into its weights, which are read as they are.
    """
    if x.dim() == 5 and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32:
        few = x.shape[2:].numel() <= _FEW
        if few and max(weight.shape[2:]) > 3:
            return _in_few_voxels(x, weight, bias)
        if not few and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available():
            return _OneDnn.apply(x, weight, bias)
    return _CONV[x.dim()](x, weight, bias, padding=_padding(weight))


class Conv(nn.Module):
    """A same-padded convolution layer for images of ``dims`` dimensions, started as torch starts its own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dims: int, bias: bool = True) -> None:
        super().__init__()
        start = {2: nn.Conv2d, 3: nn.Conv3d}[dims](inputs, outputs, kernel, bias=bias)
        self.weight, self.bias = start.weight, start.bias

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)
