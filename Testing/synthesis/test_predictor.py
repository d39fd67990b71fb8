"""A model as a Predictor: the same PETs and likelihoods as the Synthesizer's, through what evaluation may ask."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.model import DualGlow
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.synthesis.draws import Draws
from DualGlowLib.synthesis.predictor import DensityPredictor, ModelPredictor, SamplingPredictor
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.volumes.grid import GRIDS
from toy_cohort import PET_SCALE, SHAPES, toy_bundle, toy_config

WOMAN, MAN = {"age": "72", "sex": "F"}, {"age": 60, "sex": "M"}


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    torch.manual_seed(0)
    model = DualGlow(toy_config(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return Synthesizer(toy_bundle(model))


def prepared(synthesizer: Synthesizer, seed: int = 0) -> PreparedT1:
    t1 = np.random.default_rng(seed).random(SHAPES[3], np.float32)
    return PreparedT1(synthesizer.bundle.grid, t1, t1 > 0.1)


def test_its_pets_are_those_of_the_synthesizer(synthesizer: Synthesizer) -> None:
    method = ModelPredictor(synthesizer)
    assert isinstance(method, SamplingPredictor)
    assert method.name == synthesizer.bundle.name
    for t1 in (prepared(synthesizer, 0), prepared(synthesizer, 1)):  # a second T1 gets no PET of the first
        encoding = synthesizer.encode_prepared(t1.t1)
        for covariates in (WOMAN, MAN, {}):
            question = Question(covariates)
            mode = synthesizer.distribution(encoding, question).mean
            assert np.array_equal(method.predict(t1, covariates), mode)
            images = list(method.sample(t1, covariates, 5, 3))
            drawn = synthesizer.distribution(encoding, replace(question, temperature=1.0, samples=5, seed=3))
            draws = Draws()
            for image in images:
                draws.add(torch.from_numpy(image))
            found = draws.result()
            assert np.array_equal(found.mean, drawn.mean)
            assert np.array_equal(found.sd, drawn.sd)
            first = islice(method.sample(t1, covariates, 2, 3), 2)
            assert all(np.array_equal(*pair) for pair in zip(images, first, strict=False))


def test_its_densities_are_over_suvr(synthesizer: Synthesizer) -> None:
    """So that methods which scale PETs differently can be compared: twice the SUVR, half the density a voxel."""
    method, t1 = ModelPredictor(synthesizer), prepared(synthesizer)
    assert isinstance(method, DensityPredictor)
    pet = method.predict(t1, WOMAN)
    nats = synthesizer.log_likelihood(synthesizer.encode_prepared(t1.t1), pet, WOMAN)["nats"]
    density = method.log_prob(t1, WOMAN, pet)
    assert density == pytest.approx(nats - pet.size * math.log(PET_SCALE))
    bundle = toy_bundle(synthesizer.model)
    bundle.pet_scale = 2 * PET_SCALE
    twice = ModelPredictor(Synthesizer(bundle)).log_prob(t1, WOMAN, 2 * pet)
    assert twice == pytest.approx(density - pet.size * math.log(2))


def test_a_t1_on_another_grid_is_refused(synthesizer: Synthesizer) -> None:
    grid = GRIDS["small"]
    t1 = PreparedT1(grid, np.zeros(grid.shape, np.float32), np.ones(grid.shape, bool))
    with pytest.raises(InputError, match="prepared for the grid 'small'; prepare it for 'toy'"):
        ModelPredictor(synthesizer).predict(t1, {})
