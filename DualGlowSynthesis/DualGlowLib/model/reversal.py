"""Gradient reversal (Ganin & Lempitsky 2015): identity forward, the gradient times −factor backward."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["reversal_factor", "reverse_gradient"]


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


def reverse_gradient(x: Tensor, factor: float = 1.0) -> Tensor:
    """``x``; what lies behind it is trained to make worse what lies before it. At factor 0 no gradient passes."""
    return _Reversal.apply(x, factor)


def reversal_factor(schedule: str, progress: float) -> float:
    """1 (``"constant"``), or 2/(1 + exp(−10p)) − 1 (``"ramp"``) when the share p, 0 to 1, of the training is done."""
    return 1.0 if schedule == "constant" else 2 / (1 + math.exp(-10 * progress)) - 1
