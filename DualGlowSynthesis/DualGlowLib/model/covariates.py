"""Covariates (the paper: side information): what they are and how they reach the networks as numbers."""

from __future__ import annotations

import math
import reprlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from ..errors import InputError
from ..spellings import BROADER, DIAGNOSES, PARSERS, is_missing, number

__all__ = ["DEFAULT_COVARIATES", "Covariate", "columns", "encode_covariates", "fit_covariates", "hide_covariates"]


@dataclass(frozen=True)
class Covariate:
    """One attribute of a case.

    Attributes:
        name: e.g. ``"age"``.
        kind: ``"numeric"`` (z-scored, with a flag that it is known: 2 numbers) or ``"categorical"`` (one-hot; all
            zeros when unknown).
        mean, sd: of the training cases, for numeric ones.
        minimum, maximum: of the training cases, for numeric ones; values more than a twentieth of that range outside
            it are refused.
        values: the categories, for categorical ones; none given: those that occur in the training cases.
        groups: category to count a value as, for categorical ones, such as ``{"SMC": "CN"}``.
    """

    name: str
    kind: str
    mean: float = 0.0
    sd: float = 1.0
    minimum: float = -math.inf
    maximum: float = math.inf
    values: tuple[str | int, ...] = ()
    groups: dict[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(str, self.values)))
        if not isinstance(self.groups, Mapping):
            raise ValueError(f"The groups of {self.name} must be an object of categories, not {self.groups!r}.")
        object.__setattr__(self, "groups", {str(value): str(group) for value, group in self.groups.items()})
        if self.kind not in ("numeric", "categorical"):
            raise ValueError(f"A covariate is numeric or categorical, not {self.kind!r}.")
        if self.kind == "numeric" and self.groups:
            raise ValueError(f"{self.name} is numeric and has no groups.")
        if not (math.isfinite(self.mean) and 0 < self.sd < math.inf and self.minimum <= self.maximum):
            raise ValueError(
                f"{self.name} has the mean {self.mean}, the spread {self.sd} and the range {self.minimum} to "
                f"{self.maximum}, which can't be."
            )

    @property
    def size(self) -> int:
        return 2 if self.kind == "numeric" else len(self.values)

    def parse(self, value: object) -> float | str | None:
        """The value in this covariate's own terms; None when it is missing.

        Age, sex and diagnosis are understood in every spelling that tables of cases may have (``spellings``). A
        diagnosis that is no category counts as the one that it is a part of, such as EMCI as MCI.

        Raises:
            InputError: for a value that is not a number, not one of the categories, or outside the training range.
        """
        if is_missing(value):
            return None
        return self._category(str(value).strip()) if self.kind == "categorical" else self._number(value)

    def _category(self, text: str) -> str | None:
        spelt = self._spelt(text)
        if not spelt:
            return None  # a sex that models know nothing of
        group = self.group(spelt)
        broader = self.group(BROADER.get(spelt, spelt)) if self.name == "diagnosis" else group
        for said in (text, group, broader) if group == spelt else (group,):
            for known in self.values:
                if known.lower() == said.lower():
                    return known
        raise InputError(
            f"{self.name} is {reprlib.repr(text)}; this model knows {', '.join(self.values)} (or leave it out)."
        )

    def _number(self, value: object) -> float:
        found = number(value) if isinstance(value, str) else value
        try:
            found = float(self._spelt(value) if found is None else found)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{self.name} must be a number, not {reprlib.repr(value)}.") from None
        # A little grace: nothing changes in a person on the birthday at which the training cohort happened to begin.
        margin = 0.05 * (self.maximum - self.minimum)
        if not (math.isfinite(found) and self.minimum - margin <= found <= self.maximum + margin):
            raise InputError(
                f"{self.name} {found:g} is outside the range {self.minimum:g} to {self.maximum:g} that this model was "
                "trained on; for it another model is needed."
            )
        return found

    def _spelt(self, text: str) -> str:
        """The text in our spelling, where this covariate has one and the text is understood."""
        try:
            return PARSERS[self.name](text)[0] if self.name in PARSERS else text
        except InputError:
            return text

    def group(self, text: str) -> str:
        """The group of a category's text, in our spelling; the text itself where it is in none."""
        spelt = self._spelt(text)
        return next((group for one, group in self.groups.items() if self._spelt(one).lower() == spelt.lower()), spelt)

    def merged(self, value: object) -> str:
        """What is stated, in our spelling, if it counts as another category here; else empty."""
        category = self.parse(value)
        if self.kind == "numeric" or category is None:
            return ""
        text = str(value).strip()
        return "" if category.lower() in (text.lower(), self._spelt(text).lower()) else self._spelt(text)

    def is_trained(self, value: object) -> bool:
        """Whether a usable value lies among those of the training cases; unknown counts as such."""
        value = self.parse(value)
        return self.kind == "categorical" or value is None or self.minimum <= value <= self.maximum

    def encode(self, value: object) -> list[float]:
        value = self.parse(value)
        if self.kind == "numeric":
            return [0.0, 0.0] if value is None else [(value - self.mean) / self.sd, 1.0]
        return [1.0 if value == known else 0.0 for known in self.values]

    def to_dict(self) -> dict:
        return {key: value for key, value in asdict(self).items() if value not in ((), {}, math.inf, -math.inf)}


_DIAGNOSIS = Covariate("diagnosis", "categorical", values=("CN", "MCI", "AD"))
DEFAULT_COVARIATES = (
    Covariate("age", "numeric", mean=70.0, sd=12.0, minimum=40.0, maximum=100.0),
    Covariate("sex", "categorical", values=("F", "M")),
    _DIAGNOSIS,
)


def fit_covariates(covariates: Sequence[Covariate], cases: Sequence[Mapping[str, object]]) -> tuple[Covariate, ...]:
    """The same covariates with the numbers of a training cohort: range, mean and sd, or the categories that occur.

    One that no case has is left out. The usual diagnosis (that of ``DEFAULT_COVARIATES``) has the categories that
    occur, whatever they are; one of somebody's own has those that it was given, be they the usual ones.

    Raises:
        InputError: for a value that is no number or, where categories were given, none of them.
    """
    fitted = []
    for covariate in covariates:
        free = replace(covariate, minimum=-math.inf, maximum=math.inf) if covariate.kind == "numeric" else covariate
        if covariate.kind == "categorical" and (covariate is _DIAGNOSIS or not covariate.values):
            said = {str(value).strip() for case in cases if not is_missing(value := case.get(covariate.name))}
            free = replace(covariate, values=tuple(sorted({covariate.group(text) for text in said}, key=_in_order)))
        values = [value for case in cases if (value := free.parse(case.get(covariate.name))) is not None]
        if not values:
            continue
        if covariate.kind == "categorical":
            fitted.append(replace(covariate, values=tuple(v for v in free.values if v in values)))
        else:
            mean, sd = statistics.fmean(values), max(statistics.pstdev(values), 1e-3)
            numbers = {"minimum": min(values), "maximum": max(values), "mean": round(mean, 4), "sd": round(sd, 4)}
            fitted.append(replace(covariate, **numbers))
    return tuple(fitted)


def _in_order(category: str) -> tuple[int, str]:
    """Sorting key: diagnoses as they follow each other, other words after them by the alphabet."""
    return (DIAGNOSES.index(category) if category in DIAGNOSES else len(DIAGNOSES), category)


def encode_covariates(
    covariates: Sequence[Covariate], cases: Sequence[Mapping[str, object]], device: torch.device | str = "cpu"
) -> Tensor:
    """Numbers for the networks, ``(cases, Σ size)``, float32; a name that a case lacks counts as missing.

    Raises:
        InputError: see ``Covariate.parse``.
    """
    rows = [[x for covariate in covariates for x in covariate.encode(case.get(covariate.name))] for case in cases]
    return torch.tensor(rows, dtype=torch.float32, device=device).reshape(len(rows), sum(c.size for c in covariates))


def columns(covariates: Sequence[Covariate]) -> list[slice]:
    """Where each one's numbers lie in a row of ``encode_covariates``."""
    ends = accumulate((covariate.size for covariate in covariates), initial=0)
    return [slice(start, end) for start, end in pairwise(ends)]


def hide_covariates(
    covariates: Sequence[Covariate],
    codes: Tensor,
    share: float,
    generator: torch.Generator | None = None,
    rows: tuple[int, slice] | None = None,
) -> Tensor:
    """``codes`` with some of what is known made unknown, so that a model also learns to do without.

    In ``share`` of the rows a number of attributes is hidden, each number from 0 to all of them equally likely. With
    ``rows``, the codes are these rows of a batch of so many, and lose what they would lose in it.
    """
    count, place = rows or (len(codes), slice(None))
    draws = torch.rand(count, 2 + len(covariates), generator=generator)[place].to(codes.device)
    keep = (draws[:, :1] >= share) | (draws[:, 2:] >= draws[:, 1:2])
    sizes = torch.tensor([covariate.size for covariate in covariates], dtype=torch.long, device=codes.device)
    return codes * keep.repeat_interleave(sizes, 1)
