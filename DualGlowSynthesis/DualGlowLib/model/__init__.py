"""DUAL-GLOW: two flows, the link between them, covariates, the objective and the presets."""

from .config import PRESETS, LinkConfig, ModelConfig, preset
from .covariates import DEFAULT_COVARIATES, Covariate, encode_covariates, fit_covariates
from .dualglow import DualGlow, Encoding, Objective
from .link import LevelwiseLink, LinkOutput, UNetLink

__all__ = [
    "DEFAULT_COVARIATES",
    "PRESETS",
    "Covariate",
    "DualGlow",
    "Encoding",
    "LevelwiseLink",
    "LinkConfig",
    "LinkOutput",
    "ModelConfig",
    "Objective",
    "UNetLink",
    "encode_covariates",
    "fit_covariates",
    "preset",
]
