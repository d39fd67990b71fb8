"""Intervals that hold what they promise: split-conformal factors for a model's region means, and their certificate.

Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World (2005); of cases that are exchangeable with those of
the calibration, an interval holds the truth with at least the stated probability, whatever the law.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from .. import __version__
from ..atlas.regions import REGIONS, weights
from ..bundle.calibration import Calibration
from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..errors import InputError
from ..preparation.t1 import PreparedT1
from ..spellings import number
from ..synthesis.predictor import SamplingPredictor
from ..volumes.grid import Grid
from .tables import case_seed, draw

__all__ = ["Residuals", "calibrate", "conformal_factor", "least_cases", "measure", "residuals", "text_of"]

_BY = ("sex", "diagnosis")


@dataclass(frozen=True)
class Residuals:
    """How far the truth lies from the samples' mean, of cases and regions.

    Attributes:
        z: absolute difference over the samples' spread (``Calibration``), ``(cases, regions)``.
        spread: that spread, SUVR, likewise.
        cases: whose they are.
    """

    z: np.ndarray
    spread: np.ndarray
    cases: list[Case]


def least_cases(level: float) -> int:
    """So many cases an interval of this level needs."""
    return math.ceil(level / (1 - level) - 1e-9)


def conformal_factor(scores: np.ndarray, level: float) -> float:
    """The smallest score that at least ⌈(n + 1) · level⌉ of n scores do not exceed.

    Raises:
        InputError: if there are too few scores for that.
    """
    rank = math.ceil((len(scores) + 1) * level - 1e-9)
    if rank > len(scores):
        raise InputError(
            f"{len(scores)} cases are too few for a {100 * level:g} % interval; give at least {least_cases(level)}."
        )
    return float(np.sort(scores)[rank - 1])


def residuals(
    predictor: SamplingPredictor,
    cases: Sequence[Case],
    grid: Grid,
    samples: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Residuals, list[dict[str, str]]]:
    """Draw samples for every case and compare them with its PET, region by region.

    Each case has noise of its own, see ``tables.case_seed``. A case that can't be read or taken is left out.

    Returns:
        The residuals, and ``case`` and ``reason`` of those that were left out.

    Raises:
        InputError: if every case is left out.
    """
    kernels = weights(grid).reshape(len(REGIONS), -1).astype(np.float64)
    z, spread, taken, left_out = [], [], [], []
    for done, case in enumerate(cases):
        try:
            t1, pet, mask = read_on_grid(case, grid)
            means = draw(predictor, PreparedT1(grid, t1, mask), case, samples, case_seed(seed, case), kernels)[2]
        except InputError as error:
            left_out.append({"case": case.name, "reason": str(error)})
        else:
            spread.append(math.sqrt(1 + 1 / samples) * means.std(0, ddof=1))
            z.append(np.abs(kernels @ pet.ravel() - means.mean(0)) / np.maximum(spread[-1], 1e-9))
            taken.append(case)
        if progress:
            progress(done + 1, len(cases))
    if not taken:
        raise InputError(f"No case can be used; {left_out[0]['case']}: {left_out[0]['reason']}")
    return Residuals(np.array(z), np.array(spread), taken), left_out


def calibrate(found: Residuals, bundle_sha256: str, level: float, samples: int) -> Calibration:
    """Factors from one set of cases: of each region, and jointly the largest of their quotients.

    Raises:
        InputError: if there are too few cases (``least_cases``).
    """
    factors = [conformal_factor(column, level) for column in found.z.T]
    joint = conformal_factor((found.z / np.maximum(factors, 1e-9)).max(1), level)
    by_name = {name: max(factor, 1e-6) for name, factor in zip(REGIONS, factors, strict=True)}
    scores = {
        name: [round(score, 4) for score in column] for name, column in zip(REGIONS, found.z.T.tolist(), strict=True)
    }
    return Calibration(bundle_sha256, level, samples, by_name, joint, scores=scores)


def measure(calibration: Calibration, found: Residuals, fitted: int, seed: int) -> dict:
    """The certificate: what the intervals hold of cases that the factors were not fitted to.

    Args:
        calibration: the factors.
        found: of those cases.
        fitted: number of cases that the factors were fitted to.
        seed: of the samples.

    Returns:
        ``date``, ``version``, ``seed``, ``fitted`` and ``tested`` (cases); ``expected`` (low and high: between which
        the true coverage of one region lies with probability 0.9, given how many cases it was fitted to); ``coverage``:
        ``regions`` (by name), ``mean`` over regions and ``joint`` (all regions at once); ``groups``: rows of ``group``,
        ``cases``, ``mean``, ``joint``, by age third, sex and diagnosis; ``width``: mean of the intervals' widths over
        cases and regions, SUVR, for each alone (``mean``) and for all at once (``joint``).
    """
    from scipy.stats import beta

    factors = np.array([calibration.factors[name] for name in REGIONS])
    inside, together = found.z <= factors, np.all(found.z <= calibration.joint * factors, axis=1)
    rank = math.ceil((fitted + 1) * calibration.level - 1e-9)
    low, high = beta.ppf([0.05, 0.95], rank, fitted + 1 - rank)
    width = float(np.mean(2 * factors * found.spread))
    rows = [
        {"group": name, "cases": int(chosen.sum()), "mean": float(inside[chosen].mean()),
         "joint": float(together[chosen].mean())}
        for name, chosen in _groups(found.cases).items()
    ]  # fmt: skip
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "version": __version__,
        "seed": seed,
        "fitted": fitted,
        "tested": len(found.cases),
        "expected": [float(low), float(high)],
        "coverage": {
            "regions": dict(zip(REGIONS, inside.mean(0).tolist(), strict=True)),
            "mean": float(inside.mean()),
            "joint": float(together.mean()),
        },
        "groups": rows,
        "width": {"mean": width, "joint": calibration.joint * width},
    }


def _groups(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Which cases belong to each third of the ages, sex and diagnosis."""
    stated = [number(case.covariates.get("age", "")) for case in cases]
    ages = np.array([np.nan if age is None else age for age in stated])
    groups = {}
    if np.count_nonzero(np.isfinite(ages)) >= 3:
        first, second = np.nanquantile(ages, (1 / 3, 2 / 3))
        groups[f"age up to {first:.0f}"] = ages <= first
        groups[f"age {first:.0f} to {second:.0f}"] = (ages > first) & (ages <= second)
        groups[f"age above {second:.0f}"] = ages > second
    for key in _BY:
        values = np.array([case.covariates.get(key, "") for case in cases])
        groups |= {f"{key} {value}": values == value for value in sorted(set(values) - {""})}
    return {name: chosen for name, chosen in groups.items() if chosen.any()}


def text_of(calibration: Calibration) -> str:
    """The certificate in Markdown."""
    about, level = calibration.certificate, 100 * calibration.level
    coverage, width = about["coverage"], about["width"]
    worst = sorted(coverage["regions"].items(), key=lambda one: abs(one[1] - calibration.level))[-1]
    low, high = about["expected"]
    lines = [
        f"{level:g} % intervals of region means, fitted to {about['fitted']} cases with {calibration.samples} samples "
        f"each and tested on {about['tested']} others ({about['date']}, seed {about['seed']}):",
        "",
        "| | holds the truth | mean width, SUVR |",
        "|---|---|---|",
        f"| each region alone | {coverage['mean']:.3f} | {width['mean']:.3f} |",
        f"| all {len(calibration.factors)} regions at once | {coverage['joint']:.3f} | {width['joint']:.3f} |",
        "",
        "| group | cases | each region alone | all at once |",
        "|---|---|---|---|",
        *(f"| {row['group']} | {row['cases']} | {row['mean']:.3f} | {row['joint']:.3f} |" for row in about["groups"]),
        "",
        f"Farthest from {calibration.level:g}: {worst[0].replace('_', ' ')}, {worst[1]:.3f}. With so many cases to fit "
        f"to, nine in ten of such factors hold {low:.3f} to {high:.3f}.",
    ]
    return "\n".join(lines)
