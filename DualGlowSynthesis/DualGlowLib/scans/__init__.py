"""Scans: reading and writing volumes, and the way of a T1 to the model's grid and back to the patient."""

from .brain import brain_mask
from .grid import GRIDS, Grid
from .intensity import normalise_t1
from .preparation import Prepared, prepare, to_patient
from .reading import read_scan
from .resampling import resample
from .scan import Scan
from .template import Template, load_template
from .writing import write_scan

__all__ = [
    "GRIDS",
    "Grid",
    "Prepared",
    "Scan",
    "Template",
    "brain_mask",
    "load_template",
    "normalise_t1",
    "prepare",
    "read_scan",
    "resample",
    "to_patient",
    "write_scan",
]
