"""Training: cohorts in memory, the loop with checkpoints and resume, the model card."""

from .card import model_card
from .cohort import T1_SCALE, Batch, Cohort, split_subjects
from .loop import Interrupted, Trainer, check_run
from .optim import AuthorsAdamax
from .settings import TrainingSettings

__all__ = [
    "T1_SCALE",
    "AuthorsAdamax",
    "Batch",
    "Cohort",
    "Interrupted",
    "Trainer",
    "TrainingSettings",
    "check_run",
    "model_card",
    "split_subjects",
]
