"""Directories of paired cases: every layout, what is paired with what, and what is left out with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dicom_files import write_series
from DualGlowLib import InputError
from DualGlowLib.cases.files import sidecar
from DualGlowLib.cases.layouts import find_cases, is_simulated, read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.grid import GRIDS
from empty_scans import pair, tree, write


def only(folder: Path):
    (item,) = find_cases(folder).items
    return item


# ---------------------------------------------------------------------------------------------------------------- BIDS


def test_bids_with_and_without_sessions(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01"), *pair("sub-02", "ses-a"), *pair("sub-02", "ses-b"), "derivatives/sub-03/x.txt")
    write(tmp_path / "participants.tsv", "participant_id\tage\tsex\tdiagnosis\tsite\nsub-01\t61\tfemale\tNC\tRome\n")
    found = find_cases(tmp_path)
    assert found.layout == "bids"
    cases = read_cases(tmp_path)
    assert [case.name for case in cases] == ["sub-01", "sub-02_ses-a", "sub-02_ses-b"]
    assert [case.subject for case in cases] == ["sub-01", "sub-02", "sub-02"]
    assert cases[0].covariates == {"age": "61", "sex": "F", "diagnosis": "CN"}
    assert cases[0].columns == {"site": "Rome"}
    assert cases[1].covariates == {}  # missing stays missing
    assert not cases[0].registered
    assert [case.session for case in cases] == ["", "ses-a", "ses-b"]


@pytest.mark.parametrize("tracer", ["18FFDG", "18ffdg", "FDG", "18FDG", "F18FDG"])
def test_fdg_is_known_by_its_names(tmp_path: Path, tracer: str) -> None:
    tree(tmp_path, *pair("sub-01", tracer=tracer))
    assert len(read_cases(tmp_path)) == 1


def test_other_tracers_are_not_fdg(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", tracer="18FAV45"))
    assert only(tmp_path).no_pet == "no FDG-PET (18FAV45 only)"
    tree(tmp_path, *pair("sub-01"))
    item = only(tmp_path)
    assert item.is_usable()
    assert "PET of 18FAV45 is not used" in item.notes
    assert "18FFDG" in item.case.pet.name


def test_a_tracer_may_be_named_in_the_sidecar_alone(tmp_path: Path) -> None:
    tree(tmp_path, pair("sub-01")[0], "sub-01/pet/sub-01_pet.nii")
    assert only(tmp_path).no_pet == "no FDG-PET (unknown tracer only)"
    write(tmp_path / "sub-01/pet/sub-01_pet.json", '{"TracerName": "[18F]FDG"}')
    assert only(tmp_path).is_usable()


@pytest.mark.parametrize(
    "place", ["", "sub-01/sub-01_", "sub-01/ses-1/sub-01_ses-1_", "sub-01/ses-1/pet/sub-01_ses-1_"]
)
def test_a_sidecar_is_inherited(tmp_path: Path, place: str) -> None:
    """From files that name nothing which the image isn't; the nearer one counts."""
    tree(tmp_path, pair("sub-01", "ses-1")[0], "sub-01/ses-1/pet/sub-01_ses-1_run-1_pet.nii")
    write(tmp_path / "pet.json", json.dumps({"TracerName": "florbetapir", "Manufacturer": "all"}))
    write(tmp_path / "run-2_pet.json", json.dumps({"TracerName": "FDG"}))
    assert not only(tmp_path).is_usable()
    write(tmp_path / f"{place}pet.json", json.dumps({"TracerName": "FDG"}))
    item = only(tmp_path)
    assert item.is_usable()
    kept = sidecar(item.case.pet)
    assert kept["TracerName"] == "FDG"
    assert kept.get("Manufacturer") == ("all" if place else None)
    write(tmp_path / "sub-01/ses-1/pet/sub-01_ses-1_run-1_pet.json", json.dumps({"TracerName": "raclopride"}))
    assert not only(tmp_path).is_usable()


def test_a_t1_above_the_sessions_is_used_and_said(tmp_path: Path) -> None:
    t1, (_, pet) = "sub-01/anat/sub-01_T1w.nii", pair("sub-01", "ses-1")
    tree(tmp_path, t1, pet, *pair("sub-01", "ses-2"))
    above, own = find_cases(tmp_path).items
    assert above.case.t1 == tmp_path / t1
    assert above.choices == ["its T1 lies above the sessions, in sub-01/anat"]
    assert (above.session, own.choices) == ("ses-1", [])
    assert own.case.t1.parent.parent.name == "ses-2"
    (tmp_path / pet).unlink()  # now no session has a use for it
    assert [item.name for item in find_cases(tmp_path).items] == ["sub-01", "sub-01_ses-2"]


def test_the_t1_of_an_mp2rage(tmp_path: Path) -> None:
    tree(tmp_path, "sub-01/anat/sub-01_UNIT1.nii", pair("sub-01")[1])
    item = only(tmp_path)
    assert item.is_usable()
    assert item.choices == [
        "its T1 sub-01_UNIT1.nii is the UNIT1 of an MP2RAGE; should its air be noise, give a brain mask"
    ]
    tree(tmp_path, pair("sub-01")[0])
    assert only(tmp_path).case.t1.name.startswith("sub-01_T1w")


def test_the_first_run_is_taken_and_said(tmp_path: Path) -> None:
    tree(tmp_path, *(f"sub-01/anat/sub-01_run-{i}_T1w.nii.gz" for i in (10, 2)), pair("sub-01")[1])
    tree(tmp_path, "sub-01/anat/sub-01_run-1_T2w.nii.gz", "sub-01/anat/.sub-01_run-1_T1w.nii.gz")
    tree(tmp_path, "sub-01/anat/sub-01_space-MNI_T1w.nii.gz")
    item = only(tmp_path)
    assert item.case.t1.name == "sub-01_run-2_T1w.nii.gz"
    assert item.choices == [
        "3 T1s, sub-01_run-2_T1w.nii.gz is used and not sub-01_run-10_T1w.nii.gz, sub-01_space-MNI_T1w.nii.gz"
    ]


def test_scans_of_different_sessions_are_not_paired(tmp_path: Path) -> None:
    tree(tmp_path, pair("sub-01", "ses-M00")[0], pair("sub-01", "ses-M01")[1])
    first, second = find_cases(tmp_path).items
    assert not first.is_usable()
    assert first.is_usable(t1_only=True)
    assert first.problems == ["no FDG-PET (there is one in ses-M01, 30 days apart, which is not paired)"]
    assert second.problems == ["no T1 (there is one in ses-M00, 30 days apart, which is not paired)"]
    with pytest.raises(InputError, match="no case with both a T1 and an FDG-PET"):
        read_cases(tmp_path)
    assert [case.name for case in read_cases(tmp_path, t1_only=True)] == ["sub-01_ses-M00"]


def test_a_mask_belongs_to_its_space(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01"), "sub-01/anat/sub-01_space-MNI_desc-brain_mask.nii.gz")
    assert only(tmp_path).case.mask is None
    tree(tmp_path, "sub-01/anat/sub-01_desc-brain_mask.nii.gz")
    assert only(tmp_path).case.mask.name == "sub-01_desc-brain_mask.nii.gz"


def test_dicom_folders_are_no_part_of_bids(tmp_path: Path) -> None:
    tree(tmp_path, "sub-01/anat/sub-01_T1w/1.dcm", pair("sub-01")[1])
    assert only(tmp_path).reasons == ["no T1"]


SESSIONS = "session_id\t{}\nses-M000\t{}\nses-M012\t{}\n"


@pytest.mark.parametrize(
    ("participants", "sessions", "ages"),
    [
        ("age\n70", SESSIONS.format("age", "70.2", "71.4"), ["70.2", "71.4"]),  # sessions win
        ("age_bl\n70", SESSIONS.format("days_since_baseline", "0", "731"), ["70", "72"]),
        ("age\n70", SESSIONS.format("acq_time", "2011-03-01T10:00:00", "2012-08-30"), ["70", "71.5"]),
        ("age\n70", SESSIONS.format("examination_date", "n/a", "2012-08-30"), ["70", "71"]),  # months of the name
        ("age\n70", "", ["70", "71"]),
        ("age\n70", SESSIONS.format("age", "n/a", "-4"), ["70", "71"]),
        ("sex\nF", SESSIONS.format("age", "n/a", "65"), [None, "65"]),
    ],
)
def test_age_at_the_scan(tmp_path: Path, participants: str, sessions: str, ages: list[str]) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M000"), *pair("sub-01", "ses-M012"))
    header, value = participants.split("\n")
    write(tmp_path / "participants.tsv", f"participant_id\t{header}\nsub-01\t{value}\n")
    if sessions:
        write(tmp_path / "sub-01" / "sub-01_sessions.tsv", sessions)
    assert [case.covariates.get("age") for case in read_cases(tmp_path)] == ages


def test_an_unknown_time_since_baseline_leaves_the_age_missing(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-01"), *pair("sub-01", "ses-02"), *pair("sub-02", "ses-01"))
    write(tmp_path / "participants.tsv", "participant_id\tage\n01\t70\n02\t80\n")  # without sub-, as some write
    one, two, alone = find_cases(tmp_path).items
    assert "age" not in one.case.covariates
    assert "age" not in two.case.covariates
    assert "nothing says how long" in two.notes[0]
    assert alone.case.covariates["age"] == "80"


def test_a_diagnosis_at_the_session_wins(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M00"), *pair("sub-01", "ses-M24"), *pair("sub-01", "ses-M48"))
    write(tmp_path / "participants.tsv", "participant_id\tdiagnosis_sc\nsub-01\tCN\n")
    write(tmp_path / "sub-01/sub-01_sessions.tsv", "session_id\tdiagnosis\nM00\tn/a\nM24\tMCI\nM48\tn/a\n")
    found = find_cases(tmp_path).items
    assert [item.case.covariates.get("diagnosis") for item in found] == ["CN", "MCI", None]
    assert "changes between sessions (CN, MCI)" in found[2].notes[0]
    write(tmp_path / "sub-01/sub-01_sessions.tsv", "session_id\tdiagnosis\nM00\tn/a\nM24\tCN\nM48\tn/a\n")
    found = find_cases(tmp_path).items
    assert [item.case.covariates["diagnosis"] for item in found] == ["CN", "CN", "CN"]
    assert [item.notes for item in found] == [[], [], ["the diagnosis is the person's, not the session's"]]


def test_tables_with_a_row_a_visit_and_codes_explained_in_json(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-1"), *pair("sub-01", "ses-2"))
    text = "participant_id\tsession_id\tage\tsex\nsub-01\tses-1\t60\t1\nsub-01\tses-2\t63\t1\n"
    write(tmp_path / "participants.tsv", text)
    with pytest.raises(InputError, match=r"sub-01_ses-1 .*sex '1' could be either"):
        read_cases(tmp_path)
    write(tmp_path / "participants.json", json.dumps({"sex": {"Levels": {"1": "male", "2": "female"}}}))
    assert [case.covariates for case in read_cases(tmp_path)] == [{"age": "60", "sex": "M"}, {"age": "63", "sex": "M"}]


@pytest.mark.parametrize(
    ("levels", "found"),
    [
        ({"P": {"Description": "Alzheimer's disease", "TermURL": "http://x"}}, "AD"),
        ({"P": "mild cognitive impairment (amnestic)"}, "MCI"),
        ({"AD": "patients with a clinical diagnosis of dementia"}, "AD"),
        ({"AD": {"Description": "whoever came to us"}}, "AD"),
        ({"AD": {"TermURL": "http://x"}}, "AD"),
        ({"CN": "Alzheimer's disease"}, "AD"),
    ],
)
def test_levels_are_texts_objects_or_sentences(tmp_path: Path, levels: dict, found: str) -> None:
    """What they say counts, the code itself where they say it in words of their own."""
    tree(tmp_path, *pair("sub-01"))
    (code,) = levels
    write(tmp_path / "participants.tsv", f"participant_id\tsex\tgroup\nsub-01\tM\t{code}\n")
    sex = {"M": {"Description": "Male"}, "F": "people who said that they are female"}
    write(tmp_path / "participants.json", json.dumps({"sex": {"Levels": sex}, "group": {"Levels": levels}}))
    assert only(tmp_path).case.covariates == {"sex": "M", "diagnosis": found}
    assert only(tmp_path).notes == []


def test_mistakes_in_tables_are_not_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01"), *pair("sub-02"))
    rows = write(tmp_path / "participants.tsv", "participant_id\tage\nsub-01\t60\nsub-02\tsixty\n")
    with pytest.raises(InputError, match=r"sub-02 .*age 'sixty' is not understood"):
        read_cases(tmp_path)
    write(rows, "participant_id\tage\nsub-01\t60\nsub-01\t61\nsub-02\t6\n")
    with pytest.raises(InputError, match=r"participants.tsv has two different rows"):
        read_cases(tmp_path)
    write(rows, "id\tage\nsub-01\t60\n")
    with pytest.raises(InputError, match="no column participant_id"):
        read_cases(tmp_path)


# ---------------------------------------------------------------------------------------------------------------- CAPS

CROP = "_space-MNI152NLin2009cSym_desc-Crop_res-1x1x1"
WHOLE = "_space-MNI152NLin2009cSym_res-1x1x1"


def caps(folder: Path, subject: str, session: str, t1: str, pet: str) -> Path:
    place = f"subjects/{subject}/{session}"
    names = [f"{place}/t1_linear/{subject}_{session}{t1}"] * bool(t1)
    return tree(folder, *names, *[f"{place}/pet_linear/{subject}_{session}{pet}"] * bool(pet))


@pytest.mark.parametrize(
    ("t1", "pet"),
    [
        (f"{CROP}_T1w.nii.gz", f"_trc-18FFDG{CROP}_suvr-pons2_pet.nii.gz"),
        (f"_T1w{CROP}_T1w.nii.gz", f"_trc-18FFDG_rec-uniform_pet{CROP}_suvr-pons2_pet.nii.gz"),
        (f"{WHOLE}_T1w.nii.gz", f"_acq-fdg_pet{WHOLE}_suvr-pons2_pet.nii.gz"),
    ],
)
def test_caps_of_several_versions(tmp_path: Path, t1: str, pet: str) -> None:
    caps(tmp_path, "sub-ADNI01", "ses-M006", t1, pet)
    write(tmp_path / "participants.tsv", "participant_id\tage_bl\tsex\tdiagnosis_sc\nsub-ADNI01\t70\tM\tCN\n")
    assert find_cases(tmp_path).layout == "caps"
    (case,) = read_cases(tmp_path)
    assert (case.name, case.subject, case.session) == ("sub-ADNI01_ses-M006", "sub-ADNI01", "ses-M006")
    assert case.registered
    assert case.suvr == "pons2"
    assert case.covariates == {"age": "70.5", "sex": "M", "diagnosis": "CN"}


def test_caps_pairs_images_of_one_kind(tmp_path: Path) -> None:
    caps(tmp_path, "sub-1", "ses-M000", f"{WHOLE}_T1w.nii.gz", f"_trc-18FFDG{WHOLE}_suvr-pons_pet.nii.gz")
    caps(tmp_path, "sub-1", "ses-M000", f"{CROP}_T1w.nii.gz", "")
    caps(tmp_path, "sub-1", "ses-M000", "", "_trc-18FFDG_space-T1w_pet.nii.gz")
    caps(tmp_path, "sub-2", "ses-M000", f"{CROP}_T1w.nii.gz", f"_trc-18FAV45{CROP}_suvr-cerebellumPons2_pet.nii.gz")
    write(tmp_path / "merge-tsv.tsv", "participant_id\tsession_id\tage\nsub-1\tses-M000\t66\n")
    one, two = find_cases(tmp_path).items
    assert "desc-Crop" not in one.case.t1.name
    assert "desc-Crop" not in one.case.pet.name
    assert one.case.covariates == {"age": "66"}
    assert two.no_pet == "no FDG-PET (18FAV45 only)"


# --------------------------------------------------------------------------------------------------- flat and plain


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_flat(tmp_path: Path, separator: str, encoding: str) -> None:
    tree(tmp_path, "a/t1.nii.gz", "a/p.nii", "b.mgz", "b pet.nrrd", "b_mask.nii")
    rows = [
        ["Case", "T1", "PET", "Age", "Sex", "Diagnosis", "Mask", "pet_resolution", "Städte"],
        ["Ann", "a/t1.nii.gz", "a/p.nii", "72Y", "w", "Dementia", "", "", "Köln"],
        ["Bob", "b.mgz", "b pet.nrrd", "n/a", "", "-4", "b_mask.nii", "6.5", ""],
        ["", "", "", "", "", "", "", "", ""],
    ]
    write(tmp_path / "cases.csv", "\r\n".join(separator.join(row) for row in rows), encoding)
    for place in (tmp_path, tmp_path / "cases.csv"):
        found = find_cases(place)
        assert found.layout == "flat"
    ann, bob = read_cases(tmp_path)
    assert ann.t1 == tmp_path / "a" / "t1.nii.gz"
    assert ann.covariates == {"age": "72", "sex": "F", "diagnosis": "AD"}
    assert ann.columns == {"städte": "Köln"}
    assert (ann.subject, ann.mask, ann.pet_resolution) == ("Ann", None, None)
    assert bob.covariates == {}
    assert (bob.mask, bob.pet_resolution) == (tmp_path / "b_mask.nii", 6.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("case,t1,pet\na,x.nii,x.nii\na,x.nii,x.nii\n", "names the case 'a' twice"),
        ("case,t1,pet\n,x.nii,x.nii\n", "line 2, has no case"),
        ("case,t1,pet,age\na,x.nii,x.nii,72,5\n", "has 5 fields under 4 columns"),
        ("case,t1,pet,pet\na,x.nii,x.nii,x.nii\n", "column 'pet' twice"),
        ("case,t1,pet,age\na,x.nii,x.nii,172\n", "outside 1 to 120 years"),
        ("case,t1,pet,mask\na,x.nii,x.nii,none.nii\n", r"mask .*none.nii does not exist"),
        ("case,t1,pet,pet_resolution\na,x.nii,x.nii,high\n", "must be a number of millimetres"),
        ("case,t1,pet\na,x.nii,y.nii\n", r"its PET .*y.nii does not exist"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_a_flat_table_is_said(tmp_path: Path, text: str, says: str) -> None:
    tree(tmp_path, "x.nii")
    write(tmp_path / "cases.csv", text)
    with pytest.raises(InputError, match=says):
        read_cases(tmp_path)


def test_plain_folders(tmp_path: Path) -> None:
    tree(tmp_path, "p1/t1.nii.gz", "p1/pet.nii.gz", "p1/mask.nii.gz", "p2/T1/001.dcm", "p2/PET/001.dcm")
    tree(tmp_path, "p3/t1.mgz", "p3/t1.nii", "other/notes.txt", ".hidden/t1.nii")
    write(tmp_path / "participants.csv", "subject;age;sex\np1;66,5;M\np2;71;F\n")
    found = find_cases(tmp_path)
    assert found.layout == "plain"
    assert [item.name for item in found.items] == ["p1", "p2", "p3"]
    one, two = read_cases(tmp_path)
    assert one.covariates == {"age": "66.5", "sex": "M"}
    assert one.mask.name == "mask.nii.gz"
    assert (two.t1, two.pet) == (tmp_path / "p2" / "T1", tmp_path / "p2" / "PET")
    three = found.items[2]
    assert three.problems == ["no PET"]
    assert three.choices == ["2 files named t1, t1.mgz is used"]
    assert three.notes == ["participants.csv has no row for it"]


def test_plain_folders_may_be_named_as_subjects(tmp_path: Path) -> None:
    tree(tmp_path, "sub-1/t1.nii.gz", "sub-1/pet.nii.gz")
    write(tmp_path / "participants.tsv", "participant_id\tage\nsub-1\t60\n")
    assert find_cases(tmp_path).layout == "plain"
    assert read_cases(tmp_path)[0].covariates == {"age": "60"}


def test_the_pair_of_the_shared_data(shared: Path) -> None:
    (case,) = read_cases(shared / "data" / "pairs")
    assert case.name == "brainweb06"


# ------------------------------------------------------------------------------------------------- all layouts


@pytest.mark.parametrize("how", ["name", "sidecar", "header", "header-2"])
def test_synthetic_pets_are_refused(tmp_path: Path, how: str) -> None:
    t1, pet = pair("sub-01")
    pet = pet.replace("_pet.", "_desc-synthetic_pet.") if how == "name" else pet
    tree(tmp_path, t1, pet)
    if how == "sidecar":
        write(tmp_path / pet.replace(".nii.gz", ".json"), '{"Synthetic": true}')
    if how.startswith("header"):
        kind = nib.Nifti2Image if how == "header-2" else nib.Nifti1Image
        image = kind(np.ones((9, 9, 9), np.float32), np.eye(4))
        image.header["descrip"] = b"SYNTHETIC FDG DualGlow, research use only"
        nib.save(image, tmp_path / pet)
    item = only(tmp_path)
    assert not item.is_usable()
    assert "is synthetic" in item.no_pet
    write(tmp_path / "cases.csv", f"case,t1,pet\na,{t1},{pet}\n")
    assert "is synthetic" in only(tmp_path).no_pet


def test_an_acquired_pet_beside_a_synthetic_one_is_used(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01"), "sub-01/pet/sub-01_trc-18FFDG_desc-synthetic_pet.nii.gz")
    item = only(tmp_path)
    assert item.is_usable()
    assert item.case.pet.name == "sub-01_trc-18FFDG_pet.nii.gz"
    assert item.choices == item.notes == []


def test_what_simulate_writes_is_read_as_it_is(tmp_path: Path) -> None:
    simulate_cohort(tmp_path / "cohort", 2, "small", 3)
    cases = read_cases(tmp_path / "cohort")
    assert [case.name for case in cases] == ["sub-0001", "sub-0002"]
    assert all(case.mask is not None and set(case.covariates) == {"age", "sex", "diagnosis"} for case in cases)
    assert cases[0].registered
    assert cases[0].suvr == "pons"
    assert is_simulated(tmp_path / "cohort")
    t1, pet, mask = read_on_grid(cases[0], GRIDS["small"])
    assert t1.shape == pet.shape == mask.shape == GRIDS["small"].shape
    with pytest.raises(InputError, match="prepare the cases first"):
        read_on_grid(cases[0], GRIDS["medium"])


def test_what_a_table_leaves_out_is_said_of_folders_alone(tmp_path: Path) -> None:
    """Scans beside the table that have a BIDS name are those of the table."""
    (tmp_path / "cases.csv").write_text("case,t1,pet,age\n1,sub-1_t1.nii.gz,sub-1_pet.nii.gz,70\n")
    (tmp_path / "sub-1_t1.nii.gz").touch()
    assert find_cases(tmp_path).notes == []
    (tmp_path / "sub-2").mkdir()
    assert find_cases(tmp_path).notes == ["the cases are those of cases.csv; sub-* folders are not searched"]


def test_a_folder_without_cases_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        read_cases(tmp_path / "none")
    (tmp_path / "t1.nii.gz").write_bytes(b"scan")
    with pytest.raises(InputError, match=r"t1\.nii\.gz is a file; give the directory"):
        read_cases(tmp_path / "t1.nii.gz")
    with pytest.raises(InputError, match="has no case with both a T1 and an FDG-PET"):
        read_cases(tmp_path)
    with pytest.raises(InputError, match="There is no layout 'bid'"):
        read_cases(tmp_path, "bid")
    with pytest.raises(InputError, match=r"has no cases.csv"):
        read_cases(tmp_path, "flat")


@pytest.mark.parametrize("table", ["", "case,age\np1,70\n"])
def test_age_and_sex_of_a_dicom_t1_in_plain_folders(tmp_path: Path, table: str) -> None:
    """The header says 71 years and F; a table goes before it."""
    series = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    for name, stated in (("p1", {}), ("p2", {"PatientAge": "", "PatientBirthDate": "", "PatientSex": ""})):
        write_series(tmp_path / name / "t1", series, np.eye(4), **stated)
        write(tmp_path / name / "pet.nii.gz", "")
    if table:
        (tmp_path / "cases.csv").write_text(table)
    first, second = find_cases(tmp_path, "plain").items
    assert first.case.covariates == {"age": "70" if table else "71", "sex": "F"}
    assert "its sex F is that of the T1's DICOM header" in first.notes
    assert second.case.covariates == {}


def test_an_export_like_oasis_3_through_a_table(tmp_path: Path) -> None:
    """Its folders are no BIDS (``anat2``, ``pet1``; T1 and PET in sessions of their own); a table says what belongs."""
    rows = ["case,subject,session,t1,pet,age,sex,diagnosis"]
    for person, t1_day, pet_day in (("1", "d0129", "d0150"), ("1", "d2340", "d2340"), ("2", "d0001", "d0010")):
        name = f"sub-OAS3000{person}"
        t1 = f"{name}/ses-{t1_day}/anat2/{name}_ses-{t1_day}_run-01_T1w.nii.gz"
        pet = f"{name}/ses-{pet_day}/pet1/{name}_ses-{pet_day}_acq-FDG_pet.nii.gz"
        tree(tmp_path, t1, pet)
        rows.append(f"OAS3000{person}_{pet_day},OAS3000{person},{pet_day},{t1},{pet},65.1,F,CN")
    write(tmp_path / "cases.csv", "\n".join(rows) + "\n")
    assert find_cases(tmp_path).layout == "flat"
    cases = read_cases(tmp_path)
    assert [(case.subject, case.session) for case in cases] == [
        ("OAS30001", "d0150"), ("OAS30001", "d2340"), ("OAS30002", "d0010"),
    ]  # fmt: skip
    assert cases[0].t1.parent.parent.name == "ses-d0129"
    assert all(case.t1.is_file() and case.pet.is_file() for case in cases)
