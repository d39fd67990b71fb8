"""Running statistics of drawn PETs: mean, spread, probabilities and region means, in memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["Distribution", "Draws"]


@dataclass
class Distribution:
    """K PETs drawn under one law, on the grid.

    Attributes:
        mean: voxelwise, SUVR, float32.
        sd: voxelwise standard deviation of one sample; None for a single one.
        error: standard error of ``mean`` as an estimate of the law's mean; None where it is unknown (a single
            sample, or one antithetic pair).
        below: share of the samples whose SUVR is below the threshold that was asked for, or None.
        regions: mean SUVR of each sample in each region that was asked for, ``(samples, regions)``, or None.
        samples: how many were drawn.
    """

    mean: np.ndarray
    sd: np.ndarray | None
    error: np.ndarray | None
    below: np.ndarray | None
    regions: np.ndarray | None
    samples: int

    def interval(self, level: float = 0.9) -> np.ndarray:
        """Central interval of each region's mean, ``(2, regions)``: what a further sample lies in with probability
        ``level``.

        Order statistics at the ranks (K + 1) · (1 ∓ level) / 2 (Hyndman & Fan 1996, type 6), which hold for any law
        if the samples are independent; antithetic ones come close.

        Raises:
            InputError: if there are too few samples for those ranks to exist: 90 % needs 19.
        """
        if self.regions is None:
            raise ValueError("No regions were asked for.")
        tail = (1 - level) / 2
        need = int(np.ceil(1 / tail - 1 - 1e-9))
        if len(self.regions) < need:
            raise InputError(f"A central {100 * level:g} % interval needs {need} samples, not {len(self.regions)}.")
        return np.quantile(self.regions, (tail, 1 - tail), axis=0, method="weibull")


class _Moments:
    """Running mean and sum of squared deviations (Welford 1962)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, None, None

    def add(self, image: Tensor) -> None:
        self.count += 1
        if self.mean is None:
            self.mean, self.squares = image.clone(), torch.zeros_like(image)
            return
        change = image - self.mean
        self.mean += change / self.count
        self.squares += change * (image - self.mean)


class Draws:
    """Collects samples one by one.

    Args:
        antithetic: whether they come in pairs, the second of each with the first's noise negated. Their mean is as
            unbiased as that of independent ones and varies less; the spread is corrected for the pairing.
        below: threshold in SUVR.
        regions: weights of each region's voxels that sum to 1, ``(regions, *shape)``.
    """

    def __init__(self, antithetic: bool = False, below: float | None = None, regions: np.ndarray | None = None) -> None:
        self.antithetic, self.threshold = antithetic, below
        self.weights = None if regions is None else torch.tensor(np.asarray(regions, dtype=np.float32))
        self.images, self.pairs = _Moments(), _Moments()
        self.waiting: Tensor | None = None
        self.below: Tensor | None = None
        self.rows: list[Tensor] = []

    def add(self, image: Tensor) -> None:
        """One more sample, SUVR, float32, of the grid's shape."""
        self.images.add(image)
        if self.threshold is not None:
            under = (image < self.threshold).to(torch.int32)
            self.below = under if self.below is None else self.below + under
        if self.weights is not None:
            self.weights = self.weights.to(image.device)
            self.rows.append(torch.tensordot(self.weights, image, image.dim()).cpu())
        if self.antithetic:
            if self.waiting is None:
                self.waiting = image
            else:
                self.pairs.add(0.5 * (self.waiting + image))
                self.waiting = None

    def result(self) -> Distribution:
        """What the samples so far say."""
        count, mean = self.images.count, self.images.mean
        sd = error = None
        if count > 1 and not self.antithetic:
            sd = (self.images.squares / (count - 1)).sqrt()
            error = sd / count**0.5
        elif count > 1:
            # Σ(x − mean)² / K falls short of the variance by that of the mean, which pairs of known mean tell.
            pairs = self.pairs.count
            of_mean = self.pairs.squares / (pairs * max(pairs - 1, 1))
            sd = (self.images.squares / count + of_mean).sqrt()
            error = of_mean.sqrt() if pairs > 1 else None
        return Distribution(
            mean=mean.cpu().numpy(),
            sd=None if sd is None else sd.cpu().numpy(),
            error=None if error is None else error.cpu().numpy(),
            below=None if self.below is None else (self.below / count).float().cpu().numpy(),
            regions=torch.stack(self.rows).numpy() if self.rows else None,
            samples=count,
        )
