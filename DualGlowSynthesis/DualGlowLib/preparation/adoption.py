"""Accept a T1 that is prepared already (skull-stripped, normalised, in template space), after checks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..atlas.template import load_template
from ..errors import InputError, one_line
from ..outputs import sidecar_of
from ..volumes.grid import Grid
from ..volumes.morphology import filled, millilitres
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from .quality import Verdict, check_scan
from .t1 import Prepared

__all__ = ["adopt"]

# Measured on what ``prepare`` writes, for real and simulated heads: the 80th percentile is exactly 1, the maximum at
# most 1.5; Dice 0.92 to 0.99; correlation 0.5 to 0.99.
_MOST_BRAIN = 0.7  # share of voxels above 0; a head with its skull, or without a black background, has more
_TOP = 1.6
_WHITE = (0.8, 1.2)
_MIN_DICE, _SURE_DICE = 0.80, 0.90
_MIN_LIKENESS, _SURE_LIKENESS = 0.45, 0.48
_USUAL_ML = (800.0, 2600.0)  # brains stretched to the template's 1.9 litres
_OF_REGION = 0.6  # share of a region that its brain covers, 0.87 and more where the brain is whole


def adopt(scan: Scan, grid: Grid) -> Prepared:
    """Accept a T1 that ``prepare`` wrote. It is only resampled onto the grid, and not even that if it lies on it.

    Args:
        scan: white matter 1, fluid 0, 0 outside the brain, in MNI152 millimetres, on any lattice.
        grid: where to.

    Returns:
        As ``prepare``, with the identity for ``to_template`` and the brain where the T1 is above 0. ``quality`` holds
        ``dice``, ``correlation`` and ``brain_ml`` (here of template space), ``regions_seen`` (of the regions of which
        too little was measured: by the JSON beside the T1, or because the brain leaves them empty), and ``prepared``
        (True). What made its preparation doubtful, by that JSON, makes it so here.

    Raises:
        InputError: if its content shows that it is not prepared.
    """
    where, clean = scan.source or "The image", check_scan(scan)
    ask = "give the T1 that was prepared, or let this one be prepared"
    mask = clean.data > 0
    white = float(np.percentile(clean.data[mask], 80)) if mask.any() else 0.0
    top = float(clean.data.max())
    if clean.data.min() < 0 or top > _TOP or not _WHITE[0] <= white <= _WHITE[1]:
        raise InputError(
            f"{where} is not prepared: its values run from {clean.data.min():.3g} to {top:.3g}, its white matter is "
            f"near {white:.3g}, where 0, at most 1.5, and 1 are expected; {ask}."
        )
    template = load_template()
    mask = filled(mask)  # the darkest fluid is 0 as well
    share = resample(mask, clean.affine, grid.shape, grid.affine)
    inside = share > 0.5
    theirs = resample(template.mask.data, template.mask.affine, grid.shape, grid.affine) > 0.5
    both = inside & theirs
    dice = 2 * both.sum() / max(inside.sum() + theirs.sum(), 1)
    if mask.mean() > _MOST_BRAIN or dice < _MIN_DICE:
        raise InputError(
            f"{where} is not prepared: {mask.mean():.0%} of it is above 0, and that overlaps with the template's brain "
            f"by {dice:.2f} (at least {_MIN_DICE:.2f} expected); {ask}."
        )
    if grid.holds(clean.shape, clean.affine):
        t1 = np.ascontiguousarray(clean.data, np.float32)
    else:
        brain = resample(clean.data, clean.affine, grid.shape, grid.affine)
        t1 = np.where(inside, np.clip(brain / np.maximum(share, 1e-3), 0, 1.5), 0).astype(np.float32)
    usual = resample(template.t1.data, template.t1.affine, grid.shape, grid.affine)
    correlation = float(np.corrcoef(t1[both], usual[both])[0, 1])
    if not correlation >= _MIN_LIKENESS:
        raise InputError(
            f"{where} is not prepared: it correlates with the template by {correlation:.2f} only (at least "
            f"{_MIN_LIKENESS:.2f} expected); {ask}."
        )
    volume = millilitres(mask, clean.affine)
    doubts = []
    if dice < _SURE_DICE:
        doubts.append(f"the brain overlaps with the template by {dice:.2f} only, usual is 0.92 to 0.99")
    if correlation < _SURE_LIKENESS:
        doubts.append(f"its likeness with the template is {correlation:.2f}, usual is 0.50 to 0.99")
    if not _USUAL_ML[0] <= volume <= _USUAL_ML[1]:
        doubts.append(f"the brain measures {volume:.0f} ml, the template's 1900")
    regions, before = _stated(scan)
    regions |= {name: share for name, share in _of_regions(grid, inside).items() if name not in regions}
    if regions:
        doubts.append(f"parts of the brain are missing: {', '.join(regions)}, which have no value")
    doubts += before
    quality = {
        "dice": round(float(dice), 4),
        "correlation": round(correlation, 4),
        "brain_ml": round(volume, 1),
        "regions_seen": regions,
        "prepared": True,
    }
    return Prepared(grid, t1, inside, scan, mask, np.eye(4), quality, Verdict("doubtful" if doubts else "good", doubts))


def _of_regions(grid: Grid, inside: np.ndarray) -> dict[str, float]:
    """Regions that the brain leaves empty, and the share of each that it covers."""
    from ..atlas.regions import incomplete, regions_seen  # which need torch

    return incomplete(regions_seen(grid, inside), _OF_REGION)


def _stated(scan: Scan) -> tuple[dict[str, float], list[str]]:
    """What the JSON beside a T1 that ``prepare`` wrote says: its incomplete regions, and the reasons for doubt."""
    from ..atlas.regions import REGIONS  # which needs torch

    try:
        about = json.loads(sidecar_of(Path(scan.source)).read_text(encoding="utf-8-sig"))["Preparation"]
        seen = about["quality"].get("regions_seen", {})
        regions = {name: float(seen[name]) for name in REGIONS if name in seen}
        return regions, [one_line(str(reason)).rstrip(".") for reason in about["verdict"].get("reasons", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, []
