"""The report: one page that stands alone, with every number, and pictures that show the right places."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import numpy as np
import pytest

from DualGlowLib.atlas.template import load_template
from DualGlowLib.pictures.quality import overlay_picture
from DualGlowLib.pictures.report import RESEARCH_ONLY, report_html
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

PROVENANCE = {
    "Synthetic": True,
    "Units": "SUVR",
    "Age": 72.5,
    "Sex": "F",
    "Diagnosis": None,
    "Temperature": 0.7,
    "Samples": 32,
    "Seed": 12345,
    "WithinTrainingRange": True,
    "TrainedOnSimulatedPET": False,
    "Bundle": "standard <2>",
    "BundleSHA256": "0f" * 32,
    "Source": "T1 & more.nii",
    "Quality": {"dice": 0.123456},
}
GOOD = {"status": "good", "reasons": []}


class Page(HTMLParser):
    """Texts by element, and all attributes; fails on elements that are not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.texts, self.attributes = [], {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data.strip())


def test_says_everything_and_needs_nothing_else():
    table = (["Region", "SUVR", "5 %"], [["medial frontal", 1.23456, 1.1], ["pons", 1.0, None]])
    png = b"\x89PNG\r\n\x1a\nnot really"
    text = report_html("T1 <synthetic>", [("Slices", png)], PROVENANCE, GOOD, table, ["A real PET: fits."])
    page = Page(text)
    assert page.texts["h1"] == ["T1 <synthetic>"]
    pairs = dict(zip(page.texts["th"][:10], page.texts["td"][:10], strict=True))
    assert pairs["Age (years)"] == "72.5"
    assert pairs["Diagnosis"] == "unknown"
    assert pairs["Seed"] == "12345"
    assert pairs["Within the training range"] == "yes"
    cells = page.texts["td"]
    for said in ("medial frontal", "1.235", "1.100", "", "standard <2>", "0f" * 32, "T1 & more.nii"):
        assert said in cells or said == ""
    assert "A real PET: fits." in page.texts["p"]
    assert "good" in page.texts["p"]
    assert page.texts["p"][0] == RESEARCH_ONLY
    links = [value for name, value in page.attributes if name in ("src", "href")]
    assert links == ["data:image/png;base64," + base64.b64encode(png).decode()]
    assert "<script" not in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("changed", "verdict", "word"),
    [
        ({"TrainedOnSimulatedPET": True}, GOOD, "simulated PET"),
        ({"WithinTrainingRange": False}, GOOD, "extrapolates"),
        ({}, {"status": "doubtful", "reasons": ["the brain is <small>"]}, "doubtful"),
        ({"Verdict": {"status": "doubtful", "reasons": ["the brain is <small>"]}}, None, "doubtful"),
    ],
)
def test_warnings_stand_before_the_picture(changed, verdict, word):
    plain = report_html("T", [("Slices", b"x")], PROVENANCE, GOOD)
    text = report_html("T", [("Slices", b"x")], PROVENANCE | changed, verdict)
    assert word not in plain.partition("<figure>")[0].partition("</style>")[2]
    assert word in text.partition("<figure>")[0].partition("</style>")[2]
    assert ("the brain is <small>" in Page(text).texts.get("li", [])) == (word == "doubtful")


def test_without_table_or_verdict():
    text = report_html("T", [], {})
    assert RESEARCH_ONLY in text
    assert "Regions" not in text
    assert "not checked" in Page(text).texts["p"]


# ---------------------------------------------------------------------------------------------------------- the picture


@pytest.fixture(scope="module")
def head() -> tuple[Scan, Scan]:
    """The template at 2 mm, and a PET that is 1 in its brain and 2.5 in a ball on the right, towards the front."""
    template = load_template()
    affine = template.t1.affine @ np.diag([2, 2, 2, 1])
    shape = tuple(n // 2 for n in template.t1.shape)
    t1 = resample(template.t1.data, template.t1.affine, shape, affine)
    pet = resample(template.mask.data, template.t1.affine, shape, affine)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    pet[np.linalg.norm(places - BALL, axis=-1) < 14] = 2.5
    return Scan(t1, affine), Scan(pet, affine)


BALL = (30.0, 25.0, 8.0)  # in the middle one of the axial slices


def hot(picture: np.ndarray) -> np.ndarray:
    """Rows and columns of the brightest colours in the right half's middle axial panel, in pixels from its middle."""
    first, height, width = (picture.shape[1] - 6) // 2 + 6, (picture.shape[0] - 24) // 3, 259
    panel = picture[24 + height : 24 + 2 * height, first : first + width].astype(int)
    found = np.argwhere((panel[..., 0] > 170) & (panel[..., 1] > 150) & (panel[..., 2] < 0.8 * panel[..., 0]))
    return found - (np.array(panel.shape[:2]) - 1) / 2


def test_right_is_left_and_front_is_up(head):
    picture = overlay_picture(*head, np.eye(4))
    assert picture.dtype == np.uint8
    found = hot(picture)
    # Pixels of 0.65 mm from the panel's middle, which shows x = 0, y = -17 of the template.
    np.testing.assert_allclose(np.median(found, axis=0), [-(BALL[1] + 17) / 0.65, -BALL[0] / 0.65], atol=2)
    assert len(found) == pytest.approx(np.pi * (14 / 0.65) ** 2, rel=0.15)


def test_a_turned_head_is_shown_upright(head):
    t1, pet = head
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    turned[:3, 3] = 20, -30, 40
    moved = [Scan(scan.data, turned @ scan.affine) for scan in (t1, pet)]
    straight, again = overlay_picture(t1, pet, np.eye(4)), overlay_picture(*moved, np.linalg.inv(turned))
    np.testing.assert_allclose(again.astype(int), straight, atol=12)
    askew = overlay_picture(*moved)
    assert np.abs(np.median(hot(askew), 0) - np.median(hot(straight), 0)).max() > 8
    assert len(hot(askew)) > 0.5 * len(hot(straight))  # but the brain is in the picture


def test_the_mri_is_not_tinted_where_there_is_no_pet(head):
    t1, pet = head
    picture = overlay_picture(t1, pet.like(np.zeros_like(pet.data)), np.eye(4))
    half = (picture.shape[1] - 6) // 2
    rows = slice(30, picture.shape[0] - 24)
    np.testing.assert_array_equal(picture[rows, :half], picture[rows, half + 6 :])
