"""In the place of the worker's client: keeps what is asked, and answers when the test says so."""

from __future__ import annotations

import numpy as np

__all__ = ["Asked", "HandClient"]


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

    def answer_devices(self) -> None:
        cpu = {"name": "cpu", "title": "CPU", "usable": True, "reason": "", "memory_free": None, "memory_total": None}
        self.the("devices").done(devices=[cpu], auto="cpu", auto_reason="There is no other.")

    def answer_readying(self) -> None:
        """``open`` and ``prepare``, where they are asked."""
        if any(one.do == "open" for one in self.asked):
            self.the("open").done(bundle=BUNDLE, device="cpu", device_reason="There is no other.")
        if any(one.do == "prepare" for one in self.asked):
            grid = [[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]]
            self.the("prepare").done(
                verdict={"status": "good", "reasons": []}, quality={}, to_template=np.eye(4).tolist(), grid_affine=grid,
                picture=None, mri_bits=6.5, mri_bits_trained=6.4, kept=False,
            )  # fmt: skip

    def answer_sample(self, shape: tuple[int, ...], **changes: object) -> None:
        """``sample``: the PET is the age everywhere."""
        asked = self.the("sample")
        told = asked.arguments
        many = told["samples"] > 1
        mean = np.full(shape, told["age"] or 0, np.float32, order="F")
        reply = {
            "mean": mean, "sd": mean / 100 if many else None, "below": mean / 1000 if many else None, "grid_mean": None,
            "regions": [_row(many)], "provenance": _provenance(told), "device": "cpu",
        }  # fmt: skip
        asked.done(**reply | changes)

    def answer_one(self, shape: tuple[int, ...], value: float = 3.0) -> None:
        """``one``: the same value everywhere."""
        asked = self.the("one")
        index = asked.arguments["index"]
        about = _provenance(asked.arguments, **({"FirstSample": index} if index else {}))
        sample = np.full(shape, value, np.float32, order="F")
        asked.done(sample=sample, regions=[_row(False)], provenance=about, device="cpu")

    def answer_frames(self, shape: tuple[int, ...] = (4, 4, 4)) -> None:
        """``keyframes``: the value is age + 1000 times temperature."""
        asked = self.the("keyframes")
        for temperature in asked.arguments["temperatures"]:
            for age in asked.arguments["ages"]:
                values = np.full(shape, age + 1000 * temperature, np.float32)
                about = _provenance(asked.arguments, Age=age, Temperature=temperature)
                asked.event("keyframe", age=age, temperature=temperature, values=values, provenance=about)
        asked.done()

    def answer_sweep(self, shape: tuple[int, ...]) -> None:
        """``sweep``: each PET is its age everywhere; there is no montage."""
        asked = self.the("sweep")
        ages, row = asked.arguments["ages"], _row(asked.arguments.get("samples", 1) > 1)
        for age in ages:
            mean, about = np.full(shape, age, np.float32, order="F"), _provenance(asked.arguments, Age=age)
            asked.event("step", age=age, mean=mean, regions=[row], provenance=about, device="cpu")
        asked.done(montage=None, provenance=_provenance(asked.arguments, Age=ages))

    def answer_compare(self, shape: tuple[int, ...], **changes: object) -> None:
        """``compare``: the PET is 1, and 0.5 above what is expected, with a standard deviation of 0.25, everywhere."""
        asked = self.the("compare")
        told, verdict, transform = asked.arguments, {"status": "good", "reasons": []}, np.eye(4).tolist()
        pet = np.ones(shape, np.float32, order="F")
        real = {
            "RealPet": told["source"], "RealPetVoxelsSHA256": "b" * 64, "RealPetToT1": transform,
            "RealPetVerdict": verdict, "RealPetQuality": {}, "RealPetReferenceValue": 1000.0, "RealPetResolution": None,
        }  # fmt: skip
        reply = {
            "pet": pet, "difference": 0.5 * pet, "z": 2 * pet,
            "metrics": {"mae": 0.5, "psnr": 20.0, "ssim": 0.9, "correlation": 0.95},
            "regions": [{**_row(True), "real": 2.0, "z": 5.0}], "bits_per_dim": 3.5, "percentile": 50.0,
            "verdict": verdict, "notes": [], "transform": transform, "device": "cpu",
            "provenance": _provenance(told, Temperature=1.0, **real),
        }  # fmt: skip
        asked.done(**reply | changes)


BUNDLE = {
    "name": "hand made", "sha256": "a" * 64, "simulated": True, "licence": "Apache-2.0", "card": "", "training": {},
    "grid": {"name": "hand made", "shape": [4, 4, 4], "affine": np.eye(4).tolist()}, "reference": "pons",
    "resolution": 8.0, "covariates": [{"name": "age", "kind": "continuous", "range": [40.0, 100.0]}],
    "regions": ["left_frontal"],
}  # fmt: skip


def _row(many: bool) -> dict:
    """Of the only region."""
    low, high = (1.4, 1.6) if many else (None, None)
    return {"region": "left_frontal", "mean": 1.5, "sd": 0.1 if many else None, "low": low, "high": high}


def _provenance(told: dict, **more: object) -> dict:
    """As the worker writes it about what was asked for, which is ``told``."""
    return {
        "Synthetic": True, "Description": "SYNTHETIC FDG-PET made by hand", "Units": "SUVR", "ReferenceRegion": "pons",
        "TrainedOnSimulatedPET": True, "Age": told.get("age"), "Sex": told.get("sex"),
        "Diagnosis": told.get("diagnosis"), "WithinTrainingRange": True, "Temperature": told.get("temperature"),
        "Samples": told.get("samples", 1), "Antithetic": False, "Seed": told.get("seed", 0), "Bundle": "hand made",
        "BundleSHA256": "a" * 64, "Source": "T1", "SourceVoxelsSHA256": "c" * 64, "ToTemplate": np.eye(4).tolist(),
        "Quality": {}, "Verdict": {"status": "good", "reasons": []}, "DualGlowVersion": "0.1.0",
        "TorchVersion": "2.0", "Device": "cpu", **more,
    }  # fmt: skip
