"""The worker: a real process, asked over its pipes. Nothing here depends on how fast it is."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

import DualGlowLib
from DualGlowLib import InputError
from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.intensity import normalise_t1
from DualGlowLib.provenance import Provenance
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.worker.requests import Commands
from DualGlowLib.worker.server import Worker, _number_in
from hand_client import HandClient
from places import LIBRARY

START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from DualGlowLib.worker.server import main; main(sys.argv[1:])"
)
PATIENCE = 240  # seconds: only a hang takes longer
ENDS = ("done", "refused", "cancelled", "failed")


class Asking:
    """A worker process, and what it has said."""

    def __init__(self, folder: Path, start: str = START, **environment: str) -> None:
        self.folder = folder
        self.log = (folder / "log.txt").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", start, str(LIBRARY), str(folder)],
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


def asking(**values) -> dict:
    """The keywords of a question, covariates given beside the rest."""
    covariates = {name: values.pop(name) for name in ("age", "sex", "diagnosis") if name in values}
    return {"question": {"covariates": covariates, **values}}


@functools.cache
def small_t1() -> tuple[np.ndarray, list]:
    """The template's T1 in voxels of 3.5 mm, prepared: white matter 1, 0 outside the brain."""
    t1 = load_template().t1
    affine = np.diag([3.5, 3.5, 3.5, 1.0])
    affine[:3, 3] = -84, -126, -77
    mask = resample(t1.data > 0, t1.affine, (49, 64, 48), affine) > 0.5
    return normalise_t1(resample(t1.data, t1.affine, (49, 64, 48), affine), mask), affine.tolist()


NOISE = """
import os, sys, threading, time
def say(asked=os.path.join(sys.argv[-1], "say")):
    while not os.path.exists(asked):
        time.sleep(0.05)
    print("from Python")
    os.write(1, b"from C\\n")
threading.Thread(target=say, daemon=True).start()
"""
"""To be run before ``START``: prints when there is a file "say" in the worker's folder."""


@pytest.fixture(scope="module")
def open_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    worker = Asking(tmp_path_factory.mktemp("worker"), NOISE + START)
    assert worker.next()["event"] == "hello"
    assert worker.ask("open", device="cpu")["event"] == "done"
    yield worker
    worker.close()
    assert worker.process.returncode == 0


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


def test_a_torch_that_is_broken_is_told(tmp_path: Path) -> None:
    """As under Windows, where a library that it needs is missing."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('[WinError 126] c10.dll')")
    worker = Asking(tmp_path, f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {START}")
    assert worker.next()["event"] == "hello"
    for _ in range(2):
        reply = worker.ask("open")
        assert (reply["event"], reply["message"]) == ("failed", "OSError: [WinError 126] c10.dll")
    worker.close()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such signal")
def test_a_terminals_interrupt_is_not_for_the_worker(open_worker: Asking) -> None:
    open_worker.process.send_signal(signal.SIGINT)
    assert open_worker.ask("nonsense")["event"] == "refused"
    assert open_worker.process.poll() is None


def test_standard_output_carries_the_protocol_alone(open_worker: Asking) -> None:
    """What Python and C print goes elsewhere, even while the worker serves: anything else would end its reader."""
    (open_worker.folder / "say").touch()
    while b"from C" not in (open_worker.folder / "log.txt").read_bytes():
        assert open_worker.ask("nonsense")["event"] == "refused"
    (open_worker.folder / "say").unlink()
    assert b"from Python" in (open_worker.folder / "log.txt").read_bytes()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense\n", "can't be understood"),
        (b"[1, 2]\n", "no object"),
        (b"{}\n", "no object"),
        (b'{"id": 70000}\n', "no object"),
        (b'{"id": 70000, "do": ["sample"]}\n', "no object"),
        (b"\xff\xfe{}\n", "can't be understood"),
        (b"\x00\n", "can't be understood"),
        (b'{"do": "sample"}\n', 'no number "id"'),
        (b'{"id": true, "do": "sample"}\n', 'no number "id"'),
        (b'{"id": 1.5, "do": "sample"}\n', 'no number "id"'),
        (b'{"id": NaN, "do": "sample"}\n', 'no number "id"'),
        (b'{"id": [1], "do": "sample"}\n', 'no number "id"'),
        (b'{"id": 1' + 9999 * b"0" + b', "do": "sample"}\n', 'no number "id"'),
        (b'{"id": 70000, "do": "cancel", "cancel": [1]}\n', 'no number "cancel"'),
        (b'{"id": 70000, "do": "cancel", "cancel": {}}\n', 'no number "cancel"'),
        (b'{"do": "cancel"}\n', 'no number "cancel"'),
        (b'{"id": 70000, "do": "open", "bundle": "\xff"}\n', "can't be understood"),
        (b'{"id": 70000, "do": ' + 100_000 * b"[" + b"\n", "nested too deeply"),
        (100_000 * b'{"a":' + b"\n", "nested too deeply"),
        (b'{"id": 70000, "do": "sample", "sex": "' + 3_000_000 * b"F" + b'"}\n', "longer than"),
        (2_000_000 * b"\x00" + b"\n", "longer than"),
    ],
    ids=itertools.count(),
)
def test_lines_that_are_no_requests(open_worker: Asking, line: bytes, words: str) -> None:
    """Each is refused, with its id where one can be read, and the next is answered."""
    worker = open_worker
    worker.write(b"\n" + line)
    reply = worker.next()
    assert (reply["id"], reply["event"]) == (70000 if b"70000" in line else None, "refused")
    assert words in reply["message"]
    assert worker.ask("devices")["event"] == "done"


def test_a_number_that_waits_is_not_taken_twice(worker: Asking) -> None:
    """Nor is the request that has it ended by the answer to the other."""
    first = worker.send("sample", **asking(age=70, temperature=1, samples=250))
    worker.until(working(first))
    second = worker.send("sample", **asking(age=71))
    for again in (first, second):
        for line in ({"id": again, "do": "devices"}, {"id": again}, {"id": again, "do": "cancel", "cancel": None}):
            worker.write(json.dumps(line).encode() + b"\n")
            refusal = worker.until(lambda event: event["event"] in ENDS)[-1]
            assert (refusal["id"], refusal["event"]) == (None, "refused")
    worker.send("cancel", cancel=first)
    ends = [worker.until(lambda event: event["event"] in ENDS)[-1] for _ in range(2)]
    assert [(end["id"], end["event"]) for end in ends] == [(first, "cancelled"), (second, "done")]
    assert worker.ask("devices")["event"] == "done"


@pytest.mark.parametrize(
    ("do", "values", "words"),
    [
        ("dance", {}, "no command 'dance'"),
        ("_scan_file", {}, "no command"),
        ("run", {}, "no command"),
        ("sample", {**asking(), "aeg": 70}, "unexpected keyword argument 'aeg'"),
        ("sample", {}, "missing a required argument: 'question'"),
        ("sample", {"question": [70]}, "question must be an object, not [70]"),
        ("sample", asking(aeg=70), "'aeg' is no setting; there are covariates"),
        (
            "sample",
            {"question": {"covariates": 70}},
            "covariates must be an object of a number or text by name, not 70",
        ),
        ("sample", {"question": {"covariates": {"education": 12}}}, "doesn't know education, but age, sex, diagnosis"),
        ("sample", asking(age="old"), "age must be a number, not 'old'"),
        ("sample", asking(age=400), "age 400 is outside the range"),
        ("sample", asking(samples=1.5), "samples must be a whole number, not 1.5"),
        ("sample", asking(temperature=[1, 1]), "2 temperatures"),
        ("sample", asking(temperature="hot"), "temperature must be a number or a list of numbers, not 'hot'"),
        ("keyframes", {**asking(), "ages": [], "temperatures": [0]}, "ages must be a list of numbers"),
        ("open", {"bundle": "/nowhere/at/all"}, "is no DualGlow model"),
        ("open", {"device": "cuda:77"}, "'cuda:77' can't be used"),
        ("compare", {**asking(), "voxels": "/nowhere.npy", "affine": np.eye(4).tolist()}, "nowhere.npy can't be read"),
        ("compare", {**asking(), "voxels": "/nowhere.npy", "affine": [[1, 2], [3, 4]]}, "affine"),
        ("compare", {**asking(), "voxels": "/nowhere.npy", "affine": (1000 * np.eye(4)).tolist()}, "affine"),
        (
            "compare",
            {**asking(), "voxels": "/nowhere.npy", "affine": np.diag([1000, 1, 1, 1]).tolist()},
            "1e+03×1×1 mm",
        ),
        ("compare", {**asking(), "voxels": "/dev/zero", "affine": np.eye(4).tolist()}, "can't be read"),
        ("compare", {**asking(), "voxels": "\0", "affine": np.eye(4).tolist()}, "can't be read"),
        ("open", {"bundle": 5000 * "x"}, "can't be read"),
        ("sample", asking(age=10**30), "covariates must be an object"),
        ("sample", asking(age=float("nan")), "covariates must be an object"),
        ("sample", asking(seed=10**400), "seed must be a whole number, not inf"),
        ("sample", asking(samples=10**12), "take 1 to 10000"),
        (
            "sample",
            asking(sex=functools.reduce(lambda inner, _: [inner], range(500), 1)),
            "covariates must be an object",
        ),
        ("sample", {**asking(), 100 * "x": 1}, "unexpected keyword argument"),
        (500 * "x", {}, "no command"),
        ("keyframes", {**asking(), "ages": 3000 * [70], "temperatures": 3000 * [0]}, "at most 1000"),
    ],
)
def test_refused_with_one_sentence_and_usable(worker: Asking, do: str, values: dict, words: str) -> None:
    reply = worker.ask(do, **values)
    assert (reply["event"], reply.get("traceback")) == ("refused", None)
    assert words in reply["message"]
    assert "\n" not in reply["message"]
    reply = worker.ask("keyframes", **asking(), ages=[70], temperatures=[0])  # made once for all of these
    assert reply["event"] == "done"


class Here(Worker):
    """A worker in two threads of this process, asked through a pipe."""

    def __init__(self, folder: Path) -> None:
        reading, writing = os.pipe()
        self.lines: queue.Queue = queue.Queue()
        super().__init__(folder, self)
        self.input = os.fdopen(writing, "wb", buffering=0)
        self.threads = [
            threading.Thread(target=self.read, args=(os.fdopen(reading, "rb"),), daemon=True),
            threading.Thread(target=self.work, daemon=True),
        ]
        for thread in self.threads:
            thread.start()
        self.number = 1_000_000

    def write(self, line: str) -> None:
        self.lines.put(json.loads(line))

    def flush(self) -> None:
        pass

    def answers(self, line: bytes = b"", do: str = "devices", **values: object) -> list[dict]:
        """All ends up to that of a request that is put after the line."""
        self.number += 1
        asked = json.dumps({"id": self.number, "do": do, **values}).encode()
        self.input.write(line + b"\n" + asked + b"\n")
        ends = []
        while not ends or ends[-1]["id"] != self.number:
            assert all(thread.is_alive() for thread in self.threads)
            event = self.lines.get(timeout=PATIENCE)
            ends += [event] if event["event"] in ENDS else []
        return ends


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    """One for the file: its threads wait for ever."""
    return Here(tmp_path_factory.mktemp("here"))


GOOD = [
    {"id": 1, "do": "devices"},
    {"id": 2, "do": "open", "bundle": "/nowhere", "device": "cpu"},
    {"id": 3, "do": "prepare", "voxels": "/nowhere.npy", "affine": np.eye(4).tolist(), "source": "T1", "mask": None},
    {"id": 4, "do": "sample", **asking(age=70.0, sex="F", temperature=1.0, samples=2, seed=3, below=1.0)},
    {"id": 5, "do": "sample", **asking(age=None, temperature=[1.0, 0.5], seed=3, first=1, antithetic=True)},
    {"id": 6, "do": "keyframes", "ages": [60, 70], "temperatures": [0, 1], **asking(diagnosis="AD", samples=2)},
    {"id": 7, "do": "sweep", "ages": [60, 70], **asking()},
    {"id": 8, "do": "compare", "voxels": "/nowhere.npy", "affine": np.eye(4).tolist(), "registered": True, **asking()},
    {"id": 9, "do": "cancel", "cancel": 4},
]
ODD = [
    None, True, 0, -1, 2, 1.5, 1e308, 10**25, float("nan"), float("-inf"), "", "x", "\0", "\ud800", "\u202e\n", [],
    [[]], [None], {}, {"do": "devices"}, [[[[1]]], 2], "devices", "__init__", 300 * "y", [1, "a", None],
]  # fmt: skip


def odd_line(random: Random) -> bytes:
    """A good request with something else at a place, cut, garbled, or no request at all."""
    kind = random.randrange(6)
    request = dict(random.choice(GOOD))
    if kind == 0:  # bytes
        return bytes(random.choices(range(256), k=random.randrange(1, 60))).replace(b"\n", b" ")
    if kind == 1:  # JSON
        return json.dumps(random.choice(ODD)).encode()
    for _ in range(random.randrange(1, 4)):
        key = random.choice([*request, "id", "do", "cancel", "self", "do2", ""])
        if random.random() < 0.2:
            request.pop(key, None)
        else:
            request[key] = random.choice(ODD)
    line = json.dumps(request).encode()
    if kind == 2:  # the middle is missing
        start, end = sorted(random.choices(range(len(line)), k=2))
        return line[:start] + line[end:]
    if kind == 3:  # some bytes are others
        garbled = bytearray(line)
        for _ in range(random.randrange(1, 5)):
            garbled[random.randrange(len(line))] = random.choice(b'\0\xff{}[]",:0e-')
        return bytes(garbled)
    return line


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_said_the_worker_answers(here: Here, seed: int) -> None:
    random = Random(seed)
    for _ in range(80):
        line = odd_line(random)
        *answers, _ = here.answers(line)
        try:
            read = json.loads(line.decode())
        except ValueError:
            read = {}
        cancel = isinstance(read, dict) and read.get("do") == "cancel" and read.get("cancel")
        heeded = type(cancel) is int and abs(cancel) < 1e18  # which has no answer of its own
        assert len(answers) == (0 if heeded or not line.strip() else 1), line
        for answer in answers:
            assert answer["event"] in ("done", "refused"), (line, answer)
            assert answer["event"] == "done" or "\n" not in answer["message"]
            assert answer["id"] in (None, isinstance(read, dict) and read.get("id"), _number_in(line))
            if answer["id"] is None and isinstance(read, dict):
                assert type(read.get("id")) is not int or abs(read["id"]) > 1e18


class Spoiled:
    """It can't even be named."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class NamelessError(Exception):
    __str__ = Spoiled.__str__


def endless() -> list:
    value: list = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        (SystemExit(3), "failed"),
        (KeyboardInterrupt(), "failed"),
        (GeneratorExit(), "failed"),
        (RecursionError("deep"), "failed"),
        (NamelessError(), "failed"),
        (MemoryError(), "refused"),
        (InputError("Two\nlines."), "refused"),
        (Spoiled(), "failed"),
        (endless(), "failed"),
        ({"a": {Spoiled(): 1}}, "failed"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_fault_of_a_command_ends_the_worker(
    here: Here, monkeypatch: pytest.MonkeyPatch, fault: object, event: str
) -> None:
    """It raises something, or answers what can't be told; what it wrote is deleted."""

    def devices(self) -> dict:
        np.save(self._path("lost", ".npy"), np.zeros(3))
        if isinstance(fault, BaseException):
            raise fault
        return {"fault": fault}

    here.answers()
    with monkeypatch.context() as patch:
        patch.setattr("DualGlowLib.worker.requests.Commands.devices", devices)
        (answer,) = here.answers()
    assert answer["event"] == event
    assert answer["message"] == "Two lines." or "\n" not in answer["message"]
    assert list(here.folder.iterdir()) == []
    assert here.answers()[-1]["event"] == "done"


# ------------------------------------------------------------------------------------------------------------- commands


def test_open_says_what_the_model_is(open_worker: Asking) -> None:
    reply = open_worker.ask("open", bundle=None, device="cpu")
    about = reply["bundle"]
    keys = ("name", "sha256", "simulated", "licence", "card", "grid", "reference", "resolution", "training")
    assert set(about) >= {*keys, "covariates", "regions"}
    assert about["regions"] == list(REGIONS)
    assert reply["device"] == "cpu"
    assert reply["device_reason"].endswith(".")


@pytest.mark.skipif(os.name != "posix", reason="needs nice")
def test_a_worker_that_inherits_a_low_priority_takes_the_usual_one_or_says_so(tmp_path: Path) -> None:
    lower = f"import os; os.nice(19 - os.nice(0)); {START}"
    worker = Asking(tmp_path, lower)
    reply = worker.ask("open", device="cpu")
    nice = os.getpriority(os.PRIO_PROCESS, worker.process.pid)
    assert nice == 0 or f"nice {nice}" in reply["device_reason"]
    assert ("nice" in reply["device_reason"]) == (nice > 0)
    worker.close()


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
    assert Path(reply["picture"]).read_bytes()[1:4] == b"PNG"


def test_samples_and_one_of_them(worker: Asking) -> None:
    reply = worker.ask("sample", **asking(age=70, sex="F", temperature=1, samples=2, seed=3, below=1.0))
    mean, sd, below = (worker.array(reply[name]) for name in ("mean", "sd", "below"))
    assert mean.shape == sd.shape == below.shape == worker.shape
    assert mean.dtype == np.float32
    assert 0.5 < mean[mean > 0].mean() < 2
    assert set(np.unique(np.round(below[below > 0.98]))) == {1}
    assert reply["provenance"]["Synthetic"] is True
    assert reply["device"] == "cpu"
    samples = [worker.ask("sample", **asking(first=index, age=70, sex="F", temperature=1, seed=3)) for index in (0, 1)]
    # Each is cut to its own range, so that their mean is the mean's but for little.
    off = np.abs(np.mean([worker.array(one["mean"]) for one in samples], axis=0) - mean)
    assert off.max() < 0.1
    assert off.mean() < 1e-3
    for row, *ones in zip(reply["regions"], *(one["regions"] for one in samples), strict=True):
        assert row["mean"] == pytest.approx(np.mean([one["mean"] for one in ones]), abs=1e-5)
    alone = worker.ask("sample", **asking(age=70))
    assert alone["sd"] is alone["below"] is alone["regions"][0]["low"] is None


def test_keyframes_are_the_samples_means(worker: Asking) -> None:
    asked = {"ages": [60, 80], "temperatures": [1], **asking(samples=2, seed=4)}
    frames = []
    for _ in range(2):
        number = worker.send("keyframes", **asked)
        heard = worker.until(lambda event, number=number: event["id"] == number and event["event"] in ENDS)
        assert heard[-1]["event"] == "done"
        made = [event for event in heard if event["event"] == "keyframe"]
        assert [(event["age"], event["temperature"]) for event in made] == [(60, 1), (80, 1)]
        frames.append([worker.array(event["values"]) for event in made])
    assert np.array_equal(frames[0], frames[1])
    mean = worker.array(worker.ask("sample", **asking(age=80, temperature=1, samples=2, seed=4))["mean"])
    assert mean[mean > 0].mean() == pytest.approx(frames[0][1][frames[0][1] > 0.3].mean(), rel=0.1)


def test_sweep(worker: Asking) -> None:
    number = worker.send("sweep", **asking(), ages=[60, 90])
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
    picture = np.load(heard[-1]["montage"])
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)


def test_compare(worker: Asking) -> None:
    reply = worker.ask("sample", **asking(age=70, temperature=1, seed=99))
    pet, (_, affine) = worker.array(reply["mean"]), small_t1()
    path = worker.save("pet", 7 * pet)
    reply = worker.ask(
        "compare", voxels=path, affine=affine, source="PET", registered=True, **asking(age=70, samples=2)
    )
    assert reply["event"] == "done"
    found = {name: worker.array(reply[name]) for name in ("pet", "difference", "z")}
    assert all(array.shape == worker.shape for array in found.values())
    assert found["pet"][pet > 0.5].mean() == pytest.approx(pet[pet > 0.5].mean(), rel=0.1)
    assert set(reply["metrics"]) == {"psnr", "ssim", "mae", "rmse", "nmse", "correlation"}
    assert set(reply["regions"][0]) >= {"region", "real", "mean", "low", "high", "z"}
    assert np.shape(reply["transform"]) == (4, 4)
    assert 0 < reply["percentile"] < 100
    assert Path(path).exists(), "what the worker was given is not its own"


ABOUT = {
    "Synthetic", "Description", "Units", "ReferenceRegion", "TrainedOnSimulatedPET", "Age", "Sex", "Diagnosis",
    "Covariates", "WithinTrainingRange", "Temperature", "Samples", "Antithetic", "Seed", "Bundle", "BundleSHA256",
    "Source", "SourceVoxelsSHA256", "ToTemplate", "Quality", "Verdict", "DualGlowVersion", "TorchVersion", "Device",
}  # fmt: skip


def test_every_image_comes_with_what_went_into_it(worker: Asking) -> None:
    data, affine = small_t1()
    noise = {"samples": 2, "seed": 5, "sex": "F", "diagnosis": "AD"}
    asked = {
        "sample": asking(age=70, temperature=0.5, below=1.25, **noise),
        "one": asking(age=70, temperature=0.5, first=3, **{**noise, "samples": 1}),
        "keyframes": {"ages": [60, 70], "temperatures": [0, 0.5], **asking(**noise)},
        "sweep": {"ages": [60, 70], **asking(temperature=0.5, **noise)},
    }
    told: dict[str, list[dict]] = {}
    for do, values in asked.items():
        number = worker.send("sample" if do == "one" else do, **values)
        heard = worker.until(lambda event, number=number: event["id"] == number and event["event"] in ENDS)
        told[do] = [event for event in heard if event["event"] in ("done", "keyframe", "step") and len(event) > 2]
    pet = worker.array(told["one"][0]["mean"])
    path = worker.save("pet", pet)
    told["compare"] = [
        worker.ask(
            "compare", voxels=path, affine=affine, source="real.nii.gz", registered=True, **asking(age=70, **noise)
        )
    ]
    found = {do: [event["provenance"] for event in events] for do, events in told.items()}
    for do, abouts in found.items():
        assert all(set(about) >= ABOUT for about in abouts), do
        assert all(set(about) <= Provenance.__annotations__.keys() for about in abouts), do
        assert {about["Seed"] for about in abouts} == {5}
        assert {(about["Sex"], about["Diagnosis"]) for about in abouts} == {("F", "AD")}
        assert {about["SourceVoxelsSHA256"] for about in abouts} == {hashlib.sha256(data).hexdigest()}

    def drawn(do: str) -> list[tuple]:
        return [(about["Age"], about["Temperature"], about["Samples"]) for about in found[do]]

    assert drawn("sample") == [(70, 0.5, 2)]
    assert drawn("one") == [(70, 0.5, 1)]
    assert found["one"][0]["FirstSample"] == 3
    assert drawn("keyframes") == [(60, 0, 1), (70, 0, 1), (60, 0.5, 2), (70, 0.5, 2)]
    assert drawn("sweep") == [(60, 0.5, 2), (70, 0.5, 2), ([60, 70], 0.5, 2)]
    assert drawn("compare") == [(70, 1, 2)]  # whatever the slider says, a z-map is that of the model's law
    (about,), (reply,) = found["compare"], told["compare"]
    assert about["RealPet"] == "real.nii.gz"
    assert about["RealPetVoxelsSHA256"] == hashlib.sha256(np.ascontiguousarray(pet)).hexdigest()
    assert about["RealPetToT1"] == reply["transform"]
    assert about["RealPetVerdict"] == reply["verdict"]
    assert about["RealPetQuality"]["notes"] == reply["notes"]
    assert about["RealPetReferenceValue"] == pytest.approx(0.95, abs=0.1)  # it is in SUVR already
    assert about["RealPetResolution"] is None


FREE = ("Quality", "RealPetQuality", "quality", "training")  # what these hold depends on the way


def keys(value: object) -> object:
    """The keys that it has, and those of what these hold."""
    if isinstance(value, list):
        return [keys(part) for part in value[:1]] if value and isinstance(value[0], dict) else None
    if not isinstance(value, dict):
        return None
    return {key: None if key in FREE else keys(part) for key, part in value.items() if key != "id"}


def test_the_worker_that_tests_play_by_hand_answers_with_the_same_keys(worker: Asking) -> None:
    data, affine = small_t1()
    pet = {"voxels": worker.ask("sample", **asking(age=70, temperature=1))["mean"], "affine": affine, "source": "PET"}
    many = asking(age=70.0, temperature=1, samples=2, below=1.0)
    hand = HandClient()
    asked = [
        ("devices", {}, hand.answer_devices),
        ("open", {"bundle": None, "device": "cpu"}, hand.answer_readying),
        ("prepare", {"voxels": worker.save("t1", data), "affine": affine, "prepared": True}, hand.answer_readying),
        ("sample", many, lambda: hand.answer_sample((2, 2, 2))),
        ("sample", asking(sex="F"), lambda: hand.answer_sample((2, 2, 2))),
        ("sample", asking(age=70.0, temperature=1, first=2), lambda: hand.answer_sample((2, 2, 2))),
        ("keyframes", {"ages": [60], "temperatures": [0], **asking()}, hand.answer_frames),
        ("sweep", {"ages": [60], **many}, lambda: hand.answer_sweep((2, 2, 2))),
        ("change", {"since": 60, **many}, lambda: hand.answer_change((2, 2, 2))),
        ("compare", {**pet, "registered": True, **many}, lambda: hand.answer_compare((2, 2, 2))),
    ]
    assert {do for do, _, _ in asked} == {name for name in vars(Commands) if not name.startswith("_")} - {"run"}
    for do, values, answer in asked:
        number, played = worker.send(do, **values), []
        heard = worker.until(lambda event, number=number: event["id"] == number and event["event"] in ENDS)
        hand.request(do, onDone=played.append, onEvent=played.append, **values)
        answer()
        heard = [event for event in heard if event["event"] not in ("progress", "notice")]
        assert [event["event"] for event in played] == [event["event"] for event in heard], heard
        assert [keys(event) for event in played] == [keys(event) for event in heard], do


# --------------------------------------------------------------------------------------------------- order and stopping


def working(number: int) -> Callable[[dict], bool]:
    return lambda event: event["id"] == number and event["event"] == "progress" and (event["fraction"] or 0) > 0


def test_cancel_in_the_middle_of_a_sample(worker: Asking) -> None:
    before = set(worker.folder.iterdir())
    number = worker.send("sample", **asking(age=70, temperature=1, samples=250))
    worker.until(working(number))
    worker.send("cancel", cancel=number)
    heard = worker.until(lambda event: event["event"] in ENDS)
    assert (heard[-1]["id"], heard[-1]["event"]) == (number, "cancelled")
    assert all(event["fraction"] < 0.9 for event in heard[:-1])
    assert set(worker.folder.iterdir()) == before
    assert worker.ask("sample", **asking(age=70))["event"] == "done"


def test_cancel_of_what_waits_is_answered_at_once(worker: Asking) -> None:
    first = worker.send("sample", **asking(age=70, temperature=1, samples=250))
    second, third = worker.send("sample", **asking(age=71)), worker.send("sample", **asking(age=72))
    worker.until(working(first))
    worker.send("cancel", cancel=second)
    worker.send("cancel", cancel=12345)  # there is none: no answer
    heard = worker.until(lambda event: event["event"] in ENDS)
    assert (heard[-1]["id"], heard[-1]["event"]) == (second, "cancelled")
    worker.send("cancel", cancel=first)
    ends = [worker.until(lambda event: event["event"] in ENDS)[-1] for _ in range(2)]
    assert [(end["id"], end["event"]) for end in ends] == [(first, "cancelled"), (third, "done")]


def test_newer_request_does_not_wait_for_keyframes(worker: Asking) -> None:
    running = worker.send("keyframes", ages=list(range(41, 100)), temperatures=[1], **asking(samples=16))
    worker.until(working(running))
    assert worker.send("devices")
    newer = worker.send("sample", **asking(age=70))
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
    reply = worker.ask("sample", **asking(age=70))
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


@pytest.mark.parametrize("spoil", [lambda data: data[:0], lambda data: 1e38 * data], ids=["empty", "huge"])
def test_arrays_that_no_scanner_writes_are_refused(worker: Asking, spoil: Callable) -> None:
    data, affine = small_t1()
    path = worker.save("odd", spoil(data))
    for do in ("prepare", "compare"):
        assert worker.ask(do, voxels=path, affine=affine)["event"] == "refused"


def test_files_that_are_no_arrays_are_refused(worker: Asking) -> None:
    affine, path = np.eye(4).tolist(), worker.folder / "odd.npy"
    whole = Path(worker.save("whole", np.ones((9, 9, 9)))).read_bytes()
    for content in (b"", b"text", whole[:999], whole[:20] + b"((" + whole[22:], b"PK\3\4zip", 2 * whole[:128]):
        path.write_bytes(content)
        reply = worker.ask("prepare", voxels=str(path), affine=affine)
        assert (reply["event"], "can't be read" in reply["message"]) == ("refused", True), content[:40]
    if hasattr(os, "mkfifo"):
        path.unlink()
        os.mkfifo(path)
        assert worker.ask("prepare", voxels=str(path), affine=affine)["event"] == "refused"


# ---------------------------------------------------------------------------------------------------------- its folder


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that was made for one worker, whose maker is a process that is no more."""
    make = "import sys; sys.path.insert(0, sys.argv[1]); from DualGlowLib.worker.exchange import Exchange; "
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", f"{make}print(Exchange.make().path)", str(LIBRARY)],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


@pytest.mark.parametrize("end", ["quit", "its input's end", "nobody listens"])
def test_a_folder_that_was_made_for_it_goes_with_the_worker(exchange: Path, end: str) -> None:
    (exchange / "in-0.npy").touch()
    with subprocess.Popen(
        [sys.executable, "-u", "-c", START, str(LIBRARY), str(exchange)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert json.loads(process.stdout.readline())["event"] == "hello"
        if end == "nobody listens":
            process.stdout.close()
        if end != "its input's end":
            process.stdin.write(b'{"do": "quit"}\n' if end == "quit" else b"nonsense\n")
            process.stdin.flush()
        else:
            process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert not exchange.exists()


def test_end_of_input_ends_the_process_at_once_and_its_folder_though_it_writes(exchange: Path) -> None:
    worker = Asking(exchange)
    worker.ask("open", device="cpu")
    data, affine = small_t1()
    worker.ask("prepare", voxels=worker.save("t1", data), affine=affine, prepared=True)
    number = worker.send("keyframes", ages=list(range(41, 100)), temperatures=[0], **asking())
    worker.until(lambda event: event["id"] == number and event["event"] == "keyframe")
    worker.process.stdin.close()
    rest = worker.until(lambda event: event is None)[:-1]
    assert worker.process.wait(PATIENCE) == 0
    assert "done" not in [event["event"] for event in rest]
    assert not exchange.exists()
    worker.process.stdout.close()
    worker.log.close()


def test_a_folder_of_somebody_elses_stays(tmp_path: Path) -> None:
    worker = Asking(tmp_path)
    worker.save("scan", np.zeros((3, 3, 3)))
    assert worker.next()["event"] == "hello"
    worker.close()
    assert {path.name for path in tmp_path.iterdir()} == {"scan.npy", "log.txt"}


def test_wrong_use_of_the_command_line(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", START, str(LIBRARY), str(tmp_path / "none")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "a folder that exists" in ran.stderr
    assert ran.stdout == ""
