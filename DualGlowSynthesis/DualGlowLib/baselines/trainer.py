"""A run of a baseline: the same folder, checkpoints, history and bundle as a run of the model."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import torch

from ..errors import InputError
from ..training.data import Cohort, step_generator
from ..training.loop import Trainer
from ..training.settings import TrainingSettings
from ..volumes.grid import Grid
from .method import Losses, Method, MethodConfig, seeded
from .methods import make, method_named

__all__ = ["MethodTrainer"]

_STREAM = 5  # of the random numbers of a step: those that are drawn inside the method


class MethodTrainer(Trainer):
    """Trains a ``Method``, all of its networks by one optimiser.

    A method in closed form takes one step, which changes nothing: it is fitted before.
    """

    def __init__(
        self,
        folder: Path,
        config: MethodConfig,
        settings: TrainingSettings,
        grid: Grid,
        train: Cohort,
        validation: Cohort,
        device: torch.device | str = "cpu",
        **others,
    ) -> None:
        if getattr(others.get("ranks"), "count", 1) > 1:
            raise InputError(f"The method {config.method} is trained by one process; start it without torchrun.")
        self.is_closed = method_named(config.method).is_closed
        if self.is_closed:
            settings = replace(settings, steps=1, epochs=0, patience=0)
        super().__init__(folder, config, settings, grid, train, validation, device, **others)

    def build(self) -> Method:
        return make(self.config, self.train_cases.pet_scale, for_training=True)

    def _placed(self, model: Method) -> Method:
        return model.to(self.device)  # what is no image has no layout of its own on a GPU

    def start(self) -> None:
        self.joint = True
        self.model.begin(self.train_cases)

    def _optimizer(self) -> torch.optim.Optimizer:
        nothing = [torch.zeros(1, requires_grad=True)]
        return torch.optim.SGD(nothing, lr=1.0) if self.is_closed else super()._optimizer()

    @property
    def _samples_here(self) -> bool:
        return False

    def _seeded(self, step: int) -> AbstractContextManager[None]:
        """The random numbers of a step, whenever it is taken."""
        return seeded(step_generator(self.settings.seed, step, _STREAM).initial_seed(), self.device)

    def _gradients(self, joint: bool) -> Losses:
        with self._seeded(self.step), torch.set_grad_enabled(not self.is_closed):
            if not self.is_closed:
                return super()._gradients(joint)
            batch = self.feed.batch(self.step)
            pet, mri, covariates = self._tensors(batch, len(batch.pet), self.step)
            return self.model(pet, mri, covariates)

    def validate(self) -> dict:
        with self._seeded(0):
            return super().validate()

    @staticmethod
    def stated(event: dict) -> dict[str, float]:
        return {
            key: value for key, value in event.items() if key in ("loss", "validation_loss") and math.isfinite(value)
        }

    def finish(self, model: Method) -> None:
        with self._seeded(0):
            model.finish(self.train_cases, self.validation_cases)

    def _stated(self, values: dict) -> MethodConfig | None:
        try:
            return self.config.read(values)
        except InputError:
            return None
