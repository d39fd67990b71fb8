"""Affine coupling: one half of the channels is scaled and shifted by what a network makes of the other (eq. 13–15)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .actnorm import LOG_SCALE_FACTOR, channel_statistics
from .convolve import convolve
from .transform import Transform, full, spatial_sum

__all__ = ["AffineCoupling", "CentredNet", "CouplingNet", "NormConv", "ZeroConv"]

_SIGMOID_FLOOR = -9.2  # log-scale (e^-9.2 = 1e-4) below which the authors' sigmoid would leave nothing to invert

_VALID = {4: F.conv2d, 5: F.conv3d}


class _ScaledConv(nn.Module):
    """A same-padded convolution with a log-scale per output: ``(W∗x + bias) · exp(3 · log_scale)``, as one convolution.

    With ``edge``, the function is that of a convolution with one more input channel, 1 in the padding and 0 inside
    (Glow's trick). That channel is the same for every image, so it enters as a bias map of its own instead of a
    concatenation, which would spoil the channel count and the speed. With ``bias`` off, 0 stays 0.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dims: int, edge: bool = False, bias: bool = True
    ) -> None:
        super().__init__()
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, *[kernel] * dims))
        has_edge = edge and kernel > 1
        self.edge_weight = nn.Parameter(torch.zeros(outputs, 1, *[kernel] * dims)) if has_edge else None
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.exp(LOG_SCALE_FACTOR * self.log_scale)
        kernel_scale = scale.reshape(-1, *[1] * (x.dim() - 1))
        y = convolve(x, self.weight * kernel_scale, None if self.bias is None else self.bias * scale)
        if self.edge_weight is None:
            return y
        return y.add_(self._edge_map(x.shape[2:], self.edge_weight * kernel_scale))

    def _edge_map(self, space: Sequence[int], weight: Tensor) -> Tensor:
        """What the channel that is 1 in the padding gives, ``(1, out, *space)``: the same all over the inside."""
        p = self.padding
        frame = weight.new_zeros(1, 1, *(min(side, 2 * p + 1) for side in space))
        y = _VALID[weight.dim()](F.pad(frame, [p] * (2 * len(space)), value=1.0), weight)
        for axis, side in reversed(list(enumerate(space, 2))):
            if side > 2 * p + 1:
                inside = y.narrow(axis, p, 1).expand(*(side - 2 * p if a == axis else -1 for a in range(y.dim())))
                y = torch.cat([y.narrow(axis, 0, p), inside, y.narrow(axis, p + 1, p)], axis)
        return y


class NormConv(_ScaledConv):
    """Convolution whose bias and log-scale are first set from data, so that it ends in an ActNorm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dims: int, edge: bool = False, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel, dims, edge, bias)
        for weight in (self.weight, self.edge_weight):
            if weight is not None:
                nn.init.normal_(weight, 0.0, 0.05)
        self.register_buffer("initialized", torch.tensor(False))
        self.initializing = False

    def begin_initialization(self) -> None:
        self.initializing = not bool(self.initialized)

    def forward(self, x: Tensor) -> Tensor:
        if self.initializing:
            # Bias and log-scale are still zero: this is the plain convolution.
            bias, log_scale = channel_statistics(super().forward(x), centred=self.bias is None)
            if self.bias is not None:
                self.bias.data.copy_(bias)
            self.log_scale.data.copy_(log_scale)
            self.initialized.fill_(True)
            self.initializing = False
        return super().forward(x)


class ZeroConv(_ScaledConv):
    """Convolution that starts at zero: with it at its end a network starts as the constant 0."""


class CouplingNet(nn.Sequential):
    """The paper's three convolutions, 3ⁿ–1ⁿ–3ⁿ with ReLU between, the last starting at zero."""

    def __init__(self, inputs: int, outputs: int, width: int, dims: int, edge: bool = False) -> None:
        super().__init__(
            NormConv(inputs, width, 3, dims, edge),
            nn.ReLU(inplace=True),
            NormConv(width, width, 1, dims),
            nn.ReLU(inplace=True),
            ZeroConv(width, outputs, 3, dims, edge),
        )


class CentredNet(nn.Module):
    """A coupling network whose shift is 0 where its input is: convolutions without bias, and a context that multiplies.

    Outputs shift and raw log-scale in turn, as ``CouplingNet``. The log-scale is free: a scale leaves 0 where it is.
    """

    def __init__(self, inputs: int, outputs: int, width: int, dims: int, context: int) -> None:
        super().__init__()
        self.first = NormConv(inputs, width, 3, dims, bias=False)
        self.second = NormConv(width, width, 1, dims, bias=False)
        self.last = ZeroConv(width, outputs, 3, dims, bias=False)
        self.gate = ZeroConv(context, width, 1, dims)
        self.log_scale = ZeroConv(context, outputs // 2, 1, dims)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = F.relu_(self.first(x)) * (1 + self.gate(context))
        shift, raw = (part for part in self.last(F.relu_(self.second(h))).unflatten(1, (-1, 2)).unbind(2))
        return torch.stack([shift, raw + self.log_scale(context)], 2).flatten(1, 2)


class AffineCoupling(Transform):
    """``z₁ = x₁``, ``z₂ = x₂ · exp(s) + t`` (eq. 13), with s and t from x₁ and, where given, a context.

    Args:
        channels: channels of x; the first half (the smaller one, if odd) is x₁.
        width: channels inside the network.
        dims: 2 or 3.
        scale: ``"exp"``: ``s = a·tanh(h/a)`` with a = ``bound``, so that neither direction can explode. ``"sigmoid"``:
            as the authors' program computes, ``z₂ = (x₂ + t) · sigmoid(h + 2)``, but never below 1e-4.
        context: channels of the context, joined to x₁ at the network's input.
        edge: let the 3ⁿ convolutions see the image's edge.
        bound: see ``scale``.
        centred: 0 stays 0 (``CentredNet``); needs a context.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        dims: int,
        scale: str = "exp",
        context: int = 0,
        edge: bool = False,
        bound: float = 2.0,
        centred: bool = False,
    ) -> None:
        super().__init__()
        if scale not in ("exp", "sigmoid"):
            raise ValueError(f"scale is 'exp' or 'sigmoid', not {scale!r}.")
        if centred and not context:
            raise ValueError("A centred coupling needs a context.")
        self.kept = channels // 2
        self.scale = scale
        self.bound = bound
        self.centred = centred
        outputs = 2 * (channels - self.kept)
        if centred:
            self.net = CentredNet(self.kept, outputs, width, dims, context)
        else:
            self.net = CouplingNet(self.kept + context, outputs, width, dims, edge)

    def _parameters_of(self, x1: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.centred:
            h = self.net(x1, context)
        else:
            h = self.net(x1 if context is None else torch.cat([x1, context], 1))
        # The network may have run in half precision; what it gives is used, and summed up, in full.
        shift, raw = full(h[:, 0::2]), full(h[:, 1::2])
        if self.scale == "sigmoid":
            return shift, F.logsigmoid(raw + 2.0).clamp_min(_SIGMOID_FLOOR)
        return shift, self.bound * torch.tanh(raw / self.bound)

    def _apply_to(self, x2: Tensor, shift: Tensor, log_s: Tensor) -> Tensor:
        return (x2 + shift) * log_s.exp() if self.scale == "sigmoid" else x2 * log_s.exp() + shift

    def _undo(self, z2: Tensor, shift: Tensor, log_s: Tensor) -> Tensor:
        inverse_s = torch.exp(-log_s)
        return z2 * inverse_s - shift if self.scale == "sigmoid" else (z2 - shift) * inverse_s

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x1, x2 = full(x).tensor_split([self.kept], 1)
        shift, log_s = self._parameters_of(x1, context)
        return torch.cat([x1, self._apply_to(x2, shift, log_s)], 1), spatial_sum(log_s)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        z1, z2 = full(z).tensor_split([self.kept], 1)
        return torch.cat([z1, self._undo(z2, *self._parameters_of(z1, context))], 1)

    def retrace(self, z: Tensor, context: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        z1, z2 = (part.detach() for part in full(z).tensor_split([self.kept], 1))
        z1.requires_grad_()
        shift, log_s = self._parameters_of(z1, context)
        with torch.no_grad():
            x2 = self._undo(z2, shift, log_s)
        x2.requires_grad_()
        return (z1, x2), torch.cat([z1, self._apply_to(x2, shift, log_s)], 1), spatial_sum(log_s)
