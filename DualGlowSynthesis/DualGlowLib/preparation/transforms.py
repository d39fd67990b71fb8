"""The way to the template as a transform file that 3D Slicer, ITK and ANTs read.

Direction. ``to_template`` takes a point of the patient to the template (RAS millimetres). The file holds the *same*
matrix in LPS and inverted: the transform that ITK applies when it resamples the patient's image onto the template's
grid, which goes from points of the output (template) to points of the input (patient). So

    sitk.Resample(t1, template, sitk.ReadTransform(path))

gives the T1 in template space; and Slicer, which reads transform files as ITK writes them ("from parent") and shows
the inverse of what it reads, moves the T1 onto the template when the T1 is put under the loaded transform.

HDF5 holds a composite transform, of the matrix and, before it, the displacement field of a deformable step (which text
can't hold). Composite also without a deformation: some programs, such as nitransforms, read no bare matrix in HDF5.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files import write_whole
from ..outputs import TRANSFORM, TRANSFORM_MARK, Output, check_outputs
from ..volumes.affines import from_matvec
from ..volumes.scan import LPS

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .deformable import Warp
    from .t1 import Prepared

__all__ = ["read_transform", "read_warped", "to_itk", "transform_output", "write_transform"]

_SUFFIXES = (".h5", ".tfm")


def to_itk(to_template: np.ndarray) -> sitk.AffineTransform:
    """The ITK transform (LPS, template points to patient points) of a 4×4 from patient to template (RAS)."""
    import SimpleITK as sitk

    matrix = LPS @ np.linalg.inv(np.asarray(to_template, np.float64)) @ LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def transform_output(path: str | Path, deformed: bool = False) -> Output:
    """The file that ``write_transform`` writes, for ``outputs.check_outputs``.

    Raises:
        InputError: if the name does not end in .h5 or .tfm, or for a deformation not in .h5.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path} can't be written: transforms are written for ITK, so end the name in .h5 or .tfm.")
    if deformed and path.suffix.lower() != ".h5":
        raise InputError(f"{path} can't be written: a deformation needs ITK's HDF5, so end the name in .h5.")
    return Output(path, TRANSFORM)


def write_transform(prepared: Prepared | np.ndarray, path: str | Path, force: bool = False) -> Path:
    """Write the way from the patient to the template, whole or not at all.

    Args:
        prepared: what ``prepare`` returned, or its ``to_template`` (4×4, RAS millimetres; then the affine alone).
        path: a name that ends in .h5 (ITK's HDF5) or .tfm (ITK's text), in a folder that exists.
        force: also replace a file that DualGlow did not write.

    Returns:
        The path written.

    Raises:
        InputError: if the name ends otherwise (.tfm can't hold a deformation), the folder doesn't exist or can't be
            written, or the file may not be replaced (``outputs.check_outputs``).
        ValueError: if the matrix is not an invertible 4×4.
    """
    import SimpleITK as sitk

    path = Path(path)
    warp = getattr(prepared, "warp", None)
    check_outputs([transform_output(path, warp is not None)], force=force)
    matrix = np.asarray(getattr(prepared, "to_template", prepared), np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise ValueError("A transform is an invertible 4×4 matrix.")
    transform = to_itk(matrix)
    if path.suffix.lower() == ".h5":
        field = [] if warp is None else [sitk.DisplacementFieldTransform(_field_to_itk(warp))]
        transform = sitk.CompositeTransform([transform, *field])
    beside = path.with_name(f".{secrets.token_hex(6)}{path.suffix.lower()}")
    try:
        sitk.WriteTransform(transform, str(beside))
        content = beside.read_bytes()
    except (OSError, RuntimeError):
        raise InputError(f"{path} can't be written: check that its folder may be written to and has space.") from None
    finally:
        with suppress(OSError):
            beside.unlink()
    return write_whole(path, content + TRANSFORM_MARK, force)


def _field_to_itk(warp: Warp) -> sitk.Image:
    """The displacement field in LPS, as ITK and Slicer expect it: double precision."""
    import SimpleITK as sitk

    vectors = warp.field * np.diag(LPS)[:3]
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.swapaxes(vectors, 0, 2), np.float64), isVector=True)
    image.SetSpacing(np.diag(warp.affine)[:3].tolist())
    image.SetOrigin((LPS @ warp.affine)[:3, 3].tolist())
    image.SetDirection(LPS[:3, :3].ravel().tolist())
    return image


def read_transform(path: str | Path) -> np.ndarray:
    """Read what ``write_transform`` wrote, or another linear transform that ITK uses to resample onto the template.

    Returns:
        4×4, patient RAS millimetres to template RAS millimetres.

    Raises:
        InputError: if the file is missing, is no transform, lacks its numbers, or holds one that is not linear or
            can't be inverted.
    """
    return _matrix_of(_read(path), path)


def read_warped(path: str | Path) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Read all of what ``write_transform`` wrote, a deformation too.

    Returns:
        The 4×4 of ``read_transform``, and the deformation's displacements with the 4×4 of their lattice, as
        ``volumes.resampling.resample`` takes them; None without one.

    Raises:
        InputError: as ``read_transform``; also for a transform of other parts than these.
    """
    import SimpleITK as sitk

    transform = _read(path)
    if transform.IsLinear():
        return _matrix_of(transform, path), None
    whole = transform.Downcast()
    parts = []
    if isinstance(whole, sitk.CompositeTransform):
        parts = [whole.GetNthTransform(number).Downcast() for number in range(whole.GetNumberOfTransforms())]
    if len(parts) != 2 or not parts[0].IsLinear() or not isinstance(parts[1], sitk.DisplacementFieldTransform):
        raise InputError(f"{path} holds another transform than an affine and a deformation; prepare the case again.")
    image = parts[1].GetDisplacementField()
    turn = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    field = np.swapaxes(sitk.GetArrayFromImage(image), 0, 2) * np.diag(LPS)[:3]
    return _matrix_of(parts[0], path), (field, LPS @ from_matvec(turn, np.array(image.GetOrigin())))


def _read(path: str | Path) -> sitk.Transform:
    import SimpleITK as sitk

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    _check_whole(path)
    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError:
        raise InputError(f"{path} is not a transform that ITK can read; give a .h5 or .tfm file.") from None


def _matrix_of(transform: sitk.Transform, path: str | Path) -> np.ndarray:
    """Of a linear transform, from patient to template."""
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputError(f"{path} holds a transform that is not linear in 3-D; give the affine to the template.")
    # The points themselves say what any kind of linear transform does, whatever its parameters are.
    points = np.vstack([np.zeros(3), np.eye(3)]).tolist()
    origin, *ends = (np.array(transform.TransformPoint(point)) for point in points)
    matrix = from_matvec(np.stack(ends, axis=1) - origin[:, None], origin)
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputError(f"{path} holds a transform that can't be inverted; give the affine to the template.")
    return np.linalg.inv(LPS @ matrix @ LPS)


def _check_whole(path: Path) -> None:
    """Refuse a text file in which a transform lacks its numbers: ITK reads it as the identity and says nothing."""
    with suppress(OSError, UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix.lower() in (".tfm", ".txt") else []
        kinds = [line for line in lines if line.startswith("Transform:") and "CompositeTransform" not in line]
        for key in ("Parameters", "FixedParameters"):
            if sum(line.startswith(f"{key}:") for line in lines) < len(kinds):
                raise InputError(f"{path} has no line {key}: for each of its transforms; write it again.")
