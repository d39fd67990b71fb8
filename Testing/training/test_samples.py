"""What a run shows of itself at each validation: pictures and images of held-out cases, and how good they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from DualGlowLib.metrics.images import image_metrics
from DualGlowLib.model import DualGlow, encode_covariates, preset
from DualGlowLib.outputs import kind_of_file
from DualGlowLib.training.data import Cohort
from DualGlowLib.training.estimate import made_up
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.marking import is_synthetic
from DualGlowLib.volumes.reading import read_scan

GRID = GRIDS["small"]
FLOW = {"depths": [1, 1, 1], "widths": [8, 8, 8]}
CONFIG = preset("standard", GRID.shape, mri=FLOW, pet=FLOW, link={"widths": [8, 8, 8], "context": [4, 4, 4]})


def trainer(folder: Path, validation: Cohort, **changes: object) -> Trainer:
    settings = TrainingSettings(steps=2, validate_every=1, initialize_with=2, warmup=1).updated(changes)
    about = {"simulated": True, "preparation": {"reference": "pons"}}
    return Trainer(folder, CONFIG, settings, GRID, made_up(GRID, 2), validation, about=about)


def history(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_each_validation_leaves_a_picture_and_the_latest_images(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer(run, made_up(GRID, 3)).run()
    samples = run / "samples"
    assert [path.name for path in sorted(samples.glob("*.png"))] == [f"step-{step:07d}.png" for step in (1, 2)]
    with Image.open(samples / "step-0000002.png") as picture:
        height, width = picture.height, picture.width
    assert (height - 52) % 3 == 0  # a row for each case
    assert width % 4 == 0
    assert height > 600
    for name in ("T1w", "pet", "mean", "sample"):
        path = samples / f"latest_{name}.nii.gz"
        scan = read_scan(path)
        assert GRID.holds(scan.shape, scan.affine)
        assert is_synthetic(scan) == (name in ("mean", "sample"))
        assert kind_of_file(path)
        about = json.loads((samples / f"latest_{name}.json").read_text())
        assert about.get("TrainingStep", 2) == 2
        assert about.get("Simulated", True) is True
    known = json.loads((samples / "latest_sample.json").read_text())["Covariates"]
    assert known == {"age": 70, "sex": "F", "diagnosis": "CN"}
    for event in history(run):
        assert 5 < event["validation_psnr"] < 60
        assert 0 < event["validation_crps"] < 1


def test_the_numbers_are_those_of_the_images(tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer(run, made_up(GRID, 1)).run()
    images = {name: read_scan(run / "samples" / f"latest_{name}.nii.gz").data for name in ("T1w", "pet", "mean")}
    psnr = image_metrics(images["mean"], images["pet"], images["T1w"] > 0, 2.0).psnr
    assert history(run)[-1]["validation_psnr"] == pytest.approx(psnr, rel=1e-5)


def test_none_are_drawn_where_none_are_asked_for_or_kept_out(tmp_path: Path) -> None:
    trainer(tmp_path / "none", made_up(GRID, 2), sampled_cases=0).run()
    trainer(tmp_path / "empty", made_up(GRID, 2).subset([])).run()
    for name in ("none", "empty"):
        assert not (tmp_path / name / "samples").exists()
        assert "validation_psnr" not in history(tmp_path / name)[-1]


def test_they_change_nothing_of_the_training(tmp_path: Path) -> None:
    for name, count in (("with", 2), ("without", 0)):
        trainer(tmp_path / name, made_up(GRID, 2), sampled_cases=count).run()
    losses = [[event["loss"] for event in history(tmp_path / name)] for name in ("with", "without")]
    assert losses[0] == losses[1]


def test_pictures_that_can_not_be_written_end_no_run(tmp_path: Path) -> None:
    said: list[str] = []
    run = tmp_path / "run"
    run.mkdir()
    (run / "samples").write_text("a file")
    one = trainer(run, made_up(GRID, 1))
    one.note = said.append
    one.run()
    assert len([sentence for sentence in said if "no pictures" in sentence]) == 1
    assert "validation_psnr" in history(run)[-1]


def test_the_image_law_alone_is_sampled_before_the_flow_learns() -> None:
    """Its samples have the law's own covariance, patterns and all."""
    torch.manual_seed(3)
    small = preset("standard", (8, 8, 8), mri={"depths": [1], "widths": [4]}, pet={"depths": [1], "widths": [4]},
                   link={"widths": [4], "context": [2], "patterns": 2, "groups": 0})  # fmt: skip
    model = DualGlow(small).eval()
    encoding = model.encode(torch.rand(1, 1, 8, 8, 8))
    code = encode_covariates(small.covariates, [{}])
    with torch.no_grad():
        law = model.link.decode(encoding.features, code)
        image = law.image._replace(patterns=0.3 * torch.randn(1, 2, 1, 8, 8, 8))
        law.image = image
        generator = torch.Generator().manual_seed(1)
        drawn = torch.cat([model.sample_image_law(law, 1.0, generator) for _ in range(4000)]).flatten(1)
        mean = model.sample_image_law(law, 0.0).flatten(1)[0]
    assert torch.allclose(mean, image.mean.flatten() + 0.5, atol=1e-6)
    u, s = image.patterns.flatten(1)[0].reshape(2, -1), image.log_scale.flatten().exp()
    expected = s.square() * (1 + u.square().sum(0))
    assert torch.allclose(drawn.var(0), expected, rtol=0.25)
    assert abs(float((drawn.var(0) / expected).mean()) - 1) < 0.02


def test_without_an_image_law_there_is_nothing_to_sample_alone() -> None:
    model = DualGlow(preset("paper", (16, 16, 16), mri=FLOW, pet=FLOW))
    encoding = model.encode(torch.rand(1, 1, 16, 16, 16))
    code = torch.zeros(1, 0)
    with pytest.raises(ValueError, match="no image law"):
        model.sample_image_law(model.link.decode(encoding.features, code))
