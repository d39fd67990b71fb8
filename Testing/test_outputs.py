"""What a command may write: no file of somebody else without --force, and no input with it; all refused before work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dicom_files import write_series
from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.splits import make_splits, write_splits
from DualGlowLib.evaluation.folds import write_summary
from DualGlowLib.evaluation.report import report_output, write_report
from DualGlowLib.outputs import (
    SIDECAR,
    TRANSFORM,
    TRANSFORM_MARK,
    Output,
    check_outputs,
    kind_of_file,
    other_source,
    refuse_links,
)
from DualGlowLib.pictures.drawing import picture_output, write_png
from DualGlowLib.pictures.report import report_html
from DualGlowLib.pictures.sheet import write_sheet
from DualGlowLib.preparation.transforms import read_transform, transform_output, write_transform
from DualGlowLib.volumes.marking import SYNTHETIC, SYNTHETIC_SD
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import scan_outputs, write_scan
from foreign_files import foreign, snapshot


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What people have before they call DualGlow; nothing of it was written by DualGlow."""
    for name in (
        "ann_T1.nii.gz",
        "ann_T1.json",
        "mask.nii.gz",
        "model/config.json",
        "model/weights.safetensors",
        "settings.json",
    ):
        foreign(tmp_path / name)
    cases = tmp_path / "cases"
    foreign(cases / "participants.tsv")
    for subject in ("sub-01", "sub-02"):
        for name in (f"anat/{subject}_T1w.nii.gz", f"anat/{subject}_T1w.json", f"pet/{subject}_trc-18FFDG_pet.nii.gz"):
            foreign(cases / subject / name)
    (tmp_path / "folds.json").write_text('{"subjects": {"sub-01": {"fold": 0}, "sub-02": {"fold": 1}}}')
    (tmp_path / "out").mkdir()
    return tmp_path


def refused(arguments: list[str], place: Path, capsys: pytest.CaptureFixture) -> str:
    """The sentence of a command that is refused and changes nothing."""
    before = snapshot(place)
    assert main(arguments) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert sentence.startswith(f"dualglow {arguments[0]}: ")
    assert sentence.endswith(".")
    assert snapshot(place) == before
    return sentence


# ------------------------------------------------------------------------------------ files of others, for each command


def synthesize(place: Path, output: str = "out/pet.nii.gz", *more: str) -> list[str]:
    arguments = ["synthesize", place / "ann_T1.nii.gz", "--mask", place / "mask.nii.gz", "--output", place / output]
    return [str(one) for one in (*arguments, "--bundle", place / "model", *more)]


def every_option(place: Path) -> list[str]:
    more = ["--samples", "2", "--temperature", "1", "--below", "1.2", "--regions"]
    return [*more, "--transform", str(place / "out" / "t1.h5"), "--qc", str(place / "out" / "qc.png")]


def sweep(place: Path) -> list[str]:
    arguments = ["sweep", str(place / "ann_T1.nii.gz"), "--output", str(place / "out"), "--ages", "60:80:10"]
    return [*arguments, "--bundle", str(place / "model"), *every_option(place)]


def evaluate(place: Path, output: str, *more: str) -> list[str]:
    arguments = ["evaluate", str(place / "model"), str(place / "cases"), "--output", str(place / output)]
    return [*arguments, "--splits", str(place / "folds.json"), "--fold", "0", *more]


def validate(place: Path, output: str, *more: str) -> list[str]:
    return ["validate", str(place / "cases"), "--splits", str(place / output), "--folds", "2", *more]


def folder_command(place: Path, name: str) -> list[str]:
    out = str(place / "out")
    return {
        "simulate": ["simulate", out, "--cases", "1", "--grid", "small"],
        "prepare": ["prepare", str(place / "cases"), out, "--grid", "small"],
        "train": ["train", str(place / "cases"), "--output", out, "--grid", "small"],
        "study": ["study", "run", str(place / "cases"), out, "--quick"],
    }[name]


BESIDE = (
    "pet.nii.gz",
    "pet.json",
    "pet_sd.nii.gz",
    "pet_sd.json",
    "pet_below.nii.gz",
    "pet_below.json",
    "pet_regions.tsv",
)
OF_AGE = ("_pet.nii.gz", "_pet.json", "Sd_pet.nii.gz", "Below_pet.json", "_regions.tsv")
BIDS = "sub-ann_trc-18FFDG_space-T1w_desc-synthetic"
BLOCKED: dict[str, tuple[Callable[[Path], list[str]], list[str]]] = {
    "synthesize": (lambda place: [*synthesize(place), *every_option(place)], [*BESIDE, "t1.h5", "qc.png"]),
    "synthesize, a folder": (lambda place: synthesize(place, "out"), [f"{BIDS}_pet.nii.gz", f"{BIDS}_pet.json"]),
    "sweep": (sweep, [*(f"{BIDS}Age70{name}" for name in OF_AGE), f"{BIDS}Sweep.png", "t1.h5", "qc.png"]),
    "validate": (lambda place: validate(place, "out/folds.json"), ["folds.json"]),
    "validate, a table": (lambda place: validate(place, "out/folds.tsv"), ["folds.tsv"]),
    "evaluate": (lambda place: evaluate(place, "out/report.json"), ["report.json"]),
    "simulate": (lambda place: folder_command(place, "simulate"), ["participants.tsv", "truth/cohort.json"]),
    "study": (lambda place: folder_command(place, "study"), ["study.json", "mine.txt"]),
    "prepare": (
        lambda place: folder_command(place, "prepare"),
        ["participants.tsv", "logs/mine.txt", "logs/prepare.log", "logs/lock", "records/a.json"],
    ),
    "train": (
        lambda place: folder_command(place, "train"),
        [
            *("checkpoint.pt", "history.jsonl", "bundle/README.md", "bundle/config.json"),
            *("checkpoint-7.safetensors", "run.lock"),
        ],
    ),
    "train, resumed": (lambda place: [*folder_command(place, "train"), "--resume"], ["checkpoint-7.safetensors"]),
}


@pytest.mark.parametrize(
    ("command", "name"), [(command, name) for command, (_, names) in BLOCKED.items() for name in names]
)
def test_no_command_changes_a_file_of_somebody_else(
    place: Path, command: str, name: str, capsys: pytest.CaptureFixture
) -> None:
    foreign(place / "out" / name)
    sentence = refused(BLOCKED[command][0](place), place, capsys)
    assert str(place / "out") in sentence


@pytest.mark.parametrize("name", ["pet.json", "pet_sd.json"])
def test_the_json_of_somebody_else_is_not_for_force(place: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    foreign(place / "out" / name)
    refused([*synthesize(place), *every_option(place), "--force"], place, capsys)


@pytest.mark.parametrize("command", ["validate", "evaluate"])
def test_no_report_becomes_the_json_of_an_image(place: Path, command: str, capsys: pytest.CaptureFixture) -> None:
    foreign(place / "out" / "scan.nii.gz")
    arguments = {"validate": validate, "evaluate": evaluate}[command](place, "out/scan.json", "--force")
    assert "scan.nii.gz" in refused(arguments, place, capsys)


# ------------------------------------------------------------------------------------------------------------- inputs


def direct(target: Path, name: Path) -> Path:
    return target


def otherwise_spelled(target: Path, name: Path) -> Path:
    return target.parent / "." / ".." / target.parent.name / target.name


def linked(target: Path, name: Path) -> Path:
    name.symlink_to(target)
    return name


def hard_linked(target: Path, name: Path) -> Path:
    name.hardlink_to(target)
    return name


@pytest.mark.parametrize("way", [direct, otherwise_spelled, linked, hard_linked])
@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(
    ("command", "target", "name"),
    [
        ("synthesize", "ann_T1.nii.gz", "a.nii.gz"),
        ("synthesize", "mask.nii.gz", "a.nii.gz"),
        ("synthesize", "model/weights.safetensors", "a.nii.gz"),
        ("synthesize", "model/config.json", "a.json"),
        ("validate", "cases/participants.tsv", "a.tsv"),
        ("validate", "cases/sub-01/anat/sub-01_T1w.json", "a.json"),
        ("validate", "cases/sub-02/pet/sub-02_trc-18FFDG_pet.nii.gz", "a.json"),
        ("evaluate", "folds.json", "a.json"),
        ("evaluate", "model/config.json", "a.json"),
        ("evaluate", "cases/sub-01/anat/sub-01_T1w.nii.gz", "a.json"),
    ],
)
def test_an_input_is_not_even_for_force(
    place: Path, command: str, target: str, name: str, force: list[str], way: Callable, capsys: pytest.CaptureFixture
) -> None:
    output = way(place / target, place / "out" / name)
    arguments = {
        "synthesize": lambda: synthesize(place, str(output).replace(".json", ".nii.gz"), *force),
        "validate": lambda: validate(place, str(output), *force),
        "evaluate": lambda: evaluate(place, str(output), *force),
    }[command]()
    if command == "synthesize" and way in (direct, otherwise_spelled) and target.endswith(".safetensors"):
        arguments[arguments.index("--output") + 1] = str(place / "out" / "pet.nii.gz")
        arguments += ["--transform", str(output)]  # whose name alone is refused
    assert "can't be written" in refused(arguments, place, capsys)


@pytest.mark.parametrize("ending", [".nii", ".hdr", ".mgz", ".nrrd"])
def test_a_pet_beside_the_t1_does_not_describe_it(place: Path, ending: str, capsys: pytest.CaptureFixture) -> None:
    """A JSON of the same name would say of the T1 that it is synthetic."""
    (place / "ann_T1.json").unlink()
    (place / "ann_T1.nii.gz").rename(place / f"head{ending}")
    arguments = synthesize(place, "head.nii.gz", "--force")
    arguments[1] = str(place / f"head{ending}")
    assert f"head{ending}" in refused(arguments, place, capsys)


def test_also_a_t1_that_dualglow_wrote_is_not_described(place: Path, capsys: pytest.CaptureFixture) -> None:
    write_scan(Scan(np.random.default_rng(0).random((9, 9, 9), np.float32), np.eye(4)), place / "own.nii.gz")
    arguments = synthesize(place, "own.nii", "--force")
    arguments[1] = str(place / "own.nii.gz")
    assert "own.nii.gz" in refused(arguments, place, capsys)


def test_scans_that_a_table_names_are_inputs(place: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(place / "cases", place / "elsewhere")
    names = [f"../elsewhere/sub-0{i}/{{}}" for i in (1, 2)]
    rows = [f"{i},{n.format(f'anat/sub-0{i}_T1w.nii.gz')},{n.format(f'pet/sub-0{i}_trc-18FFDG_pet.nii.gz')}"
            for i, n in enumerate(names, start=1)]  # fmt: skip
    (place / "cases" / "cases.csv").write_text("\n".join(["case,t1,pet", *rows]))
    (place / "out" / "link.json").symlink_to(place / "elsewhere" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert "is an input" in refused(validate(place, "out/link.json", "--force"), place, capsys)


def test_slices_beside_the_one_that_is_named_are_inputs(place: Path, capsys: pytest.CaptureFixture) -> None:
    files = write_series(place / "series", np.ones((8, 9, 10), np.int16), np.diag([2.0, 2, 2, 1]))
    (place / "out" / "qc.png").symlink_to(files[3])
    arguments = synthesize(place, "out/pet.nii.gz", "--qc", str(place / "out" / "qc.png"), "--force")
    arguments[1] = str(files[0])
    assert "is an input" in refused(arguments, place, capsys)
    arguments[1] = str(place / "series")
    assert "is part of the input" in refused(arguments, place, capsys)


# ------------------------------------------------------------------------------------------- other reasons to refuse


def test_outputs_that_would_be_one_file(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "out" / "same.png").symlink_to(place / "out" / f"{BIDS}Sweep.png")
    arguments = [*sweep(place), "--qc", str(place / "out" / "same.png")]
    assert "would be the same file" in refused(arguments, place, capsys)
    arguments = [
        "sweep",
        str(place / "ann_T1.nii.gz"),
        "--output",
        str(place / "new"),
        "--ages",
        "60:60.00001:0.000005",
    ]
    assert "would be the same file" in refused(arguments, place, capsys)


def test_what_can_not_be_written_is_known_before_the_work(place: Path, capsys: pytest.CaptureFixture) -> None:
    (place / "out" / "qc.png").mkdir()
    assert "it is a folder" in refused([*synthesize(place), *every_option(place)], place, capsys)
    assert "does not exist; make it first" in refused(synthesize(place, "none/pet.nii.gz"), place, capsys)
    assert "end the name in .png" in refused(synthesize(place, "out/a.nii", "--qc", "qc.jpg"), place, capsys)
    assert "end the name in .h5" in refused(synthesize(place, "out/a.nii", "--transform", "t.txt"), place, capsys)
    assert "is a file" in refused(evaluate(place, "folds.json/report.json"), place, capsys)
    (place / "out" / "circle.nii").symlink_to(place / "out" / "circle.nii")
    assert "can't be written" in refused(synthesize(place, "out/circle.nii"), place, capsys)
    os.mkfifo(place / "out" / "pipe.json")
    before = sorted(place.rglob("*"))
    assert main(validate(place, "out/pipe.json", "--force")) == 2
    assert "a device or a pipe" in capsys.readouterr().err
    assert sorted(place.rglob("*")) == before


def test_a_write_protected_file_stays(tmp_path: Path) -> None:
    path = write_png(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.png")
    path.chmod(0o444)
    with pytest.raises(InputError, match="write-protected"):
        write_png(np.ones((4, 4, 3), np.uint8), path, force=True)


def test_a_dicom_series_needs_a_folder_of_its_own(place: Path, capsys: pytest.CaptureFixture) -> None:
    write_series(place / "series", np.ones((8, 9, 10), np.int16), np.diag([2.0, 2, 2, 1]))

    def sentence(output: str, folder: str, t1: str = "series") -> str:
        arguments = synthesize(place, output, "--dicom", str(place / folder), "--force")
        arguments[1] = str(place / t1)
        return refused(arguments, place, capsys)

    assert "is not an empty folder" in sentence("out/a.nii", "cases")
    assert "is not an empty folder" in sentence("out/a.nii", "series")
    assert "would lie in" in sentence("out/a.nii", "out")
    assert "does not exist; make it first" in sentence("out/a.nii", "none/derived")
    assert "is not DICOM" in sentence("out/a.nii", "derived", "ann_T1.nii.gz")


def test_links_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "inside").symlink_to(folder)
    refuse_links(folder)
    (folder / "sub" / "outside").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=r"outside is a link that leads out of"):
        refuse_links(folder)


# --------------------------------------------------------------------- what DualGlow wrote is known again, and replaced


def scan() -> Scan:
    return Scan(np.random.default_rng(1).random((9, 8, 10), np.float32), np.diag([2.0, 2, 2, 1]))


def folds() -> object:
    names = [f"sub-{i}" for i in range(6)]
    return make_splits([Case(n, n, Path(), Path(), {"age": str(60 + i)}) for i, n in enumerate(names)], 2)


RESULT = {"data_range_suvr": 2.0, "summary": {}, "cases": [], "left_out": [], "rank_fifths": {}, "regions": {}}
WRITERS: dict[str, Callable[[Path, bool], object]] = {
    "a.nii": lambda path, force: write_scan(scan(), path, SYNTHETIC, {"Age": 70}, force),
    "b.nii.gz": lambda path, force: write_scan(scan(), path, "", None, force),
    "c.png": lambda path, force: write_png(np.zeros((9, 8, 3), np.uint8), path, force),
    "d.h5": lambda path, force: write_transform(np.eye(4), path, force),
    "e.tfm": lambda path, force: write_transform(np.eye(4), path, force),
    "f.json": lambda path, force: write_splits(folds(), path, force),
    "g.tsv": lambda path, force: write_splits(folds(), path, force),
    "h.json": lambda path, force: write_report(RESULT, path, force),
    "i.json": lambda path, force: write_summary({"folds": [], "summary": {}}, path, force),
    "j.csv": lambda path, force: write_summary({"folds": [], "summary": {}}, path, force),
}
OUTPUTS: dict[str, Callable[[Path], list[Output]]] = {
    "a.nii": lambda path: scan_outputs(path, SYNTHETIC),
    "b.nii.gz": lambda path: scan_outputs(path, "", sidecar=False),
    "c.png": lambda path: [picture_output(path)],
    "d.h5": lambda path: [transform_output(path)],
    "e.tfm": lambda path: [transform_output(path)],
    "h.json": lambda path: [report_output(path)],
    "i.png": lambda path: [picture_output(path)],
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_replaces_its_own_and_nothing_else(tmp_path: Path, name: str) -> None:
    path, write = tmp_path / name, WRITERS[name]
    write(path, False)
    kinds = {file: kind_of_file(file) for file in tmp_path.iterdir()}
    assert all(kinds.values())
    if name in OUTPUTS:
        assert kinds == {output.path: output.kind for output in OUTPUTS[name](path)}
        check_outputs(OUTPUTS[name](path))
    path.chmod(0o640)
    write(path, False)
    assert path.stat().st_mode & 0o777 == 0o640
    foreign(path)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="DualGlow did not write it"):
        write(path, False)
    assert snapshot(tmp_path) == before
    write(path, True)
    assert kind_of_file(path) == kinds[path]


def test_another_kind_of_result_is_not_replaced(tmp_path: Path) -> None:
    path = write_scan(scan(), tmp_path / "pet_sd.nii.gz", SYNTHETIC_SD, {"Age": 70})
    with pytest.raises(InputError, match="another kind of result"):
        write_scan(scan(), path, SYNTHETIC, {"Age": 70})
    write_splits(folds(), tmp_path / "file.json")
    with pytest.raises(InputError, match="another kind of result"):
        write_report(RESULT, tmp_path / "file.json")


def test_the_json_of_the_image_before_does_not_stay(tmp_path: Path) -> None:
    """Or it would say of an acquired image that it is synthetic."""
    path = write_scan(scan(), tmp_path / "a.nii.gz", SYNTHETIC, {"Synthetic": True})
    write_scan(scan(), path, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]
    foreign(tmp_path / "a.json")
    write_scan(scan(), path)
    assert "EchoTime" in (tmp_path / "a.json").read_text()


def test_own_makers_in_a_sidecar_are_kept(tmp_path: Path) -> None:
    write_scan(scan(), tmp_path / "a.nii", sidecar={"GeneratedBy": [{"Name": "other"}], "Age": 70})
    assert kind_of_file(tmp_path / "a.json") == SIDECAR
    assert [maker["Name"] for maker in json.loads((tmp_path / "a.json").read_text())["GeneratedBy"]] == [
        "DualGlow",
        "other",
    ]


def test_pages_and_tables_are_known(tmp_path: Path) -> None:
    page, table = tmp_path / "page.html", tmp_path / "table"
    write_sheet([], page)
    assert kind_of_file(page) == "page sheet"
    page.write_text(report_html("PET", [], {}))
    assert kind_of_file(page) == "page report"
    page.write_text("<!DOCTYPE html>\n<html><head><title>DualGlow</title></head></html>")
    assert kind_of_file(page) == ""
    for text, known in (
        ("region\tmean\tsd\n" + "".join(f"{name}\t1.0000\t0.1000\n" for name in REGIONS), True),
        ("region\tmean\tsd\n" + "".join(f"{name}\t1.0\tfine\n" for name in REGIONS), False),
        ("region\tmean\nhippocampus\t1.0000\n", False),
        ("subject\tfold\tstratum\nsub-1\t0\tCN, youngest third\n", True),
        ("subject\tfold\tstratum\nsub-1\t0\tmy own\n", False),
        ("participant_id\tage\tsex\tdiagnosis\n", False),
        ("participant_id\tage\tsex\tdiagnosis\tpreparation\tsite\n", True),
        ('{"GeneratedBy": [{"Name": "other", "Description": "image"}], "Synthetic": true}', False),
        ('{"Synthetic": true}', False),
        ("[]", False),
        ("{", False),
        ("", False),
    ):
        table.write_text(text)
        assert bool(kind_of_file(table)) == known, text[:60]


def test_a_pet_of_another_t1_is_told(tmp_path: Path) -> None:
    about = {"Synthetic": True, "Source": "ann_T1.nii.gz", "SourceVoxelsSHA256": "a" * 64, "BundleSHA256": "b" * 64}
    path = write_scan(scan(), tmp_path / "pet.nii.gz", SYNTHETIC, about)
    assert other_source(path, "a" * 64) == ""
    assert other_source(path, "c" * 64) == "ann_T1.nii.gz"
    assert other_source(foreign(tmp_path / "mine.nii.gz"), "c" * 64) == ""


@pytest.mark.parametrize("name", ["a.tfm", "a.h5"])
def test_transforms_with_the_mark_of_before_are_ours_too(name: str, tmp_path: Path) -> None:
    """A remark at the end, until a reader was found that takes every # for another transform."""
    path = write_transform(np.eye(4), tmp_path / name)
    path.write_bytes(path.read_bytes().replace(TRANSFORM_MARK, b"\n#Written by DualGlow\n"))
    assert kind_of_file(path) == TRANSFORM
    np.testing.assert_allclose(read_transform(path), np.eye(4), atol=1e-12)
    path.write_bytes(path.read_bytes()[:-2])
    assert kind_of_file(path) == ""
