"""How to train, in one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..bundle.licences import check_licence
from ..errors import InputError
from ..sealed import parse_json
from ..values import bounded, check_fields, one_of, with_values

__all__ = ["PRESET_TRAINING", "TrainingSettings", "steps_per_epoch"]

_PAPER = {
    "epochs": 90,
    "batch": 1,
    "learning_rate": 1e-3,
    "warmup": 0,
    "schedule": "constant",
    "optimizer": "adamax",
    "augment": False,
    "covariate_dropout": 0.0,
}
PRESET_TRAINING: dict[str, dict] = {
    "paper": _PAPER,
    "paper-conditional": _PAPER,
    "authors": {**_PAPER, "optimizer": "authors", "ema": 0.0},  # they never use their average
}
"""How a preset is trained where the default is another: the paper's appendix, and the authors' program."""


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a run; with the seed they fix it.

    Attributes:
        steps: optimiser steps.
        epochs: passes through the cases, in place of ``steps``; 0: as many steps as that says.
        batch: cases a step.
        accumulate: pieces that the batch of a step is computed in, one after the other, which takes less memory; the
            gradient is that of the whole batch.
        learning_rate: at its highest, after ``warmup`` steps from 0.
        schedule: of the learning rate then: ``"cosine"``, down to a hundredth at the end, or ``"constant"``.
        clip: bound of the gradient's norm, for outliers (one that acts at most steps gives every batch the same
            weight, however large its error).
        ema: decay of the average of the weights that is evaluated and bundled.
        optimizer: ``"adam"``, ``"adamw"`` (with decoupled weight decay), ``"adamax"`` (Kingma & Ba's) or ``"authors"``
            (their variant of that).
        weight_decay: of ``adamw``: share that the weights of convolutions and linear maps lose a step, times the
            learning rate.
        precision: ``"float32"``, or ``"bf16"``: the networks in bfloat16 where the device has it (``has_bfloat16``),
            whatever is inverted and all log-determinants in float32. Elsewhere all is float32.
        augment: whether cases are flipped, and their T1's intensities changed a little.
        seed: of the order of cases, augmentation, noise and starting weights.
        validation: share of the subjects kept out of training to watch the loss on.
        patience: the run ends after so many validations in a row without a lower held-out loss, and the averaged
            weights with the lowest are its model; 0: it goes on to the last step, whose averaged weights are. Counted
            once the PET's flow is trained, since the loss is another before.
        initialize_with: cases that set the ActNorms.
        image_share: share of the steps that train the link's image law alone, where it has one (``UNetLink``): mean,
            scale and covariance patterns. It costs a fraction of a whole step, and the PET's flow, which begins
            after it, then meets what is to stay. Not in runs with discriminators.
        known_mean: the mean of the link's image law is trained on the mean that each PET was drawn around, which a
            simulated cohort states (``truth/``), in place of the PET, which is noisier; scale, patterns and flow learn
            from the PETs as ever.
        covariate_dropout: share of the cases of which some covariates are hidden (``model.hide_covariates``), so that
            the model knows what to make of an unknown one.
        memory: what is kept for the backward pass (``flow.set_memory``): ``"plain"`` everything, ``"checkpoint"`` the
            input of each layer's step, ``"invertible"`` the output of the flow alone.
        sharding: in a run of several processes, ``"none"``: each has the whole model; ``"full"``: each has a part of
            its weights, their gradients and moments, for a model that one device can't hold.
        checkpoint_every, validate_every: in steps.
        data: where the cases are while they are trained on: ``"memory"``, ``"disk"``, from which processes read ahead,
            or ``"auto"``: by their size.
        workers: such processes.
        tensorboard: whether event files for TensorBoard are written, beside the history and its table.
        sampled_cases: cases kept out of which PETs are drawn at each validation, for PSNR, CRPS and pictures.
        licence: under which the model may be given away, an SPDX identifier (``bundle.licences``); empty for none.

    Raises:
        InputError: for a value of another kind, or one that no run can have.
    """

    steps: int = bounded(20000, 1, 1e9)
    epochs: int = bounded(0, 0, 1e7)
    batch: int = bounded(2, 1, 1e5)
    accumulate: int = bounded(1, 1, 1e5)
    learning_rate: float = bounded(6e-4, 0, 10, above=True)
    warmup: int = bounded(200, 0, 1e9)
    schedule: str = one_of("cosine", "cosine", "constant")
    clip: float = bounded(10.0, 0, above=True)
    ema: float = bounded(0.999, 0, 1 - 1e-9)
    optimizer: str = one_of("adam", "adam", "adamw", "adamax", "authors")
    weight_decay: float = bounded(0.01, 0, 1)
    precision: str = one_of("float32", "float32", "bf16")
    augment: bool = True
    seed: int = bounded(0, 0)
    validation: float = bounded(0.05, 0, 0.95)
    patience: int = bounded(0, 0, 1e9)
    initialize_with: int = bounded(16, 1, 1e5)
    image_share: float = bounded(0.4, 0, 1)
    known_mean: bool = False
    covariate_dropout: float = bounded(0.2, 0, 1)
    memory: str = one_of("plain", "plain", "checkpoint", "invertible")
    sharding: str = one_of("none", "none", "full")
    checkpoint_every: int = bounded(500, 1, 1e9)
    validate_every: int = bounded(500, 1, 1e9)
    data: str = one_of("auto", "auto", "memory", "disk")
    workers: int = bounded(2, 0, 64)
    tensorboard: bool = False
    sampled_cases: int = bounded(4, 0, 1e5)
    licence: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.licence:
            object.__setattr__(self, "licence", check_licence(self.licence))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def of_preset(cls, name: object) -> TrainingSettings:
        """Those that belong to a preset of the model; the defaults for one that has none, or that isn't known."""
        return cls(**PRESET_TRAINING.get(name, {})) if isinstance(name, str) else cls()

    def in_steps(self, cases: int) -> TrainingSettings:
        """A copy whose ``steps`` are what its ``epochs`` come to with so many cases to train on."""
        return replace(self, steps=self.epochs * steps_per_epoch(cases, self.batch)) if self.epochs else self

    def updated(self, values: dict, where: str = "settings") -> TrainingSettings:
        """A copy with ``values`` in place of its own; steps that are given alone take the place of epochs.

        Raises:
            InputError: for a name that is no setting, or a value of another kind.
        """
        return with_values(self, {"epochs": 0, **values} if "steps" in values else values, where)

    @classmethod
    def read(
        cls,
        path: Path | str,
        begun: TrainingSettings | None = None,
        usual: Callable[[object], TrainingSettings] | None = None,
    ) -> tuple[TrainingSettings, dict]:
        """Settings from a JSON file ``{"preset": …, "model": {…}, "training": {…}}``; also the rest of the file.

        A file whose name ends in .toml is the same as TOML.

        ``model`` holds changes of the preset as ``ModelConfig.updated`` takes them, ``training`` those of the settings
        that belong to the preset (``usual`` tells, by default ``of_preset``), or of ``begun``, with which a run began.
        ``method``, which may be there too, names a baseline.

        Raises:
            InputError: if the file is missing, no JSON object or TOML, or has an unknown setting.
        """
        is_toml = Path(path).suffix.lower() == ".toml"
        try:
            text = Path(path).read_text(encoding="utf-8")
            values = _parse_toml(text, path) if is_toml else parse_json(text)
        except OSError as error:
            raise InputError(f"The settings file {path} can't be read ({error.strerror}).") from error
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is no {'TOML' if is_toml else 'JSON'} ({error}).") from error
        return cls.from_values(values, str(path), begun, usual)

    @classmethod
    def from_values(
        cls,
        values: object,
        where: str,
        begun: TrainingSettings | None = None,
        usual: Callable[[object], TrainingSettings] | None = None,
    ) -> tuple[TrainingSettings, dict]:
        """As ``read``, of what such a file holds.

        Raises:
            InputError: if it is no object, or has an unknown setting.
        """
        if not isinstance(values, dict):
            raise InputError(f'{where} must hold {{"preset": …, "model": {{…}}, "training": {{…}}}}.')
        if unknown := set(values) - {"method", "preset", "model", "training"}:
            raise InputError(
                f"{where}: {min(unknown)!r} is no part of the settings; there are preset or method, model, training."
            )
        for part in ("model", "training"):
            if not isinstance(values.get(part, {}), dict):
                raise InputError(f"{where}: {part} must be an object of settings, not {values[part]!r}.")
        base = begun or (usual or cls.of_preset)(values.get("preset"))
        return base.updated(values.get("training", {}), where), {
            key: value for key, value in values.items() if key != "training"
        }


def steps_per_epoch(cases: int, batch: int) -> int:
    """Batches in one pass through the cases; what is left over is shuffled into the next."""
    return max(1, cases // min(batch, max(1, cases)))


def _parse_toml(text: str, path: Path | str) -> dict:
    try:
        import tomllib
    except ModuleNotFoundError:
        raise InputError(f"{path} needs Python 3.11 or newer, which reads TOML; write the settings as JSON.") from None
    return tomllib.loads(text)
