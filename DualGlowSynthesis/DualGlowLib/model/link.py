"""The link (the paper: relation network): from the MRI's latents and the covariates to the law of the PET's latents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..flow import Conv, ZeroConv, unsqueeze
from ..flow.actnorm import LOG_SCALE_FACTOR
from .config import LinkConfig, ModelConfig
from .discriminators import Discriminator, surprise

__all__ = ["ImageLaw", "LevelwiseLink", "LinkOutput", "UNetLink", "build_link"]

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_LOADING_STEP = 4  # voxels between the nodes of a covariance pattern's loading


class ImageLaw(NamedTuple):
    """A Gaussian law of the PET image less 0.5: covariance s (I + UᵀU) s, with s = exp(log_scale) per voxel.

    Attributes:
        mean, log_scale: ``(B, C, *spatial)`` each.
        patterns: the rows of U, ``(B, K, C, *spatial)``: how the image varies as a whole, in units of s; or None.
        density: spectral density of the noise at the low spatial frequencies of the patterns, in units of s²; a
            number. Noise is smooth, so it is above 1. Whitening reduces the variance along the patterns to this value
            and not to 1: a convolutional flow treats all places alike, and can't give a few directions less variance
            than similar directions beside them have. None: 1.
    """

    mean: Tensor
    log_scale: Tensor
    patterns: Tensor | None = None
    density: Tensor | None = None

    def whitened(self) -> Tensor:
        """The patterns in units of the noise along them, as whitening before the flow needs them."""
        return self.patterns if self.density is None else self.patterns / self.density**0.5


@dataclass
class LinkOutput:
    """The law of z_p: N(mean, exp(log_sigma)²) per element and level (eq. 6 and 17), and what else the PET flow uses.

    Attributes:
        means, log_sigmas: one tensor per level, finest first, shaped as (or broadcasting to) that level's latent.
        contexts: input of the PET's coupling networks per level, or None.
        image: what standardises the PET image before its flow, or None.
        guess: what the link takes the covariates to be from the MRI alone (a discriminator's outputs), or None.
    """

    means: list[Tensor]
    log_sigmas: list[Tensor]
    contexts: list[Tensor] | None = None
    image: ImageLaw | None = None
    guess: Tensor | None = None


def _soft_bound(x: Tensor, bound: float) -> Tensor:
    return bound * torch.tanh(x / bound)


def _as_map(values: Tensor, like: Tensor) -> Tensor:
    """``(B, channels)`` as channels of an image."""
    return values.reshape(len(values), -1, *[1] * (like.dim() - 2))


class _LinearZeros(nn.Module):
    """``(c W + bias) · exp(3 · log_scale)``, all starting at 0: the authors' map of the covariates."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, covariates: Tensor) -> Tensor:
        return (covariates @ self.weight + self.bias) * torch.exp(LOG_SCALE_FACTOR * self.log_scale)


class _TopLaw(nn.Module):
    """Mean and raw log-sigma of the top latent from the covariates alone, one at each place: linear, starting at 0.

    The map is that of the whole volume: the top level is the only one that the covariates reach, and what age does
    differs from place to place. Its outputs are multiplied by ``GAIN``, which makes an optimiser of the Adam kind take
    steps as many times larger: it has to find the mean PET at every place, several sigma from 0.
    """

    GAIN = 10.0

    def __init__(self, covariates: int, outputs: int, space: Sequence[int]) -> None:
        super().__init__()
        self.shape = (outputs, *space)
        self.linear = nn.Linear(covariates, math.prod(self.shape))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, covariates: Tensor) -> Tensor:
        return self.GAIN * self.linear(covariates).reshape(len(covariates), *self.shape)


class _LearnedTop(nn.Module):
    """The same mean and raw log-sigma for every case: the authors' 3ⁿ convolution of an empty image that sees its edge.

    ``(1, 2 · channels, *space)``, the mean first.
    """

    def __init__(self, channels: int, space: Sequence[int]) -> None:
        super().__init__()
        frame = F.pad(torch.zeros(1, 1, *space), [1] * (2 * len(space)), value=1.0)
        self.register_buffer("frame", frame, persistent=False)
        self.edge_weight = nn.Parameter(torch.zeros(2 * channels, 1, *[3] * len(space)))
        self.bias = nn.Parameter(torch.zeros(2 * channels))
        self.log_scale = nn.Parameter(torch.zeros(2 * channels))

    def forward(self) -> Tensor:
        conv = {2: F.conv2d, 3: F.conv3d}[self.frame.dim() - 2]
        y = conv(self.frame, self.edge_weight, self.bias)
        return y * torch.exp(LOG_SCALE_FACTOR * _as_map(self.log_scale[None], y))


class LevelwiseLink(nn.Module):
    """Level i of the MRI to level i of the PET by a small convolutional network.

    With ``authors`` it computes what the authors' program does: 5ⁿ convolution without bias, leaky ReLU (0.2) after
    every layer, sigma = 1. Otherwise linear heads for mean and log-sigma that start at zero.

    The covariates c (``LinkConfig.conditioning``) scale and shift each level (film), shift it (release) or, as eq. 16
    and 17 have it, take the place of the top code of the MRI (paper). Eq. 17 writes the law of the whole z_p with
    parameters μ(z'_m, c) and σ(z'_m, c), where z'_m are the MRI's codes without the top one, and leaves open which
    level of z_p sees what. We read it with the text before it ("only the highest level should be affected") and with
    Fig. 1, where the arrow from the top MRI code is removed and one from c added: the law of the top level follows
    from c alone and that of each lower level from the MRI's code of that level alone. In that mode the effect of c is
    the whole one, including what c says about the anatomy; nothing at the top holds the anatomy fixed.
    """

    def __init__(
        self, config: LinkConfig, mri: list[tuple[int, ...]], pet: list[tuple[int, ...]], covariates: int, dims: int
    ) -> None:
        super().__init__()
        self.config = config
        mode = config.conditioning if covariates else "none"
        both = 1 if config.authors else 2  # mean, and log-sigma
        totals = [both * channels for channels, *_ in pet]
        self.nets = nn.ModuleList()
        for (inside, *_), total in list(zip(mri, totals, strict=True))[: -1 if mode == "paper" else None]:
            layers: list[nn.Module] = []
            kernel = config.kernel
            for last in [False] * (config.layers - 1) + [True]:
                outputs = total if last else config.hidden
                conv = Conv(inside, outputs, kernel, dims, bias=not config.authors)
                layers.append(conv)
                if config.authors:
                    nn.init.uniform_(conv.weight, -0.05, 0.05)
                    layers.append(nn.LeakyReLU(0.2))
                elif last:
                    nn.init.zeros_(conv.weight)
                    nn.init.zeros_(conv.bias)
                else:
                    layers.append(nn.ReLU())
                inside, kernel = outputs, 3
            self.nets.append(nn.Sequential(*layers))
        shifted, scaled = mode in ("release", "film"), mode == "film"
        self.shifts = nn.ModuleList(_LinearZeros(covariates, n) for n in totals if shifted)
        self.scales = nn.ModuleList(_LinearZeros(covariates, n) for n in totals if scaled)
        self.top = _TopLaw(covariates, totals[-1], pet[-1][1:]) if mode == "paper" else None
        self.learned = _LearnedTop(pet[-1][0], pet[-1][1:]) if config.learned_top else None

    def encode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """What does not depend on the covariates: kept once per scan. With ``paper`` all levels but the top."""
        return [net(z) for net, z in zip(self.nets, latents, strict=False)]

    def decode(self, features: Sequence[Tensor], covariates: Tensor) -> LinkOutput:
        levels = list(features)
        for i, scale in enumerate(self.scales):
            levels[i] = levels[i] * (1 + _as_map(scale(covariates), levels[i]))
        for i, shift in enumerate(self.shifts):
            levels[i] = levels[i] + _as_map(shift(covariates), levels[i])
        if self.top is not None:
            levels.append(self.top(covariates))
        if self.config.authors:
            means, raws = levels, [y.new_zeros(1) for y in levels]
        else:
            means, raws = (list(parts) for parts in zip(*(y.chunk(2, 1) for y in levels), strict=True))
        if self.learned is not None:
            mean, raw = self.learned().chunk(2, 1)
            means[-1], raws[-1] = means[-1] + mean, raws[-1] + raw
        if not self.config.authors:
            raws = [_soft_bound(raw, self.config.max_log_sigma) for raw in raws]
        return LinkOutput(means, raws)


class _ResidualBlock(nn.Module):
    """Two convolutions around a shortcut; covariates scale and shift the channels between them (FiLM).

    With ``groups`` the input of both is normalised in so many groups of channels.
    """

    def __init__(self, width: int, dims: int, groups: int, covariates: int = 0) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(groups, width) for _ in range(2 if groups else 0))
        self.first = Conv(width, width, 3, dims)
        self.second = Conv(width, width, 3, dims)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        self.film = nn.Linear(covariates, 2 * width) if covariates else None

    def forward(self, x: Tensor, covariates: Tensor | None = None) -> Tensor:
        h = self.first(F.silu(self.norms[0](x) if self.norms else x))
        h = self.norms[1](h) if self.norms else h
        if self.film is not None:
            scale, shift = _as_map(self.film(covariates), x).chunk(2, 1)
            h = h * (1 + scale) + shift
        return x + self.second(F.silu(h))


def _position_features(space: Sequence[int]) -> Tensor:
    """Smooth functions of position, ``(1, 5·n, *space)``; without them a convolution has no notion of where it is."""
    maps = []
    axes = [torch.linspace(-1, 1, side) for side in space]
    for axis, x in enumerate(axes):
        for values in (x, torch.sin(math.pi * x), torch.cos(math.pi * x), torch.sin(2 * math.pi * x), x.abs()):
            maps.append(values.reshape([-1 if i == axis else 1 for i in range(len(space))]).expand(*space))
    return torch.stack(maps)[None]


def _interpolated(coarse: Tensor, space: Sequence[int]) -> Tensor:
    """Linear interpolation of ``(B, C, *spatial)`` to ``space``; one matrix an axis, a tenth of torch's own time."""
    for axis, side in enumerate(space, 2):
        corners = torch.eye(coarse.shape[axis], dtype=coarse.dtype, device=coarse.device)[None]
        weights = F.interpolate(corners, size=side, mode="linear", align_corners=False)[0]
        coarse = torch.tensordot(coarse, weights, ([axis], [0])).movedim(-1, axis)
    return coarse


class UNetLink(nn.Module):
    """A U-Net over all of the MRI's latents, brought back to the layout of the finest level.

    The way down sees the MRI alone and is kept once per scan; the way up is modulated by the covariates, so that moving
    the age slider costs only it. It gives the PET a mean image and a scale, which start at the training cohort's
    voxelwise mean and standard deviation, and the flow, which has what is left over, the log-sigma of each level's
    latent. All of the mean lies in the image; that of the latents is 0.

    What varies over the whole brain at once (one person's uptake is higher everywhere, another's lower in front) is a
    sum of ``LinkConfig.patterns`` covariance patterns of relative change, one Gaussian score each, as in the scaled
    subprofile model of FDG-PET (Moeller et al., JCBFM 7, 1987): pattern k is ``a_k(c) · l_k(x) · mean(x)`` with a
    smooth loading l_k in template space and an amplitude a_k that the covariates change. A coupling sees
    some centimetres of the image, and a diagonal law of the latents treats places as independent: without the patterns
    the region means get far too little spread.

    Age is easier to learn from than the effects of age on a brain. With plain FiLM a link that has not learned all of
    the anatomy uses age as a proxy for atrophy, and the slider shows both effects as one. ``"residual"`` conditioning
    prevents that as Robinson (1988) does in regression: only the residual of the covariates enters, what a prediction
    of them from the MRI leaves over; it carries no information on the anatomy.
    """

    def __init__(self, config: LinkConfig, shapes: list[tuple[int, ...]], covariates: int, model: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dims, widths = model.dims, config.widths
        if len(widths) != len(shapes):
            raise ValueError(f"A U-Net link needs one width per level, not {widths} for {len(shapes)} levels.")
        self.image_channels = model.channels[1]
        self.register_buffer("position", _position_features(shapes[0][1:]), persistent=False)
        shape = (1, model.channels[1], *model.shape)
        self.register_buffer("base_mean", torch.zeros(shape))
        self.register_buffer("base_log_scale", torch.zeros(shape))
        self.register_buffer("log_floor", torch.tensor(2 * math.log(model.pet_noise)), persistent=False)
        emb = 64 if config.conditioning in ("film", "residual") else 0
        self.embed = self.guess = None
        if emb:
            self.embed = nn.Sequential(nn.Linear(covariates, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.stem = Conv(model.channels[0] * 2**dims + self.position.shape[1], widths[0], 3, dims)
        self.down = nn.ModuleList(_CONV[dims](a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(Conv(b, a, 1, dims) for a, b in itertools.pairwise(widths))
        self.before = nn.ModuleList(_ResidualBlock(width, dims, config.groups) for width in widths)
        self.after = nn.ModuleList(_ResidualBlock(width, dims, config.groups, emb) for width in widths)
        self.finish = _ResidualBlock(widths[0], dims, config.groups, emb)
        self.heads = nn.ModuleList(ZeroConv(w, s[0], 1, dims) for w, s in zip(widths, shapes, strict=True))
        self.contexts = nn.ModuleList(Conv(w, c, 1, dims) for w, c in zip(widths, config.context, strict=True))
        self.image = ZeroConv(widths[0], 2 * model.channels[1] * 2**dims, 3, dims)
        if config.conditioning == "residual" and model.covariates:
            self.covariates = model.covariates
            self.guess = Discriminator((widths[-1], *shapes[-1][1:]), model.covariates, 32, 64)
        # The top level's latent lies in frequency space, where every coefficient has its own variance.
        self.top_log_sigma = nn.Parameter(torch.zeros(1, *shapes[-1]))
        self.loadings = self.amplitudes = None
        if config.patterns:
            self.register_buffer("density", torch.tensor(1.0))
            coarse = [max(2, side // _LOADING_STEP) for side in model.shape]
            self.loadings = nn.Parameter(0.02 * torch.randn(config.patterns, model.channels[1], *coarse))
            if emb:
                self.amplitudes = nn.Linear(emb, config.patterns)
                nn.init.zeros_(self.amplitudes.weight)
                nn.init.zeros_(self.amplitudes.bias)

    def set_base(self, mean: Tensor, sd: Tensor) -> None:
        """Start from the training cohort's voxelwise mean and sd, each ``(channels, *spatial)``."""
        self.base_mean.copy_(mean[None])
        self.base_log_scale.copy_(torch.log(sd[None]))

    def typical_log_sd(self) -> Tensor:
        """Log of the cohort's standard deviation, root mean square over voxels weighted by their variance."""
        variance = torch.exp(2 * self.base_log_scale)
        return 0.5 * torch.log(variance.square().sum() / variance.sum())

    def set_top(self, latent: Tensor) -> None:
        """Start the law of the top latent from the variance of each of its elements in ``latent``, ``(B, …)``.

        The variance is shrunk towards 1, as if there were four more cases with variance 1.
        """
        power = (latent.square().sum(0, keepdim=True) + 4) / (len(latent) + 4)
        bound = self.config.max_log_sigma
        share = (0.5 * torch.log(power) / bound).clamp(-0.95, 0.95)
        self.top_log_sigma.data.copy_(bound * torch.atanh(share))

    def encode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """What does not depend on the covariates: kept once per scan. One tensor per level, finest first.

        With ``"residual"`` conditioning the guess of the covariates follows them.
        """
        layers = []
        for level, z in enumerate(latents):
            for _ in range(level):
                z = unsqueeze(z)
            layers.append(z)
        x = torch.cat([*layers, self.position.expand(len(latents[0]), *self.position.shape[1:])], 1)
        x = self.stem(x)
        features = []
        for level, block in enumerate(self.before):
            if level:
                x = self.down[level - 1](x)
            x = block(x)
            features.append(x)
        return features if self.guess is None else [*features, self.guess(x)]

    def decode(self, features: Sequence[Tensor], covariates: Tensor) -> LinkOutput:
        guess = None
        if self.guess is not None:
            *features, guess = features
            covariates = surprise(self.covariates, guess.detach(), covariates)
        code = None if self.embed is None else self.embed(covariates)
        x = features[-1]
        if code is None:
            x = x.expand(max(len(x), len(covariates)), *x.shape[1:])
        means, log_sigmas, contexts = [], [], []
        for level in reversed(range(len(features))):
            if level < len(features) - 1:
                x = features[level] + F.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = self.after[level](x, code)
            raw = self.heads[level](x)
            if level == len(features) - 1:
                raw = raw + self.top_log_sigma
            means.insert(0, raw.new_zeros(1))
            log_sigmas.insert(0, _soft_bound(raw, self.config.max_log_sigma))
            contexts.insert(0, self.contexts[level](x))
        change, log_change = unsqueeze(self.image(self.finish(x, code))).chunk(2, 1)
        mean = self.base_mean + torch.exp(self.base_log_scale) * change
        log_scale = self.base_log_scale + _soft_bound(log_change, self.config.max_log_sigma)
        # No voxel is more certain than the noise that was added to it: without this floor a brain's edge that lies
        # elsewhere than foreseen is hundreds of standard deviations away, and one such case wrecks the model.
        log_scale = 0.5 * torch.logaddexp(2 * log_scale, self.log_floor)
        image = ImageLaw(mean, log_scale)
        if self.loadings is not None:
            image = image._replace(patterns=self._patterns(mean, log_scale, code), density=self.density)
        return LinkOutput(means, log_sigmas, contexts, image, guess)

    def _patterns(self, mean: Tensor, log_scale: Tensor, code: Tensor | None) -> Tensor:
        """``(B, K, C, *spatial)``, in units of exp(log_scale)."""
        space = mean.shape[2:]
        relative = _interpolated(self.loadings, space)[None]
        if self.amplitudes is not None:
            relative = relative * (1 + self.amplitudes(code)).reshape(-1, relative.shape[1], *[1] * (1 + len(space)))
        uptake = (mean.detach() + 0.5).clamp_min(0) * torch.exp(-log_scale)
        return relative * uptake[:, None]


def build_link(model: ModelConfig, mri: list[tuple[int, ...]], pet: list[tuple[int, ...]]) -> LevelwiseLink | UNetLink:
    """The link that ``model`` asks for, from latents of the shapes ``mri`` to latents of the shapes ``pet``."""
    covariates = sum(covariate.size for covariate in model.covariates)
    if model.link.kind == "unet":
        return UNetLink(model.link, pet, covariates, model)
    return LevelwiseLink(model.link, mri, pet, covariates, model.dims)
