"""The model card that goes with every bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict

from .bundle import Bundle
from .files import counts_text
from .licences import hub_name

__all__ = ["model_card"]

_SIMULATED = (
    "**The PET images that it learned from are simulated.** They follow a published pattern of FDG uptake over real "
    "and template anatomy; no patient's metabolism is in them. What the model says about age, sex and diagnosis is "
    "what the simulator was told, not what was found in people."
)


_SCORES = {
    "psnr": "PSNR in the brain (dB)",
    "ssim": "SSIM in the brain",
    "bits_per_dimension": "bits per dimension of the PET (8-bit)",
}


_COLUMNS = {
    "psnr": ("PSNR dB", 2),
    "ssim": ("SSIM", 3),
    "mae": ("MAE SUVR", 3),
    "correlation": ("r", 3),
    "crps": ("CRPS SUVR", 4),
    "coverage_90": ("inside 90 %", 3),
    "region_crps": ("CRPS of region means", 4),
    "region_coverage_90": ("region means inside 90 %", 3),
}
"""Of an evaluation's summary: title and digits."""


_BEFORE_AFTER = (
    ("psnr", "PSNR", ".2f", " dB"),
    ("bias", "bias of region means", "+.3f", " SUVR"),
    ("region_crps", "CRPS of region means", ".4f", " SUVR"),
    ("region_coverage_90", "region means inside 90 %", ".3f", ""),
)


_REFERENCE = "Sun H. et al., DUAL-GLOW: Conditional flow-based generative model for modality transfer, ICCV 2019"


def baseline_label(bundle: Bundle) -> str:
    """What a baseline is called, such as ``Baseline U-Net``; empty for DUAL-GLOW."""
    return f"Baseline {bundle.model.label}" if hasattr(bundle.model, "label") else ""


def _category(value: str, groups: dict[str, str]) -> str:
    """A category, and what is counted as it."""
    members = [member for member, group in groups.items() if group == value]
    return f"{value} (of {', '.join(members)})" if members and members != [value] else value


def model_card(
    bundle: Bundle,
    licence: str = "",
    scores: Mapping[str, float] | None = None,
    evaluation: Mapping | None = None,
) -> str:
    """Markdown text: what the model is, what it was trained on, what it is for and what it is not for.

    It begins with the header in YAML by which model hubs (Hugging Face) list a model.

    Args:
        bundle: the model.
        licence: its identifier, such as ``"Apache-2.0"``; by default what the training states.
        scores: ``psnr`` (dB) and ``ssim`` on cases that the model has not seen, where they were measured; by default
            those of the evaluation.
        evaluation: what was measured, as ``evaluation.read_evaluation`` gives it.
    """
    scores = dict(scores or {})
    if evaluation:
        row = evaluation["summary"].get("model", {})
        scores |= {key: round(row[key], 4) for key in ("psnr", "ssim") if key in row and key not in scores}
    grid, training, config = bundle.grid, bundle.training, bundle.config
    label = baseline_label(bundle)
    reference = getattr(bundle.model, "reference", _REFERENCE)
    covariates = []
    for covariate in config.covariates:
        if covariate.kind == "numeric":
            covariates.append(f"{covariate.name} {covariate.minimum:g} to {covariate.maximum:g}")
        else:
            named = [_category(value, covariate.groups) for value in covariate.values]
            covariates.append(f"{covariate.name} {', '.join(named)}")
    millions = sum(parameter.numel() for parameter in bundle.model.parameters()) / 1e6
    spacing = "×".join(f"{side:g}" for side in grid.spacing)
    place = f"voxels of {spacing} mm, MNI152" if config.dims == 3 else "pixels"
    task = f"T1-weighted brain MRI to the distribution of FDG-PET images (SUVR, {bundle.preparation.reference} = 1)"
    best = (
        f"; the weights of step {training['best_step']}, the best on cases kept out" if "best_step" in training else ""
    )
    lines = [
        *_header(bundle, licence or str(training.get("licence", "")), scores),
        f"# {bundle.name}",
        "",
        f"{label or 'DUAL-GLOW model'}: {training.get('task', task)}.",
        "",
        "**Research use only. Not a medical device; its output is synthetic and must not be used for diagnosis or "
        "treatment.**",
        "",
        *([_SIMULATED, ""] if training.get("simulated") else []),
        "| | |",
        "|---|---|",
        f"| {'method' if label else 'preset'} | {config.preset}, {millions:.2f} million parameters |",
        f"| grid | {grid.name}: {'×'.join(map(str, grid.shape))} {place} |",
        f"| covariates | {'; '.join(covariates) + '; each may be unknown' if covariates else 'none'} |",
        f"| trained on | {counts_text(training)} |",
        *_people(training),
        f"| training | {training.get('steps', 0)} steps of {training.get('batch', 0)} cases, "
        f"{training.get('seconds', 0) / 60:.0f} min on {training.get('device', '?')}{best} |",
    ]
    if covariates and not label and config.link.conditioning == "paper":
        lines.append("| conditioning | eq. 16–17: the covariates give the PET's top level, in place of the MRI's |")
    if not label and config.discriminators.weight:
        lines.append(
            f"| discriminators in training | weight {config.discriminators.weight:g}, gradient reversal "
            f"{config.discriminators.reversal:g} ({config.discriminators.schedule}) |"
        )
    if label:
        lines += [f"| {key} | {value} |" for key, value in asdict(config.settings).items()]
    if "validation_pet_bits" in training:
        lines.append(
            f"| held-out bits per dimension (8-bit) | PET {training['validation_pet_bits']:.3f}, "
            f"MRI {training['validation_mri_bits']:.3f} |"
        )
    lines += [f"| {key} | {value} |" for key, value in training.get("notes", {}).items()]
    lines += _measured(bundle, evaluation)
    lines += ["", "## Limits", "", *(f"- {limit}" for limit in _limits(bundle, evaluation))]
    lines += [
        "",
        *([f"Method: {reference}.", ""] if reference else []),
    ]
    return "\n".join(lines)


def _people(training: Mapping) -> list[str]:
    """Rows of the table: who the cases were, and who was kept out."""
    people, rows = training.get("people", {}), []
    if age := people.get("age"):
        unknown = training.get("cases", 0) - age["known"]
        more = f"; of {unknown} unknown" if unknown > 0 else ""
        spread = f"{age['mean']:.1f} ± {age['sd']:.1f} years"
        rows.append(f"| ages | {spread} ({age['minimum']:g} to {age['maximum']:g}){more} |")
    for key, title in (("sex", "sexes"), ("diagnosis", "diagnoses"), ("site", "sites")):
        if counts := people.get(key):
            rows.append(f"| {title} | {', '.join(f'{_plain(value)}: {count}' for value, count in counts.items())} |")
    if held_out := training.get("held_out"):
        fold = f", fold {held_out['fold']}" if "fold" in held_out else ""
        whose = counts_text(held_out) if held_out["cases"] else "none"
        rows.append(f"| kept out of training | {whose}{fold} |")
    return rows


def _plain(value: str) -> str:
    """A text of somebody's table in a cell of ours."""
    return re.sub(r"[\s|<>`]+", " ", value).strip()


def _measured(bundle: Bundle, evaluation: Mapping | None) -> list[str]:
    """Rows of the table: what was measured after the training."""
    rows = []
    if bundle.calibration is not None and (about := bundle.calibration.certificate):
        rows.append(
            f"| calibration | {100 * bundle.calibration.level:g} % intervals of region means, fitted to "
            f"{about['fitted']} cases, hold {about['coverage']['mean']:.3f} of {about['tested']} others "
            f"({about['coverage']['joint']:.3f} for all regions at once) |"
        )
    if told := bundle.training.get("adaptation"):
        rows += _adapted(told)
    for name, row in evaluation["summary"].items() if evaluation else ():
        parts = [f"{title} {row[key]:.{digits}f}" for key, (title, digits) in _COLUMNS.items() if key in row]
        rows.append(f"| {_plain(name)}, {evaluation['cases']} cases not trained on | {', '.join(parts)} |")
    if evaluation and (told := evaluation.get("memorisation")):
        rows.append(f"| memorisation | {told['verdict']} |")
    return rows


def _adapted(told: Mapping) -> list[str]:
    """Rows of the table: from what it was adapted, to whom, and what that changed."""
    parent, held_out, before, after = told["parent"], told["held_out"], told["before"], told["after"]
    kept = {
        "parent": "nothing was better than the model as it was, which is kept",
        "maps": "scales and mean image were fitted",
        "training": f"scales, mean image, ActNorms and the link's last layers were fitted ({told['steps']} steps)",
    }[told["kept"]]
    changed = ", ".join(
        f"{title} {before[key]:{form}} → {after[key]:{form}}{unit}" for key, title, form, unit in _BEFORE_AFTER
    )
    pairs = "simulated pairs" if told["simulated"] else "pairs"
    return [
        f"| adapted | from {_plain(parent['name'])} ({parent['sha256']}) by {told['cases']} {pairs} of one site: "
        f"{kept} |",
        f"| {held_out['cases']} other pairs of that site, before → after | {changed} |",
    ]


def _limits(bundle: Bundle, evaluation: Mapping | None) -> list[str]:
    """What the model can't be relied on for, a sentence each."""
    training = bundle.training
    limits = [
        "Uptake that doesn't show in a T1 is not in its images: one of them is no measurement of a person's metabolism."
    ]
    if ages := training.get("people", {}).get("age"):
        limits.append(f"It has seen nobody younger than {ages['minimum']:g} or older than {ages['maximum']:g} years.")
    limits.append(
        "It draws no samples, so that it has no intervals."
        if baseline_label(bundle) and not hasattr(bundle.model, "sample")
        else "Its intervals are as the model has them, not calibrated."
        if bundle.calibration is None
        else "Its intervals hold what they promise for persons like those that they were calibrated with, no others."
    )
    if "adaptation" in training:
        limits.append("It was adapted to the scans of one site: on others' it may be worse than what it was made from.")
    if not evaluation:
        limits.append("How good it is on cases that it has not seen was not measured by the evaluation of DualGlow.")
    if not (evaluation and evaluation.get("memorisation")):
        limits.append("Whether its samples repeat PETs that it was trained on was not measured.")
    return limits if bundle.config.dims == 3 else limits[2:]


def _header(bundle: Bundle, licence: str, scores: dict[str, float]) -> list[str]:
    """One line of YAML for each key, its value in JSON, which YAML includes."""
    is_brain, simulated = bundle.config.dims == 3, bool(bundle.training.get("simulated"))
    if "validation_pet_bits" in bundle.training:
        scores["bits_per_dimension"] = round(bundle.training["validation_pet_bits"], 3)
    header: dict[str, object] = {}
    if licence:
        header["license"] = hub_name(licence)  # which may be a whole text, or terms of its own
        if re.fullmatch(r"LicenseRef-\S+", licence):
            header |= {"license_name": licence.removeprefix("LicenseRef-").lower(), "license_link": "LICENSE"}
    header |= {
        "library_name": "dualglow",
        "pipeline_tag": "image-to-image",
        "tags": [
            *(("baseline",) if baseline_label(bundle) else ("dual-glow", "normalizing-flow")),
            "image-synthesis",
            *(("medical-imaging", "brain", "mri", "pet", "fdg-pet", "3d-slicer") if is_brain else ()),
            *(("simulated-data",) if simulated else ()),
        ],
    }
    if scores:
        header["metrics"] = list(scores)
        kind = "fdg-pet" if is_brain else "images"
        result = {
            "task": {"type": "image-to-image", "name": "T1-weighted MRI to FDG-PET" if is_brain else "image to image"},
            "dataset": {
                "type": f"simulated-{kind}" if simulated else kind,
                "name": f"{'simulated ' if simulated else ''}cases that it was not trained on",
            },
            "metrics": [{"type": key, "name": _SCORES[key], "value": value} for key, value in scores.items()],
        }
        header["model-index"] = [{"name": bundle.name, "results": [result]}]
    return ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in header.items()), "---", ""]
