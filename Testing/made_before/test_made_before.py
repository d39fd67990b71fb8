"""Bundles, checkpoints and prepared cohorts of an earlier DualGlow (README.md beside this file) serve today's."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib.bundle.bundle import load_bundle
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.cases.records import is_whole, read_record
from DualGlowLib.cases.report import validate_cases
from DualGlowLib.model import encode_covariates
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import Grid
from toy_runs import toy_cases

HERE = Path(__file__).resolve().parent
EXPECTED = json.loads((HERE / "expected.json").read_text())
COARSE = Grid("coarse", (16, 24, 16), (10.0, 10.0, 10.0))


def test_a_bundle_says_what_it_said() -> None:
    bundle = load_bundle(HERE / "bundle")
    assert [bundle.t1_scale, bundle.pet_scale] == EXPECTED["scales"]
    assert (bundle.grid.name, bundle.grid.shape) == ("toy", (8, 8, 1))
    model = bundle.model
    mri = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    with torch.no_grad():
        encoding = model.encode(mri)
        codes = encode_covariates(model.config.covariates, [{"age": 63.0, "sex": "F"}])
        law = model.link.decode(encoding.features, codes)
        mode = model.sample(encoding, codes, 0.0)
        pet_log_prob, mri_log_prob = model.pet_log_prob(0.5 * mri.flip(2), law), model.mri_log_prob(mri)[0]
    np.testing.assert_allclose(mode.flatten(), EXPECTED["mode"], rtol=1e-5, atol=1e-5)
    # Nats of 64 voxels: terms of some hundred that may cancel to nearly nothing, each rounded as the processor does it.
    np.testing.assert_allclose(pet_log_prob, EXPECTED["pet_log_prob"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(mri_log_prob, EXPECTED["mri_log_prob"], rtol=1e-5, atol=1e-4)


def test_a_run_goes_on_to_the_model_that_it_would_have_come_to(tmp_path: Path) -> None:
    shutil.copytree(HERE / "run", tmp_path / "run")
    packed = tmp_path / "run" / "checkpoint.pt.gz"
    (tmp_path / "run" / "checkpoint.pt").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    theirs = load_bundle(HERE / "bundle")
    usual = {"steps": 4, "warmup": 2, "batch": 2, "initialize_with": 4, "checkpoint_every": 1, "validate_every": 2}
    settings = replace(TrainingSettings(), **usual)
    run = Trainer(tmp_path / "run", theirs.config, settings, theirs.grid, toy_cases(6), toy_cases(2, seed=1))
    run.run(resume=True)
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == [1, 2, 3, 4]
    for mine, before in zip(history, EXPECTED["history"], strict=True):
        for key in set(before) - {"seconds"}:
            assert mine[key] == pytest.approx(before[key], rel=1e-4), key
    mine = load_bundle(tmp_path / "run" / "bundle").model.state_dict()
    for name, tensor in theirs.model.state_dict().items():
        torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()  # replaced by one with a checksum


def test_a_prepared_cohort_is_read() -> None:
    expected = EXPECTED["prepared"]
    (case,) = read_cases(HERE / "prepared")
    assert dict(case.covariates) == expected["covariates"]
    t1, pet, mask = read_on_grid(case, COARSE)
    assert mask.sum() == expected["voxels"]
    assert [t1[mask].mean(), pet[mask].mean()] == pytest.approx([expected["t1"], expected["pet"]], rel=1e-5)
    assert len(validate_cases(HERE / "prepared").usable) == 1


def test_a_prepared_case_counts_as_whole(tmp_path: Path) -> None:
    """Its record lists its files with their checksums: one that is gone or changed is noticed."""
    shutil.copytree(HERE / "prepared", tmp_path / "prepared")
    record = read_record(tmp_path / "prepared", "sub-01")
    assert record["status"] == "good"
    assert is_whole(tmp_path / "prepared", record)
    next((tmp_path / "prepared").rglob("*_pet.nii.gz")).write_bytes(b"other")
    assert not is_whole(tmp_path / "prepared", record)
