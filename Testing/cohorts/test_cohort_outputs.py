"""Folders that DualGlow fills: only its own, and in them only its own files are replaced or removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.training.folder import check_run
from foreign_files import foreign, snapshot
from raw_cohort import GRID, make_cohort, quick_case

WRITTEN = (
    "sub-1/anat/sub-1_space-MNI152NLin2009aSym_res-small_desc-brain_mask.nii.gz",
    "sub-1/anat/sub-1_space-MNI152NLin2009aSym_res-small_desc-preproc_T1w.json",
    "sub-1/anat/sub-1_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.tfm",
    "sub-1/pet/sub-1_trc-18FFDG_space-MNI152NLin2009aSym_res-small_desc-suvr_pet.nii.gz",
    "qc/sub-1_T1w.png",
    "qc/index.html",
    "participants.tsv",
    "manifest.json",
)
ADDED = (
    "sub-1/anat/sub-1_desc-hand_dseg.nii.gz",
    "sub-2/anat/sub-2_dseg.nii.gz",
    "qc/sub-1_notes.txt",
    "qc/sub-1_ses-2_T1w.png",
    ".abc.part",
    "README",
    ".bidsignore",
    "participants.json",
)


def prepare(cases: Path, out: Path, **settings):
    return prepare_cohort(cases, out, GRID, work=quick_case, **settings)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cases"), ["sub-1", "sub-2"])


@pytest.fixture(scope="module")
def whole(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "prepared"
    prepare(cases, out)
    return out


@pytest.fixture
def prepared(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "prepared")


# ------------------------------------------------------------------------------------------------------------- prepare


def test_a_dataset_with_logs_of_its_own_is_no_prepared_cohort(cases: Path, tmp_path: Path) -> None:
    """There a case's scans would be removed before those that are made of them are written."""
    out = shutil.copytree(cases, tmp_path / "raw")
    (out / "logs").mkdir()
    (out / "logs" / "conversion.log").write_text("mine")
    before = snapshot(out)
    with pytest.raises(InputError, match="holds no prepared cohort"):
        prepare(cases, out)
    assert snapshot(out) == before


def test_scans_in_the_folder_are_not_prepared_into_it(cases: Path, prepared: Path, tmp_path: Path) -> None:
    scans = [next(prepared.glob(f"sub-1/{name}.nii.gz")) for name in ("anat/*_T1w", "pet/*_pet")]
    (tmp_path / "cases.csv").write_text(f"case,t1,pet\nsub-1,{scans[0]},{scans[1]}\n")
    before = snapshot(prepared)
    with pytest.raises(InputError, match="which is to be prepared"):
        prepare(tmp_path / "cases.csv", prepared)
    assert snapshot(prepared) == before


@pytest.mark.parametrize("name", ["participants.tsv", "sub-1/anat", "qc/index.html"])
def test_nothing_is_written_through_a_link(cases: Path, prepared: Path, tmp_path: Path, name: str) -> None:
    theirs = tmp_path / "theirs"
    (prepared / name).rename(theirs)
    (prepared / name).symlink_to(theirs)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="is a link that leads out"):
        prepare(cases, prepared)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", WRITTEN)
def test_what_somebody_put_in_the_place_of_a_file_stays(cases: Path, prepared: Path, name: str) -> None:
    """Such as a mask drawn by hand, which is not to be taken for a damaged file."""
    foreign(prepared / name)
    before = snapshot(prepared)
    with pytest.raises(InputError, match="was not written by DualGlow"):
        prepare(cases, prepared)
    after = snapshot(prepared)
    assert after.pop("logs")[0] == before.pop("logs")[0]  # the lock has come and gone in this folder
    assert after == before


def test_what_somebody_added_stays(cases: Path, prepared: Path, tmp_path: Path) -> None:
    """When cases are done anew, and when they leave the cohort."""
    added = [foreign(prepared / name) for name in ADDED]
    before = {path: path.read_bytes() for path in added}
    result = prepare(cases, prepared, preparation=Preparation(reference="brain"))
    assert result.kept == []
    assert result.having("good") == ["sub-1", "sub-2"]
    assert {path: path.read_bytes() for path in added} == before
    fewer = shutil.copytree(cases, tmp_path / "fewer")
    shutil.rmtree(fewer / "sub-2")
    prepare(fewer, prepared, preparation=Preparation(reference="brain"))
    assert [case.name for case in read_cases(prepared)] == ["sub-1"]
    assert {path: path.read_bytes() for path in added} == before


# ------------------------------------------------------------------------------------------------------------ simulate


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("simulated") / "cohort", 1, "small", 3)


@pytest.mark.parametrize(
    ("cases", "name"),
    [
        (1, "participants.tsv"),
        (1, "truth/regions.tsv"),
        (1, "truth/slopes.json"),
        (2, "sub-0002/anat/sub-0002_T1w.nii.gz"),
        (2, "sub-0002/pet/sub-0002_trc-18FFDG_pet.json"),
        (2, "truth/sub-0002.json"),
    ],
)
def test_a_simulated_cohort_is_not_extended_over_files_of_others(
    simulated: Path, tmp_path: Path, cases: int, name: str
) -> None:
    out = shutil.copytree(simulated, tmp_path / "cohort")
    foreign(out / name)
    before = snapshot(out)
    with pytest.raises(InputError, match="was not written by DualGlow"):
        simulate_cohort(out, cases, "small", 3)
    assert snapshot(out) == before


def test_a_simulated_cohort_may_be_told_more_of(simulated: Path, tmp_path: Path) -> None:
    out = shutil.copytree(simulated, tmp_path / "cohort")
    added = [foreign(out / name) for name in ("README", "participants.json", "sub-0001/anat/sub-0001_dseg.nii.gz")]
    before = snapshot(out)
    simulate_cohort(out, 1, "small", 3)
    after = snapshot(out)
    assert all(after[path.relative_to(out).as_posix()] == before[path.relative_to(out).as_posix()] for path in added)


def test_a_simulation_that_is_refused_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        simulate_cohort(tmp_path / "new", 1, "small", anatomy=tmp_path / "none")
    (tmp_path / "other" / "truth").mkdir(parents=True)
    (tmp_path / "other" / "truth" / "cohort.json").write_text("{")
    with pytest.raises(InputError, match="holds no simulated cohort"):
        simulate_cohort(tmp_path / "other", 1, "small")
    assert not (tmp_path / "new").exists()


# --------------------------------------------------------------------------------------------------------------- train


def test_a_model_without_its_run_is_not_trained_over(tmp_path: Path) -> None:
    foreign(tmp_path / "run" / "bundle" / "README.md")
    with pytest.raises(InputError, match="has a model but no checkpoint to resume from"):
        check_run(tmp_path / "run", resume=False)
    (tmp_path / "run" / "checkpoint.pt").touch()
    with pytest.raises(InputError, match=r"README\.md is no part of a DualGlow model"):
        check_run(tmp_path / "run", resume=True)
    (tmp_path / "run" / "bundle" / "README.md").unlink()
    check_run(tmp_path / "run", resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        check_run(tmp_path / "file", resume=False)


def test_the_manifest_says_who_wrote_it(whole: Path) -> None:
    assert json.loads((whole / "manifest.json").read_text())["GeneratedBy"][0]["Name"] == "DualGlow"
