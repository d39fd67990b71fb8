"""The link (the paper: relation network): from the MRI's latents and the covariates to the law of the PET's latents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..flow import Conv, ZeroConv, unsqueeze
from .config import LinkConfig, ModelConfig

__all__ = ["LevelwiseLink", "LinkOutput", "UNetLink", "build_link"]

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}


@dataclass
class LinkOutput:
    """The law of z_p: N(mean, exp(log_sigma)²) per element and level (eq. 6 and 17), and what else the PET flow uses.

    Attributes:
        means, log_sigmas: one tensor per level, finest first, shaped as (or broadcasting to) that level's latent.
        contexts: input of the PET's coupling networks per level, or None.
        image: mean and log-scale of the PET image itself, each ``(B, 1, *spatial)``, or None.
    """

    means: list[Tensor]
    log_sigmas: list[Tensor]
    contexts: list[Tensor] | None = None
    image: tuple[Tensor, Tensor] | None = None


def _soft_bound(x: Tensor, bound: float) -> Tensor:
    return bound * torch.tanh(x / bound)


class LevelwiseLink(nn.Module):
    """Level i of the MRI to level i of the PET by a small convolutional network; covariates shift every mean.

    With ``authors`` it computes what the authors' program does: 5ⁿ convolution without bias, leaky ReLU (0.2) on the
    output, sigma = 1. Otherwise linear heads for mean and log-sigma that start at zero.
    """

    def __init__(self, config: LinkConfig, shapes: list[tuple[int, ...]], covariates: int, dims: int) -> None:
        super().__init__()
        self.config = config
        self.nets = nn.ModuleList()
        self.shifts = nn.ParameterList()
        for channels, *_ in shapes:
            layers: list[nn.Module] = []
            inside = channels
            for _ in range(config.layers - 1):
                layers += [Conv(inside, config.hidden, config.kernel, dims), nn.ReLU()]
                inside = config.hidden
            outputs = channels if config.authors else 2 * channels
            head = Conv(inside, outputs, config.kernel, dims, bias=not config.authors)
            if config.authors:
                nn.init.uniform_(head.weight, -0.05, 0.05)
            else:
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
            self.nets.append(nn.Sequential(*layers, head))
            self.shifts.append(nn.Parameter(torch.zeros(covariates, outputs)))

    def encode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """What does not depend on the covariates: kept once per scan."""
        outputs = [net(z) for net, z in zip(self.nets, latents, strict=True)]
        return [F.leaky_relu(y, 0.2) for y in outputs] if self.config.authors else outputs

    def decode(self, features: Sequence[Tensor], covariates: Tensor) -> LinkOutput:
        means, log_sigmas = [], []
        for y, shift in zip(features, self.shifts, strict=True):
            y = y + (covariates @ shift).reshape(len(covariates), -1, *[1] * (y.dim() - 2))
            if self.config.authors:
                means.append(y)
                log_sigmas.append(y.new_zeros(1))
            else:
                mean, raw = y.chunk(2, 1)
                means.append(mean)
                log_sigmas.append(_soft_bound(raw, self.config.max_log_sigma))
        return LinkOutput(means, log_sigmas)


class _ResidualBlock(nn.Module):
    """Two convolutions around a shortcut; covariates scale and shift the channels between them (FiLM)."""

    def __init__(self, width: int, dims: int, covariates: int = 0) -> None:
        super().__init__()
        self.first = Conv(width, width, 3, dims)
        self.second = Conv(width, width, 3, dims)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        self.film = nn.Linear(covariates, 2 * width) if covariates else None

    def forward(self, x: Tensor, covariates: Tensor | None = None) -> Tensor:
        h = self.first(F.silu(x))
        if self.film is not None:
            scale, shift = self.film(covariates).reshape(len(covariates), -1, *[1] * (x.dim() - 2)).chunk(2, 1)
            h = h * (1 + scale) + shift
        return x + self.second(F.silu(h))


def _position_features(space: Sequence[int]) -> Tensor:
    """Smooth functions of the place, ``(1, 5·n, *space)``: a convolution can't tell cuneus from precuneus otherwise."""
    maps = []
    axes = [torch.linspace(-1, 1, side) for side in space]
    for axis, x in enumerate(axes):
        for values in (x, torch.sin(math.pi * x), torch.cos(math.pi * x), torch.sin(2 * math.pi * x), x.abs()):
            maps.append(values.reshape([-1 if i == axis else 1 for i in range(len(space))]).expand(*space))
    return torch.stack(maps)[None]


class UNetLink(nn.Module):
    """A U-Net over all of the MRI's latents, brought back to the layout of the finest level.

    The way down sees the MRI alone and is kept once per scan; the way up is modulated by the covariates, so that moving
    the age slider costs only it. It gives the PET a mean image and a scale, which start at the training cohort's
    voxelwise mean and standard deviation, and the flow, which has what is left over, the log-sigma of each level's
    latent. All of the mean lies in the image; that of the latents is 0.
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
        emb = 64
        self.embed = nn.Sequential(nn.Linear(covariates, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.stem = Conv(model.channels[0] * 2**dims + self.position.shape[1], widths[0], 3, dims)
        self.down = nn.ModuleList(_CONV[dims](a, b, 2, stride=2) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(Conv(b, a, 1, dims) for a, b in itertools.pairwise(widths))
        self.before = nn.ModuleList(_ResidualBlock(width, dims) for width in widths)
        self.after = nn.ModuleList(_ResidualBlock(width, dims, emb) for width in widths)
        self.finish = _ResidualBlock(widths[0], dims, emb)
        self.heads = nn.ModuleList(ZeroConv(w, s[0], 1, dims) for w, s in zip(widths, shapes, strict=True))
        self.contexts = nn.ModuleList(Conv(w, c, 1, dims) for w, c in zip(widths, config.context, strict=True))
        self.image = ZeroConv(widths[0], 2 * model.channels[1] * 2**dims, 3, dims)
        # The top level's latent lies in frequency space, where every coefficient has its own variance.
        self.top_log_sigma = nn.Parameter(torch.zeros(1, *shapes[-1]))

    def set_base(self, mean: Tensor, sd: Tensor) -> None:
        """Take the training cohort's voxelwise mean and sd, each ``(channels, *spatial)``, as where to start from."""
        self.base_mean.copy_(mean[None])
        self.base_log_scale.copy_(torch.log(sd[None]))

    def encode(self, latents: Sequence[Tensor]) -> list[Tensor]:
        """What does not depend on the covariates: kept once per scan. One tensor per level, finest first."""
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
        return features

    def decode(self, features: Sequence[Tensor], covariates: Tensor) -> LinkOutput:
        code = self.embed(covariates)
        x = features[-1]
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
        return LinkOutput(means, log_sigmas, contexts, (mean, log_scale))


def build_link(model: ModelConfig, shapes: list[tuple[int, ...]]) -> LevelwiseLink | UNetLink:
    """The link that ``model`` asks for, between latents of the given shapes."""
    covariates = sum(covariate.size for covariate in model.covariates)
    if model.link.kind == "unet":
        return UNetLink(model.link, shapes, covariates, model)
    if model.link.kind == "levelwise":
        return LevelwiseLink(model.link, shapes, covariates, model.dims)
    raise ValueError(f"There is no link of kind {model.link.kind!r}.")
