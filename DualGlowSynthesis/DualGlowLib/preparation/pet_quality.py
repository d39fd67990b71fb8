"""Checks that an image is an FDG-PET of this brain, from its voxels, before and after registration to the T1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..volumes.contradictions import header_doubts
from ..volumes.dynamic.pet import frame_doubts
from ..volumes.marking import is_synthetic
from ..volumes.morphology import filled
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from ..volumes.voxels import wrapped
from .rigid import Target, measured
from .t1 import Prepared

__all__ = [
    "Appearance",
    "brain_in",
    "check_image",
    "file_doubts",
    "fit_doubts",
    "region_doubts",
    "regions_measured",
    "voxel_doubts",
    "voxels_of",
]

# FDG-PETs on their T1s (BrainWeb's and such as Testing/benchmarks/pet_registration.py makes of real heads, blurred and
# noisy too) reach an overlap of 0.76 to 0.93, surroundings of 0.2 to 0.93, grey over white of 1.07 to 1.7, fluid over
# grey of 0.27 to 0.72, a mutual information of 0.50 to 0.62 and a likeness of -0.3 to 0.3; a mean FDG image on heads of
# other persons 0.86 (grey over white), 0.92 (fluid over grey), 0.46 and 0.40. MRIs have a likeness above 0.68 or below
# -0.9, or lie nowhere well; a CT has a variation of 0.06 at most, noise an information of 0.01.
_MIN_COVERED, _SURE_COVERED = 0.5, 0.9
_MIN_OVERLAP, _SURE_OVERLAP = 0.45, 0.7
_NO_BRAIN, _SURE_SURROUNDINGS = 1.5, 1.1
_MIN_GREY_WHITE = 0.85
_MIN_VARIATION = 0.12
_MAX_FLUID = 1.15
_MIN_INFORMATION, _SURE_INFORMATION = 0.1, 0.25
_MAX_LIKENESS = 0.6  # a T1 has more
_MIN_LIKENESS = -0.8  # a T2, whose contrast is inverted, has less
_MAX_NEGATIVE = 0.2  # of the positive voxels' sum
_MAX_EQUAL = 0.7  # of neighbouring bright voxels
_FAR, _TURNED = 100.0, 45.0  # mm and degrees between where the files say that PET and T1 lie and where they fit
_MIN_VOXELS = 10  # of the brain with a wrong value; PETs at hand have none
_NEGATIVE = 0.001  # of the brain's voxels; reconstructions without a limit at 0 have some, in the fluid


def check_image(pet: Scan, where: str) -> None:
    """Refuse an image that, before any registration, is known not to be an acquired PET."""
    if is_synthetic(pet):
        raise InputError(f"{where} is a synthetic PET made from an MRI; synthetic outputs are not accepted as PET.")
    modality = str(pet.meta.get("modality", "PT")).upper()
    if modality not in ("PT", "NM", "OT"):
        raise InputError(f"{where} is no PET: its DICOM modality is {modality}; give the FDG-PET of this person.")
    if pet.meta.get("attenuation_corrected") is False:
        raise InputError(f"{where} is a PET without correction for attenuation; give the corrected one.")
    data = np.asarray(pet.data, np.float64)
    if not np.isfinite(data).all():
        raise InputError(f"{where} holds voxels that are not numbers; read it with read_scan, or export it again.")
    top = float(np.percentile(data, 99.5))
    if data.max() == data.min() or top <= 0:
        raise InputError(
            f"{where} shows no uptake (the brightest voxels are {top:.3g}); give the FDG-PET image itself."
        )
    below = -data[data < 0].sum() / data[data > 0].sum()
    if below > _MAX_NEGATIVE:
        count = wrapped(data, np.ones(data.shape, bool))
        if count >= _MIN_VOXELS:
            raise InputError(
                f"{where} can't be used: {count} of its voxels are negative amid the brightest ones, as after an "
                "integer overflow; export it again."
            )
        raise InputError(
            f"{where} is no PET: its negative voxels weigh {below:.0%} of the positive ones (uptake is not negative; a "
            "CT and a difference image are); give the FDG-PET image itself."
        )
    bright = data > 0.1 * top
    same = [np.diff(data, axis=axis) == 0 for axis in range(3)]
    both = [np.logical_and(*_neighbours(bright, axis)) for axis in range(3)]
    equal = sum(np.count_nonzero(s & b) for s, b in zip(same, both, strict=True)) / max(sum(b.sum() for b in both), 1)
    if equal > _MAX_EQUAL:
        raise InputError(
            f"{where} is a label map or mask and no PET: {equal:.0%} of its neighbouring voxels are equal; give the "
            "FDG-PET image itself."
        )


def _neighbours(volume: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    count = volume.shape[axis]
    return volume.take(range(count - 1), axis), volume.take(range(1, count), axis)


@dataclass(frozen=True)
class Appearance:
    """What a PET shows of a brain at 3 mm, in the T1's space; see ``prepare_pet`` and the attributes' uses below."""

    covered: float
    overlap: float
    surroundings: float  # the brighter part (95th percentile) of a shell outside the skull over the brain's median
    grey_white: float
    fluid_grey: float
    likeness: float  # correlation with the T1 inside the brain
    variation: float  # standard deviation inside the brain over the mean

    @classmethod
    def of(cls, pet: Scan, prepared: Prepared, pet_to_t1: np.ndarray) -> Appearance:
        target = Target.of(prepared.scan, prepared.patient_mask)
        place = np.linalg.inv(pet_to_t1) @ target.affine
        values = resample(pet.data, pet.affine, target.t1.shape, place)
        fov = resample(measured(pet.data), pet.affine, target.t1.shape, place, order=0) > 0.5
        brain = target.mask > 0.5
        if np.count_nonzero(brain & fov) < 0.05 * np.count_nonzero(brain):
            return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        inside, t1 = values[brain & fov], target.t1
        depth = _distance(brain) * target.affine[0, 0]
        shell, deep = (depth > 9) & (depth < 18) & fov, fov & (depth < -4)
        tissues = ((t1 > 0.5) & (t1 < 0.8) & brain & fov, (t1 > 0.85) & deep, (t1 < 0.3) & deep & (depth < -8))
        grey, white, fluid = (float(values[tissue].mean()) if tissue.any() else 0.0 for tissue in tissues)
        median = max(float(np.median(inside)), 1e-12)
        spread = inside.std() * t1[brain & fov].std()
        return cls(
            covered=float(np.count_nonzero(brain & fov & (values > 0.01 * median)) / np.count_nonzero(brain)),
            overlap=_overlap(values, brain, fov, depth),
            surroundings=float(np.percentile(values[shell], 95)) / median if shell.any() else 0.0,
            grey_white=grey / white if white > 0 else 0.0,
            fluid_grey=fluid / grey if grey > 0 else 0.0,
            likeness=float(np.mean((inside - inside.mean()) * (t1[brain & fov] - t1[brain & fov].mean())) / spread)
            if spread > 0
            else 0.0,
            variation=float(inside.std() / max(inside.mean(), 1e-12)),
        )

    def check(self, where: str, information: float) -> None:
        """Refuse what is no FDG-PET of a brain, or does not lie on this one.

        Args:
            where: what the message calls the image.
            information: mutual information with the T1, nats.

        Raises:
            InputError: with the numbers that tell.
        """
        ask = "give the FDG-PET of this person"
        if self.covered < _MIN_COVERED:
            raise InputError(f"{where} covers only {self.covered:.0%} of the brain; {ask}, in the whole brain.")
        if not _MIN_LIKENESS <= self.likeness <= _MAX_LIKENESS:
            raise InputError(
                f"{where} looks like an MRI and not like a PET (correlation with the T1 {self.likeness:.2f}); {ask}."
            )
        if self.variation < _MIN_VARIATION:
            raise InputError(
                f"{where} shows no contrast inside the brain (standard deviation {self.variation:.2f} of the mean, at "
                f"least {_MIN_VARIATION:g} expected), as a CT does; {ask}."
            )
        if self.fluid_grey > _MAX_FLUID:
            raise InputError(
                f"{where} is brighter in the brain's fluid than in grey matter ({self.fluid_grey:.2f} times, at most "
                f"{_MAX_FLUID:g} expected), as some MRIs are and no PET is; {ask}."
            )
        if information < _MIN_INFORMATION:
            raise InputError(
                f"{where} has nothing in common with the T1 (mutual information {information:.2f}, at least "
                f"{_MIN_INFORMATION:g} expected); {ask}."
            )
        if self.surroundings > _NO_BRAIN or self.overlap < _MIN_OVERLAP:
            raise InputError(
                f"{where} doesn't look like an FDG-PET of this brain (brightness around the brain "
                f"{self.surroundings:.2f} of that inside, below {_NO_BRAIN:g} expected; overlap of the warm region "
                f"with the brain {self.overlap:.2f}, at least {_MIN_OVERLAP:g} expected); {ask}."
            )

    def doubts(self) -> list[str]:
        """A sentence for each thing that an FDG-PET rarely shows."""
        reasons = []
        if self.covered < _SURE_COVERED:
            reasons.append(f"The PET covers {self.covered:.0%} of the brain; what it hasn't measured is 0.")
        if self.overlap < _SURE_OVERLAP:
            reasons.append(
                f"The PET's warm region overlaps the T1's brain by {self.overlap:.2f} only (Dice; at least "
                f"{_SURE_OVERLAP:g} expected): look whether it lies on it."
            )
        if self.surroundings > _SURE_SURROUNDINGS:
            reasons.append(
                f"Around the brain the PET is {self.surroundings:.2f} times as bright as inside (below "
                f"{_SURE_SURROUNDINGS:g} expected): look whether it lies right, and whether it is FDG."
            )
        if self.grey_white < _MIN_GREY_WHITE:
            reasons.append(
                f"White matter takes up more than grey ({self.grey_white:.2f}, at least {_MIN_GREY_WHITE:g} expected "
                "of FDG): look whether the PET lies right, and whether the tracer is FDG."
            )
        return reasons


def regions_measured(prepared: Prepared, fov: np.ndarray) -> dict[str, float]:
    """Regions of which too little was measured, and the share of each that was, of what the patient's brain has of it.

    Args:
        prepared: the T1.
        fov: bool, the grid's shape; what the PET has measured.
    """
    if fov[prepared.mask].all():
        return {}  # without torch, as in ``preparation.t1``
    from ..atlas.regions import incomplete, weights

    both = (prepared.mask, prepared.mask & fov)
    whole, seen = (np.tensordot(weights(prepared.grid), part.astype(np.float64), 3) for part in both)
    return incomplete(np.divide(seen, whole, out=np.ones_like(whole), where=whole > 0))


def region_doubts(regions: dict[str, float]) -> list[str]:
    """A sentence about ``regions_measured``."""
    named = ", ".join(f"{name.replace('_', ' ')}: {1 - share:.0%}" for name, share in regions.items())
    return [f"The PET ends within the brain ({named} outside its field of view, where it is 0)."] if regions else []


def brain_in(pet: Scan, prepared: Prepared, pet_to_t1: np.ndarray) -> np.ndarray:
    """Bool on the PET's lattice: the T1's brain."""
    return resample(prepared.patient_mask, prepared.scan.affine, pet.shape, pet_to_t1 @ pet.affine, order=0) > 0.5


def voxels_of(pet: Scan, brain: np.ndarray) -> dict:
    """How many voxels of the brain (bool on the PET's lattice) can't hold what was measured, and of how many."""
    return {
        "brain_voxels": int(np.count_nonzero(brain)),
        "nonfinite_in_brain": 0 if pet.holes is None else int(np.count_nonzero(pet.holes & brain)),
        "negative_in_brain": int(np.count_nonzero(pet.data[brain] < 0)),
        "wrapped": wrapped(pet.data, brain if pet.holes is None else brain & ~pet.holes),
    }


def voxel_doubts(voxels: dict) -> list[str]:
    """A sentence for each kind of them, from ``voxels_of``."""
    reasons, all_of_them = [], max(voxels["brain_voxels"], 1)
    for key, what in (
        ("wrapped", "are dark or negative amid the hottest tissue, as after an integer overflow: export it again"),
        ("nonfinite_in_brain", "were NaN or infinite and count as background"),
        ("negative_in_brain", "are below 0, which uptake can't be, and count as 0"),
    ):
        count = voxels[key]
        least = _MIN_VOXELS if key == "wrapped" else 1 if key == "nonfinite_in_brain" else _NEGATIVE * all_of_them
        if count >= max(least, 1):
            reasons.append(f"{count} voxels of the PET's brain ({count / all_of_them:.2%}) {what}.")
    return reasons


def file_doubts(pet: Scan, t1: Scan, quality: dict) -> list[str]:
    """Doubts from what the PET's file says of its place, and how far that is from the T1's; and from its frames.

    Two DICOM series with frames of reference of their own may lie anywhere, but not turned.
    """
    reasons = [f"{said[:1].upper()}{said[1:]}." for said in header_doubts(pet, "the PET's file")] + frame_doubts(pet)
    frames = {scan.meta.get("frame_of_reference_uid") for scan in (pet, t1)}
    if quality["turned"] > _TURNED:
        reasons.append(
            f"The PET had to be turned by {quality['turned']:.0f}° to lie on the T1: look whether it lies right, and "
            "whether its left is left."
        )
    if quality["moved"] > _FAR and (None in frames or len(frames) == 1):
        reasons.append(
            f"The PET had to be moved by {quality['moved']:.0f} mm to lie on the T1, so its file and the T1's don't "
            "speak of one space: look whether it lies right."
        )
    return reasons


def fit_doubts(fit: dict) -> list[str]:
    """Doubts from what ``rigid.register_rigid`` or ``rigid.assess`` say of their fit."""
    if fit["information"] < _SURE_INFORMATION:
        return [
            f"The PET tells little of the T1 (mutual information {fit['information']:.2f}, at least "
            f"{_SURE_INFORMATION:g} expected): look whether it lies right, and whether it is the same person's."
        ]
    if fit.get("better"):
        return [
            f"The PET is said to lie on the T1, but fits it better {fit['better']:g} mm away: look whether it does."
        ]
    return []


def _overlap(values: np.ndarray, brain: np.ndarray, fov: np.ndarray, depth: np.ndarray) -> float:
    """Dice of the PET's warm region with the T1's brain, as far as the field of view goes."""
    import SimpleITK as sitk

    soft = sitk.GetArrayFromImage(sitk.DiscreteGaussian(sitk.GetImageFromArray(values), 1.5))
    warm = soft > 0.4 * np.percentile(values[brain & fov], 90)
    warm = filled(warm) & fov & (depth < 25)
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(warm.astype(np.uint8))))
    shares = np.bincount(pieces.ravel(), weights=brain.ravel())
    shares[0] = 0
    warm = pieces == np.argmax(shares)
    both = np.count_nonzero(warm & brain) if shares.max() > 0 else 0
    return 2 * float(both) / max(np.count_nonzero(warm) + np.count_nonzero(brain & fov), 1)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Voxels to the mask's edge, negative inside."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, False, False, False))
