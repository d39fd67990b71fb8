"""Settings and requests: values are taken in the type of their hint, or refused in one sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from DualGlowLib import InputError
from DualGlowLib.values import bounded, check_fields, check_value, one_of, with_values


@pytest.mark.parametrize(
    ("value", "hint", "taken"),
    [
        (True, bool, True), (3, int, 3), (3.0, int, 3), (3, float, 3.0), ("x", str, "x"), (None, str | None, None),
        (2, float | list[float], 2.0), ([1, 2.5], float | list[float], [1.0, 2.5]),
        ([1, None], list[float | None], [1, None]),
        ([], tuple[int, ...], ()), ([1, 2], tuple[int, ...], (1, 2)), ((1, 3), tuple[int, int], (1, 3)),
        ([33, "34"], tuple[str | int, ...], (33, "34")),
    ],
)  # fmt: skip
def test_what_fits_is_taken(value: object, hint: object, taken: object) -> None:
    found = check_value(value, hint, "X")
    assert found == taken
    assert type(found) is type(taken)


@pytest.mark.parametrize(
    ("value", "hint", "says"),
    [
        ("x", float, "X must be a number, not 'x'."), (True, int, "X must be a whole number, not True."),
        (1.5, int, "X must be a whole number, not 1.5."), (1, bool, "X must be true or false, not 1."),
        (math.nan, float, "X must be a number, not nan."), (math.inf, int, "X must be a whole number, not inf."),
        (10**400, float, "X must be a number, not 1000"), (None, str, "X must be text, not None."),
        (["a"], list[float], "X must be a list of numbers, not ['a']."),
        ([], list[float], "X must be a list of numbers, not []."),
        ("a", float | list[float] | None, "X must be a number or a list of numbers, not 'a'."),
        ([1], tuple[int, int], "X must be a list of 2 whole numbers, not [1]."),
        (5 * [[[[[[[1]]]]]]], str, "X must be text, not [[["),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_sentence(value: object, hint: object, says: str) -> None:
    with pytest.raises(InputError) as caught:
        check_value(value, hint, "X")
    assert str(caught.value).startswith(says)
    assert len(str(caught.value)) < 200


@dataclass(frozen=True)
class Part:
    depths: tuple[int, ...] = (1, 2)
    edge: bool = False

    def __post_init__(self) -> None:
        if not self.depths:
            raise ValueError("A part needs a depth.")


@dataclass(frozen=True)
class Whole:
    rate: float = 0.1
    part: Part = field(default_factory=Part)
    made: object = None


def test_settings_may_be_given_in_part() -> None:
    assert with_values(Whole(), {"rate": 1, "part": {"depths": [3]}}, "file", made=7) == Whole(1.0, Part((3,)), 7)
    assert with_values(Whole(), {}, "file") == Whole()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"speed": 1}, "file: 'speed' is no setting; there are rate, part, made."),
        ({"part": 3}, "file: part must be an object of settings, not 3."),
        ({"part": {"edge": "yes"}}, "file, part: edge must be true or false, not 'yes'."),
        ({"part": {"depths": []}}, "file, part: A part needs a depth."),
    ],
)
def test_settings_that_can_not_be(values: dict, says: str) -> None:
    with pytest.raises(InputError) as caught:
        with_values(Whole(), values, "file")
    assert str(caught.value) == says


@dataclass(frozen=True)
class Bounded:
    count: int = bounded(1, 1, 10)
    rate: float = bounded(0.5, 0, above=True)
    sides: tuple[int, ...] = bounded((), 1, 8)
    way: str = one_of("a", "a", "b")
    free: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"count": 0}, "count must be at least 1 and at most 10, not 0."),
        ({"count": 1.5}, "count must be a whole number, not 1.5."),
        ({"rate": 0}, "rate must be above 0, not 0."),
        ({"rate": math.nan}, "rate must be a number, not nan."),
        ({"sides": [3, 9]}, "sides must be at least 1 and at most 8, not 9."),
        ({"sides": 3}, "sides must be a list of whole numbers, not 3."),
        ({"way": "c"}, "way must be one of a, b, not 'c'."),
        ({"free": "x"}, "free must be a number, not 'x'."),
    ],
)
def test_settings_that_exist_can_be_used(values: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Bounded(**values)
    assert str(error.value) == says
    assert Bounded(count=3.0, sides=[8]) == Bounded(3, 0.5, (8,))
