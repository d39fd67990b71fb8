"""How good methods are on cases with an acquired (or simulated) PET: images, laws and regions, side by side."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ..atlas.regions import REGIONS, weights
from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..errors import Cancelled, InputError
from ..metrics.distribution import distribution_metrics, energy_score, rank_fifths, ranks
from ..metrics.images import image_metrics, whole_volume_metrics
from ..preparation.t1 import PreparedT1
from ..simulate.cohort import truth_file
from ..synthesis.predictor import DensityPredictor, Predictor, SamplingPredictor
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from .regions import Weights, agreement, asymmetries, kernels_of

__all__ = ["case_seed", "draw", "evaluate", "none_left"]


_LARGEST = (1 << 31) - 1  # of seeds


def evaluate(
    predictors: Sequence[Predictor],
    cases: Sequence[Case],
    grid: Grid,
    data_range: float,
    samples: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    regions: tuple[Sequence[str], Weights] | None = None,
    handed_out: Callable[..., Iterator[tuple[int, dict]]] | None = None,
) -> dict:
    """Compare what methods predict with the PETs of cases that lie on a grid.

    Where the cases are simulated, their truth gives a further row, the conditional mean: no prediction from the MRI
    can be better on average. A case that can't be read, or that a method can't take (an age outside its range), is left
    out for all methods, with the reason.

    Args:
        predictors: the methods, a model or a baseline; each with a name of its own. They never see the PETs.
        cases: not used in their training.
        grid: that the cases lie on.
        data_range: of PSNR and SSIM, SUVR; one constant for all methods that are to be compared.
        samples: K > 1 also draws K samples from each method that can (``SamplingPredictor``), and measures their mean
            (a row of its own) and their law. Each case has noise of its own: noise that all cases share would look like
            a bias of the method.
        seed: of the samples, see ``case_seed``.
        progress: called with the number done and the number to do.
        regions: names, and weights or what gives those of a case (``regions.Weights``); by default ``atlas.regions``'.
        handed_out: how cases and what is done with each are handed to other processes: ``cluster.hand_out`` but for
            these two arguments. The methods are pickled then. By default one case after the other, in this process.

    Returns:
        ``data_range_suvr``; by method ``summary`` (means over cases of ``metrics.images``' and, of samples,
        ``metrics.distribution``'s numbers, for the voxels of the brain and, as ``region_…``, for regions; ``nll_bits``
        per voxel of methods that know densities, in SUVR), ``sd`` (over cases), ``regions`` and ``asymmetry`` (see
        ``regions.agreement``) and ``rank_fifths`` (of region means, see ``metrics.distribution``: ``all`` and by
        region); ``cases`` (each one's numbers) and ``left_out`` (``case`` and ``reason`` of each that was).

    Raises:
        InputError: if there are no cases or no methods, two of one name, or 1 sample; if every case is left out; for a
            method that gives anything but finite numbers on the grid, or too few samples; as ``handed_out``.
        Cancelled: if the cases that were handed out did not all come back.
    """
    if not cases or not predictors:
        raise InputError(f"There are {len(predictors)} methods and {len(cases)} cases; give at least one of each.")
    if samples < 0 or samples == 1:
        raise InputError(f"samples is {samples}; give at least 2, or 0 to draw none.")
    names, kernels = (REGIONS, weights(grid)) if regions is None else regions
    if not callable(kernels):
        kernels = np.asarray(kernels, np.float64)
    measure = _Measure(predictors, grid, data_range, samples, seed, kernels)
    outcomes = (
        ((i, measure(case)) for i, case in enumerate(cases)) if handed_out is None else handed_out(cases, measure)
    )
    told: dict[int, dict] = {}
    with closing(outcomes):
        for index, outcome in outcomes:
            if "fault" in outcome:
                raise InputError(outcome["fault"])
            told[index] = outcome
            if progress:
                progress(len(told), len(cases))
    if len(told) < len(cases):
        raise Cancelled
    found = [one["found"] for _, one in sorted(told.items()) if "found" in one]
    left_out = [
        {"case": cases[index].name, "reason": "; ".join(one["reasons"])}
        for index, one in sorted(told.items())
        if "found" not in one
    ]
    if not found:
        raise none_left(left_out)
    common = [name for name in found[0].answers if all(name in one.answers for one in found)]
    result: dict = {"data_range_suvr": data_range, "summary": {}, "sd": {}}  # of a merged cohort only some have a truth
    result |= {"regions": {}, "asymmetry": {}, "rank_fifths": {}}
    truth = np.array([one.regions for one in found])
    pairs, true_asymmetries = asymmetries(names, truth)
    for name in common:
        answers = [one.answers[name] for one in found]
        table = {key: [one.numbers[key] for one in answers] for key in answers[0].numbers}
        result["summary"][name] = {key: float(np.mean(values)) for key, values in table.items()}
        if len(found) > 1:
            result["sd"][name] = {key: float(np.std(values, ddof=1)) for key, values in table.items()}
        predicted = np.array([one.regions for one in answers])
        result["regions"][name] = agreement(names, predicted, truth)
        result["asymmetry"][name] = agreement(pairs, asymmetries(names, predicted)[1], true_asymmetries)
        if answers[0].ranks is not None:
            placed = np.array([one.ranks for one in answers])
            columns = {"all": placed, **dict(zip(names, placed.T, strict=True))}
            known = {key: values[np.isfinite(values)] for key, values in columns.items()}
            result["rank_fifths"][name] = {key: rank_fifths(own, samples) for key, own in known.items() if len(own)}
    rows = [{"case": one.name, "methods": {key: each.numbers for key, each in one.answers.items()}} for one in found]
    return result | {"cases": rows, "left_out": left_out}


class _Measure:
    """What is done with a case: fit for ``cluster.hand_out``, and pickled for it."""

    def __init__(self, predictors: Sequence[Predictor], grid: Grid, data_range: float, *how: object) -> None:
        self._predictors, self._grid, self._data_range, self._how = predictors, grid, data_range, how

    def __call__(self, case: Case, report: Callable[[str, float], None] | None = None) -> dict:
        """``found``, or the ``reasons`` why the case is left out, or the ``fault`` of a method."""
        samples, seed, weights = self._how
        try:
            t1, pet, mask = read_on_grid(case, self._grid)
            kernels = kernels_of(weights, case)
            asked = _Asked(PreparedT1(self._grid, t1, mask), case, samples, case_seed(seed, case))
            means = kernels @ pet.ravel()
            answers = list(_answers(self._predictors, asked, pet, means, kernels, self._data_range))
            return {"found": _Case(case.name, _by_name(answers), means)}
        except _MethodError as error:
            return {"fault": str(error)}
        except InputError as error:
            return {"reasons": [str(error)]}


def case_seed(seed: int, case: Case) -> int:
    """The seed of a case's samples: its own, and the same whichever other cases are evaluated with it."""
    return zlib.crc32(f"{seed}/{case.name}".encode()) & _LARGEST


def none_left(left_out: Sequence[Mapping[str, str]]) -> InputError:
    """What is said if every case is left out."""
    count = (
        f"None of the {len(left_out)} cases can be evaluated" if len(left_out) > 1 else "The case can't be evaluated"
    )
    return InputError(f"{count}; {left_out[0]['case']}: {left_out[0]['reason']}")


class _MethodError(InputError):
    """A fault of a method, not of the case."""


@dataclass
class _Asked:
    """What a method is asked: the T1 on the grid, whose it is, how many samples, from which seed."""

    prepared: PreparedT1
    case: Case
    samples: int
    seed: int


@dataclass
class _Answer:
    """A row of the report for one case: numbers, region means, and of samples the ranks of the true region means; NaN
    for a region that the case lacks."""

    name: str
    numbers: dict[str, float]
    regions: np.ndarray
    ranks: np.ndarray | None = None


@dataclass
class _Case:
    name: str
    answers: dict[str, _Answer]
    regions: np.ndarray = field(repr=False)


def _by_name(answers: Sequence[_Answer]) -> dict[str, _Answer]:
    named: dict[str, _Answer] = {}
    for one in answers:
        if one.name in named:
            raise _MethodError(
                f"Two rows of the report would be called {one.name!r}; give each method a name of its own."
            )
        named[one.name] = one
    return named


def _answers(
    predictors: Sequence[Predictor],
    asked: _Asked,
    pet: np.ndarray,
    truth: np.ndarray,
    kernels: np.ndarray,
    data_range: float,
) -> Iterator[_Answer]:
    """What each method answers; ``truth``: the PET's own region means."""
    mask, attributes = asked.prepared.mask, asked.case.attributes

    def answer(name: str, image: np.ndarray) -> _Answer:
        numbers = {**vars(image_metrics(image, pet, mask, data_range)), **whole_volume_metrics(image, pet, data_range)}
        return _Answer(name, numbers, kernels @ image.ravel())

    for predictor in predictors:
        made = answer(
            predictor.name,
            _checked(predictor, predictor.predict(asked.prepared, attributes), asked.prepared, asked.case),
        )
        if isinstance(predictor, DensityPredictor):
            made.numbers["nll_bits"] = -predictor.log_prob(asked.prepared, attributes, pet) / (pet.size * math.log(2))
        yield made
        if asked.samples > 1 and isinstance(predictor, SamplingPredictor):
            mean, voxels, means = draw(predictor, asked.prepared, asked.case, asked.samples, asked.seed, kernels)
            made = answer(f"{predictor.name}, mean of {asked.samples}", mean)
            made.numbers |= distribution_metrics(voxels, pet[mask])
            known = np.isfinite(truth)
            drawn = means[:, known]
            of_regions = distribution_metrics(drawn, truth[known])
            made.numbers |= {f"region_{key}": value for key, value in of_regions.items()}
            made.numbers["region_energy"] = energy_score(drawn, truth[known])
            made.ranks = np.full(len(truth), np.nan)
            made.ranks[known] = ranks(drawn, truth[known])
            yield made
    truth_of_case = truth_file(asked.case, "mean")
    if truth_of_case is not None:
        yield answer("conditional mean (truth)", read_scan(truth_of_case).data)


def draw(
    predictor: SamplingPredictor, prepared: PreparedT1, case: Case, samples: int, seed: int, kernels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Samples for a case.

    Args:
        kernels: weights of the regions' voxels, ``(regions, voxels)``.

    Returns:
        Their mean on the grid, their voxels of the brain ``(K, n)`` and their region means ``(K, regions)``.

    Raises:
        InputError: as ``evaluate``.
    """
    total, voxels, means = np.zeros(prepared.grid.shape), [], []
    for image in islice(predictor.sample(prepared, case.attributes, samples, seed), samples):
        image = _checked(predictor, image, prepared, case)
        total += image
        voxels.append(image[prepared.mask].astype(np.float32))
        means.append(kernels @ image.ravel())
    if len(voxels) < samples:
        raise _MethodError(f"{predictor.name} draws {len(voxels)} PETs for {case.name}, not {samples}.")
    return (total / samples).astype(np.float32), np.array(voxels), np.array(means)


def _checked(predictor: Predictor, image: np.ndarray, prepared: PreparedT1, case: Case) -> np.ndarray:
    image, shape = np.asarray(image), tuple(prepared.grid.shape)
    if image.shape != shape:
        raise _MethodError(f"{predictor.name} gives a PET of the shape {image.shape} for {case.name}, not {shape}.")
    if not np.isfinite(image).all():
        raise _MethodError(f"{predictor.name} gives values that are not finite (NaN or infinity) for {case.name}.")
    return image
