"""The multi-scale flow: squeeze, K steps, split; again at each level (Dinh et al. 2017; paper, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..values import bounded, check_fields, one_of
from .actnorm import ActNorm
from .coupling import AffineCoupling
from .frequency import CosineTransform
from .invconv import DenseConv, PLUConv, RotationConv
from .reversible import MEMORY_MODES, run_steps
from .squeeze import haar_squeeze, haar_unsqueeze, squeeze, unsqueeze
from .transform import Transform, full

__all__ = ["FlowConfig", "FlowStep", "MultiScaleFlow"]

_MIXING = {"dense": DenseConv, "plu": PLUConv, "rotation": RotationConv}
_MOST_LEVELS = 10
_SQUEEZE = {"reorder": (squeeze, unsqueeze), "haar": (haar_squeeze, haar_unsqueeze)}


@dataclass(frozen=True)
class FlowConfig:
    """What a flow is made of.

    Attributes:
        depths: steps at each level, finest first; its length is the number of levels.
        widths: channels inside the coupling networks at each level.
        scale: ``"exp"`` or ``"sigmoid"`` (``AffineCoupling``).
        bound: of a coupling's log-scale with ``"exp"``.
        mixing: ``"plu"``, ``"dense"`` or ``"rotation"``: the invertible 1×1 convolution.
        squeeze: ``"reorder"`` (Glow) or ``"haar"``, whose mean band the mixings leave alone at the start: what varies
            slowly then goes on to the next level, instead of leaving with half of the channels it was mixed into.
        edge: let coupling networks see the image's edge (Glow's extra channel).
        cosine_top: cosine transform over space at the end of the top level.
        centred: the flow maps 0 to 0, so that the latent mode is the image 0. In a common flow the networks meet at the
            mode what they never met in training, inputs without noise, and what comes out there is far from the mean.
        split: half of the channels leave after each level as that level's latent (hierarchical). Off, all go through
            all levels (flat): one latent, at the top.
    """

    depths: tuple[int, ...] = bounded(least=1, most=256)
    widths: tuple[int, ...] = bounded(least=1, most=8192)
    scale: str = one_of("exp", "exp", "sigmoid")
    mixing: str = one_of("plu", *_MIXING)
    squeeze: str = one_of("reorder", *_SQUEEZE)
    edge: bool = False
    cosine_top: bool = False
    centred: bool = False
    bound: float = bounded(2.0, 0, 100, above=True)
    split: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.depths) != len(self.widths) or not 1 <= len(self.depths) <= _MOST_LEVELS:
            raise InputError(f"A flow needs a depth and a width per level, not {self.depths} and {self.widths}.")

    def to_dict(self) -> dict:
        return asdict(self)


class FlowStep(Transform):
    """ActNorm, 1×1 convolution, affine coupling: Glow's step."""

    def __init__(self, channels: int, width: int, dims: int, config: FlowConfig, context: int = 0) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels, dims, config.centred)
        self.mixing = _MIXING[config.mixing](channels, still=channels // 2**dims if config.squeeze == "haar" else 0)
        self.coupling = AffineCoupling(
            channels, width, dims, config.scale, context, config.edge, config.bound, config.centred
        )

    def layers(self) -> tuple[Transform, ...]:
        return self.actnorm, self.mixing, self.coupling

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, first = self.actnorm(x)
        x, second = self.mixing(x)
        x, third = self.coupling(x, context)
        return x, first + second + third

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.actnorm.inverse(self.mixing.inverse(self.coupling.inverse(z, context)))


class MultiScaleFlow(nn.Module):
    """Image to one latent per level and back, with the exact log-determinant.

    At each level the tensor is squeezed and goes through K steps; then the second half of the channels leaves as that
    level's latent and the first half goes on. What is left at the top level is the last latent. Without
    ``config.split`` nothing leaves early, and the top's is the only latent. ``set_memory`` chooses how much memory
    training takes.

    Args:
        channels: image channels.
        dims: 2 or 3.
        config: depths, widths and kinds of layers.
        context: channels of the context tensor at each level (0: none).
    """

    def __init__(self, channels: int, dims: int, config: FlowConfig, context: Sequence[int] | None = None) -> None:
        super().__init__()
        self.channels = channels
        self.dims = dims
        self.config = config
        self._squeeze, self._unsqueeze = _SQUEEZE[config.squeeze]
        self.levels = nn.ModuleList()
        inside = channels
        for level, (depth, width) in enumerate(zip(config.depths, config.widths, strict=True)):
            inside *= 2**dims
            extra = context[level] if context else 0
            self.levels.append(nn.ModuleList(FlowStep(inside, width, dims, config, extra) for _ in range(depth)))
            if config.split:
                inside //= 2
        self.top = CosineTransform() if config.cosine_top else None
        self.memory_mode = MEMORY_MODES[0]

    def latent_shapes(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """Shape of each latent, ``(channels, *spatial)``, finest first, for an image of spatial ``shape``.

        Raises:
            ValueError: if a side does not divide by 2^levels.
        """
        count = len(self.levels)
        if any(side % 2**count for side in shape):
            raise ValueError(f"Sides {tuple(shape)} must divide by {2**count} for {count} levels.")
        shapes, inside = [], self.channels
        for level in range(count):
            inside *= 2**self.dims
            space = tuple(side // 2 ** (level + 1) for side in shape)
            if self._splits(level):
                shapes.append((inside - inside // 2, *space))
                inside //= 2
        return [*shapes, (inside, *space)]

    def _splits(self, level: int) -> bool:
        """Whether a latent leaves after ``level``."""
        return self.config.split and level < len(self.levels) - 1

    def forward(self, x: Tensor, contexts: Sequence[Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
        """``(B, C, *spatial)`` to the latents, finest first, and log|det| of shape ``(B,)``."""
        x = full(x)
        latents, log_det = [], x.new_zeros(x.shape[0])
        for level, steps in enumerate(self.levels):
            x = self._squeeze(x)
            x, change = run_steps(steps, x, contexts[level] if contexts else None, self.memory_mode)
            log_det = log_det + change
            if self._splits(level):
                half = x.shape[1] // 2
                latents.append(x[:, half:])
                x = x[:, :half]
        if self.top is not None:
            x, change = self.top(x)
            log_det = log_det + change
        return [*latents, x], log_det

    def inverse(self, latents: Sequence[Tensor], contexts: Sequence[Tensor] | None = None) -> Tensor:
        """The image that ``forward`` maps to ``latents`` under the same ``contexts``."""
        count = len(self.levels) if self.config.split else 1
        if len(latents) != count:
            raise ValueError(f"This flow has {count} latents, not {len(latents)}.")
        latents = [full(z) for z in latents]
        x = latents[-1]
        if self.top is not None:
            x = self.top.inverse(x)
        for level in reversed(range(len(self.levels))):
            if self._splits(level):
                x = torch.cat([x, latents[level]], 1)
            for step in reversed(self.levels[level]):
                x = step.inverse(x, contexts[level] if contexts else None)
            x = self._unsqueeze(x)
        return x
