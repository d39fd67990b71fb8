"""One person's brain: an anatomy, atrophied, deformed and photographed by an MRI scanner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..atlas.regions import PARTITION, work_partition
from ..preparation.intensity import normalise_t1
from ..volumes.grid import Grid
from ..volumes.separable import (
    HALF,
    WORK,
    Axes,
    Line,
    apply_axes,
    at_places,
    half_affine,
    lines,
    sample_axes,
    upsample,
    velocity_to_displacement,
    warp,
)
from .anatomy import Anatomy
from .uptake import region_table

__all__ = ["Covariates", "Shape", "as_it_is", "draw_shape", "photograph"]

# What is added of a T1's detail, at least and at most: such that simulated T1s are as sharp as prepared real ones.
_SHARPNESS = {"photograph": (0.0, 0.7), "deformed": (-0.1, 0.4), "prepared": (-0.2, 0.2)}
_STAGE = {"CN": 0.0, "MCI": 0.5, "AD": 1.0}


@dataclass(frozen=True)
class Covariates:
    """What is known about a person: age in years, sex F or M, diagnosis CN, MCI or AD."""

    age: float
    sex: str
    diagnosis: str


@dataclass
class Shape:
    """The brain of one case on ``WORK``, before any image is made of it.

    Attributes:
        anatomy: the anatomy it was made from.
        gm, wm, csf: tissue shares in the anatomy's own position, after atrophy.
        displacement: ``[80, 96, 80, 3]`` voxels; where in the anatomy each voxel of the case comes from.
        flipped: whether left and right are exchanged (before the displacement).
    """

    anatomy: Anatomy
    gm: Tensor
    wm: Tensor
    csf: Tensor
    displacement: Tensor
    flipped: bool

    def place(self, maps: Tensor) -> Tensor:
        """``[c, 80, 96, 80]`` from the anatomy's position to the case's."""
        return warp(maps.flip(1) if self.flipped else maps, self.displacement)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))


@lru_cache(maxsize=4)
def _smoother(fwhm: float) -> tuple[Axes, float]:
    """Blur on ``HALF``, and the factor that makes blurred white noise have sd 1 in the middle of the lattice."""
    axes = sample_axes(lines(HALF, half_affine()), lines(HALF, half_affine()), fwhm)
    gain = 1.0
    for axis in axes:
        gain *= float((axis[len(axis) // 2] ** 2).sum())
    return axes, 1 / math.sqrt(gain)


def smooth_noise(generator: torch.Generator, count: int, fwhm: float) -> Tensor:
    """``[count, *HALF]``: Gaussian fields of sd 1, correlated over ``fwhm`` mm."""
    axes, gain = _smoother(fwhm)
    return apply_axes(axes, _normal(generator, count, *HALF)) * gain


def draw_shape(generator: torch.Generator, anatomy: Anatomy, covariates: Covariates) -> Shape:
    """Atrophy fit for age and diagnosis, an individual smooth deformation, what registration leaves, and a flip.

    The ventricles are brought towards a size that grows 2.3 % per year, 20 % larger in MCI and 40 % in Alzheimer's
    disease (sd 30 % between persons), the cortex thins by 0.6 % per year of its outer layer and by the pattern of
    ``Uptake.thinning`` in disease. These are choices of ours, of the size that the literature reports.
    """
    stage = _STAGE[covariates.diagnosis] * (1 + 0.25 * float(_normal(generator)))
    return_to = math.log(22.0) + 0.023 * (covariates.age - 40) + 0.35 * stage + 0.30 * float(_normal(generator))
    growth = (return_to - anatomy.log_ventricles) / anatomy.ventricle_gain
    growth = min(max(growth, -1.2), 2.0)

    table = region_table()
    pattern = anatomy.regional([table[name].thinning for name in PARTITION])
    years = covariates.age - anatomy.age + 12 * float(_normal(generator))
    thinning = (0.006 * years + 0.35 * stage * pattern).clamp(-0.4, 0.7)
    loss = anatomy.gm * anatomy.rim * thinning.clamp(min=0)
    gain = anatomy.csf * anatomy.rind * (1 - anatomy.ventricles) * (-thinning).clamp(min=0)
    gm = anatomy.gm - loss + gain
    csf = anatomy.csf + loss - gain

    velocity = 2.2 * smooth_noise(generator, 3, 36.0) + 0.7 * smooth_noise(generator, 3, 18.0)  # mm
    velocity = velocity.permute(1, 2, 3, 0) / 4 + growth * anatomy.ventricle_velocity.to(velocity.device)
    displacement = upsample(velocity_to_displacement(velocity).permute(3, 0, 1, 2), WORK.shape) * 2
    return Shape(anatomy, gm, anatomy.wm, csf, _posed(generator, displacement), bool(_uniform(generator, 0, 1) < 0.5))


def _posed(generator: torch.Generator, displacement: Tensor) -> Tensor:
    """Follow a displacement ``[3, i, j, k]`` by the small affine error that registration leaves."""
    turn = math.radians(1.5) * _normal(generator, 3)
    stretch = 0.02 * _normal(generator, 3)
    shear = 0.01 * _normal(generator, 3)
    shift = 0.5 * _normal(generator, 3)  # voxels: 1 mm
    matrix = torch.diag(stretch)
    for (row, column), angle, skew in zip(((0, 1), (0, 2), (1, 2)), turn, shear, strict=True):
        matrix[row, column] += skew - angle
        matrix[column, row] += angle
    shape = displacement.shape[1:]
    axes = (torch.arange(n, dtype=torch.float32, device=displacement.device) - (n - 1) / 2 for n in shape)
    centred = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    whole = displacement + torch.einsum("ab,bijk->aijk", matrix, centred + displacement)
    return (whole + shift[:, None, None, None]).permute(1, 2, 3, 0)


def as_it_is(anatomy: Anatomy) -> Shape:
    """The anatomy in its own position, with no atrophy but its own."""
    still = torch.zeros(*WORK.shape, 3, device=anatomy.t1.device)
    return Shape(anatomy, anatomy.gm, anatomy.wm, anatomy.csf, still, False)


@lru_cache(maxsize=8)
def _camera(grid: Grid, extra: float) -> Axes:
    # As ``resampling.resample`` does: a Gaussian makes up for larger voxels. ``extra`` is the MRI's own blur.
    steps = [line.step for line in lines(grid.shape, grid.affine)]
    fwhm = [math.sqrt(max(step**2 - 2.0**2, 0) + extra**2) for step in steps]
    return sample_axes(lines(WORK.shape, WORK.affine), lines(grid.shape, grid.affine), fwhm, tent=True)


def blend_t1(generator: torch.Generator, shape: Shape) -> Tensor:
    """A noise-free T1 in the anatomy's own position: the person's, mixed with one made of tissue, other contrast."""
    white = shape.anatomy.intensities[2]
    real = thinned_t1(shape)
    made = _uniform(generator, 0.02, 0.2) * shape.csf + _uniform(generator, 0.55, 0.78) * shape.gm + white * shape.wm
    share = _uniform(generator, 0.0, 0.5)
    mixed = ((1 - share) * real + share * made).clamp_min(0)
    return mixed ** math.exp(0.12 * float(_normal(generator)))


def thinned_t1(shape: Shape) -> Tensor:
    """The anatomy's T1 with the case's atrophy, in the anatomy's own position."""
    fluid, grey, _ = shape.anatomy.intensities
    return shape.anatomy.t1 + (shape.gm - shape.anatomy.gm) * (grey - fluid)


def photograph(generator: torch.Generator, t1: Tensor, mask: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The T1 and the brain mask on a grid, as ``t1.prepare`` gives them for a real head.

    What an MRI scanner adds: up to ±12 % of shading (what bias correction leaves of 20–40 %), Rician noise of
    0.5–3 % of white matter, and blur of up to 2.5 mm; then resampling and the intensity scale of ``normalise_t1``.

    Args:
        t1, mask: on ``WORK``, in the case's position.

    Returns:
        T1 float32 and mask bool, both of ``grid.shape``.
    """
    t1 = _scanned(generator, t1)
    extra = 0.5 * int(_uniform(generator, 0, 6))  # mm, in steps so that the matrices can be kept
    share = apply_axes(_camera(grid, 0.0), mask)
    image, weight = apply_axes(_camera(grid, extra), torch.stack([t1 * mask, mask]))
    inside = share > 0.5
    scaled = normalise_t1((image / weight.clamp_min(1e-3)).cpu().numpy(), inside.cpu().numpy())
    return torch.from_numpy(scaled).to(t1.device), inside


def _scanned(generator: torch.Generator, t1: Tensor) -> Tensor:
    """A T1 on ``WORK`` with a scanner's shading and noise, see ``photograph``."""
    shading = smooth_noise(generator, 1, 80.0)[0]
    shading = upsample(shading * (_uniform(generator, 0.0, 0.06)), WORK.shape).clamp(-0.12, 0.12)
    noise = _uniform(generator, 0.005, 0.03)
    t1 = t1 * (1 + shading)
    return torch.hypot(t1 + noise * _normal(generator, *t1.shape), noise * _normal(generator, *t1.shape))


def photograph_once(
    generator: torch.Generator, shape: Shape, t1: Tensor, grid: Grid, kind: str = "photograph"
) -> tuple[Tensor, Tensor]:
    """As ``photograph``, interpolated once from the anatomy's position to the grid's, which keeps it as sharp as real.

    Where ``prepare`` blurs for the grid's voxels and interpolates, this does too; the displacement, which is smooth, is
    followed in the same step. The scanner's blur and the reconstruction's sharpening vary (``sharpened``).

    Args:
        shape: of the case.
        t1: in the anatomy's own position, on ``WORK``.
        kind: ``"deformed"`` for no shading, noise or blur but the head's own.
    """
    mask, extra = shape.anatomy.visible, 0.0
    if kind == "photograph":
        t1 = _scanned(generator, t1)
        extra = 0.5 * int(_uniform(generator, 0, 4))  # mm, in steps so that the matrices can be kept
    steps = [line.step for line in lines(grid.shape, grid.affine)]
    plain, blurred = (
        _own_blur(tuple(math.sqrt(max(step**2 - 2.0**2, 0) + more**2) for step in steps)) for more in (0.0, extra)
    )
    maps = apply_axes(blurred, torch.stack([t1 * mask, mask]))
    own = apply_axes(plain, mask)
    image, weight, share = _sampled(shape, torch.cat([maps, own[None]]), grid)
    inside = share > 0.5
    image = image / weight.clamp_min(1e-3)
    return sharpened(generator, image, inside, kind), inside


def sharpened(generator: torch.Generator, image: Tensor, inside: Tensor, kind: str) -> Tensor:
    """A T1 on a grid with more or less of its ``detail``, as scanners differ, on the scale of ``normalise_t1``."""
    amount = _uniform(generator, *_SHARPNESS[kind])
    scaled = torch.from_numpy(normalise_t1(image.cpu().numpy(), inside.cpu().numpy())).to(image.device)
    changed = (scaled + amount * detail(scaled, inside)).clamp_min(0)
    return torch.from_numpy(normalise_t1(changed.cpu().numpy(), inside.cpu().numpy())).to(image.device)


def detail(image: Tensor, inside: Tensor) -> Tensor:
    """What of an image in a mask a blur over 2 voxels takes away; 0 outside."""
    line = Line(0.0, 1.0, 0)
    axes = tuple(line._replace(count=n) for n in image.shape)
    maps = apply_axes(sample_axes(axes, axes, 2.0), torch.stack([image * inside, inside.to(image)]))
    return (image - maps[0] / maps[1].clamp_min(1e-3)) * inside


@lru_cache(maxsize=8)
def _own_blur(fwhm: tuple[float, float, float]) -> Axes:
    return sample_axes(lines(WORK.shape, WORK.affine), lines(WORK.shape, WORK.affine), fwhm, tent=True)


def _sampled(shape: Shape, maps: Tensor, grid: Grid) -> Tensor:
    """Maps ``[c, *WORK.shape]`` of the anatomy's position at the voxels of a grid in the case's."""
    step = torch.from_numpy(np.linalg.solve(WORK.affine, grid.affine)).to(maps)
    axes = (torch.arange(n, dtype=maps.dtype, device=maps.device) for n in grid.shape)
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ step[:3, :3].T + step[:3, 3]
    place = place + at_places(shape.displacement.permute(3, 0, 1, 2), place).permute(1, 2, 3, 0)
    return at_places(maps.flip(1) if shape.flipped else maps, place)


@lru_cache(maxsize=1)
def signature() -> Tensor:
    """Where the atrophy index is read: the cortex that Alzheimer's disease thins first, sum 1 on ``WORK``."""
    share = work_partition()
    table = region_table()
    weight = sum(share[i] * (table[name].thinning > 0.5) for i, name in enumerate(PARTITION))
    return torch.from_numpy(weight)
