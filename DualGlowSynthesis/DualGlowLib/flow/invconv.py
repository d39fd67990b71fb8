"""Invertible 1×1 convolutions: a learned linear mixing of the channels (Glow, §3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .transform import Transform

__all__ = ["DenseConv", "PLUConv"]


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """``matrix`` (out, in) applied to the channels of ``x`` at every voxel."""
    return torch.matmul(matrix, x.flatten(2)).reshape(x.shape)


def _random_rotation(channels: int, generator: torch.Generator | None) -> Tensor:
    return torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64, generator=generator))[0]


class _Mixing(Transform):
    """Common part: subclasses give the matrix and its log|det|; the inverse is kept while weights stand still."""

    def __init__(self) -> None:
        super().__init__()
        self._inverse: tuple[tuple, Tensor] | None = None

    def matrix(self) -> Tensor:
        raise NotImplementedError

    def log_abs_det(self) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = self.log_abs_det() * math.prod(x.shape[2:])
        return _mix(self.matrix().to(x.dtype), x), log_det.to(x.dtype).expand(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        # Inverted in float64 and kept until a weight changes: sampling calls this many times with equal weights.
        key = tuple((p.data_ptr(), None if p.is_inference() else p._version, p.device) for p in self.parameters())
        if torch.is_grad_enabled() or self._inverse is None or self._inverse[0] != key:
            self._inverse = (key, torch.linalg.inv(self.matrix().double()))
        inverse = self._inverse[1]
        if torch.is_grad_enabled():
            self._inverse = None  # it belongs to a graph
        return _mix(inverse.to(z.dtype), z)


class DenseConv(_Mixing):
    """A free square matrix, first a random rotation; log|det| by LU in float64 at every call."""

    def __init__(self, channels: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(_random_rotation(channels, generator).float())

    def matrix(self) -> Tensor:
        return self.weight

    def log_abs_det(self) -> Tensor:
        return torch.linalg.slogdet(self.weight.double()).logabsdet


class PLUConv(_Mixing):
    """The same matrix as P·L·(U + diag(sign · exp(log_s))): its log|det| is Σ log_s, and it can't become singular.

    P and the signs stay as they are at the start; the log-scales are bounded softly at ±``bound`` so that neither
    direction can explode.
    """

    def __init__(self, channels: int, generator: torch.Generator | None = None, bound: float = 3.0) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(_random_rotation(channels, generator))
        diagonal = upper.diagonal()
        self.bound = bound
        self.register_buffer("permutation", permutation.float())
        self.register_buffer("sign", diagonal.sign().float())
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        start = diagonal.abs().log().clamp(-0.95 * bound, 0.95 * bound)
        self.log_s = nn.Parameter((bound * torch.atanh(start / bound)).float())

    def _log_s(self) -> Tensor:
        return self.bound * torch.tanh(self.log_s / self.bound)

    def matrix(self) -> Tensor:
        lower = self.lower.tril(-1) + torch.eye(len(self.sign), device=self.lower.device, dtype=self.lower.dtype)
        upper = self.upper.triu(1) + torch.diag(self.sign * self._log_s().exp())
        return self.permutation @ lower @ upper

    def log_abs_det(self) -> Tensor:
        return self._log_s().sum()
