"""Directories of paired cases: which person-sessions have a T1, an FDG-PET and which covariates, and their preparation.

Four layouts are known and recognised: BIDS, Clinica's CAPS, a table ``cases.csv``, and a plain folder of
``ID/t1.*`` and ``ID/pet.*``.
"""

from .case import Case, Finding, Findings
from .cohort import CohortResult, prepare_cohort
from .layouts import LAYOUTS, find_cases, is_simulated, read_cases
from .ongrid import read_on_grid
from .report import Report, validate_cases
from .sidecars import preparation_of
from .splits import Splits, make_splits, read_splits, splits_output, write_splits

__all__ = [
    "LAYOUTS",
    "Case",
    "CohortResult",
    "Finding",
    "Findings",
    "Report",
    "Splits",
    "find_cases",
    "is_simulated",
    "make_splits",
    "preparation_of",
    "prepare_cohort",
    "read_cases",
    "read_on_grid",
    "read_splits",
    "splits_output",
    "validate_cases",
    "write_splits",
]
