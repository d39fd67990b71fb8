"""What the averaged model makes of a few held-out cases while it learns: in numbers, as a picture, and as NIfTI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ...cases.case import Case
from ...errors import InputError
from ...files import make_folder
from ...metrics.distribution import distribution_metrics
from ...metrics.images import image_metrics
from ...model import DualGlow, encode_covariates
from ...pictures.drawing import write_png
from ...pictures.samples import samples_picture
from ...provenance import Provenance, with_covariates
from ...volumes.grid import Grid
from ...volumes.marking import SYNTHETIC
from ...volumes.scan import Scan
from ...volumes.writing import write_scan
from ..data import T1_SCALE, Cohort

__all__ = ["SAMPLES", "HeldOutSamples"]

SAMPLES = "samples"
"""Folder of the run that the pictures and images are in."""
_DRAWN = 4  # samples a case, of which the score is the fair one
_ROWS = 4  # cases in the picture
_SEED = 1_000_003


@dataclass(frozen=True)
class _Shown:
    """One case, on the grid: T1 (white matter 1), its PET, the model's mean and samples, all but the first in SUVR."""

    case: Case
    t1: np.ndarray
    pet: np.ndarray
    mean: np.ndarray
    samples: np.ndarray


class HeldOutSamples:
    """Draws PETs of the first cases that are kept out, the same ones with the same noise each time.

    ``write`` gives RUN/samples/step-NNNNNNN.png, and ``latest_T1w``, ``latest_pet``, ``latest_mean`` and
    ``latest_sample`` (.nii.gz with a JSON file each) of the first case. That these can't be written, as on a full disk,
    is no reason to end a run; it is said once.

    Args:
        folder: of the run.
        grid: that the cases lie on.
        cohort: the cases kept out.
        count: how many of them.
        seed: of the noise.
        about: see ``Trainer``.
        note: called with what the user should know.

    Attributes:
        picture: the last that was drawn, uint8, rows × columns × 3; None before the first.
    """

    def __init__(
        self,
        folder: Path,
        grid: Grid,
        cohort: Cohort,
        count: int,
        seed: int,
        about: Mapping,
        note: Callable[[str], None],
    ) -> None:
        self.folder, self.grid, self.cohort = folder / SAMPLES, grid, cohort
        self.count = min(count, len(cohort)) if len(grid.shape) == 3 else 0
        self.seed, self.about, self._note = seed, about, note
        self.picture: np.ndarray | None = None
        self._said: set[str] = set()

    def write(self, model: DualGlow, step: int, image_only: bool = False) -> dict[str, float]:
        """Sample, measure and write.

        Args:
            model: in evaluation mode.
            step: of the training.
            image_only: whether the PET's flow isn't trained yet, so that the link's image law is the law of the PET.

        Returns:
            Means over the cases of ``validation_psnr`` (dB, of the mean, data range as in ``evaluate``) and
            ``validation_crps`` (SUVR, over the voxels of the brain); without the latter where scoringrules is not
            installed; empty if there are no cases.
        """
        if not self.count:
            return {}
        shown = [self._shown(model, index, image_only) for index in range(self.count)]
        try:
            self._write(shown[:_ROWS], step, model)
        except InputError as error:
            self._say(f"Of step {step} there are no pictures: {error}")
        found: dict[str, list[float]] = {}
        for one in shown:
            for key, value in self._measured(one).items():
                found.setdefault(f"validation_{key}", []).append(value)
        return {key: float(np.mean(values)) for key, values in found.items() if np.isfinite(values).all()}

    def draw(self, model: DualGlow, image_only: bool) -> None:
        """What ``write`` does for each case, of the first one, to see how long it takes."""
        if self.count:
            self._measured(self._shown(model, 0, image_only))

    @torch.no_grad()
    def _shown(self, model: DualGlow, index: int, image_only: bool) -> _Shown:
        batch, case = self.cohort.batch([index]), self.cohort.cases[index]
        device = next(model.parameters()).device
        code = encode_covariates(model.config.covariates, batch.covariates).to(device)
        encoding = model.encode(batch.mri.to(device))
        law = model.link.decode(encoding.features, code)
        generator = torch.Generator().manual_seed(self.seed * _SEED + index)

        def suvr(temperature: float) -> np.ndarray:
            if image_only:
                image = model.sample_image_law(law, temperature, generator)
            else:
                image = model.sample(encoding, code, temperature, generator, law=law)
            return (image[0, 0] * self.cohort.pet_scale).clamp_min(0).float().cpu().numpy()

        mean, samples = suvr(0.0), np.stack([suvr(1.0) for _ in range(_DRAWN)])
        t1, pet = batch.mri[0, 0].numpy() * T1_SCALE, batch.pet[0, 0].numpy() * self.cohort.pet_scale
        return _Shown(case, t1, pet, mean, samples)

    def _measured(self, one: _Shown) -> dict[str, float]:
        inside = one.t1 > 0
        if not inside.any():
            return {}
        found = {"psnr": image_metrics(one.mean, one.pet, inside, self.cohort.pet_scale).psnr}
        try:
            found["crps"] = distribution_metrics(one.samples[:, inside], one.pet[inside])["crps"]
        except InputError as error:
            self._say(str(error))
        return found

    def _write(self, shown: list[_Shown], step: int, model: DualGlow) -> None:
        rows = [(one.t1, one.pet, one.mean, one.samples[0]) for one in shown]
        given = "simulated" if self.about.get("simulated") else "acquired"
        self.picture = samples_picture(rows, [one.case.name for one in shown], self.grid, f"step {step}", given)
        make_folder(self.folder)
        write_png(self.picture, self.folder / f"step-{step:07d}.png")
        first = shown[0]
        made = {"Simulated": True} if self.about.get("simulated") else {}
        made |= {"Source": first.case.name}
        reference = self.about.get("preparation", {}).get("reference")
        synthetic = self._provenance(first.case, step, model)
        kinds = (
            ("T1w", first.t1, "T1", {**made, "Description": "T1 of a held-out case", "Modality": "MR"}),
            ("pet", first.pet, "SUVR", {**made, "Description": f"{given.capitalize()} FDG-PET of a held-out case",
                                        "Modality": "PT", "Units": "SUVR", "ReferenceRegion": reference}),
            ("mean", first.mean, SYNTHETIC, {**synthetic, "Content": "mean", "Temperature": 0.0}),
            ("sample", first.samples[0], SYNTHETIC, {**synthetic, "Content": "sample", "Temperature": 1.0}),
        )  # fmt: skip
        for name, image, description, sidecar in kinds:
            scan = Scan(image, self.grid.affine, meta={"space": "MNI152"})
            write_scan(scan, self.folder / f"latest_{name}.nii.gz", description, sidecar)

    def _provenance(self, case: Case, step: int, model: DualGlow) -> Provenance:
        about: Provenance = {
            "Synthetic": True,
            "Description": "SYNTHETIC FDG-PET made from an MRI by DualGlow; research use only, not for diagnosis",
            "Units": "SUVR",
            "ReferenceRegion": self.about.get("preparation", {}).get("reference"),
            "TrainedOnSimulatedPET": bool(self.about.get("simulated")),
            "Samples": 1,
            "Seed": self.seed,
            "Bundle": self.folder.parent.name,
            "TrainingStep": step,
            "Source": Path(case.t1).name,
            "DualGlowVersion": __version__,
            "TorchVersion": torch.__version__,
        }
        known = model.config.covariates
        return with_covariates(about, {one.name: one.parse(case.attributes.get(one.name)) for one in known})

    def _say(self, sentence: str) -> None:
        """Once."""
        kind = sentence.partition(":")[2] or sentence
        if kind not in self._said:
            self._said.add(kind)
            self._note(sentence)
