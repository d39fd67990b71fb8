"""The brain mask: on the scan's own lattice, one piece, the same each time."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
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


def beneath(head: Scan, millimetres: int) -> Scan:
    """A head on a drawn neck, shoulders and chest, as a coil for head and neck sees them."""
    rows, (nx, ny, nz) = int(millimetres / head.spacing[2]), head.shape
    x, y, z = np.meshgrid(np.arange(220), np.arange(140), np.arange(rows), indexing="ij")
    below = (rows - z) * head.spacing[2]
    wide, deep = np.clip(34 + (below - 60) * 0.9, 34, 100), np.clip(36 + (below - 60) * 0.2, 36, 48)
    inside = ((x - 109) / wide) ** 2 + ((y - 65) / deep) ** 2
    texture = 650 * (1 + 0.15 * np.sin(x / 3.1 + z / 5) * np.cos(y / 2.7))
    body = np.where(inside < 1, np.where(inside > 0.85, 1900, texture), 0) * np.exp(-((below / 260) ** 2))
    whole = np.zeros((220, 140, rows + nz), np.float32)
    left, front = (220 - nx) // 2, (140 - ny) // 2
    whole[left : left + nx, front : front + ny, rows:] = head.data
    whole[:, :, :rows] = body
    whole += np.abs(np.random.default_rng(0).normal(0, 25, whole.shape)).astype(np.float32)
    affine = head.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [left, front, rows]
    return Scan(whole, affine)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_head_on_shoulders(shared: Path, order: tuple[int, int, int]) -> None:
    """What is bright has its middle in the chest, which the network takes for a brain if it sees nothing else."""
    image = nib.as_closest_canonical(nib.load(shared / "data/t1_real/ixi012_T1.nii.gz"))
    head = Scan(image.get_fdata(dtype=np.float32), image.affine)
    body = beneath(head, 200)
    alone = brain_mask(head).data
    turned = Scan(body.data.transpose(order), body.affine[:, [*order, 3]])
    mask = brain_mask(turned).data.transpose(np.argsort(order))
    found = resample(alone, head.affine, body.shape, body.affine, order=0) > 0.5
    assert 2 * np.sum(mask & found) / (mask.sum() + found.sum()) > 0.95
