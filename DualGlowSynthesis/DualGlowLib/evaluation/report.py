"""The report of an evaluation: JSON for programs, Markdown for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from ..files import make_folder, write_json
from ..metrics.distribution import LEVELS
from ..outputs import EVALUATION, Output, check_outputs, generated_by

__all__ = [
    "IN_BRAIN",
    "LAW",
    "LAW_OF_REGIONS",
    "WHOLE",
    "cell_text",
    "markdown_table",
    "report_output",
    "summary_table",
    "write_report",
]

_LISTED = 10  # cases that were left out, in the table that people read
IN_BRAIN = {
    "psnr": ("PSNR dB", ".2f"), "ssim": ("SSIM", ".4f"), "mae": ("MAE SUVR", ".4f"), "rmse": ("RMSE SUVR", ".4f"),
    "nmse": ("NMSE", ".4f"), "correlation": ("Pearson r", ".4f"), "nll_bits": ("NLL bits/voxel", ".3f"),
}  # fmt: skip
WHOLE = {"psnr_whole": ("PSNR dB", ".2f"), "ssim_whole": ("SSIM", ".4f"), "ssim_padded": ("SSIM, zeros beyond", ".4f")}
_PERCENT = [f"{100 * level:g}" for level in LEVELS]
LAW = {"crps": ("CRPS SUVR", ".4f")}
LAW |= {f"coverage_{level}": (f"inside {level} %", ".3f") for level in _PERCENT} | {"width_90": ("width 90 %", ".3f")}
LAW_OF_REGIONS = {f"region_{key}": value for key, value in LAW.items()} | {"region_energy": ("energy score", ".4f")}


def report_output(path: Path | str) -> Output:
    """The file that ``write_report`` writes, for ``outputs.check_outputs``."""
    return Output(Path(path), EVALUATION, makes_folder=True)


def write_report(result: dict, path: Path, force: bool = False) -> str:
    """Write ``result`` as JSON to ``path``; returns its tables in Markdown.

    Args:
        result: of ``tables.evaluate``.
        path: where to; folders that don't exist are made.
        force: also replace a file that DualGlow did not write.

    Raises:
        InputError: if the file can't be written, or may not be replaced (``outputs.check_outputs``).
    """
    check_outputs([report_output(path)], force=force)
    make_folder(path.parent)
    write_json(path, {"GeneratedBy": generated_by(EVALUATION), **result}, force)
    text, left_out = summary_table(result), result["left_out"]
    text += "".join(f"\nLeft out: {one['case']}: {one['reason']}" for one in left_out[:_LISTED])
    if len(left_out) > _LISTED:
        text += f"\nLeft out too: {len(left_out) - _LISTED} more, listed in {path}."
    return text


def summary_table(result: dict) -> str:
    """Tables in Markdown: in the brain, of whole volumes, of samples and of regions; mean ± sd over cases."""
    parts = [markdown_table(result, "in the brain mask", IN_BRAIN)]
    parts.append(f"{len(result['cases'])} cases, data range {result['data_range_suvr']:g} SUVR.")
    parts.append(markdown_table(result, "whole volume, mostly air: not to be compared between grids", WHOLE))
    parts.append(markdown_table(result, "law of each voxel of the brain", LAW))
    parts.append(markdown_table(result, "law of region means", LAW_OF_REGIONS))
    for name, shares in result["rank_fifths"].items():
        said = ", ".join(f"{share:.3f}" for share in shares["all"])
        parts.append(f"{name}: ranks of the true region means in fifths {said} (0.2 each if the law is right).")
    for name, rows in result["regions"].items():
        largest = max((row for row in rows if row["bias"] is not None), key=lambda row: abs(row["bias"]), default=None)
        if largest is not None:
            mean = sum(row["bias"] for row in rows if row["bias"] is not None) / len(rows)
            parts.append(
                f"{name}: bias of region means {mean:+.4f} SUVR, the largest {largest['bias']:+.4f} "
                f"({largest['region'].replace('_', ' ')})."
            )
    return "\n\n".join(part for part in parts if part)


def markdown_table(result: Mapping, title: str, columns: Mapping[str, tuple[str, str]]) -> str:
    """Mean ± sd of each method (``summary`` and ``sd`` of a result), with columns and rows that have numbers."""
    summary = {name: row for name, row in result["summary"].items() if columns.keys() & row.keys()}
    columns = {key: value for key, value in columns.items() if any(key in row for row in summary.values())}
    if not columns:
        return ""
    lines = ["| " + " | ".join([title, *(heading for heading, _ in columns.values())]) + " |"]
    lines.append("|" + "---|" * (len(columns) + 1))
    for name, row in summary.items():
        sd = result["sd"].get(name, {})
        cells = [cell_text(row.get(key), sd.get(key), form) for key, (_, form) in columns.items()]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)


def cell_text(mean: float | None, sd: float | None, form: str) -> str:
    """Mean ± sd as tables have it; without the sd where there is none, and empty without a mean."""
    if mean is None:
        return ""
    return f"{mean:{form}}" if sd is None or not math.isfinite(sd) else f"{mean:{form}} ± {sd:{form}}"
