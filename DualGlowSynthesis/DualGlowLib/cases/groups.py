"""Diagnoses in groups, such as early, late and plain MCI in one: what a user asks for, and cases in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import InputError
from ..spellings import DIAGNOSES, parse_diagnosis
from .case import Case

__all__ = ["as_texts", "check_groups", "grouped", "in_groups", "read_groups"]


def read_groups(texts: Sequence[str] | None) -> dict[str, str]:
    """Group by diagnosis, from texts such as ``MCI=EMCI,MCI,LMCI``; a diagnosis in none stays by itself.

    >>> read_groups(["CN=CN,SMC", "AD=AD"])
    {'CN': 'CN', 'SMC': 'CN', 'AD': 'AD'}

    Raises:
        InputError: for a text of another shape, and a diagnosis in two groups.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        group, _, members = (part.strip() for part in text.partition("="))
        diagnoses = [part.strip() for part in members.split(",")]
        if not group or not all(diagnoses):
            raise InputError(f"--groups has {text!r}; give GROUP=DIAGNOSIS,DIAGNOSIS, e.g. MCI=EMCI,MCI,LMCI.")
        for diagnosis in (parse_diagnosis(part)[0] for part in diagnoses):
            if found.setdefault(diagnosis, group) != group:
                raise InputError(f"--groups puts {diagnosis} into {found[diagnosis]} and {group}; put it into one.")
    return found


def as_texts(groups: Mapping[str, str]) -> tuple[str, ...]:
    """The texts that ``read_groups`` reads.

    >>> as_texts({"CN": "CN", "SMC": "CN", "AD": "AD"})
    ('CN=CN,SMC', 'AD=AD')
    """
    members: dict[str, list[str]] = {}
    for diagnosis, group in groups.items():
        members.setdefault(group, []).append(diagnosis)
    return tuple(f"{group}={','.join(diagnoses)}" for group, diagnoses in members.items())


def check_groups(groups: Mapping[str, str], cases: Sequence[Case]) -> None:
    """Refuse a word in the groups that is neither a usual diagnosis nor that of a case, as when it is misspelt.

    Raises:
        InputError: naming it, and the diagnoses that there are.
    """
    there = {case.covariates["diagnosis"] for case in cases if "diagnosis" in case.covariates}
    if unknown := [one for one in groups if one not in there and one not in DIAGNOSES]:
        known = ", ".join(sorted(there)) or "none"
        raise InputError(f"--groups names {unknown[0]}, but the diagnoses of the cases are {known}; correct it.")


def in_groups(cases: Sequence[Case], groups: Mapping[str, str]) -> list[Case]:
    """All cases with their diagnoses' groups.

    Raises:
        InputError: as ``check_groups``.
    """
    check_groups(groups, cases)
    return [grouped(case, groups) for case in cases]


def grouped(case: Case, groups: Mapping[str, str]) -> Case:
    """The case with its diagnosis' group in place of the diagnosis."""
    stated = case.covariates.get("diagnosis")
    if stated is None or groups.get(stated, stated) == stated:
        return case
    return replace(case, covariates={**case.covariates, "diagnosis": groups[stated]})
