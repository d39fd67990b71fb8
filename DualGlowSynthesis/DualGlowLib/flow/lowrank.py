"""An invertible layer for what varies together over the whole image: a covariance of the form I + UᵀU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .transform import Transform, in_float32

__all__ = ["LowRankWhitening"]

_Small = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_PIECE = 1 << 18  # elements that are in float64 at a time: they stay in a processor's cache


def _pieces(rows: Tensor) -> Iterator[slice]:
    voxels = max(1, _PIECE // (rows.shape[0] * rows.shape[1])) if rows.device.type == "cpu" else _PIECE
    for start in range(0, rows.shape[-1], voxels):
        yield slice(start, start + voxels)


def _products(rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """``UUᵀ`` and ``Ux`` in float64, of U ``(B, K, n)`` and x ``(B, 1, n)``."""
    count = rows.shape[1]
    gram = rows.new_zeros((len(rows), count, count), dtype=torch.float64)
    scores = gram.new_zeros((len(rows), count, 1))
    for piece in _pieces(rows):
        some = rows[..., piece].double()
        gram += some @ some.mT
        scores += some @ x[..., piece].double().mT
    return gram, scores


class _AlongPatterns(torch.autograd.Function):
    """``x + sᵀU`` and a log-determinant, where ``small(UUᵀ, Ux)`` gives s ``(B, K, 1)`` and that; x ``(B, 1, n)``.

    What 100 000 voxels have in common is scaled a thousandfold, and so is the rounding of these products: they are
    summed in float64. But K images in float64, and as many for their gradient, would be most of what a training step
    holds, so they are so a piece at a time, and the gradient of U is written once.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, x: Tensor, small: _Small) -> tuple[Tensor, Tensor]:
        gram, scores = _products(rows, x)
        ctx.save_for_backward(rows, x, gram, scores)
        ctx.small = small
        scores, log_det = small(gram, scores)
        out = torch.empty_like(x)
        for piece in _pieces(rows):
            out[..., piece] = x[..., piece] + scores.mT @ rows[..., piece].double()
        return out, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, to_out: Tensor, to_log_det: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, x, gram, scores = ctx.saved_tensors
        to_solved = torch.zeros_like(scores)
        for piece in _pieces(rows):
            to_solved += rows[..., piece].double() @ to_out[..., piece].double().mT
        with torch.enable_grad():
            inputs = [one.detach().requires_grad_() for one in (gram, scores)]
            solved, log_det = ctx.small(*inputs)
            # A sum, not gradients handed over: to compare the shapes of those, torch loads a package of a second.
            total = (solved * to_solved).sum() + (log_det * to_log_det).sum()
            to_gram, to_scores = torch.autograd.grad(total, inputs)
        factors = torch.cat([to_gram + to_gram.mT, to_scores, solved.detach()], -1)
        to_rows, to_x = torch.empty_like(rows), torch.empty_like(x)
        for piece in _pieces(rows):
            some, change = rows[..., piece].double(), to_out[..., piece].double()
            to_rows[..., piece] = factors @ torch.cat([some, x[..., piece].double(), change], -2)
            to_x[..., piece] = change + to_scores.mT @ some
        return to_rows, to_x, None


class LowRankWhitening(Transform):
    """``z = S⁻¹x`` with ``S Sᵀ = I + UᵀU``: of x with that covariance, z has the identity.

    The rows of U are K patterns of the image, given from outside; what lies across them stays as it is. With the
    Cholesky factor of the K × K matrix ``I + UUᵀ = LLᵀ``

        S = I + Uᵀ (L + I)⁻¹ U,    S⁻¹ = I − Uᵀ (L (I + Lᵀ))⁻¹ U,    log|det S| = Σ log L_kk

    (multiply out: with C = (L + I)⁻¹, CL = I − C). Both directions cost K products with the image. 0 stays 0.
    """

    def scores(self, x: Tensor, patterns: Tensor) -> Tensor:
        """How much of each pattern is in x, ``(B, K)``, float64: of variance 1 where x is white, if they are strong.

        Without a gradient.
        """
        with torch.no_grad():
            gram, scores = _products(*_flat(x, patterns))
            return torch.linalg.solve_triangular(_factor(gram), scores, upper=False)[..., 0]

    @in_float32
    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Args: x ``(B, C, *spatial)``; context: the patterns, ``(B or 1, K, C, *spatial)``."""
        z, log_det = _AlongPatterns.apply(*_flat(x, context), _white)
        return z.reshape(x.shape), log_det.to(x.dtype)

    @in_float32
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        return _AlongPatterns.apply(*_flat(z, context), _coloured)[0].reshape(z.shape)


def _flat(x: Tensor, patterns: Tensor) -> tuple[Tensor, Tensor]:
    """U ``(B, K, n)`` and x ``(B, 1, n)``."""
    return patterns.flatten(2).expand(len(x), -1, -1), x.flatten(1)[:, None]


def _factor(gram: Tensor) -> Tensor:
    return torch.linalg.cholesky(gram + torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device))


def _white(gram: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    lower = _factor(gram)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    scores = torch.linalg.solve_triangular(lower, scores, upper=False)
    return (
        -torch.linalg.solve_triangular(lower.mT + eye, scores, upper=True),
        -lower.diagonal(dim1=-2, dim2=-1).log().sum(-1),
    )


def _coloured(gram: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    lower = _factor(gram)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    solved = torch.linalg.solve_triangular(lower + eye, scores, upper=False)
    return solved, lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
