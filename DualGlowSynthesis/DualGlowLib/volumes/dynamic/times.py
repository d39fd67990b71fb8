"""When the time frames of a dynamic PET were acquired, and which of them a window takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from ...errors import InputError

__all__ = ["FULL", "WINDOW", "Chosen", "FrameTimes", "bids_times"]

WINDOW = (30.0, 60.0)
"""Minutes after injection that are averaged by default: those of ADNI, six frames of 5 minutes."""
FULL = 0.9
"""Part of the window that frames have to cover so that nothing is said of it."""
_LEAST = 0.5  # of the window; less is another measurement
_HALF_LIFE = 6586.2  # seconds, fluorine-18
_APART = 1.0  # seconds that frames may overlap by rounding


@dataclass(frozen=True)
class Chosen:
    """The frames that a window takes.

    Attributes:
        frames: their numbers, from 0.
        weights: of each in the mean; they sum to 1, or more where they undo decay.
        covered: part of the window that they fill.
        outside: part of their time that lies outside the window.
        text: what is averaged, in words.
    """

    frames: tuple[int, ...]
    weights: tuple[float, ...]
    covered: float
    outside: float
    text: str


@dataclass(frozen=True)
class FrameTimes:
    """When the frames of a PET were acquired.

    Attributes:
        starts: seconds after injection.
        durations: seconds.
        decay_corrected: False where the frames' values still fall with the tracer's decay.

    Raises:
        ValueError: if there are not as many starts as durations, a duration is not positive, or frames overlap.
    """

    starts: tuple[float, ...]
    durations: tuple[float, ...]
    decay_corrected: bool = True

    def __post_init__(self) -> None:
        if len(self.starts) != len(self.durations) or not self.starts or min(self.durations) <= 0:
            raise ValueError("not one start and one positive duration for each frame")
        ends = [start + length for start, length in zip(self.starts, self.durations, strict=True)]
        if any(nxt < end - _APART for end, nxt in zip(ends, self.starts[1:], strict=False)):
            raise ValueError("frames that overlap or are in no order")

    def within(self, window: tuple[float, float], where: str) -> Chosen:
        """The frames whose middle lies in a window, weighted by their durations.

        Args:
            window: minutes after injection, from and to.
            where: the PET, for messages.

        Raises:
            InputError: if they cover less than half of the window.
        """
        frames, inside = self._in(window)
        covered = inside / (60 * (window[1] - window[0]))
        wanted = f"{window[0]:g} to {window[1]:g} min after injection"
        there = f"{_minutes(self.starts[0])} to {_minutes(self.starts[-1] + self.durations[-1])} min"
        if covered < _LEAST:
            raise InputError(
                f"{where} has frames from {there} after injection, which cover {covered:.0%} of the wanted {wanted}; "
                f"{self._in_other_units(window) or 'choose the window with --pet-window'}."
            )
        # Uncorrected values are brought to the time of injection, or a late frame would count for less.
        rate = 0.0 if self.decay_corrected else 1 / _HALF_LIFE
        weights = [self.durations[k] * 2 ** (rate * (self.starts[k] + self.durations[k] / 2)) for k in frames]
        total = sum(self.durations[k] for k in frames)
        end = self.starts[frames[-1]] + self.durations[frames[-1]]
        spread = f"{_minutes(self.starts[frames[0]])} to {_minutes(end)}"
        if len(frames) > 1:
            text = (
                f"the mean, weighted by duration, of frames {frames[0] + 1} to {frames[-1] + 1} of {len(self.starts)}"
            )
        else:
            text = f"frame {frames[0] + 1} of {len(self.starts)}"
        text += f", {spread} min after injection"
        outside = 1 - inside / total
        if covered < FULL - 1e-6:
            text += f", which covers {covered:.0%} of the wanted {wanted}"
        elif outside > 1 - FULL + 1e-6:
            text += f", of which {outside:.0%} is outside the wanted {wanted}"
        return Chosen(tuple(frames), tuple(weight / total for weight in weights), covered, outside, text)

    def _in(self, window: tuple[float, float], unit: float = 1.0) -> tuple[list[int], float]:
        """The frames whose middle lies in a window, and the seconds of it that they fill; if times are in a unit."""
        first, last = (60.0 * minutes for minutes in window)
        spans = [
            (unit * start, unit * (start + length)) for start, length in zip(self.starts, self.durations, strict=True)
        ]
        frames = [k for k, (start, end) in enumerate(spans) if first <= (start + end) / 2 <= last]
        return frames, sum(min(spans[k][1], last) - max(spans[k][0], first) for k in frames)

    def _in_other_units(self, window: tuple[float, float]) -> str:
        for unit, name in ((60.0, "minutes"), (0.001, "milliseconds")):
            if self._in(window, unit)[1] >= _LEAST * 60 * (window[1] - window[0]):
                return f"they would cover it if their times were {name}, which must be seconds"
        return ""


def _minutes(seconds: float) -> str:
    return f"{round(seconds / 60, 1):g}"


def bids_times(about: Mapping, count: int, where: str) -> FrameTimes:
    """From a BIDS sidecar: FrameTimesStart and FrameDuration, and InjectionStart, all in seconds after TimeZero.

    Args:
        about: the sidecar; empty if there is none.
        count: how many frames the image has.
        where: the PET, for messages.

    Raises:
        InputError: if one of the keys is missing, or they don't fit each other or the image.
    """
    lists = [_numbers(about.get(key)) for key in ("FrameTimesStart", "FrameDuration")]
    ask = "write FrameTimesStart, FrameDuration and InjectionStart (seconds) into its JSON sidecar, or give one volume"
    missing = [key for key, found in zip(("FrameTimesStart", "FrameDuration"), lists, strict=True) if not found]
    if missing:
        raise InputError(
            f"{where} holds {count} volumes whose times are not known (no {' and '.join(missing)} in numbers); {ask}."
        )
    injected = about.get("InjectionStart")
    if isinstance(injected, bool) or not isinstance(injected, int | float):
        raise InputError(
            f"{where} holds {count} volumes, and its sidecar doesn't say when the tracer was injected (InjectionStart, "
            "in seconds as FrameTimesStart; -1800 if the first frame of time 0 began 30 min after injection); add it."
        )
    if {len(found) for found in lists} != {count}:
        raise InputError(
            f"{where} holds {count} volumes, and its sidecar has {len(lists[0])} FrameTimesStart and {len(lists[1])} "
            "FrameDuration; correct it."
        )
    try:
        corrected = str(about.get("ImageDecayCorrected")).lower() != "false"
        return FrameTimes(tuple(start - injected for start in lists[0]), tuple(lists[1]), corrected)
    except ValueError as error:
        raise InputError(f"{where}: its sidecar has {error} (FrameTimesStart, FrameDuration); correct it.") from None


def _numbers(value: object) -> list[float]:
    numbers = value if isinstance(value, list) else []
    return [float(x) for x in numbers] if all(type(x) in (int, float) and isfinite(x) for x in numbers) else []
