"""In the place of the worker's client: keeps what is asked, and answers when the test says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from DualGlowLib.bundle.files import DEFAULT_BUNDLE, describe
from DualGlowLib.provenance import Provenance, over_ages, with_covariates
from DualGlowLib.resources import resource
from DualGlowLib.synthesis.question import Question
from DualGlowLib.worker import replies

__all__ = ["Asked", "HandClient", "compared", "opened", "prepared", "provenance", "row", "sampled", "step"]


class Asked:
    """One request; ``done``, ``refuse``, ``fail`` and ``event`` are the worker's part."""

    def __init__(self, client: HandClient, number: int, do: str, callbacks: dict, arguments: dict) -> None:
        self.client, self.number, self.do, self.callbacks, self.arguments = client, number, do, callbacks, arguments
        self.isCancelled = False

    def _tell(self, name: str, *values: object) -> None:
        if self in self.client.asked:
            self.client.asked.remove(self)
        if self.callbacks.get(name):
            self.callbacks[name](*values)

    def done(self, reply: object) -> None:
        """The end; ``reply`` is the type of ``worker.replies`` that this command has."""
        assert type(reply) is replies.ENDS[self.do], (self.do, reply)
        self._tell("onDone", {"event": "done", **vars(reply)})

    def refuse(self, text: str) -> None:
        self._tell("onRefused", text)

    def fail(self, text: str) -> None:
        self._tell("onFailed", text)

    def cancelled(self) -> None:
        self._tell("onCancelled")

    def event(self, event: str, **values: object) -> None:
        if event in replies.EVENTS:
            replies.EVENTS[event](**values)  # refuses a field that is missing or unknown
        if self.callbacks.get("onEvent"):
            self.callbacks["onEvent"]({"event": event, **values})

    @property
    def question(self) -> Question:
        return Question.of(self.arguments["question"])


class HandClient:
    """As ``WorkerClient``; arrays take the place of paths.

    Attributes:
        asked: what waits for an answer.
        history: the names of all requests.
        model: the bundle that was last asked for, as ``describe`` gives it; what answers say of the model is of this.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.history: list[str] = []
        self.model = BUNDLE
        self.starts, self.isRunning, self.isClosed = 1, True, False

    @property
    def isBusy(self) -> bool:
        return bool(self.asked)

    def request(self, do: str, **arguments: object) -> int:
        callbacks = {name: arguments.pop(name) for name in list(arguments) if name.startswith("on")}
        self.history.append(do)
        if do == "open":
            folder = arguments["bundle"] or resource("Models", DEFAULT_BUNDLE)
            self.model = {**describe(folder), "regions": BUNDLE["regions"]}
        self.asked.append(Asked(self, len(self.history), do, callbacks, arguments))
        return len(self.history)

    def cancel(self, number: int, isForced: bool = True) -> None:
        for one in self.asked:
            one.isCancelled |= one.number == number

    def forget(self) -> None:
        for one in self.asked:
            one.callbacks = {}
            one.isCancelled = True

    def close(self) -> None:
        self.forget()
        self.isClosed, self.isRunning = True, False

    def save(self, array: np.ndarray) -> np.ndarray:
        return np.array(array)

    def load(self, array: np.ndarray | None) -> np.ndarray | None:
        return array

    def die(self) -> None:
        """The process is killed; the next request starts another."""
        self.starts += 1

    # ---- the worker's usual answers

    def the(self, do: str) -> Asked:
        """The one request of this kind that waits."""
        (found,) = [one for one in self.asked if one.do == do and not one.isCancelled]
        return found

    def answer_devices(self) -> None:
        cpu = {"name": "cpu", "title": "CPU", "usable": True, "reason": "", "memory_free": None, "memory_total": None}
        self.the("devices").done(replies.Devices([cpu], "cpu", "There is no other."))

    def answer_readying(self) -> None:
        """``open`` and ``prepare``, where they are asked."""
        if any(one.do == "open" for one in self.asked):
            self.the("open").done(opened(self.model))
        if any(one.do == "prepare" for one in self.asked):
            self.the("prepare").done(prepared())

    def answer_sample(self, shape: tuple[int, ...], value: float | None = None, **changes: object) -> None:
        """``sample``: the PET is the age everywhere, or this value."""
        asked = self.the("sample")
        mean = np.full(shape, (asked.question.covariates.get("age") or 0) if value is None else value, np.float32, "F")
        made = sampled(asked.question, mean, provenance=provenance(asked.question, self.model))
        asked.done(replace(made, **changes))

    def answer_frames(self, shape: tuple[int, ...] = (4, 4, 4)) -> None:
        """``keyframes``: the value is age + 1000 times temperature."""
        asked = self.the("keyframes")
        for temperature in asked.arguments["temperatures"]:
            for age in asked.arguments["ages"]:
                values = np.full(shape, age + 1000 * temperature, np.float32)
                about = provenance(replace(asked.question.at(age=age), temperature=temperature), self.model)
                asked.event("keyframe", age=age, temperature=temperature, values=values, provenance=about)
        asked.done(replies.Framed())

    def answer_sweep(self, shape: tuple[int, ...]) -> None:
        """``sweep``: each PET is its age everywhere; there is no montage."""
        asked = self.the("sweep")
        ages = asked.arguments["ages"]
        for age in ages:
            mean, about = np.full(shape, age, np.float32, "F"), provenance(asked.question.at(age=age), self.model)
            asked.event("step", **vars(step(asked.question, age, mean, provenance=about)))
        told = [provenance(asked.question.at(age=age), self.model) for age in ages]
        asked.done(replies.Swept(None, over_ages(told, ages)))

    def answer_change(self, shape: tuple[int, ...], value: float = 0.1) -> None:
        """``change``: minus this everywhere, and ten times as many per cent."""
        asked = self.the("change")
        since, about = asked.arguments["since"], provenance(asked.question, self.model)
        change = np.full(shape, -value, np.float32, "F")
        rows = [{"region": "left_frontal", "since": 1.5 + value, "mean": 1.5, "change": -value, "percent": -10 * value}]
        asked.done(replies.Changed(change, 10 * change, rows, {**about, "SinceAge": float(since)}, "cpu"))

    def answer_compare(self, shape: tuple[int, ...], **changes: object) -> None:
        """``compare``: the PET is 1, and 0.5 above what is expected, with a standard deviation of 0.25, everywhere."""
        asked = self.the("compare")
        pet = np.ones(shape, np.float32, order="F")
        found = compared(asked.question, pet, 0.5 * pet, 2 * pet, asked.arguments["source"], self.model)
        asked.done(replace(found, **changes))


BUNDLE = {
    "name": "hand made", "sha256": "a" * 64, "simulated": True, "licence": "Apache-2.0", "card": "", "training": {},
    "grid": {"name": "hand made", "shape": [4, 4, 4], "affine": np.eye(4).tolist()}, "reference": "pons",
    "resolution": 8.0, "regions": ["left_frontal"], "covariates": [
        {"name": "age", "kind": "numeric", "range": [40.0, 100.0]},
        {"name": "sex", "kind": "categorical", "values": ["F", "M"]},
        {"name": "diagnosis", "kind": "categorical", "values": ["CN", "MCI", "AD"]},
    ],
}  # fmt: skip


ROW = {
    "region": "left_frontal", "mean": 1.5, "sd": None, "low": None, "high": None, "low_all": None,
    "high_all": None, "low_sample": None,
    "high_sample": None,
}  # fmt: skip
"""Of the only region."""

GOOD = {"status": "good", "reasons": []}


def row(many: bool) -> dict:
    return {**ROW, "sd": 0.1, "low": 1.4, "high": 1.6, "low_sample": 2, "high_sample": 3} if many else ROW


def opened(bundle: dict = BUNDLE) -> replies.Opened:
    return replies.Opened(bundle, "cpu", "There is no other.")


def prepared(**changes: object) -> replies.Prepared:
    grid = [[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]]
    return replace(replies.Prepared(GOOD, {}, np.eye(4).tolist(), grid, picture=None, kept=False), **changes)


def sampled(question: Question, mean: np.ndarray, **changes: object) -> replies.Sampled:
    many = question.drawn > 1
    sd, below = (mean / 100 if many else None), (None if question.below is None else mean / 1000)
    made = replies.Sampled(mean, sd, below, [row(many)], provenance(question), "cpu")
    return replace(made, **changes)


def step(question: Question, age: float, mean: np.ndarray, **changes: object) -> replies.Step:
    made = replies.Step(age, mean, [row(question.drawn > 1)], provenance(question.at(age=age)), "cpu")
    return replace(made, **changes)


def compared(
    question: Question,
    pet: np.ndarray,
    difference: np.ndarray,
    z: np.ndarray,
    name: str = "PET",
    model: dict = BUNDLE,
    **changes: object,
) -> replies.Compared:
    transform, asked = np.eye(4).tolist(), replace(question, temperature=1.0)
    about = {
        **provenance(asked, model), "RealPet": name, "RealPetVoxelsSHA256": "b" * 64, "RealPetToT1": transform,
        "RealPetVerdict": GOOD, "RealPetQuality": {}, "RealPetReferenceValue": 1000.0, "RealPetResolution": None,
    }  # fmt: skip
    metrics = {"psnr": 20.0, "ssim": 0.9, "mae": 0.5, "rmse": 0.6, "nmse": 0.1, "correlation": 0.95}
    rows = [{**row(True), "real": 2.0, "z": 5.0}]
    found = replies.Compared(pet, difference, z, metrics, rows, 3.5, 50.0, GOOD, [], transform, about, "cpu")
    return replace(found, **changes)


def provenance(question: Question = Question(), model: dict = BUNDLE, **more: object) -> Provenance:  # noqa: B008
    """As the worker writes it about what this model was asked for."""
    about = {
        "Synthetic": True, "Description": "SYNTHETIC FDG-PET made by hand", "Units": "SUVR", "ReferenceRegion": "pons",
        "TrainedOnSimulatedPET": True, "WithinTrainingRange": (question.covariates.get("age") or 0) <= 90,
        "Temperature": question.temperature, "Samples": question.drawn, "Antithetic": False, "Seed": question.seed,
        **({"FirstSample": question.first} if question.first else {}), "Bundle": model["name"],
        "BundleSHA256": model["sha256"], "Source": "T1", "SourceVoxelsSHA256": "c" * 64,
        "ToTemplate": np.eye(4).tolist(), "Quality": {}, "Verdict": GOOD, "DualGlowVersion": "0.1.0",
        "TorchVersion": "2.0", "Device": "cpu",
    }  # fmt: skip
    covariates = dict.fromkeys(one["name"] for one in model["covariates"]) | question.covariates
    return {**with_covariates(about, covariates), **more}
