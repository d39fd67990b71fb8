"""The pictures and sheets of the quality check: lines and sides where they belong, pages that say what was found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from DualGlowLib import InputError, __version__
from DualGlowLib.atlas.template import load_template
from DualGlowLib.pictures.drawing import LARGE, SMALL, edge_line, heat, iso_line, text_size, write_png, write_text
from DualGlowLib.pictures.quality import _PET, _T1, PATIENT, PET, TEMPLATE, pet_picture, t1_picture
from DualGlowLib.pictures.sheet import write_contact_sheet, write_sheet
from DualGlowLib.preparation.pet import PreparedPet
from DualGlowLib.preparation.quality import Verdict
from DualGlowLib.preparation.t1 import Prepared
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["medium"]


@pytest.fixture(scope="module")
def patient() -> Prepared:
    """The template at 2 mm as a patient whose brain mask is its template's, with a bright spot on the right."""
    template = load_template()
    affine = template.t1.affine @ np.diag([2, 2, 2, 1])
    shape = tuple(n // 2 for n in template.t1.shape)
    t1 = resample(template.t1.data, template.t1.affine, shape, affine)
    mask = resample(template.mask.data, template.t1.affine, shape, affine) > 0.5
    i, j, k = np.round(np.linalg.inv(affine) @ [30, -20, 42, 1])[:3].astype(int)
    t1[i - 2 : i + 3, j - 2 : j + 3, k - 2 : k + 3] = 4 * t1.max()
    on_grid = resample(mask, affine, GRID.shape, GRID.affine) > 0.5
    return Prepared(GRID, np.zeros(GRID.shape, np.float32), on_grid, Scan(t1, affine), mask, np.eye(4))


def _where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of a line's colour, without the caption."""
    near = np.abs(picture[24:].astype(int) - np.array(colour)).max(axis=-1) < 40
    row, column = np.nonzero(near)
    return np.stack([row + 24, column], axis=1)


def _panel(size: tuple, row: int) -> tuple[slice, slice]:
    """Rows and columns of an axial panel, counted from above."""
    pixel, half = size
    across, down = (round(2 * half[axis] / pixel) + 1 for axis in (0, 1))
    return slice(24 + row * down, 24 + (row + 1) * down), slice(0, across)


def test_the_right_hemisphere_is_on_the_left(patient: Prepared) -> None:
    picture = t1_picture(patient)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    panel = picture[_panel(_T1, 2)].astype(int)  # the uppermost of the axial slices, through the bright spot
    bright = np.argwhere((panel.min(axis=-1) > 250)[20:-20, 20:-20]) + 20
    bright = bright[np.abs(bright[:, 0] - panel.shape[0] / 2) < 30]
    assert len(bright) > 50
    middle = (panel.shape[1] - 1) / 2
    assert (middle - bright[:, 1].mean()) * _T1[0] == pytest.approx(30, abs=2)  # 30 mm to the right
    assert ((panel.shape[0] - 1) / 2 - bright[:, 0].mean()) * _T1[0] == pytest.approx(
        -3, abs=2
    )  # 3 mm behind the middle


def test_both_outlines_are_drawn_where_they_are(patient: Prepared) -> None:
    """The mask moved by 10 mm to the patient's right, which is left in the picture; the template's brain not."""
    off = replace(patient, patient_mask=np.roll(patient.patient_mask, 5, axis=0))
    panel = t1_picture(off)[_panel(_T1, 1)]
    red, blue = (_where(panel, colour)[:, 1] * _T1[0] for colour in (TEMPLATE, PATIENT))
    assert np.ptp(red) == pytest.approx(143, abs=3)  # the width of the template's brain in millimetres
    assert np.ptp(blue) == pytest.approx(143, abs=3)
    assert blue.min() - red.min() == pytest.approx(-10, abs=2.5)
    assert blue.max() - red.max() == pytest.approx(-10, abs=2.5)


def test_a_head_that_lies_turned_is_shown_upright(patient: Prepared) -> None:
    expected = t1_picture(patient)
    turn = np.array([[0.0, -1, 0, 30], [1, 0, 0, -20], [0, 0, 1, 10], [0, 0, 0, 1]])
    scan = Scan(patient.scan.data, turn @ patient.scan.affine)
    turned = replace(patient, scan=scan, to_template=np.linalg.inv(turn))
    difference = np.abs(t1_picture(turned).astype(int) - expected)
    assert (difference > 30).mean() < 0.002


def _ball_pet(patient: Prepared, shift: float) -> PreparedPet:
    """A warm ellipsoid in the brain, as wide as the brain mask roughly, registered with an error along y."""
    scan = patient.scan
    index = np.stack(np.meshgrid(*(np.arange(n) for n in scan.shape), indexing="ij"), -1)
    points = index @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    ball = Scan((np.linalg.norm((points - [0, -17, 8]) / [60, 70, 55], axis=-1) < 1).astype(np.float32), scan.affine)
    pet_to_t1 = np.eye(4)
    pet_to_t1[1, 3] = shift
    suvr = resample(ball.data, ball.affine, GRID.shape, np.linalg.inv(pet_to_t1) @ GRID.affine)
    return PreparedPet(ball, suvr, pet_to_t1, "pons", 1.0, None)


def test_the_edges_of_the_pet_lie_on_its_edges(patient: Prepared) -> None:
    """To half a millimetre; and 3 mm of misplacement are 3 mm in the picture."""
    rows = []
    for shift in (0.0, 3.0):
        picture = pet_picture(patient, _ball_pet(patient, shift))
        line = _where(picture[_panel(_PET, 1)], PET)
        panel = picture[_panel(_PET, 1)]
        middle = np.abs(line[:, 1] - panel.shape[1] // 2) < 12
        rows.append([line[middle, 0].min(), line[middle, 0].max()])
    (top, bottom), (moved_top, moved_bottom) = rows
    assert (bottom - top) * _PET[0] == pytest.approx(140, abs=2.5)
    assert (top - moved_top) * _PET[0] == pytest.approx(3, abs=0.8)  # forward is up
    assert (bottom - moved_bottom) * _PET[0] == pytest.approx(3, abs=0.8)


def test_lines_are_thin_and_in_their_place() -> None:
    i, j = np.indices((120, 140)) - np.array([60.0, 70.0])[:, None, None]
    radius = np.hypot(i, j)
    mask = (radius < 40).astype(float)
    line = iso_line(mask, 0.5, 1.5)
    assert (line * radius).sum() / line.sum() == pytest.approx(40, abs=0.4)
    assert line.sum() / (2 * np.pi * 40) == pytest.approx(1.5, abs=0.3)  # width
    assert line[radius < 36].max() == line[radius > 44].max() == 0
    blurred = 1 / (1 + np.exp((radius - 40) / 3))
    edge = edge_line(blurred, 0.02, 1.6)
    assert (edge * radius).sum() / edge.sum() == pytest.approx(40, abs=0.5)
    assert edge[np.abs(radius - 40) > 4].max() == 0
    assert edge_line(0.01 * blurred, 0.02).max() == 0  # too faint
    assert edge_line(np.ones((20, 20)), 0.02).max() == 0


def test_the_heat_scale_gets_lighter() -> None:
    light = heat(np.linspace(0, 2, 50), 2.0) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > 0).all()


def test_letters_can_be_written_anywhere() -> None:
    """Whole where there is room, in their colour on a dark rim; cut at the image's edge, whatever the letter."""
    rgb = np.full((40, 60, 3), 90, np.uint8)
    height, width = text_size("Ry")
    write_text(rgb, "Ry", 8, 10, colour=(255, 0, 0))
    row, column = np.nonzero(rgb[..., 0] > 200)
    assert 8 <= row.min() < 8 + height // 3
    assert 8 + height // 2 < row.max() < 8 + height
    assert 10 <= column.min() < column.max() < 10 + width
    assert rgb[..., 1].max() == 90
    assert rgb[..., 1].min() < 10
    for row, column in ((-4, -4), (36, 56), (-40, 5), (5, 80)):
        write_text(rgb, "AÄ界", row, column)
    floats = np.full((40, 60, 3), 90.0)
    write_text(floats, "Ry", 8, 10, colour=(255, 0, 0))
    again = np.full((40, 60, 3), 90, np.uint8)
    write_text(again, "Ry", 8, 10, colour=(255, 0, 0))
    np.testing.assert_array_equal(floats, again)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_text_is_as_long_as_it_says(size: int) -> None:
    for text in ("SYNTHETIC FDG-PET, research use only", "0 to 2.3", "gj,|"):
        height, width = text_size(text, size)
        rgb = np.zeros((height + 20, width + 20, 3), np.uint8)
        write_text(rgb, text, 10, 10, size)
        row, column = np.nonzero(rgb[..., 0] > 60)
        assert row.min() >= 9
        assert row.max() <= 10 + height
        assert column.min() >= 9
        assert 10 + width - column.max() in range(-1, 5)


def test_png_files(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (11, 17, 3)).astype(np.uint8)
    path = write_png(rgb, tmp_path / "picture.png")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), rgb)
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
    with Image.open(path) as picture:
        assert picture.text == {"Software": f"DualGlow {__version__}"}  # by which we know our own pictures
    assert write_png(rgb, tmp_path / "again.png").read_bytes() == path.read_bytes()
    with pytest.raises(InputError, match=r"end the name in \.png"):
        write_png(rgb, tmp_path / "picture.jpg")
    with pytest.raises(InputError, match="can't be written"):
        write_png(rgb, tmp_path / "missing" / "picture.png")


def test_the_sheet_of_a_cohort(tmp_path: Path) -> None:
    (tmp_path / "qc files").mkdir()
    picture = write_png(np.zeros((4, 4, 3), np.uint8), tmp_path / "qc files" / "sub-1 & <b>.png")
    rows = [
        {"name": "sub-3", "verdict": Verdict("good", []), "numbers": {"Dice": 0.951234567, "scale": [1.0, 1.25, 0.9]}},
        {"name": "sub-1<script>", "verdict": {"status": "doubtful", "reasons": ["Overlap < 0.7 & more."]},
         "numbers": {"PET reference": np.float32(0.5), "resolution": None}, "pictures": {"T1": picture}},
        {"name": "sub-4", "verdict": {"status": "refused", "reasons": ["No brain was found."]}},
        {"name": "sub-2", "verdict": {"status": "good", "reasons": []}},
        {"name": "sub-9"},
    ]  # fmt: skip
    page = write_sheet(rows, tmp_path / "qc.html", "Cohort <1>").read_text(encoding="utf-8")
    names = re.findall("<h2>(.*?)</h2>", page)
    assert names == ["sub-4", "sub-1&lt;script&gt;", "sub-2", "sub-3", "sub-9"]
    assert "5 cases" in page
    assert re.findall(r'<span class="(\w[\w ]*)">(\d+) ', page) == [
        ("not checked", "1"), ("good", "2"), ("doubtful", "1"), ("refused", "1"),
    ]  # fmt: skip
    assert "Overlap &lt; 0.7 &amp; more." in page
    assert "0.9512" in page
    assert "1, 1.25, 0.9" in page
    assert "unknown" in page
    assert "Cohort &lt;1&gt;" in page
    assert "<script" not in page
    assert "http" not in page
    links = re.findall(r'(?:href|src)="(.*?)"', page)
    assert set(links) == {"qc%20files/sub-1%20%26%20%3Cb%3E.png"}
    assert write_sheet([], tmp_path / "empty.html").read_text(encoding="utf-8").count("<article") == 0


def test_the_contact_sheet(tmp_path: Path) -> None:
    colours = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
    pngs = []
    for number, colour in enumerate(colours):
        rgb = np.zeros((300 + 30 * number, 800, 3), np.uint8)
        rgb[:] = colour
        pngs.append(write_png(rgb, tmp_path / f"sub-{number}.png"))
    (tmp_path / "no.png").write_bytes(pngs[0].read_bytes()[:60])
    path = write_contact_sheet(
        [*pngs, tmp_path / "no.png"], tmp_path / "sheet.png", names=[*"abc", "a long name " * 20]
    )
    sheet = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(int)
    assert sheet.shape[1] == 2 * 404
    for colour, (row, column) in zip(colours, ((50, 50), (50, 460), (250, 50)), strict=True):
        np.testing.assert_array_equal(sheet[row, column], colour)
    name = sheet[151:165, :404].max(axis=-1) > 200  # of the first, below it
    assert name.any()
    long = sheet[sheet.shape[0] // 2 + 201 :, 404:].max(axis=-1) > 200
    assert long[:, 300:395].any()  # cut where the picture ends
    assert not long[:, 399:].any()
    assert write_contact_sheet([], tmp_path / "empty.png").is_file()
