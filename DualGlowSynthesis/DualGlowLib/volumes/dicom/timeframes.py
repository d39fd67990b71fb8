"""The time frames of a dynamic DICOM PET series (PS3.3 C.8.9.4; of enhanced files C.7.6.16.2.2)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ...errors import InputError
from ..dynamic.times import FrameTimes
from ..reading import checked_scan
from ..scan import Scan
from .file import number
from .series import Frame, Series
from .suv import falls_with_decay, injection_to_frame, seconds_of_frame
from .volume import read_series, stack

__all__ = ["dynamic_series", "read_frames"]


def dynamic_series(series: Series, path: Path) -> tuple[FrameTimes, list[Series]] | None:
    """When the time frames of a PET series were acquired, and each as a series of its own; None if it is static.

    Args:
        series: all images of it.
        path: where it was found, for messages.

    Raises:
        InputError: as ``read_scan``; if there are several images at a place, and not when each was acquired.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        places = len({round(frame.depth, 2) for frame in series.frames})
        if series.modality != "PT" or places < 2 or len(series.frames) == places:
            return None
        groups, by_reference = _groups(list(series.frames))
        where = f"{path}, series {series},"
        if groups is None:
            raise InputError(
                f"{where} holds {len(series.frames)} images of {places} slices, which are no whole time frames by the "
                "times of their acquisition; give one volume, such as the mean of the frames."
            )
        known = []
        for frames in groups:
            start, reason = injection_to_frame(frames[0])
            length = seconds_of_frame(frames[0])
            if start is None or not length:
                raise InputError(
                    f"{where} is dynamic, and {reason or 'how long its frames were acquired is missing'}, so that the "
                    "frames' times after injection are not known; give one volume, such as their mean."
                )
            # Where all frames state the series' own start, their reference times tell them apart.
            later = (number(frames[0].header, "FrameReferenceTime") or 0.0) / 1000 - length / 2 if by_reference else 0.0
            known.append((start + later, length, frames))
        known.sort(key=lambda frame: frame[0])
        try:
            starts, lengths = (tuple(one[k] for one in known) for k in (0, 1))
            times = FrameTimes(starts, lengths, not falls_with_decay(series.frames))
        except ValueError as error:
            raise InputError(f"{where} has {error}; give one volume, such as the mean of the frames.") from None
        series = [_alone(series, frames) for _, _, frames in known]
        for one in series:
            stack(one, path)
    return times, series


def read_frames(series: Sequence[Series], frames: Sequence[int], path: Path) -> list[Scan]:
    """Some time frames as scans, by their numbers from 0; in SUVbw where the tags allow.

    Args:
        series: all frames, from ``dynamic_series``: the first of them tells best to which time all are corrected.

    Raises:
        InputError: as ``read_scan``.
    """
    every = [frame for one in series for frame in one.frames]
    return [checked_scan(*read_series(series[k], path, every), f"{path}, frame {k + 1},") for k in frames]


def _alone(series: Series, frames: tuple[Frame, ...]) -> Series:
    return replace(series, frames=frames, files=tuple(dict.fromkeys(frame.file for frame in frames)))


def _groups(frames: list[Frame]) -> tuple[list[tuple[Frame, ...]] | None, bool]:
    """The slices of each time frame, by whichever time tells them apart at every place, None if none does.

    Times of the slices of one frame may differ a little. Also whether it was the reference time, which counts from the
    start of the series.
    """
    places: dict[float, list[Frame]] = {}
    for frame in frames:
        places.setdefault(round(frame.depth, 2), []).append(frame)
    if len({len(images) for images in places.values()}) > 1:
        return None, False
    keys: tuple[Callable[[Frame], float | None], ...] = (
        lambda frame: injection_to_frame(frame)[0],
        lambda frame: number(frame.header, "FrameReferenceTime"),
    )
    for by_reference, key in enumerate(keys):
        if any(key(frame) is None for frame in frames):
            continue
        groups = list(zip(*(sorted(images, key=key) for images in places.values()), strict=True))
        spans = [(min(map(key, group)), max(map(key, group))) for group in groups]
        if all(earlier[1] < later[0] for earlier, later in pairwise(spans)):
            return groups, bool(by_reference)
    return None, False
