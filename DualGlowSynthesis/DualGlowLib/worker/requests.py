"""What the worker can be asked for: from the keywords of a request to the session, and from its results to files."""

from __future__ import annotations

import inspect
import reprlib
import secrets
from collections.abc import Callable
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from ..devices import check_devices
from ..errors import InputError
from ..pictures.drawing import write_png
from ..synthesis.session import Sampled, Session
from ..values import check_value
from ..volumes.scan import Scan

if TYPE_CHECKING:
    from .server import Worker

__all__ = ["Commands"]


class Commands:
    """Each public method is a command; its keywords are the request's, what it returns is the ``done`` event.

    Args:
        worker: which hears of progress and events, and has the folder for files.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._session = Session(notice=lambda sentence: worker.event("notice", message=sentence))

    def run(self, do: str, arguments: dict) -> dict:
        """Do a command.

        Raises:
            InputError: for one that there isn't, keywords that it lacks or doesn't know, and values of another kind.
        """
        names = [name for name in vars(Commands) if not name.startswith("_") and name != "run"]
        if do not in names:
            raise InputError(f"There is no command {reprlib.repr(do)}; there are {', '.join(names)}, cancel and quit.")
        command: Callable[..., dict] = getattr(self, do)
        try:
            inspect.signature(command).bind(**arguments)
        except TypeError as error:
            raise InputError(f"The request {do!r} can't be understood: {shorten(str(error), 200)}.") from None
        hints = get_type_hints(command)
        return command(**{name: _value(value, hints[name], name) for name, value in arguments.items()})

    # ---- commands

    def devices(self) -> dict:
        """``devices`` (``name``, ``title``, ``usable``, ``reason``, ``memory_free``, ``memory_total``), ``auto`` and
        ``auto_reason``."""
        return check_devices().to_dict()

    def open(self, *, bundle: str | None = None, device: str = "auto") -> dict:
        """``bundle`` (see ``Session.describe``), ``device`` and ``device_reason``."""
        try:
            about = self._session.open(bundle, device, self._worker.progress)
        except OSError as error:
            where = bundle or "that ships"
            raise InputError(f"The model {where} can't be read ({error.strerror or error}); get it again.") from None
        return {"bundle": about, "device": self._session.device, "device_reason": self._session.device_reason}

    def prepare(
        self,
        *,
        voxels: str,
        affine: list,
        source: str = "",
        mask: str | None = None,
        prepared: bool = False,
        key: str = "",
    ) -> dict:
        """``verdict``, ``quality``, ``to_template``, ``grid_affine`` (voxels of the model's grid to the patient's RAS),
        ``picture``, ``mri_bits``, ``mri_bits_trained`` and ``kept``.

        The files are not read for a patient that is kept, and never after this request.
        """
        scan = cache(lambda: _scan(voxels, affine, source))

        def brain() -> np.ndarray | None:
            return None if mask is None else _read(mask, shape=scan().shape) > 0.5

        patient, kept = self._session.prepare(scan, brain, prepared=prepared, key=key, progress=self._worker.progress)
        found = patient.prepared
        return {
            "verdict": found.verdict.to_dict(),
            "quality": found.quality,
            "to_template": found.to_template,
            "grid_affine": np.linalg.inv(found.to_template) @ found.grid.affine,
            "picture": self._picture(patient.picture, "preparation"),
            "mri_bits": patient.mri_bits,
            "mri_bits_trained": patient.mri_bits_trained,
            "kept": kept,
        }

    def sample(
        self,
        *,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | list[float] = 0.0,
        samples: int = 1,
        seed: int = 0,
        below: float | None = None,
    ) -> dict:
        """``mean``, ``sd``, ``below`` (on the T1's lattice, or null), ``grid_mean``, ``regions``, ``provenance`` and
        ``device``."""
        made = self._session.sample(
            age, sex, diagnosis, temperature, samples, seed, below=below, progress=self._worker.progress
        )
        found = made.synthesis
        return {
            **{name: self._scan_file(getattr(found, name), name) for name in ("mean", "sd", "below")},
            "grid_mean": self._array(found.grid_mean, "grid"),
            **_about(made),
        }

    def one(
        self,
        *,
        index: int,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | list[float] = 1.0,
        seed: int = 0,
    ) -> dict:
        """``sample`` (on the T1's lattice), ``regions``, ``provenance`` and ``device``."""
        made = self._session.one(index, age, sex, diagnosis, temperature, seed, self._worker.progress)
        return {"sample": self._scan_file(made.synthesis.mean, "sample"), **_about(made)}

    def keyframes(
        self,
        *,
        ages: list[float | None],
        temperatures: list[float],
        sex: str | None = None,
        diagnosis: str | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> dict:
        """Events ``keyframe`` (``age``, ``temperature``, ``values``: on the grid, and ``provenance``), then nothing
        more."""
        frames = self._session.keyframes(ages, temperatures, sex, diagnosis, samples, seed, self._worker.progress)
        for age, temperature, values in frames:
            about = self._session.provenance(age, sex, diagnosis, temperature, samples, seed)
            file = self._array(values, "keyframe")
            self._worker.event("keyframe", age=age, temperature=temperature, values=file, provenance=about)
        return {}

    def sweep(
        self,
        *,
        ages: list[float],
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | list[float] = 0.0,
        samples: int = 1,
        seed: int = 0,
    ) -> dict:
        """Events ``step`` (``age``, ``mean``: on the T1's lattice, ``regions``, ``provenance``, ``device``), then
        ``montage`` and its ``provenance``, of which ``Age`` is all ages."""
        steps: list[dict] = []

        def step(age: float, made: Sampled) -> None:
            self._worker.event("step", age=age, mean=self._scan_file(made.synthesis.mean, "step"), **_about(made))
            steps.append(made.synthesis.provenance)

        picture = self._session.sweep(
            ages, sex, diagnosis, temperature, samples, seed, step=step, progress=self._worker.progress
        )
        about = {**steps[0], "Age": ages, "WithinTrainingRange": all(one["WithinTrainingRange"] for one in steps)}
        return {"montage": self._picture(picture, "montage"), "provenance": about}

    def compare(
        self,
        *,
        voxels: str,
        affine: list,
        source: str = "",
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        samples: int = 16,
        seed: int = 0,
        source_resolution: float | None = None,
        registered: bool = False,
    ) -> dict:
        """``pet``, ``difference``, ``z`` (on the T1's lattice), ``metrics``, ``regions``, ``bits_per_dim``,
        ``percentile``, ``verdict`` (of the registration), ``notes`` (on the PET's resolution), ``transform`` (PET to
        T1, RAS), ``provenance`` (of the samples and of the PET, see ``comparison.Comparison``) and ``device``."""
        found = self._session.compare(
            _scan(voxels, affine, source), age, sex, diagnosis, samples, seed,
            source_resolution=source_resolution, registered=registered, progress=self._worker.progress,
        )  # fmt: skip
        return {
            **{name: self._scan_file(getattr(found, name), name) for name in ("pet", "difference", "z")},
            "metrics": vars(found.metrics),
            "regions": found.regions,
            "bits_per_dim": found.bits_per_dim,
            "percentile": found.percentile,
            "verdict": found.prepared.verdict.to_dict(),
            "notes": found.prepared.quality["notes"],
            "transform": found.prepared.pet_to_t1,
            "provenance": found.provenance,
            "device": found.device,
        }

    # ---- files

    def _path(self, what: str, ending: str) -> Path:
        path = self._worker.folder / f"{what}-{secrets.token_hex(8)}{ending}"
        self._worker.made.append(path)
        return path

    def _array(self, array: np.ndarray, what: str) -> str:
        path = self._path(what, ".npy")
        try:
            np.save(path, np.asfortranarray(array, np.float32))  # as VTK keeps volumes: the window copies nothing
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror or error}; free some space there.") from None
        return str(path)

    def _scan_file(self, scan: Scan | None, what: str) -> str | None:
        return None if scan is None else self._array(scan.data, what)

    def _picture(self, picture: np.ndarray, what: str) -> str:
        return str(write_png(picture, self._path(what, ".png")))


def _about(made: Sampled) -> dict:
    return {"regions": made.regions, "provenance": made.synthesis.provenance, "device": made.device}


def _scan(voxels: str, affine: np.ndarray, source: str) -> Scan:
    array = _read(voxels)
    if max(np.fmax.reduce(array, axis=None), -np.fmin.reduce(array, axis=None, dtype=np.float64)) > _BRIGHTEST:
        raise InputError(
            f"{source or 'The volume'} holds values above {_BRIGHTEST:g}, which no scan has; mend it first."
        )
    return Scan(array.astype(np.float32, copy=False), affine, source)


def _read(path: str, shape: tuple | None = None) -> np.ndarray:
    """A volume of numbers from a .npy file."""
    try:
        if not Path(path).is_file():  # from a pipe, it would be read for ever
            raise FileNotFoundError("there is no such file")
        array = np.load(path, allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # numpy has many for a file that is none of its own
        raise InputError(f"The array {path} can't be read ({error}).") from None
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.dtype.kind not in "biuf" or not array.size:
        raise InputError(f"The array {path} is no volume of numbers.")
    if shape is not None and array.shape != shape:
        sizes = ("×".join(map(str, one)) for one in (array.shape, shape))
        raise InputError("The brain mask has {} voxels and the T1 {}; give a mask on the T1's lattice.".format(*sizes))
    return array


# ---- values of requests

_FARTHEST = 1e6  # millimetres
_BRIGHTEST = 1e30  # of a voxel; squares of larger ones are no float32
_SIDES = (0.01, 100.0)  # of a voxel, millimetres


def _value(value: Any, hint: Any, name: str) -> Any:
    return _affine(value) if name == "affine" else check_value(value, hint, name)


def _affine(value: Any) -> np.ndarray:
    try:
        affine = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        affine = np.zeros(0)
    if affine.shape != (4, 4) or not (np.abs(affine) < _FARTHEST).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError("The affine is no 4×4 of numbers, voxel indices to millimetres.")
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if sides.min() < _SIDES[0] or sides.max() > _SIDES[1] or abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-3:
        told = "×".join(f"{side:.3g}" for side in sides)
        raise InputError(f"The affine's voxels of {told} mm are those of no scan; check the volume's spacing and axes.")
    return affine
