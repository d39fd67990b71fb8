"""How synthetic images are named and marked, and how they are known again."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .scan import Scan

__all__ = ["SYNTHETIC", "SYNTHETIC_BELOW", "SYNTHETIC_SD", "is_synthetic", "output_name"]

SYNTHETIC = "SYNTHETIC FDG DualGlow, research use only"
"""What the NIfTI header of a synthetic PET says; at most 80 bytes."""

SYNTHETIC_SD = "SYNTHETIC FDG standard deviation DualGlow, research use only"
"""The same for the standard deviation of samples."""

SYNTHETIC_BELOW = "SYNTHETIC FDG share below a SUVR DualGlow, research use only"
"""The same for the share of samples below a threshold."""

_ENTITIES = ("sub", "ses", "acq", "run")  # of a T1's name that hold for what is made from it, in BIDS' order


def is_synthetic(scan: Scan) -> bool:
    """Whether a scan says of itself that it was synthesized: in its header, its DICOM tags or the JSON beside it."""
    if scan.meta.get("synthetic") or "SYNTHETIC" in str(scan.meta.get("description", "")):
        return True
    if not scan.source:
        return False
    path = Path(scan.source)
    beside = path.with_name(re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE) + ".json")
    try:
        return bool(json.loads(beside.read_text(encoding="utf-8")).get("Synthetic"))
    except (OSError, ValueError, AttributeError):
        return False


def output_name(source: str | Path, description: str = "synthetic") -> str:
    """The BIDS-derivative name of a PET synthesized from a T1.

    >>> output_name("sub-01/anat/sub-01_ses-M12_T1w.nii.gz")
    'sub-01_ses-M12_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz'
    >>> output_name("IXI012 T1.nii", "syntheticAge62.5")
    'sub-IXI012_trc-18FFDG_space-T1w_desc-syntheticAge62p5_pet.nii.gz'

    Args:
        source: the T1's path; a name that is not BIDS becomes the subject's label, or its folder's name if it says no
            more than "T1".
        description: the ``desc`` entity; a decimal point becomes p, and what BIDS doesn't allow there is left out.
    """
    name = re.split(r"\.(nii|mgh|mgz|nrrd|nhdr|mha|mhd|dcm)\b", Path(source).name, maxsplit=1, flags=re.IGNORECASE)[0]
    found = dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9]+)", name))
    if "sub" not in found:
        names = (re.sub(r"[ _.-]*T1w?$", "", name, flags=re.IGNORECASE), Path(source).parent.name, "unknown")
        labels = (re.sub(r"[^A-Za-z0-9]", "", name) for name in names)
        found = {"sub": next(filter(None, labels))}
    entities = [f"{key}-{found[key]}" for key in _ENTITIES if key in found]
    label = re.sub(r"[^A-Za-z0-9]", "", description.replace(".", "p"))
    return "_".join([*entities, "trc-18FFDG", "space-T1w", f"desc-{label}", "pet.nii.gz"])
