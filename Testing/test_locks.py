"""One process at a time: real processes, one of which is killed, and what another computer left."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.locks import holder_of, only_one, try_lock

HOLD = """
import sys
from pathlib import Path
from DualGlowLib.locks import holder_of, only_one
with only_one(Path(sys.argv[1]), "working"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(lock: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def left_by(lock: Path, host: str, pid: int) -> None:
    lock.write_text(json.dumps({"host": host, "pid": pid, "since": "2024-05-06 07:08:09"}))


def test_a_second_one_is_told_who_has_it(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with holder(lock) as process:
        says = r"Another process is working \(process \d+ on .+, since .+\); wait for it or stop it\.$"
        with pytest.raises(InputError, match=says), only_one(lock, "working"):
            pass
        process.kill()
    with only_one(lock, "working"):  # what the dead process left is taken over
        with pytest.raises(InputError, match=f"process {os.getpid()} on"), only_one(lock, "working"):
            pass
        assert json.loads(lock.read_text())["host"] == platform.node()
    assert list(lock.parent.iterdir()) == []


def test_it_is_free_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), only_one(tmp_path / "lock", "working"):
            raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_another_computer_left_is_asked_about(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    left_by(lock, "elsewhere", 7)
    with pytest.raises(InputError) as caught, only_one(lock, "working"):
        pass
    assert "process 7 on elsewhere, since 2024-05-06 07:08:09" in str(caught.value)
    assert f"if it no longer runs, delete {lock} and try again." in str(caught.value)
    lock.unlink()
    with only_one(lock, "working"):
        pass


@pytest.mark.parametrize(
    "text", ["", "{", '{"host": "elsewh', '{"host": "elsewhere"}', '{"host": "x", "pid": "x", "since": 2}']
)
def test_half_a_lock_holds_nobody_up(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with only_one(tmp_path / "lock", "working"):
        pass


@pytest.mark.parametrize("text", ["[]", "4711\n", '{"host": 1}'])
def test_a_file_of_another_program_is_no_lock(tmp_path: Path, text: str) -> None:
    """It would be emptied, and deleted in the end."""
    theirs, link = tmp_path / "lock", tmp_path / "link"
    theirs.write_text(text)
    with pytest.raises(InputError, match="was not written by DualGlow"), only_one(theirs, "working"):
        pass
    theirs.write_text("")
    link.symlink_to(theirs)
    with pytest.raises(InputError, match="is a link"), only_one(link, "working"):
        pass
    theirs.write_text(text)
    with pytest.raises(InputError, match="is a link"), only_one(link, "working"):
        pass
    assert theirs.read_text() == text


def test_a_lock_that_was_deleted_and_taken_by_another_is_left_to_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with only_one(lock, "working"):
        lock.unlink()
        process = holder(lock)
    with process:
        assert json.loads(lock.read_text())["pid"] == process.pid
        process.stdin.close()
    assert not lock.exists()


def test_who_looks_sees_the_holder_and_whether_it_lives_and_disturbs_nobody(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert holder_of(lock) is None
    with holder(lock) as process:
        found = holder_of(lock)
        assert (found.host, found.pid, found.alive) == (platform.node(), process.pid, True)
        process.kill()
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, though its parent has not noticed
        assert holder_of(lock).alive is False
    assert holder_of(lock).pid == process.pid
    assert holder_of(lock).alive is False
    left_by(lock, "another", 1)
    assert holder_of(lock).alive is None
    with only_one(tmp_path / "other", "working"):
        assert holder_of(tmp_path / "other").alive is True
    assert holder_of(tmp_path / "other") is None
    (lock).write_text("somebody's")
    assert holder_of(lock) is None
    assert lock.read_text() == "somebody's"


@pytest.mark.skipif(os.name == "nt", reason="Windows has locks on every file system")
def test_without_locks_of_the_system_the_process_is_looked_for(tmp_path: Path, monkeypatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    lock, here = tmp_path / "lock", platform.node()
    with holder(lock) as process:
        with pytest.raises(InputError, match="Another process is working"), only_one(lock, "working"):
            pass
        process.kill()
    left_by(lock, here, process.pid)  # dead by now
    with only_one(lock, "working"):
        pass


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be written"), only_one(tmp_path / "file" / "lock", "working"):
        pass


def test_who_only_asks_for_a_moment_keeps_nobody_out(tmp_path: Path) -> None:
    """A window asks several times a second whether a run is alive, just when another process takes it over."""
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"host": platform.node(), "pid": os.getpid(), "since": "2026-01-01 00:00:00"}) + "\n")
    with lock.open("rb") as asking:
        assert try_lock(asking.fileno())
        threading.Timer(0.03, asking.close).start()
        with only_one(lock, "training into run"):
            assert holder_of(lock).alive


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process tells that it has ended but is remembered")
def test_a_dead_process_that_is_remembered_is_not_asked_by_its_lock(tmp_path: Path, monkeypatch) -> None:
    lock = tmp_path / "lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    lock.write_text(json.dumps({"host": platform.node(), "pid": ended.pid, "since": "2026-01-01 00:00:00"}) + "\n")
    monkeypatch.setattr("DualGlowLib.locks.try_lock", lambda number: pytest.fail("the lock was taken to ask"))
    assert holder_of(lock).alive is False
    ended.wait()
