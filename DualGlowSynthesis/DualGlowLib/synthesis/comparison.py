"""An acquired PET beside what the model expects of its MRI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..atlas.regions import SEEN, weights
from ..errors import InputError
from ..metrics.images import ImageMetrics, image_metrics
from ..preparation.deformable import to_grid
from ..preparation.pet import PreparedPet
from ..preparation.rigid import measured
from ..preparation.t1 import to_patient
from ..provenance import Provenance
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from . import costs
from .question import Question
from .region_table import region_rows
from .synthesizer import PatientEncoding, Synthesizer

__all__ = ["Comparison", "compare", "comparing"]

_LEAST_SD = 1e-4  # SUVR: where the samples vary less, nothing is expected and no z given


@dataclass
class Comparison:
    """What ``compare`` found.

    Attributes:
        pet: SUVR on the T1's lattice, straight from the PET's voxels; 0 where it has not measured.
        difference: PET minus the samples' mean, both at the grid's resolution, in the brain, on the T1's lattice.
        z: ``difference`` over the samples' standard deviation; 0 outside the brain.
        metrics: of the samples' mean against the PET in the brain, on the grid (``metrics.image_metrics``).
        regions: rows with ``region``, ``real``, ``mean``, ``sd``, ``low``, ``high`` and ``z``; ``real`` and ``z`` are
            None where the PET has not measured a tenth or more of the region, all else where the T1 has not.
        bits_per_dim, percentile: of the likelihood of what the PET shows in the brain, see
            ``Synthesizer.log_likelihood`` (``within``).
        prepared: the PET's registration with its verdict.
        device: where the samples were drawn.
        provenance: that of the samples (``Synthesizer.provenance``), and of the PET the keys ``RealPet…``.
    """

    pet: Scan
    difference: Scan
    z: Scan
    metrics: ImageMetrics
    regions: list[dict]
    bits_per_dim: float
    percentile: float
    prepared: PreparedPet
    device: str
    provenance: Provenance


def compare(
    synthesizer: Synthesizer,
    patient: PatientEncoding,
    pet: PreparedPet,
    question: Question,
    progress: Callable[[str, float], None] | None = None,
    *,
    pet_sha256: str,
) -> Comparison:
    """Compare a PET that ``prepare_pet`` brought to the T1's grid with samples at temperature 1.

    Args:
        synthesizer: the model.
        patient: the T1.
        pet: of the same person.
        question: covariates, seed, and at least 2 samples; the temperature is 1, at which a PET is a draw from the
            model's law.
        progress: called with a stage and the share done of all.
        pet_sha256: of the PET's voxels as they were given.

    Raises:
        InputError: for covariates or numbers that can't be.
    """
    question = comparing(question)
    tell, prepared, grid = progress or (lambda stage, share: None), patient.prepared, synthesizer.bundle.grid
    kernels, seen = weights(grid), _seen(pet, patient)
    own, t1 = pet.scan, prepared.scan
    parts = costs.comparing(question.samples, t1.data.size, synthesizer.device.type)
    drawn, scored = parts[0] / sum(parts), (parts[0] + parts[1]) / sum(parts)
    found = synthesizer.distribution(
        patient.encoding, question, regions=kernels, progress=lambda share: tell("sampling", drawn * share)
    )
    fit = synthesizer.log_likelihood(
        patient.encoding, pet.suvr, question.covariates,
        within=prepared.mask & seen, samples=question.samples, seed=question.seed,
        progress=lambda share: tell("likelihood", drawn + (scored - drawn) * share),
    )  # fmt: skip

    tell("resampling", scored)
    difference = to_patient(np.where(seen, pet.suvr - found.mean, 0), prepared)
    sd = to_patient(found.sd, prepared).data
    # Within the soft edge both are faded alike: their ratio is that of what is below.
    z = np.divide(difference.data, sd, out=np.zeros_like(sd), where=(sd > _LEAST_SD) & (prepared.patient_edge > 0.5))
    tell("resampling", 1 - (1 - scored) / 3)
    place = np.linalg.inv(pet.pet_to_t1) @ t1.affine
    suvr = resample(own.data, own.affine, t1.shape, place, antialias=False) / pet.reference_value
    inside = prepared.mask & seen
    result = Comparison(
        pet=Scan(suvr, t1.affine.copy(), own.source),
        difference=difference,
        z=difference.like(z),
        metrics=image_metrics(found.mean, pet.suvr, inside, synthesizer.bundle.pet_scale),
        regions=_rows(
            region_rows(found, prepared.regions_known),
            np.tensordot(kernels, pet.suvr, 3),
            np.tensordot(kernels, seen, 3),
        ),
        bits_per_dim=fit["bits_per_dim"],
        percentile=fit["percentile"],
        prepared=pet,
        device=str(synthesizer.device),
        provenance={
            **synthesizer.provenance(patient, question),
            "RealPet": Path(own.source).name,
            "RealPetVoxelsSHA256": pet_sha256,
            "RealPetToT1": np.asarray(pet.pet_to_t1).tolist(),
            "RealPetVerdict": pet.verdict.to_dict(),
            "RealPetQuality": pet.quality,
            "RealPetReferenceValue": float(pet.reference_value),
            "RealPetResolution": pet.resolution,
        },
    )
    tell("resampling", 1.0)
    return result


def comparing(question: Question) -> Question:
    """The question whose samples a PET is compared with.

    Raises:
        InputError: for fewer than 2 samples, which have no spread.
    """
    if question.samples < 2:
        raise InputError("A PET is compared with the spread of samples; take at least 2.")
    return replace(question, temperature=1.0, below=None, first=0, antithetic=False)


def _seen(pet: PreparedPet, patient: PatientEncoding) -> np.ndarray:
    """Bool on the grid: the PET's field of view."""
    prepared = patient.prepared
    way = prepared.grid, prepared.to_template @ pet.pet_to_t1, prepared.warp
    return to_grid(measured(pet.scan.data), pet.scan.affine, *way, antialias=False) > 0.99


def _rows(rows: list[dict], real: np.ndarray, seen: np.ndarray) -> list[dict]:
    found = []
    for row, value, share in zip(rows, real.tolist(), seen.tolist(), strict=True):
        known = share > SEEN
        z = (value - row["mean"]) / row["sd"] if known and row["sd"] else None
        found.append({**row, "real": value if known else None, "z": z})
    return found
