"""Scans: reading and writing volumes, and the way of a T1 to the model's grid and back to the patient."""

from .brain import brain_mask
from .dicom import Series, list_series
from .dicom_export import check_export, export_dicom
from .grid import GRIDS, Grid
from .intensity import normalise_t1
from .marking import SYNTHETIC, SYNTHETIC_BELOW, SYNTHETIC_SD, is_synthetic, output_name
from .pet import PreparedPet, prepare_pet
from .preparation import Prepared, prepare, to_patient
from .quality import Verdict
from .reading import read_scan
from .reference import REFERENCES
from .resampling import resample
from .scan import Scan
from .template import Template, load_template
from .transforms import read_transform, transform_output, write_transform
from .writing import scan_outputs, write_scan

__all__ = [
    "GRIDS",
    "REFERENCES",
    "SYNTHETIC",
    "SYNTHETIC_BELOW",
    "SYNTHETIC_SD",
    "Grid",
    "Prepared",
    "PreparedPet",
    "Scan",
    "Series",
    "Template",
    "Verdict",
    "brain_mask",
    "check_export",
    "export_dicom",
    "is_synthetic",
    "list_series",
    "load_template",
    "normalise_t1",
    "output_name",
    "prepare",
    "prepare_pet",
    "read_scan",
    "read_transform",
    "resample",
    "scan_outputs",
    "to_patient",
    "transform_output",
    "write_scan",
    "write_transform",
]
