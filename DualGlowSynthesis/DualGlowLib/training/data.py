"""The cases of a run, in memory, and batches of them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..errors import InputError
from ..simulate.cohort import truth_file
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from .settings import steps_per_epoch

__all__ = [
    "Batch",
    "Cohort",
    "checksum_of",
    "fitting_scale",
    "highest_of",
    "mean_file",
    "read_images",
    "split_subjects",
    "step_generator",
    "step_indices",
]

T1_SCALE = 1.5  # prepared T1s are clipped there
# Highest SUVR to any region differs between healthy and ill by less than 2; units differ by more than 100. Relative to
# the pons it is 2 to 4, to the smallest regions below 10.
_FACTOR, _HIGHEST_SUVR = 5.0, 30.0


@dataclass
class Batch:
    """Images ``(B, 1, *shape)`` in the model's units and the covariates of each case; what the user should know.

    ``mean`` is what each PET was drawn around, where a cohort has that.
    """

    pet: Tensor
    mri: Tensor
    covariates: list[dict[str, str]]
    notes: list[str] = field(default_factory=list)
    mean: Tensor | None = None

    def pin_memory(self) -> Batch:
        """The same in pages that a GPU copies from by itself; torch's ``DataLoader`` asks for it."""
        mean = None if self.mean is None else self.mean.pin_memory()
        return replace(self, pet=self.pet.pin_memory(), mri=self.mri.pin_memory(), mean=mean)


class Cohort:
    """Prepared scans of a cohort, kept in float16 (a thousand cases of 48×64×48 are 0.6 GB)."""

    def __init__(
        self,
        t1: Tensor,
        pet: Tensor,
        cases: Sequence[Case],
        pet_scale: float,
        checksums: Sequence[str] = (),
        mean: Tensor | None = None,
    ) -> None:
        self.t1, self.pet, self.cases, self.pet_scale, self.mean = t1, pet, list(cases), pet_scale, mean
        self._checksums = list(checksums)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a case's image: channel and space."""
        return tuple(self.pet.shape[1:])

    @classmethod
    def load(
        cls,
        cases: Sequence[Case],
        grid: Grid,
        pet_scale: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        known_mean: bool = False,
    ) -> Cohort:
        """Read every case; scans must lie on ``grid`` already, as ``simulate`` writes them.

        Args:
            cases: what to read.
            grid: the model's lattice.
            pet_scale: SUVR that becomes 1 in the model; by default a little above the cohort's highest.
            progress: called with the number read and the number to read.
            known_mean: also read the mean that each PET was drawn around.

        Raises:
            InputError: for a scan that can't be read or lies elsewhere, or PETs that are not SUVR like the others.
        """
        kinds = 3 if known_mean else 2
        images = [torch.zeros(len(cases), 1, *grid.shape, dtype=torch.float16) for _ in range(kinds)]
        for i, case in enumerate(cases):
            for target, values in zip(images, read_images(case, grid, known_mean), strict=True):
                target[i, 0] = values
            if progress:
                progress(i + 1, len(cases))
        checksums = [checksum_of(*of_case) for of_case in zip(*images, strict=True)]
        t1, pet, *means = images
        t1 /= T1_SCALE
        if pet_scale is None:
            pet_scale = fitting_scale(cases, [highest_of(image) for image in pet])
        for image in (pet, *means):
            image /= pet_scale
        return cls(t1, pet, cases, pet_scale, checksums, *means)

    def subset(self, indices: Sequence[int]) -> Cohort:
        """Some of the cases; those of a range have their images in common with this cohort."""
        is_run = isinstance(indices, range) and indices.step == 1
        index = slice(indices.start, indices.stop) if is_run else torch.as_tensor(indices, dtype=torch.long)
        checksums = [self._checksums[i] for i in indices] if self._checksums else ()
        cases, mean = [self.cases[i] for i in indices], None if self.mean is None else self.mean[index]
        return Cohort(self.t1[index], self.pet[index], cases, self.pet_scale, checksums, mean)

    def checksums(self) -> dict[str, str]:
        """``checksum_of`` the images of each case, as they were read, by its name; of those where it is known."""
        return dict(zip((case.name for case in self.cases), self._checksums, strict=False))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Voxelwise mean and standard deviation of the PET, each ``(1, *shape)``, made left-right symmetric."""
        total, squares = torch.zeros(self.shape), torch.zeros(self.shape)
        count = 0
        for image in self._pets():
            # One case that is not finite, which its batch is skipped for, must not take every other batch with it.
            if not image.isfinite().all():
                continue
            image, count = image.float(), count + 2
            for side in (image, image.flip(1)):
                total += side
                squares += side.square()
        mean = total / count
        return mean, (squares / count - mean.square()).clamp_min(0).sqrt()

    def _pets(self) -> Iterable[Tensor]:
        """Each case's PET, ``(1, *shape)``, float16."""
        return self.pet

    def _images(self, indices: Sequence[int]) -> tuple[list[Tensor], list[str]]:
        """T1s, PETs and, where they are known, means ``(B, 1, *shape)``, float16; and what the user should know."""
        index = torch.as_tensor(indices, dtype=torch.long)
        return [image[index] for image in (self.t1, self.pet, self.mean) if image is not None], []

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
        images, notes = self._images(indices)
        t1, pet, *mean = images = [image.float() for image in images]
        if draws is not None:
            flip, gain, gamma = draws
            for i in range(len(indices)):
                if flip[i] < 0.5:
                    for image in images:
                        image[i] = image[i].flip(1)
                level = t1[i] * T1_SCALE
                t1[i] = (0.95 + 0.1 * gain[i]) * level.pow(0.85 + 0.3 * gamma[i]) / T1_SCALE
        return Batch(pet, t1, [self.cases[i].attributes for i in indices], notes, *mean)


def read_images(case: Case, grid: Grid, known_mean: bool = False) -> list[Tensor]:
    """Normalised T1, PET and, if it is asked for, the mean that the PET was drawn around, both in SUVR, float16.

    Raises:
        InputError: for a scan that can't be read or lies elsewhere; if the mean isn't known.
    """
    images = list(read_on_grid(case, grid)[:2])
    if known_mean:
        scan = read_scan(mean_file(case))
        if not grid.holds(scan.shape, scan.affine):
            raise InputError(f"{scan.source} does not lie on the grid {grid.name!r}; simulate the cohort anew.")
        images.append(scan.data)
    return [torch.from_numpy(np.ascontiguousarray(image)).half() for image in images]


def mean_file(case: Case) -> Path:
    """Where the mean is that a case's PET was drawn around.

    Raises:
        InputError: if it isn't known.
    """
    if path := truth_file(case, "mean"):
        return path
    raise InputError(
        f"The mean that the PET of {case.name} was drawn around isn't known; take known_mean, which is for "
        "cohorts that simulate wrote, out of the settings."
    )


def step_generator(seed: int, step: int, stream: int) -> torch.Generator:
    """Source of what is random in one step; streams are for the order, augmentation, noise, and so on."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 16 + stream)


def step_indices(step: int, count: int, batch: int, seed: int) -> list[int]:
    """Cases of a step: every epoch is one shuffle of the cohort."""
    per_epoch, batch = steps_per_epoch(count, batch), min(batch, count)
    order = torch.randperm(count, generator=step_generator(seed, step // per_epoch, 0))
    start = step % per_epoch * batch
    return order[start : start + batch].tolist()


def checksum_of(*images: Tensor) -> str:
    """CRC-32 of images in float16, before they are scaled, as 8 hexadecimal digits."""
    total = 0
    for image in images:
        total = zlib.crc32(image.contiguous().numpy(), total)
    return f"{total:08x}"


def highest_of(image: Tensor) -> float:
    """The SUVR of the brightest 1 in 10,000 voxels of a PET."""
    return float(np.quantile(image.float().numpy(), 0.9999))


def fitting_scale(cases: Sequence[Case], highest: Sequence[float]) -> float:
    """The SUVR that becomes 1 in the model: a little above the cohort's highest.

    Raises:
        InputError: if there is no uptake, or naming the cases whose PETs are in another unit, which would set the scale
            for all.
    """
    scale = round(1.2 * _highest_uptake(cases, np.array(highest)), 2)
    if not scale > 0:
        raise InputError("The PET scans hold no uptake above 0; check that they are SUVR images.")
    return scale


def _highest_uptake(cases: Sequence[Case], highest: np.ndarray) -> float:
    """The highest of the cohort, given that of each case."""
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
