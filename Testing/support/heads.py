"""The template as a head in large voxels, where a test needs a head and not its details."""

from __future__ import annotations

import numpy as np

from DualGlowLib.atlas.template import load_template
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

__all__ = ["coarse_template"]


def coarse_template(step: int) -> tuple[Scan, Scan]:
    """The template's T1 and brain mask (0 or 1) in voxels of ``step`` millimetres."""
    template = load_template()
    shape, affine = tuple(side // step for side in template.t1.shape), template.t1.affine @ np.diag([step] * 3 + [1])
    t1, brain = (resample(one.data, one.affine, shape, affine) for one in (template.t1, template.mask))
    return Scan(t1, affine), Scan(brain > 0.5, affine)
