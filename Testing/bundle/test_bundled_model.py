"""The model that ships with DualGlow: that it is what its card says, invertible with its trained weights, and right on
the template and on real heads."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from DualGlowLib.__main__ import main
from DualGlowLib.atlas.template import load_template
from DualGlowLib.bundle.bundle import DEFAULT_BUNDLE, load_bundle
from DualGlowLib.bundle.card import model_card
from DualGlowLib.model import encode_covariates
from DualGlowLib.resources import resource
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import PatientEncoding, Synthesizer
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample

# MUSE labels of the cerebral white matter; the cortex has those from 100 on.
WHITE = tuple(range(81, 95))


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer.from_bundle(device="cpu")


@pytest.fixture(scope="module")
def patient(synthesizer: Synthesizer) -> PatientEncoding:
    return synthesizer.encode(load_template().t1)


def test_it_is_small_and_honest() -> None:
    folder = resource("Models", DEFAULT_BUNDLE)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == model_card(load_bundle(), "Apache-2.0", {"psnr": 27.6, "ssim": 0.94})
    assert "simulated" in card
    assert "Research use only" in card
    assert load_bundle().training["simulated"] is True


def test_round_trip_with_trained_weights(synthesizer: Synthesizer, patient: PatientEncoding) -> None:
    model, bundle = synthesizer.model, synthesizer.bundle
    generator = torch.Generator().manual_seed(0)
    covariates = encode_covariates(bundle.config.covariates, [{"age": 70, "sex": "F", "diagnosis": "CN"}])
    with torch.inference_mode():
        for temperature in (0.0, 1.0):
            pet = model.sample(patient.encoding, covariates, temperature, generator)
            law = model.link.decode(patient.encoding.features, covariates)
            latents, _ = model.pet_latents(pet, law)
            assert (model.pet_from_latents(latents, law) - pet).abs().max() < 1e-4
        mri = torch.from_numpy(patient.prepared.t1)[None, None] / bundle.t1_scale - 0.5
        assert (model.mri_flow.inverse(model.mri_flow(mri)[0]) - mri).abs().max() < 1e-4


def test_age_lowers_uptake_and_the_true_age_changes_nothing(synthesizer: Synthesizer, patient: PatientEncoding) -> None:
    brain = patient.prepared.mask
    means = []
    for age in (50, 60, 70, 80, 90):
        asked = Question({"age": age, "sex": "F", "diagnosis": "CN"})
        pet, again = (synthesizer.distribution(patient.encoding, asked).mean for _ in range(2))
        assert np.array_equal(pet, again)
        means.append(pet[brain].mean())
    assert all(old < young for young, old in itertools.pairwise(means))


def test_covariates_may_be_unknown(synthesizer: Synthesizer, patient: PatientEncoding) -> None:
    pet = synthesizer.distribution(patient.encoding, Question()).mean
    assert np.isfinite(pet).all()
    assert 0.5 < pet[patient.prepared.mask].mean() < 2.5


def test_disease_lowers_its_own_regions(synthesizer: Synthesizer, patient: PatientEncoding) -> None:
    from DualGlowLib.atlas.regions import REGIONS, weights

    kernels = np.asarray(weights(synthesizer.bundle.grid))
    healthy, ill = (
        synthesizer.distribution(patient.encoding, Question({"age": 75, "sex": "F", "diagnosis": diagnosis})).mean
        for diagnosis in ("CN", "AD")
    )
    change = {
        name: float((ill * kernel).sum() / (healthy * kernel).sum()) - 1
        for name, kernel in zip(REGIONS, kernels, strict=True)
    }
    spared = np.mean([change[name] for name in ("sensorimotor_L", "sensorimotor_R", "cerebellum")])
    assert change["posterior_cingulate_precuneus"] < spared - 0.05
    assert change["inferior_parietal_L"] < spared - 0.05


@pytest.mark.parametrize(("name", "age"), [("ixi012", 39), ("Subj4", 76), ("Subj12", 87)])
def test_real_heads(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, age: int) -> None:
    """IXI012 is 39 years old: a year younger than the model's cohort, but within its margin."""
    data = shared / "data"
    t1_path = data / "t1_real/ixi012_T1.nii.gz" if name == "ixi012" else data / f"elderly/{name}_T1.nii.gz"
    labels_path = (
        data / f"seg_real/{name}_T1_DLMUSE.nii.gz" if name == "ixi012" else data / f"elderly/{name}_DLMUSE.nii.gz"
    )
    output = tmp_path / "pet.nii.gz"
    assert main(["synthesize", str(t1_path), "--age", str(age), "--output", str(output)]) == 0, capsys.readouterr().err
    t1, pet = nib.load(t1_path), nib.load(output)
    assert pet.shape == t1.shape
    assert np.array_equal(pet.affine, t1.affine)

    labels = read_scan(labels_path)
    codes = np.round(resample(labels.data, labels.affine, t1.shape, t1.affine, order=0)).astype(int)
    values = pet.get_fdata()
    white, grey = np.isin(codes, WHITE), codes >= 100
    core = white & np.all([np.roll(white, step, axis) for axis in range(3) for step in (-1, 1)], axis=0)
    assert values[grey].mean() > values[white].mean()
    assert values[grey].mean() > 1.15 * values[core].mean()  # away from the cortex's own blur
    total = values.sum()
    assert values[codes > 0].sum() > 0.75 * total  # sulci are not labelled
    # The PET's own place, without its mask: it must not be moved against the brain.
    places = np.argwhere(values > 0.3 * values.max()).mean(0), np.argwhere(codes > 0).mean(0)
    shift = t1.affine[:3, :3] @ (places[0] - places[1])
    assert np.linalg.norm(shift) < 4.0
