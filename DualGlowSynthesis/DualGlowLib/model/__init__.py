"""DUAL-GLOW: two flows, the link between them, covariates, the objective and the presets."""

from .config import PRESETS, DiscriminatorConfig, LinkConfig, ModelConfig, preset
from .covariates import DEFAULT_COVARIATES, Covariate, columns, encode_covariates, fit_covariates, hide_covariates
from .discriminators import Discriminator, Discriminators, covariate_loss
from .dualglow import DualGlow, Encoding, Objective
from .link import LevelwiseLink, LinkOutput, UNetLink
from .reversal import reverse_gradient

__all__ = [
    "DEFAULT_COVARIATES",
    "PRESETS",
    "Covariate",
    "Discriminator",
    "DiscriminatorConfig",
    "Discriminators",
    "DualGlow",
    "Encoding",
    "LevelwiseLink",
    "LinkConfig",
    "LinkOutput",
    "ModelConfig",
    "Objective",
    "UNetLink",
    "columns",
    "covariate_loss",
    "encode_covariates",
    "fit_covariates",
    "hide_covariates",
    "preset",
    "reverse_gradient",
]
