"""What another age changes in the PET of one T1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..atlas.regions import REGIONS, weights
from ..preparation.t1 import Prepared, to_patient
from ..provenance import Provenance
from ..volumes.scan import Scan

__all__ = ["Change", "change_between"]

_LEAST = 0.1  # SUVR: of less than this, per cent mean nothing


@dataclass
class Change:
    """A PET at one age minus that at another, of the same anatomy and from the same noise.

    Attributes:
        difference: SUVR, on the T1's lattice, 0 outside the brain.
        percent: of the PET at the other age, likewise; 0 where that is below 0.1 SUVR.
        regions: rows with ``region``, ``since`` and ``mean`` (SUVR at the other age and at this), ``change`` (SUVR) and
            ``percent``; None where the T1 does not show the region.
        provenance: of the PET at this age, and ``SinceAge``.
    """

    difference: Scan
    percent: Scan
    regions: list[dict]
    provenance: Provenance


def change_between(since: np.ndarray, now: np.ndarray, prepared: Prepared, provenance: Provenance) -> Change:
    """Compare two PETs on the grid (SUVR) of one T1; ``provenance``: as in ``Change``."""
    difference, base = to_patient(now - since, prepared), to_patient(since, prepared).data
    # Within the soft edge both are faded alike: their ratio is that of what is below.
    known = (base > _LEAST) & (prepared.patient_edge > 0.5)
    percent = np.divide(100 * difference.data, base, out=np.zeros_like(base), where=known)
    kernels = weights(prepared.grid)
    means = (np.tensordot(kernels, pet, 3).tolist() for pet in (since, now))
    rows = [
        _row(name, before, after) if shown else _row(name, None, None)
        for name, before, after, shown in zip(REGIONS, *means, prepared.regions_known, strict=True)
    ]
    return Change(difference, difference.like(percent), rows, provenance)


def _row(name: str, since: float | None, now: float | None) -> dict:
    change = percent = None
    if since is not None and now is not None:
        change = now - since
        percent = 100 * change / since if since > _LEAST else None
    return {"region": name, "since": since, "mean": now, "change": change, "percent": percent}
