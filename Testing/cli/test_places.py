"""Places that nothing can be written to: exit code 2 and one sentence, in every command, before any work."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from DualGlowLib import __main__ as command_line
from DualGlowLib.cli.console import Console
from DualGlowLib.resources import resource
from empty_scans import pair, tree

T1 = str(resource("Template", "mni152_t1.nii.gz"))
CASES = "{cases}"


@pytest.mark.parametrize(
    "command",
    [
        ["simulate", "{place}", "--cases", "1", "--grid", "small"],
        ["validate", CASES, "--splits", "{place}", "--folds", "2"],
        ["prepare", CASES, "{place}"],
        ["train", CASES, "--output", "{place}"],
        ["synthesize", T1, "--output", "{place}/pet.nii.gz"],
        ["synthesize", T1, "--output", "{other}/pet.nii.gz", "--qc", "{place}/qc.png"],
        ["synthesize", T1, "--output", "{other}/pet.nii.gz", "--transform", "{place}/t.h5"],
        ["synthesize", T1, "--output", "{other}/pet.nii.gz", "--transform", "{other}/t.mat"],
        ["synthesize", T1, "--output", "{other}/pet.nii.gz", "--dicom", "{other}/dicom"],
        ["sweep", T1, "--output", "{place}", "--ages", "60:70:10"],
        ["evaluate", str(resource("Models", "simulated-fdg-medium")), CASES, "--output", "{place}"],
    ],
    ids=lambda command: f"{command[0]} {command[-2]}",
)
@pytest.mark.parametrize("below", ["", "/below/it"])
def test_a_place_that_is_a_file(tmp_path: Path, command: list[str], below: str, capsys: pytest.CaptureFixture) -> None:
    cases = tree(tmp_path / "cases", *pair("sub-01"), *pair("sub-02"))
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "other").mkdir()
    values = {"cases": cases, "place": f"{tmp_path / 'file'}{below}", "other": tmp_path / "other"}
    assert command_line.main([part.format(**values) for part in command]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"dualglow {command[0]}: ")
    assert said.endswith(".")
    assert (tmp_path / "file").read_text() == "somebody's"
    assert not any((tmp_path / "other").iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["validate", "{place}"],
        ["prepare", CASES, "{place}"],
        ["train", "{place}", "--output", "{other}/run"],
        ["train", CASES, "--output", "{place}"],
        ["train", CASES, "--output", "{other}/run", "--config", "{place}"],
        ["bundle", "verify", "{place}"],
        ["bundle", "publish", str(resource("Models", "simulated-fdg-medium")), "--output", "{place}"],
    ],
    ids=lambda command: f"{command[0]} {command[-2]}",
)
def test_a_link_that_leads_to_itself(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture) -> None:
    cases = tree(tmp_path / "cases", *pair("sub-01"), *pair("sub-02"))
    (tmp_path / "loop").symlink_to("loop")
    values = {"cases": cases, "place": tmp_path / "loop", "other": tmp_path / "other"}
    assert command_line.main([part.format(**values) for part in command]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"dualglow {command[0]}: ")
    assert "loop" in said


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_what_a_disk_can_cause_anywhere(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    def fails(*_: object) -> int:
        raise OSError(number, "No luck", "/some\x1b[2J/file")

    monkeypatch.setattr("DualGlowLib.cli.cohorts.case_inputs", fails)
    assert command_line.main(["validate", str(tmp_path), "--splits", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err == (
        "dualglow validate: /some\ufffd[2J/file can't be read or written: No luck; see to that, and try again.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_output_that_nobody_can_take(tmp_path: Path) -> None:
    tree(tmp_path, *pair("sub-01"))
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "DualGlowLib", "validate", str(tmp_path), "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert found.returncode == 2
    assert "No space left on device" in found.stderr
    assert "Traceback" not in found.stderr


def test_names_cannot_move_the_terminals_cursor(capsys: pytest.CaptureFixture) -> None:
    console = Console()
    console.result("sub-01\x1b[2J\nsub-02")
    console.note("sub\x1b]0;title\x07")
    console.progress("preparing", 1.0, "sub-\x1b[1A")
    captured = capsys.readouterr()
    assert captured.out == "sub-01\ufffd[2J\nsub-02\n"
    assert "\x1b" not in captured.err
    assert "\x07" not in captured.err


def test_programs_hear_every_remark_and_read_every_line(capsys: pytest.CaptureFixture) -> None:
    console = Console(machine=True)
    console.note("age 83 taken from the DICOM header")
    console.event(event="step", loss=float("nan"))
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"event": "notice", "message": "age 83 taken from the DICOM header"}
    assert second == '{"event": "step", "loss": null}'  # NaN is no JSON
