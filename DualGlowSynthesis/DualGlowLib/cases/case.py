"""What is found in a directory of paired cases: usable cases, and others with the reasons against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Case", "Finding", "Findings"]


@dataclass(frozen=True)
class Case:
    """One person-session.

    Attributes:
        name: unique in its cohort, e.g. ``sub-0001`` or ``sub-0001_ses-M12``.
        subject: the person; sessions of one person belong to the same side of every split.
        t1, pet: paths of the scans, files or DICOM folders; ``pet`` is None only where such cases were asked for.
        covariates: age in years, sex (F, M) and diagnosis as text; what is missing is left out.
        mask: brain mask on the T1's lattice, if there is one.
        session: of the person, e.g. ``ses-M12``; empty if there is only one.
        registered: whether the PET lies on the T1 already, so that it must not be registered to it again.
        suvr: the region that the PET is already relative to, as its makers named it; empty if it is not SUVR.
        pet_resolution: full width at half maximum of the PET in millimetres, if a table says so.
        columns: what the tables say beyond the covariates.
        person: whom it belongs to where one person has several subjects (``splits``); empty where it is the subject.
        frames: what the PET's sidecar says of its time frames, by BIDS' keys (``dynamic.times.bids_times``); empty for
            a static one.
        pet_to_t1: file of the transform that brings the PET onto the T1, where it is registered but lies elsewhere.
    """

    name: str
    subject: str
    t1: Path
    pet: Path | None
    covariates: dict[str, str] = field(default_factory=dict)
    mask: Path | None = None
    session: str = ""
    registered: bool = False
    suvr: str = ""
    pet_resolution: float | None = None
    columns: dict[str, str] = field(default_factory=dict)
    person: str = ""
    frames: dict[str, object] = field(default_factory=dict)
    pet_to_t1: Path | None = None

    @property
    def fold_group(self) -> str:
        """All cases that have this in common belong to one fold."""
        return self.person or self.subject

    @property
    def attributes(self) -> dict[str, str]:
        """Covariates and every other column, for models with more covariates than age, sex and diagnosis."""
        return {**self.columns, **self.covariates}


@dataclass
class Finding:
    """One person-session of a directory, whether it can be used or not.

    Attributes:
        name, subject, session: as in ``Case``.
        case: what was found, also if it can't be used; None without a T1.
        reasons: why it can't be used, a clause each, but for the PET.
        no_pet: why there is no PET to use; empty if there is one.
        notes: what the user should know about a case that can be used.
        choices: which scan was chosen from several, and what it is if it is no first choice.
        mistakes: those of ``reasons`` that are mistakes in a table, which ``read_cases`` does not pass over.
    """

    name: str
    subject: str
    session: str = ""
    case: Case | None = None
    reasons: list[str] = field(default_factory=list)
    no_pet: str = ""
    notes: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Why it can't be used; empty for a usable case."""
        return [*([self.no_pet] if self.no_pet else []), *self.reasons]

    def is_usable(self, t1_only: bool = False) -> bool:
        """Whether it can be used; with ``t1_only``, also without a PET."""
        return self.case is not None and not self.reasons and (t1_only or not self.no_pet)

    def mistake(self, text: str) -> None:
        self.reasons.append(text)
        self.mistakes.append(text)


@dataclass
class Findings:
    """Everything that was found in a directory.

    Attributes:
        folder: the directory.
        layout: one of ``layouts.LAYOUTS``.
        items: sorted by name.
        notes: about the directory as a whole.
    """

    folder: Path
    layout: str
    items: list[Finding]
    notes: list[str] = field(default_factory=list)
