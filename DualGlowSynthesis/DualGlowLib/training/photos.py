"""The paper's two tasks on natural images (§4.4, Table 4): sketch to photo and cartoon to photo, of any folder.

The paper takes its sketches from a trained edge network (HED) and its cartoons from OpenCV. Here both are made of the
photo by filters: Canny edges at three scales, and a bilateral filter with dark outlines. scikit-image does the
filtering (the extra ``photos`` installs it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..cases.case import Case
from ..errors import InputError
from ..flow import FlowConfig
from ..model import LinkConfig, ModelConfig
from ..volumes.grid import Grid
from .data import Batch

__all__ = ["PHOTO_TASKS", "PhotoPairs", "PhotoTask", "cartoon", "read_photo", "shipped_photo", "sketch"]

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def _skimage() -> object:
    try:
        import skimage
    except ImportError as error:
        raise InputError(
            "Photos need the Python package scikit-image; install it with: pip install scikit-image"
        ) from error
    return skimage


def read_photo(path: Path | str, side: int) -> np.ndarray:
    """The middle square of an image file, ``side`` × ``side`` × 3 in 0..1, float32; transparent parts become white.

    Raises:
        InputError: for a file that is no image, or scikit-image missing.
    """
    skimage = _skimage()
    try:
        photo = skimage.util.img_as_float32(skimage.io.imread(path))
    except Exception as error:  # every reader behind imread has its own
        raise InputError(f"{path} can't be read as an image; remove it from the folder.") from error
    if photo.ndim == 2:
        photo = skimage.color.gray2rgb(photo)
    if photo.ndim != 3 or photo.shape[2] not in (3, 4):
        raise InputError(f"{path} holds no single grey or colour image (its array is {photo.shape}); remove it.")
    if photo.shape[2] == 4:
        photo = skimage.color.rgba2rgb(photo)
    width = min(photo.shape[:2])
    top, left = ((length - width) // 2 for length in photo.shape[:2])
    square = photo[top : top + width, left : left + width]
    return np.clip(skimage.transform.resize(square, (side, side), anti_aliasing=True), 0, 1).astype(np.float32)


def shipped_photo(name: str) -> np.ndarray:
    """One of scikit-image's own colour photos, ``(H, W, 3)`` in 0..1, float32; of a stereo pair the left one.

    Args:
        name: of a function of ``skimage.data``.

    Raises:
        InputError: if scikit-image is missing, or this version has to fetch that photo and can't.
    """
    skimage = _skimage()
    try:
        photo = getattr(skimage.data, name)()
    except Exception as error:  # of pooch, of the network, of the file
        raise InputError(
            f"scikit-image {skimage.__version__} gives no photo {name!r} ({error}); install 0.24 or newer."
        ) from error
    return skimage.util.img_as_float32(photo[0] if isinstance(photo, tuple) else photo)


def sketch(photo: np.ndarray) -> np.ndarray:
    """Lines where the photo has edges: Canny's edges (1986) at three scales, averaged; ``(H, W, 1)``, 1 on a line.

    An edge that shows at every scale, an outline, is bright; texture shows at the finest alone.
    """
    skimage = _skimage()
    grey = skimage.color.rgb2gray(photo)
    edges = [skimage.feature.canny(grey, sigma, 0.05, 0.15) for sigma in (1.0, 2.0, 3.0)]
    wide = [skimage.filters.gaussian(edge.astype(np.float32), 0.6) for edge in edges]  # so that scales overlap
    return np.clip(2.0 * np.mean(wide, axis=0), 0, 1)[..., None].astype(np.float32)


def cartoon(photo: np.ndarray) -> np.ndarray:
    """Flat colours and dark outlines; ``(H, W, 3)``.

    The usual recipe: bilateral filter (Tomasi & Manduchi 1998) at half the size, back to the full size, and black where
    the grey image is darker than its surroundings (adaptive threshold).
    """
    skimage = _skimage()
    shape = photo.shape[:2]
    small = skimage.transform.resize(photo, [side // 2 for side in shape], anti_aliasing=True)
    for _ in range(2):
        small = skimage.restoration.denoise_bilateral(
            small, win_size=7, sigma_color=0.05, sigma_spatial=3.0, mode="edge", channel_axis=-1
        )
    flat = skimage.transform.resize(small, shape, order=1)
    grey = skimage.filters.gaussian(skimage.color.rgb2gray(photo), 1.0)
    outline = grey < skimage.filters.threshold_local(grey, 9, method="mean", offset=0.02)
    return np.where(outline[..., None], 0.0, np.clip(flat, 0, 1)).astype(np.float32)


@dataclass(frozen=True)
class PhotoTask:
    """One of the paper's two experiments.

    Attributes:
        name: of the task.
        derive: makes the condition ``(H, W, channels)`` of a photo.
        channels: of the condition and of the photo.
        side: of the photos in the paper.
        levels, depth, link_layers: its Table 4.
    """

    name: str
    derive: Callable[[np.ndarray], np.ndarray]
    channels: tuple[int, int]
    side: int
    levels: int
    depth: int = 8
    link_layers: int = 8

    def config(
        self, side: int | None = None, levels: int | None = None, depth: int | None = None, width: int = 512
    ) -> ModelConfig:
        """The model: both flows and the relation network as in the paper, unless told otherwise.

        Table 4 gives no width; 512 is that of the brain experiments.

        Raises:
            InputError: if the side does not divide by 2^levels.
        """
        side, levels, depth = side or self.side, levels or self.levels, depth or self.depth
        flow = FlowConfig(depths=(depth,) * levels, widths=(width,) * levels)
        return ModelConfig(
            preset=self.name,
            shape=(side, side),
            mri=flow,
            pet=flow,
            link=LinkConfig(conditioning="none", layers=self.link_layers, hidden=width // 2),
            covariates=(),
            channels=self.channels,
        )


PHOTO_TASKS = {
    task.name: task
    for task in (PhotoTask("sketch", sketch, (1, 3), 128, 5), PhotoTask("cartoon", cartoon, (3, 3), 256, 6))
}
"""The tasks by name: UT-Zap50K shoes from sketches, CelebA faces from cartoons."""


class PhotoPairs:
    """Conditions and photos in memory, in the place of a ``data.Cohort``: a ``Trainer`` takes either.

    Attributes:
        t1: the conditions, ``(N, channels, side, side)`` in 0..1, float16; the model's first image.
        pet: the photos, ``(N, 3, side, side)``, the same way.
        cases: name and path of each photo.
    """

    pet_scale = 1.0

    def __init__(self, t1: Tensor, pet: Tensor, cases: Sequence[Case]) -> None:
        self.t1, self.pet, self.cases = t1, pet, list(cases)

    @classmethod
    def read(cls, folder: Path | str, task: PhotoTask, side: int | None = None) -> PhotoPairs:
        """Every photo in ``folder`` and the folders in it, sorted by path, with its condition.

        Raises:
            InputError: if there is no such folder, it has no image files, or one can't be read.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; give the directory that holds the photos.")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        if not paths:
            raise InputError(f"{folder} holds no photos; it must have {', '.join(sorted(_SUFFIXES))} files.")
        return cls.of([read_photo(path, side or task.side) for path in paths], task, paths)

    @classmethod
    def of(cls, photos: Sequence[np.ndarray], task: PhotoTask, paths: Sequence[Path] = ()) -> PhotoPairs:
        """Of arrays ``(side, side, 3)`` in 0..1, all of one size."""
        paths = list(paths) or [Path(f"photo-{i:04d}") for i in range(len(photos))]

        def stacked(images: Sequence[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.stack(images)).movedim(-1, 1).contiguous().half()

        cases = [Case(path.stem, str(path), path, path) for path in paths]
        return cls(stacked([task.derive(photo) for photo in photos]), stacked(photos), cases)

    @property
    def grid(self) -> Grid:
        """Of the pixels: no place in a head, but the shape that a bundle has to state."""
        return Grid("photos", tuple(self.pet.shape[2:]), (1.0, 1.0), (0.0, 0.0))

    def checksums(self) -> dict[str, str]:
        """None are known, see ``data.Cohort``."""
        return {}

    def __len__(self) -> int:
        return len(self.cases)

    def subset(self, indices: Sequence[int]) -> PhotoPairs:
        index = torch.as_tensor(indices, dtype=torch.long)
        return PhotoPairs(self.t1[index], self.pet[index], [self.cases[i] for i in indices])

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Pixelwise mean and standard deviation of the photos, each ``(3, side, side)``, left-right symmetric."""
        both = torch.cat([self.pet, self.pet.flip(-1)]).float()
        return both.mean(0), both.std(0, correction=0)

    def batch(self, indices: Sequence[int], augment: torch.Generator | None = None, rows: slice = slice(None)) -> Batch:
        """The given pairs, those in ``rows``; with a generator, each mirrored left to right at random."""
        index = torch.as_tensor(indices, dtype=torch.long)
        pairs = [images[index[rows]].float() for images in (self.pet, self.t1)]
        if augment is not None:
            mirror = (torch.rand(len(index), generator=augment)[rows] < 0.5).reshape(-1, 1, 1, 1)
            pairs = [torch.where(mirror, images.flip(-1), images) for images in pairs]
        return Batch(*pairs, [{} for _ in pairs[0]])
