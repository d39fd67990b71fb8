"""Early stopping: the averaged weights with the lowest held-out loss so far, and how long ago that was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from .checkpoints import Checkpoints

__all__ = ["Best"]


class Best:
    """The best averaged weights of a run, in ``best-STEP.safetensors`` with a JSON file that has the checksum.

    The files of an earlier best stay as long as one of the last two checkpoints knows it as the best, so that a run
    that goes on from there has it.

    Attributes:
        step: after which the weights were the best; 0: there are none yet.
        loss: of the cases kept out, at that step.
        waited: validations since.
    """

    def __init__(self, folder: Path) -> None:
        self._files = Checkpoints(folder, "best")
        self.step, self.loss, self.waited = 0, math.inf, 0
        self._before = 0  # what was the best at the checkpoint before the last
        self._saved = 0  # and at the last

    def to_dict(self) -> dict:
        """What a checkpoint, which is about to be written, is to know of it."""
        return {"step": self.step, "loss": self.loss, "waited": self.waited, "before": self._saved}

    def saved(self) -> None:
        """That checkpoint was written."""
        self._before, self._saved = self._saved, self.step

    def restore(self, values: Mapping | None) -> None:
        """As a checkpoint knows it."""
        if values and values["step"]:
            self.step, self.loss, self.waited = values["step"], values["loss"], values["waited"]
            self._before, self._saved = values["before"], values["step"]

    def see(self, loss: float) -> bool:
        """Count a validation; whether its loss is the lowest."""
        if loss < self.loss:
            self.loss, self.waited = loss, 0
            return True
        self.waited += 1
        return False

    def write(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the weights with which the loss is the lowest.

        Raises:
            InputError: if they can't be written.
        """
        self._files.write({"step": step, "loss": self.loss}, tensors, {self._before, self._saved})

    def read(self, note: Callable[[str], None]) -> dict[str, Tensor]:
        """The best weights; none if there are none that are whole, which is then said."""
        _, tensors, problem = self._files.read_step(self.step) if self.step else ({}, {}, "")
        if problem:
            note(f"The weights that were the best, of step {self.step}, are lost ({problem}); the last are bundled.")
        return tensors
