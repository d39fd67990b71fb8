"""Mixed precision of a step, and the objective of a batch that was computed in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields

import torch
from torch import Tensor

from ..model import Objective

__all__ = ["in_precision", "joined_objective", "precision_note"]


def in_precision(name: str, device: torch.device) -> AbstractContextManager:
    """Where networks compute in ``name``: on a GPU, torch's automatic mixed precision for "bf16".

    Invertible layers, log-determinants and the densities see to float32 themselves (``flow.in_float32``); weights,
    gradients and moments are float32 throughout, and bfloat16 has the exponents of float32, so that no loss has to be
    scaled.
    """
    return torch.autocast("cuda", dtype=torch.bfloat16) if name == "bf16" and device.type == "cuda" else nullcontext()


def precision_note(name: str, device: torch.device) -> str:
    """What a user should know of the precision on this device; empty if all is as asked for."""
    if name == "bf16" and device.type != "cuda":
        return f"precision bf16 is for GPUs of NVIDIA; on {device.type} the run computes in float32."
    return ""


def joined_objective(pieces: Sequence[Objective]) -> Objective:
    """The objective of all pieces' cases in one."""
    if len(pieces) == 1:
        return pieces[0]
    kind = type(pieces[0])
    return kind(**{entry.name: _joined([getattr(piece, entry.name) for piece in pieces]) for entry in fields(kind)})


def _joined(values: Sequence[Tensor] | Sequence[dict[str, Tensor]]) -> Tensor | dict[str, Tensor]:
    if isinstance(values[0], dict):
        return {name: torch.cat([value[name] for value in values]) for name in values[0]}
    return torch.cat(values)
