"""One simulated case: a T1, a PET, and the law that the PET was drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..atlas.regions import PARTITION, REGIONS, pons
from ..volumes.grid import Grid
from ..volumes.separable import WORK, apply_axes, blur_axes
from .anatomy import Anatomy
from .field import uptake_field
from .law import PSF_FWHM, Law, make_law
from .shape import (
    Covariates,
    Shape,
    as_it_is,
    blend_t1,
    draw_shape,
    photograph,
    photograph_once,
    sharpened,
    signature,
    thinned_t1,
)
from .uptake import DIAGNOSES, REFERENCE_AGE, SEX_EFFECT, SEXES, WHITE_SLOPE, factor_loadings, region_table, severity
from .versions import USUAL, LawVersion

__all__ = ["KINDS", "SimulatedCase", "simulate_case"]

KINDS = ("photograph", "deformed", "prepared")
AGES = (40.0, 100.0)
_SHARES = (0.5, 0.25, 0.25)  # of CN, MCI, AD

# Mean and sd over cases of the fluid's share of the signature cortex; ``atrophy_index`` is measured in them.
_FLUID_MEAN, _FLUID_SD = 0.19, 0.036


@dataclass
class SimulatedCase:
    """One case on a grid.

    Attributes:
        seed: what it was drawn from, with the list of anatomies.
        grid: the lattice.
        covariates: age, sex, diagnosis.
        anatomy: name of the anatomy it was made from.
        t1: as ``t1.prepare`` gives it, float32.
        mask: brain, bool.
        pet: SUVR, float32: one draw from ``law``.
        law: the conditional law of the PET.
        atrophy: the anatomy's atrophy index.
    """

    seed: int
    grid: Grid
    covariates: Covariates
    anatomy: str
    t1: Tensor
    mask: Tensor
    pet: Tensor
    law: Law
    atrophy: float

    @property
    def mean(self) -> Tensor:
        """Conditional mean of the PET, SUVR."""
        return self.law.mean

    @property
    def sd(self) -> Tensor:
        """Conditional sd of the PET, SUVR."""
        return self.law.sd()

    def region_rows(self) -> list[dict]:
        """One row per region: what is true of the mean over it (SUVR), and what was drawn.

        ``mean`` and ``sd`` are the conditional ones, ``slope`` the change per decade of age at this anatomy,
        ``relative_slope`` the same over the mean at 65 years, ``drawn`` the mean of this case's PET.
        """
        mean, sd, slope = self.law.region_law()
        at_reference = mean + slope * (REFERENCE_AGE - self.law.age) / 10
        columns = (mean, sd, slope, slope / at_reference, self.law.region_means(self.pet))
        names = ("region", "mean", "sd", "slope", "relative_slope", "drawn")
        return [dict(zip(names, row, strict=True)) for row in zip(REGIONS, *(c.tolist() for c in columns), strict=True)]


def draw_covariates(generator: torch.Generator) -> Covariates:
    """Age uniform over ``AGES``, half the persons of each sex, half of them cognitively normal; all independent.

    Not as in a clinic, where age and diagnosis go together: a cohort that is to show the effect of each has to have
    old healthy and young ill persons.
    """
    age, sex, diagnosis = torch.rand(3, generator=generator, device=generator.device).tolist()
    index = sum(diagnosis >= math.fsum(_SHARES[: i + 1]) for i in range(len(_SHARES) - 1))
    return Covariates(round(AGES[0] + (AGES[1] - AGES[0]) * age, 1), SEXES[int(sex * 2)], DIAGNOSES[index])


def simulate_case(
    seed: int,
    anatomies: Sequence[Anatomy],
    grid: Grid,
    *,
    anatomy: int | None = None,
    covariates: Covariates | None = None,
    anatomy_covariates: Covariates | None = None,
    version: LawVersion = USUAL,
    kind: str = "photograph",
) -> SimulatedCase:
    """Draw one case; the same arguments give the same case.

    Args:
        seed: 0 to 2^63 - 1.
        anatomies: what to choose from; all on one device, where the work is done.
        grid: where the images are wanted. The same seed gives the same person on every grid.
        anatomy: take this one of ``anatomies``, instead of a drawn one.
        covariates: instead of drawn ones; they also set how atrophied the anatomy is.
        anatomy_covariates: instead of the person's, for the anatomy alone. Cases that differ in covariates but not in
            these differ by what the covariates do at fixed anatomy.
        version: which law the PET is drawn from.
        kind: by an evened version, one of ``KINDS``: ``"photograph"``; ``"deformed"``, the head's own T1, deformed; or
            ``"prepared"``, the head as ``prepare`` gives it, neither deformed nor atrophied (``Anatomy.prepared``).

    Returns:
        The case. Its images lie on the anatomies' device.

    Raises:
        ValueError: for a kind that the version or the anatomy doesn't have.
    """
    if kind not in KINDS or (kind != "photograph" and not version.is_evened):
        raise ValueError(f"The law {version.name} has no T1s of the kind {kind!r}.")
    device = anatomies[0].t1.device
    generator = torch.Generator(device=device).manual_seed(seed)
    drawn, choice = draw_covariates(generator), float(torch.rand((), generator=generator, device=device))
    covariates = covariates or drawn
    person = anatomies[int(choice * len(anatomies)) if anatomy is None else anatomy]
    shape = as_it_is(person) if kind == "prepared" else draw_shape(generator, person, anatomy_covariates or covariates)
    t1, mask, atrophy = _picture(generator, shape, grid, version, kind)
    law = law_of(shape, covariates, atrophy, grid, version)
    return SimulatedCase(seed, grid, covariates, person.name, t1, mask, law.sample(generator), law, atrophy)


def _picture(
    generator: torch.Generator, shape: Shape, grid: Grid, version: LawVersion, kind: str
) -> tuple[Tensor, Tensor, float]:
    """T1 and mask of a case on a grid, and its atrophy index."""
    person = shape.anatomy
    if not version.is_evened:
        t1 = blend_t1(generator, shape)
        tissue = shape.place(torch.stack([t1, person.mask, shape.csf]))
        return *photograph(generator, tissue[0], tissue[1], grid), atrophy_index(tissue[2], tissue[1])
    atrophy = atrophy_index(*shape.place(torch.stack([shape.csf, person.mask])))
    if kind == "prepared":
        if person.prepared is None or tuple(person.prepared.shape[1:]) != tuple(grid.shape):
            raise ValueError(f"The anatomy {person.name} was not kept as prepared on the grid {grid.name}.")
        image, mask = person.prepared[0], person.prepared[1] > 0.5
        return sharpened(generator, image, mask, kind), mask, atrophy
    t1 = blend_t1(generator, shape) if kind == "photograph" else thinned_t1(shape)
    return *photograph_once(generator, shape, t1, grid, kind), atrophy


def atrophy_index(csf: Tensor, mask: Tensor) -> float:
    """How much fluid there is where Alzheimer's disease thins the cortex first; about 0 ± 1, within ±2."""
    where = signature().to(csf)
    share = float((where * csf).sum() / (where * mask).sum())
    return 2 * math.tanh((share - _FLUID_MEAN) / (2 * _FLUID_SD))


def law_of(shape: Shape, covariates: Covariates, atrophy: float, grid: Grid, version: LawVersion = USUAL) -> Law:
    """The law of the PET of a brain, given its shape and the person's covariates."""
    person = shape.anatomy
    decades = (covariates.age - REFERENCE_AGE) / 10
    sex = SEX_EFFECT * {"F": 1, "M": -1}[covariates.sex]
    ill, ill_sd = severity(covariates.diagnosis, atrophy)
    columns: list[tuple[float, ...]] = []
    for name in PARTITION:
        region, stem = region_table()[name], name == "brain_stem"
        grey = region.grey * (1 if stem else 1 + sex)
        aged, kept = 1 + region.slope * decades, 1 - ill * region.deficit
        fade = 0 if stem else WHITE_SLOPE
        columns.append(
            (
                grey * kept * aged,
                grey * kept * region.slope,
                grey * region.deficit * aged,
                region.white * (1 + fade * decades),
                region.white * fade,
            )
        )
    maps = person.regional(list(zip(*columns, strict=True)))
    if version.field:
        grey, white = uptake_field(version.field).to(maps)
        maps = maps * torch.stack([grey, grey, grey, white, white])
    activity = shape.gm * maps[0] + shape.wm * maps[3]
    slope = shape.gm * maps[1] + shape.wm * maps[4]
    deficit = shape.gm * maps[2]
    reference = (shape.gm + shape.wm) * _pons().to(shape.gm)
    activity, slope, deficit, reference = shape.place(torch.stack([activity, slope, deficit, reference]))
    seen = apply_axes(blur_axes(WORK, PSF_FWHM), reference)  # the blur is symmetric: <pons, S a> = <S pons, a>
    # The pons is 1 on average over its middle, after blur, at 65 years: fluid and neighbours that spill into it count.
    scale = float(reference.sum() / (seen * (activity - decades * slope)).sum())
    activity, slope, deficit = activity * scale, slope * scale, deficit * scale
    loadings = _loadings().to(activity)
    return make_law(grid, covariates.age, activity, slope, torch.cat([loadings * activity, -ill_sd * deficit[None]]))


@lru_cache(maxsize=1)
def _loadings() -> Tensor:
    return torch.from_numpy(factor_loadings().copy())


@lru_cache(maxsize=1)
def _pons() -> Tensor:
    return torch.from_numpy(pons(WORK))
