"""DUAL-GLOW: two flows, the link between them, covariates, the objective and the presets."""

from .config import PRESETS, DiscriminatorConfig, LinkConfig, ModelConfig, given_covariates, preset
from .covariates import DEFAULT_COVARIATES, Covariate, columns, encode_covariates, fit_covariates, hide_covariates
from .discriminators import Discriminator, Discriminators, covariate_loss
from .dualglow import DualGlow, Encoding, Objective
from .likelihood import LevelTerms, LogLikelihood, chi_square_percentile, mri_likelihood, pet_likelihood, transport
from .link import ImageLaw, LevelwiseLink, LinkOutput, UNetLink
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
    "ImageLaw",
    "LevelTerms",
    "LevelwiseLink",
    "LinkConfig",
    "LinkOutput",
    "LogLikelihood",
    "ModelConfig",
    "Objective",
    "UNetLink",
    "chi_square_percentile",
    "columns",
    "covariate_loss",
    "encode_covariates",
    "fit_covariates",
    "given_covariates",
    "hide_covariates",
    "mri_likelihood",
    "pet_likelihood",
    "preset",
    "reverse_gradient",
    "transport",
]
