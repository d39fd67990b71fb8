"""How to train, in one object."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError
from ..sealed import parse_json
from ..values import with_values

__all__ = ["TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a run; with the seed they fix it.

    Attributes:
        steps: optimiser steps.
        batch: cases a step. On a CPU at least 2: see ``flow.convolve``.
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
    """

    steps: int = 20000
    batch: int = 2
    learning_rate: float = 6e-4
    warmup: int = 200
    clip: float = 10.0
    ema: float = 0.999
    optimizer: str = "adam"
    seed: int = 0
    validation: float = 0.05
    initialize_with: int = 16
    image_share: float = 0.4
    covariate_dropout: float = 0.2
    memory: str = "plain"
    checkpoint_every: int = 500
    validate_every: int = 500

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

        ``model`` holds changes of the preset as ``ModelConfig.updated`` takes them.

        Raises:
            InputError: if the file is missing, no JSON object, or has an unknown setting.
        """
        try:
            values = parse_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"The settings file {path} can't be read ({error.strerror}).") from error
        except ValueError as error:
            raise InputError(f"{path} is no JSON ({error}).") from error
        if not isinstance(values, dict) or set(values) - {"preset", "model", "training"}:
            raise InputError(f'{path} must hold {{"preset": …, "model": {{…}}, "training": {{…}}}} and nothing else.')
        for part in ("model", "training"):
            if not isinstance(values.get(part, {}), dict):
                raise InputError(f"{path}: {part} must be an object of settings, not {values[part]!r}.")
        return cls().updated(values.pop("training", {}), str(path)), values
