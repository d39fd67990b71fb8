"""iGlow, the paper's baseline: on a toy whose PET is a known function of the T1 it finds more than the mean PET."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from DualGlowLib import InputError
from DualGlowLib.baselines.iglow import IGlow
from DualGlowLib.cases.case import Case
from DualGlowLib.flow import FlowConfig
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.synthesis.predictor import DensityPredictor
from DualGlowLib.training.data import T1_SCALE, Cohort
from DualGlowLib.volumes.grid import Grid

SHAPES = {2: (16, 16), 3: (8, 8, 8)}
SMALL = FlowConfig(depths=(2, 2), widths=(16, 16))


def toy(count: int, dims: int, seed: int, pet_scale: float = 1.0) -> Cohort:
    """Smooth T1s; the PET of each is 0.2 + 0.6 · T1²."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, *(side // 4 for side in SHAPES[dims]), generator=generator)
    t1 = F.interpolate(coarse, size=SHAPES[dims], mode={2: "bilinear", 3: "trilinear"}[dims])
    cases = [Case(f"case-{i}", f"case-{i}", Path("t1"), Path("pet")) for i in range(count)]
    return Cohort(t1.half(), (0.2 + 0.6 * t1.square()).half(), cases, pet_scale)


def error(image: torch.Tensor, truth: torch.Tensor) -> float:
    return float((image - truth).square().mean().sqrt())


@pytest.mark.parametrize("dims", [2, 3])
def test_it_beats_the_mean_pet(dims: int) -> None:
    events: list[dict] = []
    model = IGlow(SHAPES[dims], SMALL)
    model.fit(toy(32, dims, 0), 60, 6, 5e-3, augment=False, report=events.append)
    assert events[-1]["bits"] < events[0]["bits"] - 1
    assert events[-1]["skipped"] == 0
    unseen = toy(4, dims, 1).batch(range(4))
    found = model.ascend(unseen.mri, 60, 0.15)
    assert found.shape == unseen.pet.shape
    mean = model.mean.expand_as(found)
    assert error(found, unseen.pet) < 0.75 * error(mean, unseen.pet)
    with torch.no_grad():
        assert (model.joint_log_prob(unseen.mri, found) > model.joint_log_prob(unseen.mri, mean)).all()


def fitted() -> IGlow:
    return IGlow(SHAPES[2], SMALL, seed=3).fit(toy(12, 2, 0), 4, 3)


def test_it_is_deterministic_and_its_state_is_whole() -> None:
    unseen = toy(2, 2, 1).batch([0, 1]).mri
    first = fitted()
    torch.manual_seed(99)  # no global random state may matter
    second = fitted()
    loaded = IGlow(SHAPES[2], SMALL)
    loaded.load_state_dict(first.state_dict())
    found = first.ascend(unseen, 5)
    assert torch.equal(second.ascend(unseen, 5), found)
    assert torch.equal(loaded.ascend(unseen, 5), found)
    assert not torch.equal(IGlow(SHAPES[2], SMALL, seed=4).fit(toy(12, 2, 0), 4, 3).ascend(unseen, 5), found)


def test_it_predicts_volumes_in_suvr() -> None:
    """From the T1 and to the SUVR that scans are prepared to, with nothing but its state."""
    fitted = IGlow(SHAPES[3], SMALL).fit(toy(12, 3, 0, 2.5), 4, 3)
    model = IGlow(SHAPES[3], SMALL, ascent=5)
    model.load_state_dict(fitted.state_dict())
    mri = toy(1, 3, 1).batch([0]).mri
    t1 = (T1_SCALE * mri[0, 0]).numpy()
    found = model.predict(PreparedT1(Grid("toy", SHAPES[3], (20.0,) * 3), t1, t1 > 0), {"age": 70})
    expected = 2.5 * fitted.ascend(mri, 5)[0, 0].numpy()
    np.testing.assert_allclose(found, expected.clip(0), atol=1e-5)
    assert not isinstance(model, DensityPredictor)  # its density is that of both images together


def test_a_wild_ascent_ends_no_lower_than_it_began() -> None:
    """The paper's trouble with it: steps far too long, into where nothing is finite any more."""
    model = fitted()
    unseen = toy(2, 2, 1).batch([0, 1]).mri
    mean = model.mean.expand(2, 1, *SHAPES[2])
    assert torch.equal(model.ascend(unseen, 0), mean)
    for rate in (30.0, 1e30):
        found = model.ascend(unseen, 5, rate)
        assert torch.isfinite(found).all()
        assert (model.joint_log_prob(unseen, found) >= model.joint_log_prob(unseen, mean)).all()


def test_its_density_is_that_of_both_images_together() -> None:
    model = IGlow((8, 4), SMALL).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    both = torch.rand(1, 2, 8, 4, dtype=torch.float64)

    def latents(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([z.flatten() for z in model.flow(values.reshape(both.shape) - 0.5)[0]])

    log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(latents, both.flatten())).logabsdet
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = log_det + standard.log_prob(latents(both.flatten())).sum()
    torch.testing.assert_close(model.joint_log_prob(*both.split(1, 1))[0], expected, rtol=1e-6, atol=1e-6)


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="does not divide by 4"):
        IGlow((16, 18), SMALL)
    with pytest.raises(InputError, match="not trained"):
        IGlow(SHAPES[2], SMALL).ascend(torch.zeros(1, 1, *SHAPES[2]))
    with pytest.raises(InputError, match="this iGlow takes"):
        fitted().ascend(torch.zeros(1, 1, 8, 8))
