"""Age at the scan, in all the units, columns, labels and tables in which cohorts state it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from DualGlowLib.cases.ages import label_key, time_in_label, with_ages
from DualGlowLib.cases.case import Finding
from DualGlowLib.cases.layouts import find_cases
from empty_scans import pair, tree, write


def found(folder: Path) -> list[Finding]:
    return find_cases(folder).items


def ages(folder: Path) -> list[str | None]:
    return [item.case.covariates.get("age") for item in found(folder)]


@pytest.mark.parametrize(
    ("column", "cell", "about", "age"),
    [
        ("age", "864", {"Units": "months"}, "72"),
        ("age", "864", {"Units": "mo"}, "72"),
        ("age", "26298", {"Units": "days"}, "72"),
        ("age", "72", {"Units": "years"}, "72"),
        ("age", "72", {"Units": "numeric"}, "72"),
        ("age", "864", {"Description": "Age at the scan, in months"}, "72"),
        ("age", "864", {"Description": "Age (months)"}, "72"),
        ("age", "72Y", {"Units": "months"}, "72"),  # the cell's own unit counts
        ("age_months", "864", {}, "72"),
        ("age_in_months", "864", {}, "72"),
        ("Age (months)", "864", {}, "72"),
        ("age_at_scan_days", "26298", {}, "72"),
        ("age_years", "72", {}, "72"),
        ("age_at_mri", "72", {}, "72"),
        ("AgeYears", "72", {}, "72"),
        ("ageMonths", "864", {}, "72"),
        ("AgeAtScan", "72", {}, "72"),
    ],
)
def test_units(tmp_path: Path, column: str, cell: str, about: dict, age: str) -> None:
    tree(tmp_path, *pair("sub-01"))
    write(tmp_path / "participants.tsv", f"participant_id\t{column}\nsub-01\t{cell}\n")
    write(tmp_path / "participants.json", json.dumps({column: about}))
    (one,) = found(tmp_path)
    assert one.case.covariates == {"age": age}
    assert one.case.columns == {}
    assert one.notes == ([] if cell.startswith("72") else [one.notes[0]])
    assert all("is taken as 72" in note for note in one.notes)


def test_a_unit_that_nobody_knows_is_said(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01"))
    write(tmp_path / "participants.tsv", "participant_id\tage\nsub-01\t7\n")
    write(tmp_path / "participants.json", json.dumps({"age": {"Units": "decades"}}))
    assert "age '7 decades' is not understood" in found(tmp_path)[0].mistakes[0]


@pytest.mark.parametrize("where", ["sub-01/sub-01_sessions.json", "sessions.json", "participants.json"])
def test_units_of_sessions(tmp_path: Path, where: str) -> None:
    tree(tmp_path, *pair("sub-01", "ses-1"), *pair("sub-01", "ses-2"))
    write(tmp_path / "sub-01/sub-01_sessions.tsv", "session_id\tage\nses-1\t720\nses-2\t732\n")
    write(tmp_path / where, json.dumps({"age": {"Units": "months"}}))
    assert ages(tmp_path) == ["60", "61"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["ses-d0000", "ses-d0731"], ["70", "72"]),
        (["ses-M000", "ses-M024"], ["70", "72"]),
        (["ses-bl", "ses-m24"], ["70", "72"]),
        (["ses-y0", "ses-y2"], ["70", "72"]),
        (["ses-0mo", "ses-24mo"], ["70", "72"]),
        (["ses-20110301", "ses-20130301"], ["70", "72"]),
        (["ses-1", "ses-2"], [None, None]),
        (["ses-pre", "ses-post"], [None, None]),
    ],
)
def test_time_in_the_labels_of_sessions(tmp_path: Path, labels: list[str], expected: list) -> None:
    tree(tmp_path, *(name for label in labels for name in pair("sub-01", label)))
    write(tmp_path / "participants.tsv", "participant_id\tage_at_entry\nsub-01\t70\n")
    items = sorted(found(tmp_path), key=lambda item: labels.index(item.session))
    assert [item.case.covariates.get("age") for item in items] == expected
    assert all(("age is missing: nothing says how long" in " ".join(i.notes)) == (expected[0] is None) for i in items)


def test_months_of_children_are_no_time_since_the_baseline() -> None:
    assert time_in_label("17mo", 1.4) is None
    assert time_in_label("12mo", 70) == 1
    assert time_in_label("d20190101") is None
    assert label_key("ses-M006") == label_key("M06") == label_key("m6")
    assert label_key("bl") == label_key("M00")


@pytest.mark.parametrize(
    ("session", "column", "age", "says"),
    [
        ("ses-1", "age_bl", "70", ""),
        ("ses-M24", "age", "72", "age 72 is 70 at the baseline, and 2.0 years since"),
        ("ses-3", "age_bl", None, "age is missing"),
        ("ses-pet", "age_at_entry", None, "age is missing"),
        ("ses-3", "age", "70", "nothing says when ses-3 was"),
    ],
)
def test_the_baseline_age_is_never_taken_in_silence(
    tmp_path: Path, session: str, column: str, age: str | None, says: str
) -> None:
    tree(tmp_path, *pair("sub-01", session))
    write(tmp_path / "participants.tsv", f"participant_id\t{column}\nsub-01\t70\n")
    (one,) = found(tmp_path)
    assert one.case.covariates.get("age") == age
    assert says in " ".join(one.notes)
    assert bool(says) == bool(one.notes)


def test_merged_tables_that_repeat_the_baseline_age(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M00"), *pair("sub-01", "ses-M24"))
    rows = "sub-01\tses-M00\t70\nsub-01\tses-M24\t70\n"
    write(tmp_path / "participants.tsv", f"participant_id\tsession_id\tage\n{rows}")
    assert ages(tmp_path) == ["70", "72"]
    assert "which the tables repeat" in found(tmp_path)[1].notes[0]
    write(tmp_path / "participants.tsv", f"participant_id\tsession_id\tage_bl\n{rows}")
    assert ages(tmp_path) == ["70", "72"]


@pytest.mark.parametrize("above", [False, True])
def test_dates_of_scans(tmp_path: Path, above: bool) -> None:
    tree(tmp_path, *pair("sub-01", "ses-1"), *pair("sub-01", "ses-2"))
    write(tmp_path / "participants.tsv", "participant_id\tage\nsub-01\t60\n")
    place = "ses-{0}/" if above else ""
    text = f"{place}anat/sub-01_ses-{{0}}_T1w.nii.gz\t18{{0}}0-01-01T10:00:00.123456789Z\n"
    pet = f"{place}pet/sub-01_ses-{{0}}_pet.nii.gz\t1855-01-01\n"
    for session in (1, 2):
        name = "sub-01/sub-01_scans.tsv" if above else f"sub-01/ses-{session}/sub-01_ses-{session}_scans.tsv"
        both = "".join(pet.format(one) + text.format(one) for one in ((1, 2) if above else (session,)))
        write(tmp_path / name, "filename\tacq_time\n" + both)
    assert ages(tmp_path) == ["60", "70"]


def test_dates_are_counted_from_a_session_whose_time_is_known(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M12"), *pair("sub-01", "ses-M24"))
    write(tmp_path / "participants.tsv", "participant_id\tage_bl\nsub-01\t70\n")
    write(tmp_path / "sub-01/sub-01_sessions.tsv", "session_id\tacq_time\nM12\t2011-03-01\nM24\t2012-08-30\n")
    assert ages(tmp_path) == ["71", "72.5"]


def test_rows_are_matched_whatever_the_padding_and_else_missed(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M000"), *pair("sub-01", "ses-M012"))
    write(tmp_path / "participants.tsv", "participant_id\tage_bl\tdiagnosis_sc\nsub-01\t70.1\tCN\n")
    sessions = tmp_path / "sub-01/sub-01_sessions.tsv"
    write(sessions, "session_id\tage\tdiagnosis\nses-M00\t70.9\tCN\nses-M12\t72.4\tMCI\n")
    assert [item.case.covariates for item in found(tmp_path)] == [
        {"age": "70.9", "diagnosis": "CN"}, {"age": "72.4", "diagnosis": "MCI"},
    ]  # fmt: skip
    write(sessions, "session_id\tage\tdiagnosis\nses-M00\t70.9\tCN\n")
    assert "none for ses-M012" in found(tmp_path)[1].notes[0]


def test_a_diagnosis_that_changes_is_nobodys_but_its_sessions(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M00"), *pair("sub-01", "ses-M12"), *pair("sub-01", "ses-M24"))
    write(tmp_path / "participants.tsv", "participant_id\tdiagnosis\nsub-01\tCN\n")
    rows = "M00\tCN\tCN\nM12\tn/a\tCN\nM24\tAD\tCN\n"  # Clinica's tables repeat the baseline's
    write(tmp_path / "sub-01/sub-01_sessions.tsv", f"session_id\tdiagnosis\tdx_bl\n{rows}")
    first, second, third = found(tmp_path)
    assert first.case.covariates["diagnosis"] == "CN"
    assert "diagnosis" not in second.case.covariates
    assert second.notes == ["diagnosis is missing: it changes between sessions (AD, CN), and this one has none"]
    assert third.case.covariates["diagnosis"] == "AD"


def test_flat_tables_have_units_too(tmp_path: Path) -> None:
    tree(tmp_path, "a.nii", "b.nii")
    write(tmp_path / "cases.csv", "case,t1,pet,age_months\nx,a.nii,b.nii,864\n")
    assert ages(tmp_path) == ["72"]
    write(tmp_path / "cases.csv", "case,t1,pet,age\nx,a.nii,b.nii,864\n")
    write(tmp_path / "cases.json", json.dumps({"age": {"Units": "months"}}))
    assert ages(tmp_path) == ["72"]


def test_a_column_that_only_sounds_like_age_stays() -> None:
    row = {"stage": "2", "age_group": "old", "dosage_m": "3", "age": "70"}
    assert with_ages(row, {}) == row
