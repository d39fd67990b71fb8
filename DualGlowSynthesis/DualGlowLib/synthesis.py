"""The Synthesizer that a user drives: encode the MRI once, then sample PETs at any age, temperature and seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from . import __version__
from .bundle import Bundle, load_bundle
from .errors import InputError
from .model import Encoding, encode_covariates
from .scans import Prepared, Scan, is_synthetic, prepare, to_patient

__all__ = ["PatientEncoding", "Synthesis", "Synthesizer", "choose_device"]

MAX_TEMPERATURE = 2.0


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: the first CUDA device if there is one, else the CPU; or any device that torch knows by name.

    Raises:
        InputError: if there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {name!r} can't be used here; take cpu or auto.") from error
    return device


@dataclass
class PatientEncoding:
    """One T1, prepared and encoded: everything that sampling needs, and the SHA-256 of its voxels for provenance."""

    prepared: Prepared
    encoding: Encoding
    source_sha256: str


@dataclass
class Synthesis:
    """PETs sampled for one T1 under one set of covariates.

    Attributes:
        mean: of the samples, SUVR, on the T1's own lattice.
        sd: their voxelwise standard deviation, likewise; None for a single sample.
        grid_mean, grid_sd: the same on the model's grid, float32.
        provenance: how it was made; goes into sidecars and node attributes.
    """

    mean: Scan
    sd: Scan | None
    grid_mean: np.ndarray
    grid_sd: np.ndarray | None
    provenance: dict = field(default_factory=dict)


class Synthesizer:
    """A bundle on a device.

    >>> synthesizer = Synthesizer.from_bundle()                 # doctest: +SKIP
    >>> patient = synthesizer.encode(read_scan("t1.nii.gz"))    # doctest: +SKIP
    >>> pet = synthesizer.sample(patient, age=72).mean          # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, device: torch.device | str = "cpu") -> None:
        self.bundle = bundle
        self.device = torch.device(device)
        self.model = bundle.model.to(self.device).eval()

    @classmethod
    def from_bundle(cls, bundle: Path | str | None = None, device: str = "auto") -> Synthesizer:
        """Load a bundle folder (by default the one that ships with DualGlow) onto a device.

        Raises:
            InputError: see ``load_bundle`` and ``choose_device``.
        """
        return cls(load_bundle(bundle), choose_device(device))

    @torch.inference_mode()
    def encode(
        self,
        scan: Scan,
        mask: np.ndarray | Scan | None = None,
        progress: Callable[[str, float], None] | None = None,
    ) -> PatientEncoding:
        """Prepare a T1 and encode it.

        Args:
            scan: the T1, on any lattice.
            mask: brain mask, if there is one already: an array on the T1's lattice, or a scan in its space.
            progress: called with a stage and the share done, 0 to 1.

        Raises:
            InputError: if it is no T1 of a brain, or synthetic itself.
        """
        if is_synthetic(scan):
            where = scan.source or "The image"
            raise InputError(f"{where} is synthetic; give an acquired T1-weighted MRI of the brain.")
        bias = self.bundle.preparation.get("bias", True)
        prepared = prepare(scan, self.bundle.grid, mask=mask, progress=progress, bias=bias)
        digest = hashlib.sha256(np.ascontiguousarray(scan.data)).hexdigest()
        return PatientEncoding(prepared, self.encode_prepared(prepared.t1), digest)

    @torch.inference_mode()
    def encode_prepared(self, t1: np.ndarray) -> Encoding:
        """Encode a T1 that lies on the grid already, normalised as ``scans.normalise_t1`` does."""
        image = torch.from_numpy(np.ascontiguousarray(t1, dtype=np.float32))[None, None] / self.bundle.t1_scale
        return self.model.encode(image.to(self.device))

    @staticmethod
    def check(temperature: float, samples: int) -> None:
        """Raises InputError for a temperature or a number of samples that can't be."""
        if not 0 <= temperature <= MAX_TEMPERATURE:
            raise InputError(f"The temperature is {temperature:g}; take one from 0 to {MAX_TEMPERATURE:g}.")
        if samples < 1:
            raise InputError(f"The number of samples is {samples}; take at least 1.")

    @torch.inference_mode()
    def sample_grid(
        self, encoding: Encoding, covariates: dict, temperature: float = 0.0, samples: int = 1, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Mean and standard deviation (None for one sample) of PETs on the grid, SUVR, float32.

        Each sample has a noise stream of its own, made from the seed and its number, so that the first k of n samples
        are those of k, and equal seeds give equal noise at every age (common random numbers).

        Raises:
            InputError: for a covariate, temperature or number of samples outside what the model can take.
        """
        self.check(temperature, samples)
        code = encode_covariates(self.bundle.config.covariates, [covariates], self.device)
        if temperature == 0:
            samples = 1  # they would all be the same
        mean = squares = None
        for index in range(samples):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
            image = self.model.sample(encoding, code, temperature, generator)[0, 0]
            image = (image * self.bundle.pet_scale).clamp_min(0).float()
            if mean is None:
                mean, squares = image.clone(), torch.zeros_like(image)
            else:  # Welford: constant memory whatever the number of samples
                change = image - mean
                mean += change / (index + 1)
                squares += change * (image - mean)
        sd = (squares / (samples - 1)).sqrt().cpu().numpy() if samples > 1 else None
        return mean.cpu().numpy(), sd

    def sample(
        self,
        patient: PatientEncoding,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float = 0.0,
        samples: int = 1,
        seed: int = 0,
    ) -> Synthesis:
        """Sample PETs for an encoded T1 and bring their mean and spread to the T1's own lattice.

        Args:
            patient: from ``encode``.
            age: in years; None for unknown, as for the other covariates.
            sex: ``"F"`` or ``"M"``.
            diagnosis: one that the bundle knows.
            temperature: factor on the latent noise; 0 gives the latent mode.
            samples: how many to draw.
            seed: of the noise.

        Raises:
            InputError: see ``sample_grid``.
        """
        covariates = {"age": age, "sex": sex, "diagnosis": diagnosis}
        mean, sd = self.sample_grid(patient.encoding, covariates, temperature, samples, seed)
        prepared = patient.prepared
        trained = all(known.is_trained(covariates.get(known.name)) for known in self.bundle.config.covariates)
        return Synthesis(
            mean=to_patient(mean, prepared),
            sd=None if sd is None else to_patient(sd, prepared),
            grid_mean=mean,
            grid_sd=sd,
            provenance={
                "Synthetic": True,
                "Description": "SYNTHETIC FDG-PET made from an MRI by DualGlow; research use only, not for diagnosis",
                "Units": "SUVR",
                "ReferenceRegion": self.bundle.preparation.get("reference", "pons"),
                "TrainedOnSimulatedPET": bool(self.bundle.training.get("simulated")),
                "Age": age,
                "Sex": sex,
                "Diagnosis": diagnosis,
                "WithinTrainingRange": trained,
                "Temperature": temperature,
                "Samples": samples if temperature > 0 else 1,
                "Seed": seed,
                "Bundle": self.bundle.name,
                "BundleSHA256": self.bundle.digest,
                "Source": Path(prepared.scan.source).name,
                "SourceVoxelsSHA256": patient.source_sha256,
                "ToTemplate": np.asarray(prepared.to_template).tolist(),
                "Quality": prepared.quality,
                "Verdict": prepared.verdict.to_dict(),
                "DualGlowVersion": __version__,
                "TorchVersion": torch.__version__,
                "Device": self.device.type,
            },
        )
