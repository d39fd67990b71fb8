"""Whole cohorts: real processes, killed, stopped and resumed, leave what an undisturbed run leaves."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.spawn
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from DualGlowLib import InputError, processes
from DualGlowLib.atlas.template import load_template
from DualGlowLib.cases.layouts import is_simulated, read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.cases.report import validate_cases
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.files import hash_file
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.processes import work_off
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from raw_cohort import (
    case_without_torch,
    content,
    group_is_gone,
    job_alone,
    job_of_many_kinds,
    make_cohort,
    quick_case,
    start,
)

GRID = GRIDS["small"]
LIBRARY = Path(sys.modules["DualGlowLib"].__file__).parent.parent


# ------------------------------------------------------------------------------------------------------- helpers


NAMES = [f"sub-{number:02d}" for number in range(5)]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cases"), NAMES)


@pytest.fixture(scope="module")
def whole(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run that nobody disturbed leaves."""
    out = tmp_path_factory.mktemp("whole") / "prepared"
    with start(cases, out, 2) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


# -------------------------------------------------------------------------------------------------------- the pool


def test_a_job_that_fails_or_dies_does_not_stop_the_others() -> None:
    jobs = ["a", "raise", "b", "die", "c", "exit", "d"]
    heard = []
    outcomes = dict(work_off(jobs, job_of_many_kinds, 2, progress=lambda *event: heard.append(event)))
    assert sorted(outcomes) == list(range(7))
    for index in (0, 2, 4, 6):
        assert outcomes[index]["job"] == jobs[index]
        assert outcomes[index]["threads"] == "1"
        assert (index, "half", 0.5) in heard
    assert outcomes[1]["status"] == "failed"
    assert outcomes[1]["reasons"] == ["ValueError: no good"]
    assert "job_of_many_kinds" in outcomes[1]["traceback"]
    assert "was killed (SIGKILL)" in outcomes[3]["reasons"][0]
    assert "ended with code 3" in outcomes[5]["reasons"][0]
    assert os.environ.get("OMP_NUM_THREADS") != "1" or "OMP_NUM_THREADS" in os.environ


def test_work_that_wants_to_be_alone_has_a_process_for_each_job() -> None:
    shared, own = (dict(work_off(["a", "b", "raise", "c"], work, 1)) for work in (job_of_many_kinds, job_alone))
    assert [outcome["status"] for outcome in own.values()] == ["good", "good", "failed", "good"]
    numbers = [[outcome["pid"] for outcome in found.values() if "pid" in outcome] for found in (shared, own)]
    assert [len(set(found)) for found in numbers] == [1, 3]


def test_a_job_that_takes_too_long_is_ended_and_the_others_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes 10 minutes ahead as soon as the long one has begun."""
    ahead = []
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(ahead)))
    jobs, begun = ["long", "a", "b"], lambda index, stage, _: ahead.append(600 if stage == "begun" else 0)
    outcomes = dict(work_off(jobs, job_of_many_kinds, 1, progress=begun, limit=300))
    assert outcomes[0] == {"status": "failed", "reasons": ["it took more than 300 seconds"]}
    assert [outcomes[index]["job"] for index in (1, 2)] == ["a", "b"]


@pytest.mark.skipif(os.name != "posix", reason="makes programs of shell scripts")
def test_in_slicer_it_goes_past_the_launcher(tmp_path: Path) -> None:
    """A launcher that starts Python without the pipes that are meant for it, as Slicer's does."""
    for name, keeps in (("PythonSlicer", False), ("python-real", True)):
        code = f"import os, sys; os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])"
        lost = f"import subprocess, sys; sys.exit(subprocess.call([{sys.executable!r}, *sys.argv[1:]]))"
        (tmp_path / name).write_text(f"#!{sys.executable}\n{code if keeps else lost}\n")
        (tmp_path / name).chmod(0o755)
    before = multiprocessing.spawn.get_executable()
    multiprocessing.set_executable(str(tmp_path / "PythonSlicer"))
    try:
        outcomes = dict(work_off(["a", "b"], job_of_many_kinds, 2))
    finally:
        multiprocessing.set_executable(before)
    assert [outcomes[index].get("job") for index in range(2)] == ["a", "b"]


def test_a_wish_to_stop_ends_the_processes() -> None:
    heard, asked = [], []

    def stop() -> bool:
        asked.append(time.monotonic())
        return bool(heard)

    begun = time.monotonic()
    outcomes = dict(
        work_off(["a", "long", "long", "b"], job_of_many_kinds, 2, stop, lambda *event: heard.append(event))
    )
    assert time.monotonic() - begun < 120  # not 600: the long ones were ended
    assert set(outcomes) <= {0}


# ------------------------------------------------------------------------------------------------- a cohort's outcome


def test_the_result_is_a_derivative_that_is_read_as_it_is(whole: Path) -> None:
    description = json.loads((whole / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "DualGlow"
    assert not is_simulated(whole)
    found = read_cases(whole)
    assert [case.name for case in found] == NAMES
    assert found[3].covariates == {"age": "63", "sex": "M", "diagnosis": "CN"}
    assert found[3].columns == {"preparation": "good", "site": "Rome"}
    assert found[0].t1.name == "sub-00_space-MNI152NLin2009aSym_res-small_desc-preproc_T1w.nii.gz"
    assert found[0].mask.name == "sub-00_space-MNI152NLin2009aSym_res-small_desc-brain_mask.nii.gz"
    t1, pet, mask = read_on_grid(found[0], GRID)
    assert 0.8 < np.percentile(t1[mask], 80) < 1.2
    assert 0.5 < pet[mask].mean() < 3
    sidecar = json.loads(found[0].pet.with_name(found[0].pet.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Units"] == "SUVR"
    assert sidecar["ReferenceRegion"] == "pons"
    assert sidecar["Sources"] == ["sub-00/pet/sub-00_trc-18FFDG_space-orig_pet.nii.gz"]
    report = validate_cases(whole, deep=True)
    assert len(report.usable) == len(NAMES)
    with pytest.raises(InputError, match="prepare the cases first"):
        read_on_grid(found[0], GRIDS["medium"])


def test_the_transform_leads_to_the_template(whole: Path) -> None:
    import SimpleITK as sitk

    path = whole / "sub-01" / "anat" / "sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.tfm"
    transform = sitk.ReadTransform(str(path))
    about = json.loads(next((whole / "sub-01" / "anat").glob("*T1w.json")).read_text())["Preparation"]
    matrix, flip = np.array(about["to_template"]), np.diag([-1, -1, 1, 1])
    point = np.array([11.0, -20.0, 5.0, 1.0])  # RAS in the template; ITK maps output points to input points, in LPS
    there = flip @ np.append(transform.TransformPoint((flip @ point)[:3].tolist()), 1)
    np.testing.assert_allclose(there, np.linalg.inv(matrix) @ point, atol=1e-3)


def test_the_manifest_tells_what_was_made_from_what(whole: Path, cases: Path) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["counts"] == {"good": 5}
    assert manifest["settings"]["grid"]["name"] == "small"
    one = manifest["cases"]["sub-02"]
    for role in ("t1", "pet", "mask"):
        assert one["inputs"][role]["sha256"] == hash_file(cases / one["inputs"][role]["path"])
    kinds = {Path(path).name.split("_", 1)[1] for path in one["outputs"]}
    assert {"T1w.png", "pet.png", "from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.tfm"} <= kinds
    for path, known in one["outputs"].items():
        assert known == {"bytes": (whole / path).stat().st_size, "sha256": hash_file(whole / path)}
    assert {"DualGlow", "torch", "SimpleITK", "numpy"} <= one["versions"].keys()
    page = (whole / "qc" / "index.html").read_text()
    assert all(f"{name}_T1w.png" in page and f"{name}_pet.png" in page for name in NAMES)
    assert (whole / "qc" / "contact_sheet.png").stat().st_size > 1000


def test_the_manifest_is_the_last_file_written(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import DualGlowLib.pictures.sheet as sheet

    def end(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sheet, "write_contact_sheet", end)
        with pytest.raises(KeyboardInterrupt):
            prepare_cohort(cases, tmp_path / "out", GRID, work=quick_case)
    assert (tmp_path / "out" / "qc" / "index.html").exists()
    assert not (tmp_path / "out" / "manifest.json").exists()


# ------------------------------------------------------------------------------------------ kept, redone, removed


def test_a_second_run_does_nothing_and_a_change_redoes_its_case(cases: Path, whole: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "cases", tmp_path / "out"
    shutil.copytree(cases, source)
    shutil.copytree(whole, out)
    images = {path: path.stat().st_mtime_ns for path in out.rglob("sub-*/*/*")}

    def run(**settings) -> set[str]:
        """Cases that were done anew."""
        result = prepare_cohort(source, out, GRID, work=quick_case, **settings)
        assert not result.interrupted
        return set(result.cases) - set(result.kept)

    assert run() == set()
    assert {path: path.stat().st_mtime_ns for path in images} == images
    assert {k: v for k, v in content(out).items() if k != "manifest.json"} == {
        k: v for k, v in content(whole).items() if k != "manifest.json"  # which names the folder of the cases
    }  # fmt: skip

    pet = source / "sub-01" / "pet" / "sub-01_trc-18FFDG_space-orig_pet.nii.gz"
    scan = read_scan(pet)
    write_scan(scan.like(scan.data * 1.5), pet)
    assert run() == {"sub-01"}
    (out / "sub-03" / "pet" / "sub-03_trc-18FFDG_space-MNI152NLin2009aSym_res-small_desc-suvr_pet.nii.gz").unlink()
    t1 = out / "sub-02" / "anat" / "sub-02_space-MNI152NLin2009aSym_res-small_desc-preproc_T1w.nii.gz"
    damaged = bytearray(t1.read_bytes())
    damaged[500] ^= 255
    t1.write_bytes(damaged)  # the same size
    assert {item.name for item in validate_cases(out).unusable} == {"sub-03"}
    assert run() == {"sub-02", "sub-03"}
    assert {k: v for k, v in content(out).items() if k.startswith("sub-0") and "sub-01" not in k} == {
        k: v for k, v in content(whole).items() if k.startswith("sub-0") and "sub-01" not in k
    }
    (source / "participants.tsv").write_text("participant_id\tage\nsub-00\t81\n")
    assert run() == set()  # covariates are no matter of voxels …
    assert [case.covariates for case in read_cases(out)] == [{"age": "81"}, {}, {}, {}, {}]  # … but are up to date
    shutil.rmtree(source / "sub-04")
    assert run() == set()
    assert [case.name for case in read_cases(out)] == NAMES[:4]
    assert not (out / "sub-04").exists()
    assert run(preparation=Preparation(reference="brain")) == set(NAMES[:4])


def test_every_case_has_its_outcome(cases: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "cases", tmp_path / "out"
    for old, new in zip(NAMES, ("sub-good", "sub-raise", "sub-die", "sub-cut", "sub-alone"), strict=True):
        for path in sorted((cases / old).rglob("*.nii.gz")):
            target = source / path.relative_to(cases).as_posix().replace(old, new)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    cut = source / "sub-cut" / "anat" / "sub-cut_space-orig_T1w.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-1000])
    shutil.rmtree(source / "sub-alone" / "pet")
    result = prepare_cohort(source, out, GRID, work=quick_case, pictures=False)
    assert {name: about["status"] for name, about in result.cases.items()} == {
        "sub-good": "good", "sub-raise": "failed", "sub-die": "failed", "sub-cut": "refused", "sub-alone": "refused",
    }  # fmt: skip
    assert "was killed" in result.cases["sub-die"]["reasons"][0]
    assert "out of luck" in result.cases["sub-raise"]["reasons"][0]
    assert "sub-cut_space-orig_T1w.nii.gz is incomplete" in result.cases["sub-cut"]["reasons"][0]
    assert result.cases["sub-alone"]["reasons"] == ["no FDG-PET"]
    assert "RuntimeError: out of luck" in (out / "logs" / "sub-raise.log").read_text()
    assert [case.name for case in read_cases(out)] == ["sub-good"]
    assert sorted(path.name for path in out.glob("sub-*")) == ["sub-good"]
    assert "sub-cut    refused" in result.to_text()
    assert "1 good, 2 refused of 5 cases" in result.to_text().replace("2 failed, ", "")

    (out / "logs" / "survived").touch()
    again = prepare_cohort(source, out, GRID, work=quick_case, pictures=False, t1_only=True)
    assert set(again.kept) == {"sub-good", "sub-cut"}  # a refusal stays one; what failed is tried again
    assert again.having("good") == ["sub-alone", "sub-die", "sub-good"]
    assert [case.name for case in read_cases(out)] == ["sub-die", "sub-good"]
    assert [case.name for case in read_cases(out, t1_only=True)] == ["sub-alone", "sub-die", "sub-good"]


def test_names_become_bids_and_sessions_get_their_tables(cases: Path, tmp_path: Path) -> None:
    def paths(name: str) -> str:
        place = cases / name
        return ",".join(str(next(place.glob(f"*/*{ending}"))) for ending in ("T1w.nii.gz", "pet.nii.gz", "mask.nii.gz"))

    rows = ["case,t1,pet,mask,age,sex,subject,session", f"P_1 first,{paths('sub-00')},70,F,P_1,", ""]
    rows += [f"P_1 second,{paths('sub-01')},72,F,P_1,", f"Q,{paths('sub-02')},,,,ses-M12"]
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    prepare_cohort(tmp_path, out, GRID, work=quick_case, pictures=False, jobs=2)
    found = read_cases(out)
    assert [case.name for case in found] == ["sub-P1_ses-P1first", "sub-P1_ses-P1second", "sub-Q_ses-M12"]
    assert [case.covariates for case in found] == [{"age": "70", "sex": "F"}, {"age": "72", "sex": "F"}, {}]
    assert (out / "sub-Q" / "ses-M12" / "pet").is_dir()
    (tmp_path / "cases.csv").write_text("\n".join([rows[0], rows[1], rows[1].replace("P_1", "P-1")]) + "\n")
    with pytest.raises(InputError, match="would both be called"):
        prepare_cohort(tmp_path, out, GRID)


def test_what_can_not_be_prepared_is_refused_at_once(cases: Path, whole: Path, tmp_path: Path) -> None:
    def refuses(says: str, folder: Path, out: Path, **settings) -> None:
        with pytest.raises(InputError, match=says):
            prepare_cohort(folder, out, GRID, **settings)

    refuses("jobs must be at least 1", cases, tmp_path / "a", jobs=0)
    refuses("holds the cases themselves", cases, cases)
    refuses("no case that can be prepared, of 0 found", tmp_path, tmp_path / "a")
    (tmp_path / "file").touch()
    refuses("is a file", cases, tmp_path / "file")
    refuses("is not empty and holds no prepared cohort", cases, tmp_path)
    other = make_cohort(tmp_path / "other", ["sub-99"])
    refuses("holds another cohort", other, whole)
    assert not (tmp_path / "a").exists()


def test_only_one_process_prepares_into_a_folder(cases: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with start(cases, out, 1) as process:
        process.stdout.readline()
        with pytest.raises(InputError, match="Another process is preparing"):
            prepare_cohort(cases, out, GRID, work=quick_case)
        os.killpg(process.pid, signal.SIGKILL)


# ---------------------------------------------------------------------------------------------------- killed, stopped


def test_killed_at_random_and_resumed_it_ends_as_if_undisturbed(cases: Path, whole: Path, tmp_path: Path) -> None:
    """20 times: the whole process group is killed a random number of steps and milliseconds into its life."""
    expected, out, kills, after = content(whole), tmp_path / "out", 0, []
    with start(cases, out, 20, "kill") as program:
        for told in map(json.loads, program.stdout):
            kills += told["code"] == -signal.SIGKILL
            assert told["code"] in (0, -signal.SIGKILL)
            assert told["gone"]
            there = told["content"]
            after.append(len(there))
            # Whatever the directory says can be used is what the undisturbed run made.
            for name in told["usable"]:
                assert all(there[path] == expected[path] for path in expected if path.startswith(f"{name}/"))
            assert "manifest.json" not in there or there == expected
        errors = program.stderr.read()
    assert program.returncode == 0, errors
    assert kills == 20
    assert len(set(after)) > 5  # it did die in many different states
    with start(cases, out, 2) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert content(out) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_leaves_no_process_and_can_go_on(cases: Path, whole: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "out"
    with start(cases, out, 2) as process:
        for line in process.stdout:
            if "writing" in line:
                break
        # Ctrl-C goes to the whole group; a batch system tells the parent alone.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    assert group_is_gone(process.pid)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["counts"].get("waiting", 0) > 0
    with start(cases, out, 1) as process:
        process.communicate(timeout=300)
    assert process.returncode == 0
    assert content(out) == content(whole)


def test_workers_end_with_their_parent(cases: Path, tmp_path: Path) -> None:
    with start(cases, tmp_path / "out", 2) as process:
        process.stdout.readline()
        process.kill()
        process.communicate()
    assert group_is_gone(process.pid)


# ------------------------------------------------------------------------------------------------------ the real thing


def test_real_preparation_gives_the_same_bytes_with_one_job_or_two(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cases", ["sub-1", "sub-2"])
    assert prepare_cohort(cases, tmp_path / "two", GRID, jobs=2).counts() == {"good": 2}
    one = prepare_cohort(cases, tmp_path / "one", GRID, jobs=1, pictures=False, work=case_without_torch)
    assert one.counts() == {"good": 2}, one.to_text()
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert len(one) > 15
    for name in one:
        assert one[name] == two[name] or name.startswith(("records", "qc", "manifest"))
    assert len([name for name in two if name.endswith(".png")]) == 5
    t1, _, mask = read_on_grid(read_cases(tmp_path / "one")[1], GRID)
    template = load_template()
    expected = resample(template.t1.data, template.t1.affine, GRID.shape, GRID.affine)
    assert np.corrcoef(t1[mask], expected[mask])[0, 1] > 0.9  # it lies where the template's brain lies


@pytest.mark.parametrize(
    ("region", "measured", "kept", "status"),
    [
        ("pons2", 1.04, True, "good"),
        ("pons2", 1.1, True, "doubtful"),  # the region went through another transform
        ("pons", 2.5, True, "doubtful"),  # it says SUVR and isn't
        ("cerebellumPons2", 1.1, False, "good"),
        ("", 8000.0, False, "good"),
    ],
)
def test_suvr_to_the_wanted_region_is_used_as_it_is(region: str, measured: float, kept: bool, status: str) -> None:
    from DualGlowLib.cohorts.preparing import _as_delivered
    from DualGlowLib.preparation.pet import PreparedPet

    delivered = np.linspace(0, 2, 1000, dtype=np.float32).reshape(10, 10, 10)
    scaled = PreparedPet(Scan(delivered, np.eye(4)), delivered / measured, np.eye(4), "pons", measured, 8.0)
    pet = _as_delivered(scaled, region)
    np.testing.assert_allclose(pet.suvr, delivered if kept else delivered / measured, rtol=1e-6)
    assert pet.reference == "pons"
    assert pet.quality.get("as_delivered") == (region if kept else None)
    assert pet.verdict.status == status
    assert [region in reason for reason in pet.verdict.reasons] == [True] * (status == "doubtful")
    assert all(f"is {measured:.2f}" in reason for reason in pet.verdict.reasons)


def test_a_simulated_cohort_stays_one(tmp_path: Path) -> None:
    from DualGlowLib.simulate.cohort import simulate_cohort

    simulate_cohort(tmp_path / "cases", 1, "small", 5)
    result = prepare_cohort(tmp_path / "cases", tmp_path / "out", GRID, pictures=False)
    assert result.having("good", "doubtful") == ["sub-0001"]
    assert is_simulated(tmp_path / "out")
    (before,), (after,) = read_cases(tmp_path / "cases"), read_cases(tmp_path / "out")
    assert after.covariates == before.covariates
    old, new = read_on_grid(before, GRID)[1], read_on_grid(after, GRID)[1]
    brain = read_on_grid(before, GRID)[2]
    assert abs(new[brain].mean() / old[brain].mean() - 1) < 0.1  # SUVR to the pons stays SUVR to the pons


def test_frames_of_a_dynamic_pet_are_averaged_and_named(tmp_path: Path) -> None:
    """What was averaged stands in the PET's sidecar and in the manifest; other frames' times make it anew."""
    cases = make_cohort(tmp_path / "cases", ["sub-01"])
    path = next(cases.rglob("*_pet.nii.gz"))
    pet = nib.load(path)
    static = pet.get_fdata(dtype=np.float32)
    nib.save(nib.Nifti1Image(np.stack([9 * static, static, 3 * static], axis=-1), pet.affine), path)
    times = {"FrameTimesStart": [0, 1800, 2700], "FrameDuration": [1800, 900, 900], "InjectionStart": 0}
    sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
    sidecar.write_text(json.dumps(times))
    found = []
    for start_of_second in (1800, 1900):
        starts = [0, start_of_second, start_of_second + 900]
        sidecar.write_text(json.dumps({**times, "FrameTimesStart": starts}))
        prepare_cohort(cases, tmp_path / "out", GRID, work=quick_case, pictures=False)
        about = json.loads(next((tmp_path / "out").rglob("*_pet.json")).read_text())["Preparation"]["scan"]
        case = json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]["sub-01"]
        assert f"its PET is {about['frames']}; between frames the head moved by 0.0 mm at most" in case["notes"]
        assert about["frames_moved_mm"] < 0.5
        assert about["frames_window"] == "30 to 60 min"
        found.append(about["frames"])
    assert "of frames 2 to 3 of 3, 30 to 60 min after injection" in found[0]
    assert "31.7 to 61.7 min" in found[1]


def test_a_pet_of_petprep_in_its_own_space_is_brought_to_the_t1(tmp_path: Path) -> None:
    """As the same PET in the space of the T1; the transform is among the sources, and another makes it anew."""
    cases = make_cohort(tmp_path / "cases", ["sub-01"])
    about = {"Name": "PETPrep", "BIDSVersion": "1.10.0", "GeneratedBy": [{"Name": "PETPrep"}]}
    (cases / "dataset_description.json").write_text(json.dumps(about))
    for old, new in (
        ("anat/sub-01_space-orig_T1w", "anat/sub-01_desc-preproc_T1w"),
        ("anat/sub-01_space-orig_desc-brain_mask", "anat/sub-01_desc-brain_mask"),
        ("pet/sub-01_trc-18FFDG_space-orig_pet", "pet/sub-01_trc-18FFDG_space-T1w_desc-preproc_pet"),
    ):
        (cases / f"sub-01/{old}.nii.gz").rename(cases / f"sub-01/{new}.nii.gz")
    on_t1 = cases / "sub-01/pet/sub-01_trc-18FFDG_space-T1w_desc-preproc_pet.nii.gz"
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, 0.1, 0.0, (10, -20, 5))  # points of the T1 to the PET's, in LPS
    found = []
    for own in (False, True):
        if own:
            lps = np.diag([-1.0, -1.0, 1.0, 1.0])
            to_pet = np.eye(4)
            to_pet[:3, :3] = np.reshape(turn.GetMatrix(), (3, 3))
            to_pet[:3, 3] = turn.TransformPoint((0, 0, 0))
            pet = nib.load(on_t1)
            moved = nib.Nifti1Image(pet.get_fdata(dtype=np.float32), lps @ to_pet @ lps @ pet.affine)
            nib.save(moved, str(on_t1).replace("_space-T1w", ""))
            on_t1.unlink()
            way = on_t1.with_name("sub-01_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt")
            sitk.WriteTransform(turn, str(way))
        prepare_cohort(cases, tmp_path / "out", GRID, work=quick_case, pictures=False)
        found.append(nib.load(next((tmp_path / "out").rglob("*_pet.nii.gz"))).get_fdata())
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    sources = json.loads(next((tmp_path / "out").rglob("*_pet.json")).read_text())["Sources"]
    assert sources[1].endswith("_xfm.txt")
