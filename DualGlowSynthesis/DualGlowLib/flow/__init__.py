"""Invertible layers and the multi-scale flow, in two and three dimensions, with exact log-determinants."""

from .actnorm import ActNorm
from .convolve import Conv, convolve
from .coupling import AffineCoupling, CentredNet, CouplingNet, NormConv, ZeroConv
from .frequency import CosineTransform
from .invconv import DenseConv, PLUConv, RotationConv
from .lowrank import LowRankWhitening
from .multiscale import FlowConfig, FlowStep, MultiScaleFlow
from .reversible import MEMORY_MODES, set_memory
from .squeeze import haar_squeeze, haar_unsqueeze, squeeze, unsqueeze
from .transform import ConditionalAffine, Transform, initialize, spatial_sum

__all__ = [
    "MEMORY_MODES",
    "ActNorm",
    "AffineCoupling",
    "CentredNet",
    "ConditionalAffine",
    "Conv",
    "CosineTransform",
    "CouplingNet",
    "DenseConv",
    "FlowConfig",
    "FlowStep",
    "LowRankWhitening",
    "MultiScaleFlow",
    "NormConv",
    "PLUConv",
    "RotationConv",
    "Transform",
    "ZeroConv",
    "convolve",
    "haar_squeeze",
    "haar_unsqueeze",
    "initialize",
    "set_memory",
    "spatial_sum",
    "squeeze",
    "unsqueeze",
]
