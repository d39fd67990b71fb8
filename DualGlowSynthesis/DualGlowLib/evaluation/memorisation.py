"""Whether a method gives PETs back that it was trained on, in place of new ones.

A PET that is made by heart lies near one training PET and far from all others; a new one lies about as far from the
nearest as from the next. The quotient of the two distances (nearest neighbour distance ratio) tells them apart whatever
the level of noise, and also from a mean image, which is near to all. What is small for it the held-out PETs themselves
say, which are new for certain. Distances are root mean squares in the brain, of images whose voxels were averaged to
some 6 mm: finer noise on a copy would hide it. Compare Carlini et al., Extracting Training Data from Diffusion Models,
USENIX Security 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..cases.records import shared_pet
from ..errors import InputError
from ..preparation.t1 import PreparedT1
from ..synthesis.predictor import Predictor, SamplingPredictor
from ..volumes.grid import Grid
from .tables import case_seed

__all__ = ["memorisation", "memorisation_text"]

_COARSE = 6.0  # mm
_NEARER = 0.8  # times the lowest quotient of a real PET: below that a sample counts as a copy
_MOST_COPIES = 0.05
_LEAST_CASES, _LEAST_PERSONS = 5, 3


def memorisation(
    predictor: Predictor,
    cases: Sequence[Case],
    training: Sequence[Case],
    grid: Grid,
    samples: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Compare samples for cases, and their own PETs, with the nearest of the PETs that a method was trained on.

    Args:
        predictor: the method.
        cases: not used in its training.
        training: those that were; sessions of one person count as one.
        grid: that all lie on.
        samples: of each case, if the method draws some; else, and for 0, what it predicts.
        seed: of the samples, see ``tables.case_seed``.
        progress: called with the number of cases done, training ones too, and the number to do.

    Returns:
        ``flagged``; ``verdict`` (a sentence); ``samples`` (how many in all), ``held_out``, ``training`` (cases);
        ``copies`` (share of the samples whose quotient is below ``threshold``); ``distance`` in SUVR, means:
        ``sample_to_training``, ``truth_to_training`` (to the nearest) and ``sample_to_truth``; ``ratio``: medians of
        the quotient of ``samples`` and ``truths``, and ``lowest_truth``; ``cases``: of each its numbers, and
        ``nearest``, the training case that its samples are nearest to.

    Raises:
        InputError: if there are too few cases, one can't be read, or a case's PET is among those of the training.
    """
    persons = sorted({case.fold_group for case in training})
    if len(cases) < _LEAST_CASES or len(persons) < _LEAST_PERSONS:
        raise InputError(
            f"There are {len(cases)} cases and {len(persons)} persons that the model was trained on; to look for "
            f"memorised PETs takes at least {_LEAST_CASES} and {_LEAST_PERSONS}."
        )
    _refuse_shared(cases, training)
    total = len(cases) + len(training)
    known = np.empty((len(training), *_coarse(np.zeros(grid.shape), grid).shape), np.float32)
    for done, case in enumerate(training):
        known[done] = _coarse(read_on_grid(case, grid)[1], grid)
        if progress:
            progress(done + 1, total)
    groups = np.array([persons.index(case.fold_group) for case in training])
    rows = []
    for done, case in enumerate(cases, len(training) + 1):
        t1, pet, mask = read_on_grid(case, grid)
        inside = _coarse(mask, grid) > 0.5
        compared, truth = known[:, inside], _coarse(pet, grid)[inside]
        made = [
            _coarse(np.asarray(image, np.float32), grid)[inside]
            for image in _images(predictor, PreparedT1(grid, t1, mask), case, samples, case_seed(seed, case))
        ]
        near = [_nearest(image, compared, groups) for image in made]
        own = _nearest(truth, compared, groups)
        rows.append(
            {
                "case": case.name,
                "nearest": training[min(near)[2]].name,
                "sample_to_training": float(np.mean([distance for distance, _, _ in near])),
                "sample_to_truth": float(np.mean([_distance(image, truth) for image in made])),
                "truth_to_training": own[0],
                "sample_ratios": [ratio for _, ratio, _ in near],
                "truth_ratio": own[1],
            }
        )
        if progress:
            progress(done, total)
    return _summary(rows, len(training))


def _summary(rows: list[dict], training: int) -> dict:
    ratios = np.concatenate([row["sample_ratios"] for row in rows])
    truths = np.array([row["truth_ratio"] for row in rows])
    threshold = _NEARER * float(truths.min())
    copies = float(np.mean(ratios < threshold))
    keys = ("sample_to_training", "truth_to_training", "sample_to_truth")
    distance = {key: float(np.mean([row[key] for row in rows])) for key in keys}
    found = {
        "flagged": copies > _MOST_COPIES,
        "samples": len(ratios),
        "held_out": len(rows),
        "training": training,
        "threshold": threshold,
        "copies": copies,
        "distance": distance,
        "ratio": {
            "samples": float(np.median(ratios)),
            "truths": float(np.median(truths)),
            "lowest_truth": float(truths.min()),
        },
    }
    return {**found, "verdict": _verdict(found), "cases": rows}


def _verdict(found: Mapping) -> str:
    distance = found["distance"]
    what = "PETs of its training come back" if found["flagged"] else "no PET of its training comes back"
    return (
        f"{what}: {100 * found['copies']:.1f} % of {found['samples']} samples for {found['held_out']} held-out cases "
        f"are nearer to one of {found['training']} training PETs than any new PET is; mean distance to the nearest "
        f"{distance['sample_to_training']:.3f} SUVR (held-out PETs {distance['truth_to_training']:.3f}), to the case's "
        f"own PET {distance['sample_to_truth']:.3f}"
    )


def memorisation_text(found: Mapping) -> str:
    """The verdict and a table in Markdown."""
    distance, ratio = found["distance"], found["ratio"]
    own = f"{distance['sample_to_truth']:.4f}"
    return "\n".join(
        [
            "| memorisation | to the nearest of training, SUVR | over that of the next person | to its own PET, SUVR |",
            "|---|---|---|---|",
            f"| samples | {distance['sample_to_training']:.4f} | {ratio['samples']:.3f} | {own} |",
            f"| held-out PETs | {distance['truth_to_training']:.4f} | {ratio['truths']:.3f} | 0 |",
            "",
            f"{found['verdict']}.",
        ]
    )


def _images(
    predictor: Predictor, prepared: PreparedT1, case: Case, samples: int, seed: int
) -> Iterator[np.ndarray] | list[np.ndarray]:
    if samples and isinstance(predictor, SamplingPredictor):
        drawn: Iterable[np.ndarray] = predictor.sample(prepared, case.attributes, samples, seed)
        return islice(iter(drawn), samples)
    return [predictor.predict(prepared, case.attributes)]


def _coarse(image: np.ndarray, grid: Grid) -> np.ndarray:
    """Means over blocks of some 6 mm; what is left over at the far sides is cut off."""
    sides = [max(1, round(_COARSE / size)) for size in grid.spacing]
    whole = image[tuple(slice(length // side * side) for length, side in zip(image.shape, sides, strict=True))]
    blocks = [part for length, side in zip(whole.shape, sides, strict=True) for part in (length // side, side)]
    return whole.reshape(blocks).mean((1, 3, 5))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2, dtype=np.float64)))


def _nearest(image: np.ndarray, known: np.ndarray, groups: np.ndarray) -> tuple[float, float, int]:
    """Distance to the nearest of the known images, the same over that to another person's nearest, and its place."""
    distances = np.array([_distance(image, one) for one in known])
    first = int(distances.argmin())
    return float(distances[first]), float(distances[first] / distances[groups != groups[first]].min()), first


def _refuse_shared(cases: Sequence[Case], training: Sequence[Case]) -> None:
    if shared := shared_pet(cases, training):
        raise InputError(
            "{} has the same PET as {} of the training; give cases that the model has not seen, or --splits and "
            "--fold.".format(*shared)
        )
