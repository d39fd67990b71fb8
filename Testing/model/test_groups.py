"""What a model makes of diagnoses: those of its cohort, in groups that were asked for, and parts of what it knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from DualGlowLib import InputError
from DualGlowLib.model import DEFAULT_COVARIATES, Covariate, ModelConfig, encode_covariates, fit_covariates, preset

BEFORE = next(one for one in DEFAULT_COVARIATES if one.name == "diagnosis")  # CN, MCI, AD
GROUPS = {"CN": "CN", "SMC": "CN", "EMCI": "MCI", "MCI": "MCI", "LMCI": "MCI"}


def cases(*diagnoses: str) -> list[dict]:
    return [{"diagnosis": one} for one in diagnoses]


@pytest.mark.parametrize("text", ["EMCI", "lmci", "Early MCI", "late mild cognitive impairment"])
def test_a_model_that_knows_mci_takes_its_parts(text: str) -> None:
    assert BEFORE.parse(text) == "MCI"
    assert BEFORE.merged(text) in ("EMCI", "LMCI")
    assert encode_covariates([BEFORE], cases(text)).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("text", ["MCI", "healthy control", "dementia", "n/a"])
def test_what_is_only_spelt_otherwise_is_not_merged(text: str) -> None:
    assert BEFORE.merged(text) == ""


def test_smc_counts_as_cn_only_where_the_model_says_so() -> None:
    with pytest.raises(InputError, match="diagnosis is 'SMC'; this model knows CN, MCI, AD"):
        BEFORE.parse("SMC")
    stated = replace(BEFORE, groups=GROUPS)
    assert (stated.parse("Significant memory concern"), stated.merged("smc")) == ("CN", "SMC")


def test_a_model_that_knows_the_parts_keeps_them_apart() -> None:
    (fitted,) = fit_covariates([replace(BEFORE, values=())], cases("LMCI", "AD", "SMC", "EMCI", "CN", "FTD", "MCI"))
    assert fitted.values == ("CN", "SMC", "EMCI", "MCI", "LMCI", "AD", "FTD")  # in order, other words last
    assert [fitted.parse(one) for one in ("early mci", "MCI", "LMCI")] == ["EMCI", "MCI", "LMCI"]
    (some,) = fit_covariates([replace(BEFORE, values=())], cases("EMCI", "LMCI"))
    with pytest.raises(InputError, match="knows EMCI, LMCI"):
        some.parse("MCI")  # either could be meant


def test_groups_are_the_categories() -> None:
    (fitted,) = fit_covariates(
        [Covariate("diagnosis", "categorical", groups=GROUPS)], cases("AD", "EMCI", "SMC", "dementia")
    )
    assert fitted.values == ("CN", "MCI", "AD")
    assert [fitted.parse(one) for one in ("CN", "MCI", "LMCI", "AD")] == ["CN", "MCI", "MCI", "AD"]
    ill = {"MCI": "ill", "AD": "ill"}
    (fitted,) = fit_covariates([Covariate("diagnosis", "categorical", groups=ill)], cases("CN", "MCI", "AD"))
    assert fitted.values == ("CN", "ill")
    assert [fitted.parse(one) for one in ("AD", "EMCI", "ill", "healthy")] == ["ill", "ill", "ill", "CN"]


def test_they_go_with_the_model() -> None:
    config = replace(preset("standard", (8, 8)), covariates=(replace(BEFORE, groups=GROUPS),))
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert "groups" not in BEFORE.to_dict()  # of a model that has none
    for kind, groups in (("numeric", {"1": "2"}), ("categorical", 3)):
        with pytest.raises(InputError, match="groups"):
            preset("standard", (8, 8)).updated({"covariates": [{"name": "x", "kind": kind, "groups": groups}]})


def test_other_covariates_have_no_parts() -> None:
    stage = Covariate("stage", "categorical", values=("MCI", "AD"))
    with pytest.raises(InputError, match="knows MCI, AD"):
        stage.parse("EMCI")


def test_the_usual_diagnosis_takes_what_there_is_and_ones_own_what_it_was_given() -> None:
    (fitted,) = fit_covariates([BEFORE], cases("SMC", "EMCI", "AD"))
    assert fitted.values == ("SMC", "EMCI", "AD")
    own = Covariate("diagnosis", "categorical", values=("CN", "MCI", "AD"))
    (fitted,) = fit_covariates([own], cases("EMCI", "AD"))
    assert fitted.values == ("MCI", "AD")
    with pytest.raises(InputError, match="knows CN, MCI, AD"):
        fit_covariates([own], cases("SMC"))
