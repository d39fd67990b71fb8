"""How to train, in one object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ..bundle.licences import check_licence
from ..errors import InputError
from ..sealed import parse_json
from ..values import bounded, check_fields, one_of, with_values

__all__ = ["TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a run; with the seed they fix it.

    Attributes:
        steps: optimiser steps.
        batch: cases a step.
        learning_rate: at its highest, after ``warmup`` steps from 0; then down a cosine to a hundredth at the end.
        clip: bound of the gradient's norm, for outliers (one that acts at most steps gives every batch the same
            weight, however large its error).
        ema: decay of the average of the weights that is evaluated and bundled.
        optimizer: ``"adam"``, ``"adamax"`` (Kingma & Ba's) or ``"authors"`` (their variant of it).
        seed: of the order of cases, augmentation, noise and starting weights.
        validation: share of the subjects kept out of training to watch the loss on.
        initialize_with: cases that set the ActNorms.
        image_share: share of the steps that train the link's image law alone, where it has one (``UNetLink``): mean,
            scale and covariance patterns. It costs a fraction of a whole step, and the PET's flow, which begins
            after it, then meets what is to stay. Not in runs with discriminators.
        covariate_dropout: share of the cases of which some covariates are hidden (``model.hide_covariates``), so that
            the model knows what to make of an unknown one.
        memory: what is kept for the backward pass (``flow.set_memory``): ``"plain"`` everything, ``"checkpoint"`` the
            input of each layer's step, ``"invertible"`` the output of the flow alone.
        checkpoint_every, validate_every: in steps.
        licence: under which the model may be given away, an SPDX identifier (``bundle.licences``); empty for none.

    Raises:
        InputError: for a value of another kind, or one that no run can have.
    """

    steps: int = bounded(20000, 1, 1e9)
    batch: int = bounded(2, 1, 1e5)
    learning_rate: float = bounded(6e-4, 0, 10, above=True)
    warmup: int = bounded(200, 0, 1e9)
    clip: float = bounded(10.0, 0, above=True)
    ema: float = bounded(0.999, 0, 1 - 1e-9)
    optimizer: str = one_of("adam", "adam", "adamax", "authors")
    seed: int = bounded(0, 0)
    validation: float = bounded(0.05, 0, 0.95)
    initialize_with: int = bounded(16, 1, 1e5)
    image_share: float = bounded(0.4, 0, 1)
    covariate_dropout: float = bounded(0.2, 0, 1)
    memory: str = one_of("plain", "plain", "checkpoint", "invertible")
    checkpoint_every: int = bounded(500, 1, 1e9)
    validate_every: int = bounded(500, 1, 1e9)
    licence: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.licence:
            object.__setattr__(self, "licence", check_licence(self.licence))

    def to_dict(self) -> dict:
        return asdict(self)

    def updated(self, values: dict, where: str = "settings") -> TrainingSettings:
        """A copy with ``values`` in place of its own.

        Raises:
            InputError: for a name that is no setting, or a value of another kind.
        """
        return with_values(self, values, where)

    @classmethod
    def read(cls, path: Path | str) -> tuple[TrainingSettings, dict]:
        """Settings from a JSON file ``{"preset": …, "model": {…}, "training": {…}}``; also the rest of the file.

        A file whose name ends in .toml is the same as TOML.

        ``model`` holds changes of the preset as ``ModelConfig.updated`` takes them.

        Raises:
            InputError: if the file is missing, no JSON object or TOML, or has an unknown setting.
        """
        is_toml = Path(path).suffix.lower() == ".toml"
        try:
            text = Path(path).read_text(encoding="utf-8")
            values = _parse_toml(text, path) if is_toml else parse_json(text)
        except OSError as error:
            raise InputError(f"The settings file {path} can't be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is no {'TOML' if is_toml else 'JSON'} ({error}).") from error
        if not isinstance(values, dict) or set(values) - {"preset", "model", "training"}:
            raise InputError(f'{path} must hold {{"preset": …, "model": {{…}}, "training": {{…}}}} and nothing else.')
        for part in ("model", "training"):
            if not isinstance(values.get(part, {}), dict):
                raise InputError(f"{path}: {part} must be an object of settings, not {values[part]!r}.")
        return cls().updated(values.pop("training", {}), str(path)), values


def _parse_toml(text: str, path: Path | str) -> dict:
    try:
        import tomllib
    except ModuleNotFoundError:
        raise InputError(f"{path} needs Python 3.11 or newer, which reads TOML; write the settings as JSON.") from None
    return tomllib.loads(text)
