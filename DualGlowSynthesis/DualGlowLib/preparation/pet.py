"""From a PET in its own space to the model's grid, in SUVR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..atlas.reference import REFERENCES, reference_mean
from ..errors import InputError
from ..volumes.affines import apply_affine
from ..volumes.lattices import box_lattice
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from ..volumes.slices import slice_doubts
from .affine import degrees
from .deformable import to_grid
from .pet_quality import (
    Appearance,
    brain_in,
    check_image,
    file_doubts,
    fit_doubts,
    region_doubts,
    regions_measured,
    voxel_doubts,
    voxels_of,
)
from .quality import Verdict
from .rigid import assess, measured, register_rigid
from .t1 import Prepared

__all__ = ["PreparedPet", "prepare_pet"]

_FWHM = float(np.sqrt(8 * np.log(2)))  # of a Gaussian, over its standard deviation


@dataclass
class PreparedPet:
    """A PET on the model's grid.

    Attributes:
        scan: the PET it came from.
        suvr: float32, the grid's shape; uptake over the mean of the reference region, at least 0, and 0 outside the
            PET's field of view. It is not cut to the brain: the T1's ``mask`` says where that is.
        pet_to_t1: 4×4, PET RAS millimetres to T1 RAS millimetres, rigid.
        reference: "pons", "cerebellum" or "brain".
        reference_value: mean of the PET, in its own units, in the reference region.
        resolution: full width at half maximum in millimetres of the image on the grid as declared, None if unknown.
        quality: what the preparation found, see ``prepare_pet``.
        verdict: "good", or "doubtful" with reasons; what would be refused raises InputError instead.
    """

    scan: Scan
    suvr: np.ndarray
    pet_to_t1: np.ndarray
    reference: str
    reference_value: float
    resolution: float | None
    quality: dict = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)

    def to_dict(self) -> dict:
        """Provenance without voxels, fit for JSON."""
        return {
            "source": self.scan.source,
            "scan": self.scan.to_dict(),
            "pet_to_t1": self.pet_to_t1.tolist(),
            "reference": self.reference,
            "reference_value": self.reference_value,
            "resolution": self.resolution,
            "quality": dict(self.quality),
            "verdict": self.verdict.to_dict(),
        }


def prepare_pet(
    pet: Scan,
    prepared: Prepared,
    *,
    reference: str = "pons",
    resolution: float | None = 8.0,
    source_resolution: float | None = None,
    registered: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> PreparedPet:
    """Register a PET to its T1, smooth it to a declared resolution, bring it to the grid, and scale it to SUVR.

    The PET is interpolated once, from its own voxels to the grid's, through its registration and the T1's (with its
    deformable step, if there was one).

    Smoothing needs the PET's own resolution, which can't be estimated reliably from the image. So it is done only if
    ``source_resolution`` is given: in the PET's own space, by the width that makes up the difference, less what the
    grid's voxels blur anyway. A PET that is already coarser than ``resolution`` stays as it is.

    Args:
        pet: an FDG-PET of the same person, in any units, orientation, voxel size and field of view.
        prepared: what ``prepare`` returned for the T1.
        reference: region of the SUVR's denominator, one of ``REFERENCES``.
        resolution: full width at half maximum in millimetres wanted on the grid, in the patient; None for no smoothing.
        source_resolution: full width at half maximum of the PET as it is, None if unknown.
        registered: True if the PET's millimetres are the T1's already; it is then not registered.
        progress: called with a stage ("registration", "resampling") and how much of the whole is done.

    Returns:
        The prepared PET. ``quality`` holds ``covered`` (part of the patient's brain that the PET has measured),
        ``regions_seen`` (part of each region that was, where that is less than ``regions.SEEN``),
        ``overlap`` (Dice of the PET's warm brain with the T1's brain mask), ``surroundings`` (uptake just outside the
        brain over that inside), ``grey_white`` (uptake of grey over white matter as the T1 shows them), ``moved``
        (millimetres between the PET's place in the file and after registration, mean over the brain), ``information``
        (mutual information with the T1, nats), ``turned`` (degrees of that), ``nonfinite_in_brain``,
        ``negative_in_brain`` and ``wrapped`` (voxels of the brain: how many without a number, below 0, and dark amid
        the hottest), ``smoothed`` (millimetres of the blur that was added, along the PET's
        three axes) and ``notes`` (sentences about the resolution).

    Raises:
        InputError: for an image that is not an acquired PET of a brain, or that doesn't cover the reference region, or
            for resolutions that are no lengths.
    """
    report = progress or (lambda stage, fraction: None)
    where = pet.source or "the PET"
    for name, value in (("resolution", resolution), ("source resolution", source_resolution)):
        if value is not None and not 0 < value < 30:
            raise InputError(f"The {name} of a PET must be between 0 and 30 mm (FWHM), not {value:g}; correct it.")
    if reference not in REFERENCES:
        raise InputError(f"There is no reference region {reference!r}; choose one of {', '.join(REFERENCES)}.")
    check_image(pet, where)
    pet = _orthogonal(pet)

    report("registration", 0.0)
    t1, mask = prepared.scan, prepared.patient_mask
    if registered:
        pet_to_t1, fit = np.eye(4), assess(pet, t1, mask)
    else:
        pet_to_t1, fit = register_rigid(pet, t1, mask, lambda fraction: report("registration", 0.8 * fraction))
    seen = Appearance.of(pet, prepared, pet_to_t1)
    seen.check(where, fit["information"])

    report("resampling", 0.8)
    grid = prepared.grid
    target = np.linalg.inv(prepared.to_template @ pet_to_t1) @ grid.affine
    blur, reached, notes = _blur(pet, target, resolution, source_resolution)
    data = _smoothed(pet.data, blur / _FWHM / pet.spacing)
    to_template = prepared.to_template @ pet_to_t1
    values = to_grid(data, pet.affine, grid, to_template, prepared.warp, order=3)
    fov = to_grid(measured(pet.data), pet.affine, grid, to_template, prepared.warp, antialias=False) > 0.99
    values = np.where(fov, np.clip(values, 0, data.max()), 0).astype(np.float32)
    value = reference_mean(values, fov, grid, prepared.mask, reference, where)
    regions = regions_measured(prepared, fov)
    quality = {
        "covered": round(seen.covered, 4),
        "regions_seen": regions,
        "overlap": round(seen.overlap, 4),
        "surroundings": round(seen.surroundings, 4),
        "grey_white": round(seen.grey_white, 4),
        "moved": round(_moved(prepared, pet_to_t1), 2),
        "information": round(fit["information"], 4),
        "smoothed": [round(float(b), 2) for b in blur],
        "notes": notes,
    }
    voxels = voxels_of(pet, brain_in(pet, prepared, pet_to_t1))
    quality |= {"turned": round(degrees(pet_to_t1[:3, :3]), 1), **voxels}
    reasons = (
        seen.doubts()
        + region_doubts(regions)
        + fit_doubts(fit)
        + file_doubts(pet, prepared.scan, quality)
        + voxel_doubts(voxels)
    )
    reasons += slice_doubts(pet.data)
    report("resampling", 1.0)
    return PreparedPet(
        pet, values / value, pet_to_t1, reference, value, reached, quality,
        Verdict("doubtful" if reasons else "good", reasons),
    )  # fmt: skip


def _orthogonal(pet: Scan) -> Scan:
    """The PET itself, or if its axes are sheared (which no scanner does) the PET on a lattice of right angles."""
    axes = pet.affine[:3, :3] / pet.spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3:
        return pet
    shape, affine = box_lattice(np.ones(pet.shape, bool), pet.affine, 0.0, float(pet.spacing.min()))
    data = resample(pet.data, pet.affine, shape, affine)
    return Scan(data, affine, pet.source, {**pet.meta, "sheared": True})


def _smoothed(data: np.ndarray, sigma: list | np.ndarray) -> np.ndarray:
    """Blurred by a Gaussian of the given standard deviations in voxels; the edge voxels go on beyond the edge."""
    import SimpleITK as sitk

    sigma = np.asarray(sigma, float)
    if not sigma.any():
        return np.asarray(data, np.float32)
    image = sitk.GetImageFromArray(np.asarray(data, np.float32))
    width = int(2 * np.ceil(6 * sigma.max()) + 1)
    image = sitk.DiscreteGaussian(image, np.square(sigma[::-1]).tolist(), width, [1e-4] * 3, False)
    return sitk.GetArrayFromImage(image)


def _moved(prepared: Prepared, pet_to_t1: np.ndarray) -> float:
    points = apply_affine(prepared.scan.affine, np.argwhere(prepared.patient_mask)[::97])
    return float(np.linalg.norm(apply_affine(np.linalg.inv(pet_to_t1), points) - points, axis=1).mean())


def _blur(
    pet: Scan, target: np.ndarray, wanted: float | None, source: float | None
) -> tuple[np.ndarray, float | None, list[str]]:
    """FWHM in mm to blur by along each of the PET's axes, the resolution that this gives, and notes for the user."""
    if source is None:
        notes = [] if wanted is None else [f"Not smoothed to {wanted:g} mm, since the PET's own resolution is unknown."]
        return np.zeros(3), None, notes
    step = np.linalg.solve(pet.affine, target)[:3, :3]
    grid = np.maximum((step**2).sum(axis=1) - 1, 0) * pet.spacing**2  # FWHM², what ``resample`` blurs against aliasing
    blur = np.maximum((wanted or 0.0) ** 2 - source**2 - grid, 0)
    reached = float(np.sqrt(source**2 + (blur + grid).max()))
    if wanted is not None and source > wanted:
        return (
            np.sqrt(blur),
            reached,
            [f"Not smoothed: the PET's own resolution is {source:g} mm, above {wanted:g} mm."],
        )
    coarse = wanted is not None and reached > wanted + 0.05
    notes = [f"The grid's voxels blur the PET to {reached:.1f} mm, above {wanted:g} mm."] if coarse else []
    return np.sqrt(blur), reached, notes
