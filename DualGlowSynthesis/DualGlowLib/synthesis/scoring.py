"""Exact likelihoods of given images under the model, and a given PET at other covariates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from ..bundle.bundle import Bundle
from ..errors import InputError
from ..model import DualGlow, Encoding, LinkOutput, encode_covariates, mri_likelihood, pet_likelihood, transport
from .fit import all_finite, numbers, rank
from .question import Question

__all__ = ["Scoring"]

_Result = TypeVar("_Result")

_NOISE = 1 << 40  # far from the seeds of samples, so that a sample and the noise added to an image are independent


class Scoring:
    """The part of a ``Synthesizer`` that scores given images; the other part draws new ones."""

    bundle: Bundle
    device: torch.device
    model: DualGlow

    @torch.inference_mode()
    def log_likelihood(
        self,
        encoding: Encoding,
        pet: np.ndarray,
        covariates: dict,
        *,
        mask: np.ndarray | None = None,
        within: np.ndarray | None = None,
        samples: int = 0,
        seed: int = 0,
        noise: bool = True,
        progress: Callable[[float], None] | None = None,
    ) -> dict:
        """Exact log p(PET | MRI, covariates): how well a PET fits an MRI, in numbers and by place.

        In training, noise is added to the PETs (``ModelConfig.noise``), and the model is the law of these noisy PETs.
        So the same noise, drawn from the seed, is added to this PET: without it, its smooth background alone would make
        it unlikely. The MRI is used without noise, as in sampling.

        An image has many dimensions: if the model's scale is a little wrong in each, the likelihood is far from its
        expected value. Expect percentiles near 0 or 100 from a model whose scale is not calibrated, and compare a PET
        with other acquired ones by ``bits_per_dim``.

        Args:
            encoding: from ``encode``.
            pet: on the grid, SUVR, as the PETs of the training were (not cut to the brain if those weren't).
            covariates: by name; one that is left out is unknown.
            mask: bool, on the grid; adds ``masked``.
            within: bool, on the grid: the likelihood is of the voxels in it. Outside, the PET and all samples that it
                is ranked among get the voxels of one further sample. So uptake in the scalp, which a model trained on
                brains alone gives almost no probability, doesn't decide the result.
            samples: K samples of the same law at temperature 1 to rank it among.
            seed: of the noise and of the samples.
            noise: False leaves the noise out.
            progress: called with the share done.

        Returns:
            ``nats``: log-density of the PET over ``pet_scale``, and ``bits_per_dim`` as training reports it (of
            nominally 8-bit images). ``levels``: finest first, each with ``dims``, ``gaussian``, ``log_det`` (nats),
            ``chi_square`` and its ``percentile`` under the exact χ² law; ``image``: log-determinant of the mean image's
            scale; with the levels' parts it sums to ``nats``. ``chi_square``, ``chi_square_percentile``: of all levels.
            ``surprise``: float32 on the grid, χ² by place, expected to be 1 everywhere. ``masked``: of the voxels in
            ``mask``, their number, mean ``surprise``, and the sum of the terms that have a place (``gaussian`` and
            ``image``, nats); the couplings' determinants have none. ``percentile``: rank of ``nats`` among the samples
            (0 to 100: low means that the PET is less likely than most), with ``expected`` and ``sd`` of theirs.

        Raises:
            InputError: for a PET that doesn't lie on the grid or isn't finite, a covariate that can't be, or a
                likelihood that is not finite.
        """
        law = self._law(encoding, covariates)
        image = self._image(pet)
        if noise:
            image = self.model.add_noise(image, image[:0], torch.Generator().manual_seed(_NOISE + seed))[0]
        code = encode_covariates(self.bundle.config.covariates, [covariates], self.device)
        ones = self.check(Question(temperature=1.0, samples=max(samples, 1)))
        kept, elsewhere = torch.ones((), dtype=torch.bool, device=self.device), image
        if within is not None:
            kept = self._on_grid(np.asarray(within, dtype=bool), "mask") > 0.5
            elsewhere = self._drawn(encoding, code, ones, seed, samples, law=law)
        found = pet_likelihood(self.model, torch.where(kept, image, elsewhere), law)
        result = numbers(found)
        result["surprise"] = found.energy[0].float().cpu().numpy()
        if mask is not None:
            inside = torch.from_numpy(np.asarray(mask, dtype=bool)).to(self.device)
            if inside.shape != image.shape[2:]:
                raise InputError(f"The mask has the shape {tuple(inside.shape)}, not that of the model's grid.")
            if not inside.any():
                raise InputError("The mask is empty; give one of the voxels that are to be judged.")
            result["masked"] = {
                "voxels": int(inside.sum()),
                "surprise": found.energy[0][inside].mean().item(),
                "gaussian": sum(level.density for level in found.levels)[0][inside].sum().item(),
                "image": found.image_density[0][inside].sum().item(),
            }
        if samples:
            others = []
            for index in range(samples):
                drawn = self._drawn(encoding, code, ones, seed, index, law=law)
                others.append(pet_likelihood(self.model, torch.where(kept, drawn, elsewhere), law).total.item())
                if progress:
                    progress((index + 1) / samples)
            result |= rank(result["nats"], others)
        return self._finite("likelihood of the PET", result)

    @torch.inference_mode()
    def mri_log_likelihood(self, t1: np.ndarray, *, samples: int = 0, seed: int = 0, noise: bool = True) -> dict:
        """Exact log p(MRI) under the MRI flow; unusually low or high for a T1 unlike those of the training.

        Args:
            t1: on the grid, as ``Prepared.t1``.
            samples: K images drawn from the flow to rank it among. A flow trained with a small λ (eq. 12) draws poor
                MRIs, so that ``bits_per_dim`` beside ``trained`` tells more.
            seed: of the noise and of the samples.
            noise: False leaves out the noise that training adds.

        Returns:
            ``nats``, ``bits_per_dim``, ``levels``, ``chi_square``, ``percentile`` … as ``log_likelihood``; ``trained``:
            bits per dimension of the training's validation cases, or None if the bundle doesn't say.

        Raises:
            InputError: for a T1 that doesn't lie on the grid or isn't finite, or a likelihood that is not finite.
        """
        image = self._on_grid(t1, "T1") / self.bundle.t1_scale
        if noise:
            image = self.model.add_noise(image[:0], image, torch.Generator().manual_seed(_NOISE + seed))[1]
        result = numbers(mri_likelihood(self.model, image))
        training = self.bundle.training
        result["trained"] = training.get("validation_mri_bits", training.get("mri_bits"))
        if samples:
            Question(samples=samples)  # refuses what can't be
            others = []
            for index in range(samples):
                generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
                shapes = self.model.mri_flow.latent_shapes(self.bundle.config.shape)
                latents = [torch.randn(1, *shape, generator=generator).to(self.device) for shape in shapes]
                others.append(mri_likelihood(self.model, self.model.mri_flow.inverse(latents) + 0.5).total.item())
            result |= rank(result["nats"], others)
        return self._finite("likelihood of the T1", result)

    @torch.inference_mode()
    def counterfactual(
        self, encoding: Encoding, pet: np.ndarray, covariates_from: dict, covariates_to: dict
    ) -> np.ndarray:
        """The person's own PET at other covariates: "this PET at 80". On the grid, SUVR, float32.

        What the MRI and the covariates don't explain, the latent noise, is read off the PET under its own covariates
        and kept under the others (``model.transport``). Equal covariates give the PET back. The anatomy stays.

        Args:
            encoding: of the T1, from ``encode``.
            pet: on the grid, SUVR, as the PETs of the training were.
            covariates_from: those that the PET was acquired at.
            covariates_to: those that are asked for.

        Raises:
            InputError: for a PET that doesn't lie on the grid or isn't finite, a covariate that can't be, or a result
                that is not finite.
        """
        laws = self._law(encoding, covariates_from), self._law(encoding, covariates_to)
        return self._finite("PET", self._suvr(transport(self.model, self._image(pet), *laws)).cpu().numpy())

    def _finite(self, what: str, result: _Result) -> _Result:
        """What the model gave, after a look at every number of it.

        Raises:
            InputError: if one is not finite.
        """
        if not all_finite(result):
            raise InputError(
                f"The {what} that the model {self.bundle.name} gives for this T1 has values that are not finite (NaN "
                "or infinity); use another model, or get this one again."
            )
        return result

    def _law(self, encoding: Encoding, covariates: dict) -> LinkOutput:
        code = encode_covariates(self.bundle.config.covariates, [covariates], self.device)
        return self._finite("law of the PET", self.model.link.decode(encoding.features, code))

    def _image(self, pet: np.ndarray) -> torch.Tensor:
        return self._on_grid(pet, "PET") / self.bundle.pet_scale

    def _on_grid(self, volume: np.ndarray, what: str) -> torch.Tensor:
        volume = np.ascontiguousarray(volume, dtype=np.float32)
        if volume.shape != tuple(self.bundle.config.shape):
            sizes = ("×".join(map(str, shape)) for shape in (volume.shape, self.bundle.config.shape))
            raise InputError("The {} has {} voxels; the model's grid has {}: prepare it first.".format(what, *sizes))
        if not np.isfinite(volume).all():
            raise InputError(f"The {what} holds values that are not finite (NaN or infinity); mend it first.")
        return torch.from_numpy(volume)[None, None].to(self.device)
