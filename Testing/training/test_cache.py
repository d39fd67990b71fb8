"""Cases that don't fit into memory: read from disk, ahead of the steps, to the same last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.model import preset
from DualGlowLib.simulate.cohort import simulate_cohort, truth_file
from DualGlowLib.training.data import Batch, Cohort
from DualGlowLib.training.loading import cache as module
from DualGlowLib.training.loading import feed as feeding
from DualGlowLib.training.loading.cache import CachedCohort, VoxelCache, belongs_on_disk, cohort_bytes
from DualGlowLib.training.loading.feed import Feed
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.run import Plan, cache_folder, prospect, train
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.training.status import Interrupted
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan

GRID = GRIDS["small"]
FLOW = {"depths": [1, 1, 1], "widths": [8, 8, 8]}
MODEL = {"mri": FLOW, "pet": FLOW, "link": {"widths": [8, 8, 8], "context": [4, 4, 4]}}
SETTINGS = {
    "steps": 4,
    "warmup": 1,
    "initialize_with": 2,
    "validate_every": 2,
    "checkpoint_every": 2,
    "sampled_cases": 0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("cohort")
    simulate_cohort(found, 4, "small", seed=3)
    return found


@pytest.fixture
def cases(folder: Path) -> list[Case]:
    return read_cases(folder)


@pytest.fixture
def cache(tmp_path: Path) -> VoxelCache:
    return VoxelCache(tmp_path / "voxels", GRID)


def files(cache: VoxelCache) -> list[Path]:
    return sorted(cache.folder.glob("*.voxels"))


def settings(**changes: object) -> TrainingSettings:
    return TrainingSettings().updated({**SETTINGS, **changes})


def trainer(run: Path, cohort: Cohort, **changes: object) -> Trainer:
    config = preset("standard", GRID.shape, **MODEL)
    return Trainer(run, config, settings(**changes), GRID, cohort.subset(range(3)), cohort.subset(range(3, 4)))


def curve(run: Path) -> list[dict]:
    events = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if key != "seconds"} for event in events]


# ---- the same images


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_run_that_goes_on_says_which_scans_were_replaced(
    tmp_path: Path, cases: list[Case], cache: VoxelCache, on_disk: bool
) -> None:
    """Also if the highest SUVR is as it was; a checkpoint doesn't depend on where its run keeps the voxels."""
    trainer(tmp_path / "run", Cohort.load(cases, GRID)).run()
    others = [replace(cases[0], t1=cases[1].t1), *cases[1:]]
    said: dict[str, list[str]] = {"same": [], "other": []}
    for name, scans in (("same", cases), ("other", others)):
        again = trainer(tmp_path / "run", CachedCohort.open(scans, cache) if on_disk else Cohort.load(scans, GRID))
        again.note = said[name].append
        again.run(resume=True)
    assert said["same"] == []
    assert [note.split(" are not")[0] for note in said["other"]] == [f"The scans of {cases[0].name}"]


def test_what_is_read_from_disk_is_what_is_in_memory(cases: list[Case], cache: VoxelCache) -> None:
    whole, cached = Cohort.load(cases, GRID), CachedCohort.open(cases, cache)
    assert cached.pet_scale == whole.pet_scale
    assert len(files(cache)) == 4
    assert len(whole.checksums()) == 4
    assert cached.checksums() == whole.checksums()
    for indices, part in (([2, 0], slice(None)), ([3, 1, 0], slice(1, 3))):
        for seed in (None, 5):
            augment = [None if seed is None else torch.Generator().manual_seed(seed) for _ in "12"]
            one, other = whole.batch(indices, augment[0], part), cached.batch(indices, augment[1], part)
            assert torch.equal(one.mri, other.mri)
            assert torch.equal(one.pet, other.pet)
            assert one.covariates == other.covariates
    for one, other in zip(whole.statistics(), cached.statistics(), strict=True):
        assert torch.equal(one, other)
    assert cached.subset([1]).batch([0]).pet.equal(whole.batch([1]).pet)
    assert cached.subset([]).batch([]).pet.shape == (0, 1, *GRID.shape)


def test_known_means_are_those_of_the_truth_from_memory_and_from_disk(
    cases: list[Case], cache: VoxelCache, tmp_path: Path
) -> None:
    """They are flipped with their PETs; a cache without them in the same folder is another."""
    CachedCohort.open(cases, cache)
    known = VoxelCache(cache.folder, GRID, known_mean=True)
    whole, cached = Cohort.load(cases, GRID, known_mean=True), CachedCohort.open(cases, known)
    assert len(files(cache)) == 8
    assert cached.checksums() == whole.checksums()
    truth = torch.from_numpy(read_scan(truth_file(cases[2], "mean")).data) / whole.pet_scale
    assert torch.allclose(whole.batch([2]).mean[0, 0], truth, atol=2e-3)
    assert Cohort.load(cases, GRID).batch([2]).mean is None
    for seed in range(4):
        one, other = (cohort.batch([2, 0], torch.Generator().manual_seed(seed)) for cohort in (whole, cached))
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.pet, other.pet)
        assert float(torch.corrcoef(torch.stack([one.mean[0].flatten(), one.pet[0].flatten()]))[0, 1]) > 0.97
    assert torch.equal(whole.subset([3, 1]).batch([1]).mean, cached.subset([3, 1]).batch([1]).mean)

    runs = (("memory", whole, {}), ("disk", cached, {"workers": 1}), ("pets", Cohort.load(cases, GRID), {}))
    for name, cohort, changes in runs:
        trainer(tmp_path / name, cohort, known_mean=name != "pets", **changes).run()
    curves = {name: curve(tmp_path / name) for name, _, _ in runs}
    assert curves["memory"] == curves["disk"]
    assert curves["memory"][0]["pet_bits"] == curves["pets"][0]["pet_bits"]
    assert curves["memory"][0]["loss"] != curves["pets"][0]["loss"]


def test_a_mean_that_is_not_known_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    """Found before anything is read; so is a model whose link has no mean of the image."""
    plan = Plan(folder, tmp_path / "run", changes={"known_mean": True})
    with pytest.raises(InputError, match="known_mean is for models whose link has an image law"):
        prospect(replace(plan, preset="paper"))
    assert prospect(plan).settings.known_mean
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "truth" / "sub-0003_mean.nii.gz").unlink()
    with pytest.raises(InputError, match="of sub-0003 was drawn around isn't known; take known_mean"):
        prospect(replace(plan, cases=copy))


def test_processes_read_the_steps_in_order(cases: list[Case], cache: VoxelCache) -> None:
    """Also when a step is asked for again, or another than the next one."""
    feeds = [
        Feed(cohort, settings(batch=2, workers=workers), slice(None), torch.device("cpu"), print)
        for cohort, workers in ((Cohort.load(cases, GRID), 0), (CachedCohort.open(cases, cache), 2))
    ]
    try:
        for step in (0, 1, 1, 2, 7):
            one, other = (feed.batch(step) for feed in feeds)
            assert torch.equal(one.mri, other.mri), step
            assert torch.equal(one.pet, other.pet), step
    finally:
        feeds[1].close()


def test_a_run_from_disk_is_the_run_from_memory_also_resumed(
    cases: list[Case], cache: VoxelCache, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    trainer(tmp_path / "memory", Cohort.load(cases, GRID), sampled_cases=1).run()
    cached = CachedCohort.open(cases, cache)
    part = trainer(tmp_path / "disk", cached, workers=1, sampled_cases=1)
    part.stop = lambda: part.step == 3
    with pytest.raises(Interrupted):
        part.run()
    trainer(tmp_path / "disk", cached, workers=0, sampled_cases=1).run(resume=True)
    assert curve(tmp_path / "disk") == curve(tmp_path / "memory")
    weights = [(tmp_path / name / "bundle/weights.safetensors").read_bytes() for name in ("disk", "memory")]
    assert weights[0] == weights[1]


# ---- what can happen to the files


def test_files_are_made_once(cases: list[Case], cache: VoxelCache) -> None:
    first = cache.fill(cases)
    times = [path.stat().st_mtime_ns for path in files(cache)]
    assert cache.fill(cases) == first
    assert [path.stat().st_mtime_ns for path in files(cache)] == times


def test_a_scan_that_has_changed_is_read_again(folder: Path, cache: VoxelCache, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    cases = read_cases(copy)
    cache.fill(cases)
    os.utime(cases[0].pet, (1, 1))
    VoxelCache(cache.folder, GRID).fill(cases)
    assert len(files(cache)) == 5


@pytest.mark.parametrize("how", ["a byte", "short", "empty", "text", "gone"])
def test_a_damaged_file_is_made_anew(how: str, cases: list[Case], cache: VoxelCache) -> None:
    cached = CachedCohort.open(cases, cache)
    whole = cached.batch(range(4))
    path = cache._path(cases[2])
    content = path.read_bytes()
    spoilt = {"a byte": content[:-9] + b"\7" + content[-8:], "short": content[:-2], "empty": b"", "text": b"x" * 99}
    path.write_bytes(spoilt[how]) if how in spoilt else path.unlink()
    batch = cached.batch(range(4))
    assert torch.equal(batch.pet, whole.pet)
    assert torch.equal(batch.mri, whole.mri)
    assert len(batch.notes) == 1
    assert cases[2].name in batch.notes[0]
    assert ("was not there" if how == "gone" else "was damaged") in batch.notes[0]
    assert not cached.batch(range(4)).notes
    # And when the next run begins.
    path.write_bytes(spoilt.get(how, b""))
    said: list[str] = []
    assert CachedCohort.open(cases, cache, note=said.append).pet_scale == cached.pet_scale
    assert len(said) == (how != "a byte")  # which shows when it is read


def test_no_byte_of_a_file_s_head_can_be_another_unnoticed(cases: list[Case], cache: VoxelCache) -> None:
    """The scale of all PETs, and what kind of numbers there are, depend on it: each place; and F16 as I16."""
    highest = cache.fill(cases[:1])
    path = cache._path(cases[0])
    content, whole = path.read_bytes(), cache.read(cases[0])[0]
    for place in range(8 + int.from_bytes(content[:8], "little")):
        for bits in (1, ord("F") ^ ord("I")):
            path.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])
            assert cache.fill(cases[:1]) == highest, (place, bits)
            for image, expected in zip(cache.read(cases[0])[0], whole, strict=True):
                assert image.dtype == expected.dtype, (place, bits)
                assert torch.equal(image, expected), (place, bits)


def test_a_folder_in_the_place_of_a_file_is_one_sentence(cases: list[Case], cache: VoxelCache) -> None:
    cache.fill(cases[:1])
    path = cache._path(cases[0])
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        cache.fill(cases)


def test_the_run_says_that_a_file_was_damaged_and_goes_on(cases: list[Case], cache: VoxelCache, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    cached = CachedCohort.open(cases, cache)
    trainer(tmp_path / "sound", cached, workers=0).run()
    for path in files(cache):
        content = path.read_bytes()
        path.write_bytes(content[:-9] + b"\7" + content[-8:])
    said: list[str] = []
    run = trainer(tmp_path / "damaged", cached, workers=1)
    run.note = said.append
    run.run()
    assert {case.name for case in cases if any(case.name in sentence for sentence in said)} == {
        case.name for case in cases
    }
    assert curve(tmp_path / "damaged") == curve(tmp_path / "sound")


def test_a_copy_that_can_not_be_written_anew_is_said_once_and_the_run_goes_on(
    cases: list[Case], cache: VoxelCache, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    cached = CachedCohort.open(cases, cache)
    trainer(tmp_path / "sound", cached, workers=0).run()
    path = cache._path(cases[0])
    path.unlink()
    path.mkdir()
    said: list[str] = []
    run = trainer(tmp_path / "unwritten", cached, workers=0)
    run.note = said.append
    run.run()
    (sentence,) = [one for one in said if "The copy of" in one]
    assert re.search(rf"of {cases[0].name} .+ it is a folder.+, so that its scans are read each time\.$", sentence)
    assert curve(tmp_path / "unwritten") == curve(tmp_path / "sound")


def test_what_can_not_be_made_anew_is_one_sentence(folder: Path, cache: VoxelCache, tmp_path: Path) -> None:
    """The scans have gone meanwhile: said by the run itself, though another process found it."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    cached = CachedCohort.open(read_cases(copy), cache)
    shutil.rmtree(copy)
    for path in files(cache):
        path.unlink()
    for workers in (0, 1):
        feed = Feed(cached, settings(workers=workers), slice(None), torch.device("cpu"), print)
        with pytest.raises(InputError) as error:
            feed.batch(0)
        feed.close()
        assert len(str(error.value).splitlines()) == 1
        assert str(copy) in str(error.value)


def test_scans_that_have_gone_are_not_needed_any_more(folder: Path, cache: VoxelCache, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    cached = CachedCohort.open(read_cases(copy), cache)
    wanted = cached.batch([0]).pet
    cases = cached.cases
    shutil.rmtree(copy)
    assert torch.equal(CachedCohort(cases, cache, cached.pet_scale).batch([0]).pet, wanted)


def test_a_disk_without_room_is_said_before(
    cases: list[Case], cache: VoxelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: usage._replace(free=1 << 20))
    with pytest.raises(InputError, match=r"need \d+ MiB in .*voxels, and 64 MiB beside them, where 1 MiB are"):
        cache.fill(cases)
    assert not files(cache)


def test_a_process_that_is_killed_ends_no_run(cases: list[Case], cache: VoxelCache) -> None:
    said: list[str] = []
    cached = CachedCohort.open(cases, cache)
    feed = Feed(cached, settings(workers=1), slice(None), torch.device("cpu"), said.append)
    feed.batch(0)
    for process in feed._batches._workers:
        os.kill(process.pid, signal.SIGKILL)
    wanted = Feed(cached, settings(workers=0), slice(None), torch.device("cpu"), print)
    for step in range(1, 8):
        assert torch.equal(feed.batch(step).pet, wanted.batch(step).pet)
    assert len(said) == 1
    assert "goes on without" in said[0]


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "Connection reset by peer")])
def test_nor_does_one_that_is_killed_while_it_hands_a_batch_over(
    cases: list[Case], cache: VoxelCache, error: Exception
) -> None:
    """The few bytes between two processes, in which Python tells of a death before torch does."""

    def batches() -> Iterator[Batch]:
        raise error
        yield

    said: list[str] = []
    cached = CachedCohort.open(cases, cache)
    feed = Feed(cached, settings(workers=1), slice(None), torch.device("cpu"), said.append)
    feed._batches, feed._next = batches(), 1
    wanted = Feed(cached, settings(workers=0), slice(None), torch.device("cpu"), print)
    assert torch.equal(feed.batch(1).pet, wanted.batch(1).pet)
    assert len(said) == 1
    assert "goes on without" in said[0]


def test_nor_one_that_is_killed_with_a_lock_that_the_end_of_all_waits_for(
    cases: list[Case], cache: VoxelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for torch's iterator, which comes to its end only when it is let."""
    let = threading.Event()

    class Waiting:
        def __next__(self) -> Batch:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. ")

        def __del__(self) -> None:
            let.wait()

    monkeypatch.setattr(feeding, "_PATIENCE", 0.1)
    said: list[str] = []
    cached = CachedCohort.open(cases, cache)
    feed = Feed(cached, settings(workers=1), slice(None), torch.device("cpu"), said.append)
    feed._batches, feed._next = Waiting(), 1
    try:
        wanted = Feed(cached, settings(workers=0), slice(None), torch.device("cpu"), print)
        assert torch.equal(feed.batch(1).pet, wanted.batch(1).pet)
        assert "goes on without" in said[0]
    finally:
        let.set()


# ---- which of the two


def test_small_cohorts_stay_in_memory() -> None:
    standard = GRIDS["standard"]
    assert not belongs_on_disk(100, GRID, "auto")
    assert belongs_on_disk(5000, standard, "auto")
    assert belongs_on_disk(1, GRID, "disk")
    assert not belongs_on_disk(5000, standard, "memory")
    assert cohort_bytes(2, GRID) == 2 * 2 * 2 * 32 * 48 * 32


def test_memory_has_a_part_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 1000
    monkeypatch.setattr(module, "computer_memory", lambda: 3 * cohort_bytes(count, GRID))
    assert belongs_on_disk(count, GRID, "auto")
    monkeypatch.setattr(module, "computer_memory", lambda: 5 * cohort_bytes(count, GRID))
    assert not belongs_on_disk(count, GRID, "auto")


def test_the_command_reads_from_disk_when_asked_to(folder: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    for data in ("memory", "disk"):
        path = tmp_path / f"{data}.json"
        path.write_text(
            json.dumps({"model": MODEL, "training": {**SETTINGS, "validation": 0.3, "data": data, "workers": 0}})
        )
        plan = Plan(folder, tmp_path / data / "run", settings_file=path)
        train(plan)
        assert cache_folder(plan, GRID).exists() == (data == "disk")
    assert curve(tmp_path / "memory/run") == curve(tmp_path / "disk/run")


def test_reading_can_be_stopped_and_gone_on_with(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        json.dumps({"model": MODEL, "training": {**SETTINGS, "validation": 0.3, "data": "disk", "workers": 0}})
    )
    plan, asked = Plan(folder, tmp_path / "run", settings_file=path), []
    with pytest.raises(Interrupted, match="while the cases were read"):
        train(plan, stop=lambda: asked.append(1) or len(asked) > 2)
    assert 0 < len(list(cache_folder(plan, GRID).glob("*.voxels"))) < 4
    train(plan, resume=True)
    assert len(curve(tmp_path / "run")) == 4
