"""Training memory that does not grow with depth: each step's input is computed again from its output, going back.

A flow loses nothing, so what the backward pass needs of a step, its input and what its network makes of that, can be
had from the step's output (Gomez et al. 2017, RevNet; Dinh et al. 2015, NICE). A run of steps then keeps its last
output only, whatever its length, for one more evaluation of every network. The inputs come back with the rounding of
the inverse, and so do the gradients; ``Testing/benchmarks/memory.py`` prints by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from .transform import Transform

__all__ = ["MEMORY_MODES", "run_steps", "set_memory"]

MEMORY_MODES = ("plain", "checkpoint", "invertible")
"""What a flow keeps for the backward pass: every activation; each step's input; each level's output alone."""


def set_memory(module: nn.Module, mode: str) -> None:
    """Let every flow inside ``module`` train with the given one of ``MEMORY_MODES``.

    It changes how gradients are computed, not what is: it is no part of a configuration or a saved model.

    Raises:
        ValueError: for a mode that there is not.
    """
    if mode not in MEMORY_MODES:
        raise ValueError(f"There is no memory mode {mode!r}; there are {', '.join(MEMORY_MODES)}.")
    for part in module.modules():
        if hasattr(part, "memory_mode"):
            part.memory_mode = mode


def run_steps(steps: Sequence[Transform], x: Tensor, context: Tensor | None, mode: str) -> tuple[Tensor, Tensor]:
    """``x`` through all ``steps`` under one context; ``z`` and log|det| of shape ``(B,)``.

    Without gradients, as when sampling or setting ActNorms from data, every mode is the plain one.
    """
    if mode == "invertible" and torch.is_grad_enabled() and len(steps):
        return _Reversible.apply(steps, x, context, *_parameters(steps))
    log_det = x.new_zeros(x.shape[0])
    for step in steps:
        if mode == "checkpoint" and torch.is_grad_enabled():
            x, change = checkpoint(step, x, context, use_reentrant=False, preserve_rng_state=False)
        else:
            x, change = step(x, context)
        log_det = log_det + change
    return x, log_det


class _Reversible(torch.autograd.Function):
    """A run of steps that keeps its output and goes back through it layer by layer."""

    @staticmethod
    def forward(ctx, steps: Sequence[Transform], x: Tensor, context: Tensor | None, *parameters: Tensor):
        ctx.steps = steps
        ctx.precision = _current_precision(x.device.type)
        with torch.no_grad():
            z, log_det = run_steps(steps, x, context, "plain")
        # The parameters are kept so that autograd notices if one is changed before the backward pass.
        ctx.save_for_backward(z, context, *parameters)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_z: Tensor, grad_log_det: Tensor):
        z, context, *_ = ctx.saved_tensors
        back = _Back(grad_log_det, context, ctx.needs_input_grad[2])
        # The networks must compute again what they did: in the same precision.
        with ctx.precision():
            for step in reversed(ctx.steps):
                for layer in reversed(step.layers()):
                    z, grad_z = back(layer, z, grad_z)
        parameters = _parameters(ctx.steps)
        return None, grad_z, back.gradients.get(None), *(back.gradients.get(parameter) for parameter in parameters)


class _Back:
    """One layer back at a time; collects the gradients of parameters, and of the context under the key None."""

    def __init__(self, grad_log_det: Tensor, context: Tensor | None, context_learns: bool) -> None:
        self.grad_log_det, self.context, self.context_learns = grad_log_det, context, context_learns
        self.gradients: dict[nn.Parameter | None, Tensor] = {}

    def __call__(self, layer: Transform, z: Tensor, grad_z: Tensor) -> tuple[Tensor, Tensor]:
        """Input of ``layer`` and the loss's gradient there, from both at its output."""
        context = None if self.context is None else self.context.detach().requires_grad_(self.context_learns)
        with torch.enable_grad():
            parts, *outputs = layer.retrace(z.detach(), context)
        wanted = {parameter: parameter for parameter in layer.parameters() if parameter.requires_grad}
        if self.context_learns:
            wanted[None] = context
        pairs = zip(outputs, (grad_z, self.grad_log_det), strict=True)
        outputs, weights = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
        found = torch.autograd.grad(outputs, [*parts, *wanted.values()], weights, allow_unused=True)
        for key, gradient in zip(wanted, found[len(parts) :], strict=True):
            if gradient is not None:
                self.gradients[key] = self.gradients[key] + gradient if key in self.gradients else gradient
        return torch.cat([part.detach() for part in parts], 1), torch.cat(found[: len(parts)], 1)


def _parameters(steps: Sequence[Transform]) -> list[nn.Parameter]:
    return list(dict.fromkeys(parameter for step in steps for parameter in step.parameters()))


def _current_precision(device: str) -> Callable:
    """Makes contexts with the automatic mixed precision that holds now."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext
    dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    return partial(torch.autocast, device, dtype=dtype, enabled=enabled)
