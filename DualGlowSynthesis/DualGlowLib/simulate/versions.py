"""The laws that a cohort can be simulated with, by name; one that has been published never changes."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

__all__ = ["LAWS", "USUAL", "LawVersion", "law_named"]


@dataclass(frozen=True)
class LawVersion:
    """What of the simulator goes by a law's name.

    Attributes:
        name: of the law, with its version.
        field: file of the uptake field (see ``field``); empty for uptake that is flat within each region.
        is_evened: whether labelled heads are evened, as ``prepare`` does it, before their partial volumes are made, and
            T1s are as sharp as prepared ones.
    """

    name: str
    field: str = ""
    is_evened: bool = False


USUAL = LawVersion("regions-1")
"""That of the model that ships, and of every cohort that doesn't state another."""

LAWS = {law.name: law for law in (USUAL, LawVersion("field-1", "uptake_field_1.npz", True))}
"""By name. One that has been published is not changed: another gets the next number."""


def law_named(law: LawVersion | str) -> LawVersion:
    """One of ``LAWS``, by its name.

    Raises:
        InputError: if there is none of that name.
    """
    if isinstance(law, LawVersion):
        return law
    if law not in LAWS:
        raise InputError(f"There is no law {law!r}; choose one of {', '.join(LAWS)}.")
    return LAWS[law]
