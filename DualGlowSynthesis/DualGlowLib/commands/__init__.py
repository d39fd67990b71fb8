"""What each command does, between the arguments and the rooms of the library."""

from .cohorts import prepare, simulate, validate
from .reports import benchmark, evaluate
from .synthesis import sweep, synthesize
from .training import train

__all__ = ["benchmark", "evaluate", "prepare", "simulate", "sweep", "synthesize", "train", "validate"]
