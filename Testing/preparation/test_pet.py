"""From a PET to the grid: registration, one interpolation, declared resolution, SUVR, and refusal of what is no PET."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError
from DualGlowLib.atlas.reference import REFERENCES, reference_mean, reference_region
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.brain import brain_mask
from DualGlowLib.preparation.pet import PreparedPet, prepare_pet
from DualGlowLib.preparation.pet_quality import check_image, file_doubts
from DualGlowLib.preparation.rigid import register_rigid
from DualGlowLib.preparation.t1 import Prepared, prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.lattices import coordinates
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan

GRID = GRIDS["medium"]
FWHM = np.sqrt(8 * np.log(2))


def _gauss(data: np.ndarray, fwhm: float, spacing: float) -> np.ndarray:
    image = sitk.GetImageFromArray(np.asarray(data, np.float32))
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, (fwhm / FWHM / spacing) ** 2, 32, 0.001, False))


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """The template at 2 mm as if it were a patient's brain."""
    template = load_template()
    affine = template.t1.affine @ np.diag([2, 2, 2, 1])
    shape = tuple(n // 2 for n in template.t1.shape)
    t1 = resample(template.t1.data, template.t1.affine, shape, affine)
    mask = resample(template.mask.data, template.t1.affine, shape, affine) > 0.5
    return prepare(Scan(t1, affine), GRID, mask)


@pytest.fixture(scope="module")
def pet(prepared: Prepared) -> Scan:
    """An FDG-PET of that brain in kBq/ml: grey and white matter as 4 : 1, blurred to 6 mm, faint around, noisy."""
    template, t1 = load_template(), prepared.scan
    grey, white = (resample(t.data, t.affine, t1.shape, t1.affine) for t in (template.gm, template.wm))
    head = resample(prepared.patient_mask, t1.affine, t1.shape, t1.affine @ np.diag([0.87, 0.87, 0.87, 1])) > 0.5
    noise = np.random.default_rng(0).normal(0, 0.3, t1.shape)
    return t1.like(_gauss(9000 * grey + 2250 * white + 600 * head, 6, 2) * (1 + _gauss(noise, 4, 2)))


@pytest.fixture(scope="module")
def there(prepared: Prepared, pet: Scan) -> PreparedPet:
    """That PET on the grid, where it lies."""
    return prepare_pet(pet, prepared, registered=True)


def _move(angles: tuple, shift: tuple, prepared: Prepared) -> np.ndarray:
    """4×4: a turn about the brain's middle (degrees about x, y, z), then a shift."""
    centre = np.argwhere(prepared.patient_mask).mean(axis=0) @ prepared.scan.affine[:3, :3].T
    centre = centre + prepared.scan.affine[:3, 3]
    turn = nib.eulerangles.euler2mat(*np.deg2rad(angles))
    return nib.affines.from_matvec(turn, centre + np.array(shift) - turn @ centre)


def _left(transform: np.ndarray, move: np.ndarray, scan: Scan, mask: np.ndarray) -> float:
    """Mean displacement over the brain in mm that is left of a move after registration."""
    points = np.argwhere(mask) @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    error = transform @ move - np.eye(4)
    return float(np.linalg.norm(points @ error[:3, :3].T + error[:3, 3], axis=1).mean())


def _turned(scan: Scan, codes: str) -> Scan:
    image = nib.Nifti1Image(scan.data, scan.affine)
    ornt = nib.orientations.ornt_transform(nib.io_orientation(scan.affine), nib.orientations.axcodes2ornt(tuple(codes)))
    image = image.as_reoriented(ornt)
    return Scan(np.asarray(image.dataobj), image.affine)


# ------------------------------------------------------------------------------------------------------- registration


@pytest.mark.parametrize("how", ["by its header, axes PSR", "by its voxels"])
def test_a_moved_pet_is_brought_back(prepared: Prepared, pet: Scan, how: str) -> None:
    if "header" in how:
        move = _move((14, -9, 11), (30, -30, 25), prepared)
        moved = _turned(Scan(pet.data, move @ pet.affine), "PSR")
    else:
        move = _move((-8, 5, 12), (6, -10, 4), prepared)  # as far as the field of view allows
        moved = pet.like(resample(pet.data, move @ pet.affine, pet.shape, pet.affine))
    transform, quality = register_rigid(moved, prepared.scan, prepared.patient_mask)
    if "header" in how:  # and to the same bits with any number of threads
        threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads + 2)
        try:
            again, same = register_rigid(moved, prepared.scan, prepared.patient_mask)
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == threads + 2
        finally:
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
        assert transform.tobytes() == again.tobytes()
        assert quality == same
    assert _left(transform, move, prepared.scan, prepared.patient_mask) < 1
    np.testing.assert_allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(transform[:3, :3]) > 0
    assert quality["information"] > 0.4


@pytest.fixture(scope="module")
def brainweb(shared: Path) -> tuple[Scan, np.ndarray, Scan]:
    """T1, brain and PET of the pair BrainWeb 06."""
    folder = shared / "data" / "pairs" / "brainweb06"
    t1 = read_scan(folder / "t1.nii.gz")
    return t1, brain_mask(t1).data, read_scan(folder / "pet.nii.gz")


@pytest.mark.parametrize("number", [0, 1])
def test_a_real_anatomy_moved_by_30_mm_and_20_degrees(brainweb: tuple, number: int) -> None:
    """The pair BrainWeb 06; Testing/benchmarks/pet_registration.py has more and harder ones."""
    t1, mask, pet = brainweb
    moves = ((20, (1, 0, 0), (30, 30, 30)), (-20, (1, 1, 1), (-30, -30, 30)))
    angle, axis, shift = moves[number]
    centre = np.argwhere(mask).mean(axis=0) @ t1.affine[:3, :3].T + t1.affine[:3, 3]
    turn = nib.quaternions.angle_axis2mat(np.deg2rad(angle), axis)
    move = nib.affines.from_matvec(turn, centre + shift - turn @ centre)
    transform, _ = register_rigid(Scan(pet.data, move @ pet.affine), t1, mask)
    assert _left(transform, move, t1, mask) < 1  # 2 mm are asked for


def test_a_registered_pet_stays_where_it_is_and_is_checked(prepared: Prepared, pet: Scan, there: PreparedPet) -> None:
    assert (there.pet_to_t1 == np.eye(4)).all()
    assert there.verdict.status == "good"
    assert there.quality["moved"] == 0
    shift = nib.affines.from_matvec(np.eye(3), [0, 8, 0])
    off = prepare_pet(Scan(pet.data, shift @ pet.affine), prepared, registered=True)
    assert off.verdict.status == "doubtful"
    assert any("fits it better" in reason for reason in off.verdict.reasons)


# ------------------------------------------------------------------------------------------------- grid and resolution


def test_the_pet_lies_on_the_grid_with_the_t1(prepared: Prepared, pet: Scan, there: PreparedPet) -> None:
    """Moved by its header, registered, and onto the grid: the same as the PET that was never moved."""
    move = _move((10, 12, -7), (-20, 14, 30), prepared)
    seen: list[tuple[str, float]] = []
    found = prepare_pet(
        Scan(pet.data, move @ pet.affine, "pet.nii"), prepared, progress=lambda *step: seen.append(step)
    )
    assert found.suvr.shape == GRID.shape
    assert found.suvr.dtype == np.float32
    assert found.verdict.status == "good"
    assert found.quality["covered"] > 0.99
    assert np.abs(found.suvr - there.suvr)[prepared.mask].mean() < 0.03 * there.suvr[prepared.mask].mean()
    assert {stage for stage, _ in seen} == {"registration", "resampling"}
    assert np.all(np.diff([fraction for _, fraction in seen]) >= 0)
    assert seen[-1][1] == 1
    told = json.loads(json.dumps(found.to_dict()))
    assert told["source"] == "pet.nii"
    assert told["reference"] == "pons"
    assert told["verdict"] == {"status": "good", "reasons": []}


def _width(response: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Full width at half maximum of a blob along x, y, z in mm, from its second moments."""
    points = coordinates(response.shape, affine)
    weight = response / response.sum()
    middle = (weight[..., None] * points).sum((0, 1, 2))
    return FWHM * np.sqrt((weight[..., None] * (points - middle) ** 2).sum((0, 1, 2)))


@pytest.mark.parametrize(("size", "grid"), [((1.5, 1.5, 4), "standard"), ((2, 2, 2), "medium")])
def test_the_declared_resolution_is_reached(prepared: Prepared, pet: Scan, size: tuple, grid: str) -> None:
    """What a small source of 5 mm width adds to the PET is 8 mm wide on the grid, whatever the voxels."""
    step = np.array(size) / 2.0
    shape = tuple(int(n) for n in np.floor(np.array(pet.shape) / step))
    affine = pet.affine @ np.diag([*step, 1.0])
    base = resample(pet.data, pet.affine, shape, affine)
    on_grid = prepare(prepared.scan, GRIDS[grid], prepared.patient_mask) if grid != GRID.name else prepared
    square = ((coordinates(shape, affine) - np.array([30.0, -40.0, 30.0])) ** 2).sum(-1)
    blob = 3000 * np.exp(-square / (2 * (5 / FWHM) ** 2))
    one, two = (
        prepare_pet(Scan(data, affine), on_grid, source_resolution=5.0, registered=True) for data in (base, base + blob)
    )
    response = two.suvr * two.reference_value - one.suvr * one.reference_value
    stretch = np.abs(np.diag(prepared.to_template)[:3])
    np.testing.assert_allclose(_width(np.clip(response, 0, None), GRIDS[grid].affine) / stretch, 8.0, atol=0.4)
    assert one.resolution == pytest.approx(8.0, abs=0.05)


def test_an_unknown_resolution_stays_unknown(prepared: Prepared, pet: Scan, there: PreparedPet) -> None:
    assert there.resolution is None
    assert there.quality["smoothed"] == [0, 0, 0]
    assert "unknown" in there.quality["notes"][0]
    coarse = prepare_pet(pet, prepared, source_resolution=9.0, registered=True)
    assert coarse.quality["smoothed"] == [0, 0, 0]
    assert coarse.resolution == pytest.approx(np.hypot(9.0, np.sqrt(3.4**2 - 2**2)), abs=0.2)
    np.testing.assert_array_equal(coarse.suvr, there.suvr)
    with pytest.raises(InputError, match="resolution of a PET must be between 0 and 30 mm"):
        prepare_pet(pet, prepared, resolution=0.0)


def prepared_top(prepared: Prepared) -> float:
    """Millimetres of the highest voxel of the patient's brain."""
    place = np.argwhere(prepared.patient_mask)
    return float(nib.affines.apply_affine(prepared.scan.affine, place)[:, 2].max())


def test_what_the_pet_has_not_measured_is_zero_and_said(prepared: Prepared, pet: Scan, there: PreparedPet) -> None:
    cut = pet.data.copy()
    cut[:, :, 55:] = 0  # as after a crop: planes without an image
    for image in (pet.like(cut), Scan(pet.data[:, :, :55], pet.affine)):
        found = prepare_pet(image, prepared, registered=True)
        assert 0.5 < found.quality["covered"] < 0.9
        assert found.verdict.status == "doubtful"
        assert "covers" in found.verdict.reasons[0]
        assert np.isfinite(found.suvr).all()
        beyond = prepared.grid.affine[2, 2] * np.arange(GRID.shape[2]) + prepared.grid.affine[2, 3] > 42
        assert (found.suvr[:, :, beyond] == 0).all()
    top = int(np.linalg.solve(pet.affine, [0, 0, prepared_top(prepared) - 14, 1])[2])
    found = prepare_pet(Scan(pet.data[:, :, :top], pet.affine), prepared, registered=True)
    assert found.quality["covered"] > 0.9
    assert found.verdict.status == "doubtful"
    assert {"sensorimotor_L", "sensorimotor_R"} & found.quality["regions_seen"].keys()
    assert any("sensorimotor" in reason and "outside its field of view" in reason for reason in found.verdict.reasons)
    assert not there.quality["regions_seen"]
    without_pons = Scan(pet.data[:, :, 24:], pet.affine @ nib.affines.from_matvec(np.eye(3), [0, 0, 24]), "upper.nii")
    with pytest.raises(InputError, match=r"of the reference region \(pons\) lies in the field of view of upper.nii"):
        prepare_pet(without_pons, prepared, registered=True)
    assert prepare_pet(without_pons, prepared, registered=True, reference="brain").reference == "brain"


# ---------------------------------------------------------------------------------------------------------------- SUVR


@pytest.mark.parametrize("reference", REFERENCES)
def test_suvr_is_one_in_its_reference_region(prepared: Prepared, pet: Scan, reference: str) -> None:
    found = prepare_pet(pet, prepared, reference=reference, registered=True)
    region = reference_region(reference, GRID, prepared.mask)
    assert (found.suvr * region).sum() / region.sum() == pytest.approx(1, abs=1e-4)
    scaled = prepare_pet(pet.like(0.001 * pet.data), prepared, reference=reference, registered=True)
    np.testing.assert_allclose(scaled.suvr, found.suvr, rtol=1e-3, atol=1e-4)
    assert scaled.reference_value == pytest.approx(0.001 * found.reference_value, rel=1e-4)


def test_the_regions_lie_where_they_should() -> None:
    """In MNI millimetres, and the cerebellum in nothing but cerebellar grey matter."""
    grid = GRIDS["standard"]
    points = coordinates(grid.shape, grid.affine)
    for name, place in (("pons", (0, -27, -33)), ("cerebellum", (0, -63, -42))):
        region = reference_region(name, grid, np.ones(grid.shape, bool))
        np.testing.assert_allclose((region[..., None] * points).sum((0, 1, 2)) / region.sum(), place, atol=2)
    assert 8 < region.sum() * np.prod(grid.spacing) / 1000 < 20
    found = points[region > 0.1]
    assert found[:, 2].max() < -28  # the tentorium
    assert np.abs(found[:, 0]).min() > 8  # the vermis
    with pytest.raises(InputError, match="choose one of pons, cerebellum, brain"):
        reference_region("thalamus", grid, np.ones(grid.shape, bool))


def test_a_reference_without_uptake_is_refused(prepared: Prepared) -> None:
    region = reference_region("pons", GRID, prepared.mask) > 0
    values = np.where(region, 0.01, 1.0).astype(np.float32)
    with pytest.raises(InputError, match="no SUVR can be made"):
        reference_mean(values, np.ones(GRID.shape, bool), GRID, prepared.mask)


# ---------------------------------------------------------------------------------------------------- what is no PET


def test_images_that_are_no_pet_are_refused_by_their_voxels(pet: Scan, tmp_path: Path) -> None:
    check_image(pet, "it")
    cases = {
        "synthetic": pet.like(pet.data, description="SYNTHETIC FDG DualGlow, research use only"),
        "modality is MR": pet.like(pet.data, modality="MR"),
        "negative voxels weigh": pet.like(pet.data - 3000),
        "neighbouring voxels are equal": pet.like(np.round(pet.data / 3000)),
        "no uptake": pet.like(np.zeros(pet.shape, np.float32)),
        "not numbers": pet.like(np.where(pet.data > 5000, np.nan, pet.data)),
    }
    for message, image in cases.items():
        with pytest.raises(InputError, match=message):
            check_image(image, "it")
    path = write_scan(pet, tmp_path / "pet.nii.gz", sidecar={"Synthetic": True})
    with pytest.raises(InputError, match="synthetic outputs are not accepted"):
        check_image(read_scan(path), "it")


def test_other_images_of_the_brain_are_refused(prepared: Prepared, pet: Scan) -> None:
    t1, mask = prepared.scan, prepared.patient_mask
    with pytest.raises(InputError, match="looks like an MRI"):
        prepare_pet(t1.like(t1.data), prepared, registered=True)
    with pytest.raises(InputError, match="looks like an MRI"):  # dark white matter, bright fluid
        prepare_pet(t1.like(np.where(mask, t1.data.max() - t1.data, 0)), prepared, registered=True)
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="no contrast inside the brain"):
        prepare_pet(t1.like(1000 + 20 * rng.normal(size=t1.shape)), prepared, registered=True)
    far = Scan(pet.data, nib.affines.from_matvec(np.eye(3), [0, 0, 300]) @ pet.affine, "far.nii")
    with pytest.raises(InputError, match=r"far.nii covers only 0% of the brain"):
        prepare_pet(far, prepared, registered=True)


def test_a_real_ct_is_refused(shared: Path, prepared: Prepared) -> None:
    with pytest.raises(InputError, match="no contrast inside the brain"):
        prepare_pet(read_scan(shared / "data" / "atlas_mni" / "clinical_scct_CT_template.nii"), prepared)


def test_a_real_pattern_of_uptake(shared: Path, prepared: Prepared) -> None:
    """The mean image of 116 normal persons, stretched to the template's size: hot cortex and nuclei, cool pons."""
    pet = read_scan(shared / "data" / "pet" / "CN_FDG_PET_TEMPLATE.nii.gz")
    stretched = Scan(pet.data, np.diag([1 / 0.91, 1 / 0.88, 1 / 0.83, 1]) @ pet.affine)
    found = prepare_pet(stretched, prepared)
    assert found.verdict.status == "good"
    points = coordinates(GRID.shape, GRID.affine)

    def near(x: float, y: float, z: float) -> float:
        return float(found.suvr[((points - [x, y, z]) ** 2).sum(-1) < 8**2].mean())

    assert 1.4 < near(0, -52, 30) < 2.3  # posterior cingulate
    for side in (-1, 1):
        assert 1.2 < near(side * 25, 5, 3) < 2.0  # putamen
        assert 1.2 < near(side * 10, -20, 8) < 2.0  # thalamus
    assert near(-25, 5, 3) == pytest.approx(near(25, 5, 3), rel=0.1)
    cerebellum = reference_region("cerebellum", GRID, prepared.mask)
    assert 0.9 < (found.suvr * cerebellum).sum() / cerebellum.sum() < 1.4


# ---------------------------------------------------------------------------------------- what the file leaves in doubt


def test_an_overflow_of_a_pet_is_named(prepared: Prepared, pet: Scan, there: PreparedPet) -> None:
    """The hottest percent of the brain wraps to negative or to small values; a whole one has nothing of it."""
    scaled = np.round(pet.data / np.percentile(pet.data[prepared.patient_mask], 99) * 32767)
    assert (there.quality["wrapped"], there.quality["negative_in_brain"]) == (0, 0)
    assert there.verdict.status == "good", there.verdict.reasons
    for wrong in (scaled.astype(np.int64).astype(np.int16), (2 * scaled).astype(np.int64).astype(np.uint16)):
        found = prepare_pet(pet.like(wrong.astype(np.float32)), prepared, registered=True)
        assert found.verdict.status == "doubtful"
        assert "dark or negative amid the hottest tissue, as after an integer overflow" in found.verdict.reasons[0]


def test_voxels_below_0_or_without_a_number_are_counted_in_the_brain(prepared: Prepared, pet: Scan) -> None:
    places = tuple(np.argwhere(prepared.patient_mask)[::200].T)
    data, holes = pet.data.copy(), np.zeros(pet.shape, bool)
    data[places], holes[places] = -50, True
    found = prepare_pet(pet.like(data), prepared, registered=True)
    count = len(places[0])
    assert found.quality["negative_in_brain"] == count
    assert found.verdict.reasons[-1].startswith(f"{count} voxels of the PET's brain")
    assert "are below 0" in found.verdict.reasons[-1]
    empty = Scan(np.maximum(data, 0), pet.affine, holes=holes)
    found = prepare_pet(empty, prepared, registered=True)
    assert found.quality["nonfinite_in_brain"] == count
    (reason,) = found.verdict.reasons
    assert reason.startswith(f"{count} voxels of the PET's brain")
    assert "were NaN or infinite" in reason


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"no_orientation": True}, "The PET's file doesn't say how the head lies, so that left and right are a guess."),
        ({"sform_qform_mm": 49.0, "sform_qform_degrees": 15.0}, "disagree by 49 mm and 15°"),
        ({"pixdim_mm": "1×1×1"}, "The PET's file names two voxel sizes, 2×2×2 mm"),
    ],
)
def test_a_header_in_doubt_makes_the_pet_doubtful(prepared: Prepared, pet: Scan, meta: dict, said: str) -> None:
    found = prepare_pet(pet.like(pet.data, **meta), prepared, registered=True)
    assert found.verdict.status == "doubtful"
    (reason,) = found.verdict.reasons
    assert said in reason


def test_a_pet_that_had_to_move_far_is_told(prepared: Prepared, pet: Scan) -> None:
    far = Scan(pet.data, _move((0, 0, 0), (150, -120, 110), prepared) @ pet.affine)
    found = prepare_pet(far, prepared)
    assert found.quality["moved"] == pytest.approx(221, abs=3)
    assert found.verdict.status == "doubtful"
    assert "had to be moved by 22" in found.verdict.reasons[0]
    # Two DICOM series of scanners of their own: nothing says that they share a space.
    t1 = prepared.scan.like(prepared.scan.data, frame_of_reference_uid="1.2")
    assert file_doubts(far.like(far.data, frame_of_reference_uid="1.3"), t1, found.quality) == []
    assert "turned by 106°" in file_doubts(far, t1, {"turned": 106.0, "moved": 3.0})[0]
