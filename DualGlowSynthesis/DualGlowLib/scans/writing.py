"""Write a scan as NIfTI, whole or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import write_json, write_whole
from .scan import Scan

__all__ = ["write_scan"]


def write_scan(scan: Scan, path: str | Path, description: str = "", sidecar: dict | None = None) -> Path:
    """Write float32 NIfTI-1 with its place in millimetres, and a JSON file beside it if there is more to say.

    The affine goes into the sform, and into the qform too unless it is sheared (a qform can't hold that). The space
    code is MNI152 where ``scan.meta["space"]`` says so, else scanner space. Equal scans give equal bytes: the
    compressed file holds neither a time nor a name.

    Args:
        scan: what to write.
        path: a name that ends in .nii or .nii.gz, in a folder that exists.
        description: for the header; cut to the 80 bytes that NIfTI has room for.
        sidecar: for ``<name>.json``; numpy numbers and arrays are allowed.

    Returns:
        The path written.

    Raises:
        InputError: if the name ends otherwise, or the folder doesn't exist or can't be written.
    """
    import nibabel as nib

    path = Path(path)
    suffix = next((end for end in (".nii.gz", ".nii") if path.name.lower().endswith(end)), None)
    if suffix is None or path.name.lower() == suffix:
        raise InputError(f"{path} can't be written: scans are written as NIfTI, so end the name in .nii or .nii.gz.")
    if not path.parent.is_dir():
        raise InputError(f"{path} can't be written: the folder {path.parent} does not exist; make it first.")
    if path.is_dir():
        raise InputError(f"{path} can't be written: it is a folder; give a file name.")

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

    content = image.to_bytes()
    write_whole(path, gzip.compress(content, 1, mtime=0) if suffix == ".nii.gz" else content)
    if sidecar is not None:
        write_json(path.with_name(path.name[: -len(suffix)] + ".json"), sidecar)
    return path


def _is_sheared(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4)
