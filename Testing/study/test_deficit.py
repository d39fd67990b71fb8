"""The figure of an erased deficit: regions show what whole-volume SSIM does not."""

from __future__ import annotations

import pytest

from DualGlowLib.study.figures.deficit import deficit
from DualGlowLib.volumes.grid import GRIDS

pytest.importorskip("matplotlib")


def test_an_erased_deficit_shows_in_its_region_alone() -> None:
    part = deficit(GRIDS["small"], (0.0, 0.2))
    (table,) = part.tables
    cells = {name: dict(zip(table.columns[1:], (cell.value for cell in row), strict=True)) for name, row in table.rows}
    assert cells["0 %"]["SSIM whole volume"] == pytest.approx(1)
    assert cells["0 %"]["PSNR whole volume, dB"] is None
    found = cells["20 %"]
    assert 0.99 < found["SSIM in the brain"] < found["SSIM whole volume"] < 1
    assert 10 < found["error of posterior cingulate precuneus, %"] < 25
    assert abs(found["error of occipital, %"]) < 2
    assert set(part.pictures) == {"", "images"}
