"""What a model was measured to do on cases that it had not seen: numbers beside its files, without any case's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..outputs import EVALUATION, generated_by, kind_of_file
from ..sealed import parse_json, write_sealed
from .beside import read_beside

__all__ = ["EVALUATION_FILE", "read_evaluation", "read_report", "write_evaluation"]

EVALUATION_FILE = "evaluation.json"
_MOST_BYTES = 1 << 28
_NUMBERS = (
    *("psnr", "ssim", "mae", "rmse", "correlation", "nll_bits", "crps", "coverage_90", "region_crps"),
    *("region_coverage_90", "region_width_90"),
)


def read_report(path: Path | str, bundle_sha256: str) -> dict:
    """What of the report of ``evaluate`` goes with a model: no names of cases.

    Returns:
        ``cases`` (how many), ``left_out`` (how many), ``data_range_suvr``, ``summary`` (means by row of the report) and
        ``memorisation``, if it was measured.

    Raises:
        InputError: if it is no report, or one about another model.
    """
    path = Path(path)
    if kind_of_file(path) != EVALUATION:
        raise InputError(f"{path} is no report of an evaluation; give the file that evaluate --output wrote.")
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        found = {
            "cases": len(values["cases"]),
            "left_out": len(values["left_out"]),
            "data_range_suvr": float(values["data_range_suvr"]),
            "summary": {
                name: {key: float(row[key]) for key in _NUMBERS if row.get(key) is not None}
                for name, row in values["summary"].items()
            },
        }
        if told := values.get("memorisation"):
            found["memorisation"] = {key: value for key, value in told.items() if key != "cases"}
        about = values.get("bundle_sha256")
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); run evaluate again.") from error
    if about != bundle_sha256:
        raise InputError(f"{path} was measured with another model; run evaluate again with this one.")
    return found


def write_evaluation(found: Mapping, folder: Path | str, bundle_sha256: str) -> None:
    """Write it into a bundle's folder, in place of a former one."""
    values = {"GeneratedBy": generated_by(EVALUATION), "bundle_sha256": bundle_sha256, **found}
    write_sealed(Path(folder) / EVALUATION_FILE, values, {})


def read_evaluation(folder: Path | str, bundle_sha256: str) -> dict | None:
    """That of the bundle in a folder; None if it has none.

    Raises:
        InputError: if it is damaged, or of another model.
    """
    return read_beside(
        Path(folder) / EVALUATION_FILE,
        bundle_sha256,
        _checked,
        _MOST_BYTES,
        "publish the model again, or delete it",
        "delete it",
    )


def _checked(values: dict) -> dict:
    _ = values["cases"], values["summary"].items()
    return values
