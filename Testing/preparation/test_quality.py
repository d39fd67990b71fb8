"""The verdict on a preparation, masks of one's own, and the correction of shading."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from brain_of_tissues import Tissues, make_tissues, t1_of, with_brightness
from DualGlowLib import InputError
from DualGlowLib.preparation.bias import correct_bias
from DualGlowLib.preparation.brain import given_mask
from DualGlowLib.preparation.t1 import Prepared, prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["small"]


@pytest.fixture(scope="module")
def tissues() -> Tissues:
    return make_tissues()


@pytest.fixture(scope="module")
def t1(tissues: Tissues) -> Scan:
    return t1_of(tissues)


@pytest.fixture(scope="module")
def prepared(t1: Scan, tissues: tuple) -> Prepared:
    return prepare(t1, GRID, tissues[2])


def _doubt(scan: Scan, mask: np.ndarray) -> str:
    verdict = prepare(scan, GRID, mask).verdict
    assert verdict.status == "doubtful"
    return "; ".join(verdict.reasons)


def test_a_t1_is_good(prepared: Prepared) -> None:
    assert prepared.verdict.to_dict() == {"status": "good", "reasons": []}
    assert prepared.quality["white_over_grey"] == pytest.approx(1.3, abs=0.1)
    assert prepared.quality["fluid_over_grey"] < 0.6
    assert prepared.quality["seen"] == 1
    assert json.loads(json.dumps(prepared.to_dict()))["verdict"]["status"] == "good"


@pytest.mark.parametrize(
    "brightness",
    [
        pytest.param({"white": 0.4, "grey": 0.6, "fluid": 1.2}, id="T2"),
        pytest.param({"white": 0.75, "grey": 0.9, "fluid": 0.95}, id="PD"),
        pytest.param({"white": 0.66, "grey": 0.75, "fluid": 0.15}, id="FLAIR"),
        pytest.param({"white": 0.4, "grey": 1.0, "fluid": 0.2}, id="PET"),
        pytest.param({"white": 1.03, "grey": 1.04, "fluid": 1.0}, id="CT"),
    ],
)
def test_another_contrast_is_refused(tissues: tuple, brightness: dict) -> None:
    with pytest.raises(
        InputError, match=r"head.nii doesn't look like a T1 of a brain \(white matter is [01]\.\d\d times"
    ):
        prepare(with_brightness(tissues, **brightness), GRID, tissues[2])


def test_a_weak_t1_is_doubted(tissues: tuple) -> None:
    assert "white matter is only 1.1" in _doubt(with_brightness(tissues, white=0.97, grey=0.9, fluid=0.25), tissues[2])


def test_a_label_map_is_refused(tissues: tuple) -> None:
    affine, shares, mask = tissues
    labels = (1 + np.argmax([shares["fluid"], shares["grey"], shares["white"]], axis=0)) * mask
    with pytest.raises(InputError, match=r"has 3 different values, .* as in a label map"):
        prepare(Scan(labels.astype(np.float32), affine), GRID, mask)


def test_a_brain_cut_off_is_doubted_or_refused(t1: Scan, tissues: tuple) -> None:
    top = np.flatnonzero(tissues[2].any(axis=(0, 1)))[-1]
    cut = slice(0, top - 8)  # 24 mm off the top
    reason = _doubt(Scan(t1.data[:, :, cut], t1.affine), tissues[2][:, :, cut])
    assert "of the brain lies outside the field of view" in reason
    half = slice(top - 16, None)
    with pytest.raises(InputError, match=r"doesn't look like|too little"):
        prepare(Scan(t1.data[:, :, half], t1.affine @ _shift(top - 16)), GRID, tissues[2][:, :, half])


def _shift(k: int) -> np.ndarray:
    move = np.eye(4)
    move[2, 3] = k
    return move


def test_what_the_file_leaves_in_doubt(t1: Scan, tissues: tuple) -> None:
    meta = {"no_orientation": True, "sform_qform_mm": 31.4, "sform_qform_degrees": 20.2, "pixdim_mm": "1×1×1"}
    data = t1.data.copy()
    data[30:33, 30, 30] = np.nan
    data[5:7, 5, 5] = 1e5
    reason = _doubt(Scan(data, np.diag([1.0, -1, -1, 1]) @ t1.affine, meta=meta), tissues[2])
    for part in (
        "left and right are a guess",
        "31 mm and 20°",
        "1×1×1 mm (pixdim)",
        "3 voxels",
        "2 voxels are more than",
        "turned by 180°",
    ):
        assert part in reason


def test_few_grey_levels_and_thick_slices_are_doubted(t1: Scan, tissues: tuple) -> None:
    coarse = Scan(np.round(t1.data / 50) * 50, t1.affine)
    assert "grey levels" in _doubt(coarse, tissues[2])
    affine = t1.affine @ np.diag([1, 1, 2, 1])
    shape = (*t1.shape[:2], t1.shape[2] // 2)
    thick = Scan(resample(t1.data, t1.affine, shape, affine), affine)
    assert "voxels of 3×3×6 mm" in _doubt(thick, resample(tissues[2], t1.affine, shape, affine) > 0.5)


def test_what_can_never_be_a_t1_is_refused_at_once(t1: Scan) -> None:
    shrunk = Scan(t1.data, np.diag([0.1, 0.1, 0.1, 1]) @ t1.affine)
    for scan, said in [
        (Scan(t1.data, t1.affine, meta={"description": "SYNTHETIC FDG DualGlow"}), "marked as synthetic"),
        (Scan(t1.data, t1.affine, meta={"modality": "CT"}), "says that it is a CT"),
        (Scan(np.full(t1.shape, np.nan), t1.affine), "no finite voxel"),
        (Scan(np.ones(t1.shape), t1.affine), "same value in every voxel"),
        (shrunk, "check the voxel size"),
    ]:
        with pytest.raises(InputError, match=said):
            prepare(scan, GRID)


def test_a_mask_on_another_lattice(t1: Scan, tissues: tuple) -> None:
    affine, mask = np.diag([1.0, -1, 1, 1]), tissues[2]
    affine[:3, 3] = -90, 90, -80
    conformed = resample(mask, t1.affine, (182, 220, 182), affine, order=0)
    inside, doubts = given_mask(t1, Scan(conformed, affine, "mask.nii"))
    assert doubts == []
    assert inside.dtype == bool
    assert 2 * np.sum(inside & mask) / (inside.sum() + mask.sum()) > 0.99
    for inside in (1, 255):  # with 255, N4 of ANTs does nothing
        np.testing.assert_array_equal(given_mask(t1, mask.astype(np.uint8) * np.uint8(inside))[0], mask)


def test_an_image_in_place_of_a_mask_is_doubted(t1: Scan, tissues: tuple) -> None:
    """As a PET or a T1 without skull; neither a probability nor labels."""
    mask, random = tissues[2], np.random.default_rng(0)
    grey, share, label = (
        random.uniform(5, 90, mask.shape),
        random.random(mask.shape),
        random.integers(1, 200, mask.shape),
    )
    inside, doubts = given_mask(t1, Scan(np.where(mask, grey, 0), t1.affine, "pet.nii"))
    np.testing.assert_array_equal(inside, mask)
    assert doubts == ["the brain mask holds grey values, as an image does, and is taken wherever they exceed 0.5"]
    for values in (np.where(mask, 0.5 + share / 2, 0), np.where(mask, label, 0)):
        assert given_mask(t1, Scan(values, t1.affine, "mask.nii"))[1] == []


def _turned(affine: np.ndarray, shape: tuple[int, ...], angle: float) -> np.ndarray:
    """Turned about the middle of the volume."""
    turn = Rotation.from_euler("x", angle, degrees=True).as_matrix()
    middle = apply_affine(affine, (np.array(shape) - 1) / 2)
    return from_matvec(turn, middle - turn @ middle) @ affine


def test_a_mask_with_the_header_of_another_place_is_taken_voxel_by_voxel(t1: Scan, tissues: tuple) -> None:
    mask = tissues[2]
    turned = Scan(mask, _turned(t1.affine, t1.shape, 15), "mask.nii")
    found = prepare(t1, GRID, turned)
    assert found.verdict.status == "doubtful"
    (reason,) = found.verdict.reasons
    assert re.search(r"another header, \d+ mm and 15° away", reason)
    assert found.quality["dice"] > 0.93
    # The same voxels in another order lie at the same place.
    flipped = t1.affine @ np.diag([1.0, 1, -1, 1])
    flipped[:3, 3] = apply_affine(t1.affine, (0, 0, t1.shape[2] - 1))
    inside, doubts = given_mask(t1, Scan(mask[:, :, ::-1], flipped, "mask.nii"))
    np.testing.assert_array_equal(inside, mask)
    assert doubts == []
    # A mask whose own file contradicts itself.
    said = given_mask(t1, Scan(mask, t1.affine, "mask.nii", {"no_orientation": True}))[1]
    assert "the brain mask's file doesn't say how the head lies" in said[0]


def test_a_mask_of_ones_own_moves_the_burden_of_proof(t1: Scan, tissues: tuple) -> None:
    """A likeness that refuses a head only makes it doubtful where somebody has seen that there is a brain."""
    mask = tissues[2]
    noise = np.random.default_rng(0).normal(0, 1200, t1.shape)
    noisy = t1.like(np.abs(t1.data + noise * mask).astype(np.float32))
    found = prepare(noisy, GRID, mask)
    assert 0.3 < found.quality["correlation"] < 0.45
    assert found.verdict.status == "doubtful"


def test_a_mask_of_something_else_is_refused(t1: Scan, tissues: tuple) -> None:
    mask = tissues[2]
    away = t1.affine.copy()
    away[:3, 3] += 150
    one = np.zeros(mask.shape)
    one[30:36, 30:36, 30:36] = 1
    for wrong, said in [
        (Scan(np.zeros(mask.shape), t1.affine, "empty.nii"), "empty.nii is empty"),
        (Scan(mask, away, "away.nii"), "away.nii doesn't lie on the head"),
        (Scan(mask[::-1, ::-1, ::-1], t1.affine @ _shift(-25), "moved.nii"), "doesn't lie on the head"),
        (one, "measures 6 ml"),
    ]:
        with pytest.raises(InputError, match=said):
            prepare(t1, GRID, wrong)


def _shading(shape: tuple[int, ...], amount: float = 0.4) -> np.ndarray:
    """Brighter by ``amount`` on one side than on the other, and somewhat uneven along the rest."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return 1 + amount / 2 * (x - 0.3 * y * y + 0.2 * z)


def _variation(values: np.ndarray) -> float:
    return float(values.std() / values.mean())


def test_shading_is_found_and_divided_out(t1: Scan, tissues: tuple) -> None:
    _, shares, mask = tissues
    white = shares["white"] > 0.95
    shaded = t1.like(t1.data * _shading(t1.shape).astype(np.float32))
    found = correct_bias(shaded, mask)
    assert _variation(shaded.data[white]) > 0.06
    assert _variation(found.data[white]) < 0.035
    assert 0.2 < found.meta["bias_range"] < 0.5
    assert correct_bias(t1, mask).meta["bias_range"] < 0.1
    # A shear in the header and an offset of the scanner change nothing.
    sheared = Scan(shaded.data, t1.affine @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert np.abs(correct_bias(sheared, mask).data / np.maximum(found.data, 1) - 1)[white].max() < 0.02
    np.testing.assert_allclose(correct_bias(Scan(shaded.data - 300, t1.affine), mask).data + 300, found.data, atol=1)


def test_the_same_bits_on_any_number_of_threads(t1: Scan, tissues: tuple) -> None:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    try:
        for threads in (1, 2):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found.append(correct_bias(t1, tissues[2]).data.tobytes())
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert found[0] == found[1]


def test_shading_hardly_changes_the_grid_image(t1: Scan, tissues: tuple, prepared: Prepared) -> None:
    shaded = t1.like(t1.data * _shading(t1.shape).astype(np.float32))
    without, with_it = (prepare(shaded, GRID, tissues[2], bias=bias) for bias in (False, True))
    difference = [np.abs(one.t1 - prepared.t1)[prepared.mask].mean() for one in (without, with_it)]
    assert difference[1] < 0.02
    assert difference[1] < 0.4 * difference[0]
    assert without.quality["bias_range"] == 0


def test_shading_of_a_real_head(shared: Path) -> None:
    """White matter of the labels becomes more even, whether or not shading was added."""
    scan = read_scan(shared / "data/t1_real/ixi012_T1.nii.gz")
    labels = read_scan(shared / "data/seg_real/ixi012_T1_DLMUSE.nii.gz").data.round()
    white, brain = np.isin(labels, (81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94)), labels > 0
    shaded = scan.like(scan.data * _shading(scan.shape).astype(np.float32))
    plain, again = (correct_bias(one, brain).data for one in (scan, shaded))
    assert _variation(plain[white]) < 0.7 * _variation(scan.data[white])
    assert _variation(again[white]) < 0.7 * _variation(shaded.data[white])
    assert _variation((again / np.maximum(plain, 1))[white]) < 0.02
