"""The model card that goes with every bundle."""

from __future__ import annotations

from .bundle import Bundle

__all__ = ["model_card"]

_SIMULATED = (
    "**The PET images that it learned from are simulated.** They follow a published pattern of FDG uptake over real "
    "and template anatomy; no patient's metabolism is in them. What the model says about age, sex and diagnosis is "
    "what the simulator was told, not what was found in people."
)


def _category(value: str, groups: dict[str, str]) -> str:
    """A category, and what is counted as it."""
    members = [member for member, group in groups.items() if group == value]
    return f"{value} (of {', '.join(members)})" if members and members != [value] else value


def model_card(bundle: Bundle) -> str:
    """Markdown text: what the model is, what it was trained on, what it is for and what it is not for."""
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
    lines = [
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
        f"{training.get('seconds', 0) / 60:.0f} min on {training.get('device', '?')} |",
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
