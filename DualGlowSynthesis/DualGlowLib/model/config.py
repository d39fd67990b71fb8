"""The whole model in one object, and the presets by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields

from ..errors import InputError
from ..flow import FlowConfig
from .covariates import DEFAULT_COVARIATES, Covariate

__all__ = ["PRESETS", "LinkConfig", "ModelConfig", "preset"]


@dataclass(frozen=True)
class LinkConfig:
    """The network from the MRI's latents to the mean and log-sigma of the PET's.

    Attributes:
        kind: ``"levelwise"``: level i of the MRI feeds level i of the PET alone (paper, authors). ``"unet"``: a U-Net
            over all of the MRI's latents feeds every level of the PET, its coupling networks and the mean image.
        kernel, layers, hidden: of the levelwise networks.
        authors: levelwise as the authors' program has it: leaky ReLU on the output, uniform start, no bias, sigma = 1.
        widths: channels of the U-Net at each level.
        context: channels that it gives to the PET's coupling networks at each level.
        max_log_sigma: log-sigma is bounded softly at ± this.
        image_weight: of the U-Net's mean image and scale as a Gaussian of their own in the loss.
    """

    kind: str = "levelwise"
    kernel: int = 5
    layers: int = 1
    hidden: int = 256
    authors: bool = False
    widths: tuple[int, ...] = ()
    context: tuple[int, ...] = ()
    max_log_sigma: float = 3.0
    image_weight: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "context", tuple(self.context))


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the function; together with the weights, the model.

    Attributes:
        preset: name of the preset that it came from.
        shape: spatial shape of the images, 2 or 3 sides.
        mri, pet: the two flows.
        link: the network between them.
        covariates: what the link is told besides the MRI.
        mri_weight: λ of eq. 12.
        noise: ``"uniform"``: U(0, 1/256) is added to both images in training (as if they were 8-bit, as the authors
            do); ``"gaussian"``: N(0, mri_noise²) and N(0, pet_noise²).
        mri_noise, pet_noise: standard deviations in the units of the images given to the model, which span 0..1.
        channels: channels of the MRI and of the PET.
    """

    preset: str
    shape: tuple[int, ...]
    mri: FlowConfig
    pet: FlowConfig
    link: LinkConfig
    covariates: tuple[Covariate, ...] = DEFAULT_COVARIATES
    mri_weight: float = 0.001
    noise: str = "uniform"
    mri_noise: float = 0.01
    pet_noise: float = 0.008
    channels: tuple[int, int] = field(default=(1, 1))

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "covariates", tuple(self.covariates))
        levels = len(self.pet.depths)
        if len(self.mri.depths) != levels:
            raise ValueError("Both flows need the same number of levels.")
        if any(side % 2**levels for side in self.shape):
            raise InputError(f"The grid {self.shape} does not divide by {2**levels}, as {levels} levels need.")

    @property
    def dims(self) -> int:
        return len(self.shape)

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    def to_dict(self) -> dict:
        values = asdict(self)
        values["covariates"] = [covariate.to_dict() for covariate in self.covariates]
        return values

    @classmethod
    def from_dict(cls, values: dict) -> ModelConfig:
        """The inverse of ``to_dict``.

        Raises:
            InputError: for a key that is not known, e.g. a misspelt setting.
        """
        values = dict(values)
        for key, kind in (("mri", FlowConfig), ("pet", FlowConfig), ("link", LinkConfig)):
            values[key] = _build(kind, values[key])
        values["covariates"] = tuple(_build(Covariate, entry) for entry in values["covariates"])
        return _build(cls, values)


def _build(kind: type, values: dict) -> object:
    unknown = set(values) - {entry.name for entry in fields(kind)}
    if unknown:
        raise InputError(f"{', '.join(sorted(unknown))}: no such setting of {kind.__name__}.")
    return kind(**values)


def _standard(shape: Sequence[int]) -> ModelConfig:
    # Three levels: at the grids that hold a brain in 2 to 3.4 mm voxels, a fourth costs most of the parameters (1×1
    # convolutions over 512 channels) for what the cosine transform at the top does better.
    return ModelConfig(
        preset="standard",
        shape=shape,
        mri=FlowConfig(depths=(2, 2, 2), widths=(24, 32, 48)),
        pet=FlowConfig(depths=(3, 4, 4), widths=(24, 48, 64), squeeze="haar", cosine_top=True, centred=True),
        link=LinkConfig(kind="unet", widths=(24, 64, 96), context=(8, 16, 16)),
        noise="gaussian",
    )


def _paper(shape: Sequence[int]) -> ModelConfig:
    flow = FlowConfig(depths=(16,) * 4, widths=(512,) * 4)
    return ModelConfig(preset="paper", shape=shape, mri=flow, pet=flow, link=LinkConfig())


def _authors(shape: Sequence[int]) -> ModelConfig:
    flow = FlowConfig(depths=(1, 4, 8, 4), widths=(512,) * 4, scale="sigmoid", mixing="dense", edge=True)
    return ModelConfig(preset="authors", shape=shape, mri=flow, pet=flow, link=LinkConfig(authors=True))


PRESETS: dict[str, Callable[[Sequence[int]], ModelConfig]] = {
    "standard": _standard,
    "paper": _paper,
    "authors": _authors,
}
"""Presets by name: each makes a ``ModelConfig`` for a spatial shape."""


def preset(name: str, shape: Sequence[int]) -> ModelConfig:
    """The preset's configuration for images of spatial ``shape``.

    Raises:
        InputError: for an unknown name, or a shape that does not divide by 2^levels.
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    return PRESETS[name](tuple(shape))
