"""What the simulator assumes about FDG: uptake by region, and how age, sex, diagnosis and chance change it.

Uptake is that of the tissue itself, before the scanner's blur, relative to the pons after blur (SUVR, pons = 1). Grey
matter takes up about four times as much as white matter (BrainWeb's phantom 128:32, the Hoffman phantom 5:1). The
grey values were then adjusted by region so that, once blurred, the region means follow a real mean image (116 normal
persons; ``Testing/benchmarks/simulator_contrast.py`` compares). Cerebrospinal fluid takes up nothing.

Age slopes follow the order that studies agree on (frontal and anterior cingulate cortex lose most, then temporal and
parietal; occipital, sensorimotor, cerebellum least; the pons does not change), the Alzheimer pattern the usual one
(posterior cingulate, precuneus, parietal and temporal cortex; frontal later; sensorimotor, occipital cortex, striatum
and cerebellum spared). The sizes are choices of ours and are not estimates from data.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..atlas.regions import PARTITION, coordinates, work_partition
from ..volumes.separable import WORK

__all__ = ["DIAGNOSES", "FACTORS", "SEXES", "Uptake", "factor_loadings", "region_table", "severity"]

DIAGNOSES = ("CN", "MCI", "AD")
SEXES = ("F", "M")
REFERENCE_AGE = 65.0
SEX_EFFECT = 0.02  # women's grey uptake above the mean of both, and men's below; relative to the pons


@dataclass(frozen=True)
class Uptake:
    """One region's uptake.

    Attributes:
        grey, white: SUVR of pure tissue at 65 years, cognitively normal, mean of both sexes.
        slope: relative change per decade of grey uptake, of its value at 65.
        deficit: relative loss of grey uptake in Alzheimer's disease of severity 1.
        thinning: relative loss of grey matter's outer layer in Alzheimer's disease of severity 1.
    """

    grey: float
    white: float = 0.62
    slope: float = -0.02
    deficit: float = 0.0
    thinning: float = 0.0


_TABLE = {
    "posterior_cingulate_precuneus": Uptake(2.65, slope=-0.020, deficit=0.20, thinning=0.7),
    "inferior_parietal": Uptake(2.70, slope=-0.025, deficit=0.20, thinning=0.7),
    "lateral_temporal": Uptake(1.95, slope=-0.025, deficit=0.18, thinning=0.8),
    "medial_temporal": Uptake(1.15, slope=-0.025, deficit=0.15, thinning=1.0),
    "medial_frontal": Uptake(2.15, slope=-0.040, deficit=0.10, thinning=0.4),
    "lateral_frontal": Uptake(2.55, slope=-0.030, deficit=0.10, thinning=0.4),
    "occipital": Uptake(2.50, slope=-0.010, deficit=0.03, thinning=0.2),
    "sensorimotor": Uptake(2.60, slope=-0.010, deficit=0.0, thinning=0.1),
    "insula": Uptake(1.75, slope=-0.025, deficit=0.05, thinning=0.4),
    "thalamus": Uptake(1.95, white=1.0, slope=-0.015, deficit=0.02),
    "striatum": Uptake(2.30, white=0.7, slope=-0.015, deficit=0.0),
    "cerebellum": Uptake(1.55, slope=-0.005, deficit=0.0),
    "brain_stem": Uptake(1.05, white=1.0, slope=0.0, deficit=0.0),
}
WHITE_SLOPE = -0.01  # relative change per decade of cerebral and cerebellar white matter; 0 in the brain stem


def region_table() -> dict[str, Uptake]:
    """The values of every region of ``regions.PARTITION`` (both sides of a pair are alike)."""
    return {name: _TABLE[name.removesuffix("_L").removesuffix("_R")] for name in PARTITION}


_SEVERITY = {"CN": 0.0, "MCI": 0.5, "AD": 1.0}
SEVERITY_SPREAD = 0.25  # sd of the severity within a diagnosis, relative to its mean
SEVERITY_SEEN = 0.6  # share of that variance that the anatomy shows; the rest is chance


def severity(diagnosis: str, atrophy: float) -> tuple[float, float]:
    """Mean and sd of the disease's severity, given the diagnosis and what the anatomy shows.

    Args:
        diagnosis: one of ``DIAGNOSES``.
        atrophy: the anatomy's atrophy index (``Shape.atrophy``), about 0 ± 1.
    """
    stage = _SEVERITY[diagnosis]
    mean = stage * (1 + SEVERITY_SPREAD * np.sqrt(SEVERITY_SEEN) * atrophy)
    return float(mean), float(stage * SEVERITY_SPREAD * np.sqrt(1 - SEVERITY_SEEN))


# Chance: relative changes of uptake that the T1 can't tell. Each is one standard Gaussian per case times a fixed map.
GLOBAL_SD = 0.08
REGIONAL_SD = 0.055
ASYMMETRY_SD = 0.025
_REACH = 24.0  # mm, the Gaussian radius of a regional factor
_CENTRES = {
    "medial_frontal": (4, 44, 14),
    "lateral_frontal": (40, 30, 22),
    "sensorimotor": (40, -16, 54),
    "parietal": (44, -58, 42),
    "posterior_cingulate": (4, -52, 28),
    "occipital": (16, -84, 6),
    "temporal": (54, -22, -14),
    "deep_grey": (18, -4, 4),
    "cerebellum": (22, -62, -36),
}
FACTORS: tuple[str, ...] = ("global", *_CENTRES, "asymmetry_anterior", "asymmetry_posterior", "severity")
"""Names of the Gaussian factors; the last is the part of the severity that the anatomy doesn't show."""


@lru_cache(maxsize=1)
def factor_loadings() -> np.ndarray:
    """Relative change of uptake per unit of each factor but the last, on the working lattice.

    Returns:
        float32 ``[len(FACTORS) - 1, *WORK.shape]``; 0 in the brain stem, which is the reference. Fixed in template
        space, whatever the anatomy.
    """
    x, y, z = np.moveaxis(coordinates(WORK.shape, WORK.affine), -1, 0)
    maps = [np.full(WORK.shape, GLOBAL_SD, dtype=np.float32)]
    for centre in _CENTRES.values():
        distance = (np.abs(x) - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
        maps.append(REGIONAL_SD * np.exp(-distance / (2 * _REACH**2)))
    side = ASYMMETRY_SD * np.tanh(x / 15)
    front = 1 / (1 + np.exp(-(y + 15) / 15))
    maps += [side * front, side * (1 - front)]
    spared = 1 - work_partition()[PARTITION.index("brain_stem")]
    return (np.stack(maps) * spared).astype(np.float32)
