"""How a cohort on the grid was prepared, as its JSON files say; a model has to know it to treat new scans alike."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .case import Case
from .files import sidecar

__all__ = ["preparation_of"]


def preparation_of(cases: Sequence[Case]) -> dict:
    """What the cases have in common: ``bias`` (bool), ``reference`` (name of the region) and ``resolution`` (mm).

    ``deformable`` is True if a deformation followed the affine, and left out otherwise.

    What no sidecar says is left out, and so is a resolution that is not the same for all.

    Raises:
        InputError: if cases differ in the others: one model can't learn from both.
    """
    found: dict[str, dict[object, str]] = {"bias": {}, "reference": {}, "resolution": {}, "deformable": {}}
    for case in cases:
        t1, pet = sidecar(case.t1), sidecar(case.pet) if case.pet else {}
        values = t1.get("BiasCorrected"), pet.get("ReferenceRegion"), pet.get("ResolutionFWHM"), t1.get("Deformable")
        for seen, value in zip(found.values(), values, strict=True):
            seen.setdefault(value, case.name)
    for name in ("bias", "reference", "deformable"):
        if len(found[name]) > 1:
            (one, first), (other, second) = list(found[name].items())[:2]
            raise InputError(
                f"{first} and {second} were prepared with another {name} ({one} and {other}); prepare all cases alike."
            )
    return {name: next(iter(seen)) for name, seen in found.items() if len(seen) == 1 and None not in seen}
