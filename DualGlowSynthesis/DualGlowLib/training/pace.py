"""How fast a run goes, and how long it will take; times and sizes as people say them."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import TrainingSettings

__all__ = ["Pace", "size_of", "spoken"]


@dataclass(frozen=True)
class Pace:
    """Seconds that parts of a run take on one device.

    Attributes:
        alone: a step that trains the link's image law alone; 0 if there are none.
        joint: a step that trains everything.
        validation: the loss of all subjects kept out.
        saving: a checkpoint.
        setting: the PET's flow, once, from the first cases.
    """

    alone: float
    joint: float
    validation: float = 0.0
    saving: float = 0.0
    setting: float = 0.0

    def seconds(self, settings: TrainingSettings, step: int = 0, joint_from: int = 0) -> float:
        """How long a run takes from here to its end.

        Args:
            settings: of the run.
            step: how many are done.
            joint_from: the first step that trains everything.
        """
        steps = settings.steps
        if step >= steps:
            return 0.0
        alone = max(0, min(joint_from, steps) - step)
        validations = -(-steps // settings.validate_every) - step // settings.validate_every
        checkpoints = -(-steps // settings.checkpoint_every) - step // settings.checkpoint_every
        return (
            (self.setting if alone else 0.0)
            + alone * self.alone
            + max(0, steps - step - alone) * self.joint
            + validations * self.validation
            + checkpoints * self.saving
        )


def spoken(seconds: float) -> str:
    """A time as people say it.

    >>> spoken(42.4), spoken(600), spoken(9000), spoken(400000)
    ('42 s', '10 min', '2 h 30 min', '4 days 15 h')
    """
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def size_of(count: float) -> str:
    """Bytes as people say them.

    >>> size_of(3 << 30), size_of(5 << 20)
    ('3.0 GiB', '5 MiB')
    """
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
