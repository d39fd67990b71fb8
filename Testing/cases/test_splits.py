"""Folds: subjects never in two of them, alike in diagnosis and age, saved and read with every mistake caught."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import fmean

import pytest

from DualGlowLib import InputError
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.splits import make_splits, read_splits, write_splits


def cohort(subjects: int = 60, sessions: bool = False, seed: int = 4) -> list[Case]:
    """Diagnoses of unequal shares, ages that go with them, some missing; with ``sessions``, one to three visits."""
    rng, cases = random.Random(seed), []
    for number in range(subjects):
        diagnosis = rng.choices(["CN", "MCI", "AD", None], [5, 3, 2, 1])[0]
        age = rng.gauss({"CN": 68, "MCI": 73, "AD": 76, None: 70}[diagnosis], 6)
        for visit in range(rng.randint(1, 3) if sessions else 1):
            covariates = {"age": f"{age + visit:.1f}"} if rng.random() > 0.1 else {}
            covariates |= {"diagnosis": diagnosis} if diagnosis else {}
            cases.append(Case(f"sub-{number:03d}_ses-{visit}", f"sub-{number:03d}", Path(), Path(), covariates))
    return cases


@pytest.mark.parametrize("folds", [2, 5, 7])
@pytest.mark.parametrize("seed", range(4))
def test_folds_are_balanced(folds: int, seed: int) -> None:
    cases = cohort()
    splits = make_splits(cases, folds, seed)
    tests = [splits.fold(index)[1] for index in range(folds)]
    for train, test in (splits.fold(index) for index in range(folds)):
        assert sorted(case.name for case in [*train, *test]) == [case.name for case in cases]
    assert sum(map(len, tests)) == len(cases)
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    for word in ("CN", "MCI", "AD", None):
        whole = sum(case.covariates.get("diagnosis") == word for case in cases)
        for test in tests:
            here = sum(case.covariates.get("diagnosis") == word for case in test)
            assert abs(here - whole / folds) < 1
    means = [fmean(float(case.covariates["age"]) for case in test if "age" in case.covariates) for test in tests]
    assert max(means) - min(means) < 2.5  # of ages with a standard deviation of 6


def test_sessions_stay_together() -> None:
    cases = cohort(sessions=True)
    assert len(cases) > 100
    splits = make_splits(cases, 5, 1)
    for index in range(5):
        train, test = splits.fold(index)
        assert not {case.subject for case in train} & {case.subject for case in test}
    sizes = [len(splits.fold(index)[1]) for index in range(5)]
    assert max(sizes) - min(sizes) <= 6


def test_folds_depend_on_the_seed_alone() -> None:
    cases = cohort()
    first = make_splits(cases, 5, 1)
    assert make_splits(cases[::-1], 5, 1).assignment == first.assignment
    assert make_splits(cases, 5, 2).assignment != first.assignment


def test_strata_are_said_in_words() -> None:
    strata = set(make_splits(cohort(200)).strata.values())
    assert {"CN, youngest third", "MCI, middle third", "AD, oldest third", "CN, age unknown"} <= strata


def test_impossible_folds_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        make_splits(cohort(), 1)
    with pytest.raises(InputError, match="3 subjects can't be divided into 5 folds"):
        make_splits(cohort(3), 5)
    with pytest.raises(InputError, match="There is no fold 5; the folds are 0 to 4"):
        make_splits(cohort(), 5).fold(5)


@pytest.mark.parametrize("name", ["folds.json", "folds.tsv"])
def test_saved_folds_are_read_again(tmp_path: Path, name: str) -> None:
    cases = cohort(sessions=True)
    splits = make_splits(cases, 4, 9)
    path = write_splits(splits, tmp_path / name)
    again = read_splits(path, cases)
    assert again.assignment == splits.assignment
    assert again.strata == splits.strata
    assert again.folds == 4
    assert again.fold(2) == splits.fold(2)
    assert [child.name for child in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["folds", "t1.nii.gz", "folds.csv"])
def test_folds_are_not_written_under_a_name_that_says_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"end the name in \.json or \.tsv"):
        write_splits(make_splits(cohort(10), 2), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"subjects": {"a": {"fold": 0}, "b": {"fold": 1}, "a": {"fold": 1}}}', r"has a in two folds \(0 and 1\)"),
        ('{"subjects": {"a": {"fold": 0}, "b": {"fold": 1}, "x": {"fold": 1}}}', "names x, which is no subject"),
        ('{"subjects": {"a": {"fold": 0}}}', "does not say which fold b belongs to"),
        ('{"subjects": {"a": {"fold": 0}, "b": {"fold": 2}}}', "without a gap"),
        ('{"subjects": {"a": {"fold": 0}, "b": {"fold": 0}}}', "at least 2"),
        ('{"subjects": {"a": {"fold": "one"}, "b": {"fold": 0}}}', "into the fold 'one'"),
        ('{"subjects": [1, 2]}', "no file of folds"),
        ("[]", "no file of folds"),
        ("{", "no file of folds"),
    ],
)
def test_mistakes_in_a_file_of_folds(tmp_path: Path, text: str, says: str) -> None:
    cases = [Case(name, name, Path(), Path()) for name in "ab"]
    path = tmp_path / "folds.json"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_splits(path, cases)
    assert str(path) in str(caught.value)


def test_a_subject_in_two_folds_of_a_table(tmp_path: Path) -> None:
    cases = [Case(name, name, Path(), Path()) for name in "ab"]
    path = tmp_path / "folds.tsv"
    path.write_text("subject\tfold\na\t0\nb\t1\na\t1\n")
    with pytest.raises(InputError, match="a in two folds"):
        read_splits(path, cases)
    with pytest.raises(InputError, match="There is no file"):
        read_splits(tmp_path / "none.json", cases)


def test_the_file_is_readable(tmp_path: Path) -> None:
    values = json.loads(write_splits(make_splits(cohort(10), 2), tmp_path / "f.json").read_text())
    assert set(values["subjects"]["sub-003"]) == {"fold", "stratum"}
