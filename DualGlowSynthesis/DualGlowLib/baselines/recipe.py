"""How ``training.run.train`` trains a baseline in place of DUAL-GLOW."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from ..training.run import Recipe
from ..training.settings import TrainingSettings
from .method import Method, MethodConfig
from .methods import make, method_named
from .trainer import MethodTrainer

__all__ = ["MethodRecipe", "recipe", "usual_config"]


def usual_config(method: str, shape: tuple[int, ...] = ()) -> MethodConfig:
    """A method with its own settings and covariates.

    Raises:
        InputError: if there is none of that name.
    """
    kind = method_named(method)
    return MethodConfig(method, shape, kind.covariates, kind.settings_type())


class MethodRecipe(Recipe):
    """That of a baseline.

    Args:
        method: its name.

    Raises:
        InputError: if there is none of that name.
    """

    trainer = MethodTrainer

    def __init__(self, method: str) -> None:
        self.method, self._kind = method, method_named(method)

    def settings(self, preset: object = None) -> TrainingSettings:
        return TrainingSettings(**self._kind.training_settings)

    def config(self, preset_name: str | None, changes: Mapping, shape: tuple[int, ...]) -> MethodConfig:
        if preset_name is not None:
            raise InputError(f"{preset_name!r} is a preset of DUAL-GLOW; leave it out with --method {self.method}.")
        config = usual_config(self.method, shape).changed(changes, "model")
        self._kind.check(config)
        return config

    def read(self, values: Mapping) -> MethodConfig:
        return usual_config(self.method).read(values)

    def model(self, config: MethodConfig) -> Method:
        return make(config, for_training=True)


def recipe(name: str | None) -> Recipe:
    """That of a baseline; for None that of DUAL-GLOW.

    Raises:
        InputError: if there is no method of that name.
    """
    return Recipe() if name is None else MethodRecipe(name)
