"""One model on one device and one patient at a time, as a window needs them: what did not change is kept.

Python objects in, Python objects out. Every step reports its progress to a callback, and whatever the callback raises
(``Cancelled``, by custom) ends the step; the session can be used further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from .. import devices
from ..atlas.regions import REGIONS
from ..bundle.bundle import load_bundle
from ..bundle.files import DEFAULT_BUNDLE, describe
from ..errors import Cancelled, InputError
from ..pictures.montage import montage
from ..preparation.pet import PreparedPet, prepare_pet
from ..provenance import Provenance
from ..resources import resource
from ..volumes.scan import Scan
from . import costs
from .cache import SizedCache
from .change import Change, change_between
from .comparison import Comparison, compare, comparing
from .patient import Patient, make_patient
from .question import MAX_AGES, Question
from .synthesizer import PatientEncoding, Synthesis, Synthesizer, voxels_sha256

__all__ = ["Cancelled", "Patient", "Session"]

Progress = Callable[[str, float], None]
_Result = TypeVar("_Result")

_MAX_FRAMES = 1000
_PATIENTS = 2  # kept: two inputs in turn are prepared once each
_FRAME_BYTES = 256 << 20  # of keyframes kept


class Session:
    """A model and a patient.

    >>> from DualGlowLib.volumes.reading import read_scan
    >>> session = Session()
    >>> model = session.open()
    >>> patient = session.prepare(read_scan("t1.nii.gz"), key="first")
    >>> sampled = session.sample(Question({"age": 72.0}, temperature=1.0, samples=2))
    >>> [row["mean"] > 0.5 for row in sampled.regions[:2]]
    [True, True]

    Args:
        notice: called with a sentence where something goes on otherwise than was asked, e.g. on the CPU because the
            GPU's memory is full.
        load: opens a bundle's folder on a device; by default one of a DUAL-GLOW model.
    """

    def __init__(
        self,
        notice: Callable[[str], None] | None = None,
        load: Callable[[Path, str], Synthesizer] | None = None,
    ) -> None:
        self._load = load or (lambda folder, device: Synthesizer(load_bundle(folder), device))
        self.notice = notice or (lambda sentence: None)
        self.synthesizer: Synthesizer | None = None
        self.patient: Patient | None = None
        self.device = "cpu"
        self.device_reason = ""
        self._opened: tuple = ()
        self._folder: Path | None = None
        self._patients: SizedCache[Patient] = SizedCache(_PATIENTS)
        self._frames: SizedCache[np.ndarray] = SizedCache(_FRAME_BYTES, lambda frame: frame.nbytes)
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
        loaded = self._load(folder, name)
        tell("model", 0.8)
        old, self.synthesizer = self.synthesizer, loaded
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
        return {**about, "regions": list(REGIONS)}

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

    def check(self, question: Question) -> None:
        """Refuse what this model can't answer, before any work; a patient isn't needed.

        Raises:
            InputError: see ``Synthesizer.check``.
        """
        self._model().check(question)

    def untrained(self, question: Question) -> list[str]:
        """Covariates whose values lie outside those of the training cases, though near enough to be used."""
        known = self._model().bundle.config.covariates
        return [one.name for one in known if not one.is_trained(question.covariates.get(one.name))]

    def merged(self, question: Question) -> dict[str, tuple[str, str]]:
        """Covariates whose value counts as another category for this model: what is stated, and what it counts as."""
        found = {}
        for one in self._model().bundle.config.covariates:
            value = question.covariates.get(one.name)
            if stated := one.merged(value):
                found[one.name] = (stated, str(one.parse(value)))
        return found

    def sample(self, question: Question, progress: Progress | None = None) -> Synthesis:
        """Draw PETs and bring their mean, spread and share below a SUVR to the T1's lattice.

        Raises:
            InputError: without a patient, and as ``check``.
        """
        self._check(question)
        tell = progress or _silent
        tell("sampling", 0.0)
        images = 1 + (question.drawn > 1) + (question.below is not None)
        later = costs.resampling(self.patient.prepared.scan.data.size, images)

        def work(model: Synthesizer) -> Synthesis:
            drawing = costs.drawing(question.drawn, model.device.type)
            most = min(drawing / (drawing + later), 0.9)
            return model.sample(self._encoded(model), question, progress=lambda share: tell("sampling", most * share))

        made = self._on_device(work)
        tell("resampling", 1.0)
        if not question.first:
            self._frames.put(self._frame_key(question), _read_only(made.distribution.mean))
        return made

    def keyframes(
        self,
        question: Question,
        ages: Sequence[float | None],
        temperatures: Sequence[float],
        progress: Progress | None = None,
    ) -> Iterator[tuple[float | None, float, np.ndarray]]:
        """Means of the samples on the grid at every age and temperature, from the same noise, as they are made.

        Frames that were made before (by ``sample`` too) are kept and cost nothing.

        Yields:
            Age, temperature, and float32 SUVR of the grid's shape, read-only.

        Raises:
            InputError: as ``sample``, before the first frame.
        """
        tell, count = progress or _silent, len(ages) * len(temperatures)
        if count > _MAX_FRAMES:
            text = "A preview of {} ages at {} temperatures can't be made; take at most {} of both together."
            raise InputError(text.format(len(ages), len(temperatures), _MAX_FRAMES))
        wanted = [self.frame(question, age, temperature) for temperature in temperatures for age in ages]
        for one in wanted:
            self._check(one)

        def frames() -> Iterator[tuple[float | None, float, np.ndarray]]:
            for number, one in enumerate(wanted):

                def share(done: float, number: int = number) -> None:
                    tell("keyframes", (number + done) / count)

                share(0.0)
                yield one.covariates.get("age"), one.temperature, self._frame(one, share)
            tell("keyframes", 1.0)

        return frames()

    @staticmethod
    def frame(question: Question, age: float | None, temperature: float) -> Question:
        """What a keyframe answers."""
        return replace(question.at(age=age), temperature=temperature, below=None)

    def _frame(self, question: Question, share: Callable[[float], None]) -> np.ndarray:
        key = self._frame_key(question)
        frame = self._frames.get(key)
        if frame is None:
            made = self._on_device(
                lambda model: model.distribution(self._encoded(model).encoding, question, progress=share)
            )
            frame = _read_only(made.mean)
            self._frames.put(key, frame)
        return frame

    def _frame_key(self, question: Question) -> tuple:
        temperatures = self._model().check(question)
        noise = (question.samples, question.seed, question.antithetic, question.first) if any(temperatures) else ()
        return (self.patient.number, *sorted(question.covariates.items()), temperatures, noise)

    def provenance(self, question: Question) -> Provenance:
        """What goes into a PET, see ``Synthesizer.provenance``.

        Raises:
            InputError: as ``sample``.
        """
        self._check(question)
        model = self._model()
        return model.provenance(self._encoded(model), question)

    def change(self, question: Question, since: float, progress: Progress | None = None) -> Change:
        """What the question's age changes in its PET since another age: the same anatomy, the same noise.

        Both means are kept as keyframes are: one that was made before costs nothing.

        Args:
            question: its age is known.
            since: years.
            progress: called with a stage and the share done of all.

        Raises:
            InputError: as ``sample``, and if the question's age is unknown.
        """
        tell = progress or _silent
        asked = [replace(one, below=None) for one in (question.at(age=since), question)]
        for one in asked:
            self._check(one)
        if question.covariates.get("age") is None:
            raise InputError("The age is unknown; set it, or nothing can have changed since another.")
        pets = []
        for number, one in enumerate(asked):

            def share(done: float, number: int = number) -> None:
                tell("sampling", 0.45 * (number + done))

            share(0.0)
            pets.append(self._frame(one, share))
        tell("resampling", 0.9)
        about: Provenance = {**self.provenance(asked[1]), "SinceAge": float(since)}
        made = change_between(pets[0], pets[1], self.patient.prepared, about)
        tell("resampling", 1.0)
        return made

    def sweep(
        self,
        question: Question,
        ages: Sequence[float],
        step: Callable[[float, Synthesis], None] | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """PETs at many ages, from the same noise.

        Args:
            question: its age doesn't count.
            ages: years, at most 60 of them.
            step: called with the age and what ``sample`` returns for it, as they are made.
            progress: called with a stage and the share done of all.

        Returns:
            The montage, uint8, rows × columns × 3: axial, coronal and sagittal rows, a column for each age; of several
            ages the same again of what has changed since the first.

        Raises:
            InputError: as ``sample``, before the first step.
        """
        tell, count = progress or _silent, len(ages)
        self._need_patient()
        self.check_sweep(question, ages)
        means = []
        for number, age in enumerate(ages):

            def share(stage: str, done: float, number: int = number) -> None:
                tell("sampling", 0.95 * (number + done) / count)

            made = self.sample(question.at(age=age), share)
            means.append(made.distribution.mean)
            if step:
                step(age, made)
        tell("drawing", 0.95)
        picture = montage(self.patient.prepared, means, [f"age {age:g}" for age in ages], changes=len(ages) > 1)
        tell("drawing", 1.0)
        return picture

    def check_sweep(self, question: Question, ages: Sequence[float]) -> list[Question]:
        """The questions of a sweep, after a look at whether this model can answer them; a patient isn't needed.

        Raises:
            InputError: if it can't.
        """
        if not 0 < len(ages) <= MAX_AGES:
            raise InputError(f"A sweep over {len(ages)} ages can't be made; take 1 to {MAX_AGES}.")
        if None in ages:
            raise InputError("A sweep needs ages; one is unknown.")
        questions = [question.at(age=age) for age in ages]
        for one in questions:
            self.check(one)
        return questions

    # ---- a PET that is there already

    def compare(
        self,
        pet: Scan,
        question: Question,
        *,
        source_resolution: float | None = None,
        registered: bool = False,
        progress: Progress | None = None,
    ) -> Comparison:
        """Does this PET fit this T1? See ``comparison.compare``, which draws samples at temperature 1.

        The registration of the last PET is kept: another age costs only the samples.

        Args:
            pet: FDG-PET of the same person, in any units and place.
            question: covariates, samples and seed.
            source_resolution, registered: as ``preparation.pet.prepare_pet``.
            progress: called with a stage and the share done of all.

        Raises:
            InputError: see ``preparation.pet.prepare_pet`` and ``sample``.
        """
        tell, model, question = progress or _silent, self._model(), comparing(question)
        self._check(question)
        digest = voxels_sha256(pet)
        chosen = model.bundle.preparation
        key = (self.patient.number, digest, pet.affine.tobytes(), source_resolution, registered, chosen)
        registering = 0.0
        if self._pet is None or self._pet[0] != key:
            voxels, device = self.patient.prepared.scan.data.size, self._model().device.type
            later = sum(costs.comparing(question.samples, voxels, device))
            registering = costs.REGISTERING / (costs.REGISTERING + later)
            self._pet = (
                key,
                prepare_pet(
                    pet,
                    self.patient.prepared,
                    reference=chosen.reference,
                    resolution=chosen.resolution,
                    source_resolution=source_resolution,
                    registered=registered,
                    progress=lambda stage, share: tell(stage, registering * share),
                ),
            )
        found = self._pet[1]

        def work(model: Synthesizer) -> Comparison:
            def rest(stage: str, share: float) -> None:
                tell(stage, registering + (1 - registering) * share)

            return compare(model, self._encoded(model), found, question, rest, pet_sha256=digest)

        return self._on_device(work)

    # ---- inside

    def _model(self) -> Synthesizer:
        if self.synthesizer is None:
            raise InputError("There is no model yet; open one first.")
        return self.synthesizer

    def _need_patient(self) -> None:
        self._model()
        if self.patient is None:
            raise InputError("There is no patient yet; prepare a T1 first.")

    def _check(self, question: Question) -> None:
        """Refuse what can't be, before any work."""
        self._need_patient()
        self.check(question)

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
        self.synthesizer = type(self._model())(self._model().bundle, "cpu")
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
    chosen = model.bundle.preparation
    return model.bundle.grid, chosen.bias, chosen.deformable
