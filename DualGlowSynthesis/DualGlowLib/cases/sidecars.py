"""How a cohort on the grid was prepared, from its sidecars; a model prepares new scans in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from .case import Case
from .files import sidecar

__all__ = ["preparation_of"]


def preparation_of(cases: Sequence[Case]) -> dict:
    """The settings that all cases share: ``bias`` (bool), ``reference`` (name of the region), ``resolution`` (mm).

    ``deformable`` is True if a deformation followed the affine, and left out otherwise. A setting that no sidecar
    states is left out, and so is a resolution that differs between cases.

    Raises:
        InputError: if cases differ in any other setting: one model can't learn from both.
    """
    cases_by_value: dict[str, dict[object, str]] = {"bias": {}, "reference": {}, "resolution": {}, "deformable": {}}
    for case in cases:
        t1, pet = sidecar(case.t1), sidecar(case.pet) if case.pet else {}
        values = {
            "bias": t1.get("BiasCorrected"),
            "reference": pet.get("ReferenceRegion"),
            "resolution": pet.get("ResolutionFWHM"),
            "deformable": t1.get("Deformable"),
        }
        for setting, value in values.items():
            cases_by_value[setting].setdefault(value, case.name)
    for setting in ("bias", "reference", "deformable"):
        if len(cases_by_value[setting]) > 1:
            (one, first), (other, second) = list(cases_by_value[setting].items())[:2]
            raise InputError(
                f"{first} and {second} differ in how they were prepared ({setting}: {one} and {other}); prepare all "
                "cases alike."
            )
    shared = {setting: list(by_value) for setting, by_value in cases_by_value.items() if len(by_value) == 1}
    return {setting: value for setting, (value,) in shared.items() if value is not None}
