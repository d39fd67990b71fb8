"""An invertible layer for what varies together over the whole image: a covariance of the form I + UᵀU."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .transform import Transform, in_float32

__all__ = ["LowRankWhitening"]

_PIECE = 1 << 18  # elements that are in float64 at a time: they stay in a processor's cache


def _pieces(rows: Tensor) -> Iterator[slice]:
    voxels = max(1, _PIECE // (rows.shape[0] * rows.shape[1])) if rows.device.type == "cpu" else _PIECE
    for start in range(0, rows.shape[-1], voxels):
        yield slice(start, start + voxels)


class _Products(torch.autograd.Function):
    """``UUᵀ`` and ``Ux`` in float64, of U ``(B, K, n)`` and x ``(B, 1, n)``.

    What 100 000 voxels have in common is scaled a thousandfold, and so is the rounding of these products; but K images
    in float64, and as many for their gradient, would be most of what a training step holds.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows, x)
        count = rows.shape[1]
        gram = rows.new_zeros((len(rows), count, count), dtype=torch.float64)
        scores = gram.new_zeros((len(rows), count, 1))
        for piece in _pieces(rows):
            some = rows[..., piece].double()
            gram += some @ some.mT
            scores += some @ x[..., piece].double().mT
        return gram, scores

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, to_gram: Tensor, to_scores: Tensor) -> tuple[Tensor, Tensor]:
        rows, x = ctx.saved_tensors
        to_rows, to_x = torch.empty_like(rows), torch.empty_like(x)
        twice = to_gram + to_gram.mT
        for piece in _pieces(rows):
            some = rows[..., piece].double()
            to_rows[..., piece] = twice @ some + to_scores @ x[..., piece].double()
            to_x[..., piece] = to_scores.mT @ some
        return to_rows, to_x


class _Combination(torch.autograd.Function):
    """``sᵀU``, ``(B, 1, n)`` of U's precision, of U ``(B, K, n)`` and float64 s ``(B, K, 1)``."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, scores: Tensor) -> Tensor:
        ctx.save_for_backward(rows, scores)
        out = rows.new_empty((len(rows), 1, rows.shape[2]))
        for piece in _pieces(rows):
            out[..., piece] = scores.mT @ rows[..., piece].double()
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, to_out: Tensor) -> tuple[Tensor, Tensor]:
        rows, scores = ctx.saved_tensors
        to_rows, to_scores = torch.empty_like(rows), torch.zeros_like(scores)
        for piece in _pieces(rows):
            some = to_out[..., piece].double()
            to_rows[..., piece] = scores @ some
            to_scores += rows[..., piece].double() @ some.mT
        return to_rows, to_scores


class LowRankWhitening(Transform):
    """``z = S⁻¹x`` with ``S Sᵀ = I + UᵀU``: of x with that covariance, z has the identity.

    The rows of U are K patterns of the image, given from outside; what lies across them stays as it is. With the
    Cholesky factor of the K × K matrix ``I + UUᵀ = LLᵀ``

        S = I + Uᵀ (L + I)⁻¹ U,    S⁻¹ = I − Uᵀ (L (I + Lᵀ))⁻¹ U,    log|det S| = Σ log L_kk

    (multiply out: with C = (L + I)⁻¹, CL = I − C). Both directions cost K products with the image. 0 stays 0.
    """

    @staticmethod
    def _prepared(x: Tensor, patterns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """U ``(B, K, n)``; L, I (both K × K) and Ux in float64."""
        rows = patterns.flatten(2).expand(len(x), -1, -1)
        gram, scores = _Products.apply(rows, x.flatten(1)[:, None])
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return rows, torch.linalg.cholesky(gram + eye), eye, scores

    def scores(self, x: Tensor, patterns: Tensor) -> Tensor:
        """How much of each pattern is in x, ``(B, K)``, float64: of variance 1 where x is white, if they are strong."""
        _, lower, _, scores = self._prepared(x, patterns)
        return torch.linalg.solve_triangular(lower, scores, upper=False)[..., 0]

    @in_float32
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Args: x ``(B, C, *spatial)``; context: the patterns, ``(B or 1, K, C, *spatial)``."""
        rows, lower, eye, scores = self._prepared(x, context)
        scores = torch.linalg.solve_triangular(lower, scores, upper=False)
        scores = torch.linalg.solve_triangular(lower.mT + eye, scores, upper=True)
        log_det = -lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return x - _Combination.apply(rows, scores).reshape(x.shape), log_det.to(x.dtype)

    @in_float32
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        rows, lower, eye, scores = self._prepared(z, context)
        scores = torch.linalg.solve_triangular(lower + eye, scores, upper=False)
        return z + _Combination.apply(rows, scores).reshape(z.shape)
