"""Who is in a cohort, by diagnosis."""

from __future__ import annotations

from DualGlowLib.cohorts.demographics import ages_by_decade, demographics


def test_people_without_age_sex_or_diagnosis_are_counted() -> None:
    people = [
        {"age": "70", "sex": "F", "diagnosis": "CN"},
        {"age": "80.5", "sex": "M", "diagnosis": "CN"},
        {"sex": "M", "diagnosis": "AD"},
        {"age": "61"},
    ]
    groups = demographics(people)
    assert [group.to_text() for group in groups] == [
        "no diagnosis: n = 1, age 61.0 (61 to 61), 0 F, 0 M",
        "AD: n = 1, age unknown, 0 F, 1 M",
        "CN: n = 2, age 75.2 ± 7.4 (70 to 80.5), 1 F, 1 M",
    ]
    assert ages_by_decade(groups) == ([60, 70, 80], {"": [1, 0, 0], "AD": [0, 0, 0], "CN": [0, 1, 1]})
    assert ages_by_decade([]) == ([], {})
