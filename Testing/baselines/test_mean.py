"""The mean PET of a cohort, and that of a model's training cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from DualGlowLib.baselines.mean import MeanPET
from DualGlowLib.cases.case import Case
from DualGlowLib.model import DualGlow, preset
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.training.data import Cohort
from toy_cohort import PET_SCALE, SHAPES, toy_bundle, toy_config


def cohort() -> Cohort:
    pet = torch.rand(6, 1, *SHAPES[3]).half()
    return Cohort(pet, pet, [Case(str(i), str(i), Path("t1"), Path("pet")) for i in range(6)], PET_SCALE)


def test_it_is_the_mean_of_the_pets_in_suvr_whatever_the_t1() -> None:
    cases = cohort()
    method = MeanPET.fit(cases)
    pets = PET_SCALE * cases.pet[:, 0].double().numpy()
    for seed in (0, 1):
        t1 = np.random.default_rng(seed).random(SHAPES[3], np.float32)
        prepared = PreparedT1(toy_bundle(DualGlow(toy_config(3))).grid, t1, t1 > 0.1)
        found = method.predict(prepared, {"age": 60 + seed})
        np.testing.assert_allclose(found, 0.5 * (pets + pets[:, ::-1]).mean(0), rtol=1e-6)  # no side is preferred


def test_a_bundle_gives_that_of_its_training_cohort() -> None:
    cases = cohort()
    bundle = toy_bundle(DualGlow(toy_config(3)))
    mean, sd = cases.statistics()
    bundle.model.link.set_base(mean - 0.5, sd)  # as training starts
    np.testing.assert_allclose(MeanPET.of_bundle(bundle).mean, MeanPET.fit(cases).mean, rtol=1e-6)


def test_kinds_of_model_that_do_not_keep_it_give_none() -> None:
    assert MeanPET.of_bundle(toy_bundle(DualGlow(preset("authors", (16, 16, 16))))) is None
