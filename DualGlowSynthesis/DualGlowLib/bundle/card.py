"""The model card that goes with every bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from .bundle import Bundle

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


def _category(value: str, groups: dict[str, str]) -> str:
    """A category, and what is counted as it."""
    members = [member for member, group in groups.items() if group == value]
    return f"{value} (of {', '.join(members)})" if members and members != [value] else value


def model_card(bundle: Bundle, licence: str = "", scores: Mapping[str, float] | None = None) -> str:
    """Markdown text: what the model is, what it was trained on, what it is for and what it is not for.

    It begins with the header in YAML by which model hubs (Hugging Face) list a model.

    Args:
        bundle: the model.
        licence: its identifier, such as ``"Apache-2.0"``; by default what the training states.
        scores: ``psnr`` (dB) and ``ssim`` on cases that the model has not seen, where they were measured.
    """
    grid, training, config = bundle.grid, bundle.training, bundle.config
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
        *_header(bundle, licence or str(training.get("licence", "")), dict(scores or {})),
        f"# {bundle.name}",
        "",
        f"DUAL-GLOW model: {training.get('task', task)}.",
        "",
        "**Research use only. Not a medical device; its output is synthetic and must not be used for diagnosis or "
        "treatment.**",
        "",
        *([_SIMULATED, ""] if training.get("simulated") else []),
        "| | |",
        "|---|---|",
        f"| preset | {config.preset}, {millions:.2f} million parameters |",
        f"| grid | {grid.name}: {'×'.join(map(str, grid.shape))} {place} |",
        f"| covariates | {'; '.join(covariates) + '; each may be unknown' if covariates else 'none'} |",
        f"| trained on | {training.get('cases', 0)} cases of {training.get('subjects', 0)} subjects |",
        f"| training | {training.get('steps', 0)} steps of {training.get('batch', 0)} cases, "
        f"{training.get('seconds', 0) / 60:.0f} min on {training.get('device', '?')}{best} |",
    ]
    if covariates and config.link.conditioning == "paper":
        lines.append("| conditioning | eq. 16–17: the covariates give the PET's top level, in place of the MRI's |")
    if config.discriminators.weight:
        lines.append(
            f"| discriminators in training | weight {config.discriminators.weight:g}, gradient reversal "
            f"{config.discriminators.reversal:g} ({config.discriminators.schedule}) |"
        )
    if "validation_pet_bits" in training:
        lines.append(
            f"| held-out bits per dimension (8-bit) | PET {training['validation_pet_bits']:.3f}, "
            f"MRI {training['validation_mri_bits']:.3f} |"
        )
    lines += [f"| {key} | {value} |" for key, value in training.get("notes", {}).items()]
    lines += [
        "",
        "Method: Sun H. et al., DUAL-GLOW: Conditional flow-based generative model for modality transfer, ICCV 2019.",
        "",
    ]
    return "\n".join(lines)


def _header(bundle: Bundle, licence: str, scores: dict[str, float]) -> list[str]:
    """One line of YAML for each key, its value in JSON, which YAML includes."""
    is_brain, simulated = bundle.config.dims == 3, bool(bundle.training.get("simulated"))
    if "validation_pet_bits" in bundle.training:
        scores["bits_per_dimension"] = round(bundle.training["validation_pet_bits"], 3)
    header: dict[str, object] = {}
    if licence:
        is_name = re.fullmatch(r"[A-Za-z0-9.+-]+", licence)  # or its whole text
        header["license"] = licence.lower() if is_name else "other"
    header |= {
        "library_name": "dualglow",
        "pipeline_tag": "image-to-image",
        "tags": [
            *("dual-glow", "normalizing-flow", "image-synthesis"),
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
