"""Simulated cohorts on disk, and anatomies from labelled heads."""

import csv
import json
import shutil
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.atlas.regions import PARTITION, REGIONS
from DualGlowLib.simulate import cohort as cohorts
from DualGlowLib.simulate import labels as muse
from DualGlowLib.simulate.anatomy import template_anatomy
from DualGlowLib.simulate.case import simulate_case
from DualGlowLib.simulate.cohort import case_seed, simulate_cohort
from DualGlowLib.simulate.labels import find_pairs, load_anatomies
from DualGlowLib.simulate.shape import Covariates
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.separable import WORK

GRID = GRIDS["small"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """The volumes are small: threads cost more than they bring, on a busy machine very much more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _voxels(folder):
    paths = sorted(folder.rglob("*.nii.gz"))
    return {p.relative_to(folder).as_posix(): np.asanyarray(nib.load(p).dataobj).tobytes() for p in paths}


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort") / "bids"
    heard = []
    assert simulate_cohort(out, 3, "small", 21, progress=lambda message, fraction: heard.append(fraction)) == out
    assert heard == sorted(heard)
    assert heard[-1] == 1
    return out


def test_the_folder_is_bids_with_its_truth(cohort):
    description = json.loads((cohort / "dataset_description.json").read_text())
    assert description["GeneratedBy"][0]["Name"] == "DualGlow"
    assert "imulated" in description["Name"]
    people = _rows(cohort / "participants.tsv")
    assert [p["participant_id"] for p in people] == ["sub-0001", "sub-0002", "sub-0003"]
    for index, person in enumerate(people):
        assert 40 <= float(person["age"]) <= 100
        assert person["sex"] in "FM"
        assert person["diagnosis"] in ("CN", "MCI", "AD")
        assert int(person["seed"]) == case_seed(21, index)
        name = person["participant_id"]
        for path in (
            f"{name}/anat/{name}_T1w.nii.gz",
            f"{name}/pet/{name}_trc-18FFDG_pet.nii.gz",
            f"truth/{name}_mean.nii.gz",
            f"truth/{name}_sd.nii.gz",
        ):
            image = nib.load(cohort / path)
            assert image.shape == GRID.shape
            np.testing.assert_allclose(image.affine, GRID.affine)
            assert int(image.header["sform_code"]) == 4
            assert np.isfinite(image.get_fdata()).all()
        sidecar = json.loads((cohort / f"{name}/pet/{name}_trc-18FFDG_pet.json").read_text())
        assert sidecar["Units"] == "SUVR"
        assert sidecar["Simulated"] is True
    assert set(json.loads((cohort / "participants.json").read_text())) >= {"age", "sex", "diagnosis"}
    assert [path.name for path in cohort.rglob(".*")] == [".bidsignore"]


def test_the_tables_agree_with_the_volumes(cohort):
    rows = _rows(cohort / "truth" / "regions.tsv")
    assert len(rows) == 3 * len(REGIONS)
    case = simulate_case(case_seed(21, 1), [template_anatomy()], GRID)
    written = nib.load(cohort / "sub-0002/pet/sub-0002_trc-18FFDG_pet.nii.gz").get_fdata()
    np.testing.assert_allclose(written, case.pet.numpy(), atol=1e-4)
    second = [row for row in rows if row["participant_id"] == "sub-0002"]
    for row, expected in zip(second, case.region_rows(), strict=True):
        assert row["region"] == expected["region"]
        for key in ("mean", "sd", "slope", "relative_slope", "drawn"):
            assert float(row[key]) == pytest.approx(expected[key], abs=2e-5)
    slopes = json.loads((cohort / "truth" / "slopes.json").read_text())["relative_slope_per_decade"]
    values = [float(row["relative_slope"]) for row in rows if row["region"] == "occipital"]
    assert slopes["occipital"]["mean"] == pytest.approx(np.mean(values), abs=2e-6)


def _first(cohort: Path, out: Path, cases: int) -> Path:
    """A copy of the cohort, its first cases alone, as if it had been interrupted after them."""
    shutil.copytree(cohort, out)
    (out / "participants.tsv").unlink()
    for number in range(cases + 1, 4):
        shutil.rmtree(out / f"sub-000{number}")
        for path in (out / "truth").glob(f"sub-000{number}*"):
            path.unlink()
    return out


def test_jobs_and_resuming_do_not_change_a_voxel(cohort, tmp_path):
    out = _first(cohort, tmp_path / "again", 2)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.nii.gz")}
    (out / "truth" / "sub-0002.json").unlink()  # as if it had been interrupted
    simulate_cohort(out, 3, "small", 21, jobs=2)
    assert _voxels(out) == _voxels(cohort)
    kept = [p for p, t in before.items() if p.stat().st_mtime_ns == t]
    assert kept
    assert all("sub-0001" in p.name for p in kept)
    assert (out / "participants.tsv").read_bytes() == (cohort / "participants.tsv").read_bytes()


def test_a_killed_process_costs_one_case(cohort, tmp_path):
    """The others are made all the same, and a second start makes the rest, the same to the last bit."""
    out = tmp_path / "out"

    def kill():  # at once: it has its case by then, and needs seconds to load the library
        while not (processes := active_children()):
            time.sleep(0.001)
        processes[0].kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(InputError, match=r"1 of 3 cases were not made \(sub-000\d: its process .*; start again\."):
        simulate_cohort(out, 3, "small", 21, jobs=2)
    killer.join()
    assert len(list((out / "truth").glob("sub-*.json"))) == 2
    assert not (out / "participants.tsv").exists()
    simulate_cohort(out, 3, "small", 21)
    assert _voxels(out) == _voxels(cohort)


def test_a_process_killed_after_its_case_costs_nothing(cohort, tmp_path, monkeypatch):
    """What is whole on the disk is made, though its process could no longer say so."""

    def one_dies(jobs, work, processes):
        for index, job in enumerate(jobs):
            outcome = work(job, lambda stage, share: None)
            yield index, {"status": "failed", "reasons": ["its process was killed"]} if index == 1 else outcome

    monkeypatch.setattr(cohorts, "work_off", one_dies)
    simulate_cohort(_first(cohort, tmp_path / "out", 1), 3, "small", 21, jobs=2)
    assert _voxels(tmp_path / "out") == _voxels(cohort)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_written_is_told(cohort, tmp_path, jobs):
    out = _first(cohort, tmp_path / "out", 1)
    (out / "sub-0002").write_text("in the way")
    with pytest.raises(InputError, match=r"sub-0002_T1w.nii.gz can't be written: Not a directory|File exists"):
        simulate_cohort(out, 3, "small", 21, jobs=jobs)


def test_only_one_process_simulates_into_a_folder(tmp_path):
    """One that was killed before it wrote anything else has left its lock."""
    lock, refused = tmp_path / "truth" / "lock", []
    lock.parent.mkdir()
    lock.touch()

    def once_more(message: str, fraction: float) -> None:
        assert lock.is_file()
        with pytest.raises(InputError, match="Another process is simulating into") as caught:
            simulate_cohort(tmp_path, 2, "small", 21)
        refused.append(str(caught.value))

    simulate_cohort(tmp_path, 1, "small", 21, progress=once_more)
    assert len(refused) == 1
    assert not lock.exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(InputError, match="is not empty and holds no simulated cohort"):
        simulate_cohort(tmp_path / "other", 1, "small", 21)


def test_anatomies_can_be_independent_of_the_covariates(cohort, tmp_path):
    out = simulate_cohort(tmp_path / "out", 2, "small", 21, independent_anatomy=True)
    before, after = (json.loads((path / "truth" / "sub-0002.json").read_text()) for path in (cohort, out))
    assert after["age"] == before["age"] != after["anatomy_age"]
    assert "anatomy_age" not in before
    persons = {"seed": after["seed"], "anatomies": [template_anatomy()], "grid": GRIDS["small"]}
    body = Covariates(after["anatomy_age"], "F", after["anatomy_diagnosis"])
    case = simulate_case(**persons, anatomy_covariates=body)
    assert case.covariates.age == after["age"]
    for row, expected in zip(after["regions"], case.region_rows(), strict=True):
        assert row["drawn"] == pytest.approx(expected["drawn"], abs=2e-5)
    with pytest.raises(InputError, match="another independent_anatomy"):
        simulate_cohort(out, 3, "small", 21)
    with pytest.raises(InputError, match="another independent_anatomy"):
        simulate_cohort(cohort, 3, "small", 21, independent_anatomy=True)


def test_another_seed_is_another_cohort():
    assert len({case_seed(seed, index) for seed in range(30) for index in range(30)}) == 900
    assert all(0 <= case_seed(seed, 0) < 2**63 for seed in range(30))


def test_unusable_arguments_say_so(cohort, tmp_path):
    with pytest.raises(InputError, match="at least 1"):
        simulate_cohort(tmp_path / "a", 0)
    with pytest.raises(InputError, match="small, medium"):
        simulate_cohort(tmp_path / "a", 1, "huge")
    with pytest.raises(InputError, match="seed"):
        simulate_cohort(tmp_path / "a", 1, "small", -1)
    with pytest.raises(InputError, match="another seed"):
        simulate_cohort(cohort, 3, "small", 22)
    with pytest.raises(InputError, match="another grid"):
        simulate_cohort(cohort, 3, "medium", 21)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        simulate_cohort(tmp_path / "full", 1, "small")
    with pytest.raises(InputError, match="is a file"):
        simulate_cohort(tmp_path / "full" / "thesis.txt", 1, "small")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="No pair"):
        simulate_cohort(tmp_path / "b", 1, "small", anatomy=tmp_path / "none")
    with pytest.raises(InputError, match="does not exist"):
        simulate_cohort(tmp_path / "b", 1, "small", anatomy=tmp_path / "nowhere")
    assert sorted(p.name for p in (tmp_path / "full").iterdir()) == ["thesis.txt"]


def _head(folder):
    """The template as a scan of its own, turned, with MUSE labels made from its tissue and our regions."""
    person = template_anatomy()
    share = torch.nn.functional.interpolate(person.regions[None], size=WORK.shape, mode="trilinear")[0]
    first = {name: muse._codes_of(name)[0] for name in PARTITION}
    table = np.array([first[name] for name in PARTITION])
    label = table[share.argmax(0).numpy()]
    white = (person.wm > person.gm).numpy() & ~np.isin(label, (first["brain_stem"], first["cerebellum"]))
    x = WORK.affine[0, 3] + 2 * np.arange(WORK.shape[0])
    label = np.where(white, np.where(x < 0, 82, 81)[:, None, None], label)
    label = np.where((person.ventricles > 0.5).numpy(), np.where(x < 0, 52, 51)[:, None, None], label)
    label = np.where((person.gm + person.wm + person.ventricles > 0.5).numpy(), label, 0)
    flipped = WORK.affine  # voxels from right to left, the head moved by some centimetres
    flipped[:3, 3] += flipped[:3, 0] * (WORK.shape[0] - 1) + (12, -7, 20)
    flipped[:3, 0] *= -1
    nib.save(nib.Nifti1Image(person.t1.numpy()[::-1] * 400, flipped), folder / "p1_T1.nii.gz")
    nib.save(nib.Nifti1Image(label[::-1].astype(np.uint8), flipped), folder / "p1_T1_DLMUSE.nii.gz")
    (folder / "participants.csv").write_text("subject,age,sex\np1,71.5,F\n")
    return person


def test_an_anatomy_from_a_labelled_head(tmp_path):
    original = _head(tmp_path)
    (person,) = load_anatomies(tmp_path)
    assert (person.name, person.age, person.sex) == ("p1", 71.5, "F")
    for name in ("gm", "wm", "csf", "ventricles", "mask"):
        a, b = getattr(original, name).flatten(), getattr(person, name).flatten()
        assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) > 0.7, name
    assert torch.allclose(person.gm + person.wm + person.csf, person.mask, atol=1e-4)
    assert torch.allclose(person.regions.sum(0), torch.ones(person.regions.shape[1:]), atol=1e-3)
    inside = torch.nn.functional.avg_pool3d(original.gm[None, None], 2)[0, 0] > 0.6
    agree = person.regions.argmax(0)[inside] == original.regions.argmax(0)[inside]
    assert agree.float().mean() > 0.85
    left = person.regions[PARTITION.index("insula_L")]
    assert left[:20].sum() > 3 * left[20:].sum()


def test_labels_of_another_kind_are_refused(tmp_path):
    _head(tmp_path)
    path = tmp_path / "p1_T1_DLMUSE.nii.gz"
    image = nib.load(path)
    data = np.where(np.asanyarray(image.dataobj) > 0, 210, 0).astype(np.uint8)
    nib.save(nib.Nifti1Image(data, image.affine), path)
    with pytest.raises(InputError, match="MUSE"):
        load_anatomies(tmp_path)


def test_pairs_are_found_by_name(tmp_path):
    names = (
        "a_T1.nii.gz",
        "a_DLMUSE.nii.gz",
        "b_T1w.nii",
        "b_T1w_dseg.nii",
        "sub-3_T1w.nii.gz",
        "c_T1.nii.gz",
        "d_labels.nii.gz",
    )
    for name in names:
        (tmp_path / name).touch()
    more = tmp_path / "more"
    more.mkdir()
    (more / "sub-3_seg.nii.gz").touch()
    assert [(n, t.name, s.name) for n, t, s in find_pairs(tmp_path)] == [
        ("a", "a_T1.nii.gz", "a_DLMUSE.nii.gz"),
        ("b", "b_T1w.nii", "b_T1w_dseg.nii"),
        ("sub-3", "sub-3_T1w.nii.gz", "sub-3_seg.nii.gz"),
    ]


def test_every_muse_code_has_a_place():
    assert {muse._side(code) for code in (23, 37, 60, 102, 206)} == {"L", "R"}
    every = [code for name in PARTITION for code in muse._codes_of(name)]
    assert len(every) == len(set(every))


def test_the_muse_codes_are_those_of_its_table(shared):
    table = shared / "data" / "seg_real" / "muse_dict.csv"
    with table.open(newline="") as file:
        names = {int(row["Index"]): row["Name"] for row in csv.DictReader(file)}
    single = {code: name for code, name in names.items() if 0 < code < 210}
    assert set(single) <= muse._KNOWN
    for code, name in single.items():
        if name.endswith(("_L", "_R")):
            assert muse._side(code) == name[-1], name


def test_a_real_elderly_head(shared):
    name, t1, label = find_pairs(shared / "data" / "elderly")[0]
    person = muse.load_anatomy(t1, label, name)
    assert 60 < float(person.ventricles.sum() * 0.008) < 200  # large ventricles, stretched to the template's size
    assert 600 < float(person.gm.sum() * 0.008) < 1100
    assert 450 < float(person.wm.sum() * 0.008) < 900
    assert float(person.t1[person.wm > 0.9].median()) > 1.3 * float(person.t1[person.gm > 0.9].median())
    case = simulate_case(1, [person], GRID)
    value = {row["region"]: row["mean"] for row in case.region_rows()}
    assert value["pons"] == pytest.approx(1, abs=0.1)
    assert value["posterior_cingulate_precuneus"] > value["medial_temporal_L"]


@pytest.mark.parametrize("left", [".0123456789ab", "truth/.0123456789ab.part"])
def test_killed_before_it_says_what_it_is_it_begins_again(tmp_path, left):
    path = tmp_path / left
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    simulate_cohort(tmp_path, 1, GRID)
    assert (tmp_path / "participants.tsv").is_file()
    assert not path.exists()
