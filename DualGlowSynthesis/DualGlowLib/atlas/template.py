"""The MNI152 brain that every scan is brought to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..resources import resource
from ..volumes.reading import read_scan
from ..volumes.scan import Scan

__all__ = ["REFERENCE", "Template", "load_template"]

REFERENCE = "http://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
"""What sidecars give as ``SpatialReference``."""


@dataclass(frozen=True)
class Template:
    """MNI152 (ICBM 2009a nonlinear symmetric), without skull.

    Attributes:
        t1: T1-weighted, 1 mm, 0 outside the brain.
        gm: probability of grey matter, 0..1, 2 mm.
        wm: probability of white matter, 0..1, 2 mm.
        mask: the brain with its ventricles and sulci, bool, on t1's lattice.
    """

    t1: Scan
    gm: Scan
    wm: Scan
    mask: Scan


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The shipped template; read once. Treat its arrays as read-only (they are set so)."""
    t1, gm, wm = (read_scan(resource("Template", f"mni152_{name}.nii.gz")) for name in ("t1", "gm", "wm"))
    for scan in (t1, gm, wm):
        scan.meta["space"] = "MNI152"
    gm.data /= 255.0
    wm.data /= 255.0
    mask = t1.like(t1.data > 0)
    for scan in (t1, gm, wm, mask):
        scan.data.setflags(write=False)
    return Template(t1, gm, wm, mask)
