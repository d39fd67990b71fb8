"""Settings of a run and of a model: whatever a file says, one sentence or settings that can be used."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.model import ModelConfig, preset
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.training.settings import TrainingSettings

SHAPE = (16, 16, 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0), ("batch", 0), ("batch", -1), ("learning_rate", float("nan")), ("learning_rate", 0),
        ("learning_rate", -1e-3), ("warmup", -1), ("clip", 0), ("clip", float("inf")), ("ema", 1), ("ema", -0.1),
        ("optimizer", "sgd"), ("seed", -1), ("validation", 1), ("validation", -0.1), ("initialize_with", 0),
        ("image_share", 1.1), ("covariate_dropout", -0.1), ("memory", "all"), ("checkpoint_every", 0),
        ("validate_every", 0), ("steps", "many"), ("steps", None), ("steps", [1]), ("batch", 1.5), ("steps", 10**30),
    ],
)  # fmt: skip
def test_training_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"{name} must be "):
        TrainingSettings().updated({name: value})
    with pytest.raises(InputError, match=rf"{name} must be "):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize(
    "values",
    [
        {"pet": {"widths": [-1, 48, 64]}}, {"pet": {"widths": [0, 48, 64]}}, {"pet": {"depths": [3, 4]}},
        {"pet": {"depths": [10**6, 4, 4]}}, {"pet": {"widths": [10**6, 48, 64]}}, {"pet": {"bound": 0}},
        {"pet": {"scale": "log"}}, {"mri": {"mixing": "none"}}, {"mri": {"squeeze": "flat"}}, {"mri": {"depths": []}},
        {"link": {"kernel": 4}}, {"link": {"layers": 0}}, {"link": {"hidden": -3}}, {"link": {"groups": 7}},
        {"link": {"widths": [32, 64]}}, {"link": {"context": [8, 16]}}, {"link": {"widths": [32, 64, -96]}},
        {"link": {"max_log_sigma": 0}}, {"link": {"patterns": -1}}, {"link": {"image_weight": -1}},
        {"link": {"kind": "none"}}, {"mri": {"centred": True}},
        {"link": {"context": [8, 0, 16]}}, {"link": {"kind": "levelwise", "conditioning": "none"}},
        {"discriminators": {"width": 0, "weight": 1}}, {"discriminators": {"weight": -1}},
        {"discriminators": {"schedule": "step"}}, {"mri_weight": -1}, {"noise": "salt"}, {"mri_noise": -0.1},
        {"channels": [0, 1]}, {"channels": [1, 1, 1]}, {"link": 3}, {"pet": "big"},
        {"covariates": 5},
    ],
)  # fmt: skip
def test_models_that_cannot_be(values: dict) -> None:
    with pytest.raises(InputError) as error:
        preset("standard", SHAPE).updated(values, "model.json")
    assert str(error.value).startswith("model.json")
    written = preset("standard", SHAPE).to_dict()
    for name, value in values.items():
        written[name] = {**written[name], **value} if isinstance(value, dict) else value
    with pytest.raises((InputError, TypeError)):  # of a bundle; ``reading`` makes one sentence of both
        ModelConfig.from_dict(written)


@pytest.mark.parametrize("shape", [(16,), (16,) * 4, (8192, 16, 16), (1024,) * 3, (-16, 16, 16), (0, 16, 16)])
def test_shapes_that_no_model_has(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape"):
        preset("standard", shape)


@pytest.mark.parametrize("name", ["standard", "paper", "paper-conditional", "authors"])
def test_presets_are_within_the_bounds(name: str) -> None:
    config = preset(name, SHAPE)
    assert config.least_weights < 10**9
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(InputError, match="There is no preset"):
        preset([name], SHAPE)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"training": 3}', '{"model": []}', "[]", "{", "\udcff"])
def test_files_that_are_no_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"settings\.json"):
        TrainingSettings.read(path)


def test_settings_as_toml(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('preset = "authors"\n[model]\ncovariates = ["age"]\n[training]\nsteps = 7\nlearning_rate = 1e-3\n')
    if sys.version_info < (3, 11):
        with pytest.raises(InputError, match="write the settings as JSON"):
            TrainingSettings.read(path)
        return
    settings, rest = TrainingSettings.read(path)
    assert (settings.steps, settings.learning_rate) == (7, 1e-3)
    assert rest == {"preset": "authors", "model": {"covariates": ["age"]}}
    path.write_text("preset = ")
    with pytest.raises(InputError, match=r"settings\.toml is no TOML"):
        TrainingSettings.read(path)


def test_where_python_reads_no_toml_the_file_is_not_to_blame(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[training]\nsteps = 7\n")
    monkeypatch.setitem(sys.modules, "tomllib", None)
    with pytest.raises(InputError) as error:
        TrainingSettings.read(path)
    assert str(error.value) == f"{path} needs Python 3.11 or newer, which reads TOML; write the settings as JSON."


@pytest.mark.parametrize("options", [["--preset", "paper-conditional"], ["--config", "own.json"], ["--batch", "3"]])
def test_printed_settings_are_those_of_the_run(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = simulate_cohort(tmp_path / "cases", 3, "small", seed=3)
    own = {
        "preset": "standard",
        "model": {"covariates": ["age"], "pet": {"depths": [1, 1, 1]}},
        "training": {"clip": 3},
    }
    Path("own.json").write_text(json.dumps(own))
    command = ["train", str(cases), "--output", "run", "--steps", "9", *options]
    assert main([*command, "--print-config"]) == 0
    printed = capsys.readouterr().out
    Path("printed.json").write_text(printed)
    assert not Path("run").exists()
    assert main(["train", str(cases), "--output", "run", "--config", "printed.json", "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(printed)
    values = json.loads(printed)
    assert values["training"]["steps"] == 9
    usual = TrainingSettings.of_preset(values["preset"])
    assert values["training"]["batch"] == (3 if "--batch" in options else usual.batch)
    assert values["training"]["schedule"] == usual.schedule
    if "--config" in options:
        assert values["model"]["pet"]["depths"] == [1, 1, 1]
        assert [one["name"] for one in values["model"]["covariates"]] == ["age"]
