"""Figs. 8, 15 and 16: from a sketch and from a cartoon to a photo, on the photos that scikit-image ships."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...metrics.images import image_metrics
from ...pictures.drawing import LARGE, png_bytes, text_size, write_text
from ...training.folder import has_run
from ...training.photo_runs import samples_picture, task_named, train_pairs
from ...training.photos import PhotoPairs, shipped_photo
from ...training.settings import TrainingSettings
from ..table import Cell, Part, Table

__all__ = ["FULL", "HELD_OUT", "LEARNT", "QUICK", "Size", "crops", "photo_figures"]

LEARNT = ("chelsea", "coffee", "stereo_motorcycle", "retina", "rocket")
"""Photos whose crops are learnt from: a cat, a cup, a motorcycle, the back of an eye, a rocket."""
HELD_OUT = "astronaut"
"""The photo whose crops are held out: a portrait."""

_FACE = (20, 140, 170)  # top, left and side of the portrait's face, pixels: the first crop
_COLUMNS = ("photo", "mode", "sample", "sample")  # after the condition
_TILE, _TOP, _MARGIN = 128, 26, 6  # pixels
_FEW = 4  # crops of each task in Fig. 8


@dataclass(frozen=True)
class Size:
    """How much is learnt, and by how large a model.

    Attributes:
        side: of the crops in pixels.
        crops: of each photo that is learnt from.
        shown: crops that are held out.
        steps: of the training.
        depth, width: of both flows at each of three levels.
    """

    side: int = 32
    crops: int = 48
    shown: int = 8
    steps: int = 1000
    depth: int = 4
    width: int = 32


FULL, QUICK = Size(), Size(16, 4, 2, 3, 1, 8)
_LEVELS = 3


def crops(photo: np.ndarray, count: int, side: int, seed: int, first: Sequence[int] | None = None) -> list[np.ndarray]:
    """Squares of a photo, of random size and place.

    Args:
        photo: ``(H, W, 3)`` in 0..1.
        count: how many.
        side: what each is resampled to; a square has twice that at least, and two thirds of the photo at most.
        seed: of sizes and places.
        first: top, left and side of the first, in pixels; by default random too.

    Returns:
        ``(side, side, 3)`` in 0..1, float32.
    """
    from skimage.transform import resize

    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        width = int(random.integers(2 * side, 2 * min(photo.shape[:2]) // 3))
        top, left = (int(random.integers(length - width + 1)) for length in photo.shape[:2])
        if number == 0 and first is not None:
            top, left, width = first
        square = resize(photo[top : top + width, left : left + width], (side, side), anti_aliasing=True)
        found.append(np.clip(square, 0, 1).astype(np.float32))
    return found


def photo_figures(
    folder: Path | str,
    size: Size = FULL,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[str, float, str], None] | None = None,
    stop: Callable[[], bool] | None = None,
    note: Callable[[str], None] | None = None,
) -> dict[str, Part]:
    """Train a model of each task on crops of some photos, and show what it makes of crops of another.

    Args:
        folder: of the runs, one a task; what was begun there goes on.
        size: of crops and models.
        seed: of crops, weights and samples.
        device: where to compute.
        progress: called with "study", how much is done (0 to 1), and the task.
        stop, note: as of ``Trainer``.

    Returns:
        ``fig8``, ``fig15`` and ``fig16``.

    Raises:
        InputError: if scikit-image is missing or a run can't go on.
        Interrupted: if ``stop`` said so.
    """
    learnt = [
        one
        for number, name in enumerate(LEARNT)
        for one in crops(shipped_photo(name), size.crops, size.side, seed + number)
    ]
    held_out = crops(shipped_photo(HELD_OUT), size.shown, size.side, seed + len(LEARNT), _FACE)
    tasks = {"fig15": "sketch", "fig16": "cartoon"}
    parts, few = {}, {}
    for number, (part, name) in enumerate(tasks.items()):

        def report(event: dict, number: int = number, name: str = name) -> None:
            if progress:
                progress("study", (number + event["step"] / event["steps"]) / len(tasks), f"{name} to photo")

        task = task_named(name)
        train, shown = PhotoPairs.of(learnt, task), PhotoPairs.of(held_out, task)
        flow = {"depths": [size.depth] * _LEVELS, "widths": [size.width] * _LEVELS}
        model = {"mri": flow, "pet": flow, "link": {"layers": 2, "hidden": size.width}}
        run = Path(folder) / "runs" / name
        bundle = train_pairs(
            train, shown, task, run, _settings(size, seed), model, device, has_run(run), report, stop, note
        )
        images = samples_picture(bundle.model.cpu().eval(), shown)
        few[name] = _labelled(images[: _FEW * size.side], name, size.side)
        title = f"Fig. {part.removeprefix('fig')}: from a {name} to a photo"
        picture = {"": _labelled(images, name, size.side)}
        parts[part] = Part(title, [_table(images, train, size.side, name)], picture, notes=_notes(size, seed))
    return {"fig8": Part("Fig. 8: photos of sketches and of cartoons", pictures=few, notes=_notes(size, seed)), **parts}


def _settings(size: Size, seed: int) -> TrainingSettings:
    return TrainingSettings(
        steps=size.steps, batch=8, learning_rate=1e-3, warmup=size.steps // 20, ema=0.99, seed=seed, sampled_cases=0,
        validate_every=max(1, size.steps // 5),
    )  # fmt: skip


def _labelled(images: np.ndarray, condition: str, side: int) -> bytes:
    """The rows of ``samples_picture``, enlarged, with what each column is; content of a PNG."""
    times = max(1, _TILE // side)
    large = images.repeat(times, 0).repeat(times, 1)
    picture = np.concatenate([np.zeros((_TOP, *large.shape[1:])), large.astype(float)])
    for place, label in enumerate((condition, *_COLUMNS)):
        height, length = text_size(label, LARGE)
        left = place * side * times + (side * times - length) // 2
        write_text(picture, label, (_TOP - height) // 2, left, LARGE)
    return png_bytes(np.rint(picture).clip(0, 255).astype(np.uint8))


def _table(images: np.ndarray, train: PhotoPairs, side: int, condition: str) -> Table:
    """Errors of the held-out crops; the mean of all crops that were learnt from is the row to beat."""
    columns = np.split(images.astype(np.float32) / 255, images.shape[1] // side, axis=1)
    tiles = [np.split(column, images.shape[0] // side, axis=0) for column in columns]
    photos = tiles[1]
    mean = train.pet.float().mean(0).movedim(0, -1).numpy()
    sample = "a sample at temperature 0.7"
    made = {"mean photo": [mean] * len(photos), condition: tiles[0], "mode": tiles[2], sample: tiles[3]}
    rows = []
    for name, own in made.items():
        numbers = np.array([_numbers(one, photo) for one, photo in zip(own, photos, strict=True)])
        sd = numbers.std(0, ddof=1) if len(numbers) > 1 else (None, None)
        forms = (".2f", ".3f")
        values = zip(numbers.mean(0), sd, forms, strict=True)
        rows.append((name, [Cell(float(value), spread, len(photos), form) for value, spread, form in values]))
    return Table(f"{condition} to photo: mean ± sd over crops", ["method", "PSNR dB", "SSIM"], rows)


def _numbers(image: np.ndarray, photo: np.ndarray) -> tuple[float, float]:
    """PSNR of all colours together, and SSIM averaged over them, as scikit-image does."""
    everywhere = np.ones(photo.shape, bool)
    similar = [image_metrics(image[..., c], photo[..., c], everywhere[..., c], 1.0).ssim for c in range(3)]
    return image_metrics(image, photo, everywhere, 1.0).psnr, float(np.mean(similar))


def _notes(size: Size, seed: int) -> list[str]:
    return [
        f"{size.crops} crops of each of scikit-image's photos {', '.join(LEARNT)} are learnt from; those shown are of "
        f"{HELD_OUT}, of which the model has seen nothing.",
        f"{size.side} × {size.side} pixels, {_LEVELS} levels, depth {size.depth}, width {size.width}, {size.steps} "
        f"steps, seed {seed}. The paper has shoes of 128 and faces of 256 pixels, tens of thousands of photos and a "
        "width of 512: these pictures show that the method works in two dimensions, not how well it would then.",
        "The mode is the sample at temperature 0; the samples beside it are at 0.7.",
    ]
