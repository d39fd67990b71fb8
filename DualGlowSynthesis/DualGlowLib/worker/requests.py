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
from ..provenance import Provenance, over_ages
from ..startup import usual_priority
from ..synthesis.question import Question
from ..synthesis.session import Session
from ..synthesis.synthesizer import Synthesis
from ..values import check_value
from ..volumes.scan import Scan
from .replies import Changed, Compared, Devices, Framed, Keyframe, Opened, Prepared, Sampled, Step, Swept

if TYPE_CHECKING:
    from .server import Worker

__all__ = ["Commands"]


class Commands:
    """Each public method is a command; its keywords are the request's, what it returns the fields of the ``done`` event
    (``replies``).

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
        command: Callable[..., object] = getattr(self, do)
        try:
            inspect.signature(command).bind(**arguments)
        except TypeError as error:
            raise InputError(f"The request {do!r} can't be understood: {shorten(str(error), 200)}.") from None
        hints = get_type_hints(command)
        return vars(command(**{name: _value(value, hints[name], name) for name, value in arguments.items()}))

    # ---- commands

    def devices(self) -> Devices:
        """What there is to compute on."""
        return Devices(**check_devices().to_dict())

    def open(self, *, bundle: str | None = None, device: str = "auto") -> Opened:
        """Load a model: a folder, or None for the one that ships."""
        try:
            about = self._session.open(bundle, device, self._worker.progress)
        except OSError as error:
            where = bundle or "that ships"
            raise InputError(f"The model {where} can't be read ({error.strerror or error}); get it again.") from None
        reason = " ".join(filter(None, [self._session.device_reason, usual_priority()]))
        return Opened(about, self._session.device, reason)

    def prepare(
        self,
        *,
        voxels: str,
        affine: list,
        source: str = "",
        mask: str | None = None,
        prepared: bool = False,
        key: str = "",
    ) -> Prepared:
        """Make a T1 the patient of the questions that follow.

        The files are not read for a patient that is kept, and never after this request.
        """
        scan = cache(lambda: _scan(voxels, affine, source))

        def brain() -> np.ndarray | None:
            return None if mask is None else _read(mask, shape=scan().shape) > 0.5

        patient, kept = self._session.prepare(scan, brain, prepared=prepared, key=key, progress=self._worker.progress)
        found = patient.prepared
        return Prepared(
            verdict=found.verdict.to_dict(),
            quality=found.quality,
            to_template=found.to_template,
            grid_affine=np.linalg.inv(found.to_template) @ found.grid.affine,
            picture=self._picture(patient.picture, "preparation"),
            kept=kept,
        )

    def sample(self, *, question: dict) -> Sampled:
        """Draw PETs; ``question``: the attributes of ``Question``."""
        made = self._session.sample(Question.of(question), self._worker.progress)
        return Sampled(
            *(self._scan_file(getattr(made, name), name) for name in ("mean", "sd", "below")),
            made.regions,
            made.provenance,
            self._session.device,
        )

    def keyframes(self, *, question: dict, ages: list[float | None], temperatures: list[float]) -> Framed:
        """Means on the grid at each age and temperature, as events ``keyframe``."""
        asked = Question.of(question)
        for age, temperature, values in self._session.keyframes(asked, ages, temperatures, self._worker.progress):
            about = self._session.provenance(self._session.frame(asked, age, temperature))
            self._tell("keyframe", Keyframe(age, temperature, self._array(values, "keyframe"), about))
        return Framed()

    def sweep(self, *, question: dict, ages: list[float]) -> Swept:
        """PETs at each age, as events ``step``, and a picture of all."""
        steps: list[Provenance] = []

        def step(age: float, made: Synthesis) -> None:
            mean = self._scan_file(made.mean, "step")
            self._tell("step", Step(age, mean, made.regions, made.provenance, self._session.device))
            steps.append(made.provenance)

        picture = self._session.sweep(Question.of(question), ages, step=step, progress=self._worker.progress)
        return Swept(self._save(picture, "montage"), over_ages(steps, ages))

    def change(self, *, question: dict, since: float) -> Changed:
        """What has changed in the PET since an age, in SUVR and in per cent."""
        made = self._session.change(Question.of(question), since, self._worker.progress)
        return Changed(
            self._scan_file(made.difference, "change"),
            self._scan_file(made.percent, "percent"),
            made.regions,
            made.provenance,
            self._session.device,
        )

    def compare(
        self,
        *,
        voxels: str,
        affine: list,
        source: str = "",
        question: dict,
        source_resolution: float | None = None,
        registered: bool = False,
    ) -> Compared:
        """An acquired PET beside the samples that the question draws at temperature 1."""
        found = self._session.compare(
            _scan(voxels, affine, source), Question.of(question),
            source_resolution=source_resolution, registered=registered, progress=self._worker.progress,
        )  # fmt: skip
        return Compared(
            **{name: self._scan_file(getattr(found, name), name) for name in ("pet", "difference", "z")},
            metrics=vars(found.metrics),
            regions=found.regions,
            bits_per_dim=found.bits_per_dim,
            percentile=found.percentile,
            verdict=found.prepared.verdict.to_dict(),
            notes=found.prepared.quality["notes"],
            transform=found.prepared.pet_to_t1,
            provenance=found.provenance,
            device=found.device,
        )

    def _tell(self, event: str, values: Keyframe | Step) -> None:
        self._worker.event(event, **vars(values))

    # ---- files

    def _path(self, what: str, ending: str) -> Path:
        path = self._worker.folder / f"{what}-{secrets.token_hex(8)}{ending}"
        self._worker.made.append(path)
        return path

    def _array(self, array: np.ndarray, what: str) -> str:
        return self._save(np.asfortranarray(array, np.float32), what)  # as VTK keeps volumes: the window copies nothing

    def _save(self, array: np.ndarray, what: str) -> str:
        path = self._path(what, ".npy")
        try:
            np.save(path, array)
        except OSError as error:
            raise InputError(f"{path} can't be written: {error.strerror or error}; free some space there.") from None
        return str(path)

    def _scan_file(self, scan: Scan | None, what: str) -> str | None:
        return None if scan is None else self._array(scan.data, what)

    def _picture(self, picture: np.ndarray, what: str) -> str:
        return str(write_png(picture, self._path(what, ".png")))


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
    if name == "affine":
        return _affine(value)
    if name == "question":  # ``Question.of`` looks at what is in it
        if not isinstance(value, dict):
            raise InputError(f"question must be an object, not {reprlib.repr(value)}.")
        return value
    return check_value(value, hint, name)


def _affine(value: Any) -> np.ndarray:
    try:
        affine = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        affine = np.zeros(0)
    if affine.shape != (4, 4) or not (np.abs(affine) < _FARTHEST).all() or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError("The affine is no 4×4 of numbers, voxel indices to millimetres.")
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if sides.min() < _SIDES[0] or sides.max() > _SIDES[1] or abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-3:
        size = "×".join(f"{side:.3g}" for side in sides)
        raise InputError(f"The affine's voxels of {size} mm are those of no scan; check the volume's spacing and axes.")
    return affine
