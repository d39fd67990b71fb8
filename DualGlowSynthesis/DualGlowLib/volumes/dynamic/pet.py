"""A PET as one volume: a static one as it is, of a dynamic one the mean of the frames in a window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ..dicom.file import is_dicom_file
from ..reading import read_scan, read_volumes, volume_count
from ..scan import Scan
from .motion import largest_motion
from .times import FULL, WINDOW, Chosen, bids_times

if TYPE_CHECKING:
    from ..dicom.series import Series

__all__ = ["check_pet", "frame_doubts", "frame_note", "read_pet"]

_SURE_MOTION, _MOST_MOTION = 3.0, 10.0  # millimetres; a PET resolves 4 to 8


def read_pet(path: Path, window: tuple[float, float] = WINDOW, about: Mapping | None = None) -> Scan:
    """Read an FDG-PET; of a dynamic one the frames of a window after injection, averaged by their durations.

    Frames are averaged as they lie; how far the head moved between them is measured. A DICOM series' frames become
    SUVbw each by its own tags, as ``read_scan`` has it.

    Args:
        path: as for ``read_scan``; a NIfTI of several volumes or a dynamic DICOM series is dynamic.
        window: minutes after injection, from and to.
        about: the BIDS sidecar of a NIfTI, which says when its frames were acquired.

    Returns:
        The scan. Of a dynamic one ``meta`` also has ``frames`` (what was averaged, in words), ``frames_window``
        (that was asked for), ``frames_covered`` (part of the window), ``frames_outside`` (part of the frames' time),
        and of several frames ``frames_moved_mm`` and ``frames_moved_most`` (which one, from 1); ``frame_doubts`` judges
        them.

    Raises:
        InputError: as ``read_scan``; where the frames' times are not known, don't cover half of the window, or the head
            moved by more than a centimetre.
    """
    chosen, read = _dynamic(path, window, about or {})
    if chosen is None:
        return read(())[0]
    scans = read(chosen.frames)
    first, weights = scans[0], np.asarray(chosen.weights, np.float32)
    for scan in scans[1:]:
        if scan.shape != first.shape or not np.allclose(scan.affine, first.affine, atol=1e-3):
            raise InputError(f"{path} has time frames on different lattices; give one volume, such as their mean.")
        if scan.meta.get("units") != first.meta.get("units"):
            units = " and ".join(sorted({str(one.meta.get("units")) for one in scans}))
            raise InputError(f"{path} has time frames in different units ({units}); give one volume in one of them.")
    moved, which = largest_motion([scan.data for scan in scans], first.affine) if len(scans) > 1 else (0.0, 0)
    if not np.isfinite(moved):
        raise InputError(
            f"{path} can't be averaged: frame {chosen.frames[which] + 1} shows no head like that of the middle one; "
            "choose a window without it (--pet-window)."
        )
    if moved > _MOST_MOTION:
        raise InputError(
            f"{path} can't be averaged: in frame {chosen.frames[which] + 1} the head lies {moved:.0f} mm from where it "
            "is in the middle one; align the frames first, or choose a window without it (--pet-window)."
        )
    data = np.zeros(first.shape, np.float32)
    for scan, weight in zip(scans, weights, strict=True):
        data += weight * scan.data
    holes = [scan.holes for scan in scans if scan.holes is not None]
    meta = {
        **first.meta,
        "frames": chosen.text,
        "frames_window": f"{window[0]:g} to {window[1]:g} min",
        "frames_covered": round(chosen.covered, 3),
        "frames_outside": round(chosen.outside, 3),
    }
    if len(scans) > 1:
        meta.update(frames_moved_mm=round(moved, 2), frames_moved_most=chosen.frames[which] + 1)
    return Scan(data, first.affine, str(path), meta, np.logical_or.reduce(holes) if holes else None)


def check_pet(
    path: Path, window: tuple[float, float] = WINDOW, about: Mapping | None = None, series: Series | None = None
) -> str:
    """What of a dynamic PET would be averaged, by headers and sidecar alone; empty for a static one.

    Args:
        path, window, about: as for ``read_pet``.
        series: that a DICOM path means, if it was found already.

    Raises:
        InputError: as ``read_pet``, for what a header shows.
    """
    chosen, _ = _dynamic(path, window, about or {}, series)
    return "" if chosen is None else chosen.text


def frame_note(pet: Scan) -> str:
    """What was averaged, and how far the head moved, as part of a sentence; empty for a static PET."""
    if "frames" not in pet.meta:
        return ""
    moved = pet.meta.get("frames_moved_mm")
    return pet.meta["frames"] + ("" if moved is None else f"; between frames the head moved by {moved:.1f} mm at most")


def frame_doubts(pet: Scan) -> list[str]:
    """A sentence for what is not as it should be in the frames that were averaged; none for a static PET."""
    reasons = []
    if pet.meta.get("frames_covered", 1.0) < FULL - 1e-3 or pet.meta.get("frames_outside", 0.0) > 1 - FULL + 1e-3:
        reasons.append(f"The PET is {pet.meta['frames']}.")
    if (moved := pet.meta.get("frames_moved_mm", 0.0)) > _SURE_MOTION:
        reasons.append(
            f"Between the PET's frames the head moved by {moved:.1f} mm (most in frame "
            f"{pet.meta['frames_moved_most']}; at most {_SURE_MOTION:g} mm expected), which blurs their mean: align "
            "them first."
        )
    return reasons


def _dynamic(
    path: Path, window: tuple[float, float], about: Mapping, series: Series | None = None
) -> tuple[Chosen | None, Callable[[tuple[int, ...]], list[Scan]]]:
    """Which frames of a dynamic PET the window takes, None for a static one; and how to read them, or the one."""
    if path.is_dir() or is_dicom_file(path):
        from ..dicom.timeframes import dynamic_series, read_frames
        from ..dicom.volume import find_series

        whole = find_series(path, series, pet=True)
        found = dynamic_series(whole, path)
        if found is None:
            return None, lambda frames: [read_scan(path, whole, pet=True)]
        times, each = found
        return times.within(window, str(path)), lambda frames: read_frames(each, frames, path)
    count = volume_count(path)
    if count == 1:
        return None, lambda frames: [read_scan(path, pet=True)]
    return bids_times(about, count, str(path)).within(window, str(path)), lambda frames: read_volumes(path, frames)
