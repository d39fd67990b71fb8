"""ActNorm: a scale and a shift per channel, first set from data (Kingma & Dhariwal 2018, Glow, §3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .transform import Transform, full, in_float32

__all__ = ["LOG_SCALE_FACTOR", "ActNorm", "channel_statistics"]

LOG_SCALE_FACTOR = 3.0
"""Stored log-scales are a third of those applied, as in Glow: their effective learning rate is three times higher."""

_MAX_LOG_SCALE = 6.0  # a channel that is nearly constant in the first batch must not be blown up beyond e^6
_LIMIT = 8.0  # nor any channel beyond e^8, or below e^-8, by training: the inverse would not be finite any more


def channel_statistics(x: Tensor, centred: bool = False) -> tuple[Tensor, Tensor]:
    """Shift and stored log-scale that give each channel of ``x`` mean 0 and variance 1; both of shape (channels,).

    With ``centred`` the shift is 0 and the scale gives a mean square of 1.
    """
    x = full(x)
    axes = [0, *range(2, x.dim())]
    mean = x.mean(axes) * (0.0 if centred else 1.0)
    power = (x - mean.reshape(1, -1, *[1] * (x.dim() - 2))).square().mean(axes)
    log_scale = -torch.log(power.sqrt() + 1e-6)
    return -mean, log_scale.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE) / LOG_SCALE_FACTOR


class ActNorm(Transform):
    """``z = (x + bias) · exp(3 · log_scale)`` per channel; log-determinant = voxels × Σ 3 · log_scale.

    ``initialized`` is a saved buffer: a model that was loaded is not set from data again.

    Args:
        channels: of x.
        dims: 2 or 3.
        centred: no bias, so that 0 stays 0.
    """

    def __init__(self, channels: int, dims: int, centred: bool = False) -> None:
        super().__init__()
        shape = (1, channels, *[1] * dims)
        self.centred = centred
        self.bias = None if centred else nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))
        self.register_buffer("initialized", torch.tensor(False))
        self.initializing = False

    def begin_initialization(self) -> None:
        self.initializing = not bool(self.initialized)

    def _initialize(self, x: Tensor) -> None:
        bias, log_scale = channel_statistics(x, self.centred)
        if not self.centred:
            self.bias.data.copy_(bias.reshape(self.bias.shape))
        self.log_scale.data.copy_(log_scale.reshape(self.log_scale.shape))
        self.initialized.fill_(True)
        self.initializing = False

    def _applied_log_scale(self) -> Tensor:
        return (LOG_SCALE_FACTOR * self.log_scale).clamp(-_LIMIT, _LIMIT)

    @in_float32
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.initializing:
            self._initialize(x)
        log_scale = self._applied_log_scale()
        log_det = log_scale.sum() * math.prod(x.shape[2:])
        x = x if self.centred else x + self.bias
        return x * log_scale.exp(), log_det.expand(x.shape[0])

    @in_float32
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        x = z * torch.exp(-self._applied_log_scale())
        return x if self.centred else x - self.bias
