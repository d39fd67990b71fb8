"""What a run measures beside its evaluation: region means as classifiers and curves over age need them, and times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from statistics import median

import numpy as np

from ..baselines.regression import grey_matter
from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..errors import InputError
from ..evaluation.regions import Weights, kernels_of
from ..evaluation.tables import case_seed, none_left
from ..metrics.images import smoothness
from ..preparation.t1 import PreparedT1
from ..simulate.cohort import truth_file
from ..synthesis.predictor import Predictor, SamplingPredictor
from ..synthesis.region_table import student_interval
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from .plan import Settings, some_of_each

__all__ = ["SHOWN", "measure"]

SHOWN = 3
"""Cases of each diagnosis that are shown in pictures."""

_KEPT = ("age", "sex", "diagnosis")


def measure(
    predictor: Predictor,
    cases: Sequence[Case],
    grid: Grid,
    settings: Settings,
    regions: tuple[Sequence[str], Weights],
    progress: Callable[[int, int], None] | None = None,
    keep: Callable[[Case, str, np.ndarray], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Region means of what a method makes of held-out cases.

    The diagnosis is hidden from the method: a classifier could otherwise read it back off the synthetic PET.

    Args:
        predictor: the method.
        cases: that it has not seen.
        grid: that they lie on.
        settings: of the study: ``ages``, ``swept`` and ``samples``.
        regions: names and weights, see ``Study.regions``.
        progress: called with the number of cases done and the number to do.
        keep: called with synthetic PETs for pictures, SUVR on the grid: of the first ``SHOWN`` cases of each diagnosis
            the case, ``""`` and the PET, of the first of each also its PETs at other ages, as ``age-70``.
        clock: seconds that ``seconds`` are differences of.

    Returns:
        ``regions`` (names); ``cases``: of each ``case``, ``subject``, its covariates and, region by region, ``truth``
        (its PET, SUVR), ``law`` (of a simulated case the mean that its PET was drawn around, else None), ``t1`` (its
        grey-matter density) and ``predicted`` (SUVR); None for a region that the case lacks; ``fwhm``
        (effective resolution of ``truth`` and ``predicted``, mm, see ``metrics.images.smoothness``); and of some cases
        ``swap``: the PET's root mean squared error in the brain (SUVR) made of its own MRI, and of another subject's
        with the same covariates. ``ages`` and ``sweep``: of
        some cases of each diagnosis ``means`` ``(ages, regions)`` of PETs at these ages, None for one that the method
        can't take, and of the first of each, for a method that draws samples, ``low`` and ``high``: between which a
        further sample lies with probability 0.95. ``seconds``: medians of a ``prediction`` and of a ``sample``
        (None: it draws none). ``left_out``: ``case`` and ``reason`` of each that the method can't take.

    Raises:
        InputError: if every case is left out.
    """
    names, weights = regions
    swept = some_of_each(cases, settings.swept)
    first, shown = some_of_each(cases, 1), some_of_each(cases, SHOWN)
    keep = keep or (lambda case, name, image: None)
    rows, sweep, predictions, samples, left_out = [], [], [], [], []
    for done, case in enumerate(cases):
        if progress:
            progress(done, len(cases))
        hidden = {key: value for key, value in case.attributes.items() if key != "diagnosis"}
        try:
            t1, pet, mask = read_on_grid(case, grid)
            prepared, kernels = PreparedT1(grid, t1, mask), kernels_of(weights, case)
            start = clock()
            predicted = predictor.predict(prepared, hidden)
        except InputError as error:
            left_out.append({"case": case.name, "reason": str(error)})
            continue
        predictions.append(clock() - start)
        if case in shown:
            keep(case, "", predicted)
        law = truth_file(case, "mean")
        rows.append(
            {"case": case.name, "subject": case.subject}
            | {key: case.covariates.get(key, "") for key in _KEPT}
            | {
                "truth": _means(kernels, pet),
                "law": None if law is None else _means(kernels, read_scan(law).data),
                "t1": _means(kernels, grey_matter(t1)),
                "predicted": _means(kernels, predicted),
                "fwhm": {
                    key: _number(smoothness(image, mask, grid.spacing))
                    for key, image in (("truth", pet), ("predicted", predicted))
                },
            }
        )
        if case in swept and (other := _another(cases, done)) is not None:
            errors = predicted, _of_another(predictor, other, grid, hidden)
            rows[-1]["swap"] = [None if one is None else _rmse(one, pet, mask) for one in errors]
        if case in swept:
            is_first = case in first
            number = settings.samples if is_first and isinstance(predictor, SamplingPredictor) else 0
            seen = partial(keep, case) if is_first else None
            sweep.append(
                _sweep(predictor, prepared, case, settings.ages, number, settings.seed, kernels, samples, clock, seen)
            )
    if not rows:
        raise none_left(left_out)
    seconds = {"prediction": median(predictions), "sample": median(samples) if samples else None}
    about = {"regions": list(names), "ages": list(settings.ages), "seconds": seconds, "left_out": left_out}
    return {**about, "cases": rows, "sweep": sweep}


def _sweep(
    predictor: Predictor,
    prepared: PreparedT1,
    case: Case,
    ages: Sequence[float],
    samples: int,
    seed: int,
    kernels: np.ndarray,
    times: list[float],
    clock: Callable[[], float],
    seen: Callable[[str, np.ndarray], None] | None,
) -> dict:
    """One case at several ages; the seconds of each sample are added to ``times``, PETs go to ``seen``."""
    means, low, high = [], [], []
    for age in ages:
        asked = {**case.attributes, "age": f"{age:g}"}
        try:
            image = predictor.predict(prepared, asked)
        except InputError:  # an age beyond what the method was trained on
            means.append(None)
            low.append(None)
            high.append(None)
            continue
        means.append(_means(kernels, image))
        if seen:
            seen(f"age-{age:g}", image)
        if samples > 1:
            start = clock()
            images = islice(predictor.sample(prepared, asked, samples, case_seed(seed, case)), samples)
            drawn = np.array([_means(kernels, image) for image in images], np.float64)
            times.append((clock() - start) / samples)
            ends = student_interval(drawn, 0.95)
            for found, end in zip((low, high), ends, strict=True):
                found.append([_number(value) for value in end.tolist()])
    bands = {"low": low, "high": high} if samples > 1 else {}
    stated = {key: case.covariates.get(key, "") for key in _KEPT}
    return {"case": case.name, **stated, "means": means, **bands}


def _another(cases: Sequence[Case], place: int) -> Case | None:
    """The next case, of another subject."""
    later = [*cases[place + 1 :], *cases[:place]]
    return next((case for case in later if case.subject != cases[place].subject), None)


def _of_another(predictor: Predictor, case: Case, grid: Grid, covariates: Mapping[str, str]) -> np.ndarray | None:
    """The PET for another's MRI with covariates that are not its own; None if the method can't take it."""
    try:
        t1, _, mask = read_on_grid(case, grid)
        return predictor.predict(PreparedT1(grid, t1, mask), covariates)
    except InputError:
        return None


def _rmse(image: np.ndarray, pet: np.ndarray, mask: np.ndarray) -> float:
    return math.sqrt(float(np.mean(np.square(image[mask].astype(np.float64) - pet[mask]))))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _means(kernels: np.ndarray, image: np.ndarray) -> list[float | None]:
    means = kernels @ np.asarray(image, np.float64).ravel()
    return [_number(value) for value in means.tolist()]
