"""Write a scan as NIfTI, whole or not at all."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import json_text, write_whole
from ..outputs import NAME, SIDECAR, Output, check_outputs, generated_by, image_kind, kind_of, kind_of_file
from .scan import Scan

__all__ = ["scan_outputs", "write_scan"]


def scan_outputs(path: str | Path, description: str = "", sidecar: bool = True) -> list[Output]:
    """The files that ``write_scan`` writes, for ``outputs.check_outputs``: the image, and with ``sidecar`` its JSON.

    Raises:
        InputError: if the name does not end in .nii or .nii.gz.
    """
    path = Path(path)
    stem = path.name[: -len(_suffix(path))]
    image = Output(path, image_kind(description))
    return [image, Output(path.with_name(f"{stem}.json"), SIDECAR)] if sidecar else [image]


def write_scan(
    scan: Scan, path: str | Path, description: str = "", sidecar: dict | None = None, force: bool = False
) -> Path:
    """Write float32 NIfTI-1 with its place in millimetres, and a JSON file beside it if there is more to say.

    The affine goes into the sform, and into the qform too unless it is sheared (a qform can't hold that). The space
    code is MNI152 where ``scan.meta["space"]`` says so, else scanner space. Equal scans give equal bytes: the
    compressed file holds neither a time nor a name.

    Args:
        scan: what to write.
        path: a name that ends in .nii or .nii.gz, in a folder that exists.
        description: for the header; cut to the 80 bytes that NIfTI has room for.
        sidecar: for ``<name>.json``; numpy numbers and arrays are allowed.
        force: also replace an image that DualGlow did not write, or one with another description.

    Returns:
        The path written.

    Raises:
        InputError: if the name ends otherwise, the folder doesn't exist or can't be written, or one of the two files
            may not be replaced (``outputs.check_outputs``; a JSON file of somebody else never). Then nothing is
            written.
    """
    import nibabel as nib

    path = Path(path)
    check_outputs(scan_outputs(path, description, sidecar is not None), force=force)
    image = nib.Nifti1Image(np.asarray(scan.data, dtype=np.float32), scan.affine)
    image.set_data_dtype(np.float32)
    code = 4 if scan.meta.get("space") == "MNI152" else 1
    image.set_sform(scan.affine, code)
    if _is_sheared(scan.affine):
        image.set_qform(None, 0)
        image.header.set_zooms(scan.spacing)
    else:
        image.set_qform(scan.affine, code)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("utf-8")[:80].decode("utf-8", "ignore").encode("utf-8")
    image.header["intent_name"] = NAME.encode("ascii")

    content = image.to_bytes()
    if _suffix(path) == ".nii.gz":
        # Of floats, zlib finds nothing that repeats but the zeros; to look for runs alone is faster, and no larger.
        packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
        content = packer.compress(content) + packer.flush()
    write_whole(path, content, force)
    _, about = scan_outputs(path, description)
    if sidecar is not None:
        write_whole(about.path, _marked(sidecar))
    elif kind_of_file(about.path) == SIDECAR:
        about.path.unlink()  # it described the image that was there before
    return path


def _suffix(path: Path) -> str:
    suffix = next((end for end in (".nii.gz", ".nii") if path.name.lower().endswith(end)), None)
    if suffix is None or path.name.lower() == suffix:
        raise InputError(f"{path} can't be written: scans are written as NIfTI, so end the name in .nii or .nii.gz.")
    return suffix


def _marked(sidecar: dict) -> str:
    """As JSON that can be told from what others wrote."""
    text = json_text(sidecar)
    if kind_of(text.encode("utf-8")) == SIDECAR:
        return text
    makers = [*generated_by(SIDECAR), *sidecar.get("GeneratedBy", [])]
    return json_text({"GeneratedBy": makers} | {key: sidecar[key] for key in sidecar if key != "GeneratedBy"})


def _is_sheared(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4)
