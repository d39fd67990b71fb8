"""The paper's two tasks on natural images: conditions from photos, the model in its full structure, a training run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.model import DualGlow
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.photos import PHOTO_TASKS, PhotoPairs, cartoon, read_photo, sketch
from DualGlowLib.training.settings import TrainingSettings

skimage = pytest.importorskip("skimage", reason="photos need scikit-image")
SHIPPED = Path(skimage.__file__).parent / "data"  # what the wheel itself holds: nothing is fetched


def drawn(count: int, side: int) -> list[np.ndarray]:
    """Coloured discs before a shaded background."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    photos = []
    for _ in range(count):
        photo = np.stack([0.3 + 0.4 * x, 0.3 + 0.4 * y, np.full_like(x, 0.5)], -1)
        centre, radius, colour = random.uniform(0.3, 0.7, 2), random.uniform(0.15, 0.3), random.uniform(0, 1, 3)
        photo[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = colour
        photos.append(photo.astype(np.float32))
    return photos


def test_a_sketch_has_lines_where_the_photo_has_edges() -> None:
    photo = np.full((64, 64, 3), 0.2, np.float32)
    photo[16:48, 20:44] = (0.9, 0.6, 0.1)
    lines = sketch(photo)
    assert lines.shape == (64, 64, 1)
    assert lines.dtype == np.float32
    assert lines.min() == 0
    assert lines[31:33, 18:22].max() > 0.9
    assert lines[31:33, 28:36].max() == 0  # inside
    assert not sketch(np.full((64, 64, 3), 0.7, np.float32)).any()


def test_a_cartoon_is_flat_between_dark_outlines() -> None:
    photo = read_photo(SHIPPED / "coffee.png", 128)
    drawing = cartoon(photo)
    assert drawing.shape == photo.shape
    black = (drawing == 0).all(-1)
    assert 0.02 < black.mean() < 0.3

    def texture(image: np.ndarray) -> float:
        return float(np.median(np.abs(np.diff(image, axis=1)).max(-1)[~(black[:, 1:] | black[:, :-1])]))

    assert texture(drawing) < 0.7 * texture(photo)
    assert np.abs(drawing - photo)[~black].mean() < 0.05  # the colours stay


@pytest.mark.parametrize("name", ["astronaut.png", "camera.png", "logo.png", "rocket.jpg"])
def test_photos_of_every_kind_are_read(name: str) -> None:
    """Colour, grey, with transparency, JPEG; wide and high."""
    photo = read_photo(SHIPPED / name, 48)
    assert photo.shape == (48, 48, 3)
    assert photo.dtype == np.float32
    assert photo.min() >= 0
    assert photo.max() <= 1
    assert photo.std() > 0.05


def test_a_folder_of_photos(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    for i, photo in enumerate(drawn(3, 40)):
        skimage.io.imsave(tmp_path / "inside" / f"{i}.PNG", (255 * photo).astype(np.uint8))
    (tmp_path / "notes.txt").write_text("no photo")
    task = PHOTO_TASKS["sketch"]
    pairs = PhotoPairs.read(tmp_path, task, 32)
    assert [case.name for case in pairs.cases] == ["0", "1", "2"]
    assert pairs.t1.shape == (3, 1, 32, 32)
    assert pairs.pet.shape == (3, 3, 32, 32)
    expected = sketch(read_photo(tmp_path / "inside" / "1.PNG", 32))
    np.testing.assert_allclose(pairs.t1[1, 0].float(), expected[..., 0], atol=1e-3)
    seen = set()
    for seed in range(6):
        batch = pairs.batch([2, 0], torch.Generator().manual_seed(seed))
        for mine, i in zip(range(2), (2, 0), strict=True):
            mirrored = not torch.equal(batch.pet[mine], pairs.pet[i].float())
            seen.add(mirrored)
            for image, whole in ((batch.pet, pairs.pet), (batch.mri, pairs.t1)):
                assert torch.equal(image[mine], whole[i].flip(-1).float() if mirrored else whole[i].float())
    assert seen == {True, False}


def test_what_is_no_folder_of_photos_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = PHOTO_TASKS["sketch"]
    with pytest.raises(InputError, match="There is no folder"):
        PhotoPairs.read(tmp_path / "none", task)
    with pytest.raises(InputError, match="holds no photos"):
        PhotoPairs.read(tmp_path, task)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png can't be read as an image"):
        PhotoPairs.read(tmp_path, task)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(InputError, match="need the Python package scikit-image"):
        PhotoPairs.read(tmp_path, task)


@pytest.mark.parametrize(("name", "side", "channels"), [("sketch", 32, (1, 3)), ("cartoon", 64, (3, 3))])
def test_the_papers_models_in_full_depth(name: str, side: int, channels: tuple[int, int]) -> None:
    """Table 4, with fewer pixels and narrower networks: levels, depth, relation network, channels."""
    task = PHOTO_TASKS[name]
    whole = task.config()
    assert whole.shape == ((128, 128) if name == "sketch" else (256, 256))
    assert whole.mri == whole.pet
    assert whole.pet.depths == (8,) * (5 if name == "sketch" else 6)
    config = task.config(side, width=8)
    model = DualGlow(config)
    assert config.channels == channels
    assert [len(net) for net in model.link.nets] == [15] * len(whole.pet.depths)  # 8 convolutions, 7 ReLUs between
    pairs = PhotoPairs.of(drawn(4, side), task)
    batch = pairs.batch(range(4))
    pet, mri = model.add_noise(batch.pet, batch.mri, torch.Generator().manual_seed(0))
    covariates = torch.zeros(4, 0)
    model.initialize(pet, mri, covariates)
    model(pet, mri, covariates).loss.mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)
    model = model.double()
    with torch.no_grad():
        encoding = model.encode(mri.double())
        law = model.link.decode(encoding.features, covariates.double())
        latents, _ = model.pet_latents(pet.double(), law)
        torch.testing.assert_close(model.pet_from_latents(latents, law), pet.double(), rtol=0, atol=1e-8)
        assert model.sample(encoding, covariates.double(), 0.7).shape == pet.shape


@pytest.mark.parametrize("name", list(PHOTO_TASKS))
def test_a_training_run(name: str, tmp_path: Path) -> None:
    """The trainer of the brain model takes photos: the loss falls, the bundle loads, the condition tells something."""
    task = PHOTO_TASKS[name]
    photos = [read_photo(SHIPPED / file, 64) for file in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")]
    pairs = PhotoPairs.of([photo[y : y + 32, x : x + 32] for photo in photos for y in (0, 32) for x in (0, 32)], task)
    config = replace(task.config(32, levels=2, depth=2, width=24), noise="gaussian")
    settings = TrainingSettings(
        steps=80, batch=4, learning_rate=3e-3, warmup=5, ema=0.9, initialize_with=14, validate_every=30
    )
    held = [3, 12]
    rest = [i for i in range(len(pairs)) if i not in held]
    about = {"task": f"{name} to photo"}
    run = Trainer(tmp_path / "run", config, settings, pairs.grid, pairs.subset(rest), pairs.subset(held), about=about)
    run.run()
    history = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert np.mean([line["loss"] for line in history[-5:]]) < np.mean([line["loss"] for line in history[:5]]) - 0.5
    assert run.skipped == 0
    bundle = load_bundle(run.folder / "bundle")
    card = (run.folder / "bundle" / "README.md").read_text()
    assert f"{name} to photo" in card
    assert "MRI to" not in card
    batch = pairs.batch(held)
    with torch.no_grad():
        encoding = bundle.model.encode(batch.mri)
        none = torch.zeros(2, 0)
        samples = bundle.model.sample(encoding, none, 0.7, torch.Generator().manual_seed(0))
        again = bundle.model.sample(encoding, none, 0.7, torch.Generator().manual_seed(0))
        swapped = bundle.model.sample(
            bundle.model.encode(batch.mri.flip(0)), none, 0.7, torch.Generator().manual_seed(0)
        )
        whole = pairs.batch(range(len(pairs)))
        own, others = (
            bundle.model(whole.pet, mri, torch.zeros(len(pairs), 0)).pet_bits.mean()
            for mri in (whole.mri, whole.mri.roll(5, 0))
        )
    assert own < others - 0.005
    assert samples.shape == batch.pet.shape
    assert torch.isfinite(samples).all()
    assert torch.equal(samples, again)
    assert (samples - swapped).abs().max() > 1e-3
