"""Same-padded convolution in two and three dimensions, on the fast path of the processor that it runs on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Conv", "convolve"]

_CONV = {4: F.conv2d, 5: F.conv3d}


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` ``(B, in, *spatial)`` with ``weight`` ``(out, in, *kernel)``, padded by half the kernel.

    For a single 3-D image on a CPU, torch chooses a convolution that is 2 to 6 times slower than oneDNN's (it counts
    only the first four sides of the input to see whether that one pays); sampling is just this case, so oneDNN is
    asked for by name. Its backward can't be chosen that way: train on a CPU with at least 2 cases a batch.
    """
    padding = [side // 2 for side in weight.shape[2:]]
    if (
        x.dim() == 5
        and x.shape[0] == 1
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and torch.backends.mkldnn.is_available()
    ):
        ones = [1] * len(padding)
        return torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, ones, ones, 1)
    return _CONV[x.dim()](x, weight, bias, padding=padding)


class Conv(nn.Module):
    """A same-padded convolution layer for images of ``dims`` dimensions, started as torch starts its own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dims: int, bias: bool = True) -> None:
        super().__init__()
        start = {2: nn.Conv2d, 3: nn.Conv3d}[dims](inputs, outputs, kernel, bias=bias)
        self.weight, self.bias = start.weight, start.bias

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias)
