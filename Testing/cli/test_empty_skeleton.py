"""Every command with each of its options over a BIDS folder of empty files: a sentence, never a traceback."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from DualGlowLib.__main__ import _parser, main

FILES = (
    "dataset_description.json", "participants.json", "participants.tsv", "README", "splits.json", "settings.json",
    *(
        f"sub-{subject}/ses-M00/{folder}/sub-{subject}_ses-M00_{name}"
        for subject in ("01", "02")
        for folder, name in (
            ("anat", "T1w.nii.gz"), ("anat", "T1w.json"), ("anat", "desc-brain_mask.nii.gz"),
            ("pet", "trc-18FFDG_pet.nii.gz"), ("pet", "trc-18FFDG_pet.json"),
        )
    ),
)  # fmt: skip
T1 = "sub-01/ses-M00/anat/sub-01_ses-M00_T1w.nii.gz"

IN_SKELETON = {
    "anatomy": ".", "bundle": ".", "cases": ".", "config": "settings.json", "splits": "splits.json", "t1": T1,
    "mask": T1.replace("T1w", "desc-brain_mask"),
}  # fmt: skip
"""What an argument of this name is given: a path in the skeleton; …"""

OUTSIDE = {
    "dicom": "dicom", "output": "out", "qc": "qc.png", "transform": "t1.tfm", ("evaluate", "output"): "report.json",
    ("synthesize", "output"): "pet.nii.gz", ("validate", "splits"): "splits.json",
}  # fmt: skip
"""a path that is not there yet; …"""

WORDS = {
    ("simulate", "cases"): "1", "ages": "60:70:10", "device": "cpu", "diagnosis": "CN", "grid": "small",
    "layout": "bids", "preset": "standard", "reference": "pons", "series": "1", "sex": "F",
}  # fmt: skip
"""a word; numbers get 1, anything else "x"."""

ALWAYS = {"simulate": ["--anatomy", "."]}  # the one thing that it reads


def commands() -> dict[str, argparse.ArgumentParser]:
    (chooser,) = (one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(chooser.choices)


def value_for(command: str, action: argparse.Action, skeleton: Path, outside: Path) -> str:
    for table, folder in ((WORDS, None), (OUTSIDE, outside), (IN_SKELETON, skeleton)):
        for key in ((command, action.dest), action.dest):
            if key in table:
                return table[key] if folder is None else str(folder / table[key])
    return "1" if action.type is not None else "x"


def options() -> list[tuple[str, str, str]]:
    """Each option of each command with a good value, and with none in its quotes."""
    found = []
    for command, parser in commands().items():
        found.append((command, "", "good"))
        for action in parser._actions:
            if action.option_strings and not isinstance(action, argparse._HelpAction):
                found.append((command, action.option_strings[-1], "good"))
                if action.nargs != 0:
                    found.append((command, action.option_strings[-1], "empty"))
    return found


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "skeleton" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "skeleton"


@pytest.mark.parametrize(("command", "option", "kind"), options(), ids="".join)
def test_every_option(
    command: str, option: str, kind: str, skeleton: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = skeleton.parent / "outside"
    outside.mkdir()
    monkeypatch.chdir(skeleton)
    arguments = [command]
    for action in commands()[command]._actions:
        value = "" if kind == "empty" else value_for(command, action, skeleton, outside)
        chosen = option in action.option_strings
        if not action.option_strings:
            arguments.append(value_for(command, action, skeleton, outside))
        elif chosen or action.required:
            value = value if chosen else value_for(command, action, skeleton, outside)
            arguments += [action.option_strings[-1]] + ([] if action.nargs == 0 else [value])
    if option not in ALWAYS.get(command, []):
        arguments += ALWAYS.get(command, [])

    code = main(arguments)
    printed = capsys.readouterr()
    assert code in (0, 2), printed.err
    assert "Traceback" not in printed.err + printed.out
    if code == 2:
        last = printed.err.strip().splitlines()[-1]
        assert last.startswith(f"dualglow {command}: ")
        assert len(last) > 40
    files = {path.relative_to(skeleton).as_posix() for path in skeleton.rglob("*") if path.is_file()}
    assert files == set(FILES)
    assert all((skeleton / name).stat().st_size == 0 for name in FILES)
