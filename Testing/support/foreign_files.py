"""Files of other programs, and the state of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

__all__ = ["foreign", "image", "snapshot"]


def image(path: Path, value: float = 1.0) -> None:
    """An image of another program."""
    data = np.random.default_rng(0).random((9, 8, 10), np.float32) * np.float32(value)
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])), path)


def foreign(path: Path) -> Path:
    """A file of another program under this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if name.endswith((".nii", ".nii.gz")):
        image(path)
    elif name.endswith(".png"):
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 9, 3), np.uint8), isVector=True), str(path))
    elif name.endswith((".h5", ".tfm")):
        sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    else:
        texts = {
            ".json": '{"EchoTime": 0.00293, "Manufacturer": "Maker"}\n',
            ".tsv": "participant_id\tage\tsex\tdiagnosis\nsub-01\t71\tF\tCN\n",
            ".jsonl": '{"step": 1}\n',
        }
        path.write_text(texts.get(path.suffix, "mine\n"))
    return path


def snapshot(folder: Path) -> dict:
    """Everything in a folder: contents, links, permissions, times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[path.relative_to(folder).as_posix()] = (content, state.st_mode, state.st_mtime_ns, state.st_ino)
    return found
