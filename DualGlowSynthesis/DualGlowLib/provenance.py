"""What went into a synthetic image: the keys of sidecars, nodes, DICOM comments and reports, stated once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

__all__ = [
    "ORIGIN_TITLES",
    "QUESTION_TITLES",
    "Provenance",
    "covariate_title",
    "covariates_of",
    "over_ages",
    "with_covariates",
]


class Provenance(TypedDict, total=False):
    """What a model made is described by these; each image has those that say something of it.

    Of the model's covariates, ``Age``, ``Sex`` and ``Diagnosis`` have keys of their own, and ``Covariates`` holds all,
    by name. Null is unknown; one that the model doesn't know is not there. Of a sweep over ages, the age is the list.
    """

    Synthetic: bool
    Description: str
    Units: str
    ReferenceRegion: str
    TrainedOnSimulatedPET: bool
    Age: float | list[float] | None
    """Years."""
    Sex: str | None
    Diagnosis: str | None
    Covariates: dict[str, Any]
    WithinTrainingRange: bool
    Temperature: float | list[float]
    Samples: int
    Antithetic: bool
    Seed: int
    CalibratedCases: int
    """To which the factors of its intervals were fitted, if they were."""
    FirstSample: int
    """Where it isn't 0."""
    Bundle: str
    BundleSHA256: str
    """Of its configuration."""
    TrainingStep: int
    """Of the run ``Bundle``, of an image that was made while it went on."""
    Source: str
    """Name of the T1."""
    SourceVoxelsSHA256: str
    ToTemplate: list[list[float]]
    """4×4, the T1's RAS millimetres to those of the template."""
    Quality: dict[str, Any]
    """Of the preparation."""
    Verdict: dict[str, Any]
    DualGlowVersion: str
    TorchVersion: str
    Device: str

    Content: str
    """Which part of a result: mean, sample, sd, below, change, percent, regions, sweep, montage, preview; of a
    comparison: difference, z, comparison."""
    BelowSUVR: float
    SampleNumber: int
    """As the window counts, from 1."""
    NearestTo: str
    """Of a sample: the bound of the interval, "5 %" or "95 %", of the mean of ``Region`` that it lies nearest to."""
    Region: str
    SinceAge: float
    """Years: of a change, the age since which."""

    RealPet: str
    """Name of an acquired PET that the image was compared with."""
    RealPetVoxelsSHA256: str
    RealPetToT1: list[list[float]]
    """4×4, RAS millimetres."""
    RealPetVerdict: dict[str, Any]
    """Of its registration."""
    RealPetQuality: dict[str, Any]
    RealPetReferenceValue: float
    """Uptake that is 1 SUVR, in the PET's own units."""
    RealPetResolution: float | None
    """FWHM, millimetres."""


QUESTION_TITLES: dict[str, str] = {
    "Temperature": "Temperature",
    "Samples": "Samples",
    "SampleNumber": "Sample number",
    "SinceAge": "Change since age (years)",
    "Seed": "Seed",
    "Units": "Unit",
    "ReferenceRegion": "Reference region",
    "WithinTrainingRange": "Within the training range",
}
"""What a reader sees of what was asked, after the covariates (``covariate_title``); in this order."""

ORIGIN_TITLES: dict[str, str] = {
    "Bundle": "Model",
    "BundleSHA256": "SHA-256 of the model",
    "TrainedOnSimulatedPET": "Trained on simulated PET",
    "Source": "MRI",
    "SourceVoxelsSHA256": "SHA-256 of the MRI's voxels",
    "DualGlowVersion": "DualGlow version",
    "TorchVersion": "PyTorch version",
    "Device": "Device",
}
"""What a reader sees of what it was made with and from."""

_OWN_KEYS = {"age": "Age", "sex": "Sex", "diagnosis": "Diagnosis"}


def with_covariates(about: Mapping, covariates: Mapping[str, Any]) -> Provenance:
    """The same with these values of covariates: those that are given, the others as they were."""
    own = {_OWN_KEYS[name]: value for name, value in covariates.items() if name in _OWN_KEYS}
    return {**about, **own, "Covariates": {**covariates_of(about), **covariates}}


def over_ages(steps: Sequence[Mapping], ages: Sequence[float]) -> Provenance:
    """Of what shows all steps of a sweep: what is said of the first, at all ages."""
    about = with_covariates(steps[0], {"age": list(ages)})
    known = [step["WithinTrainingRange"] for step in steps if "WithinTrainingRange" in step]
    return {**about, "WithinTrainingRange": all(known)} if known else about


def covariates_of(about: Mapping) -> dict[str, Any]:
    """All covariates of an image by name; also of images that were made when there were no others than the three."""
    found = about.get("Covariates")
    if isinstance(found, Mapping):
        return dict(found)
    return {name: about[key] for name, key in _OWN_KEYS.items() if key in about}


def covariate_title(name: str) -> str:
    """A covariate as readers see it."""
    return "Age (years)" if name == "age" else name.capitalize()
