"""ADNI as it is downloaded from the Image Data Archive: folders and tables made up in its shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from adni_download import N3, UNIFORM, download, leaf, row, table
from DualGlowLib import InputError
from DualGlowLib.cases.adni.descriptions import kind_of
from DualGlowLib.cases.layouts import find_cases, read_cases
from empty_scans import write

ANN, BOB = "941_S_1311", "002_S_0295"


def only(folder: Path):
    (item,) = find_cases(folder).items
    return item


def pair(folder: Path, subject: str = ANN, day: str = "2007-06-01", t1_day: str = "", number: int = 100) -> None:
    download(folder, subject, N3, t1_day or day, f"I{number}")
    download(folder, subject, UNIFORM, day, f"I{number + 1}")


# ------------------------------------------------------------------------------------------------------ descriptions


def test_pets_are_told_apart_and_put_in_order() -> None:
    order = [
        UNIFORM, "Coreg, Avg, Std Img and Vox Siz, Uniform 6mm Res", "Coreg, Avg, Standardized Image and Voxel Size",
        "Co-registered, Averaged", "Co-registered Dynamic", "ADNI Brain PET: Raw FDG",
    ]  # fmt: skip
    kinds = [kind_of(text) for text in order]
    assert [kind.role for kind in kinds] == ["FDG"] * len(order)
    assert sorted(kinds, key=lambda kind: kind.rank) == kinds
    assert [kind.resolution for kind in kinds[:3]] == [8.0, 6.0, None]
    assert kind_of("Coreg,_Avg,_Std_Img_and_Vox_Siz,_Uniform_Resolution") == kinds[0]  # a folder's name


@pytest.mark.parametrize(
    ("description", "tracer"),
    [
        (f"AV45 {UNIFORM}", "AV45"), ("PIB Co-registered, Averaged", "PIB"), ("FLUTE Co-registered Dynamic", "FLUTE"),
        ("AV1451_Coreg,_Avg,_Std_Img_and_Vox_Siz,_Uniform_6mm_Res", "AV1451"), ("ADNI Brain PET: Raw AV45", "AV45"),
        ("ADNI Brain PET: Raw", "an unknown tracer"),
    ],
)  # fmt: skip
def test_other_tracers_are_no_fdg(description: str, tracer: str) -> None:
    assert (kind_of(description).role, kind_of(description).tracer) == ("PET", tracer)


def test_t1s_are_told_apart_and_put_in_order() -> None:
    order = [
        N3, f"{N3}; Scaled", "MPR-R; GradWarp; B1 Correction; N3; Scaled", "MPR; GradWarp; N3", "MPR; ; N3",
        "MPR; GradWarp; B1 Correction", "MPR; GradWarp", "MP-RAGE", "Accelerated Sagittal MPRAGE", "MP-RAGE REPEAT",
    ]  # fmt: skip
    kinds = [kind_of(text, "MRI") for text in order]
    assert [kind.role for kind in kinds] == ["T1"] * len(order)
    assert sorted(kinds, key=lambda kind: kind.rank) == kinds
    for other in ("IR-FSPGR", "Accelerated SAG IR-SPGR", "MPRAGE_GRAPPA2(adni)", "MT1; GradWarp; N3m"):
        assert kind_of(other).role == "T1"


@pytest.mark.parametrize(
    "description",
    ["3-plane localizer", "Axial T2-FLAIR", "Axial PD/T2 FSE", "MPRAGE Phantom", "B1-calibration Head", "Axial DTI",
     "HighResHippocampus", "MPRAGE localizer", "Field Mapping", "FreeSurfer Cross-Sectional Processing brainmask"],
)  # fmt: skip
def test_other_images_are_neither(description: str) -> None:
    assert kind_of(description).role == ""
    assert kind_of(description, "MRI").role == ""


def test_a_functional_image_is_no_t1() -> None:
    assert kind_of("MPRAGE", "fMRI").role == ""
    assert kind_of("FDG 3D NAC", "PET").role == "PET"


# ------------------------------------------------------------------------------------------------------------- pairs


def test_a_pair_with_its_row(tmp_path: Path) -> None:
    pair(tmp_path)
    table(
        tmp_path / "search.csv",
        row("I100", ANN, N3, "2007-06-01", age="69"), row("I101", ANN, UNIFORM, "2007-06-01", "LMCI", age="70"),
    )  # fmt: skip
    found = find_cases(tmp_path)
    assert (found.layout, found.notes) == ("adni", [])
    (case,) = read_cases(tmp_path)
    assert (case.name, case.subject, case.session) == (f"{ANN}_20070601", ANN, "ses-20070601")
    assert case.covariates["age"] == "70"
    assert case.covariates["sex"] == "M"
    assert case.t1.name.endswith("_I100.nii")
    assert case.pet.name.endswith("_I101.nii")
    assert case.pet_resolution == 8
    assert case.columns == {
        "visit": "4", "t1_image": "I100", "t1_description": N3, "pet_image": "I101", "pet_description": UNIFORM,
        "days_from_t1_to_pet": "0",
    }  # fmt: skip
    assert only(tmp_path).notes == []


def test_the_subjects_may_lie_at_the_top_and_the_series_stand_in_the_folder(tmp_path: Path) -> None:
    """As in old downloads, where the files' names end in the image's."""
    pair(tmp_path)
    for path in (tmp_path / "ADNI").glob("*/*/*/I*"):
        path.rename(path.with_name("S25671"))
    table(tmp_path / "search.csv", row("I101", ANN, UNIFORM, "2007-06-01", age="81"))
    (case,) = read_cases(tmp_path)
    assert case.covariates["age"] == "81"
    assert [case.name for case in read_cases(tmp_path / "ADNI")] == [case.name]


def test_the_most_processed_is_used_and_said(tmp_path: Path) -> None:
    pair(tmp_path)
    download(tmp_path, ANN, "Co-registered, Averaged", "2007-06-01", "I90")
    download(tmp_path, ANN, "MP-RAGE", "2007-06-01", "I91", dicom="MR")
    download(tmp_path, ANN, "Axial T2-FLAIR", "2007-06-01", "I92")
    download(tmp_path, ANN, f"AV45 {UNIFORM}", "2007-06-02", "I93")
    item = only(tmp_path)
    pet, t1 = UNIFORM.replace(" ", "_"), N3.replace(";", "_").replace(" ", "_")
    assert item.choices == [
        f"2 FDG-PETs of 2007-06-01, I101 ({pet}) is used and not I90 (Co-registered,_Averaged)",
        f"2 T1s of 2007-06-01, I100 ({t1}) is used and not I91 (MP-RAGE)",
    ]
    assert "PET of AV45 is not used" in item.notes


def test_the_nearest_t1_is_taken_up_to_a_year(tmp_path: Path) -> None:
    for number, day in enumerate(("2006-06-01", "2007-05-20", "2009-01-01")):
        download(tmp_path, ANN, N3 if day != "2007-05-20" else "MP-RAGE", day, f"I{number}")
    for number, day in enumerate(("2007-06-01", "2008-02-01", "2010-06-01")):
        download(tmp_path, ANN, UNIFORM, day, f"I10{number}")
    first, second, third = find_cases(tmp_path).items
    assert [first.case.columns["t1_image"], second.case.columns["t1_image"]] == ["I1", "I1"]
    assert first.case.columns["days_from_t1_to_pet"] == "12"
    assert "its T1 is of 2007-05-20, 12 days before the PET" in first.notes
    assert third.reasons == ["no T1 within 365 days (the nearest is of 2009-01-01, 516 days away)"]
    assert {first.subject, second.subject, third.subject} == {ANN}  # of one fold


@pytest.mark.parametrize(("t1_day", "usable"), [("2006-06-01", True), ("2006-05-31", False)])
def test_the_limit_of_a_year(tmp_path: Path, t1_day: str, usable: bool) -> None:
    pair(tmp_path, t1_day=t1_day)
    assert only(tmp_path).is_usable() == usable


def test_subjects_without_a_pet_or_a_t1(tmp_path: Path) -> None:
    download(tmp_path, ANN, N3, "2007-06-01", "I1")
    download(tmp_path, ANN, "PIB Co-registered, Averaged", "2007-06-01", "I2")
    download(tmp_path, BOB, UNIFORM, "2007-06-01", "I3")
    download(tmp_path, "003_S_0001", "3-plane localizer", "2007-06-01", "I4")
    bob, nobody, ann = find_cases(tmp_path).items
    assert (ann.no_pet, ann.reasons) == ("no FDG-PET (PIB only)", [])
    assert (bob.no_pet, bob.reasons) == ("", ["no T1"])
    assert nobody.problems == ["no FDG-PET", "no T1"]
    assert [case.name for case in read_cases(tmp_path, t1_only=True)] == [f"{ANN}_20070601"]


# ------------------------------------------------------------------------------------------------------------ tables


def test_several_tables_are_read_and_the_finer_age_counts(tmp_path: Path) -> None:
    pair(tmp_path)
    pair(tmp_path, BOB, number=200)
    table(tmp_path / "ADNI" / "a.csv", row("I101", ANN, UNIFORM, "2007-06-01"))
    table(tmp_path / "b.csv", row("I201", BOB, UNIFORM, "2007-06-01", "CN", "66"))
    write(
        tmp_path / "idaSearch_1_02_2024.csv",
        '"Subject ID","Sex","Research Group","Visit","Study Date","Age","Modality","Description","Image ID"\n'
        f'"{ANN}","F","AD","ADNI Baseline","6/01/2007","70.4","PET","{UNIFORM}","101"\n',
    )
    other = "RID,PTID,AGE,IMAGEUID\n1311,941_S_1311,55.5,I101\n1,2,3,4,too long\n"
    write(tmp_path / "ADNIMERGE.csv", other)  # of ages at the baseline
    bob, ann = find_cases(tmp_path).items
    assert bob.case.covariates == {"age": "66", "sex": "M", "diagnosis": "CN"}
    assert ann.case.covariates == {"age": "70.4", "sex": "M", "diagnosis": "MCI"}
    assert "the tables say M and F of the sex of I101; M counts" in ann.notes


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_as_a_spreadsheet_saves_it(tmp_path: Path, encoding: str) -> None:
    pair(tmp_path)
    text = table(tmp_path / "search.csv", row("I101", ANN, UNIFORM, "2007-06-01", age="77")).read_text()
    write(tmp_path / "search.csv", "\n" + text.replace('","', '";"'), encoding)
    assert only(tmp_path).case.covariates["age"] == "77"


def test_a_table_that_was_not_fetched_is_said(tmp_path: Path) -> None:
    pair(tmp_path)
    (tmp_path / "search.csv").symlink_to(".git/annex/objects/Xk/1z/MD5E-s1--0.csv")
    with pytest.raises(InputError, match=r"search.csv is a link whose content was not fetched"):
        find_cases(tmp_path)


def test_what_is_listed_but_not_there_is_said(tmp_path: Path) -> None:
    pair(tmp_path)
    download(tmp_path, BOB, "MP-RAGE", "2007-06-01", "I200")
    table(
        tmp_path / "search.csv", row("I100", ANN, N3, "2007-06-01"), row("I101", ANN, UNIFORM, "2007-06-01"),
        row("I50", ANN, f"{N3}; Scaled", "2007-06-01"), row("I51", ANN, "Co-registered, Averaged", "2008-06-01"),
        row("I201", BOB, UNIFORM, "2007-06-01"), row("I202", BOB, N3, "2007-06-01"),
        row("I300", "003_S_0001", UNIFORM, "2007-06-01"),
    )  # fmt: skip
    found = find_cases(tmp_path)
    assert found.notes == [
        "of the T1s and FDG-PETs that search.csv lists, 4 are not there (I201, I202, I50, I51)",
        "of the subjects that search.csv lists, 1 have no folder (003_S_0001)",
    ]
    bob, ann, later = found.items
    assert bob.no_pet == f"its FDG-PET I201 ({UNIFORM}) is listed in search.csv but not there"
    assert bob.choices == [f"its T1 I202 ({N3}), which comes first, is listed in search.csv but not there"]
    assert ann.is_usable()
    assert ann.choices == []
    assert "I51 (Co-registered, Averaged) is listed" in later.no_pet


def test_an_image_without_a_row_is_used_with_a_note(tmp_path: Path) -> None:
    pair(tmp_path)
    table(tmp_path / "search.csv", row("I100", ANN, N3, "2007-06-01"))
    item = only(tmp_path)
    assert item.is_usable()
    assert item.notes == ["no table has a row for I101", "its age is that at the T1"]
    assert item.case.covariates["age"] == "70"


def test_without_a_table_nothing_is_known_and_that_is_said(tmp_path: Path) -> None:
    pair(tmp_path)
    found = find_cases(tmp_path)
    assert "no table of the Image Data Archive" in found.notes[0]
    assert found.items[0].case.covariates == {}
    assert found.items[0].is_usable()


def test_rows_that_contradict_the_folders(tmp_path: Path) -> None:
    pair(tmp_path)
    t1 = row("I100", ANN, N3, "2007-06-01", **{"Acq Date": "6/02/2007"})
    table(tmp_path / "search.csv", t1, row("I101", ANN, UNIFORM, "2007-06-01"))
    assert "I100 is of 2007-06-01 by its folder, which counts, and of 2007-06-02 in search.csv" in only(tmp_path).notes
    table(tmp_path / "search.csv", t1, row("I101", BOB, UNIFORM, "2007-06-01"))
    with pytest.raises(InputError, match=f"search.csv says that I101 is of {BOB}, but it lies in {ANN}"):
        read_cases(tmp_path)


@pytest.mark.parametrize(("group", "kept"), [("Patient", None), ("AD", "AD"), ("CN", "CN")])
def test_groups(tmp_path: Path, group: str, kept: str | None) -> None:
    pair(tmp_path)
    table(tmp_path / "search.csv", row("I101", ANN, UNIFORM, "2007-06-01", group))
    assert only(tmp_path).case.covariates.get("diagnosis") == kept


# ------------------------------------------------------------------------------------------------------------- files


def test_a_folder_whose_name_is_no_date(tmp_path: Path) -> None:
    """Renamed by hand: the table's day counts; an image of which nothing says the day is named, not hidden."""
    pair(tmp_path)
    for image in ("I100", "I101"):
        place = leaf(tmp_path, ANN, N3 if image == "I100" else UNIFORM, "2007-06-01", image).parent
        place.rename(place.with_name("20070601"))
    pair(tmp_path, BOB, number=300)
    findings = find_cases(tmp_path)
    assert [item.name for item in findings.items if item.is_usable()] == [f"{BOB}_20070601"]
    assert any("2 images are passed over" in note and "(I100, I101)" in note for note in findings.notes)
    table(tmp_path / "search.csv", row("I100", ANN, N3, "2007-06-01"), row("I101", ANN, UNIFORM, "2007-06-01"))
    findings = find_cases(tmp_path)
    assert len([item for item in findings.items if item.is_usable()]) == 2
    told = [note for item in findings.items for note in item.notes]
    assert any("I101 is of 2007-06-01 by search.csv" in note for note in told)
    assert not any("passed over" in note for note in findings.notes)


def test_files_that_are_no_volume(tmp_path: Path) -> None:
    download(tmp_path, ANN, N3, "2007-06-01", "I100")
    for number in range(3):
        write(leaf(tmp_path, ANN, "ADNI Brain PET: Raw FDG", "2007-06-01", "I101") / f"x_{number}_S1_I101.nii", "")
    assert "is 3 files, such as one for each frame" in only(tmp_path).no_pet
    write(leaf(tmp_path, ANN, "Co-registered Dynamic", "2007-06-01", "I102") / "x_S1_I102.v", "")
    item = only(tmp_path)
    assert item.no_pet.endswith("has no DICOM or NIfTI file in its folder (.v)")
    download(tmp_path, ANN, "Co-registered, Averaged", "2007-06-01", "I103", dicom="PT")
    item = only(tmp_path)
    assert item.case.pet.is_dir()
    assert item.case.columns["pet_image"] == "I103"


def test_folders_with_such_names_but_no_dates_stay_plain(tmp_path: Path) -> None:
    write(tmp_path / ANN / "t1.nii.gz", "")
    write(tmp_path / ANN / "pet.nii.gz", "")
    assert find_cases(tmp_path).layout == "plain"
