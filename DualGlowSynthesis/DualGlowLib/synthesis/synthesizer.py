"""The Synthesizer that a user drives: encode the MRI once, then sample PETs at any age, temperature and seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..bundle.bundle import Bundle, load_bundle
from ..devices import choose_device
from ..errors import InputError
from ..model import Encoding, LinkOutput, encode_covariates
from ..preparation.t1 import Prepared, prepare, to_patient
from ..volumes.scan import Scan
from .draws import Distribution, Draws
from .scoring import Scoring

__all__ = ["PatientEncoding", "Synthesis", "Synthesizer", "choose_device"]

MAX_TEMPERATURE = 2.0


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
        below: the samples' share, voxel by voxel, whose SUVR is below the threshold that was asked for, or None; like
            ``mean`` on the T1's lattice, and 0 outside the brain.
        distribution: all that was kept of the samples, on the grid.
        regions_known: bool for each of ``REGIONS``, whether the T1 shows it, see ``Prepared.regions_known``.
        provenance: how it was made; goes into sidecars and node attributes.
    """

    mean: Scan
    sd: Scan | None
    grid_mean: np.ndarray
    grid_sd: np.ndarray | None
    provenance: dict = field(default_factory=dict)
    below: Scan | None = None
    distribution: Distribution | None = None
    regions_known: np.ndarray | None = None


class Synthesizer(Scoring):
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
        bias = self.bundle.preparation.get("bias", True)
        deformable = self.bundle.preparation.get("deformable", False)
        prepared = prepare(scan, self.bundle.grid, mask=mask, progress=progress, bias=bias, deformable=deformable)
        digest = hashlib.sha256(np.ascontiguousarray(scan.data)).hexdigest()
        return PatientEncoding(prepared, self.encode_prepared(prepared.t1), digest)

    @torch.inference_mode()
    def encode_prepared(self, t1: np.ndarray) -> Encoding:
        """Encode a T1 that lies on the grid already, normalised as ``intensity.normalise_t1`` does."""
        image = torch.from_numpy(np.ascontiguousarray(t1, dtype=np.float32))[None, None] / self.bundle.t1_scale
        return self.model.encode(image.to(self.device))

    def check(self, temperature: float | Sequence[float], samples: int, antithetic: bool = False) -> tuple[float, ...]:
        """One temperature per latent of the PET, finest first.

        Raises:
            InputError: for a temperature or a number of samples that can't be.
        """
        count = len(self.model.pet_flow.latent_shapes(self.bundle.config.shape))
        given = np.ravel(np.asarray(temperature, dtype=float)).tolist()
        for value in given:
            if not 0 <= value <= MAX_TEMPERATURE:
                raise InputError(f"The temperature is {value:g}; take one from 0 to {MAX_TEMPERATURE:g}.")
        if len(given) not in (1, count):
            raise InputError(
                f"{len(given)} temperatures are given, but this model has {count} levels; give one for all, or one "
                "for each, the finest first."
            )
        if samples < 1:
            raise InputError(f"The number of samples is {samples}; take at least 1.")
        if antithetic and samples % 2 and samples > 1:
            raise InputError(f"The number of samples is {samples}; antithetic samples come in pairs, take an even one.")
        return tuple(given if len(given) == count else given * count)

    @torch.inference_mode()
    def distribution(
        self,
        encoding: Encoding,
        covariates: dict,
        temperature: float | Sequence[float] = 1.0,
        samples: int = 16,
        seed: int = 0,
        *,
        first: int = 0,
        antithetic: bool = False,
        below: float | None = None,
        regions: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Distribution:
        """PETs on the grid, SUVR, drawn one after the other; memory does not grow with their number.

        Each sample has a noise stream of its own, made from the seed and its number, so that the first k of n samples
        are those of k, and equal seeds give equal noise at every age, temperature and device (common random numbers).

        Args:
            encoding: from ``encode``.
            covariates: by name; one that is left out is unknown.
            temperature: factor on the latent noise, or one for each level, finest first; 0 gives the latent mode, of
                which one sample is all there is.
            samples: how many to draw.
            seed: of the noise.
            first: number of the first of them: 0, or k to draw sample k of those that this seed has.
            antithetic: sample 2i + 1 takes minus the noise of sample 2i (which is the one that it is without this). The
                mean then needs fewer samples: what is odd in the noise cancels exactly.
            below: threshold in SUVR, for the probability to lie below it.
            regions: weights that sum to 1 over voxels, ``(regions, *shape)``, for each sample's region means.
            progress: called with the share done.

        Raises:
            InputError: for a covariate, temperature or number of samples outside what the model can take, and for
                samples that are not finite.
        """
        temperatures = self.check(temperature, samples, antithetic)
        if regions is not None and np.shape(regions)[1:] != tuple(self.bundle.config.shape):
            raise ValueError(f"Regions of shape {np.shape(regions)[1:]} don't lie on {self.bundle.config.shape}.")
        code = encode_covariates(self.bundle.config.covariates, [covariates], self.device)
        if not any(temperatures):
            samples = 1  # they would all be the same
        draws = Draws(antithetic and samples > 1, below, regions)
        law = self._law(encoding, covariates)
        for index in range(samples):
            draws.add(self._suvr(self._drawn(encoding, code, temperatures, seed, first + index, antithetic, law)))
            if progress:
                progress((index + 1) / samples)
        return self._finite("PET", draws.result())

    def _drawn(
        self,
        encoding: Encoding,
        code: torch.Tensor,
        temperatures: Sequence[float],
        seed: int,
        index: int,
        antithetic: bool = False,
        law: LinkOutput | None = None,
    ) -> torch.Tensor:
        negate = antithetic and index % 2 == 1
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index - negate)
        return self.model.sample(encoding, code, temperatures, generator, negate, law)

    def _suvr(self, image: torch.Tensor) -> torch.Tensor:
        return (image[0, 0] * self.bundle.pet_scale).clamp_min(0).float()

    def sample_grid(
        self,
        encoding: Encoding,
        covariates: dict,
        temperature: float | Sequence[float] = 0.0,
        samples: int = 1,
        seed: int = 0,
        antithetic: bool = False,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Mean and standard deviation (None for one sample) of PETs on the grid, SUVR, float32; see ``distribution``.

        Raises:
            InputError: for a covariate, temperature or number of samples outside what the model can take.
        """
        found = self.distribution(encoding, covariates, temperature, samples, seed, antithetic=antithetic)
        return found.mean, found.sd

    def sample(
        self,
        patient: PatientEncoding,
        age: float | None = None,
        sex: str | None = None,
        diagnosis: str | None = None,
        temperature: float | Sequence[float] = 0.0,
        samples: int = 1,
        seed: int = 0,
        *,
        first: int = 0,
        antithetic: bool = False,
        below: float | None = None,
        regions: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Synthesis:
        """Sample PETs for an encoded T1 and bring their mean and spread to the T1's own lattice.

        Args:
            patient: from ``encode``.
            age: in years; None for unknown, as for the other covariates.
            sex: ``"F"`` or ``"M"``.
            diagnosis: one that the bundle knows.
            temperature, samples, seed, first, antithetic, below, regions, progress: see ``distribution``.

        Raises:
            InputError: see ``distribution``.
        """
        covariates = {"age": age, "sex": sex, "diagnosis": diagnosis}
        temperatures = self.check(temperature, samples, antithetic)
        found = self.distribution(
            patient.encoding, covariates, temperatures, samples, seed, first=first,
            antithetic=antithetic, below=below, regions=regions, progress=progress,
        )  # fmt: skip
        return Synthesis(
            mean=to_patient(found.mean, patient.prepared),
            sd=None if found.sd is None else to_patient(found.sd, patient.prepared),
            grid_mean=found.mean,
            grid_sd=found.sd,
            provenance=self.provenance(
                patient, covariates, temperatures, samples, seed, first=first, antithetic=antithetic
            ),
            below=None if found.below is None else to_patient(found.below, patient.prepared),
            distribution=found,
            regions_known=patient.prepared.regions_known,
        )

    def provenance(
        self,
        patient: PatientEncoding,
        covariates: dict,
        temperature: float | Sequence[float],
        samples: int,
        seed: int = 0,
        *,
        first: int = 0,
        antithetic: bool = False,
    ) -> dict:
        """What goes into the PETs that ``sample`` draws with the same values; for sidecars and node attributes.

        Raises:
            InputError: as ``check``.
        """
        prepared, temperatures = patient.prepared, self.check(temperature, samples, antithetic)
        samples = samples if any(temperatures) else 1
        trained = all(known.is_trained(covariates.get(known.name)) for known in self.bundle.config.covariates)
        return {
            "Synthetic": True,
            "Description": "SYNTHETIC FDG-PET made from an MRI by DualGlow; research use only, not for diagnosis",
            "Units": "SUVR",
            "ReferenceRegion": self.bundle.preparation.get("reference", "pons"),
            "TrainedOnSimulatedPET": bool(self.bundle.training.get("simulated")),
            **{key.capitalize(): value for key, value in covariates.items()},
            "WithinTrainingRange": trained,
            "Temperature": temperatures[0] if len(set(temperatures)) == 1 else list(temperatures),
            "Samples": samples,
            "Antithetic": antithetic and samples > 1,
            "Seed": seed,
            **({"FirstSample": first} if first else {}),
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
        }
