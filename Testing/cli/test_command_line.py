"""The command line: what it makes from real input, and one sentence with exit code 2 for what it can't use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from DualGlowLib.__main__ import main
from DualGlowLib.atlas.template import load_template
from DualGlowLib.resources import resource
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from heads import coarse_template

TEMPLATE_T1 = resource("Template", "mni152_t1.nii.gz")


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's T1 in another place: left-handed, axes in another order, turned by 15°, 2×2×3 mm."""
    template = load_template().t1
    angle = np.deg2rad(15)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, -2.0, 0], [0, 0, 2.0], [-3.0, 0, 0]])
    shape = (64, 96, 112)
    affine[:3, 3] = [3, -17, 5] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    path = tmp_path_factory.mktemp("turned") / "turned_T1.nii.gz"
    write_scan(Scan(resample(template.data, template.affine, shape, affine), affine), path)
    return path


def test_synthesize_lands_on_the_patient(turned: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "pet.nii.gz"
    arguments = ["synthesize", str(turned), "--output", str(output), "--age", "70", "--sex", "F", "--diagnosis", "CN"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(output)
    t1, pet = nib.load(turned), nib.load(output)
    assert pet.shape == t1.shape
    np.testing.assert_array_equal(pet.affine, t1.affine)
    assert pet.get_data_dtype() == np.float32
    assert b"SYNTHETIC" in pet.header["descrip"].item()

    template = load_template()
    grey, white = (
        resample(tissue.data, tissue.affine, t1.shape, t1.affine) for tissue in (template.gm, template.wm)
    )  # fmt: skip
    values = pet.get_fdata()
    assert 0.5 < values[white > 0.95].mean() < 1.5
    assert values[grey > 0.8].mean() > 1.3 * values[white > 0.95].mean()
    brain = t1.get_fdata() > 0
    assert values[brain].sum() > 0.97 * values.sum()
    assert values.min() >= 0

    sidecar = json.loads((tmp_path / "pet.json").read_text())
    assert sidecar["Synthetic"] is True
    assert sidecar["TrainedOnSimulatedPET"] is True
    assert (sidecar["Age"], sidecar["Sex"], sidecar["Diagnosis"]) == (70.0, "F", "CN")
    assert len(sidecar["BundleSHA256"]) == 64


def test_samples_are_reproducible_and_have_a_spread(tmp_path: Path) -> None:
    t1, mask = tmp_path / "t1.nii.gz", tmp_path / "mask.nii.gz"
    for scan, path in zip(coarse_template(4), (t1, mask), strict=True):
        write_scan(scan, path)

    def run(name: str, *more: str) -> np.ndarray:
        path = tmp_path / f"{name}.nii.gz"
        arguments = [str(t1), "--mask", str(mask), "--output", str(path), "--temperature", "1"]
        assert main(["synthesize", *arguments, *more]) == 0
        return read_scan(path).data

    assert not np.array_equal(run("a", "--seed", "3"), run("a", "--seed", "4"))
    for name in ("mean.nii.gz", "qc.png", "t1.tfm", "mean_regions.tsv"):
        (tmp_path / name).write_text("of somebody else")
    more = ["--samples", "4", "--regions", "--qc", str(tmp_path / "qc.png"), "--transform", str(tmp_path / "t1.tfm")]
    first = run("mean", "--seed", "3", *more, "--force")
    assert np.array_equal(run("mean", "--seed", "3", *more), first)  # what it wrote before it may replace
    spread = read_scan(tmp_path / "mean_sd.nii.gz").data
    brain = read_scan(mask).data > 0.5
    assert 0.01 < spread[brain].mean() < 0.5


@pytest.mark.parametrize("command", ["synthesize", "sweep"])
def test_samples_without_noise_are_said_to_be_one(command: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Before the T1 is read, which is none here."""
    t1 = tmp_path / "t1.nii.gz"
    t1.write_bytes(b"no image")
    output = [str(tmp_path / "sweep"), "--ages", "50:70:20"] if command == "sweep" else [str(tmp_path / "pet.nii.gz")]
    for temperature, is_said in (("0", True), ("1", False)):
        arguments = [command, str(t1), "--samples", "4", "--temperature", temperature, "--output", *output]
        assert main(arguments) == 2
        assert ("at temperature 0 all 4 samples are the same image" in capsys.readouterr().err) is is_said


def test_sweep_writes_every_age_and_a_picture(turned: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["sweep", str(turned), "--ages", "50:90:20", "--output", str(tmp_path), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    paths = [Path(event["path"]) for event in events if event["event"] == "output"]
    names = [f"sub-turned_trc-18FFDG_space-T1w_desc-syntheticAge{age}_pet.nii.gz" for age in (50, 70, 90)]
    assert [path.name for path in paths] == [*names, "sub-turned_trc-18FFDG_space-T1w_desc-syntheticSweep.png"]
    young, _, old = (read_scan(path).data for path in paths[:3])
    brain = young > 0.5
    assert young[brain].mean() > 1.02 * old[brain].mean()
    with Image.open(paths[3]) as file:
        picture = np.asarray(file)
    assert picture.shape[0] > 500
    assert (np.ptp(picture, axis=2) > 80).mean() > 0.05  # the PETs are in colour


def spoil(tmp_path: Path, name: str) -> list[str]:
    """Arguments of a command with one thing wrong."""
    t1, output = str(TEMPLATE_T1), str(tmp_path / "out.nii.gz")
    good = ["synthesize", t1, "--output", output, "--age", "70"]

    def broken(data: bytes | None = None, array: np.ndarray | None = None, ending: str = "nii.gz") -> list[str]:
        path = tmp_path / f"input.{ending}"
        if array is not None:
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
        elif data is not None:
            path.write_bytes(data)
        return ["synthesize", str(path), "--output", output]

    def bundle_with_wrong_checksum() -> list[str]:
        from DualGlowLib.bundle.bundle import DEFAULT_BUNDLE

        copy = tmp_path / "bundle"
        shutil.copytree(resource("Models", DEFAULT_BUNDLE), copy)
        weights = copy / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
        return [*good, "--bundle", str(copy)]

    def mask_of_another_place() -> list[str]:
        gm = load_template().gm
        write_scan(Scan(gm.data, gm.affine + 500 * np.eye(4, k=3)), tmp_path / "mask.nii")  # half a metre to the right
        return [*good, "--mask", str(tmp_path / "mask.nii")]

    random = np.random.default_rng(0)
    rgb = np.zeros((16, 16, 16), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return {
        "missing": lambda: broken(),
        "empty": lambda: broken(b""),
        "truncated": lambda: broken(TEMPLATE_T1.read_bytes()[:200_000]),
        "text": lambda: broken(b"no image at all\n" * 50),
        "text .nii": lambda: broken(b"no image at all\n" * 50, ending="nii"),
        "4-D": lambda: broken(array=random.random((16, 16, 16, 3), np.float32)),
        "2-D": lambda: broken(array=random.random((64, 64, 1), np.float32)),
        "colour": lambda: broken(array=rgb),
        "complex": lambda: broken(array=random.random((16, 16, 16)).astype(np.complex64)),
        "constant": lambda: broken(array=np.full((64, 64, 64), 7, np.float32)),
        "not a number": lambda: broken(array=np.full((64, 64, 64), np.nan, np.float32)),
        "noise": lambda: broken(array=random.random((64, 64, 64), np.float32)),
        "folder": lambda: ["synthesize", str(tmp_path), "--output", output],
        "age below": lambda: [*good, "--age", "12"],
        "age above": lambda: [*good, "--age", "140"],
        "sex": lambda: [*good, "--sex", "Q"],
        "diagnosis": lambda: [*good, "--diagnosis", "flu"],
        "temperature": lambda: [*good, "--temperature", "-1"],
        "samples": lambda: [*good, "--samples", "0"],
        "output": lambda: ["synthesize", t1, "--output", str(tmp_path / "pet.jpg")],
        "device": lambda: [*good, "--device", "cuda:77"],
        "mask": mask_of_another_place,
        "bundle": lambda: [*good, "--bundle", str(tmp_path)],
        "checksum": bundle_with_wrong_checksum,
        "ages": lambda: ["sweep", t1, "--ages", "90:50:10", "--output", str(tmp_path / "sweep")],
        "ages text": lambda: ["sweep", t1, "--ages", "all", "--output", str(tmp_path / "sweep")],
        "no cases": lambda: ["train", str(tmp_path), "--output", str(tmp_path / "run")],
        "no folder": lambda: ["train", str(tmp_path / "none"), "--output", str(tmp_path / "run")],
        "no cases to validate": lambda: ["validate", str(tmp_path)],
        "file of cases": lambda: ["validate", t1],
        "preset": lambda: ["train", str(tmp_path), "--preset", "best", "--output", str(tmp_path / "run")],
        "grid": lambda: ["simulate", str(tmp_path / "sim"), "--cases", "1", "--grid", "tiny"],
        "simulate none": lambda: ["simulate", str(tmp_path / "sim"), "--cases", "0"],
        "anatomy": lambda: ["simulate", str(tmp_path / "sim"), "--cases", "1", "--anatomy", str(tmp_path)],
        "no bundle to evaluate": lambda: ["evaluate", str(tmp_path), str(tmp_path), "--output", output],
    }[name]()


NAMES = [
    "missing", "empty", "truncated", "text", "text .nii", "4-D", "2-D", "colour", "complex", "constant",
    "not a number", "noise", "folder", "age below", "age above", "sex", "diagnosis", "temperature", "samples",
    "output", "device", "mask", "bundle", "checksum", "ages", "ages text", "no cases", "no folder", "preset", "grid",
    "simulate none", "anatomy", "no bundle to evaluate",
    "no cases to validate", "file of cases",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_unusable_input_gives_one_sentence_and_exit_code_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(spoil(tmp_path, name)) == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    message = lines[-1]
    assert message.startswith("dualglow ")
    assert message.endswith(".")
    assert len(message) > 40
    assert all("Traceback" not in line for line in lines)
    assert not (tmp_path / "out.nii.gz").exists()


WRONG = {
    "no command": ([], "dualglow: ", "COMMAND"),
    "no such command": (["synthesise"], "dualglow: ", "'synthesise'"),
    "no such option of the program": (["--verbose", "benchmark"], "dualglow: ", "--verbose"),
    "nothing given": (["synthesize"], "dualglow synthesize: ", "T1, --output"),
    "no such option": (["synthesize", "t1", "--output", "p.nii", "--\x1b[2Jsix"], "dualglow synthesize: ", "[2Jsix"),
    "another command's": (
        ["sweep", "t1", "--ages", "50:90:10", "--age", "50", "--output", "p"],
        "dualglow sweep: ",
        "--age 50",
    ),
    "one too many": (["validate", "cases", "more"], "dualglow validate: ", "more"),
    "no number": (["synthesize", "t1", "--output", "p.nii", "--age", "old"], "dualglow synthesize: ", "--age: .*'old'"),
}


@pytest.mark.parametrize(
    ("typed", "named"),
    [("/usr/bin/dualglow", "dualglow"), ("dualglow.exe", "dualglow"), ("/x/__main__.py", "python -m DualGlowLib")],
)
def test_help_calls_the_program_as_it_was_called(
    typed: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", [typed])
    for command in ([], ["sweep"]):
        assert main([*command, "--help"]) == 0
        assert capsys.readouterr().out.startswith(" ".join(["usage:", named, *command]) + " ")


@pytest.mark.parametrize(("arguments", "start", "what"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], start: str, what: str, capsys: pytest.CaptureFixture
) -> None:
    """It names the command, what is wrong, and where one sees what is right."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    command = start.replace("dualglow", "python -m DualGlowLib").rstrip(": ")
    assert re.fullmatch(f"{start}[^\n\x1b]*{what}[^\n\x1b]*; {command} --help [^\n\x1b]*\\.\n", said)


def test_a_process_passes_the_code_on_without_a_traceback(tmp_path: Path) -> None:
    library = Path(main.__code__.co_filename).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "DualGlowLib", "synthesize", "none.nii.gz", "--output", str(tmp_path / "p.nii.gz")],
        cwd=library, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("dualglow synthesize: ")
    assert len(done.stderr.strip().splitlines()) == 1
