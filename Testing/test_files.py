"""Writing whole files: on the disk before they have their name, with the permissions that they should have."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.files import write_json, write_whole

OWN = {"GeneratedBy": [{"Name": "DualGlow", "Description": "image"}]}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> None:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert mode(write_whole(tmp_path / "new", "text")) == mode(tmp_path / "other") == 0o640


@pytest.mark.parametrize("permissions", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, permissions: int) -> None:
    path = write_json(tmp_path / "a.json", OWN)
    path.chmod(permissions)
    write_json(path, {**OWN, "Age": 70})
    assert mode(path) == permissions
    assert json.loads(path.read_text())["Age"] == 70


def test_through_a_link_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = write_json(tmp_path / "there" / "a.json", OWN), tmp_path / "link.json"
    link.symlink_to(target)
    assert write_json(link, {**OWN, "Age": 70}) == link
    assert link.is_symlink()
    assert json.loads(target.read_text())["Age"] == 70
    new = tmp_path / "new.json"
    new.symlink_to(tmp_path / "there" / "b.json")
    write_json(new, OWN)
    assert new.is_symlink()
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["a.json", "b.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "new.json", "there"]


def test_other_names_of_a_replaced_file_keep_what_they_had(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", OWN)
    (tmp_path / "other.json").hardlink_to(path)
    write_json(path, {**OWN, "Age": 70})
    assert json.loads((tmp_path / "other.json").read_text()) == OWN


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a.json", []
    fsync = os.fsync

    def watched(handle: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        fsync(handle)

    monkeypatch.setattr("os.fsync", watched)
    write_json(path, OWN)
    assert seen == [(False, False), (True, True)]


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace", "os.link"])
def test_a_full_disk_is_told_though_nothing_can_be_tidied_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """On a disk that has become read-only the part can't be removed either; that must not hide the sentence."""
    path = write_json(tmp_path / "a.json", OWN)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    if failing == "os.link":  # for a file that is new
        monkeypatch.setattr("os.replace", full)
    monkeypatch.setattr(failing, full)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(InputError, match=r"can't be written: No space left on device\.$"):
        write_json(tmp_path / "b.json" if failing == "os.link" else path, {**OWN, "Age": 70})
    assert json.loads(path.read_text()) == OWN
    assert not (tmp_path / "b.json").exists()


def test_without_hard_links_a_new_file_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", unknown)
    assert json.loads(write_json(tmp_path / "a.json", OWN).read_text()) == OWN
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("with_links", [True, False])
def test_a_file_that_comes_up_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_links: bool
) -> None:
    fsync, link, path = os.fsync, os.link, tmp_path / "a.json"

    def meanwhile(handle: int) -> None:
        path.write_text("theirs")
        fsync(handle)

    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.fsync", meanwhile)
    monkeypatch.setattr("os.link", link if with_links else unknown)
    with pytest.raises(InputError, match="another program has just made it"):
        write_json(path, OWN)
    assert path.read_text() == "theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_file_of_somebody_else_is_replaced_on_demand_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    with pytest.raises(
        InputError, match=r"a\.json can't be written: it exists and DualGlow did not write it; [^\n]*\.$"
    ):
        write_json(path, {"mine": False})
    assert path.read_text() == "{}"
    write_json(path, {"mine": False}, force=True)
    assert json.loads(path.read_text()) == {"mine": False}
