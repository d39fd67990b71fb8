"""What the worker answers: one type for each command and event, for who writes it and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..provenance import Provenance

__all__ = [
    "ENDS",
    "EVENTS",
    "Changed",
    "Compared",
    "Devices",
    "Framed",
    "Keyframe",
    "Opened",
    "Prepared",
    "Sampled",
    "Step",
    "Swept",
    "loaded",
    "read_end",
    "read_event",
]

Array = Any
"""Path of a .npy file in the worker's folder; once ``loaded``, what is in it."""
Picture = Any
"""Path of a .png file there."""


@dataclass(frozen=True)
class Devices:
    """``devices``: each with ``name``, ``title``, ``usable``, ``reason``, ``memory_free`` and ``memory_total``."""

    devices: list[dict]
    auto: str
    auto_reason: str


@dataclass(frozen=True)
class Opened:
    """``bundle``: see ``Session.describe``."""

    bundle: dict
    device: str
    device_reason: str


@dataclass(frozen=True)
class Prepared:
    """Of a T1: verdict and quality of its preparation.

    ``to_template``: 4×4, the T1's RAS millimetres to the template's. ``grid_affine``: 4×4, voxels of the model's grid
    to the patient's RAS. ``kept``: whether it had been prepared before.
    """

    verdict: dict
    quality: dict
    to_template: Any
    grid_affine: Any
    picture: Picture
    kept: bool


@dataclass(frozen=True)
class Sampled:
    """``mean``, ``sd`` and ``below`` lie on the T1's lattice; None for what there is not. ``regions``: rows of a table,
    see ``synthesis.region_table``."""

    mean: Array
    sd: Array | None
    below: Array | None
    regions: list[dict]
    provenance: Provenance
    device: str


@dataclass(frozen=True)
class Keyframe:
    """An event. ``values`` lie on the model's grid."""

    age: float | None
    temperature: float
    values: Array
    provenance: Provenance


@dataclass(frozen=True)
class Framed:
    """All keyframes have been told."""


@dataclass(frozen=True)
class Step:
    """An event: one age of a sweep; as ``Sampled``."""

    age: float
    mean: Array
    regions: list[dict]
    provenance: Provenance
    device: str


@dataclass(frozen=True)
class Swept:
    """All steps have been told.

    ``montage``: of all ages, RGB, uint8 (rows from the top, columns, 3). ``provenance``: its age is the list of all.
    """

    montage: Array
    provenance: Provenance


@dataclass(frozen=True)
class Changed:
    """``difference`` and ``percent`` lie on the T1's lattice; see ``synthesis.change.Change``."""

    difference: Array
    percent: Array
    regions: list[dict]
    provenance: Provenance
    device: str


@dataclass(frozen=True)
class Compared:
    """``pet``, ``difference`` and ``z`` lie on the T1's lattice; see ``synthesis.comparison.Comparison``.

    ``verdict``: of the registration. ``notes``: on the PET's resolution. ``transform``: 4×4, PET to T1, RAS.
    """

    pet: Array
    difference: Array
    z: Array
    metrics: dict
    regions: list[dict]
    bits_per_dim: float
    percentile: float
    verdict: dict
    notes: list[str]
    transform: Any
    provenance: Provenance
    device: str


ENDS: dict[str, type] = {
    "devices": Devices,
    "open": Opened,
    "prepare": Prepared,
    "sample": Sampled,
    "keyframes": Framed,
    "sweep": Swept,
    "change": Changed,
    "compare": Compared,
}
"""What ends each command."""

EVENTS: dict[str, type] = {"keyframe": Keyframe, "step": Step}
"""What comes before the end, besides ``progress`` and ``notice``."""


def read_end(do: str, message: Mapping) -> Any:
    """The typed reply in the ``done`` event of this command.

    Raises:
        TypeError: if a field is missing, or one is unknown.
    """
    return _read(ENDS[do], message)


def read_event(message: Mapping) -> Any:
    """The typed event in a message.

    Raises:
        TypeError: if a field is missing, or one is unknown.
    """
    return _read(EVENTS[message["event"]], message)


def loaded(reply: Any, load: Callable[[Any], Any]) -> Any:
    """The same with arrays in place of their files.

    Args:
        reply: one of the types above.
        load: gives the array of a path; not called for what is None.
    """
    names = [field.name for field in fields(reply) if field.type.startswith("Array")]
    return replace(reply, **{name: load(value) for name in names if (value := getattr(reply, name)) is not None})


def _read(kind: type, message: Mapping) -> Any:
    return kind(**{name: value for name, value in message.items() if name not in ("id", "event")})
