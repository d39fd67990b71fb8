"""DUAL-GLOW: two flows and the link between their latents (Sun et al., ICCV 2019)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..flow import ConditionalAffine, LowRankWhitening, MultiScaleFlow, initialize, spatial_sum
from .config import ModelConfig
from .discriminators import Discriminators, covariate_loss
from .link import ImageLaw, LinkOutput, build_link

__all__ = ["DualGlow", "Encoding", "Objective"]

_LOG_2PI = math.log(2 * math.pi)


def gaussian_log_prob(z: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """log N(z; mean, exp(log_sigma)²) summed over all but the batch axis, ``(B,)``."""
    return spatial_sum(-0.5 * (_LOG_2PI + (z - mean).square() * torch.exp(-2 * log_sigma)) - log_sigma)


@dataclass
class Encoding:
    """What of an MRI is computed once: its latents and the link's features that no covariate changes."""

    latents: list[Tensor]
    features: list[Tensor]


@dataclass
class Objective:
    """One evaluation of the objective, each ``(B,)``.

    Attributes:
        loss: what is minimised.
        pet_bits, mri_bits: bits per dimension of both images (nominally 8-bit).
        discriminators: loss of each discriminator by its name (``mri_1``, the finest, to ``mri_k``, ``pet``, and
            ``link`` for its guess).
    """

    loss: Tensor
    pet_bits: Tensor
    mri_bits: Tensor
    discriminators: dict[str, Tensor] = field(default_factory=dict)

    def parts(self) -> dict[str, Tensor]:
        """What of it is recorded, by its name in the history of a run."""
        found = {f"discriminator_{name}": loss for name, loss in self.discriminators.items()}
        return {"loss": self.loss, "pet_bits": self.pet_bits, "mri_bits": self.mri_bits, **found}


class DualGlow(nn.Module):
    """``x_m → z_m → (μ, σ) → z_p → x_p`` (eq. 7).

    Images are ``(B, channels, *spatial)`` and span 0..1 (the bundle's intensity maps bring T1 and SUVR there);
    covariates are ``(B, n)`` from ``encode_covariates``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.mri_flow = MultiScaleFlow(config.channels[0], config.dims, config.mri)
        contexts = config.link.context if config.link.kind == "unet" else None
        self.pet_flow = MultiScaleFlow(config.channels[1], config.dims, config.pet, contexts)
        shapes = [flow.latent_shapes(config.shape) for flow in (self.mri_flow, self.pet_flow)]
        self.link = build_link(config, *shapes)
        self.standardise, self.whiten = ConditionalAffine(), LowRankWhitening()
        self.discriminators = Discriminators(config, *shapes) if config.discriminators.weight else None

    @property
    def link_has_image(self) -> bool:
        """Whether the link gives a law of the PET image itself (``LinkOutput.image``)."""
        return self.config.link.kind == "unet"

    # ---- the MRI

    def encode(self, mri: Tensor) -> Encoding:
        """Everything about an MRI that sampling needs; no noise is added."""
        latents, _ = self.mri_flow(mri - 0.5)
        return Encoding(latents, self.link.encode(latents))

    def mri_log_prob(self, mri: Tensor) -> tuple[Tensor, list[Tensor]]:
        """log p(x_m) under N(0, I) on all latents, ``(B,)``, and the latents."""
        latents, log_det = self.mri_flow(mri - 0.5)
        zero = mri.new_zeros(1)
        return log_det + sum(gaussian_log_prob(z, zero, zero) for z in latents), latents

    # ---- the PET given the MRI

    def pet_latents(self, pet: Tensor, law: LinkOutput) -> tuple[list[Tensor], Tensor]:
        """Latents of a PET under a law, finest first, and log|det dz_p/dx_p| of shape ``(B,)``."""
        x, log_det = self.standardised(pet, law.image)
        latents, change = self.pet_flow(x, law.contexts)
        return latents, log_det + change

    def standardised(self, pet: Tensor, image: ImageLaw | None) -> tuple[Tensor, Tensor]:
        """The PET whitened by the link's image law, as its flow is given it; and that step's log|det|, ``(B,)``."""
        x, log_det = pet - 0.5, pet.new_zeros(len(pet))
        if image is not None:
            x, log_det = self.standardise(x, image[:2])
            if image.patterns is not None:
                x, change = self.whiten(x, image.whitened())
                log_det = log_det + change
        return x, log_det

    def pet_from_latents(self, latents: Sequence[Tensor], law: LinkOutput) -> Tensor:
        """Inverse of ``pet_latents`` under the same law."""
        x = self.pet_flow.inverse(latents, law.contexts)
        if law.image is not None:
            if law.image.patterns is not None:
                x = self.whiten.inverse(x, law.image.whitened())
            x = self.standardise.inverse(x, law.image[:2])
        return x + 0.5

    def pet_log_prob(self, pet: Tensor, law: LinkOutput) -> Tensor:
        """log p(x_p | x_m, c) of eq. 10, ``(B,)``."""
        return self._pet_log_prob(*self.pet_latents(pet, law), law)

    @staticmethod
    def _pet_log_prob(latents: Sequence[Tensor], log_det: Tensor, law: LinkOutput) -> Tensor:
        terms = zip(latents, law.means, law.log_sigmas, strict=True)
        return log_det + sum(gaussian_log_prob(z, mean, log_sigma) for z, mean, log_sigma in terms)

    def sample(
        self,
        encoding: Encoding,
        covariates: Tensor,
        temperature: float | Sequence[float] = 1.0,
        generator: torch.Generator | None = None,
        negate: bool = False,
        law: LinkOutput | None = None,
    ) -> Tensor:
        """One PET per row of ``covariates``, ``(B, channels, *spatial)``; at temperature 0 the latent mode.

        Args:
            encoding: of one MRI, or of as many as there are rows.
            covariates: ``(B, n)``.
            temperature: the factor on the latent noise, or one for each latent, finest first.
            generator: source of the noise (drawn on the CPU, so that a seed gives the same noise on every device, and
                for every latent, so that it is the same at every temperature).
            negate: take minus that noise: the other one of an antithetic pair.
            law: what the link makes of the encoding and the covariates, if that is known already.

        Raises:
            ValueError: if there are not as many temperatures as latents.
        """
        law = self.link.decode(encoding.features, covariates) if law is None else law
        shapes = self.pet_flow.latent_shapes(self.config.shape)
        temperatures = [temperature] * len(shapes) if isinstance(temperature, int | float) else list(temperature)
        latents = []
        for factor, shape, mean, log_sigma in zip(temperatures, shapes, law.means, law.log_sigmas, strict=True):
            z = mean.expand(len(covariates), *shape)
            if any(temperatures):
                noise = torch.randn(len(covariates), *shape, generator=generator).to(mean)
                if factor > 0:
                    z = z + (-factor if negate else factor) * torch.exp(log_sigma) * noise
            latents.append(z)
        return self.pet_from_latents(latents, law)

    def sample_image_law(
        self, law: LinkOutput, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """PETs of the link's image law alone, as long as the PET's flow is not trained; arguments as for ``sample``.

        Raises:
            ValueError: if the link gives no image law.
        """
        if law.image is None:
            raise ValueError("This link gives no image law to sample from.")
        image = law.image._replace(density=None)  # that of the flow's noise
        x = temperature * torch.randn(image.log_scale.shape, generator=generator).to(image.mean)
        if image.patterns is not None:
            x = self.whiten.inverse(x, image.whitened())
        return self.standardise.inverse(x, image[:2]) + 0.5

    # ---- training

    def forward(
        self,
        pet: Tensor,
        mri: Tensor,
        covariates: Tensor,
        targets: Tensor | None = None,
        progress: float = 1.0,
        image_only: bool = False,
        known_mean: Tensor | None = None,
    ) -> Objective:
        """Eq. 12 (16, with covariates) in bits per dimension, −(log p(z_p|z_m, c) + log|det| + λ log p(x_m)).

        No noise is added. Discriminators, where there are some, add their losses times the configured weight.

        Where the link gives the PET an image law (mean, scale, covariance patterns), that law learns from two more
        terms alone: the mean from its squared error (as the bits of a Gaussian whose sd is that of the cohort, the same
        for all voxels), scale and patterns from the PET's bits under the law. The flow takes it as given. Left to the
        likelihood of the whole, an error of the mean that looks like a pattern costs nearly nothing, and so does a flow
        that does the work of the patterns badly: sixteen directions of 100 000 hardly count, but they are what a
        person's uptake as a whole is made of.

        Args:
            pet, mri: ``(B, channels, *spatial)``.
            covariates: input of the link, ``(B, n)``.
            targets: covariates that the discriminators are to predict, ``(B, n)``, if not all are input of the link.
            progress: share of the training done, 0 to 1, for the schedule of the gradient reversal.
            image_only: leave the PET's flow and the discriminators out: the link's image law is the law of the PET
                (``pet_bits`` are its bits).
            known_mean: what the PET was drawn around, in its units; the mean of the link's image law learns from it in
                place of the PET.

        Raises:
            ValueError: for ``image_only`` with a link that has no image law.
        """
        mri_log_prob, latents = self.mri_log_prob(mri)
        law = self.link.decode(self.link.encode(latents), covariates)
        if image_only and law.image is None:
            raise ValueError("This link gives no image law to train alone.")
        channels = self.config.channels[1]
        image_loss = pet.new_zeros(len(pet))
        if law.image is not None:
            x, log_det = self.standardised(pet, law.image._replace(mean=law.image.mean.detach(), density=None))
            zero = x.new_zeros(1)
            joint = log_det + gaussian_log_prob(x, zero, zero)
            wanted = pet if known_mean is None else known_mean
            error = gaussian_log_prob(wanted - 0.5, law.image.mean, self.link.typical_log_sd())
            image_loss = self._bits(joint, channels) + self.config.link.image_weight * self._bits(error, channels)
        if image_only:
            pet_log_prob = joint.detach()
        else:
            with torch.no_grad():
                x, log_det = self.standardised(pet, law.image)
            pet_latents, change = self.pet_flow(x, law.contexts)
            pet_log_prob = self._pet_log_prob(pet_latents, log_det + change, law)
        pet_bits = self._bits(pet_log_prob, channels)
        mri_bits = self._bits(mri_log_prob, self.config.channels[0])
        # λ weighs log-densities; bits are those of a dimension, of which images of several channels have more.
        share = self.config.mri_weight * self.config.channels[0] / channels
        loss = pet_bits + share * mri_bits + image_loss
        targets = covariates if targets is None else targets
        found: dict[str, Tensor] = {}
        if self.discriminators is not None and not image_only:
            found = self.discriminators(latents, pet_latents, targets, progress)
            loss = loss + self.config.discriminators.weight * sum(found.values())
        if law.guess is not None:
            found["link"] = covariate_loss(self.config.covariates, law.guess, targets)
            loss = loss + self.config.link.guess_weight * found["link"]
        return Objective(loss, pet_bits, mri_bits, found)

    def _bits(self, log_prob: Tensor, channels: int) -> Tensor:
        # Images span 0..1; 8 bits per dimension are those of 256 bins of that span.
        return 8.0 - log_prob / (math.log(2) * self.config.voxels * channels)

    def add_noise(
        self,
        pet: Tensor,
        mri: Tensor,
        generator: torch.Generator | None = None,
        rows: tuple[int, slice] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Both images with the noise of the configuration, which makes their density finite where they are constant.

        Args:
            pet, mri: ``(B, channels, *spatial)``.
            generator: source of the noise.
            rows: the images are these rows of a batch of so many, and get the noise that they would have in it.
        """
        count, place = rows or (None, slice(None))
        out = []
        for image, sd in ((pet, self.config.pet_noise), (mri, self.config.mri_noise)):
            shape = (len(image) if count is None else count, *image.shape[1:])
            if self.config.noise == "uniform":
                noise = torch.rand(shape, generator=generator)[place].to(image) / 256
            else:
                noise = sd * torch.randn(shape, generator=generator)[place].to(image)
            out.append(image + noise)
        return out[0], out[1]

    def initialize(self, pet: Tensor, mri: Tensor, covariates: Tensor, image_only: bool = False) -> None:
        """Set every ActNorm, and the variances of the top latent, from data; give it some 8 to 32 cases.

        With ``image_only`` the PET's flow is left for a second call, when the link has learned what it is to expect.
        """
        if not image_only and self.config.link.patterns:
            trial = copy.deepcopy(self)
            initialize(trial, [(pet, mri, covariates)])
            self.link.density.fill_(trial._density_of_patterns(pet, mri, covariates))
        initialize(self, [(pet, mri, covariates, None, 1.0, image_only)])
        if self.link_has_image and not image_only:
            self._set_top(pet, mri, covariates)

    @torch.no_grad()
    def _set_top(self, pet: Tensor, mri: Tensor, covariates: Tensor) -> tuple[Encoding, Tensor]:
        """Set the top latent's variances from the PETs of the sound ones of the cases: their MRIs and covariates."""
        sound = torch.stack([x.flatten(1).isfinite().all(1) for x in (pet, mri, covariates)]).all(0)
        encoding, covariates = self.encode(mri[sound]), covariates[sound]
        law = self.link.decode(encoding.features, covariates)
        self.link.set_top(self.pet_latents(pet[sound], law)[0][-1])
        return encoding, covariates

    @torch.no_grad()
    def _density_of_patterns(self, pet: Tensor, mri: Tensor, covariates: Tensor) -> float:
        """The variance that the flow as it begins gives to the scores of the patterns; at least 1."""
        encoding, covariates = self._set_top(pet, mri, covariates)
        law = self.link.decode(encoding.features, covariates)
        generator = torch.Generator().manual_seed(0)
        x, _ = self.standardised(self.sample(encoding, covariates, generator=generator, law=law), law.image)
        scores = self.whiten.scores(x, law.image.patterns)
        return max(1.0, float(scores.square().mean()))
