"""Invertible 1×1 convolutions: a learned linear mixing of the channels (Glow, §3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .transform import Transform, in_float32

__all__ = ["DenseConv", "PLUConv", "RotationConv"]


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """``matrix`` (out, in) applied to the channels of ``x`` at every voxel."""
    return torch.matmul(matrix, x.flatten(2)).reshape(x.shape)


def _random_rotation(channels: int, generator: torch.Generator | None, still: int) -> Tensor:
    """A random rotation of all channels but the first ``still``, float64."""
    turned = channels - still
    rotation = torch.eye(channels, dtype=torch.float64)
    rotation[still:, still:] = torch.linalg.qr(torch.randn(turned, turned, dtype=torch.float64, generator=generator))[0]
    return rotation


class _Mixing(Transform):
    """Common part: subclasses give the matrix and its log|det|; the inverse is kept while weights stand still.

    Args of all: channels; generator: of the rotation that it starts with; still: so many of the first channels are left
    out of it (they start as they are, and learn to mix like the others).
    """

    def __init__(self) -> None:
        super().__init__()
        self._inverse: tuple[tuple, Tensor] | None = None

    def matrix(self) -> Tensor:
        raise NotImplementedError

    def log_abs_det(self) -> Tensor:
        raise NotImplementedError

    def inverse_matrix(self, matrix: Tensor) -> Tensor:
        """Of ``self.matrix()``, in float64."""
        return torch.linalg.inv_ex(matrix.double()).inverse

    @in_float32
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._mixed(self.matrix(), x)

    def _mixed(self, matrix: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self.log_abs_det() * math.prod(x.shape[2:])
        return _mix(matrix.to(x.dtype), x), log_det.to(x.dtype).expand(x.shape[0])

    @in_float32
    def retrace(self, z: Tensor, context: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        matrix = self.matrix()
        with torch.no_grad():  # not kept: in training it serves once
            x = _mix(self.inverse_matrix(matrix).to(z.dtype), z)
        x.requires_grad_()
        return ((x,), *self._mixed(matrix, x))

    @in_float32
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        # Inverted once and kept until a weight changes: sampling calls this many times with equal weights.
        key = tuple((p.data_ptr(), None if p.is_inference() else p._version, p.device) for p in self.parameters())
        if torch.is_grad_enabled() or self._inverse is None or self._inverse[0] != key:
            self._inverse = (key, self.inverse_matrix(self.matrix()))
        inverse = self._inverse[1]
        if torch.is_grad_enabled():
            self._inverse = None  # it belongs to a graph
        return _mix(inverse.to(z.dtype), z)


class DenseConv(_Mixing):
    """A free square matrix, first a random rotation; log|det| by LU in float64 at every call."""

    def __init__(self, channels: int, generator: torch.Generator | None = None, still: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(_random_rotation(channels, generator, still).float())

    def matrix(self) -> Tensor:
        return self.weight

    def log_abs_det(self) -> Tensor:
        return torch.linalg.slogdet(self.weight.double()).logabsdet


class PLUConv(_Mixing):
    """The same matrix as P·L·(U + diag(sign · exp(log_s))): its log|det| is Σ log_s, and it can't become singular.

    P and the signs stay as they are at the start; the log-scales are bounded softly at ±``bound`` so that neither
    direction can explode.
    """

    def __init__(
        self, channels: int, generator: torch.Generator | None = None, still: int = 0, bound: float = 3.0
    ) -> None:
        super().__init__()
        permutation, lower, upper = torch.linalg.lu(_random_rotation(channels, generator, still))
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


class RotationConv(_Mixing):
    """A rotation, ``exp(A − Aᵀ)``: the log-determinant is 0, the inverse is the transpose.

    Nothing is stretched, so nothing gets lost: what comes back has the digits that went in. With free matrices a flow
    whose own likelihood counts little, as the MRI's (λ = 0.001), learns to press some directions flat.
    """

    def __init__(self, channels: int, generator: torch.Generator | None = None, still: int = 0) -> None:
        super().__init__()
        # The spread that turns the planes of the rotation by all angles from −π to π.
        weight = 1.1 / math.sqrt(channels) * torch.randn(channels, channels, generator=generator)
        weight[:still], weight[:, :still] = 0, 0
        self.weight = nn.Parameter(weight)

    def matrix(self) -> Tensor:
        return torch.matrix_exp((self.weight - self.weight.T).double())  # in float32 it is no rotation to 1e-5

    def log_abs_det(self) -> Tensor:
        return self.weight.new_zeros(())

    def inverse_matrix(self, matrix: Tensor) -> Tensor:
        return matrix.T
