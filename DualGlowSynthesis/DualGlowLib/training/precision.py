"""Mixed precision of a step, and the objective of a batch that was computed in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields

import torch
from torch import Tensor

from ..model import Objective

__all__ = ["has_bfloat16", "in_precision", "joined_objective", "precision_note"]


def in_precision(name: str, device: torch.device) -> AbstractContextManager:
    """Where networks compute in ``name``: for "bf16" torch's automatic mixed precision, on devices that have it.

    Invertible layers, log-determinants and the densities see to float32 themselves (``flow.in_float32``); weights,
    gradients and moments are float32 throughout, and bfloat16 has the exponents of float32, so that no loss has to be
    scaled.
    """
    if name != "bf16" or not has_bfloat16(device):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def precision_note(name: str, device: torch.device) -> str:
    """What a user should know of the precision on this device; empty if all is as asked for."""
    if name != "bf16" or has_bfloat16(device):
        return ""
    return (
        "precision bf16 is for GPUs of NVIDIA and processors that multiply bfloat16 themselves (avx512_bf16, "
        f"amx_bf16); on this {device.type} the run computes in float32."
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether it multiplies in bfloat16 itself: a processor that imitates it takes up to 60 times as long."""
    if device.type != "cpu":
        return device.type == "cuda"
    known = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch can't tell
    return any(known.get(name) for name in ("amx_bf16", "avx512_bf16"))


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
