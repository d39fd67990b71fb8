"""Age, sex and diagnosis in the spellings of many cohorts."""

from __future__ import annotations

import pytest

from DualGlowLib import InputError
from DualGlowLib.cases.tables import table_text
from DualGlowLib.model import DEFAULT_COVARIATES, Covariate, encode_covariates
from DualGlowLib.spellings import PARSERS, is_missing, parse_age, parse_diagnosis, parse_sex


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", "72"), ("72.5", "72.5"), (" 72,5 ", "72.5"), ("072Y", "72"), ("72 years", "72"), ("864M", "72"),
        ("72.4567", "72.46"), (">89", "90"), ("89+", "89"), (">=90", "90"), ("≥ 90", "90"),
    ],
)  # fmt: skip
def test_ages(text: str, value: str) -> None:
    assert parse_age(text)[0] == value
    assert bool(parse_age(text)[1]) == any(sign in text for sign in ">≥+M")


@pytest.mark.parametrize("text", ["old", "0", "-3", "121", "0.4", "720", "72-75", "7O", "NaNs", "1e2", "6M"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"age '.+' (is not understood|is outside)"):
        parse_age(text)


@pytest.mark.parametrize("text", ["", " ", "n/a", "N/A", "NaN", "-4", "-4.0", "unknown", "None", "?", "."])
def test_what_is_missing(text: str) -> None:
    assert is_missing(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("F", "F"), ("female", "F"), ("W", "F"), ("Man", "M"), (" MALE", "M"), ("m", "M"), ("O", ""), ("other", "")],
)
def test_sexes(text: str, value: str) -> None:
    assert parse_sex(text)[0] == value


@pytest.mark.parametrize("text", ["1", "2", "0", "X"])
def test_ambiguous_sexes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="could be either"):
        parse_sex(text)


@pytest.mark.parametrize(
    ("text", "value", "noted"),
    [
        ("cn", "CN", False), ("Healthy Control", "CN", False), ("EMCI", "EMCI", False), ("Dementia", "AD", False),
        ("late MCI", "LMCI", False), ("Significant memory concern", "SMC", False), ("aMCI", "MCI", False),
        ("Alzheimer's disease", "AD", False), ("mild_cognitive_impairment", "MCI", False), ("FTD", "FTD", True),
    ],
)  # fmt: skip
def test_diagnoses(text: str, value: str, noted: bool) -> None:
    assert parse_diagnosis(text)[0] == value
    assert bool(parse_diagnosis(text)[1]) == noted


def test_a_diagnosis_as_a_number_is_refused() -> None:
    with pytest.raises(InputError, match="is a number"):
        parse_diagnosis("3")


def test_the_model_takes_what_is_parsed() -> None:
    row = {"age": parse_age("72,5")[0], "sex": parse_sex("female")[0], "diagnosis": parse_diagnosis("dementia")[0]}
    assert encode_covariates(DEFAULT_COVARIATES, [row]).tolist()[0][1:] == [1, 1, 0, 0, 0, 1]
    assert encode_covariates(DEFAULT_COVARIATES, [{}]).abs().sum() == 0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("age", "72,5", 72.5), ("age", "072Y", 72.0), ("age", "864M", 72.0), ("age", "89+", 89.0), ("age", ">89", 90.0),
        ("age", "-4", None), ("age", "null", None), ("age", ".", None), ("sex", "woman", "F"), ("sex", "boy", "M"),
        ("sex", "-", None), ("sex", "intersex", None), ("diagnosis", "Healthy Control", "CN"),
        ("diagnosis", "HC", "CN"), ("diagnosis", "EMCI", "MCI"), ("diagnosis", "mild_cognitive_impairment", "MCI"),
        ("diagnosis", "Alzheimer's disease", "AD"), ("diagnosis", "missing", None),
    ],
)  # fmt: skip
def test_tables_and_models_understand_the_same(name: str, text: str, value: object) -> None:
    covariate = next(one for one in DEFAULT_COVARIATES if one.name == name)
    assert covariate.parse(text) == value
    read = "" if is_missing(text) else PARSERS[name](text)[0]
    assert covariate.parse(read) == value


def test_a_number_is_what_it_is() -> None:
    """-4 stands for a missing value in tables alone."""
    age = DEFAULT_COVARIATES[0]
    assert age.parse(float("nan")) is None
    with pytest.raises(InputError, match="-4 is outside the range"):
        age.parse(-4.0)
    for odd in ([], "old", "72-75"):
        with pytest.raises(InputError, match="age must be a number, not"):
            age.parse(odd)


def test_a_model_with_categories_of_its_own_keeps_them() -> None:
    stages = Covariate("diagnosis", "categorical", values=("EMCI", "LMCI", "healthy"))
    assert [stages.parse(text) for text in ("emci", "LMCI", "Healthy")] == ["EMCI", "LMCI", "healthy"]
    with pytest.raises(InputError, match="knows EMCI, LMCI, healthy"):
        stages.parse("MCI")


def test_tables_are_written_as_bids_wants_them() -> None:
    assert table_text(["a", "b"], [["1\t2", ""], ["x\ny", "é"]]) == "a\tb\n1 2\tn/a\nx y\té\n"
