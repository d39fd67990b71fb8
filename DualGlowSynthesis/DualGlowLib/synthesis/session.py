"""One model on one device and one patient at a time, as a window needs them: what did not change is kept.

Python objects in, Python objects out. Every step reports its progress to a callback, and whatever the callback raises
(``Cancelled``, by custom) ends the step; the session can be used further.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from .. import devices
from ..atlas.regions import REGIONS, weights
from ..bundle.bundle import load_bundle
from ..bundle.files import DEFAULT_BUNDLE, describe
from ..errors import Cancelled, InputError
from ..model import encode_covariates
from ..pictures.montage import montage
from ..preparation.pet import PreparedPet, prepare_pet
from ..resources import resource
from ..volumes.scan import Scan
from .cache import Kept
from .comparison import Comparison, compare
from .draws import Distribution
from .patient import Patient, make_patient
from .region_table import region_rows
from .synthesizer import PatientEncoding, Synthesis, Synthesizer

__all__ = ["Cancelled", "Patient", "Sampled", "Session"]

Progress = Callable[[str, float], None]
_Result = TypeVar("_Result")

_MAX_SAMPLES, _MAX_AGES, _MAX_FRAMES = 256, 60, 1000
_PATIENTS = 2  # kept: two inputs in turn are prepared once each
_FRAME_BYTES = 256 << 20  # of keyframes kept


@dataclass
class Sampled:
    """A synthesis, the rows of its regions (``regional.region_rows``), and the device that it was made on."""

    synthesis: Synthesis
    regions: list[dict]
    device: str


class Session:
    """A model and a patient.

    >>> session = Session()                                       # doctest: +SKIP
    >>> session.open(None, "auto")                                # doctest: +SKIP
    >>> session.prepare(read_scan("t1.nii.gz"), key="first")      # doctest: +SKIP
    >>> session.sample(age=72.0, samples=8, temperature=1.0)      # doctest: +SKIP

    Args:
        notice: called with a sentence where something goes on otherwise than was asked, e.g. on the CPU because the
            GPU's memory is full.
    """

    def __init__(self, notice: Callable[[str], None] | None = None) -> None:
        self.notice = notice or (lambda sentence: None)
        self.synthesizer: Synthesizer | None = None
        self.patient: Patient | None = None
        self.device = "cpu"
        self.device_reason = ""
        self._opened: tuple = ()
        self._folder: Path | None = None
        self._patients: Kept[Patient] = Kept(_PATIENTS)
        self._frames: Kept[np.ndarray] = Kept(_FRAME_BYTES, lambda frame: frame.nbytes)
        self._pet: tuple[tuple, PreparedPet] | None = None

    # ---- the model

    def open(self, bundle: Path | str | None = None, device: str = "auto", progress: Progress | None = None) -> dict:
        """Load a bundle (None: the one that ships) onto a device; the same ones again cost nothing.

        A patient stays prepared where the new model wants the same preparation.

        Returns:
            ``describe()``.

        Raises:
            InputError: see ``load_bundle`` and ``devices.choose``; what was open before stays so.
        """
        tell = progress or _silent
        tell("model", 0.0)
        folder = resource("Models", DEFAULT_BUNDLE) if bundle is None else Path(bundle)
        about = describe(folder)
        if self._opened == (about["sha256"], device, self.device):
            return self.describe()
        name, reason = devices.choose(device, devices.check_devices(device)) if device != "cpu" else ("cpu", "")
        tell("model", 0.3)
        loaded = load_bundle(folder)
        tell("model", 0.8)
        old, self.synthesizer = self.synthesizer, Synthesizer(loaded, name)
        self._folder, self.device, self.device_reason = folder, name, reason or "The CPU was chosen."
        self._opened = about["sha256"], device, name
        self._frames.clear()
        if old is None or _preparation(old) != _preparation(self.synthesizer):
            self.patient, self._pet = None, None
            self._patients.clear()
        tell("model", 1.0)
        return self.describe()

    def describe(self) -> dict:
        """What the model is, for a reader: ``bundle_files.describe`` and the names of the ``regions``."""
        self._model()
        about = describe(self._folder)
        return {**about, "resolution": about["resolution"] or 8.0, "regions": list(REGIONS)}

    # ---- the patient

    def prepare(
        self,
        scan: Scan | Callable[[], Scan],
        mask: np.ndarray | Scan | Callable[[], np.ndarray | None] | None = None,
        *,
        prepared: bool = False,
        key: str = "",
        progress: Progress | None = None,
    ) -> tuple[Patient, bool]:
        """Prepare and encode a T1, unless the same key has been prepared and is kept.

        Args:
            scan: the T1, or a function that reads it if it is needed.
            mask: the brain, as ``t1.prepare`` takes it, or a function that reads it.
            prepared: True for a T1 that is prepared already, see ``preparation.adoption.adopt``.
            key: equal for equal scan, mask and ``prepared``; empty: always prepare.
            progress: called with a stage and the share done of all.

        Returns:
            The patient, and whether it was kept.

        Raises:
            InputError: see ``t1.prepare`` and ``adopt``; the former patient is no longer there then.
        """
        model, tell = self._model(), progress or _silent
        self.patient = None  # whatever goes wrong: nobody gets one patient's PET for another's
        kept = self._patients.get(key) if key else None
        if kept is not None:
            self._on_device(kept.encode)
            tell("encoding", 1.0)
            self.patient = kept
            return kept, True
        scan, mask = (value() if callable(value) else value for value in (scan, mask))
        self.patient = make_patient(model, scan, mask, prepared, tell, self._on_device)
        if key:
            self._patients.put(key, self.patient)
        return self.patient, False

    def _encoded(self, model: Synthesizer) -> PatientEncoding:
        """The patient, encoded on the model's device."""
        self.patient.encode(model)
        return self.patient.encoded

    # ---- PETs

    def sample(
        self,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | Sequence[float] = 0.0,
        samples: int = 1,
        seed: int = 0,
        *,
        below: float | None = None,
        first: int = 0,
        progress: Progress | None = None,
    ) -> Sampled:
        """Draw PETs and bring their mean, spread and share below a SUVR to the T1's lattice.

        Args:
            age, sex, diagnosis: None for unknown.
            temperature, samples, seed: as ``Synthesizer.sample``.
            below: SUVR.
            first: number of the first sample.
            progress: called with a stage and the share done of all.

        Raises:
            InputError: without a patient, and for values that can't be.
        """
        who = {"age": age, "sex": sex, "diagnosis": diagnosis}
        self._check(who, temperature, samples, seed, below, first)
        tell = progress or _silent
        tell("sampling", 0.0)

        def work(model: Synthesizer) -> Synthesis:
            return model.sample(
                self._encoded(model), **who, temperature=temperature, samples=samples, seed=seed, below=below,
                first=first, regions=weights(model.bundle.grid), progress=lambda share: tell("sampling", 0.9 * share),
            )  # fmt: skip

        made = self._on_device(work)
        tell("resampling", 1.0)
        if not first:
            self._frames.put(self._frame_key(who, temperature, samples, seed), _read_only(made.grid_mean))
        return Sampled(made, region_rows(made.distribution, made.regions_known), self.device)

    def one(
        self,
        index: int,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | Sequence[float] = 1.0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Sampled:
        """Sample number ``index`` of those that ``sample`` draws with the same values.

        Raises:
            InputError: as ``sample``.
        """
        return self.sample(age, sex, diagnosis, temperature, 1, seed, first=index, progress=progress)

    def keyframes(
        self,
        ages: Sequence[float | None],
        temperatures: Sequence[float],
        sex: str | None = None,
        diagnosis: str | None = None,
        samples: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[tuple[float | None, float, np.ndarray]]:
        """Means of the samples on the grid at every age and temperature, from the same noise, as they are made.

        Frames that were made before (by ``sample`` too) are kept and cost nothing.

        Yields:
            Age, temperature, and float32 SUVR of the grid's shape, read-only.

        Raises:
            InputError: as ``sample``, before the first frame.
        """
        tell = progress or _silent
        if len(ages) * len(temperatures) > _MAX_FRAMES:
            text = "A preview of {} ages at {} temperatures can't be made; take at most {} of both together."
            raise InputError(text.format(len(ages), len(temperatures), _MAX_FRAMES))
        wanted = [(age, temperature) for temperature in temperatures for age in ages]
        if None in temperatures:
            raise InputError("A preview needs temperatures; one is unknown.")
        for age, temperature in wanted:
            self._check({"age": age, "sex": sex, "diagnosis": diagnosis}, temperature, samples, seed)

        def frames() -> Iterator[tuple[float | None, float, np.ndarray]]:
            for number, (age, temperature) in enumerate(wanted):
                who = {"age": age, "sex": sex, "diagnosis": diagnosis}
                tell("keyframes", number / len(wanted))
                yield age, temperature, self._frame(who, temperature, samples, seed, tell, number, len(wanted))
            tell("keyframes", 1.0)

        return frames()

    def _frame(
        self, who: dict, temperature: float, samples: int, seed: int, tell: Progress, number: int, count: int
    ) -> np.ndarray:
        key = self._frame_key(who, temperature, samples, seed)
        frame = self._frames.get(key)
        if frame is None:

            def work(model: Synthesizer) -> Distribution:
                return model.distribution(
                    self._encoded(model).encoding, who, temperature, samples, seed,
                    progress=lambda share: tell("keyframes", (number + share) / count),
                )  # fmt: skip

            frame = _read_only(self._on_device(work).mean)
            self._frames.put(key, frame)
        return frame

    def _frame_key(self, who: dict, temperature: float | Sequence[float], samples: int, seed: int) -> tuple:
        temperatures = self._model().check(temperature, samples)
        drawn = (samples, seed) if any(temperatures) else ()  # without noise, neither makes a difference
        return (self.patient.number, *who.values(), temperatures, drawn)

    def provenance(
        self,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | Sequence[float] = 0.0,
        samples: int = 1,
        seed: int = 0,
    ) -> dict:
        """What goes into a PET with these values, see ``Synthesizer.provenance``.

        Raises:
            InputError: as ``sample``.
        """
        who = {"age": age, "sex": sex, "diagnosis": diagnosis}
        self._check(who, temperature, samples, seed)
        model = self._model()
        return model.provenance(self._encoded(model), who, temperature, samples, seed)

    def sweep(
        self,
        ages: Sequence[float],
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float = 0.0,
        samples: int = 1,
        seed: int = 0,
        step: Callable[[float, Sampled], None] | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """PETs at many ages, from the same noise.

        Args:
            ages: years, at most 60 of them.
            step: called with the age and what ``sample`` returns for it, as they are made.

        Returns:
            The montage, uint8, rows × columns × 3: axial, coronal and sagittal rows, a column for each age.

        Raises:
            InputError: as ``sample``, before the first step.
        """
        tell, count = progress or _silent, len(ages)
        if not 0 < count <= _MAX_AGES:
            raise InputError(f"A sweep over {count} ages can't be made; take 1 to {_MAX_AGES}.")
        if None in ages:
            raise InputError("A sweep needs ages; one is unknown.")
        for age in ages:
            self._check({"age": age, "sex": sex, "diagnosis": diagnosis}, temperature, samples, seed)
        means = []
        for number, age in enumerate(ages):

            def share(stage: str, done: float, number: int = number) -> None:
                tell("sampling", 0.95 * (number + done) / count)

            made = self.sample(age, sex, diagnosis, temperature, samples, seed, progress=share)
            means.append(made.synthesis.grid_mean)
            if step:
                step(age, made)
        tell("drawing", 0.95)
        picture = montage(self.patient.prepared, means, [f"{age:g}" for age in ages])
        tell("drawing", 1.0)
        return picture

    # ---- a PET that is there already

    def compare(
        self,
        pet: Scan,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        samples: int = 16,
        seed: int = 0,
        *,
        source_resolution: float | None = None,
        registered: bool = False,
        progress: Progress | None = None,
    ) -> Comparison:
        """Does this PET fit this T1? See ``comparison.compare``, which draws ``samples`` PETs at temperature 1.

        The registration of the last PET is kept: another age costs only the samples.

        Args:
            pet: FDG-PET of the same person, in any units and place.
            source_resolution, registered: as ``preparation.pet.prepare_pet``.

        Raises:
            InputError: see ``preparation.pet.prepare_pet`` and ``sample``.
        """
        who, tell, model = {"age": age, "sex": sex, "diagnosis": diagnosis}, progress or _silent, self._model()
        self._check(who, 1.0, samples, seed)
        if samples < 2:
            raise InputError("A PET is compared with the spread of samples; take at least 2.")
        digest = hashlib.sha256(np.ascontiguousarray(pet.data)).hexdigest()
        key = (self.patient.number, digest, pet.affine.tobytes(), source_resolution, registered)
        if self._pet is None or self._pet[0] != key:
            self._pet = (
                key,
                prepare_pet(
                    pet,
                    self.patient.prepared,
                    reference=model.bundle.preparation.get("reference", "pons"),
                    resolution=model.bundle.preparation.get("resolution", 8.0),
                    source_resolution=source_resolution,
                    registered=registered,
                    progress=lambda stage, share: tell(stage, 0.5 * share),
                ),
            )
        found = self._pet[1]

        def work(model: Synthesizer) -> Comparison:
            later = lambda stage, share: tell(stage, 0.5 + 0.5 * share)  # noqa: E731
            return compare(model, self._encoded(model), found, who, samples, seed, later, pet_sha256=digest)

        return self._on_device(work)

    # ---- inside

    def _model(self) -> Synthesizer:
        if self.synthesizer is None:
            raise InputError("There is no model yet; open one first.")
        return self.synthesizer

    def _check(
        self,
        who: dict,
        temperature: float | Sequence[float],
        samples: int,
        seed: int,
        below: float | None = None,
        first: int = 0,
    ) -> None:
        """Refuse what can't be, before any work."""
        model = self._model()
        if self.patient is None:
            raise InputError("There is no patient yet; prepare a T1 first.")
        model.check(temperature, samples)
        encode_covariates(model.bundle.config.covariates, [who])
        if samples > _MAX_SAMPLES:
            raise InputError(f"The number of samples is {samples}; take at most {_MAX_SAMPLES}.")
        for name, value in (("seed", seed), ("number of the sample", first)):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
                raise InputError(f"The {name} is {value!r}; take a whole number from 0 to {(1 << 31) - 1}.")
        if below is not None and not 0 < below < 100:
            raise InputError(f"The SUVR threshold is {below:g}; take one above 0.")

    def _on_device(self, work: Callable[[Synthesizer], _Result]) -> _Result:
        """Do it; if the GPU's memory is full, or it can't do a part of it, once more on the CPU, which then stays."""
        try:
            return work(self._model())
        except (RuntimeError, NotImplementedError) as error:
            why = devices.fault_of_device(error)
            if self.device == "cpu" or not why:
                raise
        # Out here, the error and with it the tensors that its traceback held are gone.
        former, self.device = self.device, "cpu"
        self.device_reason = f"The CPU is used, because the GPU ({former}) {why}."
        self._opened = (*self._opened[:2], "")  # so that opening the same again tries the GPU again
        self.synthesizer = Synthesizer(self._model().bundle, "cpu")
        devices.free_memory()
        self.notice(f"The GPU ({former}) {why}; the CPU goes on, more slowly.")
        return work(self.synthesizer)


def _silent(stage: str, fraction: float) -> None:
    pass


def _read_only(frame: np.ndarray) -> np.ndarray:
    frame.setflags(write=False)
    return frame


def _preparation(model: Synthesizer) -> tuple:
    """What of a model decides how a T1 is prepared for it."""
    settings = model.bundle.preparation
    return model.bundle.grid, settings.get("bias", True), settings.get("deformable", False)
