"""The brain mask: on the scan's own lattice, one piece, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation import brain
from DualGlowLib.preparation.brain import brain_mask
from DualGlowLib.resources import resource
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan


@pytest.fixture(scope="module")
def stripped() -> Scan:
    """The template at 2 mm: a brain without skull."""
    template = load_template()
    affine = template.t1.affine @ np.diag([2, 2, 2, 1])
    shape = tuple(n // 2 for n in template.t1.shape)
    t1 = resample(template.t1.data, template.t1.affine, shape, affine)
    return Scan(np.where(t1 > 20, t1, 0), affine)


def test_a_stripped_brain_is_taken_as_it_is(stripped: Scan) -> None:
    mask = brain_mask(stripped)
    assert mask.data.dtype == bool
    assert mask.affine.tobytes() == stripped.affine.tobytes()
    assert mask.data[stripped.data > 0].mean() > 0.999
    assert mask.data.sum() < 1.02 * np.count_nonzero(stripped.data)
    np.testing.assert_array_equal(brain_mask(stripped).data, mask.data)


def test_another_offset_and_gain_give_the_same_mask(stripped: Scan) -> None:
    other = Scan(stripped.data * 0.01 - 5, stripped.affine)
    assert np.mean(brain_mask(other).data != brain_mask(stripped).data) < 1e-4


def test_an_impossible_field_of_view_is_refused(stripped: Scan) -> None:
    with pytest.raises(InputError, match="mm long"):
        brain_mask(Scan(stripped.data, np.diag([20.0, 20, 20, 1])))


def test_a_real_head_in_any_lattice(shared: Path) -> None:
    """Skull and neck stay out, and turning the array doesn't move the mask."""
    scan = read_scan(shared / "data/elderly/Subj14_T1.nii.gz")
    labels = read_scan(shared / "data/elderly/Subj14_DLMUSE.nii.gz").data > 0
    mask = brain_mask(scan).data
    assert 2 * np.sum(mask & labels) / (mask.sum() + labels.sum()) > 0.94
    turned = scan.affine.copy()
    turned[:3, 3] += turned[:3, 0] * (scan.shape[0] - 1)
    turned[:3, 0] *= -1
    again = brain_mask(Scan(scan.data[::-1].transpose(2, 0, 1), turned[:, [2, 0, 1, 3]])).data
    assert np.mean(again.transpose(1, 2, 0)[::-1] != mask) < 1e-4


def test_intensities_are_scaled_by_percentiles() -> None:
    image = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    low, high = brain.intensity_range(image)
    assert low == pytest.approx(9.99)
    assert high == pytest.approx(989, abs=1.1)
    scaled = brain.scale_intensity(image, low, high)
    assert scaled.min() == 0
    assert scaled.max() == pytest.approx(999 / high, abs=0.02)


def test_the_shipped_weights_are_small_and_described() -> None:
    folder = resource("Models", "brainmask")
    assert (folder / "weights.safetensors").stat().st_size < 1 << 20
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    sizes = {"coarse": 0, "fine": 1}
    for name, position in sizes.items():
        assert sum(p.numel() for p in brain._networks()[position].parameters()) == card["parameters"][name]


def test_an_image_is_convolved_as_if_it_had_been_doubled() -> None:
    import torch
    from torch.nn import functional

    from DualGlowLib.preparation.brainnet import BrainNet, _doubled

    generator = torch.Generator().manual_seed(0)
    x, weight = torch.rand(2, 3, 4, 5, 6, generator=generator), torch.rand(7, 3, 3, 3, 3, generator=generator)
    expected = functional.conv3d(functional.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=1)
    torch.testing.assert_close(_doubled(x, weight), expected)

    net = BrainNet(inputs=2, width=4, levels=3, norm="batch").eval()
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + (0.5 if "running_var" in name else -0.3))
    image = torch.rand(1, 2, 8, 12, 16, generator=generator)
    with torch.inference_mode():
        before = net(image)
        torch.testing.assert_close(net.fuse()(image), before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(one, torch.nn.BatchNorm3d) for one in net.modules())
