"""The model file: what is written comes back; what is damaged is refused with one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.bundle import Bundle, load_bundle, save_bundle
from DualGlowLib.model import DualGlow, encode_covariates, preset
from DualGlowLib.scans import GRIDS, Grid


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    config = preset("standard", (16, 16, 16))
    small = {"widths": (8, 8, 8), "depths": (1, 1, 1)}
    flows = {"mri": replace(config.mri, **small), "pet": replace(config.pet, **small)}
    config = replace(config, **flows, link=replace(config.link, widths=(8, 8, 8), context=(2, 2, 2)))
    model = DualGlow(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    bundle = Bundle(model, Grid("test", (16, 16, 16), (10.0, 10.0, 10.0)), 1.5, 2.5, "test", {"cases": 3})
    save_bundle(bundle, tmp_path / "model", "# card\n")
    return bundle


def test_round_trip(bundle: Bundle, tmp_path: Path) -> None:
    loaded = load_bundle(tmp_path / "model")
    assert loaded.config == bundle.config
    assert (loaded.grid, loaded.t1_scale, loaded.pet_scale) == (bundle.grid, 1.5, 2.5)
    assert (loaded.name, loaded.training, loaded.digest) == ("test", {"cases": 3}, bundle.digest)
    assert len(loaded.digest) == 64
    mri = torch.rand(1, 1, 16, 16, 16)
    code = encode_covariates(bundle.config.covariates, [{"age": 70}])
    with torch.no_grad():
        mine = bundle.model.sample(bundle.model.encode(mri), code, 0.0)
        theirs = loaded.model.sample(loaded.model.encode(mri), code, 0.0)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=5e-3)  # large tensors are kept in float16


def test_equal_models_have_equal_digests(bundle: Bundle, tmp_path: Path) -> None:
    digest = bundle.digest
    save_bundle(bundle, tmp_path / "again", "# another card\n")
    assert bundle.digest == digest


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _newer(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("weights.safetensors", _flip_a_bit, "does not have the checksum"),
        ("weights.safetensors", _truncate, "does not have the checksum"),
        ("weights.safetensors", Path.unlink, "is missing"),
        ("config.json", Path.unlink, "is no DualGlow model"),
        ("config.json", _truncate, "is damaged"),
        ("config.json", _newer, "update DualGlow"),
        ("config.json", lambda path: path.write_text("[]"), "is damaged"),
    ],
)
def test_damaged_bundles_are_refused(bundle: Bundle, tmp_path: Path, name: str, damage, says: str) -> None:
    damage(tmp_path / "model" / name)
    with pytest.raises(InputError, match=says) as caught:
        load_bundle(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_no_folder() -> None:
    with pytest.raises(InputError, match="is no DualGlow model"):
        load_bundle("nowhere")


def test_grids_divide_by_what_their_presets_need() -> None:
    for grid in GRIDS.values():
        assert all(side % 8 == 0 for side in grid.shape)
        preset("standard", grid.shape)
