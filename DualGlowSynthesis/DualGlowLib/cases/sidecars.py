"""How a cohort on the grid was prepared, in its sidecars; a model prepares new scans in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..preparation.settings import Preparation
from .case import Case
from .files import sidecar

__all__ = ["pet_keys", "preparation_of", "t1_keys"]

_BIAS, _DEFORMABLE, _REFERENCE, _WINDOW = "BiasCorrected", "Deformable", "ReferenceRegion", "FrameWindow"


def t1_keys(preparation: Preparation) -> dict[str, bool]:
    """What the sidecar of a prepared T1 says of its preparation."""
    return {_BIAS: preparation.bias, **({_DEFORMABLE: True} if preparation.deformable else {})}


def pet_keys(preparation: Preparation) -> dict[str, list[float]]:
    """What the sidecar of a prepared PET says of the window of its frames (minutes), if that isn't the default."""
    window = preparation.pet_window
    return {} if window == Preparation().pet_window else {_WINDOW: list(window)}


def preparation_of(cases: Sequence[Case]) -> Preparation:
    """What all cases share; what no sidecar states, and a resolution that differs between cases, is as by default.

    Raises:
        InputError: if cases differ in anything but the resolution, since one model can't learn from both; or if a
            sidecar states what can't be used.
    """
    cases_by_value: dict[str, dict[object, Case]] = {
        name: {} for name in ("bias", "deformable", "reference", "pet_window")
    }
    resolutions = {case.pet_resolution for case in cases}
    for case in cases:
        t1, pet = sidecar(case.t1), sidecar(case.pet) if case.pet else {}
        values = {"bias": t1.get(_BIAS), "deformable": t1.get(_DEFORMABLE), "reference": pet.get(_REFERENCE)}
        values["pet_window"] = tuple(window) if isinstance(window := pet.get(_WINDOW), list) else window
        Preparation.from_dict(values, f"The sidecars of {case.name}")
        for name, value in values.items():
            cases_by_value[name].setdefault(value, case)
    for name, by_value in cases_by_value.items():
        if len(by_value) > 1:
            (one, first), (other, second) = list(by_value.items())[:2]
            raise InputError(
                f"{first.name} and {second.name} differ in how they were prepared ({name}: {one} and {other}); prepare "
                "all cases alike."
            )
    shared = {name: value for name, by_value in cases_by_value.items() for value in by_value}
    return Preparation.from_dict(
        {**shared, "resolution": resolutions.pop() if len(resolutions) == 1 else None}, "The sidecars of the PETs"
    )
