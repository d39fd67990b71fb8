"""Cases in what PETPrep makes of a BIDS directory."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib.cases.layouts import find_cases, read_cases
from DualGlowLib.cases.report import validate_cases
from DualGlowLib.preparation.transforms import read_transform

TIMES = {"FrameTimesStart": [0, 300], "FrameDuration": [300, 300], "InjectionStart": -1800, "TracerName": "FDG"}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones((10, 10, 10), np.float32), np.eye(4)), path)


def text(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A raw cohort of two visits, and its derivatives; one T1 for both visits, as PETPrep has it."""
    raw, out = tmp_path / "raw", tmp_path / "raw" / "derivatives" / "petprep"
    text(raw / "participants.tsv", "participant_id\tage\tsex\nsub-01\t70\tF\n")
    text(raw / "sub-01/sub-01_sessions.tsv", "session_id\tage\nses-a\t70\nses-b\t72\n")
    text(out / "dataset_description.json", {"Name": "PETPrep - PET", "GeneratedBy": [{"Name": "PETPrep"}]})
    for name in ("desc-preproc_T1w", "space-MNI152NLin2009cAsym_desc-preproc_T1w", "desc-brain_mask"):
        image(out / f"sub-01/anat/sub-01_{name}.nii.gz")
    for visit in "ab":
        text(raw / f"sub-01/ses-{visit}/pet/sub-01_ses-{visit}_pet.json", TIMES)
        image(raw / f"sub-01/ses-{visit}/pet/sub-01_ses-{visit}_pet.nii.gz")
        spaces = ("", "space-MNI152NLin2009cAsym_", *(["space-T1w_pvc-GTM_", "space-T1w_"] if visit == "a" else []))
        for space in spaces:
            image(out / f"sub-01/ses-{visit}/pet/sub-01_ses-{visit}_{space}desc-preproc_pet.nii.gz")
        image(out / f"sub-01/ses-{visit}/pet/sub-01_ses-{visit}_space-T1w_petref.nii.gz")
    way = sitk.TranslationTransform(3, (0.0, 0.0, -5.0))  # T1 to reference volume, as ITK resamples
    sitk.WriteTransform(way, str(out / "sub-01/ses-b/pet/sub-01_ses-b_from-petref_to-T1w_mode-image_xfm.txt"))
    return out


def test_the_pet_on_its_t1(out: Path) -> None:
    assert find_cases(out).layout == "petprep"
    first, _ = read_cases(out)
    assert first.name == "sub-01_ses-a"
    assert first.t1.name == "sub-01_desc-preproc_T1w.nii.gz"
    assert first.mask.name == "sub-01_desc-brain_mask.nii.gz"
    assert first.pet.name == "sub-01_ses-a_space-T1w_desc-preproc_pet.nii.gz"
    assert first.registered
    assert first.pet_to_t1 is None
    assert first.frames == {key: value for key, value in TIMES.items() if key != "TracerName"}
    assert first.covariates == {"age": "70", "sex": "F"}


def test_the_transform_where_the_pet_lies_in_its_own_space(out: Path) -> None:
    _, second = read_cases(out)
    assert second.pet.name == "sub-01_ses-b_desc-preproc_pet.nii.gz"
    assert second.registered
    np.testing.assert_allclose(read_transform(second.pet_to_t1)[:3, 3], (0, 0, 5), atol=1e-9)


def test_the_raw_directory_that_the_description_links(out: Path, tmp_path: Path) -> None:
    """As PETPrep leaves it where the derivatives lie elsewhere; its older name of the transform's target too."""
    place = out.rename(tmp_path / "elsewhere")
    way = next(place.rglob("*to-T1w*xfm.txt"))
    way.rename(way.with_name(way.name.replace("to-T1w", "to-anat")))
    assert not any(item.is_usable() for item in find_cases(place).items)  # nothing says which tracer
    about = {"GeneratedBy": [{"Name": "PETPrep"}], "DatasetLinks": {"raw": str(tmp_path / "raw")}}
    text(place / "dataset_description.json", about)
    first, second = read_cases(place)
    assert first.frames["InjectionStart"] == -1800
    assert second.pet_to_t1.name.endswith("_from-petref_to-anat_mode-image_xfm.txt")
    assert second.covariates == {"age": "72", "sex": "F"}


def test_another_tracer_is_named(out: Path) -> None:
    sidecar = out / "sub-01/ses-a/pet/sub-01_ses-a_space-T1w_desc-preproc_pet.json"
    text(sidecar, {"TracerName": "PIB"})
    first, second = find_cases(out).items
    assert first.no_pet == "no FDG-PET (PIB only)"
    assert second.is_usable()


def test_a_transform_that_is_none(out: Path) -> None:
    next(out.rglob("*xfm.txt")).write_text("nothing")
    (item,) = (item for item in validate_cases(out).unusable)
    assert item.name == "sub-01_ses-b"
    assert "xfm.txt" in item.no_pet


def test_a_pet_without_a_way_to_its_t1_is_not_used(out: Path) -> None:
    next(out.rglob("*xfm.txt")).unlink()
    _, second = find_cases(out).items
    assert second.no_pet == "no FDG-PET"
