"""From a folder of photos to a photo of a sketch, by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.training.photo_runs import photo_of, read_pairs
from DualGlowLib.training.photos import PHOTO_TASKS, read_photo

pytest.importorskip("skimage", reason="photos need scikit-image")
SIDE = 16


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of four photos of a square."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "photos").mkdir()
    for number in range(4):
        photo = np.full((40, 48, 3), 60, np.uint8)
        photo[10 : 26 + number, 14:34] = (200, 40 * number, 90)
        Image.fromarray(photo).save(folder / "photos" / f"square-{number}.png")
    command = ["simulate", str(folder / "pairs"), "--photos", str(folder / "photos"), "--side", str(SIDE)]
    assert main(command) == 0
    assert main(command) == 0  # again, the same
    return folder / "pairs"


@pytest.fixture(scope="module")
def bundle(pairs: Path) -> Path:
    settings = pairs.parent / "settings.json"
    flow = {"depths": [1, 1], "widths": [8, 8]}
    model = {"mri": flow, "pet": flow, "link": {"layers": 1, "hidden": 8}}
    settings.write_text(json.dumps({"model": model, "training": {"batch": 2, "warmup": 1, "initialize_with": 2}}))
    run = pairs.parent / "run"
    command = ["train", str(pairs), "--output", str(run), "--config", str(settings), "--steps", "3", "--device", "cpu"]
    assert main(command) == 0
    return run / "bundle"


def test_pairs_are_photos_and_their_sketches(pairs: Path) -> None:
    found, task = read_pairs(pairs)
    assert (task.name, len(found)) == ("sketch", 4)
    assert [case.name for case in found.cases] == [f"0000{i}_square-{i}" for i in range(4)]
    photo = read_photo(pairs.parent / "photos" / "square-2.png", SIDE)
    np.testing.assert_allclose(found.pet[2].movedim(0, -1).float(), photo, atol=3e-3)
    np.testing.assert_allclose(found.t1[2, 0].float(), PHOTO_TASKS["sketch"].derive(photo)[..., 0], atol=3e-3)


def test_a_run_shows_held_out_pairs(bundle: Path) -> None:
    """One row: condition, photo, mode, two samples."""
    assert Image.open(bundle.parent / "samples.png").size == (5 * SIDE, SIDE)


def test_a_sketch_becomes_a_photo(pairs: Path, bundle: Path, tmp_path: Path) -> None:
    picture = sorted((pairs / "condition").iterdir())[1]
    out = tmp_path / "photo.png"
    command = ["synthesize", str(picture), "--bundle", str(bundle), "--output", str(out), "--device", "cpu"]
    assert main(command) == 0
    image = np.asarray(Image.open(out))
    assert image.shape == (SIDE, SIDE, 3)
    model = load_bundle(bundle).model
    condition = torch.from_numpy(read_photo(picture, SIDE)).movedim(-1, 0).mean(0)[None, None]
    with torch.no_grad():
        mode = model.sample(model.encode(condition), torch.zeros(1, 0), 0.0)
    np.testing.assert_array_equal(image, (255 * mode[0].clamp(0, 1)).round().byte().movedim(0, -1).numpy())
    noisy = [photo_of(bundle, picture, 0.7, seed) for seed in (1, 1, 2)]
    assert (noisy[0] == noisy[1]).all()
    assert (noisy[0] != noisy[2]).any()


def test_what_can_not_be(pairs: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    picture = str(sorted((pairs / "condition").iterdir())[0])
    output = ["--output", str(tmp_path / "out.png")]
    for command, message in (
        (["synthesize", picture, *output], "give a model of photos with --bundle"),
        (["synthesize", picture, "--bundle", str(bundle), "--age", "70", *output], "--age is for the T1 of a head"),
        (["train", str(pairs), "--output", str(tmp_path / "run"), "--grid", "small"], "take no --grid"),
        (["simulate", str(pairs), "--photos", str(pairs / "photo"), "--side", "32"], "of another task or side"),
        (["simulate", str(tmp_path), "--photos", str(pairs / "photo"), "--cases", "3"], "--photos and --cases don't"),
        (["simulate", str(tmp_path / "new"), "--cases", "3", "--side", "8"], "are options of --photos"),
        (["simulate", str(tmp_path / "new"), "--photos", str(pairs / "photo"), "--task", "oil"], "no task 'oil'"),
    ):
        assert main(command) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(InputError, match="is a model of brains"):
        photo_of(None, picture)
