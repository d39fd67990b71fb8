"""Space to channels: every block of 2^n voxels becomes 2^n channels of one voxel (n = 2 or 3)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .transform import in_float32

__all__ = ["haar_squeeze", "haar_unsqueeze", "squeeze", "unsqueeze"]


def squeeze(x: Tensor) -> Tensor:
    """``(B, C, 2X, 2Y[, 2Z])`` to ``(B, C·2^n, X, Y[, Z])``.

    Channels are ordered (c, dx, dy, dz) with c slowest, as ``torch.nn.functional.pixel_unshuffle`` has them in 2-D. A
    reordering: the log-determinant is 0.

    Raises:
        ValueError: if a side is odd.
    """
    batch, channels, *space = x.shape
    n = len(space)
    if any(side % 2 for side in space):
        raise ValueError(f"Sides {tuple(space)} must be even to be squeezed.")
    x = x.reshape(batch, channels, *(part for side in space for part in (side // 2, 2)))
    x = x.permute(0, 1, *range(3, 3 + 2 * n, 2), *range(2, 2 + 2 * n, 2))
    return x.reshape(batch, channels * 2**n, *(side // 2 for side in space))


def unsqueeze(x: Tensor) -> Tensor:
    """Inverse of ``squeeze``."""
    batch, channels, *space = x.shape
    n = len(space)
    x = x.reshape(batch, channels // 2**n, *([2] * n), *space)
    x = x.permute(0, 1, *(axis for i in range(n) for axis in (2 + n + i, 2 + i)))
    return x.reshape(batch, channels // 2**n, *(2 * side for side in space))


@lru_cache
@torch.inference_mode(False)  # kept for training too, whoever asks first
def _haar_matrix(n: int) -> Tensor:
    one = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)
    matrix = one
    for _ in range(n - 1):
        matrix = torch.kron(matrix, one)
    return matrix


@in_float32
def haar_squeeze(x: Tensor) -> Tensor:
    """``squeeze`` followed by the orthonormal n-D Haar transform of each block.

    Channels are ordered (band, c), the mean band first, so that a split by halves keeps the coarse content in the
    half that goes on. The transform is orthonormal: the log-determinant is 0.
    """
    n = x.dim() - 2
    y = squeeze(x)
    batch, _, *space = y.shape
    y = y.reshape(batch, x.shape[1], 2**n, *space)
    return torch.einsum("sb,kcb...->ksc...", _haar_matrix(n).to(x), y).reshape(batch, -1, *space)


@in_float32
def haar_unsqueeze(y: Tensor) -> Tensor:
    """Inverse of ``haar_squeeze``."""
    n = y.dim() - 2
    batch, channels, *space = y.shape
    y = y.reshape(batch, 2**n, channels // 2**n, *space)
    return unsqueeze(torch.einsum("sb,ksc...->kcb...", _haar_matrix(n).to(y), y).reshape(batch, channels, *space))
