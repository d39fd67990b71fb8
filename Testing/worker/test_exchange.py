"""The folder between a window and its worker: private, and gone when both are; nobody else's is touched."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from DualGlowLib.worker.exchange import Exchange, remove_abandoned
from places import LIBRARY

MAKE = """
import sys, time; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from DualGlowLib.worker.exchange import Exchange
made = Exchange.join(Path(sys.argv[2])) if len(sys.argv) > 2 else Exchange.make()
(made.path / "in-0.npy").write_bytes(b"voxels")
print(made.path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own, for its processes too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


class Holder:
    """A process that holds a folder; that of another one if it is given."""

    def __init__(self, *folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAKE, str(LIBRARY), *map(str, folder)], stdout=subprocess.PIPE, text=True
        )
        self.folder = Path(self.process.stdout.readline().strip())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def holder() -> Iterator[Holder]:
    made = Holder()
    yield made
    made.kill()


def test_only_its_user_can_open_it(temporary: Path) -> None:
    made = Exchange.make()
    assert made.path.parent == temporary
    if os.name == "posix":
        assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    (made.path / "deeper").mkdir()
    (made.path / "deeper" / "a.npy").touch()
    made.remove()
    assert list(temporary.iterdir()) == []
    made.remove()  # it is gone already


def test_what_a_killed_process_left_is_removed(holder: Holder) -> None:
    remove_abandoned()
    assert (holder.folder / "in-0.npy").exists(), "it still lives"
    holder.kill()
    remove_abandoned()
    assert not holder.folder.exists()


def test_a_worker_that_outlives_its_window_keeps_the_folder(holder: Holder) -> None:
    worker = Holder(holder.folder)
    assert worker.folder == holder.folder
    holder.kill()
    remove_abandoned()
    assert holder.folder.exists()
    worker.kill()
    remove_abandoned()
    assert not holder.folder.exists()


def test_a_neighbour_in_the_same_process_is_untouched() -> None:
    first, second = Exchange.make(), Exchange.make()
    remove_abandoned()
    first.remove()
    assert second.path.exists()
    second.remove()


def test_nothing_that_was_not_made_here_is_removed(holder: Holder, temporary: Path) -> None:
    holder.kill()
    mark = (holder.folder / "client.lock").read_bytes()
    mine = temporary / "DualGlow-results"
    mine.mkdir()
    (mine / "pet.nii.gz").touch()
    copied = temporary / "DualGlow-copied"
    copied.mkdir()
    (copied / "client.lock").write_bytes(mark)
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / holder.folder.name
    holder.folder.rename(target)
    holder.folder.symlink_to(target, target_is_directory=True)
    inside = temporary / "DualGlow-inside"
    inside.mkdir()
    (inside / "client.lock").symlink_to(target / "client.lock")
    remove_abandoned()
    assert {path.name for path in mine.iterdir()} == {"pet.nii.gz"}
    assert (copied / "client.lock").exists()
    assert (target / "in-0.npy").exists()
    assert holder.folder.is_symlink()
    assert (inside / "client.lock").is_symlink()
    assert [Exchange.join(path) for path in (mine, copied, holder.folder, inside, temporary / "none")] == [None] * 5


def test_what_a_link_in_it_points_to_stays(holder: Holder, temporary: Path) -> None:
    scans = temporary / "scans"
    scans.mkdir()
    (scans / "t1.nii").touch()
    (holder.folder / "link").symlink_to(scans, target_is_directory=True)
    holder.kill()
    remove_abandoned()
    assert not holder.folder.exists()
    assert (scans / "t1.nii").exists()
