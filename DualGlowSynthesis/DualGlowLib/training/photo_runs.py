"""The paper's tasks in two dimensions: pairs on disk, a run on them, and a photo of a sketch or a cartoon."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..bundle.bundle import Bundle, load_bundle
from ..cases.case import Case
from ..errors import InputError
from ..files import make_folder, write_json
from ..model import DualGlow, ModelConfig
from ..outputs import PHOTO_PAIRS, generated_by, kind_of_file
from ..pictures.drawing import write_png
from .data import split_subjects
from .loop import Trainer
from .photos import PHOTO_TASKS, PhotoPairs, PhotoTask, read_photo
from .settings import TrainingSettings

__all__ = [
    "holds_pairs",
    "photo_of",
    "read_pairs",
    "samples_picture",
    "task_named",
    "train_pairs",
    "train_photos",
    "write_pairs",
]

_FILE, _CONDITION, _PHOTO, _SAMPLES = "photos.json", "condition", "photo", "samples.png"
_SHOWN, _TEMPERATURE = 4, 0.7  # held-out pairs in the picture of a run, and that of its samples


def holds_pairs(folder: Path | str) -> bool:
    """Whether a folder is one of ``write_pairs``."""
    return kind_of_file(Path(folder) / _FILE) == PHOTO_PAIRS


def task_named(name: str) -> PhotoTask:
    """One of ``PHOTO_TASKS``.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in PHOTO_TASKS:
        raise InputError(f"There is no task {name!r}; there are {', '.join(PHOTO_TASKS)}.")
    return PHOTO_TASKS[name]


def write_pairs(
    photos: Path | str,
    out: Path | str,
    task: str,
    side: int | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> int:
    """Make pairs of every photo of a folder: ``photo/`` and ``condition/`` with a PNG each, and ``photos.json``.

    Args:
        photos: folder of image files.
        out: where to; new or empty, or of the same task and side.
        task: ``sketch`` or ``cartoon``.
        side: of the photos in pixels; by default the paper's.
        progress: called with a photo's name and how much is done.

    Returns:
        How many pairs.

    Raises:
        InputError: for photos that can't be read, or a folder that holds something else.
    """
    kind, out = task_named(task), Path(out)
    if side is not None and side < 8:
        raise InputError(f"--side must be at least 8 pixels, not {side}.")
    pairs = PhotoPairs.read(photos, kind, side)
    about = {"task": task, "side": pairs.pet.shape[-1]}
    if holds_pairs(out):
        before = _about(out)
        if before != about:
            raise InputError(f"{out} holds pairs of another task or side ({before}); give another folder.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty and holds no pairs of photos; give another folder.")
    for name in (_CONDITION, _PHOTO):
        make_folder(out / name)
    for index, case in enumerate(pairs.cases):
        file = f"{index:05d}_{case.name}.png"
        for name, images in ((_CONDITION, pairs.t1), (_PHOTO, pairs.pet)):
            write_png(_pixels(images[index]), out / name / file)
        if progress:
            progress(case.name, (index + 1) / len(pairs))
    write_json(out / _FILE, {"GeneratedBy": generated_by(PHOTO_PAIRS), **about})
    return len(pairs)


def read_pairs(folder: Path | str) -> tuple[PhotoPairs, PhotoTask]:
    """Pairs that ``write_pairs`` wrote.

    Raises:
        InputError: if the folder holds none, or one can't be read.
    """
    folder, about = Path(folder), _about(Path(folder))
    task, side = task_named(str(about["task"])), int(about["side"])
    photos = sorted((folder / _PHOTO).glob("*.png"))
    if len(photos) < 2:
        raise InputError(f"{folder} holds {len(photos)} pairs of photos; make at least 2, with simulate --photos.")
    read = [(path, folder / _CONDITION / path.name) for path in photos]
    images = [_tensor(read_photo(photo, side), task.channels[1]) for photo, _ in read]
    conditions = [_tensor(read_photo(condition, side), task.channels[0]) for _, condition in read]
    cases = [Case(photo.stem, photo.stem, condition, photo) for photo, condition in read]
    return PhotoPairs(torch.stack(conditions).half(), torch.stack(images).half(), cases), task


def train_photos(
    folder: Path | str,
    run: Path | str,
    settings_file: Path | str | None = None,
    changes: Mapping[str, object] | None = None,
    device: torch.device | str = "cpu",
    resume: bool = False,
    report: Callable[[dict], None] | None = None,
    stop: Callable[[], bool] | None = None,
    note: Callable[[str], None] | None = None,
) -> Bundle:
    """Train the model of the paper's Table 4 on pairs; ``samples.png`` in the run shows it on some held out.

    Args:
        folder: of ``write_pairs``.
        run: folder of the run.
        settings_file: ``model`` and ``training`` as ``TrainingSettings.read`` has them.
        changes: settings in place of those of the file, by name.
        device, resume, report, stop, note: as of ``Trainer``.

    Raises:
        InputError: if pairs or settings can't be used; as ``Trainer.run``.
        Interrupted: if ``stop`` said so.
    """
    pairs, task = read_pairs(folder)
    settings, rest = (TrainingSettings(), {}) if settings_file is None else TrainingSettings.read(settings_file)
    if rest.get("preset", task.name) != task.name:
        raise InputError(
            f"{settings_file} has the preset {rest['preset']!r}, but {folder} is {task.name} to photo; leave it out."
        )
    settings = settings.updated(dict(changes or {}), "command line")
    kept, held_out = split_subjects(pairs.cases, max(settings.validation, 1 / len(pairs)), settings.seed)
    train, shown = pairs.subset(kept), pairs.subset(held_out)
    how = (device, resume, report, stop, note)
    bundle = train_pairs(train, shown, task, run, settings, rest.get("model", {}), *how)
    write_png(samples_picture(bundle.model.cpu(), shown.subset(range(min(_SHOWN, len(shown))))), Path(run) / _SAMPLES)
    return bundle


def train_pairs(
    train: PhotoPairs,
    shown: PhotoPairs,
    task: PhotoTask,
    run: Path | str,
    settings: TrainingSettings,
    model: Mapping[str, object],
    device: torch.device | str = "cpu",
    resume: bool = False,
    report: Callable[[dict], None] | None = None,
    stop: Callable[[], bool] | None = None,
    note: Callable[[str], None] | None = None,
) -> Bundle:
    """Train the model of the paper's Table 4 on pairs in memory.

    Args:
        train: to learn from.
        shown: held out.
        task: of both.
        run: folder of the run.
        settings: of the training.
        model: what differs from the paper's, as ``ModelConfig.updated`` takes it.
        device, resume, report, stop, note: as of ``Trainer``.

    Raises:
        InputError: as ``Trainer.run``.
        Interrupted: if ``stop`` said so.
    """
    config = _fitting(task, train.pet.shape[-1]).updated(dict(model))
    about = {"task": f"{task.name} to photo"}
    return Trainer(
        Path(run), config, settings, train.grid, train, shown, device, report=report, stop=stop, about=about, note=note
    ).run(resume)


def _fitting(task: PhotoTask, side: int) -> ModelConfig:
    """The paper's model of the task, with as many levels as the side allows."""
    levels = next((levels for levels in range(task.levels, 0, -1) if side % 2**levels == 0), 1)
    return task.config(side, levels)


@torch.no_grad()
def samples_picture(model: DualGlow, shown: PhotoPairs) -> np.ndarray:
    """A row for each pair: condition, photo, what the model makes at temperature 0, and two samples.

    Returns:
        uint8, rows × columns × 3, as the paper's Figs. 8, 15 and 16 are arranged.
    """
    batch = shown.batch(range(len(shown)))
    encoding, none = model.encode(batch.mri), torch.zeros(len(shown), 0)
    columns = [batch.mri.expand_as(batch.pet), batch.pet]
    for seed, temperature in enumerate((0.0, _TEMPERATURE, _TEMPERATURE)):
        columns.append(model.sample(encoding, none, temperature, torch.Generator().manual_seed(seed)))
    return _pixels(torch.cat([torch.cat(list(column), 1) for column in columns], 2))


@torch.no_grad()
def photo_of(
    bundle: Path | str, picture: Path | str, temperature: float = 0.0, seed: int = 0, device: torch.device | str = "cpu"
) -> np.ndarray:
    """The photo that a model makes of a sketch or a cartoon.

    Args:
        bundle: of ``train_photos``.
        picture: image file; its middle square is taken, in grey where the model takes that.
        temperature: of the noise; 0 for the mode.
        seed: of the noise.
        device: where to compute.

    Returns:
        uint8, side × side × 3.

    Raises:
        InputError: for a model of brains, or a file that is no image.
    """
    found = load_bundle(bundle)
    if found.config.dims != 2:
        raise InputError(f"{bundle} is a model of brains; give a T1, or a model that was trained on photos.")
    image = _tensor(read_photo(picture, found.config.shape[0]), found.config.channels[0])
    model = found.model.to(device).eval()
    encoding = model.encode(image[None].to(device))
    none = torch.zeros(1, 0, device=device)
    return _pixels(model.sample(encoding, none, temperature, torch.Generator().manual_seed(seed))[0].cpu())


def _about(folder: Path) -> dict:
    if not holds_pairs(folder):
        raise InputError(f"{folder} holds no pairs of photos; make them with simulate --photos.")
    said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    try:
        return {"task": said["task"], "side": said["side"]}
    except KeyError as error:
        raise InputError(f"{folder / _FILE} says no {error}; make the pairs anew in another folder.") from None


def _tensor(photo: np.ndarray, channels: int) -> Tensor:
    """``(H, W, 3)`` in 0..1 as ``(channels, H, W)``."""
    image = torch.from_numpy(photo).movedim(-1, 0).float()
    return image.mean(0, keepdim=True) if channels == 1 else image


def _pixels(image: Tensor) -> np.ndarray:
    """``(1 or 3, H, W)`` in 0..1 as uint8 ``(H, W, 3)``."""
    image = image.float().clamp(0, 1).expand(3, *image.shape[1:])
    return (255 * image).round().to(torch.uint8).movedim(0, -1).numpy()
