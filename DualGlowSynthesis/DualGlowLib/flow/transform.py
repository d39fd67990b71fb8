"""What every invertible layer is: a map with an inverse and the log-determinant of its Jacobian."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

__all__ = ["ConditionalAffine", "Transform", "full", "in_float32", "initialize", "spatial_sum"]


def full(x: Tensor) -> Tensor:
    """``x`` in float32 if it came in half precision, else as it is."""
    return x.float() if x.dtype.itemsize < 4 else x


@contextmanager
def _exact_products() -> Iterator[None]:
    """Matrix products of float32 numbers in float32, where TF32 or bfloat16 would otherwise be allowed for them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_float32(function: Callable) -> Callable:
    """Let a function of tensors, or a method, compute in float32 at least, also under mixed precision and TF32.

    What such a layer does must be undone to the last digits, and its log-determinant is a sum over every voxel: half
    precision is for the networks inside couplings alone, which the inverse evaluates as forward did.
    """

    @functools.wraps(function)
    def guarded(*arguments: object) -> object:
        arguments = [full(argument) if isinstance(argument, Tensor) else argument for argument in arguments]
        device = next(argument for argument in arguments if isinstance(argument, Tensor)).device.type
        mixed = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        products = nullcontext() if torch.get_float32_matmul_precision() == "highest" else _exact_products()
        with torch.autocast(device, enabled=False) if mixed else nullcontext(), products:
            return function(*arguments)

    return guarded


class Transform(nn.Module):
    """An invertible layer on tensors of shape ``(batch, channels, *spatial)``, spatial of 2 or 3 dimensions."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns ``z`` and log|det dz/dx| of shape ``(batch,)``."""
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the ``x`` that ``forward`` maps to ``z`` under the same ``context``."""
        raise NotImplementedError

    def layers(self) -> Sequence[Transform]:
        """The layers that it is made of, in order; itself if it is one."""
        return (self,)

    def retrace(self, z: Tensor, context: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Go back and forth: the input from the output, and ``forward`` on it once more, with gradients.

        ``reversible`` calls it with gradients on. A layer that evaluates a network should do so once, for both ways.

        Returns:
            The input, as parts that require gradients and, joined along the channels, make it up; ``z`` and the
            log-determinant computed from them.
        """
        with torch.no_grad():
            x = self.inverse(z, context)
        x.requires_grad_()
        return ((x,), *self.forward(x, context))


def spatial_sum(values: Tensor) -> Tensor:
    """Sum over all but the batch axis, in float32 at least (log-determinants lose digits in half precision)."""
    return full(values).flatten(1).sum(1)


def _joined(parts: Sequence) -> object:
    """The same argument of several batches as one: tensors joined, lists entry by entry, anything else the first."""
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return [_joined(entries) for entries in zip(*parts, strict=True)] if isinstance(parts[0], list) else parts[0]


def _tensors(arguments: Sequence) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif isinstance(argument, list):
            yield from _tensors(argument)


def _selected(argument: object, rows: Tensor) -> object:
    if isinstance(argument, list):
        return [_selected(entry, rows) for entry in argument]
    return argument[rows] if isinstance(argument, Tensor) else argument


def initialize(module: nn.Module, batches: Iterable[tuple], call: str = "forward") -> None:
    """Data-dependent initialisation (Glow §3.1) of every layer of ``module`` that has one.

    Layers are set in the order in which the data meet them, each from what the layers before it, already set, let
    through. Several batches are joined first, because the statistics of one volume at the top level (a hundred
    voxels a channel) are too noisy.

    Args:
        module: a network holding layers with a ``begin_initialization`` method (``ActNorm``, ``NormConv``).
        batches: argument tuples for ``module``; tensors in them, and in lists in them, are joined along the batch
            axis. Cases that hold a value that is not finite are left out: one would spoil every layer for good.
        call: the method of ``module`` to run.

    Raises:
        ValueError: if no case is left.
    """
    joined = [_joined(parts) for parts in zip(*batches, strict=True)]
    sound = torch.stack([x.flatten(1).isfinite().all(1) for x in _tensors(joined)]).all(0)
    if not sound.any():
        raise ValueError("Every case to initialise with holds values that are not finite (NaN or infinity).")
    joined = _selected(joined, sound)
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

    @in_float32
    def forward(self, x: Tensor, context: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        mean, log_scale = map(full, context)
        return (x - mean) * torch.exp(-log_scale), -spatial_sum(log_scale.expand_as(x))

    @in_float32
    def inverse(self, z: Tensor, context: tuple[Tensor, Tensor]) -> Tensor:
        mean, log_scale = map(full, context)
        return z * torch.exp(log_scale) + mean
