"""The worker from inside Slicer: a real process that answers, refuses, dies, hangs and is cancelled."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from loaded import host  # noqa: F401  makes qt and slicer importable

from DualGlowSynthesisLib import client as clients  # isort: skip

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
    pid = client._pid
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


def test_closing_leaves_no_process_and_no_file(client) -> None:
    ready, _ = hear(client, "refuse")
    until(client, lambda: ready)
    pid, folder = client._pid, client.folder
    hear(client, "hang")
    client.close()
    assert not alive(pid)
    assert not folder.exists()
