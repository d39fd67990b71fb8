"""The worker: a real process, asked over its pipes. Nothing here depends on how fast it is."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import DualGlowLib
from DualGlowLib.scans import load_template, normalise_t1, resample
from DualGlowLib.simulate.regions import REGIONS
from DualGlowLib.worker import _plain

LIBRARY = str(Path(DualGlowLib.__file__).parent.parent)
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from DualGlowLib.worker import main; main(sys.argv[1:])"
PATIENCE = 240  # seconds: only a hang takes longer
ENDS = ("done", "refused", "cancelled", "failed")


class Asking:
    """A worker process, and what it has said."""

    def __init__(self, folder: Path, start: str = START, **environment: str) -> None:
        self.folder = folder
        self.log = (folder / "log.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", start, LIBRARY, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **environment},
        )
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.number = 0

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(json.loads(line))  # anything else than the protocol would end this thread, and the test
        self.lines.put(None)

    def send(self, do: str, **values: object) -> int:
        self.number += 1
        self.write(json.dumps({"id": self.number, "do": do, **values}).encode() + b"\n")
        return self.number

    def write(self, line: bytes) -> None:
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def next(self) -> dict:
        return self.lines.get(timeout=PATIENCE)

    def until(self, wanted: Callable[[dict], bool]) -> list[dict]:
        """All events up to the one that is wanted."""
        heard = [self.next()]
        while not wanted(heard[-1]):
            heard.append(self.next())
        return heard

    def ask(self, do: str, **values: object) -> dict:
        """The last event of a request."""
        number = self.send(do, **values)
        return self.until(lambda event: event["id"] == number and event["event"] in ENDS)[-1]

    def array(self, path: str) -> np.ndarray:
        """What the worker wrote; deleted after reading."""
        assert Path(path).parent == self.folder
        found = np.load(path)
        Path(path).unlink()
        return found

    def save(self, name: str, array: np.ndarray) -> str:
        path = self.folder / f"{name}.npy"
        np.save(path, array)
        return str(path)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.log.close()


def small_t1() -> tuple[np.ndarray, list]:
    """The template's T1 in voxels of 3.5 mm, prepared: white matter 1, 0 outside the brain."""
    t1 = load_template().t1
    affine = np.diag([3.5, 3.5, 3.5, 1.0])
    affine[:3, 3] = -84, -126, -77
    mask = resample(t1.data > 0, t1.affine, (49, 64, 48), affine) > 0.5
    return normalise_t1(resample(t1.data, t1.affine, (49, 64, 48), affine), mask), affine.tolist()


@pytest.fixture(scope="module")
def open_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    worker = Asking(tmp_path_factory.mktemp("worker"))
    assert worker.next()["event"] == "hello"
    assert worker.ask("open", device="cpu")["event"] == "done"
    yield worker
    worker.close()


@pytest.fixture
def worker(open_worker: Asking) -> Asking:
    """With the small template for a patient, prepared once."""
    data, affine = small_t1()
    path = open_worker.save("t1", data)
    reply = open_worker.ask("prepare", voxels=path, affine=affine, source="T1", prepared=True, key="small")
    assert reply["event"] == "done"
    Path(reply["picture"]).unlink()
    open_worker.shape = data.shape
    return open_worker


# ------------------------------------------------------------------------------------------------------------ protocol


def test_hello_comes_before_torch_and_its_lack_is_told(tmp_path: Path) -> None:
    """With a torch that can't be imported, the worker still answers, and says what is missing."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('No module named torch')")
    worker = Asking(tmp_path, f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {START}")
    hello = worker.next()
    assert hello == {"id": None, "event": "hello", "pid": worker.process.pid, "version": DualGlowLib.__version__}
    for _ in range(2):
        reply = worker.ask("open")
        assert reply["event"] == "refused"
        assert "torch" in reply["message"]
    worker.close()
    assert worker.process.returncode == 0


def test_standard_output_carries_the_protocol_alone(tmp_path: Path) -> None:
    """What Python and C print goes elsewhere, even while the worker serves."""
    noise = (
        "import os, threading; t = threading.Timer(0.5, lambda: (print('from Python'), os.write(1, b'from C\\n'))); "
        "t.start(); "
    )
    worker = Asking(tmp_path, noise + START)
    assert worker.next()["event"] == "hello"
    while b"from C" not in (tmp_path / "log.txt").read_bytes():
        assert worker.ask("nonsense")["event"] == "refused"
    assert b"from Python" in (tmp_path / "log.txt").read_bytes()
    worker.send("quit")
    assert worker.next() is None
    assert worker.process.wait(PATIENCE) == 0
    worker.close()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense\n", "can't be understood"),
        (b"[1, 2]\n", "no object"),
        (b'{"id": 7}\n', "no object"),
        (b"\xff\xfe{}\n", "can't be understood"),
        (b'{"do": "sample"}\n', 'no number "id"'),
        (b'{"id": true, "do": "sample"}\n', 'no number "id"'),
    ],
)
def test_lines_that_are_no_requests(worker: Asking, line: bytes, words: str) -> None:
    worker.write(b"\n" + line)
    reply = worker.next()
    assert (reply["id"], reply["event"]) == (None, "refused")
    assert words in reply["message"]
    assert worker.ask("devices")["event"] == "done"


@pytest.mark.parametrize(
    ("do", "values", "words"),
    [
        ("dance", {}, "no command 'dance'"),
        ("_scan_file", {}, "no command"),
        ("run", {}, "no command"),
        ("sample", {"aeg": 70}, "unexpected keyword argument 'aeg'"),
        ("one", {}, "missing a required argument: 'index'"),
        ("sample", {"age": "old"}, "age can't be 'old'"),
        ("sample", {"age": 400}, "age 400 is outside the range"),
        ("sample", {"samples": 1.5}, "samples can't be 1.5"),
        ("sample", {"temperature": [1, 1]}, "2 temperatures"),
        ("sample", {"temperature": "hot"}, "temperature can't be 'hot'"),
        ("keyframes", {"ages": [], "temperatures": [0]}, "ages can't be"),
        ("open", {"bundle": "/nowhere/at/all"}, "is no DualGlow model"),
        ("open", {"device": "cuda:77"}, "'cuda:77' can't be used"),
        ("compare", {"voxels": "/nowhere.npy", "affine": np.eye(4).tolist()}, "nowhere.npy can't be read"),
        ("compare", {"voxels": "/nowhere.npy", "affine": [[1, 2], [3, 4]]}, "affine"),
    ],
)
def test_refused_with_one_sentence_and_usable(worker: Asking, do: str, values: dict, words: str) -> None:
    reply = worker.ask(do, **values)
    assert reply["event"] == "refused"
    assert words in reply["message"]
    assert "\n" not in reply["message"]
    reply = worker.ask("keyframes", ages=[70], temperatures=[0])  # made once for all of these
    assert reply["event"] == "done"


def test_what_json_cannot_hold() -> None:
    values = {"a": np.float32(0.5), "b": np.arange(3), "c": float("nan"), "d": (np.inf, None, True), 5: Path("x")}
    assert _plain(values) == {"a": 0.5, "b": [0, 1, 2], "c": None, "d": [None, None, True], "5": "x"}


# ------------------------------------------------------------------------------------------------------------- commands


def test_open_says_what_the_model_is(open_worker: Asking) -> None:
    reply = open_worker.ask("open", bundle=None, device="cpu")
    about = reply["bundle"]
    keys = ("name", "sha256", "simulated", "licence", "card", "grid", "reference", "resolution", "training")
    assert set(about) >= {*keys, "covariates", "regions"}
    assert about["regions"] == list(REGIONS)
    assert reply["device"] == "cpu"
    assert reply["device_reason"].endswith(".")


def test_devices(open_worker: Asking) -> None:
    reply = open_worker.ask("devices")
    assert reply["devices"][-1]["name"] == "cpu"
    assert set(reply["devices"][-1]) == {"name", "title", "usable", "reason", "memory_free", "memory_total"}
    assert reply["auto"] in [device["name"] for device in reply["devices"]]
    assert reply["auto_reason"]


def test_prepare_answers_and_keeps(worker: Asking) -> None:
    reply = worker.ask("prepare", voxels="/not/read.npy", affine=np.eye(4).tolist(), prepared=True, key="small")
    assert reply["kept"] is True
    assert reply["verdict"]["status"] in ("good", "doubtful")
    assert np.allclose(reply["to_template"], np.eye(4))
    grid = worker.ask("open", device="cpu")["bundle"]["grid"]
    assert np.allclose(reply["grid_affine"], grid["affine"])
    assert reply["mri_bits"] > 0
    assert reply["mri_bits_trained"] > 0
    assert Path(reply["picture"]).read_bytes()[1:4] == b"PNG"


def test_sample_and_one(worker: Asking) -> None:
    reply = worker.ask("sample", age=70, sex="F", temperature=1, samples=2, seed=3, below=1.0)
    mean, sd, below = (worker.array(reply[name]) for name in ("mean", "sd", "below"))
    assert mean.shape == sd.shape == below.shape == worker.shape
    assert mean.dtype == np.float32
    assert 0.5 < mean[mean > 0].mean() < 2
    assert set(np.unique(np.round(below[below > 0.98]))) == {1}
    assert reply["provenance"]["Synthetic"] is True
    assert reply["device"] == "cpu"
    worker.array(reply["grid_mean"])
    samples = [worker.ask("one", index=index, age=70, sex="F", temperature=1, seed=3) for index in (0, 1)]
    # Each is cut to its own range, so that their mean is the mean's but for little.
    off = np.abs(np.mean([worker.array(one["sample"]) for one in samples], axis=0) - mean)
    assert off.max() < 0.1
    assert off.mean() < 1e-3
    for row, *ones in zip(reply["regions"], *(one["regions"] for one in samples), strict=True):
        assert row["mean"] == pytest.approx(np.mean([one["mean"] for one in ones]), abs=1e-5)
    alone = worker.ask("sample", age=70)
    assert alone["sd"] is alone["below"] is alone["regions"][0]["low"] is None


def test_keyframes_are_the_samples_means(worker: Asking) -> None:
    asked = {"ages": [60, 80], "temperatures": [1], "samples": 2, "seed": 4}
    frames = []
    for _ in range(2):
        number = worker.send("keyframes", **asked)
        heard = worker.until(lambda event, number=number: event["id"] == number and event["event"] in ENDS)
        assert heard[-1]["event"] == "done"
        made = [event for event in heard if event["event"] == "keyframe"]
        assert [(event["age"], event["temperature"]) for event in made] == [(60, 1), (80, 1)]
        frames.append([worker.array(event["values"]) for event in made])
    assert np.array_equal(frames[0], frames[1])
    reply = worker.ask("sample", age=80, temperature=1, samples=2, seed=4)
    assert np.array_equal(worker.array(reply["grid_mean"]), frames[0][1])


def test_sweep(worker: Asking) -> None:
    number = worker.send("sweep", ages=[60, 90])
    heard = worker.until(lambda event: event["event"] in ENDS)
    assert {event["id"] for event in heard} == {number}
    assert heard[-1]["event"] == "done"
    steps = [event for event in heard if event["event"] == "step"]
    assert [step["age"] for step in steps] == [60, 90]
    means = [worker.array(step["mean"]) for step in steps]
    assert means[0].sum() > means[1].sum()
    assert steps[0]["provenance"]["Age"] == 60
    fractions = [event["fraction"] for event in heard if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert Path(heard[-1]["montage"]).read_bytes()[1:4] == b"PNG"


def test_compare(worker: Asking) -> None:
    reply = worker.ask("one", index=0, age=70, temperature=1, seed=99)
    pet, (_, affine) = worker.array(reply["sample"]), small_t1()
    path = worker.save("pet", 7 * pet)
    reply = worker.ask("compare", voxels=path, affine=affine, source="PET", age=70, samples=2, registered=True)
    assert reply["event"] == "done"
    found = {name: worker.array(reply[name]) for name in ("pet", "difference", "z")}
    assert all(array.shape == worker.shape for array in found.values())
    assert found["pet"][pet > 0.5].mean() == pytest.approx(pet[pet > 0.5].mean(), rel=0.1)
    assert set(reply["metrics"]) == {"mae", "psnr", "ssim", "correlation"}
    assert set(reply["regions"][0]) >= {"region", "real", "mean", "low", "high", "z"}
    assert np.shape(reply["transform"]) == (4, 4)
    assert 0 < reply["percentile"] < 100
    assert Path(path).exists(), "what the worker was given is not its own"


# --------------------------------------------------------------------------------------------------- order and stopping


def working(number: int) -> Callable[[dict], bool]:
    return lambda event: event["id"] == number and event["event"] == "progress" and (event["fraction"] or 0) > 0


def test_cancel_in_the_middle_of_a_sample(worker: Asking) -> None:
    before = set(worker.folder.iterdir())
    number = worker.send("sample", age=70, temperature=1, samples=250)
    worker.until(working(number))
    worker.send("cancel", cancel=number)
    heard = worker.until(lambda event: event["event"] in ENDS)
    assert (heard[-1]["id"], heard[-1]["event"]) == (number, "cancelled")
    assert all(event["fraction"] < 0.9 for event in heard[:-1])
    assert set(worker.folder.iterdir()) == before
    assert worker.ask("sample", age=70)["event"] == "done"


def test_cancel_of_what_waits_is_answered_at_once(worker: Asking) -> None:
    first = worker.send("sample", age=70, temperature=1, samples=250)
    second, third = worker.send("sample", age=71), worker.send("sample", age=72)
    worker.until(working(first))
    worker.send("cancel", cancel=second)
    worker.send("cancel", cancel=12345)  # there is none: no answer
    heard = worker.until(lambda event: event["event"] in ENDS)
    assert (heard[-1]["id"], heard[-1]["event"]) == (second, "cancelled")
    worker.send("cancel", cancel=first)
    ends = [worker.until(lambda event: event["event"] in ENDS)[-1] for _ in range(2)]
    assert [(end["id"], end["event"]) for end in ends] == [(first, "cancelled"), (third, "done")]


def test_newer_request_does_not_wait_for_keyframes(worker: Asking) -> None:
    running = worker.send("keyframes", ages=list(range(41, 100)), temperatures=[1], samples=16)
    worker.until(working(running))
    assert worker.send("devices")
    newer = worker.send("sample", age=70)
    ends = {}
    while newer not in ends:
        event = worker.until(lambda event: event["event"] in ENDS)[-1]
        ends[event["id"]] = event["event"]
    assert list(ends.items()) == [(running, "cancelled"), (running + 1, "done"), (newer, "done")]


def test_cancel_in_the_middle_of_preparation(worker: Asking) -> None:
    """A whole preparation of the same image, with its mask; the patient is gone then."""
    data, affine = small_t1()
    path, mask = worker.save("head", 300 * data), worker.save("mask", data > 0)
    number = worker.send("prepare", voxels=path, affine=affine, mask=mask, key="head")
    worker.until(lambda event: event["id"] == number and event.get("stage") == "registration")
    worker.send("cancel", cancel=number)
    heard = worker.until(lambda event: event["event"] in ENDS)
    assert (heard[-1]["id"], heard[-1]["event"]) == (number, "cancelled")
    assert "encoding" not in [event.get("stage") for event in heard]
    reply = worker.ask("sample", age=70)
    assert reply["event"] == "refused"
    assert "prepare a T1 first" in reply["message"]


def test_wrong_mask_and_synthetic_array_are_refused(worker: Asking) -> None:
    data, affine = small_t1()
    path = worker.save("head", data)
    wrong = worker.save("mask", np.ones((3, 3, 3)))
    reply = worker.ask("prepare", voxels=path, affine=affine, mask=wrong)
    assert (reply["event"], "3×3×3" in reply["message"]) == ("refused", True)
    vector = worker.save("vector", np.zeros((4, 4)))
    reply = worker.ask("prepare", voxels=vector, affine=affine)
    assert (reply["event"], "no volume" in reply["message"]) == ("refused", True)
    reply = worker.ask("prepare", voxels=worker.save("many", np.zeros((9, 9, 9), complex)), affine=affine)
    assert reply["event"] == "refused"


def test_end_of_input_ends_the_process_at_once(tmp_path: Path) -> None:
    worker = Asking(tmp_path)
    worker.ask("open", device="cpu")
    data, affine = small_t1()
    worker.ask("prepare", voxels=worker.save("t1", data), affine=affine, prepared=True)
    number = worker.send("sample", age=70, temperature=1, samples=250)
    worker.until(working(number))
    worker.process.stdin.close()
    rest = worker.until(lambda event: event is None)[:-1]
    assert worker.process.wait(PATIENCE) == 0
    assert "done" not in [event["event"] for event in rest]
    worker.process.stdout.close()
    worker.log.close()


def test_wrong_use_of_the_command_line(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", START, LIBRARY, str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "a folder that exists" in ran.stderr
    assert ran.stdout == ""
