"""What a few cases tell of a site without training: how bright its scans are, and where its mean PET lies elsewhere."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..bundle.bundle import Bundle
from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..model.link import UNetLink
from ..preparation.t1 import PreparedT1
from ..synthesis.predictor import ModelPredictor
from ..synthesis.synthesizer import Synthesizer

__all__ = ["Maps", "apply_maps", "errors", "fit_maps", "surely_better", "with_weights"]

_T1_GAINS = (0.92, 1.0, 1.08)  # training varies a T1 by 5 %, so that a model hardly minds more
_SMOOTHING = 1.0  # voxels, of the mean residual
_MOST = 100  # cases; more tell little more of these, and would have to be kept in memory


@dataclass(frozen=True)
class Maps:
    """A site's intensities as a model is to see them.

    Attributes:
        t1_gain, pet_gain: what the site's T1s and PETs are, relative to the model's: its scales times these.
        base: what is added to the link's mean image, ``(1, 1, *grid.shape)`` in the model's units; None for nothing.
    """

    t1_gain: float
    pet_gain: float
    base: torch.Tensor | None = None


def with_weights(bundle: Bundle, weights: dict[str, torch.Tensor]) -> Bundle:
    """The bundle with other weights and no calibration."""
    model = copy.deepcopy(bundle.model).cpu()
    model.load_state_dict(weights)
    return replace(bundle, model=model.eval().requires_grad_(False), digest="", calibration=None)


def apply_maps(bundle: Bundle, maps: Maps) -> Bundle:
    """The bundle for scans of a site: other scales, and another mean image."""
    weights = bundle.model.state_dict()
    if maps.base is not None:
        weights["link.base_mean"] = weights["link.base_mean"].cpu() + maps.base
    made = with_weights(bundle, weights)
    return replace(made, t1_scale=bundle.t1_scale * maps.t1_gain, pet_scale=bundle.pet_scale * maps.pet_gain)


def _predicted(
    bundle: Bundle, cases: Sequence[Case], device: torch.device
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The model's PET, the acquired one (both SUVR) and the mask of each case."""
    predictor = ModelPredictor(Synthesizer(bundle, device))
    for case in cases:
        t1, pet, mask = read_on_grid(case, bundle.grid)
        yield predictor.predict(PreparedT1(bundle.grid, t1, mask), case.attributes), pet, mask


def errors(bundle: Bundle, cases: Sequence[Case], device: torch.device) -> np.ndarray:
    """Mean squared error in the brain of the PET at temperature 0, SUVR², of each case."""
    return np.array([np.mean((made - pet)[mask] ** 2) for made, pet, mask in _predicted(bundle, cases, device)])


def surely_better(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether errors of the same cases became smaller by more than a standard error of their differences."""
    gain = before - after
    return bool(gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)))


def fit_maps(
    bundle: Bundle,
    fitting: Sequence[Case],
    held_out: Sequence[Case],
    device: torch.device,
    progress: Callable[[float], None] = lambda share: None,
) -> Maps | None:
    """Gains and mean residual by least squares; None if they don't help.

    The T1's gain is the lowest point of a parabola through three tries; the PET's brings the predictions nearest to the
    PETs. Of the mean residual each voxel keeps what is more than chance (James and Stein's shrinkage, over a
    neighbourhood), alike left and right. The level of uptake varies so much between persons that a few who are held
    out can't tell whether a site's is another: each of all cases is predicted with what the others give.

    Args:
        bundle: the model.
        fitting: the cases whose maps are returned.
        held_out: more cases, to judge by.
        device: where to compute.
        progress: called with the share that is done.
    """
    fitting, held_out, squares, before = fitting[:_MOST], held_out[:_MOST], [], np.zeros(0)
    steps = len(_T1_GAINS) * len(fitting) + len(fitting) + len(held_out)
    for index, gain in enumerate(_T1_GAINS):
        sums = []
        for done, (made, pet, mask) in enumerate(_predicted(_with_t1(bundle, gain), fitting, device), 1):
            made, pet = made[mask].astype(np.float64), pet[mask].astype(np.float64)
            sums.append((made @ pet, made @ made, pet @ pet, np.mean((made - pet) ** 2)))
            progress((index * len(fitting) + done) / steps)
        cross, power, total, error = np.array(sums).T
        squares.append(total.sum() - cross.sum() ** 2 / power.sum())
        before = error if gain == 1 else before
    t1_gain = round(_lowest(_T1_GAINS, squares), 4)
    cases, images = [*fitting, *held_out], []
    for done, image in enumerate(_predicted(_with_t1(bundle, t1_gain), cases, device), 1):
        images.append(image)
        progress((len(_T1_GAINS) * len(fitting) + done) / steps)
    before = np.concatenate([before, errors(bundle, held_out, device)])
    after = []
    for left_out, (made, pet, mask) in enumerate(images):
        gain, base = _pet_map(bundle, [image for index, image in enumerate(images) if index != left_out])
        after.append(np.mean((gain * made + base - pet)[mask] ** 2))
    if not surely_better(before, np.array(after)):
        return None
    gain, base = _pet_map(bundle, images[: len(fitting)])
    image = torch.from_numpy(base / (bundle.pet_scale * gain)).float()[None, None]
    return Maps(t1_gain, gain, image if isinstance(bundle.model.link, UNetLink) else None)


def _with_t1(bundle: Bundle, gain: float) -> Bundle:
    return replace(bundle, t1_scale=bundle.t1_scale * gain)


def _pet_map(bundle: Bundle, images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[float, np.ndarray]:
    """The PETs over the predictions, and what is left of their mean, SUVR; 0 for a link without a mean image."""
    cross = sum(float(made[mask] @ pet[mask]) for made, pet, mask in images)
    gain = round(cross / sum(float(made[mask] @ made[mask]) for made, _, mask in images), 4)
    if not isinstance(bundle.model.link, UNetLink):
        return gain, np.zeros(images[0][0].shape)
    return gain, _beyond_chance(np.array([pet - gain * made for made, pet, _ in images]))


def _lowest(places: Sequence[float], values: Sequence[float]) -> float:
    """Where a parabola through three points is lowest, no farther out than they are."""
    a, b, _ = np.polyfit(places, values, 2)
    lowest = -b / (2 * a) if a > 0 else places[int(np.argmin(values))]
    return float(np.clip(lowest, min(places), max(places)))


def _beyond_chance(residuals: np.ndarray) -> np.ndarray:
    """The mean of ``(n, I, J, K)`` over n, made alike left and right, less what n cases leave to chance."""
    from scipy.ndimage import gaussian_filter

    both = 0.5 * (residuals + residuals[:, ::-1])
    mean = gaussian_filter(both.mean(0), _SMOOTHING)
    chance = gaussian_filter(both.var(0, ddof=1), _SMOOTHING) / len(both)
    power = gaussian_filter(mean**2, _SMOOTHING)
    return mean * np.clip(1 - chance / np.maximum(power, 1e-12), 0, 1)
