"""A T1 with all that sampling needs of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import TypeVar

import numpy as np

from ..atlas.regions import weights
from ..pictures.quality import noted, t1_picture
from ..preparation.adoption import adopt
from ..preparation.t1 import Prepared, prepare
from ..volumes.scan import Scan
from .synthesizer import PatientEncoding, Synthesizer, voxels_sha256

__all__ = ["Patient", "make_patient"]

_Result = TypeVar("_Result")


@dataclass
class Patient:
    """A T1, prepared and encoded.

    Attributes:
        encoded: what sampling needs.
        by: the model, on its device, that encoded it.
        number: another one for each patient.
    """

    encoded: PatientEncoding
    by: Synthesizer
    number: int = field(default_factory=count().__next__)

    @property
    def prepared(self) -> Prepared:
        return self.encoded.prepared

    @cached_property
    def picture(self) -> np.ndarray:
        """Template contour on the T1, and which of several series that is; uint8, rows × columns × 3."""
        return noted(t1_picture(self.prepared), str(self.prepared.scan.meta.get("chosen_from", "")))

    def encode(self, by: Synthesizer) -> None:
        """Encode the same T1 by another model, or on another device; no work if that is done."""
        if by is not self.by:
            self.encoded, self.by = replace(self.encoded, encoding=by.encode_prepared(self.prepared.t1)), by


def make_patient(
    synthesizer: Synthesizer,
    scan: Scan,
    mask: np.ndarray | Scan | None,
    prepared: bool,
    tell: Callable[[str, float], None],
    on_device: Callable[[Callable[[Synthesizer], _Result]], _Result],
) -> Patient:
    """Prepare a T1 and encode it.

    Args:
        synthesizer: the model.
        scan, mask, prepared: see ``Session.prepare``.
        tell: called with a stage and the share done of all.
        on_device: does what needs the model's device, see ``Session``.

    Raises:
        InputError: see ``t1.prepare`` and ``preparation.adoption.adopt``.
    """
    bundle = synthesizer.bundle
    if prepared:
        tell("checking", 0.0)
        found = adopt(scan, bundle.grid)
    else:
        chosen = bundle.preparation
        found = prepare(
            scan, bundle.grid, mask, lambda stage, share: tell(stage, 0.85 * share), bias=chosen.bias,
            deformable=chosen.deformable,
        )  # fmt: skip
    tell("encoding", 0.86)
    weights(bundle.grid)  # kept for all that follows
    tell("encoding", 0.88)
    encoding, by = on_device(lambda model: (model.encode_prepared(found.t1), model))
    tell("resampling", 0.95)
    _ = found.patient_slabs  # of the soft edge: both are kept in ``found``
    digest = voxels_sha256(scan)
    tell("resampling", 1.0)
    return Patient(PatientEncoding(found, encoding, digest), by)
