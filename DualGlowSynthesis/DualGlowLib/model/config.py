"""The whole model in one object, and the presets by name."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

from ..errors import InputError
from ..flow import FlowConfig
from ..values import bounded, check_fields, one_of, with_values
from .covariates import DEFAULT_COVARIATES, Covariate

__all__ = ["PRESETS", "DiscriminatorConfig", "LinkConfig", "ModelConfig", "given_covariates", "preset"]

_MOST_VOXELS, _MOST_WEIGHTS = 10**8, 2 * 10**9
# What each kind of link can do with the covariates; the first is taken where nothing is said.
_CONDITIONING = {"levelwise": ("release", "film", "paper", "none"), "unet": ("film", "residual", "none")}


@dataclass(frozen=True)
class LinkConfig:
    """The network from the MRI's latents to the mean and log-sigma of the PET's.

    Attributes:
        kind: ``"levelwise"``: level i of the MRI feeds level i of the PET alone (paper, authors). ``"unet"``: a U-Net
            over all of the MRI's latents feeds every level of the PET, its coupling networks and the mean image.
        conditioning: what the covariates do. ``"paper"`` (eq. 16–17, levelwise): they alone give the law of the PET's
            top latent, in place of the MRI's; the lower levels follow the MRI alone. ``"release"`` (levelwise, its
            default): a linear map of them shifts every level, as the authors' program has it. ``"film"`` (default of
            the U-Net): they scale and shift features. ``"residual"`` (U-Net): so does what remains of them when the
            link's own guess from the MRI is taken away. ``"none"``: nothing.
        kernel, layers, hidden: of the levelwise networks; layers after the first have kernel 3.
        learned_top: levelwise: a learned mean and log-sigma at each place of the top level, whatever the MRI (the
            authors' option ``learntop``).
        authors: levelwise as the authors' program has it: leaky ReLU on the output, uniform start, no bias, sigma = 1.
        widths: channels of the U-Net at each level.
        context: channels that it gives to the PET's coupling networks at each level.
        max_log_sigma: log-sigma is bounded softly at ± this.
        groups: of the U-Net's group normalisations; 0: none.
        patterns: covariance patterns of the U-Net's image law (``UNetLink``).
        image_weight: of the squared error of the U-Net's mean image in the loss.
        guess_weight: of the loss of the guess of ``"residual"``.
    """

    kind: str = one_of("levelwise", *_CONDITIONING)
    conditioning: str = ""
    kernel: int = bounded(5, 1, 31)
    layers: int = bounded(1, 1, 64)
    hidden: int = bounded(256, 1, 8192)
    authors: bool = False
    learned_top: bool = False
    widths: tuple[int, ...] = bounded((), 1, 8192)
    context: tuple[int, ...] = bounded((), 0, 8192)
    max_log_sigma: float = bounded(3.0, 0, 50, above=True)
    groups: int = bounded(0, 0, 8192)
    patterns: int = bounded(0, 0, 4096)
    image_weight: float = bounded(1.0, 0)
    guess_weight: float = bounded(0.01, 0)

    def __post_init__(self) -> None:
        check_fields(self)
        can = [way for way in _CONDITIONING[self.kind] if not (self.authors and way == "film")]
        object.__setattr__(self, "conditioning", self.conditioning or can[0])
        if self.conditioning not in can:
            name = "authors' levelwise" if self.authors else self.kind
            raise InputError(f"conditioning is {self.conditioning!r}; a link of kind {name} can do {', '.join(can)}.")
        if self.patterns and self.kind != "unet":
            raise InputError(f"patterns of a link is {self.patterns}; only a link of kind unet has them, so set 0.")
        if self.kernel % 2 == 0:
            raise InputError(f"kernel of a link must be odd, not {self.kernel}.")
        if self.kind == "unet" and self.groups and any(width % self.groups for width in self.widths):
            raise InputError(f"groups of a link must divide its widths {self.widths}, not be {self.groups}.")


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The networks that read the covariates off the latents during training (paper §3.3), one per MRI level and one.

    Attributes:
        weight: of their losses in the objective; 0: there are none.
        reversal: factor on the reversed gradient that the MRI flow gets from all its levels but the top; 0: there the
            discriminators only watch.
        schedule: of that factor: ``"constant"``, or ``"ramp"``, from 0 to all of it as training goes on.
        width: channels of their convolutions.
        hidden: units of the layer before the heads.
    """

    weight: float = bounded(0.0, 0)
    reversal: float = bounded(1.0, 0)
    schedule: str = one_of("constant", "constant", "ramp")
    width: int = bounded(32, 1, 8192)
    hidden: int = bounded(64, 1, 8192)

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the function; together with the weights, the model.

    Attributes:
        preset: name of the preset that it came from.
        shape: spatial shape of the images, 2 or 3 sides.
        mri, pet: the two flows.
        link: the network between them.
        covariates: input of the link besides the MRI (the paper: side information).
        discriminators: networks that read the covariates off the latents in training.
        mri_weight: λ of eq. 12.
        noise: ``"uniform"``: U(0, 1/256) is added to both images in training (as if they were 8-bit, as the authors
            do); ``"gaussian"``: N(0, mri_noise²) and N(0, pet_noise²).
        mri_noise, pet_noise: standard deviations in the units of the images given to the model, which span 0..1.
        channels: channels of the MRI and of the PET.
    """

    preset: str
    shape: tuple[int, ...] = bounded(least=1, most=4096)
    mri: FlowConfig
    pet: FlowConfig
    link: LinkConfig
    covariates: tuple[Covariate, ...] = DEFAULT_COVARIATES
    discriminators: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    mri_weight: float = bounded(0.001, 0)
    noise: str = one_of("uniform", "uniform", "gaussian")
    mri_noise: float = bounded(0.01, 0)
    pet_noise: float = bounded(0.008, 0)
    channels: tuple[int, int] = bounded((1, 1), 1, 64)

    def __post_init__(self) -> None:
        object.__setattr__(self, "covariates", tuple(self.covariates))
        check_fields(self)
        if len(self.shape) not in (2, 3) or self.voxels > _MOST_VOXELS:
            raise InputError(
                f"The shape of the images must be 2 or 3 sides and at most {_MOST_VOXELS:.0e} voxels, not {self.shape}."
            )
        levels = len(self.pet.depths)
        if len(self.mri.depths) != levels:
            raise InputError("Both flows need the same number of levels.")
        if not (self.mri.split and self.pet.split):
            if self.mri.split != self.pet.split:
                raise InputError("split is on in one flow and off in the other; set it alike in mri and pet.")
            if self.link.kind == "unet" or self.link.conditioning == "paper":
                way = "a U-Net link" if self.link.kind == "unet" else "conditioning 'paper'"
                raise InputError(f"{way} needs a latent at every level; leave split on, or take another link.")
        if self.link.kind == "unet" and not len(self.link.widths) == len(self.link.context) == levels:
            raise InputError(
                f"A U-Net link needs a width and a context for each of the {levels} levels, not {self.link.widths} and "
                f"{self.link.context}."
            )
        in_context = self.link.kind == "unet" and all(self.link.context)
        if self.mri.centred or (self.pet.centred and not in_context):
            raise InputError(
                "centred can be on in pet alone, and with a U-Net link whose context is above 0 at each level."
            )
        if self.least_weights > _MOST_WEIGHTS:
            raise InputError(
                f"A model with these depths and widths has more than {_MOST_WEIGHTS:.0e} weights; make them smaller."
            )
        names = [covariate.name for covariate in self.covariates]
        for name in names:
            if not name.isprintable() or name != name.strip() or not name or "=" in name:
                raise InputError(f"A covariate is called {reprlib.repr(name)}; give it a name of letters and digits.")
            if names.count(name) > 1:
                raise InputError(f"The covariate {name} is there twice; name each once.")
        if any(side % 2**levels for side in self.shape):
            raise InputError(f"The grid {self.shape} does not divide by {2**levels}, as {levels} levels need.")
        needs = [
            f"conditioning {self.link.conditioning!r}" if self.link.conditioning == "paper" else "",
            "discriminators" if self.discriminators.weight else "",
        ]
        if not self.covariates and any(needs):
            raise InputError(
                f"There must be covariates for {' and '.join(filter(None, needs))}; give the cases some (age, sex, "
                "diagnosis, …) or choose a model without."
            )

    @property
    def least_weights(self) -> int:
        """A number that the model's weights are not below: those of its largest convolutions alone."""
        link, small, levels = self.link, 3**self.dims, len(self.pet.depths)
        count = 0
        for flow, channels in zip((self.mri, self.pet), self.channels, strict=True):
            for depth, width in zip(flow.depths, flow.widths, strict=True):
                channels *= 2**self.dims
                count += depth * width * (width + small * (channels // 2))
                channels = channels // 2 if flow.split else channels
        if link.kind == "unet":
            return count + small * sum(width * width for width in link.widths)
        inner = small * link.hidden**2 * (link.layers - 2) if link.layers > 2 else 0
        return count + levels * (link.kernel**self.dims * (link.hidden if link.layers > 1 else 1) + inner)

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
    def from_dict(cls, values: Mapping) -> ModelConfig:
        """The inverse of ``to_dict``; what was unknown when ``values`` were written takes its default.

        Raises:
            InputError: for a key that is not known, e.g. a misspelt setting.
        """
        values = dict(values)
        for key, kind in _PARTS.items():
            if key in values:
                values[key] = _build(kind, values[key])
        values["covariates"] = tuple(_build(Covariate, entry) for entry in values["covariates"])
        return _build(cls, values)

    def updated(self, values: Mapping, where: str = "model") -> ModelConfig:
        """A copy with ``values`` in place of its own, as a settings file gives them.

        Args:
            values: any of this class's attributes but ``preset`` and ``shape``; ``mri``, ``pet``, ``link`` and
                ``discriminators`` may be given in part, ``conditioning`` stands for the link's. ``covariates`` are
                names of the usual ones or objects such as ``{"name": "apoe", "kind": "categorical"}``. A model without
                covariates that is to be conditioned gets the usual ones.
            where: what to name in errors.

        Raises:
            InputError: for an unknown name, a value of another kind, or values that don't go together.
        """
        values = dict(values)
        link = values.get("link", {})
        if not isinstance(link, Mapping):
            raise InputError(f"{where}: link must be an object of settings, not {link!r}.")
        if "conditioning" in values:
            values["link"] = link = {**link, "conditioning": values.pop("conditioning")}
        covariates = values.pop("covariates", None)
        if covariates is None and not self.covariates and link.get("conditioning", "none") != "none":
            covariates = DEFAULT_COVARIATES
        elif covariates is not None:
            covariates = given_covariates(covariates, where)
        for fixed in ("preset", "shape"):
            if fixed in values:
                raise InputError(f"{where}: {fixed} is not set here; it comes with the preset and the grid.")
        return with_values(self, values, where, **({} if covariates is None else {"covariates": covariates}))


def given_covariates(given: object, where: str) -> tuple[Covariate, ...]:
    """Covariates as a settings file gives them: names of the usual ones, or objects.

    Raises:
        InputError: for what is neither; it names ``where``.
    """
    usual = {covariate.name: covariate for covariate in DEFAULT_COVARIATES}
    found = []
    for entry in given if isinstance(given, list | tuple) else [given]:
        if isinstance(entry, str) and entry in usual:
            found.append(usual[entry])
        elif isinstance(entry, Mapping) and {"name", "kind"} <= set(entry):
            own = with_values(Covariate("", "numeric"), entry, f"{where}, covariates")
            found.append(replace(own, name=own.name.strip().lower()))  # as the columns of tables are read
        else:
            raise InputError(
                f'{where}: each of covariates must be {{"name": …, "kind": …}} or {", ".join(usual)}, not {entry!r}.'
            )
    return tuple(found)


_PARTS = {"mri": FlowConfig, "pet": FlowConfig, "link": LinkConfig, "discriminators": DiscriminatorConfig}


def _build(kind: type, values: Mapping) -> object:
    if not isinstance(values, Mapping):
        raise InputError(f"The {kind.__name__} must be an object of settings, not {reprlib.repr(values)}.")
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
        # The MRI's own likelihood counts little; free to stretch, its flow presses directions flat and loses digits.
        mri=FlowConfig(depths=(2, 2, 2), widths=(24, 32, 48), mixing="rotation", bound=1.0),
        pet=FlowConfig(depths=(3, 4, 4), widths=(24, 48, 64), squeeze="haar", cosine_top=True, centred=True),
        link=LinkConfig(kind="unet", widths=(32, 64, 96), context=(8, 16, 16), groups=8, patterns=16, image_weight=4.0),
        mri_weight=0.01,
        noise="gaussian",
    )


def _paper(shape: Sequence[int]) -> ModelConfig:
    # The experiments without side information (its Table 1): the PET follows from the MRI alone.
    flow = FlowConfig(depths=(16,) * 4, widths=(512,) * 4)
    link = LinkConfig(conditioning="none")
    return ModelConfig(preset="paper", shape=shape, mri=flow, pet=flow, link=link, covariates=())


def _paper_conditional(shape: Sequence[int]) -> ModelConfig:
    # Eq. 16–17: five discriminators, reversal on all of the MRI's levels but the top, weight 0.01.
    return replace(
        _paper(shape),
        preset="paper-conditional",
        link=LinkConfig(conditioning="paper"),
        covariates=DEFAULT_COVARIATES,
        discriminators=DiscriminatorConfig(weight=0.01),
    )


def _authors(shape: Sequence[int]) -> ModelConfig:
    flow = FlowConfig(depths=(1, 4, 8, 4), widths=(512,) * 4, scale="sigmoid", mixing="dense", edge=True)
    return ModelConfig(preset="authors", shape=shape, mri=flow, pet=flow, link=LinkConfig(authors=True))


PRESETS: dict[str, Callable[[Sequence[int]], ModelConfig]] = {
    "standard": _standard,
    "paper": _paper,
    "paper-conditional": _paper_conditional,
    "authors": _authors,
}
"""Presets by name: each makes a ``ModelConfig`` for a spatial shape."""


def preset(name: str, shape: Sequence[int], **changes: object) -> ModelConfig:
    """The preset's configuration for images of spatial ``shape``.

    ``changes`` are as ``ModelConfig.updated`` takes them: ``preset("standard", shape, mri_weight=0.01)``,
    ``preset("paper", shape, conditioning="release")``.

    Raises:
        InputError: for an unknown name, a shape that does not divide by 2^levels, or changes that can't be made.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    config = PRESETS[name](tuple(shape))
    return config.updated(changes) if changes else config
