"""The Synthesizer that a user drives: encode the MRI once, then sample PETs at any age, temperature and seed."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..atlas.regions import weights
from ..bundle.bundle import Bundle, load_bundle
from ..bundle.calibration import Calibration
from ..devices import choose_device
from ..errors import InputError
from ..model import Encoding, LinkOutput, encode_covariates
from ..preparation.t1 import Prepared, prepare, to_patient
from ..provenance import Provenance, with_covariates
from ..volumes.scan import Scan
from .draws import Distribution, Draws
from .question import Question
from .region_table import region_rows
from .scoring import Scoring

__all__ = ["PatientEncoding", "Synthesis", "Synthesizer", "choose_device", "voxels_sha256"]


def voxels_sha256(scan: Scan) -> str:
    """What a T1 is known by in the provenance of its PETs, whatever its file is called."""
    return hashlib.sha256(np.ascontiguousarray(scan.data)).hexdigest()


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
        below: the samples' share, voxel by voxel, whose SUVR is below the threshold that was asked for, or None; like
            ``mean`` on the T1's lattice, and 0 outside the brain.
        distribution: all that was kept of the samples, on the model's grid.
        regions: rows of a table, see ``region_rows``.
        provenance: how it was made; goes into sidecars and node attributes.
    """

    mean: Scan
    sd: Scan | None
    below: Scan | None
    distribution: Distribution
    regions: list[dict]
    provenance: Provenance


class Synthesizer(Scoring):
    """A bundle on a device.

    >>> from DualGlowLib.volumes.reading import read_scan
    >>> t1 = read_scan("t1.nii.gz")
    >>> synthesizer = Synthesizer.from_bundle()
    >>> patient = synthesizer.encode(t1)
    >>> pet = synthesizer.sample(patient, Question({"age": 72})).mean
    >>> pet.shape == t1.shape
    True
    """

    def __init__(self, bundle: Bundle, device: torch.device | str = "cpu") -> None:
        self.bundle = bundle
        self.device = torch.device(device)
        self.model = bundle.model.to(self.device).eval()
        self._loaded: tuple = ()

    @classmethod
    def from_bundle(
        cls, bundle: Path | str | None = None, device: str = "auto", is_calibrated: bool = True
    ) -> Synthesizer:
        """Load a bundle folder (by default the one that ships with DualGlow, see ``load_bundle``) onto a device.

        Raises:
            InputError: see ``load_bundle`` and ``choose_device``.
        """
        made = cls(load_bundle(bundle, is_calibrated), choose_device(device))
        made._loaded = (None if bundle is None else str(Path(bundle).resolve()), device, is_calibrated)
        return made

    def __reduce__(self) -> tuple:
        """Pickled, one that was loaded is the name of its folder: another process loads it there, onto its device."""
        return (_load_again, (self._loaded, self.bundle.digest)) if self._loaded else super().__reduce__()

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
        chosen = self.bundle.preparation
        prepared = prepare(scan, self.bundle.grid, mask, progress, bias=chosen.bias, deformable=chosen.deformable)
        return PatientEncoding(prepared, self.encode_prepared(prepared.t1), voxels_sha256(scan))

    @torch.inference_mode()
    def encode_prepared(self, t1: np.ndarray) -> Encoding:
        """Encode a T1 that lies on the grid already, normalised as ``intensity.normalise_t1`` does."""
        image = torch.from_numpy(np.ascontiguousarray(t1, dtype=np.float32))[None, None] / self.bundle.t1_scale
        return self.model.encode(image.to(self.device))

    def known(self, covariates: Mapping[str, object]) -> dict:
        """Those that the model knows, e.g. of all columns of a cohort's table."""
        return {one.name: covariates[one.name] for one in self.bundle.config.covariates if one.name in covariates}

    def check(self, question: Question) -> tuple[float, ...]:
        """One temperature per latent of the PET, finest first, after a look at whether the model can answer.

        Raises:
            InputError: for a covariate that the model doesn't know or a value of it that it can't take, and for another
                number of temperatures than it has levels.
        """
        self.check_covariates(question)
        count = len(self.model.pet_flow.latent_shapes(self.bundle.config.shape))
        given = question.temperatures
        if len(given) not in (1, count):
            raise InputError(
                f"{len(given)} temperatures are given, but this model has {count} levels; give one for all, or one "
                "for each, the finest first."
            )
        return given if len(given) == count else given * count

    def check_covariates(self, question: Question) -> None:
        """Look at whether the model can take those of a question.

        Raises:
            InputError: if not.
        """
        known = {covariate.name: covariate for covariate in self.bundle.config.covariates}
        for name, value in question.covariates.items():
            if name not in known:
                names = ", ".join(known) or "no covariates"
                said = name if name.isprintable() and len(name) < 40 else reprlib.repr(name)
                raise InputError(f"The model {self.bundle.name} doesn't know {said}, but {names}; leave it out.")
            known[name].parse(value)

    @torch.inference_mode()
    def distribution(
        self,
        encoding: Encoding,
        question: Question,
        *,
        regions: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Distribution:
        """PETs on the grid, SUVR, drawn one after the other; memory does not grow with their number.

        Each sample has a noise stream of its own, made from the seed and its number, so that the first k of n samples
        are those of k, and equal seeds give equal noise at every age, temperature and device (common random numbers).

        Args:
            encoding: from ``encode``.
            question: covariates, temperature, samples …
            regions: weights that sum to 1 over voxels, ``(regions, *shape)``, for each sample's region means.
            progress: called with the share done.

        Raises:
            InputError: as ``check``, and for samples that are not finite.
        """
        if regions is not None and np.shape(regions)[1:] != tuple(self.bundle.config.shape):
            raise ValueError(f"Regions of shape {np.shape(regions)[1:]} don't lie on {self.bundle.config.shape}.")
        samples = question.drawn
        draws = Draws(question.antithetic and samples > 1, question.below, regions)
        for number, image in enumerate(self.images(encoding, question), start=1):
            draws.add(image)
            if progress:
                progress(number / samples)
        return self._finite("PET", draws.result())

    @torch.inference_mode()
    def images(self, encoding: Encoding, question: Question) -> Iterator[torch.Tensor]:
        """The PETs that ``distribution`` draws, one after the other: SUVR on the grid, on the model's device.

        Raises:
            InputError: as ``check``.
        """
        temperatures, antithetic = self.check(question), question.antithetic
        code = encode_covariates(self.bundle.config.covariates, [question.covariates], self.device)
        law = self._law(encoding, question.covariates)
        for index in range(question.first, question.first + question.drawn):
            yield self._suvr(self._drawn(encoding, code, temperatures, question.seed, index, antithetic, law))

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

    def sample(
        self, patient: PatientEncoding, question: Question, *, progress: Callable[[float], None] | None = None
    ) -> Synthesis:
        """Sample PETs for an encoded T1 and bring their mean and spread to the T1's own lattice.

        Args:
            patient: from ``encode``.
            question: covariates, temperature, samples …
            progress: called with the share done.

        Raises:
            InputError: see ``distribution``.
        """
        kernels = weights(self.bundle.grid)
        found = self.distribution(patient.encoding, question, regions=kernels, progress=progress)
        return Synthesis(
            mean=to_patient(found.mean, patient.prepared),
            sd=None if found.sd is None else to_patient(found.sd, patient.prepared),
            below=None if found.below is None else to_patient(found.below, patient.prepared),
            distribution=found,
            regions=region_rows(found, patient.prepared.regions_known, self._calibration(question)),
            provenance=self.provenance(patient, question),
        )

    def _calibration(self, question: Question) -> Calibration | None:
        """That of the model, where it holds for what is asked: at temperature 1, where the samples are the law's."""
        return self.bundle.calibration if set(self.check(question)) == {1.0} and question.drawn > 1 else None

    def provenance(self, patient: PatientEncoding, question: Question) -> Provenance:
        """What goes into the PETs that ``sample`` draws; for sidecars and node attributes.

        Raises:
            InputError: as ``check``.
        """
        prepared, temperatures = patient.prepared, self.check(question)
        known = self.bundle.config.covariates
        samples = question.drawn
        about: Provenance = {
            "Synthetic": True,
            "Description": "SYNTHETIC FDG-PET made from an MRI by DualGlow; research use only, not for diagnosis",
            "Units": "SUVR",
            "ReferenceRegion": self.bundle.preparation.reference,
            "TrainedOnSimulatedPET": bool(self.bundle.training.get("simulated")),
            "WithinTrainingRange": all(one.is_trained(question.covariates.get(one.name)) for one in known),
            "Temperature": temperatures[0] if len(set(temperatures)) == 1 else list(temperatures),
            "Samples": samples,
            "Antithetic": question.antithetic and samples > 1,
            "Seed": question.seed,
            **({"CalibratedCases": used.certificate["fitted"]} if (used := self._calibration(question)) else {}),
            **({"FirstSample": question.first} if question.first else {}),
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
        return with_covariates(about, {one.name: one.parse(question.covariates.get(one.name)) for one in known})


def _load_again(loaded: tuple, digest: str) -> Synthesizer:
    made = Synthesizer.from_bundle(*loaded)
    if made.bundle.digest != digest:
        raise InputError(f"{loaded[0]} is another model than when the work began; start it again.")
    return made
