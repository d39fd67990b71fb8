"""What the sidecars of a cohort say of its preparation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.sidecars import pet_keys, preparation_of, t1_keys
from DualGlowLib.preparation.settings import Preparation


def cohort(folder: Path, *sidecars: tuple[dict, dict]) -> Preparation:
    """What is read from cases whose T1s and PETs have these sidecars; the images themselves are not looked at."""
    for number, texts in enumerate(sidecars):
        for place, values in zip(("anat/sub-{}_T1w", "pet/sub-{}_trc-18FFDG_pet"), texts, strict=True):
            path = folder / f"sub-{number}" / f"{place.format(number)}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(values))
    return preparation_of(read_cases(folder))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("deformable", [False, True])
def test_what_is_written_is_read(tmp_path: Path, bias: bool, deformable: bool) -> None:
    chosen = Preparation(bias, deformable, "cerebellum", 6.0, (40.0, 60.0) if bias else (30.0, 60.0))
    about = t1_keys(chosen), {"ReferenceRegion": "cerebellum", "ResolutionFWHM": 6, **pet_keys(chosen)}
    assert cohort(tmp_path, about, about) == chosen


def test_what_is_not_stated_is_as_by_default(tmp_path: Path) -> None:
    assert cohort(tmp_path, ({}, {}), ({}, {"ResolutionFWHM": 6})) == Preparation()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (({"BiasCorrected": False}, {}), "sub-0 and sub-1 differ in how they were prepared (bias: True and False)"),
        (({"BiasCorrected": True, "Deformable": True}, {}), "(deformable: None and True)"),
        (({"BiasCorrected": True}, {"ReferenceRegion": "brain"}), "(reference: None and brain)"),
        (({"BiasCorrected": True}, {"ReferenceRegion": ["pons"]}), "sub-1: reference must be text"),
        (({"BiasCorrected": True}, {"FrameWindow": [40, 60]}), "(pet_window: None and (40, 60))"),
        (({"BiasCorrected": True}, {"FrameWindow": [60, 40]}), "sub-1: The PET window must end after it begins"),
        (({"BiasCorrected": True}, {"FrameWindow": 40}), "sub-1: pet_window must be"),
        (({"BiasCorrected": True}, {"ReferenceRegion": "moon"}), "sub-1: There is no reference region 'moon'"),
    ],
)
def test_cases_that_differ_are_refused(tmp_path: Path, other: tuple[dict, dict], says: str) -> None:
    with pytest.raises(InputError) as refused:
        cohort(tmp_path, ({"BiasCorrected": True}, {}), other)
    assert says in str(refused.value)
