"""Same-padded convolution in two and three dimensions, on the fast path of the processor that it runs on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["Conv", "convolve"]

_CONV = {4: F.conv2d, 5: F.conv3d}
_FEW = 128  # voxels up to which torch's own choice for a single 3-D image is the faster one


class _OneDnn(torch.autograd.Function):
    """oneDNN's convolution of 3-D images, forward and backward, by name."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.has_bias = padding, bias is not None
        return torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, [1] * 3, [1] * 3, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        found = torch.ops.aten.convolution_backward(
            gradient.to_mkldnn(),  # in oneDNN's own form no other backward comes into question
            x.to_mkldnn(),
            weight,
            [len(weight)] if ctx.has_bias else None,
            [1] * 3,
            ctx.padding,
            [1] * 3,
            False,
            [0] * 3,
            1,
            [*ctx.needs_input_grad[:2], ctx.has_bias and ctx.needs_input_grad[2]],
        )
        return (*(one.to_dense() if one is not None and one.is_mkldnn else one for one in found), None)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` ``(B, in, *spatial)`` with ``weight`` ``(out, in, *kernel)``, padded by half the kernel.

    For a single 3-D image on a CPU, torch chooses a convolution that is 2 to 6 times slower than oneDNN's (it counts
    only the first four sides of the input to see whether that one pays), and so for its gradients; sampling, and
    training with one case a batch, are just this case, so oneDNN is asked for by name.
    """
    padding = [min(side // 2, voxels - 1) for side, voxels in zip(weight.shape[2:], x.shape[2:], strict=True)]
    reached = [
        slice(side // 2 - most, side // 2 + most + 1) for side, most in zip(weight.shape[2:], padding, strict=True)
    ]
    weight = weight[(..., *reached)]  # what only ever meets the padding is left out
    if (
        x.dim() == 5
        and x.shape[0] == 1
        and x.shape[2:].numel() > _FEW
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
    ):
        return _OneDnn.apply(x, weight, bias, padding)
    return _CONV[x.dim()](x, weight, bias, padding=padding)


class Conv(nn.Module):
    """A same-padded convolution layer for images of ``dims`` dimensions, started as torch starts its own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dims: int, bias: bool = True) -> None:
        super().__init__()
        start = {2: nn.Conv2d, 3: nn.Conv3d}[dims](inputs, outputs, kernel, bias=bias)
        self.weight, self.bias = start.weight, start.bias

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)
