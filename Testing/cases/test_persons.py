"""One person under several names stays in one fold, and it is said."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.cases.layouts import find_cases, read_cases
from DualGlowLib.cases.splits import make_splits, read_splits, write_splits
from DualGlowLib.training.data import split_subjects
from empty_scans import pair, tree, write


def cohort(folder: Path, same: dict[str, str], size: int = 6) -> Path:
    """A BIDS directory of scans with contents of their own, but for those that are copies of others'."""
    for index in range(1, size + 1):
        for path in pair(f"sub-{index:02}"):
            write(folder / path, f"{path} is what this scan holds")
    for copy, source in same.items():
        (folder / copy).write_bytes((folder / source).read_bytes())
    return folder


@pytest.mark.parametrize("scan", [0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_a_scan_under_two_names_is_one_persons(tmp_path: Path, scan: int, seed: int) -> None:
    cohort(tmp_path, {pair("sub-04")[scan]: pair("sub-01")[scan], pair("sub-05")[1 - scan]: pair("sub-04")[1 - scan]})
    found = {item.name: item.notes for item in find_cases(tmp_path).items}
    assert f"the same content as sub-01's {('T1', 'PET')[scan]}" in found["sub-04"][0]
    assert [name for name, notes in found.items() if notes] == ["sub-01", "sub-04", "sub-05"]
    assert "sub-01 and sub-04 and sub-05 count as one person in folds" in find_cases(tmp_path).notes
    cases = read_cases(tmp_path)
    splits = make_splits(cases, 3, seed)
    assert len({splits.assignment[name] for name in ("sub-01", "sub-04", "sub-05")}) == 1
    assert set(splits.assignment) == {case.subject for case in cases}
    train, held = split_subjects(cases, 0.4, seed)
    sides = [{cases[i].subject for i in side} & {"sub-01", "sub-04", "sub-05"} for side in (train, held)]
    assert set() in sides


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_scan_is_known_under_another_header(tmp_path: Path, ending: str) -> None:
    voxels = np.random.default_rng(0).integers(0, 999, (60, 70, 80)).astype(np.int16)
    other = voxels.copy()
    other[30, 35, 40] += 1
    turned, extended = nib.Nifti1Image(voxels, np.diag([-2, 2, 2, 1])), nib.Nifti1Image(voxels, np.eye(4))
    turned.header["descrip"] = b"scan of somebody else"
    extended.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"anonymous" * 20))
    images = (nib.Nifti1Image(voxels, np.eye(4)), turned, extended, nib.Nifti1Image(other, np.eye(4)))
    for index, image in enumerate(images, start=1):
        (tmp_path / f"S{index}").mkdir()
        nib.save(image, tmp_path / f"S{index}" / f"t1{ending}")
        write(tmp_path / f"S{index}" / "pet.nii.gz", f"PET {index}")
    assert {case.subject: case.fold_group for case in read_cases(tmp_path)} == {
        "S1": "S1",
        "S2": "S1",
        "S3": "S1",
        "S4": "S4",
    }


def test_a_file_of_folds_that_parts_a_person_is_refused(tmp_path: Path) -> None:
    cases = read_cases(cohort(tmp_path / "bids", {pair("sub-04")[0]: pair("sub-01")[0]}))
    path = write_splits(make_splits(cases, 3), tmp_path / "folds.json")
    assert read_splits(path, cases).folds == 3
    values = json.loads(path.read_text())
    values["subjects"]["sub-04"]["fold"] = (values["subjects"]["sub-01"]["fold"] + 1) % 3
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="sub-01 and sub-04 in two folds, but they are one person"):
        read_splits(path, cases)


def test_a_pet_that_is_its_t1_is_noted(tmp_path: Path) -> None:
    cohort(tmp_path, {pair("sub-02")[1]: pair("sub-02")[0]})
    notes = [item.notes for item in find_cases(tmp_path).items]
    assert notes[1] == ["its PET has the same content as its T1"]
    assert notes[0] == notes[2] == []


def test_dicom_folders_are_compared_too(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        for scan in ("t1", "pet"):
            text = f"{scan} of {'a' if name == 'b' else name}"
            write(tmp_path / name / scan / "1.dcm", text)
    found = find_cases(tmp_path).items
    assert [bool(item.notes) for item in found] == [True, True, False]
    assert found[0].case.fold_group == found[1].case.fold_group != found[2].case.fold_group


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("S01_M00", "S01_M12"), ("S01_bl", "S01-followup"), ("S01_v1", "S01_v2"), ("S01_ses-1", "S01_ses-2"),
        ("S01", "S01_m06"), ("S01_2011-03-01", "S01_20130301"), ("S01m00", "S01m12"), ("S01.visit1", "S01.visit2"),
    ],
)  # fmt: skip
def test_visits_by_their_names(tmp_path: Path, first: str, second: str) -> None:
    tree(tmp_path, *(f"{name}/{scan}.nii" for name in (first, second, "S02_M00", "S03") for scan in ("t1", "pet")))
    found = {item.name: item for item in find_cases(tmp_path).items}
    for name, other in ((first, second), (second, first)):
        assert found[name].subject == found[name].case.subject == "S01"
        assert f"{name} and {other} are taken for visits of one person (S01)" in found[name].notes[0]
    assert found[first].case.session != found[second].case.session
    assert found["S02_M00"].subject == "S02_M00"
    assert found["S03"].notes == found["S02_M00"].notes == []


def test_visits_of_one_person_in_any_case(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{name}/{scan}.nii" for name in ("S01_M12", "s01_m00", "S02") for scan in ("t1", "pet")))
    assert [case.subject for case in read_cases(tmp_path)] == ["S01", "S02", "S01"]


@pytest.mark.parametrize("names", [("case_1", "case_2", "x"), ("p_v1", "p_v2"), ("S01A", "S01B", "x"), ("M12", "M24")])
def test_other_names_are_of_persons(tmp_path: Path, names: tuple[str, ...]) -> None:
    tree(tmp_path, *(f"{name}/{scan}.nii" for name in names for scan in ("t1", "pet")))
    assert [case.subject for case in read_cases(tmp_path)] == sorted(names)


def test_what_a_table_says_of_subjects_counts(tmp_path: Path) -> None:
    names = ("S01_M00", "S01_M12", "S02_M00")
    tree(tmp_path, *(f"{name}/{scan}.nii" for name in names for scan in ("t1", "pet")))
    rows = "".join(f"{name},Q{index}\n" for index, name in enumerate(names))
    write(tmp_path / "participants.csv", f"case,subject\n{rows}")
    assert [case.subject for case in read_cases(tmp_path)] == ["Q0", "Q1", "Q2"]


def test_visits_in_the_labels_of_bids_subjects(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01m00"), *pair("sub-01m12"), *pair("sub-02"))
    cases = read_cases(tmp_path)
    assert [case.subject for case in cases] == ["sub-01m00", "sub-01m12", "sub-02"]
    assert cases[0].fold_group == cases[1].fold_group == "sub-01"
