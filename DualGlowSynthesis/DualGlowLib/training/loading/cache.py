"""The cases of a run on disk: one file each, in float16, from which batches are read."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ...cases.case import Case
from ...cases.records import digest
from ...devices import computer_memory
from ...errors import InputError
from ...files import make_folder, write_whole
from ...volumes.grid import Grid
from ..data import T1_SCALE, Cohort, checksum_of, fitting_scale, highest_of, mean_file, read_images
from ..pace import size_of

__all__ = ["CachedCohort", "VoxelCache", "belongs_on_disk", "cohort_bytes"]

_IN_MEMORY = 4 << 30  # bytes that a cohort in memory may take
_SHARE = 0.25  # of the free memory
_SPARE = 64 << 20  # bytes of the disk that are left to others
_ENDING = ".voxels"
_MARK = "DualGlow voxels"


def cohort_bytes(cases: int, grid: Grid, known_mean: bool = False) -> int:
    """T1s, PETs and, where they are asked for, known means in float16."""
    return 2 * (3 if known_mean else 2) * cases * grid.shape[0] * grid.shape[1] * grid.shape[2]


def belongs_on_disk(cases: int, grid: Grid, data: str, known_mean: bool = False) -> bool:
    """Whether that many cases are to be read from disk, by the setting ``data``: "auto" decides by their size."""
    if data != "auto":
        return data == "disk"
    free = computer_memory()
    return cohort_bytes(cases, grid, known_mean) > min(_IN_MEMORY, _SHARE * free if free else _IN_MEMORY)


class VoxelCache:
    """A folder of files, one for each case on one grid, that several runs may use at a time.

    A file is named after the scans that it was made from (their paths, sizes and times) and holds a checksum. One that
    is damaged or gone is made anew from the scans; the folder may be deleted whenever no run is at work.

    Args:
        folder: is made.
        grid: that the cases lie on.
        known_mean: whether a file also has the mean that the PET was drawn around.
    """

    def __init__(self, folder: Path, grid: Grid, known_mean: bool = False) -> None:
        self.folder, self.grid, self.known_mean = folder, grid, known_mean
        self._kinds = ("t1", "pet", "mean") if known_mean else ("t1", "pet")
        self._names: dict[tuple, str] = {}  # as long as a run goes on, a case's file stays the same

    def fill(
        self,
        cases: Sequence[Case],
        progress: Callable[[int, int], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> list[float]:
        """Make what is not there yet; gives ``highest_of`` each case's PET.

        Args:
            cases: of the run.
            progress: called with the number done and the number to do.
            note: called with what the user should know.

        Raises:
            InputError: for a scan that can't be read or lies elsewhere; if the folder can't be written, or the disk
                has no room for all.
        """
        make_folder(self.folder)
        missing = sum(not self._path(case).exists() for case in cases)
        need, free = cohort_bytes(missing, self.grid, self.known_mean), shutil.disk_usage(self.folder).free
        if missing and need + _SPARE > free:
            raise InputError(
                f"The cases to train on need {size_of(need)} in {self.folder}, and {size_of(_SPARE)} beside them, "
                f'where {size_of(free)} are free; free some, or set data to "memory" on a computer with as much of '
                "that."
            )
        highest = []
        for done, case in enumerate(cases, 1):
            try:
                highest.append(self._highest(case))
            except FileNotFoundError:
                highest.append(highest_of(self._make(case)[0][1]))
            except (OSError, ValueError) as error:
                highest.append(highest_of(self._make(case)[0][1]))
                if note:
                    note(_anew(case, error))
            if progress:
                progress(done, len(cases))
        return highest

    def read(self, case: Case) -> tuple[list[Tensor], str]:
        """What ``read_images`` gives, each of the grid's shape, float16; and what the user should know, if anything.

        Raises:
            InputError: if the file is damaged and the scans can't be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            path = self._path(case)
            content = path.read_bytes()
            found, about = load(content), _about(path)
            images = [found[kind] for kind in self._kinds]
            if {(image.dtype, image.shape) for image in images} != {(torch.float16, self.grid.shape)}:
                raise ValueError("its images are of another kind")
            if about["images"] != checksum_of(*images):
                raise ValueError("its checksum is wrong")
            return images, ""
        except (OSError, ValueError, LookupError, SafetensorError) as error:
            images, unwritten = self._make(case, must_write=False)
            return images, _anew(case, error, unwritten)

    def _path(self, case: Case) -> Path:
        scans = (case.t1, case.pet, case.mask, *([mean_file(case)] if self.known_mean else []))
        if scans not in self._names:
            seen = [self.grid.to_dict()]
            for path in scans:
                seen.append(str(path))
                with suppress(OSError, TypeError):  # a scan that has gone is known by its path alone
                    about = Path(path).stat()
                    seen.append([about.st_size, about.st_mtime_ns])
            self._names[scans] = digest(seen)[:32]
        return self.folder / f"{self._names[scans]}{_ENDING}"

    def _highest(self, case: Case) -> float:
        """
        Raises:
            OSError, ValueError: if there is no such file, or none that can be used.
        """
        return float(_about(self._path(case))["highest"])

    def checksum(self, case: Case) -> str:
        """``checksum_of`` a case's images, as its file states it.

        Raises:
            OSError, ValueError: if there is no such file, or none that can be used.
        """
        return _about(self._path(case))["images"]

    def write(self, case: Case, *images: Tensor) -> None:
        """Make the file of a case from what ``read`` is to give.

        Raises:
            InputError: if it can't be written.
        """
        from safetensors.torch import save

        about = {"generator": _MARK, "highest": repr(highest_of(images[1])), "images": checksum_of(*images)}
        about["crc32"] = _seal(about)
        write_whole(self._path(case), save(dict(zip(self._kinds, images, strict=True)), about), force=True)

    def _make(self, case: Case, must_write: bool = True) -> tuple[list[Tensor], str]:
        """The images of a case from its scans, as ``read`` gives them; and why its file couldn't be written."""
        unwritten, images = "", read_images(case, self.grid, self.known_mean)
        try:
            self.write(case, *images)
        except InputError as error:
            if must_write:
                raise
            unwritten = str(error).rstrip(".")
        return images, unwritten


def _about(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"it is no file of tensors ({error})") from None
    if about.get("generator") != _MARK or not {"highest", "images", "crc32"} <= about.keys():
        raise ValueError("it is none of DualGlow's")
    if about["crc32"] != _seal(about):
        raise ValueError("its checksum is wrong")
    return about


def _seal(about: Mapping[str, str]) -> str:
    """Checksum of what a file says of its images, which is read without them."""
    return f"{zlib.crc32((about['highest'] + about['images']).encode()):08x}"


def _anew(case: Case, error: Exception, unwritten: str = "") -> str:
    why = "was not there" if isinstance(error, FileNotFoundError) else f"was damaged ({error})"
    what = f"{unwritten}, so that its scans are read each time" if unwritten else "it was made anew from its scans"
    return f"The copy of {case.name} that batches are read from {why}; {what}."


class CachedCohort(Cohort):
    """A cohort whose images are read when a batch is asked for; what it gives is the same to the last bit.

    Args:
        cases: which.
        cache: where their voxels are.
        pet_scale: SUVR that becomes 1 in the model.
    """

    def __init__(self, cases: Sequence[Case], cache: VoxelCache, pet_scale: float) -> None:
        self.cases, self.cache, self.pet_scale = list(cases), cache, pet_scale
        self._known: dict[str, str] = {}
        self._unsaid: list[str] = []  # what the user should know, which the next batch tells

    @classmethod
    def open(
        cls,
        cases: Sequence[Case],
        cache: VoxelCache,
        progress: Callable[[int, int], None] | None = None,
        note: Callable[[str], None] | None = None,
    ) -> CachedCohort:
        """Put what isn't there yet into the cache; arguments and errors are those of ``VoxelCache.fill``."""
        return cls(cases, cache, fitting_scale(cases, cache.fill(cases, progress, note)))

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, *self.cache.grid.shape)

    def subset(self, indices: Sequence[int]) -> CachedCohort:
        return CachedCohort([self.cases[i] for i in indices], self.cache, self.pet_scale)

    def checksums(self) -> dict[str, str]:
        if not self._known:  # once, since every checkpoint states them
            for case in self.cases:
                with suppress(OSError, ValueError):
                    self._known[case.name] = self.cache.checksum(case)
        return self._known

    def _pets(self) -> Iterator[Tensor]:
        for index in range(len(self)):
            images, notes = self._images([index])
            self._unsaid += notes
            yield images[1][0]

    def _images(self, indices: Sequence[int]) -> tuple[list[Tensor], list[str]]:
        read = [self.cache.read(self.cases[i]) for i in indices]
        notes, self._unsaid = [*self._unsaid, *(note for _, note in read if note)], []
        scales = (T1_SCALE, *[self.pet_scale] * (2 if self.cache.known_mean else 1))
        if not read:
            return [torch.zeros(0, *self.shape, dtype=torch.float16) for _ in scales], notes
        kinds = zip(*(images for images, _ in read), strict=True)
        return [torch.stack(kind)[:, None] / scale for kind, scale in zip(kinds, scales, strict=True)], notes
