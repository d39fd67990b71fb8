"""A brain without skull, made of the template's tissues in any brightness."""

from __future__ import annotations

import numpy as np

from DualGlowLib.atlas.template import load_template
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

__all__ = ["Tissues", "make_tissues", "t1_of", "with_brightness"]

Tissues = tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]
"""Affine, shares of white, grey and fluid, and the brain (bool)."""


def make_tissues() -> Tissues:
    """At 3 mm."""
    template = load_template()
    affine = template.t1.affine @ np.diag([3, 3, 3, 1])
    shape = tuple(n // 3 for n in template.t1.shape)
    mask = resample(template.mask.data, template.t1.affine, shape, affine) > 0.5
    white, grey = (resample(one.data, one.affine, shape, affine) for one in (template.wm, template.gm))
    return affine, {"white": white, "grey": grey, "fluid": np.clip(1 - white - grey, 0, 1)}, mask


def with_brightness(tissues: Tissues, **brightness: float) -> Scan:
    """An image of tissues with the brightness (1 becomes 1000) of each, and a little noise."""
    affine, shares, mask = tissues
    rng = np.random.default_rng(0)
    data = sum(value * shares[name] for name, value in brightness.items()) * mask + rng.normal(0, 0.02, mask.shape)
    return Scan(np.abs(1000 * data).astype(np.float32), affine, "head.nii")


def t1_of(tissues: Tissues) -> Scan:
    return with_brightness(tissues, white=1.0, grey=0.72, fluid=0.25)
