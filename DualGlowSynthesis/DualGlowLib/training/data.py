"""The cases of a run in memory, and batches of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..errors import InputError
from ..volumes.grid import Grid

__all__ = ["Batch", "Cohort", "split_subjects"]

T1_SCALE = 1.5  # prepared T1s are clipped there
# Highest SUVR to any region differs between healthy and ill by less than 2; units differ by more than 100. Relative to
# the pons it is 2 to 4, to the smallest regions below 10.
_FACTOR, _HIGHEST_SUVR = 5.0, 30.0


@dataclass
class Batch:
    """Images ``(B, 1, *shape)`` in the model's units and the covariates of each case."""

    pet: Tensor
    mri: Tensor
    covariates: list[dict[str, str]]


class Cohort:
    """Prepared scans of a cohort, kept in float16 (a thousand cases of 48×64×48 are 0.6 GB)."""

    def __init__(self, t1: Tensor, pet: Tensor, cases: Sequence[Case], pet_scale: float) -> None:
        self.t1, self.pet, self.cases, self.pet_scale = t1, pet, list(cases), pet_scale

    def __len__(self) -> int:
        return len(self.cases)

    @classmethod
    def load(
        cls,
        cases: Sequence[Case],
        grid: Grid,
        pet_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Cohort:
        """Read every case; scans must lie on ``grid`` already, as ``simulate`` writes them.

        Args:
            cases: what to read.
            grid: the model's lattice.
            pet_scale: SUVR that becomes 1 in the model; by default a little above the cohort's highest.
            progress: called with the number read and the number to read.

        Raises:
            InputError: for a scan that can't be read or lies elsewhere, or PETs that are not SUVR like the others.
        """
        t1 = torch.zeros(len(cases), 1, *grid.shape, dtype=torch.float16)
        pet = torch.zeros_like(t1)
        for i, case in enumerate(cases):
            for target, values in zip((t1, pet), read_on_grid(case, grid), strict=False):
                target[i, 0] = torch.from_numpy(np.ascontiguousarray(values)).half()
            if progress:
                progress(i + 1, len(cases))
        t1 /= T1_SCALE
        if pet_scale is None:
            pet_scale = round(1.2 * _highest_uptake(cases, pet), 2)
        if not pet_scale > 0:
            raise InputError("The PET scans hold no uptake above 0; check that they are SUVR images.")
        pet /= pet_scale
        return cls(t1, pet, cases, pet_scale)

    def subset(self, indices: Sequence[int]) -> Cohort:
        index = torch.as_tensor(indices, dtype=torch.long)
        return Cohort(self.t1[index], self.pet[index], [self.cases[i] for i in indices], self.pet_scale)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Voxelwise mean and standard deviation of the PET, each ``(1, *shape)``, made left-right symmetric."""
        total, squares = torch.zeros(self.pet.shape[1:]), torch.zeros(self.pet.shape[1:])
        # One case that is not finite, which its batch is skipped for, must not take every other batch with it.
        sound = [image for image in self.pet if image.isfinite().all()]
        for image in sound:
            image = image.float()
            for side in (image, image.flip(1)):
                total += side
                squares += side.square()
        mean = total / (2 * len(sound))
        return mean, (squares / (2 * len(sound)) - mean.square()).clamp_min(0).sqrt()

    def batch(self, indices: Sequence[int], augment: torch.Generator | None = None, rows: slice = slice(None)) -> Batch:
        """The given cases; with a generator, each flipped at random and its T1's intensities changed a little.

        A flip is exact: grids are symmetric about the midline, and no law that we model prefers a side.

        Args:
            indices: of the cases.
            augment: source of what is random; None to leave the cases as they are.
            rows: those of the cases that are wanted, as they would be among the others.
        """
        draws = None if augment is None else torch.rand(3, len(indices), generator=augment)[:, rows]
        indices = list(indices)[rows]
        index = torch.as_tensor(indices, dtype=torch.long)
        t1, pet = self.t1[index].float(), self.pet[index].float()
        if draws is not None:
            flip, gain, gamma = draws
            for i in range(len(index)):
                if flip[i] < 0.5:
                    t1[i], pet[i] = t1[i].flip(1), pet[i].flip(1)
                level = t1[i] * T1_SCALE
                t1[i] = (0.95 + 0.1 * gain[i]) * level.pow(0.85 + 0.3 * gamma[i]) / T1_SCALE
        return Batch(pet, t1, [self.cases[i].attributes for i in indices])


def _highest_uptake(cases: Sequence[Case], pet: Tensor) -> float:
    """The highest SUVR of the cohort, of each image that of the brightest 1 in 10,000 voxels.

    Raises:
        InputError: naming the cases whose PETs are in another unit, which would set the scale for all.
    """
    highest = np.array([float(np.quantile(image.float().numpy(), 0.9999)) for image in pet])
    known = highest[np.isfinite(highest)]
    usual = float(np.median(known)) if len(known) else 0.0
    odd = [i for i, value in enumerate(highest) if value > min(max(_FACTOR * usual, 1.0), _HIGHEST_SUVR)]
    if usual > 0:
        odd += [i for i, value in enumerate(highest) if 0 < value < usual / _FACTOR]
    if odd:
        named = ", ".join(f"{cases[i].name} ({highest[i]:.4g})" for i in odd[:3])
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise InputError(
            f"The PETs of {named}{more} reach values that are not SUVR, or not relative to the region that the others' "
            f"are (at {usual:.4g}); prepare them, or take them out."
        )
    return float(known.max()) if len(known) else 0.0


def split_subjects(cases: Sequence[Case], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices for training and for validation; all cases of a person fall on one side."""
    subjects = sorted({case.fold_group for case in cases})
    random.Random(seed).shuffle(subjects)
    count = min(len(subjects) - 1, max(1, round(share * len(subjects)))) if share > 0 and len(subjects) > 1 else 0
    held = set(subjects[:count])
    train = [i for i, case in enumerate(cases) if case.fold_group not in held]
    return train, [i for i, case in enumerate(cases) if case.fold_group in held]
