"""An invertible layer for what varies together over the whole image: a covariance of the form I + UᵀU."""

from __future__ import annotations

import torch
from torch import Tensor

from .transform import Transform, in_float32

__all__ = ["LowRankWhitening"]


class LowRankWhitening(Transform):
    """``z = S⁻¹x`` with ``S Sᵀ = I + UᵀU``: of x with that covariance, z has the identity.

    The rows of U are K patterns of the image, given from outside; what lies across them stays as it is. With the
    Cholesky factor of the K × K matrix ``I + UUᵀ = LLᵀ``

        S = I + Uᵀ (L + I)⁻¹ U,    S⁻¹ = I − Uᵀ (L (I + Lᵀ))⁻¹ U,    log|det S| = Σ log L_kk

    (multiply out: with C = (L + I)⁻¹, CL = I − C). Both directions cost K products with the image. 0 stays 0.
    """

    @staticmethod
    def _prepared(x: Tensor, patterns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """U ``(B, K, n)``, L, I (both K × K) and Ux, in float64.

        What 100 000 voxels have in common is scaled a thousandfold, and so is the rounding of UUᵀ.
        """
        rows = patterns.flatten(2).double()
        gram = rows @ rows.mT
        eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return rows, torch.linalg.cholesky(gram + eye), eye, rows @ x.double().flatten(1)[:, :, None]

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
        return x - (rows.mT @ scores).reshape(x.shape).to(x.dtype), log_det.to(x.dtype).expand(len(x))

    @in_float32
    def inverse(self, z: Tensor, context: Tensor) -> Tensor:
        rows, lower, eye, scores = self._prepared(z, context)
        scores = torch.linalg.solve_triangular(lower + eye, scores, upper=False)
        return z + (rows.mT @ scores).reshape(z.shape).to(z.dtype)
