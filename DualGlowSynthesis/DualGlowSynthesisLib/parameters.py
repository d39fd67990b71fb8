"""What the user chose in the window of DualGlow Synthesis; saved with the scene."""

from dataclasses import dataclass
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

__all__ = ["UNKNOWN", "UNSAID", "Choices", "DualGlowSynthesisParameterNode"]

UNKNOWN = "unknown"

UNSAID = {"age": 70.0, "ageKnown": False, "sex": UNKNOWN, "diagnosis": UNKNOWN, "preparation": "automatic"}
"""What the fields that speak of one patient hold until somebody says something."""


@parameterNodeWrapper
class DualGlowSynthesisParameterNode:
    """Fields named as what they hold; the window narrows ``age`` to the model's range.

    ``preparation``: "automatic", or "prepared" for a T1 as ``prepare`` writes it. ``model``: name of a bundle, "" for
    the one that ships. ``shown``: which of the results lies over the MRI: mean, sample, sd or below. ``patient``:
    identity (``belonging.identityOf``) of the input that the fields of ``UNSAID``, mask, PET and output are of.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    maskVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    petVolume: vtkMRMLScalarVolumeNode
    patient: str = ""
    preparation: str = UNSAID["preparation"]
    age: Annotated[float, WithinRange(0, 120)] = UNSAID["age"]
    ageKnown: bool = UNSAID["ageKnown"]
    sex: str = UNSAID["sex"]
    diagnosis: str = UNSAID["diagnosis"]
    temperature: Annotated[float, WithinRange(0, 1.5)] = 0
    samples: Annotated[int, WithinRange(1, 32)] = 1
    seed: Annotated[int, WithinRange(0, 999999)] = 0
    belowThreshold: Annotated[float, WithinRange(0, 5)] = 1.0
    model: str = ""
    device: str = "auto"
    live: bool = True
    shown: str = "mean"
    sampleNumber: Annotated[int, WithinRange(1, 32)] = 1
    sweepFirst: Annotated[int, WithinRange(0, 120)] = 50
    sweepLast: Annotated[int, WithinRange(0, 120)] = 100
    sweepStep: Annotated[int, WithinRange(1, 50)] = 10


@dataclass(frozen=True)
class Choices:
    """The parameters that a computation depends on, as they were when it began.

    ``bundle``: folder of the model, or None for the one that ships.
    """

    bundle: str | None
    device: str
    age: float | None
    sex: str | None
    diagnosis: str | None
    temperature: float
    samples: int
    seed: int
    below: float

    @classmethod
    def of(cls, parameters, bundle: str | None) -> "Choices":
        """From the parameter node."""
        return cls(
            bundle,
            parameters.device,
            round(parameters.age, 1) if parameters.ageKnown else None,
            None if parameters.sex == UNKNOWN else parameters.sex,
            None if parameters.diagnosis == UNKNOWN else parameters.diagnosis,
            round(parameters.temperature, 3),
            parameters.samples if parameters.temperature > 0 else 1,
            parameters.seed,
            round(parameters.belowThreshold, 3),
        )

    def person(self) -> dict:
        """What the worker is told of the person, but for the age."""
        return {"sex": self.sex, "diagnosis": self.diagnosis}

    def noise(self) -> dict:
        """What the worker is told of the noise, but for the temperature."""
        return {"samples": self.samples, "seed": self.seed}
