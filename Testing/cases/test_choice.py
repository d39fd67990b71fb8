"""Which of several images is used, and that validation, manifest and pictures say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from dicom_files import write_series
from DualGlowLib import InputError
from DualGlowLib.cases.layouts import find_cases
from DualGlowLib.cases.report import validate_cases
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.preparation.pet_quality import check_image
from DualGlowLib.volumes.reading import read_scan
from raw_cohort import GRID, make_cohort, quick_case


def cohort(folder: Path, names: list[str], sidecars: dict[str, dict] | None = None) -> Path:
    """A subject with images of these names (without sub-01_), T1s and PETs."""
    for name in names:
        path = folder / "sub-01" / ("pet" if name.endswith("pet") else "anat") / f"sub-01_{name}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (9, 9, 9, 3) if "frames" in name else (9, 9, 9)
        nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), path)
        about = (sidecars or {}).get(name)
        if about:
            path.with_suffix(".json").write_text(json.dumps(about), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("names", "sidecars", "used", "label"),
    [
        (["ce-gadolinium_run-01_T1w", "run-01_T1w"], {}, "run-01_T1w", "contrast-enhanced"),
        (["acq-Gd_T1w", "acq-mprage_T1w"], {}, "acq-mprage_T1w", "contrast-enhanced"),
        (["acq-mpragepostcontrast_T1w", "acq-mprageprecontrast_T1w"], {}, "acq-mprageprecontrast_T1w", "contrast"),
        (["ce-none_T1w", "ce-GBCA_T1w"], {}, "ce-none_T1w", "contrast-enhanced"),
        (["run-1_T1w", "run-2_T1w"], {"run-1_T1w": {"ContrastBolusIngredient": "GADOLINIUM"}}, "run-2_T1w", "contrast"),
        (["run-1_T1w", "run-2_T1w"], {"run-1_T1w": {"SeriesDescription": "T1_MPR_post_Gd"}}, "run-2_T1w", "contrast"),
        (["acq-mpragepost_T1w", "acq-posterior_T1w"], {}, "acq-posterior_T1w", "contrast-enhanced"),
        (["acq-setter_T1w", "acq-vnavmprage_run-1_T1w", "run-2_T1w"], {}, "run-2_T1w", "a setter scan"),
        (["inv-1_T1w", "run-9_T1w"], {}, "run-9_T1w", "one inversion"),
        (["part-phase_T1w", "part-mag_T1w"], {}, "part-mag_T1w", ""),
        (["run-1_T1w", "run-2_T1w"], {"run-1_T1w": {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}}, "run-2_T1w", ""),
    ],
)
def test_the_t1_that_is_used(tmp_path: Path, names: list[str], sidecars: dict, used: str, label: str) -> None:
    (item,) = find_cases(cohort(tmp_path, [*names, "trc-18FFDG_pet"], sidecars)).items
    assert item.is_usable()
    assert item.case.t1.name == f"sub-01_{used}.nii"
    assert label in " ".join(item.choices)
    assert not label or f"sub-01_{used}.nii is used and not" in item.choices[0]


@pytest.mark.parametrize(
    ("names", "sidecars", "used"),
    [
        (["rec-acdyn_pet", "rec-acstat_pet", "rec-nacstat_pet"], {}, "rec-acstat_pet"),
        (["run-01_pet", "run-02_pet"], {"run-01_pet": {"FrameDuration": [60, 60]}}, "run-02_pet"),
        (["acq-frames_pet", "acq-whole_pet"], {}, "acq-whole_pet"),
        (["rec-dynac_pet", "rec-nac_pet"], {}, "rec-dynac_pet"),
        (["run-1_pet", "run-2_pet"], {"run-1_pet": {"AttenuationCorrection": "none"}}, "run-2_pet"),
        (["run-1_pet", "run-2_pet"], {"run-1_pet": {"AttenuationCorrection": "measured, with CT"}}, "run-1_pet"),
    ],
)
def test_the_pet_that_is_used(tmp_path: Path, names: list[str], sidecars: dict, used: str) -> None:
    names = [f"trc-18FFDG_{name}" for name in names]
    (item,) = find_cases(cohort(tmp_path, ["T1w", *names], {f"trc-18FFDG_{k}": v for k, v in sidecars.items()})).items
    assert item.case.pet.name == f"sub-01_trc-18FFDG_{used}.nii"
    assert all(name in " ".join(item.choices) for name in names if not name.endswith(used))


def test_reported_dynamic_before_static(shared: Path) -> None:
    found = find_cases(shared / "data" / "reports" / "bids_rec_dynamic_before_static" / "bids").items
    assert [item.case.pet and item.case.pet.name for item in found] == [
        "sub-01_trc-18FFDG_rec-acstat_pet.nii.gz",
        "sub-02_trc-fdg_run-02_pet.nii.gz",
        None,
    ]
    assert "not corrected for attenuation" in found[2].no_pet


def test_a_static_pet_inherits_the_sidecar_of_the_dynamic_one(tmp_path: Path) -> None:
    """By BIDS' rules it does, since its name has all entities of the other's."""
    names = ["trc-18FFDG_frames-1_pet", "trc-18FFDG_rec-acstat_frames-1_pet"]
    folder = cohort(tmp_path, ["T1w", *names], {names[0]: {"FrameDuration": [60, 60, 60]}})
    static = folder / f"sub-01/pet/sub-01_{names[1]}.nii"
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4)), static)
    (item,) = find_cases(folder).items
    assert item.case.pet == static
    assert item.choices == [f"2 FDG-PETs, {static.name} is used and not sub-01_{names[0]}.nii (dynamic)"]


def test_what_is_never_used(tmp_path: Path) -> None:
    (item,) = find_cases(cohort(tmp_path / "a", ["part-phase_T1w", "trc-18FFDG_pet"])).items
    assert item.problems == ["its T1 sub-01_part-phase_T1w.nii is the phase image"]
    (item,) = find_cases(cohort(tmp_path / "b", ["T1w", "trc-18FFDG_rec-nacstat_pet"])).items
    assert item.problems == ["its PET sub-01_trc-18FFDG_rec-nacstat_pet.nii is not corrected for attenuation"]
    (item,) = find_cases(cohort(tmp_path / "c", ["ce-GBCA_T1w", "trc-18FFDG_pet"])).items
    assert item.is_usable()
    assert item.choices == ["its T1 sub-01_ce-GBCA_T1w.nii is contrast-enhanced"]


def test_links_to_content_that_was_not_fetched(tmp_path: Path) -> None:
    anat, pet = tmp_path / "sub-01/anat", tmp_path / "sub-01/pet"
    for folder, name in ((anat, "sub-01_T1w.nii.gz"), (pet, "sub-01_trc-18FFDG_pet.nii.gz")):
        folder.mkdir(parents=True)
        (folder / name).symlink_to(f"../../.git/annex/objects/{name}")
    for deep in (False, True):
        (item,) = validate_cases(tmp_path, deep).findings.items
        assert not item.is_usable()
        assert len(item.problems) == 2
        assert all("not fetched" in problem for problem in item.problems)


def test_the_choice_stands_in_validation_manifest_and_picture(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cases", ["sub-01", "sub-02"])
    anat = cases / "sub-01/anat"
    for ending in (".nii.gz", ".json"):
        if (anat / f"sub-01_space-orig_T1w{ending}").exists():
            shutil.copy(anat / f"sub-01_space-orig_T1w{ending}", anat / f"sub-01_ce-GBCA_space-orig_T1w{ending}")
    note = (
        "2 T1s, sub-01_space-orig_T1w.nii.gz is used and not sub-01_ce-GBCA_space-orig_T1w.nii.gz (contrast-enhanced)"
    )
    report = validate_cases(cases)
    assert [item.choices for item in report.findings.items] == [[note], []]
    assert note in report.to_text()
    out = tmp_path / "out"
    prepare_cohort(cases, out, GRID, work=quick_case)
    known = json.loads((out / "manifest.json").read_text())["cases"]
    assert known["sub-01"]["notes"] == [note]
    assert "notes" not in known["sub-02"]
    assert "sub-01_ce-GBCA_space-orig_T1w.nii.gz" in (out / "qc/index.html").read_text()
    sizes = [Image.open(out / f"qc/{name}_T1w.png").size for name in ("sub-01", "sub-02")]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] > sizes[1][1]  # a line more


def test_validation_and_preparation_agree_on_dicom(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 900, (12, 10, 9)).astype(np.uint16)
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    for name, tags in {
        "a": {"SeriesDescription": "SYNTHETIC FDG DualGlow NOT FOR DIAGNOSIS"},
        "b": {"CorrectedImage": ["NORM", "ATTN"]},
    }.items():
        write_series(tmp_path / name / "t1", stored, affine)
        write_series(tmp_path / name / "pet", stored, affine, "PT", **tags)
    write_series(tmp_path / "d/t1", stored, affine)
    write_series(tmp_path / "d/pet", stored, affine, "PT", CorrectedImage=["NORM", "DECY"])
    gap = tmp_path / "c"
    write_series(gap / "t1", stored, affine, change=lambda dataset, k: k != 4)
    write_series(gap / "pet", stored, affine, "PT")
    first, second, third, fourth = validate_cases(tmp_path).findings.items
    assert "synthetic" in first.no_pet
    assert second.is_usable()
    assert "lacks 1 slice(s)" in third.reasons[0]
    assert "without correction for attenuation" in fourth.no_pet
    for item, words in ((first, "is a synthetic PET"), (fourth, "without correction for attenuation")):
        pet = read_scan(item.case.t1.parent / "pet", pet=True)
        with pytest.raises(InputError, match=words):
            check_image(pet, "the PET")
