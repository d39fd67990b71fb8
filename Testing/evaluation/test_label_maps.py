"""Regions of one's own: label maps on any lattice, tables of names in the forms that atlases come in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.atlas.label_maps import read_label_map, read_names
from DualGlowLib.bundle.files import DEFAULT_BUNDLE
from DualGlowLib.resources import resource
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan

GRID = GRIDS["medium"]
LATTICE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])  # x runs to the left


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    """Right of the middle 2, left of it 7, far below the grid 9; at 2 mm."""
    labels = np.zeros((91, 109, 91), np.float32)
    labels[20:45, 30:80, 30:60] = 2
    labels[46:71, 30:80, 30:60] = 7
    labels[45, 0, 0] = 9
    write_scan(Scan(labels, LATTICE), tmp_path / "atlas.nii.gz")
    return tmp_path / "atlas.nii.gz"


def test_labels_come_to_the_grid_where_they_lie(atlas: Path) -> None:
    found = read_label_map(atlas, GRID)
    assert found.names == ["label 2", "label 7"]
    assert found.missing == ["label 9"]
    np.testing.assert_allclose(found.weights.sum((1, 2, 3)), 1, rtol=1e-5)
    for weights, side in zip(found.weights, (1, -1), strict=True):
        places = np.argwhere(weights > 0) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
        assert np.all(places[:, 0] * side > 0)
        assert len(np.unique(weights[weights > 0])) == 1  # no label is a mixture of others


@pytest.mark.parametrize(
    "text",
    ["index\tname\tcolor\n2\tone\t#fff\n7\ttwo\t#000\n", "No,Structure\n2,one\n7,two\n", "2,one\n7,two\n",
     "# a lookup table\n\n0   Unknown  0 0 0 0\n2   one     245 245 245   0\n7  two  1 2 3 0\n", "2 one\n7 two\n",
     "﻿Index;Code;Name\n2;X_2;one\n7;X_7;two\n"],
)  # fmt: skip
def test_tables_of_names(atlas: Path, text: str) -> None:
    table = atlas.with_name("names.txt")
    table.write_text(text, encoding="utf-8")
    found = read_label_map(atlas, GRID, table)
    assert found.names == ["one", "two"]
    assert found.missing == ["label 9"]


def test_two_labels_of_one_name_stay_apart(atlas: Path) -> None:
    table = atlas.with_name("names.txt")
    table.write_text("2 cortex\n7 cortex\n9 skull\n11 nowhere\n")
    found = read_label_map(atlas, GRID, table)
    assert found.names == ["cortex (2)", "cortex (7)"]
    assert found.missing == ["skull", "nowhere"]


def test_what_is_no_label_map_or_table(atlas: Path, tmp_path: Path) -> None:
    write_scan(
        Scan(np.random.default_rng(0).random((20, 20, 20), np.float32), np.diag([8.0, 8, 8, 1])),
        tmp_path / "image.nii.gz",
    )
    with pytest.raises(InputError, match="no labels"):
        read_label_map(tmp_path / "image.nii.gz", GRID)
    far, label = np.diag([8.0, 8, 8, 1]), np.zeros((20, 20, 20), np.float32)
    far[:3, 3], label[5:9] = 900, 1
    write_scan(Scan(label, far), tmp_path / "far.nii.gz")
    with pytest.raises(InputError, match="MNI152 space"):
        read_label_map(tmp_path / "far.nii.gz", GRID)
    (tmp_path / "other.txt").write_text("101 a\n102 b\n")
    with pytest.raises(InputError, match="names none of the labels"):
        read_label_map(atlas, GRID, tmp_path / "other.txt")
    (tmp_path / "words.txt").write_text("just words\n")
    with pytest.raises(InputError, match="names no labels"):
        read_names(tmp_path / "words.txt")


def test_evaluate_with_an_atlas_of_ones_own(atlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cohort, report = simulate_cohort(tmp_path / "cohort", 2, "medium", seed=5), tmp_path / "report.json"
    (tmp_path / "names.tsv").write_text("index\tname\n2\thalf_R\n7\thalf_L\n")
    command = [
        "evaluate",
        str(resource("Models", DEFAULT_BUNDLE)),
        str(cohort),
        "--output",
        str(report),
        "--device",
        "cpu",
    ]
    assert main([*command, "--atlas", str(atlas), "--atlas-table", str(tmp_path / "names.tsv")]) == 0
    assert "without a voxel on the grid: label 9" in capsys.readouterr().err
    found = json.loads(report.read_text())
    assert [row["region"] for row in found["regions"]["model"]] == ["half_R", "half_L"]
    assert [row["region"] for row in found["asymmetry"]["model"]] == ["half"]
    assert abs(found["asymmetry"]["model"][0]["bias"]) < 5
    assert main([*command, "--atlas-table", str(tmp_path / "names.tsv"), "--force"]) == 2
    assert "give both, or neither" in capsys.readouterr().err


def test_a_real_atlas(shared: Path) -> None:
    folder = shared / "data" / "atlas_mni"
    found = read_label_map(folder / "neuroparc_Desikan_2mm.nii.gz", GRID, folder / "neuroparc_Desikan.csv")
    assert len(found.names) > 60
    places = dict(zip(found.names, found.weights, strict=True))
    left, right = (next(name for name in places if name.startswith(side + "_superior_frontal")) for side in "LR")
    middles = [
        np.argwhere(places[name] > 0).mean(0) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3] for name in (left, right)
    ]
    assert middles[0][0] < 0 < middles[1][0]
    assert middles[0][1] > 0
