"""The orthonormal cosine transform over space, as an invertible layer."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .transform import Transform, in_float32

__all__ = ["CosineTransform"]


@lru_cache
@torch.inference_mode(False)  # kept for training too, whoever asks first
def _dct_matrix(size: int) -> Tensor:
    """Rows are the orthonormal DCT-II basis of ``size`` points, float64."""
    k = torch.arange(size, dtype=torch.float64)[:, None]
    x = torch.arange(size, dtype=torch.float64)[None]
    matrix = torch.cos(math.pi * k * (2 * x + 1) / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


class CosineTransform(Transform):
    """DCT-II along every spatial axis; orthonormal, so the log-determinant is 0.

    At the top of a flow it turns what all places share (the uptake of the whole brain is high or low) into one
    coefficient, to which a prior with a variance per coefficient can give the variance that it has. Without it, a
    diagonal prior takes the places for independent, and the means over regions come out far too certain.
    """

    def _apply_along(self, x: Tensor, transpose: bool) -> Tensor:
        for axis in range(2, x.dim()):
            matrix = _dct_matrix(x.shape[axis]).to(x)
            x = torch.tensordot(x, matrix.T if not transpose else matrix, dims=([axis], [0])).movedim(-1, axis)
        return x

    @in_float32
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_along(x, transpose=False), x.new_zeros(x.shape[0])

    @in_float32
    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self._apply_along(z, transpose=True)
