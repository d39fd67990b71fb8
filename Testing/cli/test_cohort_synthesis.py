"""``synthesize --cohort``: every T1 of a directory, kept where nothing has changed."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from DualGlowLib.__main__ import main
from raw_cohort import content, make_cohort

NAMES = ["sub-00", "sub-01", "sub-02"]
PET = "sub-00/pet/sub-00_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two T1s, and one that is none."""
    folder = make_cohort(tmp_path_factory.mktemp("cases"), NAMES)
    t1 = folder / "sub-02/anat/sub-02_space-orig_T1w.nii.gz"
    t1.write_bytes((folder / "sub-02/pet/sub-02_trc-18FFDG_space-orig_pet.nii.gz").read_bytes())
    return folder


def synthesize(cases: Path, out: Path, *options: str) -> int:
    return main(["synthesize", str(cases), "--cohort", "--output", str(out), "--device", "cpu", "--json", *options])


def told(capsys: pytest.CaptureFixture) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_every_t1_gets_its_pet_and_what_is_there_is_kept(cases: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert synthesize(cases, out, "--jobs", "2") == 0
    first = told(capsys)
    assert first["counts"] == {"good": 2, "refused": 1}
    assert "doesn't look like a T1" in first["cases"]["sub-02"]["reasons"][0]
    before = content(out)

    alone = tmp_path / "alone.nii.gz"
    t1 = cases / "sub-00/anat/sub-00_space-orig_T1w.nii.gz"
    mask = cases / "sub-00/anat/sub-00_space-orig_desc-brain_mask.nii.gz"
    whose = ["--age", "60", "--sex", "F", "--diagnosis", "CN", "--mask", str(mask)]  # as in participants.tsv
    assert main(["synthesize", str(t1), *whose, "--output", str(alone), "--device", "cpu"]) == 0
    pets = [nib.load(path).get_fdata() for path in (alone, out / PET)]
    np.testing.assert_allclose(*pets, atol=2e-3)

    (out / PET).unlink()
    capsys.readouterr()
    assert synthesize(cases, out) == 0
    assert told(capsys)["kept"] == 2
    assert content(out) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cohort", "--qc", "qc.png"], "--qc is of one T1"),
        (["--cohort", "--jobs", "0"], "--jobs must be at least 1"),
        (["--jobs", "2"], "give --cohort too"),
        (["--scheduler", "tcp://127.0.0.1:9"], "give --cohort too"),
    ],
)
def test_options_that_do_not_go_together(cases: Path, tmp_path: Path, capsys, options, sentence) -> None:
    assert main(["synthesize", str(cases), "--output", str(tmp_path / "new"), *options]) == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_with_other_things_is_refused(cases: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert synthesize(cases, tmp_path) == 2
    assert "holds other things" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
