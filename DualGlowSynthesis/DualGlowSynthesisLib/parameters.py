"""What the user chose in the window of DualGlow Synthesis; saved with the scene."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from DualGlowLib.synthesis.question import Question

__all__ = ["UNKNOWN", "UNSAID", "Choices", "DualGlowSynthesisParameterNode", "otherCovariates"]

UNKNOWN = "unknown"

UNSAID = {
    "age": 70.0,
    "ageKnown": False,
    "sex": UNKNOWN,
    "diagnosis": UNKNOWN,
    "otherCovariates": "",
    "preparation": "automatic",
}
"""What the fields that speak of one patient hold until somebody says something."""


@parameterNodeWrapper
class DualGlowSynthesisParameterNode:
    """Fields named as what they hold; the window narrows ``age`` to the model's range.

    ``preparation``: "automatic", or "prepared" for a T1 as ``prepare`` writes it. ``model``: name of a bundle, "" for
    the one that ships. ``otherCovariates``: those besides age, sex and diagnosis as a JSON object of values by name, ""
    for none. ``shown``: which of the results lies over the MRI: mean, sample, low, high, sd, below, change or percent.
    ``region``: the one whose bounds low and high are of, "" for the first. ``sinceAge``: that a change is from.
    ``patient``: identity (``belonging.identityOf``) of the input that the fields of ``UNSAID``, mask, PET and output
    are of.
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
    otherCovariates: str = UNSAID["otherCovariates"]
    temperature: Annotated[float, WithinRange(0, 1.5)] = 0
    samples: Annotated[int, WithinRange(1, 32)] = 1
    seed: Annotated[int, WithinRange(0, 999999)] = 0
    belowThreshold: Annotated[float, WithinRange(0, 5)] = 1.0
    model: str = ""
    device: str = "auto"
    live: bool = True
    shown: str = "mean"
    sampleNumber: Annotated[int, WithinRange(1, 32)] = 1
    region: str = ""
    sinceAge: Annotated[int, WithinRange(0, 120)] = 50
    sweepFirst: Annotated[int, WithinRange(0, 120)] = 50
    sweepLast: Annotated[int, WithinRange(0, 120)] = 100
    sweepStep: Annotated[int, WithinRange(1, 50)] = 10


@dataclass(frozen=True)
class Choices:
    """What a computation depends on besides the MRI, as it was when it began.

    ``bundle``: folder of the model, or None for the one that ships.
    """

    bundle: str | None
    device: str
    question: Question

    @classmethod
    def of(cls, parameters, bundle: str | None, known: Collection[str] | None = None) -> "Choices":
        """From the parameter node. ``known``: covariates of the model; what is said of others doesn't count."""
        temperature, samples = round(parameters.temperature, 3), parameters.samples
        covariates = {
            **otherCovariates(parameters),
            "age": round(parameters.age, 1) if parameters.ageKnown else None,
            "sex": None if parameters.sex == UNKNOWN else parameters.sex,
            "diagnosis": None if parameters.diagnosis == UNKNOWN else parameters.diagnosis,
        }
        asked = {name: value for name, value in covariates.items() if known is None or name in known}
        isMany = temperature > 0 and samples > 1
        below = round(parameters.belowThreshold, 3) if isMany else None
        question = Question(asked, temperature, samples if temperature > 0 else 1, parameters.seed, below or None)
        return cls(bundle, parameters.device, question)


def otherCovariates(parameters) -> dict:
    """Those besides age, sex and diagnosis, by name."""
    try:
        found = json.loads(parameters.otherCovariates or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
