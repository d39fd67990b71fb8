"""In the place of the worker's client: keeps what is asked, and answers when the test says so."""

from __future__ import annotations

import numpy as np

__all__ = ["Asked", "HandClient"]


def provenance(arguments: dict) -> dict:
    """What the worker says of an image that was asked for so."""
    names = ("Age", "Sex", "Diagnosis", "Temperature", "Samples", "Seed")
    return {"Synthetic": True, **{name: arguments.get(name.lower()) for name in names}}


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

    def done(self, **reply: object) -> None:
        self._tell("onDone", {"event": "done", **reply})

    def refuse(self, text: str) -> None:
        self._tell("onRefused", text)

    def fail(self, text: str) -> None:
        self._tell("onFailed", text)

    def cancelled(self) -> None:
        self._tell("onCancelled")

    def event(self, event: str, **values: object) -> None:
        if self.callbacks.get("onEvent"):
            self.callbacks["onEvent"]({"event": event, **values})


class HandClient:
    """As ``WorkerClient``; arrays take the place of paths.

    Attributes:
        asked: what waits for an answer.
        history: the names of all requests.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.history: list[str] = []
        self.starts, self.isRunning, self.isClosed = 1, True, False

    @property
    def isBusy(self) -> bool:
        return bool(self.asked)

    def request(self, do: str, **arguments: object) -> int:
        callbacks = {name: arguments.pop(name) for name in list(arguments) if name.startswith("on")}
        self.history.append(do)
        self.asked.append(Asked(self, len(self.history), do, callbacks, arguments))
        return len(self.history)

    def cancel(self, number: int, isPatient: bool = False) -> None:
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

    def answer_readying(self) -> None:
        """``open`` and ``prepare``, where they are asked."""
        if any(one.do == "open" for one in self.asked):
            self.the("open").done(bundle={"name": "hand made"}, device="cpu", device_reason="There is no other.")
        if any(one.do == "prepare" for one in self.asked):
            grid = [[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]]
            self.the("prepare").done(verdict={"status": "good", "reasons": []}, grid_affine=grid, picture=None)

    def answer_sample(self, shape: tuple[int, ...], **changes: object) -> None:
        """``sample``: the PET is the age everywhere."""
        asked = self.the("sample")
        many = asked.arguments["samples"] > 1
        mean = np.full(shape, asked.arguments["age"] or 0, np.float32, order="F")
        row = {"region": "left_frontal", "mean": 1.5, "sd": 0.1, "low": 1.4 if many else None, "high": 1.6}
        reply = {
            "mean": mean, "sd": mean / 100 if many else None, "below": mean / 1000 if many else None, "grid_mean": None,
            "regions": [row], "provenance": provenance(asked.arguments), "device": "cpu",
        }  # fmt: skip
        asked.done(**reply | changes)

    def answer_frames(self, shape: tuple[int, ...] = (4, 4, 4)) -> None:
        """``keyframes``: the value is age + 1000 times temperature."""
        asked = self.the("keyframes")
        for temperature in asked.arguments["temperatures"]:
            for age in asked.arguments["ages"]:
                values = np.full(shape, age + 1000 * temperature, np.float32)
                asked.event("keyframe", age=age, temperature=temperature, values=values)
        asked.done()
