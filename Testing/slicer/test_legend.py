"""The colour legend over the slice views, as pixels: it can be read, and it leaves the brain free."""

from __future__ import annotations

import numpy as np
import pytest

from host import views
from loaded import ROOT, slicer
from module_scene import clean_scene  # noqa: F401

from DualGlowSlicerLib import volumes  # isort: skip
from DualGlowSynthesisLib.nodes import display, marks  # isort: skip

pytestmark = pytest.mark.usefixtures("clean_scene")

SIZES = ((770, 640), (385, 420), (333, 300))  # of a view that is large, of one of three, and on a small screen
TITLES = ("SUVR", "SD", "P(<1.25)", "change")


def fit(name: str, size: tuple[int, int]) -> None:
    views.render(name, *size)
    slicer.app.layoutManager().sliceWidget(name).sliceController().fitSliceToBackground()


@pytest.mark.parametrize("title", TITLES)
def test_the_legend_is_as_large_in_every_view_and_not_over_the_brain(title: str) -> None:
    mri = slicer.util.loadVolume(str(ROOT / "Resources" / "Template" / "mni152_t1.nii.gz"))
    brain = slicer.util.arrayFromVolume(mri) > 0
    pet = slicer.util.addVolumeFromArray(brain.astype(np.float32), volumes.affineOf(mri), "PET")
    volumes.markSynthetic(pet, {})
    marks.install()
    display.styleUptake(pet)
    display.showOverlay(pet, mri, 0.5)
    display.showLegend(pet, title)
    extents = []
    for name in views.names():
        for size in SIZES:
            fit(name, size)
            shown = views.render(name, *size).astype(int)
            display.hideLegends()
            hidden = views.render(name, *size).astype(int)
            display.showLegend(pet, title)
            legend = np.abs(shown - hidden).max(2) > 8
            rows, columns = np.flatnonzero(legend.any(1)), np.flatnonzero(legend.any(0))
            extents.append((np.ptp(columns) + 1, np.ptp(rows) + 1))
            assert not (legend & (hidden.max(2) > 60))[size[1] // 8 : -40].any(), (name, size)
    widths, heights = np.array(extents).T
    assert heights.min() >= 80, extents
    assert heights.max() <= 1.2 * heights.min(), extents
    assert widths.max() <= 110, extents
