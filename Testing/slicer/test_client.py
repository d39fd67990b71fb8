"""The worker from inside Slicer: a real process that answers, refuses, dies, hangs and is cancelled."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from loaded import host  # noqa: F401  makes qt and slicer importable
from places import LIBRARY, SUPPORT

from DualGlowSlicerLib import client as clients  # isort: skip

PROGRAM = """
import json, os, sys, time
import numpy as np
out = lambda **message: print(json.dumps(message), flush=True)
out(event="hello", pid=os.getpid(), version="0")
waiting = []
for line in sys.stdin:
    asked = json.loads(line)
    number, do = asked["id"], asked["do"]
    if do == "double":
        path = os.path.join(sys.argv[1], f"out-{number}.npy")
        np.save(path, np.asfortranarray(2 * np.load(asked["path"])))
        print("not for the window", flush=True)
        out(id=number, event="progress", stage="halfway", fraction=0.5)
        out(id=number, event="done", path=path)
    elif do == "refuse":
        out(id=number, event="refused", message="No such thing.")
    elif do == "die":
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    elif do == "wait":
        waiting.append(number)
    elif do == "hang":
        time.sleep(600)
    elif do == "cancel" and asked["cancel"] in waiting:
        out(id=asked["cancel"], event="cancelled")
    elif do == "apply":  # as the real one: arrays, and a picture that may be looked at later
        voxels = np.load(asked["voxels"])
        made = {name: os.path.join(sys.argv[1], f"{name}-{number}.npy") for name in ("mean", "sd")}
        for path in made.values():
            np.save(path, voxels)
        picture = os.path.join(sys.argv[1], f"picture-{number}.png")
        open(picture, "wb").write(bytes(1000))
        if asked.get("stop"):
            np.save(os.path.join(sys.argv[1], f"unnamed-{number}.npy"), voxels)
            out(id=number, event="step", mean=made["mean"])
            os.remove(made["sd"])
            os.remove(picture)
            waiting.append(number)
        else:
            out(id=number, event="done", picture=picture, **made)
    elif do == "lose":  # names an array that nobody can read
        path = os.path.join(sys.argv[1], f"lost-{number}.npy")
        if asked["how"] == "damaged":
            open(path, "wb").write(b"no array")
        waiting.append(number)
        out(id=number, event=asked["event"], path=path)
    elif do == "odd":
        print('{"id": [1], "event": "done"}', flush=True)
        print('{"id": %d}' % number, flush=True)
        print("[" * 100000, flush=True)
        sys.stdout.buffer.write(bytes([255, 10]))
        out(id=number, event="done")
"""


@pytest.fixture
def client(tmp_path: Path):
    program = tmp_path / "worker.py"
    program.write_text(PROGRAM)
    made = clients.WorkerClient(lambda folder: [sys.executable, "-u", str(program), str(folder)])
    yield made
    made.close()


def until(client, condition, seconds: float = 60) -> None:
    """The timer would poll; without an event loop the test does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "no answer"
        client.poll()
        time.sleep(0.005)


def hear(client, do: str, **arguments) -> tuple[list, int]:
    """Ask; what is heard comes into the list."""
    heard: list = []
    number = client.request(
        do,
        onDone=lambda reply: heard.append(("done", reply)),
        onEvent=lambda message: heard.append((message["event"], message)),
        onRefused=lambda text: heard.append(("refused", text)),
        onFailed=lambda text: heard.append(("failed", text)),
        onCancelled=lambda: heard.append(("cancelled", None)),
        **arguments,
    )
    return heard, number


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def files(client) -> set[str]:
    """What lies in the client's folder of what comes and goes."""
    return {path.name for path in client.folder.iterdir()} - {"worker.log", "client.lock", "worker.lock"}


def test_arrays_and_answers_come_in_order(client) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    first, _ = hear(client, "double", path=client.save(array))
    second, _ = hear(client, "refuse")
    until(client, lambda: second)
    assert [event for event, _ in first] == ["progress", "done"]
    assert second == [("refused", "No such thing.")]
    path = first[1][1]["path"]
    assert np.array_equal(client.load(path), 2 * array)
    assert not Path(path).exists()
    assert client.load(None) is None
    assert not client.isBusy


def test_nothing_is_started_before_it_is_asked(client) -> None:
    assert not client.isRunning
    assert client.starts == 0


def test_a_dead_process_is_told_with_its_last_words_and_started_again(client) -> None:
    first, _ = hear(client, "die")
    second, _ = hear(client, "wait")
    until(client, lambda: first and second)
    assert [first[0][0], second[0][0]] == ["failed", "failed"]
    assert "out of luck" in first[0][1]
    again, _ = hear(client, "refuse")
    until(client, lambda: again)
    assert again == [("refused", "No such thing.")]
    assert client.starts == 2


def test_a_program_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    missing = clients.WorkerClient(lambda folder: [str(tmp_path / "nothing")])
    heard, _ = hear(missing, "wait")
    until(missing, lambda: heard)
    assert heard[0][0] == "failed"
    missing.close()


def test_cancel_is_heeded_and_the_process_stays(client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "GRACE_SECONDS", 60.0)
    heard, number = hear(client, "wait")
    other, _ = hear(client, "wait")
    client.cancel(number)
    until(client, lambda: heard)
    assert heard == [("cancelled", None)]
    assert other == []
    assert client.starts == 1
    assert client.isRunning


def test_a_process_that_does_not_heed_is_killed(client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "GRACE_SECONDS", 0.2)
    ready, _ = hear(client, "refuse")
    until(client, lambda: ready)
    pid = client._process.pid
    heard, number = hear(client, "hang")
    client.cancel(number)
    until(client, lambda: heard)
    assert heard == [("cancelled", None)]
    assert not client.isRunning
    assert not alive(pid)
    again, _ = hear(client, "refuse")
    until(client, lambda: again)
    assert client.starts == 2


def test_forgotten_requests_say_nothing(client) -> None:
    heard, _ = hear(client, "wait")
    client.forget()
    until(client, lambda: not client.isBusy)
    assert heard == []


@pytest.mark.skipif(os.name != "posix", reason="needs sessions")
def test_the_process_has_a_session_of_its_own(client) -> None:
    """Where Linux shares processors out among sessions, the low priority that it has of Slicer counts there alone."""
    ready, _ = hear(client, "refuse")
    until(client, lambda: ready)
    assert os.getsid(client._process.popen.pid) == client._process.popen.pid != os.getsid(0)


def test_closing_leaves_no_process_and_no_file(client) -> None:
    ready, _ = hear(client, "refuse")
    until(client, lambda: ready)
    pid, folder = client._process.pid, client.folder
    hear(client, "hang")
    client.close()
    assert not alive(pid)
    assert not folder.exists()


# --------------------------------------------------------------------------------------------------- files come and go


def test_fifty_applies_leave_the_folder_as_small_as_one(client) -> None:
    """All that is there between two of them is the last picture, which the window shows when it is asked to."""
    for number in range(50):
        voxels = np.full((20, 20, 20), number, np.float32)
        paths = client.save(voxels), client.save(voxels > 0)
        heard, _ = hear(client, "apply", voxels=paths[0], mask=paths[1])
        assert len(files(client)) <= 6
        until(client, lambda heard=heard: heard)
        reply = heard[0][1]
        assert files(client) == {Path(reply["picture"]).name}
        assert client.load(reply["mean"])[0, 0, 0] == number
    assert sum(path.stat().st_size for path in client.folder.iterdir()) < 5000


@pytest.mark.parametrize("end", ["refused", "cancelled", "died", "forgotten", "killed"])
def test_whatever_the_end_no_array_stays(client, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    path = client.save(np.zeros((9, 9, 9)))
    if end == "refused":
        heard, _ = hear(client, "refuse", voxels=path)
    elif end == "died":
        heard, _ = hear(client, "die", voxels=path)
    else:
        heard, number = hear(client, "apply", voxels=path, stop=end != "forgotten")
        if end != "forgotten":
            until(client, lambda: heard)
            assert [event for event, _ in heard] == ["step"]
            assert Path(path).exists(), "it may still be read"
    folder = client.folder
    if end == "forgotten":
        client.forget()
    elif end == "cancelled":
        os.remove(next(folder.glob("unnamed-*")))  # the worker's part
        client.cancel(number)
    elif end == "killed":
        monkeypatch.setattr(clients, "GRACE_SECONDS", 0.0)
        client._requests[number].process.popen.stdin.write(b'{"id": 0, "do": "hang"}\n')
        client.cancel(number)
    until(client, lambda: not client.isBusy)
    if end in ("died", "killed"):
        assert not folder.exists()
        assert client.folder != folder
    assert files(client) == set()


def test_what_was_saved_for_nothing_goes_with_the_next_request(client) -> None:
    client.save(np.zeros(3))
    path = client.save(np.zeros(3))
    heard, _ = hear(client, "wait", voxels=path)
    assert files(client) == {Path(path).name}
    assert heard == []


def test_arrays_may_be_saved_for_a_process_that_dies(client) -> None:
    first, _ = hear(client, "die")
    process = client._process.popen
    path = client.save(np.zeros((3, 3, 3)))
    process.wait()
    second, _ = hear(client, "apply", voxels=path)
    until(client, lambda: first and second)
    assert [first[0][0], second[0][0]] == ["failed", "failed"]
    path = client.save(np.zeros((3, 3, 3)))
    third, _ = hear(client, "apply", voxels=path)
    until(client, lambda: third)
    assert third[0][0] == "done"
    assert client.starts == 2


def test_requests_to_a_process_that_died_unseen_are_answered_too(client) -> None:
    first, _ = hear(client, "die")
    client._process.popen.wait()
    second, _ = hear(client, "refuse")  # starts another
    until(client, lambda: first and second)
    assert first[0][0] == "failed"
    assert second == [("refused", "No such thing.")]
    assert not client.isBusy


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_an_array_that_cannot_be_read_fails_its_request(client, how: str) -> None:
    """With a sentence; nobody is handed a message whose arrays there are not."""
    for event in ("done", "step"):
        heard, _ = hear(client, "lose", event=event, how=how)
        until(client, lambda heard=heard: heard)
        assert [told for told, _ in heard] == ["failed"]
        assert re.fullmatch(r"The result .*lost-\d+\.npy can't be read \(.+\); try again\.", heard[0][1])
        assert "\n" not in heard[0][1]
        assert files(client) == set()
    assert not client.isBusy
    assert client.starts == 1


def test_no_room_is_told_in_one_sentence(client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __array__(self, *_options, **_more) -> np.ndarray:
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"can't be written into .*DualGlow-.*No space left on device"):
        client.save(Full())
    assert files(client) == set()
    client.close()
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(InputError, match="No folder can be made in /nowhere"):
        client.request("wait")


def test_odd_lines_of_a_worker_do_no_harm(client) -> None:
    heard, _ = hear(client, "odd")
    until(client, lambda: [event for event, _ in heard if event == "done"])
    assert client.starts == 1


def test_a_file_of_the_users_that_a_message_names_stays(client, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros(3))
    process, message = clients._Process(clients.Exchange(client.folder, None)), {"x": str(tmp_path / "mine.npy")}
    assert clients._taken(process, message) == ({}, "")
    assert (tmp_path / "mine.npy").exists()


# ------------------------------------------------------------------------------------------------ killed without a word


WINDOW = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import host
host.start()
import numpy as np
from DualGlowSlicerLib.client import WorkerClient
client = WorkerClient()
client.request("nonsense", voxels=client.save(np.zeros((50, 50, 50))))
client.save(np.zeros((50, 50, 50)))
while client._process.pid is None:
    client.poll()
print(client.folder, client._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process as Slicer's, with a client and its real worker: the process, the folder, the worker's number."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", WINDOW, str(SUPPORT), str(LIBRARY)],
        stdout=subprocess.PIPE,
        text=True,
    )
    folder, pid = process.stdout.readline().rsplit(" ", 1)
    yield process, Path(folder), int(pid)
    process.kill()
    process.wait()
    process.stdout.close()


def gone(what, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while what() and time.monotonic() < end:
        time.sleep(0.01)
    return not what()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no SIGKILL")
def test_a_window_that_is_killed_leaves_no_process_and_no_voxels(window) -> None:
    process, folder, pid = window
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.glob("in-*.npy"))
    process.kill()
    assert gone(lambda: alive(pid))
    assert not folder.exists()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no SIGKILL")
def test_what_both_left_when_they_were_killed_goes_with_the_next_client(window) -> None:
    process, folder, pid = window
    os.kill(pid, signal.SIGSTOP)  # it can't clean up
    neighbour = clients.WorkerClient()
    neighbours = Path(neighbour.save(np.zeros(3)))
    process.kill()
    process.wait()
    clients.WorkerClient()
    assert list(folder.glob("in-*.npy")), "its worker still lives"
    os.kill(pid, signal.SIGKILL)
    assert gone(lambda: alive(pid))
    clients.WorkerClient()
    assert not folder.exists()
    assert neighbours.exists()
    neighbour.close()
    assert not neighbours.exists()
