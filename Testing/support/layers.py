"""What tests of invertible layers share: weights off their start, and log-determinants by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["jacobian_log_det", "off_start"]

Module = TypeVar("Module", bound=nn.Module)


def off_start(module: Module, size: float = 0.1, seed: int = 1) -> Module:
    """The module, every parameter off its start: at zero-initialised couplings most defects can't show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return module


def jacobian_log_det(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """log|det| of a map of one image by autograd; it may return any tensor of as many numbers."""
    jacobian = torch.autograd.functional.jacobian(lambda v: function(v.reshape(x.shape)).flatten(), x.flatten())
    return torch.linalg.slogdet(jacobian).logabsdet
