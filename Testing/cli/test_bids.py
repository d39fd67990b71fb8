"""What DualGlow writes is BIDS, says the official validator; where ``synthesize`` and ``sweep`` put what they name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from DualGlowLib.__main__ import main
from DualGlowLib.cli.derivatives import pet_place
from DualGlowLib.cohorts.cohort import prepare_cohort
from DualGlowLib.simulate.cohort import simulate_cohort
from raw_cohort import GRID, make_cohort, quick_case

DERIVATIVE, RAW = '{"DatasetType": "derivative"}', '{"Name": "a study"}'
NAME = "sub-1_ses-2_trc-18FFDG_space-T1w_desc-synthetic_pet.nii.gz"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each command writes for one case without sessions, and one with."""
    place = tmp_path_factory.mktemp("bids")
    simulate_cohort(place / "simulate", 1, "small", 1)
    cases = make_cohort(place / "cases", ["sub-01", "sub-02"])
    for folder in ("anat", "pet"):
        session = cases / "sub-02" / "ses-M00" / folder
        session.parent.mkdir(exist_ok=True)
        (cases / "sub-02" / folder).rename(session)
        for file in list(session.iterdir()):
            file.rename(file.with_name(file.name.replace("sub-02_", "sub-02_ses-M00_acq-fast_run-1_")))
    made = prepare_cohort(cases, place / "prepare", GRID, work=quick_case).cases
    assert {about["status"] for about in made.values()} == {"good"}
    anat = cases / "sub-02" / "ses-M00" / "anat"
    t1, mask = (str(next(anat.glob(f"*_{suffix}.nii.gz"))) for suffix in ("T1w", "mask"))
    options = [t1, "--mask", mask, "--regions", "--samples", "2", "--temperature", "1", "--below", "1", "--output"]
    (place / "synthesize").mkdir()
    more = ["--qc", str(place / "synthesize" / "qc.png"), "--transform", str(place / "synthesize" / "t1.tfm")]
    assert main(["synthesize", *options, str(place / "synthesize"), *more]) == 0
    assert main(["sweep", *options, str(place / "sweep"), "--ages", "60:70:10"]) == 0
    return place


@pytest.mark.parametrize("command", ["simulate", "prepare", "synthesize", "sweep"])
def test_the_official_validator_finds_no_error(written: Path, command: str) -> None:
    pytest.importorskip("bids_validator_deno", reason="bids-validator-deno is not installed")
    program = "import sys, bids_validator_deno as b; sys.exit(b.cli())"
    run = subprocess.run(
        [sys.executable, "-c", program, "--format", "json", str(written / command)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(run.stdout)
    images = {"simulate": 3, "prepare": 6, "synthesize": 3, "sweep": 6}[command]
    assert len(list((written / command).glob("sub-*/**/*.nii.gz"))) == images
    assert sorted(found["summary"]["subjects"]) == {"simulate": ["0001"], "prepare": ["01", "02"]}.get(command, ["02"])
    issues = found["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert [issue for issue in issues if issue["code"] == "TSV_ADDITIONAL_COLUMNS_UNDEFINED"] == []


def test_a_sidecar_says_what_holds(written: Path) -> None:
    """Images, masks included, have one; a simulation claims neither a scanner nor raw data."""
    for image in written.glob("[sp]*/sub-*/**/*.nii.gz"):
        about = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
        assert about["Description"], image
        assert (about["Type"] == "Brain") if "mask" in image.name else isinstance(about["SkullStripped"], bool)
        assert "Manufacturer" not in about
    pet = json.loads(next(written.glob("sweep/**/*Age60*Fast*_pet.json")).read_text())
    assert pet["SpatialReference"] == "sub-02/ses-M00/anat/sub-02_ses-M00_acq-fast_run-1_space-orig_T1w.nii.gz"
    assert json.loads((written / "simulate" / "dataset_description.json").read_text())["DatasetType"] == "derivative"


@pytest.mark.parametrize(
    ("folder", "before", "place"),
    [
        ("new", {}, f"new/sub-1/ses-2/pet/{NAME}"),
        ("of others", {"of others/dataset_description.json": DERIVATIVE}, f"of others/sub-1/ses-2/pet/{NAME}"),
        ("mine", {"mine/notes.txt": "anything"}, f"mine/{NAME}"),
        ("raw", {"raw/dataset_description.json": RAW}, f"raw/{NAME}"),
        ("raw/derivatives/made", {"raw/dataset_description.json": RAW}, f"raw/derivatives/made/sub-1/ses-2/pet/{NAME}"),
        ("all/sub-1/pet", {"all/dataset_description.json": DERIVATIVE}, f"all/sub-1/pet/{NAME}"),
        ("pet", {}, f"pet/{NAME}"),
    ],
)
def test_a_folder_becomes_a_derivative_only_if_it_holds_nothing_else(
    folder: str, before: dict[str, str], place: str, tmp_path: Path
) -> None:
    for name, text in before.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert pet_place(tmp_path / folder, NAME) == tmp_path / place


def test_a_derivative_takes_the_next_person_too(written: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(written / "synthesize", out)
    (out / "README").write_text("mine")
    (out / ".bidsignore").unlink()  # as if it had been killed before it wrote that
    anat = written / "cases" / "sub-01" / "anat"
    t1, mask = (str(next(anat.glob(f"*_{suffix}.nii.gz"))) for suffix in ("T1w", "mask"))
    assert main(["synthesize", t1, "--mask", mask, "--output", str(out)]) == 0
    assert [path.name for path in sorted(out.glob("sub-*"))] == ["sub-01", "sub-02"]
    assert len(list((out / "sub-01" / "pet").glob("sub-01_trc-18FFDG_*.nii.gz"))) == 1
    assert (out / "README").read_text() == "mine"
    assert (out / ".bidsignore").is_file()
