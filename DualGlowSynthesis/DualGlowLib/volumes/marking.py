"""How synthetic images are named and marked, and how they are known again."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

from ..outputs import NAME, says_synthetic, sidecar_of
from .headers import first_bytes
from .scan import Scan

__all__ = ["SYNTHETIC", "SYNTHETIC_BELOW", "SYNTHETIC_SD", "is_synthetic", "marked_by", "output_name"]

SYNTHETIC = "SYNTHETIC FDG DualGlow, research use only"
"""What the NIfTI header of a synthetic PET says; at most 80 bytes."""

SYNTHETIC_SD = "SYNTHETIC FDG standard deviation DualGlow, research use only"
"""The same for the standard deviation of samples."""

SYNTHETIC_BELOW = "SYNTHETIC FDG share below a SUVR DualGlow, research use only"
"""The same for the share of samples below a threshold."""

_SHARED = ("sub", "ses", "run")
"""Of a T1's name, what may stand in that of a PET and means the same there; the rest goes into the label of desc."""


def is_synthetic(scan: Scan) -> bool:
    """Whether a scan says of itself that it was synthesized: in its header, its DICOM tags or the JSON beside it."""
    if scan.meta.get("synthetic") or "SYNTHETIC" in str(scan.meta.get("description", "")):
        return True
    return bool(scan.source and marked_by(Path(scan.source)))


def marked_by(path: Path) -> str:
    """What says that an image file is synthetic: "its name", "the JSON beside it" or "its header"; empty if nothing.

    Every mark that DualGlow writes is known, also after the usual converters: dcm2niix puts the comments and the
    description of a DICOM series into the JSON file and the header, and the description into the name; ITK carries the
    description of a NIfTI over to NRRD and MetaImage. A DICOM series itself is marked in its tags
    (``dicom.file.is_marked``).
    """
    name = path.name
    if says_synthetic(name) or re.search(r"desc-[A-Za-z0-9]*synthetic[A-Za-z0-9]*_(?:.*_)?pet\b", name, re.IGNORECASE):
        return "its name"
    try:
        about = json.loads(sidecar_of(path).read_text(encoding="utf-8-sig"))
        if about.get("Synthetic") or NAME in (about.get("Manufacturer"), about.get("ManufacturersModelName")):
            return "the JSON beside it"
        if any(says_synthetic(value) for value in about.values() if isinstance(value, str)):
            return "the JSON beside it"
    except (OSError, ValueError, AttributeError):
        pass
    return "its header" if _is_marked_header(path) else ""


def _is_marked_header(path: Path) -> bool:
    try:
        head = first_bytes(path)
    except (OSError, zlib.error):
        return False
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}  # of the header: 348 NIfTI-1, 540 NIfTI-2
    if not sizes & {348, 540}:
        text = head.split(b"\n\n")[0] if head[:4] == b"NRRD" else head.split(b"ElementDataFile")[0]
        return bool(head[:4] == b"NRRD" or b"NDims" in text) and says_synthetic(text.decode("latin-1"))
    description, more = (head[148:228], head[228:252]) if 348 in sizes else (head[240:320], head[320:344])
    return b"SYNTHETIC" in description or says_synthetic(more.decode("latin-1"))


def output_name(source: str | Path, description: str = "synthetic") -> str:
    """The BIDS-derivative name of a PET synthesized from a T1.

    >>> output_name("sub-01/anat/sub-01_ses-M12_T1w.nii.gz")
    'sub-01_ses-M12_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz'
    >>> output_name("IXI012 T1.nii", "syntheticAge62.5")
    'sub-IXI012_trc-18FFDG_space-T1w_desc-syntheticAge62p5_pet.nii.gz'
    >>> output_name("sub-01_acq-mprage_run-2_T1w.nii.gz")
    'sub-01_trc-18FFDG_run-2_space-T1w_desc-syntheticAcqMprage_pet.nii.gz'

    Args:
        source: the T1's path; a name that is not BIDS becomes the subject's label, or its folder's name if it says no
            more than "T1".
        description: the ``desc`` entity; a decimal point becomes p, and what BIDS doesn't allow there is left out.
    """
    name = re.split(r"\.(nii|mgh|mgz|nrrd|nhdr|mha|mhd|dcm)\b", Path(source).name, maxsplit=1, flags=re.IGNORECASE)[0]
    found = dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9]+)", name))
    if "sub" not in found:
        names = (re.sub(r"[ _.-]*T1w?$", "", name, flags=re.IGNORECASE), Path(source).absolute().parent.name, "unknown")
        labels = (re.sub(r"[^A-Za-z0-9]", "", name) for name in names)
        found = {"sub": next(filter(None, labels))}
    *person, run = (f"{key}-{found[key]}_" if key in found else "" for key in _SHARED)
    others = "".join(text[:1].upper() + text[1:] for key in found if key not in (*_SHARED, "trc")
                     for text in (key, found[key]))  # fmt: skip
    label = re.sub(r"[^A-Za-z0-9]", "", description.replace(".", "p")) + others
    return f"{''.join(person)}trc-18FFDG_{run}space-T1w_desc-{label}_pet.nii.gz"
