"""From the user's choices to requests of the worker, in order, without asking again for what did not change."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import NamedTuple

from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.synthesis import costs
from DualGlowLib.worker import replies
from DualGlowSlicerLib import volumes
from DualGlowSlicerLib.client import WorkerClient

from ..nodes import marks
from ..parameters import Choices

__all__ = ["Engine", "Job"]

_STAGES = {
    "open": lambda: _("Loading the model"),
    "prepare": lambda: _("Preparing the MRI"),
    "sample": lambda: _("Sampling"),
    "keyframes": lambda: _("Preparing the preview"),
    "sweep": lambda: _("Sampling ages"),
    "change": lambda: _("Sampling the other age"),
    "compare": lambda: _("Comparing with the PET"),
}


class Step(NamedTuple):
    """One request of a job: what is asked, by which keywords, who hears the reply, and about how many seconds it takes,
    which counts beside the other steps alone.
    """

    do: str
    arguments: Callable[[], dict]
    heard: Callable | None
    seconds: float


class Job:
    """A chain of requests that ends with ``onDone(reply of the last)``, ``onProblem(text, isFailure)`` or
    ``onCancelled()``; ``onProgress(text, fraction)``, ``onNotice(sentence)`` and ``onEvent(event)`` before that.

    Replies and events are those of ``DualGlowLib.worker.replies``, with arrays in place of their files.
    """

    def __init__(
        self, engine: "Engine", steps: list, onDone, onProgress, onProblem, onCancelled, onEvent, onNotice
    ) -> None:
        self._engine, self._steps = engine, steps
        self._onDone, self._onProgress, self._onProblem = onDone, onProgress, onProblem
        self._onCancelled, self._onEvent, self._onNotice = onCancelled, onEvent, onNotice
        self._total = sum(step.seconds for step in steps)
        self._before = 0.0
        self._number = None
        self.started = time.monotonic()
        self.isOver = self._isCancelled = False
        self._next()

    def cancel(self, isForced: bool = True) -> None:
        """``isForced``: a worker that does not heed is killed; without it, it may end what it is at."""
        if not self.isOver:
            self._isCancelled = True
            self._engine.client.cancel(self._number, isForced)

    def _next(self) -> None:
        self._step = step = self._steps.pop(0)
        do, heard, self._begun = step.do, step.heard, time.monotonic()
        self._tell(do, 0.0)
        try:
            self._number = self._engine.client.request(
                do,
                onDone=lambda message: self._done(do, heard, message),
                onEvent=lambda message: self._event(do, message),
                onRefused=self._refused,
                onFailed=self._failed,
                onCancelled=self._cancelled,
                **step.arguments(),
            )
        except InputError as error:  # of the choices, or no room for the voxels
            self._refused(str(error))

    def _tell(self, do: str, fraction: float, stage: str = "") -> None:
        if self._onProgress:
            whole = (self._before + self._step.seconds * fraction) / self._total
            text = f"{_STAGES[do]()}: {stage}" if stage else _STAGES[do]()
            self._onProgress(text, whole)

    def _event(self, do: str, message: dict) -> None:
        if message["event"] == "progress":
            self._tell(do, message.get("fraction") or 0.0, message.get("stage", ""))
        elif message["event"] == "notice":
            if self._onNotice:
                self._onNotice(message["message"])
        elif self._onEvent:
            self._onEvent(replies.loaded(replies.read_event(message), self._engine.client.load))

    def _done(self, do: str, heard, message: dict) -> None:
        with marks.held():  # whatever is written of the reply
            self._heard(do, heard, message)

    def _heard(self, do: str, heard, message: dict) -> None:
        reply = replies.loaded(replies.read_end(do, message), self._engine.client.load)
        self._before += self._step.seconds
        self._engine.measured(self._step, time.monotonic() - self._begun)
        if heard:
            heard(reply)
        if self._isCancelled:  # too late for this step, not for the next
            self._cancelled()
            return
        if self._steps:
            self._next()
            return
        self.isOver = True
        if self._onDone:
            self._onDone(reply)

    def _refused(self, text: str) -> None:
        self.isOver = True
        if self._onProblem:
            self._onProblem(text, False)

    def _failed(self, text: str) -> None:
        self.isOver = True
        if self._onProblem:
            self._onProblem(text, True)

    def _cancelled(self) -> None:
        self.isOver = True
        if self._onCancelled:
            self._onCancelled()


class Engine:
    """One worker, and what it holds: which model on which device, which patient.

    ``opened`` (model and device) and ``prepared`` (verdict and places of the patient) are the worker's last answers,
    None before.
    """

    def __init__(self, client: WorkerClient | None = None) -> None:
        self.client = client or WorkerClient()
        self.opened = None
        self.prepared = None
        self._opened = None
        self._patient = None
        self._asked = None
        self._pace = 1.0  # seconds that a second of ``costs`` takes here

    def close(self) -> None:
        self.client.close()

    def forget(self) -> None:
        """Nothing that was asked for is wanted any more."""
        self.client.forget()
        self._patient = self.prepared = None

    def holds(self, inputVolume, maskVolume, preparation: str, choices: Choices) -> bool:
        """Whether the worker has this patient under this model, so that sampling needs nothing else."""
        return self.client.isRunning and self._patient == self._patientKey(
            inputVolume, maskVolume, preparation, choices
        )

    def measured(self, step: "Step", seconds: float) -> None:
        """How long a step took: the next will be as fast; what was kept, and so took no time, doesn't count."""
        if step.do != "open" and seconds > 0.2 * step.seconds:
            self._pace = seconds / step.seconds

    def expected(self, patient: tuple, choices: Choices) -> float:
        """About how many seconds ``sample`` would take now."""
        steps = self._readying(patient, choices)
        return self._pace * (sum(step.seconds for step in steps) + self._seconds("sample", patient[0], choices, 1))

    def sample(self, patient: tuple, choices: Choices, **callbacks: Callable) -> Job:
        """``patient``: input volume, mask volume or None, preparation."""
        return self._run(patient, choices, "sample", lambda: _asked(choices), callbacks)

    def keyframes(self, patient: tuple, choices: Choices, ages: list, temperatures: list, **callbacks: Callable) -> Job:
        asked = {**_asked(choices), "ages": ages, "temperatures": temperatures}
        images = len(ages) * len(temperatures)
        return self._run(patient, choices, "keyframes", lambda: asked, callbacks, images)

    def sweep(self, patient: tuple, choices: Choices, ages: list, **callbacks: Callable) -> Job:
        asked = {**_asked(choices), "ages": ages}
        return self._run(patient, choices, "sweep", lambda: asked, callbacks, len(ages))

    def change(self, patient: tuple, choices: Choices, since: float, **callbacks: Callable) -> Job:
        asked = {**_asked(choices), "since": since}
        return self._run(patient, choices, "change", lambda: asked, callbacks, 2)

    def compare(self, patient: tuple, choices: Choices, petVolume, **callbacks: Callable) -> Job:
        def asked() -> dict:
            voxels, affine = volumes.usableVoxels(petVolume), volumes.affineIn(petVolume, patient[0])
            return {
                "voxels": self.client.save(voxels),
                "affine": affine.tolist(),
                "source": petVolume.GetName(),
                **_asked(choices),
            }

        return self._run(patient, choices, "compare", asked, callbacks)

    def prepare(self, patient: tuple, choices: Choices, **callbacks: Callable) -> Job | None:
        """Only that; None if it is done already."""
        if self.holds(*patient, choices):
            return None
        return self._run(patient, choices, "", dict, callbacks)

    def _run(
        self, patient: tuple, choices: Choices, do: str, asked: Callable[[], dict], callbacks: dict, times: int = 1
    ) -> Job:
        """``do``: what is asked once the patient is there, "" for nothing; ``times``: how many questions that is."""
        volumes.usableVoxels(patient[0])  # a refusal comes before anything is started
        names = ("onDone", "onProgress", "onProblem", "onCancelled", "onEvent", "onNotice")
        steps = self._readying(patient, choices)
        if do:
            steps.append(Step(do, asked, None, self._seconds(do, patient[0], choices, times)))
        return Job(self, steps, *(callbacks.get(name) for name in names))

    def _readying(self, patient: tuple, choices: Choices) -> list:
        steps = []
        opened = (choices.bundle, choices.device)
        if not (self.client.isRunning and self._opened == (self.client.starts, *opened)):
            asked = {"bundle": choices.bundle, "device": choices.device}
            steps.append(Step("open", lambda: asked, self._hearOpened(opened), costs.OPENING))
        if steps or not self.holds(*patient, choices):
            request = lambda: self._patientRequest(*patient, choices)  # noqa: E731
            steps.append(Step("prepare", request, self._hearPrepared, costs.PREPARING))
        return steps

    def _seconds(self, do: str, inputVolume, choices: Choices, times: int) -> float:
        """About how long it takes, see ``costs``."""
        voxels, drawn = inputVolume.GetImageData().GetNumberOfPoints(), choices.question.drawn
        device = self.opened.device if self.opened is not None else "cpu"
        if do == "compare":
            return costs.REGISTERING + sum(costs.comparing(choices.question.samples, voxels, device))
        images = {"keyframes": 0, "change": 1}.get(do, 1 + (drawn > 1))
        return times * (costs.drawing(drawn, device) + costs.resampling(voxels, images))

    def _hearOpened(self, opened: tuple) -> Callable[[replies.Opened], None]:
        def heard(reply: replies.Opened) -> None:
            self._opened = (self.client.starts, *opened)
            self._patient = self.prepared = None
            self.opened = reply

        return heard

    def _hearPrepared(self, reply: replies.Prepared) -> None:
        self._patient, self.prepared = self._asked, reply

    def _patientKey(self, inputVolume, maskVolume, preparation: str, choices: Choices) -> tuple:
        states = volumes.stateOf(inputVolume), volumes.stateOf(maskVolume)
        return (self.client.starts, choices.bundle, choices.device, *states, preparation)

    def _patientRequest(self, inputVolume, maskVolume, preparation: str, choices: Choices) -> dict:
        self._patient = self.prepared = None  # whatever happens, the worker no longer holds the former
        self._asked = self._patientKey(inputVolume, maskVolume, preparation, choices)
        mask = None if maskVolume is None else volumes.maskOn(maskVolume, inputVolume)
        return {
            "voxels": self.client.save(volumes.usableVoxels(inputVolume)),
            "affine": volumes.affineOf(inputVolume).tolist(),
            "source": inputVolume.GetName(),
            "mask": None if mask is None else self.client.save(mask),
            "prepared": preparation == "prepared",
            "key": repr(self._asked[1:]),
        }


def _asked(choices: Choices) -> dict:
    return {"question": asdict(choices.question)}
