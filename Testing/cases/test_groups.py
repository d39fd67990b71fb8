"""Diagnoses are kept as they are in the cases, and taken together where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.groups import check_groups, grouped, read_groups
from DualGlowLib.cases.layouts import read_cases
from empty_scans import pair, tree, write

TABLE2 = ["CN=CN,SMC", "MCI=EMCI,mci,late MCI", "AD=AD"]


def case(diagnosis: str | None) -> Case:
    return Case("a", "a", Path("t1.nii"), None, {} if diagnosis is None else {"diagnosis": diagnosis, "age": "70"})


def test_what_a_user_writes() -> None:
    assert read_groups(TABLE2) == {
        "CN": "CN", "SMC": "CN", "EMCI": "MCI", "MCI": "MCI", "LMCI": "MCI", "AD": "AD",
    }  # fmt: skip
    assert read_groups(["early = CN, SMC, EMCI"]) == {"CN": "early", "SMC": "early", "EMCI": "early"}
    assert read_groups(None) == {}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["CN"], "--groups has 'CN'; give GROUP=DIAGNOSIS"), (["=CN"], "--groups has '=CN'"),
        (["CN=CN,,SMC"], "--groups has 'CN=CN,,SMC'"), (["A=SMC", "B=smc"], "puts SMC into A and B"),
        (["A=3"], "diagnosis '3' is a number"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(texts: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_groups(texts)


def test_a_misspelt_diagnosis_is_refused_and_one_that_nobody_has_is_not() -> None:
    cases = [case("CN"), case("FTD"), case(None)]
    check_groups(read_groups(["A=FTD,SMC"]), cases)
    with pytest.raises(InputError, match="names SCM, but the diagnoses of the cases are CN, FTD; correct it"):
        check_groups(read_groups(["CN=CN,SCM"]), cases)


def test_cases_in_groups() -> None:
    groups = read_groups(TABLE2)
    assert [grouped(case(one), groups).covariates["diagnosis"] for one in ("SMC", "LMCI", "AD", "FTD")] == [
        "CN", "MCI", "AD", "FTD",
    ]  # fmt: skip
    assert grouped(case("SMC"), groups).covariates["age"] == "70"
    assert grouped(case(None), groups).covariates == {}


def test_tables_keep_what_they_say_and_validate_groups(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    said = {"01": "SMC", "02": "emci", "03": "LMCI", "04": "MCI", "05": "Dementia"}
    tree(tmp_path, *(name for number in said for name in pair(f"sub-{number}")))
    rows = "".join(f"sub-{number}\t{word}\n" for number, word in said.items())
    write(tmp_path / "participants.tsv", f"participant_id\tdiagnosis\n{rows}")
    assert [one.covariates["diagnosis"] for one in read_cases(tmp_path)] == ["SMC", "EMCI", "LMCI", "MCI", "AD"]

    def shown(*more: str) -> dict:
        main(["validate", str(tmp_path), "--json", *more])  # whose scans are empty
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert [one["covariates"]["diagnosis"] for one in shown("--groups", *TABLE2)["list"]] == [
        "CN", "MCI", "MCI", "MCI", "AD",
    ]  # fmt: skip
    assert main(["validate", str(tmp_path), "--groups", "A=SMC", "B=SMC"]) == 2
    assert "puts SMC into A and B" in capsys.readouterr().err


def test_a_person_with_emci_whose_sessions_say_mci_has_not_changed(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01", "ses-M00"), *pair("sub-01", "ses-M12"))
    write(tmp_path / "participants.tsv", "participant_id\tdiagnosis\nsub-01\tEMCI\n")
    write(tmp_path / "sub-01/sub-01_sessions.tsv", "session_id\tdiagnosis\nM00\tMCI\nM12\tn/a\n")
    assert [one.covariates["diagnosis"] for one in read_cases(tmp_path)] == ["MCI", "EMCI"]
