"""The choices in a preparation: what can't be used is refused, and files of older versions keep their meaning."""

from __future__ import annotations

import json

import pytest

from DualGlowLib import InputError
from DualGlowLib.cohorts.preparing import Settings
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.volumes.grid import GRIDS


def test_there_and_back() -> None:
    for chosen in (Preparation(), Preparation(False, True, "brain", 6), Preparation(pet_window=(40.0, 60.0))):
        assert Preparation.from_dict(json.loads(json.dumps(chosen.to_dict())), "here") == chosen
    assert type(Preparation(resolution=6).resolution) is float  # 6 and 6.0 differ in JSON, and so in a cohort's hashes


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"resolution": 40}, "The PET resolution must be between 0 and 30 mm, not 40."),
        ({"resolution": 0}, "The PET resolution must be between 0 and 30 mm, not 0."),
        ({"resolution": "fine"}, "resolution must be a number, not 'fine'."),
        ({"reference": "moon"}, "There is no reference region 'moon'; choose one of pons, cerebellum, brain."),
        ({"pet_window": (60.0, 30.0)}, "The PET window must end after it begins, not go from 60 to 30 min."),
        ({"bias": "no"}, "bias must be true or false, not 'no'."),
    ],
)
def test_what_can_not_be_is_refused(values: dict, says: str) -> None:
    with pytest.raises(InputError) as own:
        Preparation(**values)
    assert str(own.value) == says
    with pytest.raises(InputError) as stated:
        Preparation.from_dict(values, "a file")
    assert str(stated.value).startswith("a file: ")


def test_cohorts_prepared_before_count_as_up_to_date() -> None:
    """These very keys and values are in the hash by which a prepared case is recognised."""
    before = {"grid": GRIDS["small"].to_dict(), "reference": "pons", "resolution": 8.0, "bias": True, "pictures": True}
    assert Settings(GRIDS["small"], Preparation()).to_dict() == before
    deformed = Settings(GRIDS["small"], Preparation(deformable=True), pictures=False).to_dict()
    assert deformed == {**before, "pictures": False, "deformable": True}
