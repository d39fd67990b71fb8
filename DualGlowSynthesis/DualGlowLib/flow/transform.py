"""What every invertible layer is: a map with an inverse and the log-determinant of its Jacobian."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["ConditionalAffine", "Transform", "initialize", "spatial_sum"]


class Transform(nn.Module):
    """An invertible layer on tensors of shape ``(batch, channels, *spatial)``, spatial of 2 or 3 dimensions."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and log|det dz/dx| of shape ``(batch,)``."""
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the ``x`` that ``forward`` maps to ``z`` under the same ``context``."""
        raise NotImplementedError


def spatial_sum(values: Tensor) -> Tensor:
    """Sum over all but the batch axis, in float32 at least (log-determinants lose digits in half precision)."""
    return values.float().flatten(1).sum(1) if values.dtype.itemsize < 4 else values.flatten(1).sum(1)


def initialize(module: nn.Module, batches: Iterable[tuple], call: str = "forward") -> None:
    """Data-dependent initialisation (Glow §3.1) of every layer of ``module`` that has one.

    Layers are set in the order in which the data meet them, each from what the layers before it, already set, let
    through. Several batches are joined first, because the statistics of one volume at the top level (a hundred
    voxels a channel) are too noisy.

    Args:
        module: a network holding layers with a ``begin_initialization`` method (``ActNorm``, ``NormConv``).
        batches: argument tuples for ``module``; tensors in them are joined along the batch axis.
        call: the method of ``module`` to run.
    """
    batches = list(batches)
    joined = [torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0] for parts in zip(*batches, strict=True)]
    layers = [layer for layer in module.modules() if hasattr(layer, "begin_initialization")]
    for layer in layers:
        layer.begin_initialization()
    try:
        with torch.no_grad():
            getattr(module, call)(*joined)
    finally:
        for layer in layers:
            layer.initializing = False


class ConditionalAffine(Transform):
    """``z = (x − mean) · exp(−log_scale)`` with mean and log-scale given from outside.

    It standardises an image by what is expected of it. Both parameters come from the condition alone, so that the
    determinant is exact: ``−Σ log_scale``.
    """

    def forward(self, x: Tensor, context: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_scale = context
        return (x - mean) * torch.exp(-log_scale), -spatial_sum(log_scale.expand_as(x))

    def inverse(self, z: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        mean, log_scale = context
        return z * torch.exp(log_scale) + mean
