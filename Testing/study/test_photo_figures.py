"""Figs. 8, 15 and 16 by their command: crops of some photos to learn from, of another to show."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.outputs import kind_of_file
from DualGlowLib.study.figures.photos import HELD_OUT, LEARNT, crops
from DualGlowLib.training.photos import shipped_photo

pytest.importorskip("skimage", reason="photos need scikit-image")


def test_figures_of_photos_by_one_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Every file is ours, the numbers are those of the picture, and again gives the same without new training."""
    out = tmp_path / "photos"
    command = ["study", "photos", str(out), "--quick", "--device", "cpu"]
    assert main(command) == 0
    report = out / "report"
    names = {path.name for path in report.iterdir()}
    assert {"fig8-sketch.png", "fig8-cartoon.png", "fig15.png", "fig16.csv", "index.html"} <= names
    assert "" not in {kind_of_file(path) for path in report.iterdir()}
    assert HELD_OUT not in LEARNT
    picture = np.asarray(Image.open(report / "fig15.png")).astype(float)[26:]
    assert picture.shape == (2 * 128, 5 * 128, 3)
    photos, modes = (picture[::8, start : start + 128 : 8] / 255 for start in (128, 256))
    psnr = [-10 * np.log10(np.square(modes[i : i + 16] - photos[i : i + 16]).mean()) for i in (0, 16)]
    rows = {row["row"]: row for row in csv.DictReader(StringIO((report / "fig15.csv").read_text()))
            if row["column"] == "PSNR dB"}  # fmt: skip
    assert float(rows["mode"]["value"]) == pytest.approx(np.mean(psnr), abs=1e-3)
    assert set(rows) == {"mean photo", "sketch", "mode", "a sample at temperature 0.7"}
    kept = [*report.iterdir(), *out.glob("runs/*/history.jsonl")]
    before = {path: path.read_bytes() for path in kept}
    assert main(command) == 0
    assert {path: path.read_bytes() for path in kept} == before
    assert main([*command, "--steps", "0"]) == 2
    assert "--steps must be at least 1" in capsys.readouterr().err


def test_crops_are_parts_of_the_photo() -> None:
    photo = np.random.default_rng(0).uniform(0.4, 0.6, (90, 120, 3)).astype(np.float32)
    photo[:30, :30] = (1, 0, 0)
    first, *others = crops(photo, 5, 16, 3, (0, 0, 30))
    np.testing.assert_allclose(first, np.broadcast_to((1, 0, 0), (16, 16, 3)), atol=1e-6)
    assert len({one.tobytes() for one in others}) == 4
    np.testing.assert_array_equal(others[2], crops(photo, 5, 16, 3)[3])
    with pytest.raises(InputError, match="gives no photo 'nobody'"):
        shipped_photo("nobody")
