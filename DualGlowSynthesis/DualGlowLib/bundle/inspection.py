"""What a bundle is, in words and in keys, read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..files import hash_file
from ..volumes.grid import Grid
from .calibration import read_calibration
from .evaluation import read_evaluation
from .files import (
    CONFIG,
    WEIGHTS,
    counts_text,
    covariates_of,
    licence_of,
    method_of,
    preparation_of,
    read_config,
    reading,
)

__all__ = ["inspect_bundle", "text_of"]


def inspect_bundle(folder: Path | str) -> dict:
    """What there is to know of a model before it is used; JSON can hold it all.

    The weights are not read: whether they are whole, ``verification.verify`` says.

    Returns:
        ``name``, ``sha256`` (of the configuration, by which provenance names the model), ``format``, ``version`` (of
        the DualGlow that wrote it), ``method`` (of a baseline; empty for DUAL-GLOW), ``preset``, ``grid`` (``name``,
        ``shape``, ``spacing`` in mm), ``covariates`` (as in ``files.describe``), ``preparation``, ``licence``,
        ``simulated``, ``training`` (as the configuration has it), ``calibration`` and ``evaluation`` (None if there is
        none), ``files`` (bytes by name) and ``bytes``.

    Raises:
        InputError: if it is no bundle, or one of its JSON files is damaged.
    """
    folder = Path(folder)
    values, digest = read_config(folder), hash_file(folder / CONFIG)
    with reading(folder / CONFIG):
        training, grid = values.get("training", {}), Grid.from_dict(values["grid"])
        calibration = read_calibration(folder, digest)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
        return {
            "name": str(values["name"]),
            "sha256": digest,
            "format": values["format"],
            "version": str(values.get("version", "")),
            "method": method_of(values),
            "preset": str(values["model"].get("preset", "")),
            "grid": {"name": grid.name, "shape": list(grid.shape), "spacing": list(grid.spacing)},
            "covariates": covariates_of(values),
            "preparation": preparation_of(training, str(folder / CONFIG)).to_dict(),
            "licence": licence_of(folder, values),
            "simulated": bool(training.get("simulated", False)),
            "training": training,
            "calibration": None if calibration is None else _about(calibration),
            "evaluation": read_evaluation(folder, digest),
            "files": sizes,
            "bytes": sum(sizes.values()),
        }


def _about(calibration) -> dict:
    about = calibration.certificate
    return {
        "level": calibration.level,
        "samples": calibration.samples,
        "regions": len(calibration.factors),
        **{key: about[key] for key in ("date", "fitted", "tested") if key in about},
        **({"coverage": about["coverage"]["mean"]} if "coverage" in about else {}),
    }


def _prepared(how: Mapping) -> str:
    """``Preparation.to_dict`` in words."""
    words = [
        "bias corrected" if how["bias"] else "bias not corrected",
        f"SUVR to {how['reference']}",
        f"PETs smoothed to {how['resolution']:g} mm",
    ]
    words += ["deformed to the template"] if how.get("deformable") else []
    if "pet_window" in how:
        words.append("frames from {:g} to {:g} min".format(*how["pet_window"]))
    return ", ".join(words)


def text_of(about: dict) -> str:
    """``inspect_bundle``'s answer as lines of a title and what it says."""
    training, grid = about["training"], about["grid"]
    people, held_out = training.get("people", {}), training.get("held_out")
    covariates = [
        f"{one['name']} {', '.join(one['values'])}"
        if "values" in one
        else one["name"] + (" {:g} to {:g}".format(*one["range"]) if one["range"] else "")
        for one in about["covariates"]
    ]
    size = "×".join(map(str, grid["shape"]))
    rows = {
        "model": about["name"] + (" (trained on simulated PET)" if about["simulated"] else ""),
        "SHA-256": about["sha256"],
        **({"method": about["method"]} if about["method"] else {"preset": about["preset"]}),
        "grid": f"{grid['name']}: {size} voxels of {'×'.join(f'{side:g}' for side in grid['spacing'])} mm",
        "covariates": "; ".join(covariates) or "none",
        "preparation": _prepared(about["preparation"]),
        "trained on": counts_text(training),
    }
    if age := people.get("age"):
        rows["ages"] = f"{age['mean']:g} ± {age['sd']:g} years ({age['minimum']:g} to {age['maximum']:g})"
    for key in ("sex", "diagnosis", "site"):
        if key in people:
            rows[key] = ", ".join(f"{value}: {count}" for value, count in people[key].items())
    if held_out:
        rows["kept out"] = counts_text(held_out)
    if parent := training.get("adaptation", {}).get("parent"):
        rows["adapted from"] = f"{parent['name']} ({parent['sha256']})"
    calibration, evaluation = about["calibration"], about["evaluation"]
    rows["calibration"] = "none"
    if calibration:
        rows["calibration"] = (
            f"{100 * calibration['level']:g} % intervals of {calibration['regions']} regions"
            + (f", fitted to {calibration['fitted']} cases" if "fitted" in calibration else "")
            + (f", hold {calibration['coverage']:.3f} of {calibration['tested']}" if "coverage" in calibration else "")
        )
    rows["evaluation"] = f"on {evaluation['cases']} cases" if evaluation else "none"
    if evaluation and "memorisation" in evaluation:
        rows["memorisation"] = evaluation["memorisation"]["verdict"]
    licence = about["licence"]
    rows |= {
        "licence": (licence.splitlines()[0] if licence else "none is stated"),
        "written by": f"DualGlow {about['version']}, format {about['format']}",
        "size": f"{about['bytes'] / 1e6:.1f} MB in {len(about['files'])} files, {WEIGHTS} "
        f"{about['files'].get(WEIGHTS, 0) / 1e6:.1f} MB",
    }
    return "\n".join(f"{title:>12}  {value}" for title, value in rows.items())
