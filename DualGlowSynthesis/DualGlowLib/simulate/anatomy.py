"""Anatomies: the heads that simulated cases are made from, in template space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..atlas.regions import coordinates, half_partition
from ..atlas.template import load_template
from ..preparation.intensity import normalise_t1
from ..volumes.resampling import resample
from ..volumes.separable import WORK, apply_axes, blur_axes, upsample, velocity_to_displacement, warp

__all__ = ["Anatomy", "read_anatomies", "template_anatomy", "write_anatomies"]

TEMPLATE_NAME = "mni152"


@dataclass
class Anatomy:
    """One brain on the working lattice (``WORK``, 80×96×80 at 2 mm in MNI152 space).

    Attributes:
        name: a short name, for ``participants.tsv``.
        t1: T1 as ``t1.prepare`` gives it (white matter 1, fluid 0, zero outside the brain), ``[80, 96, 80]``.
        gm, wm, csf: shares of grey matter, white matter and fluid, 0..1; their sum is ``mask``.
        mask: the brain with its ventricles and sulci, 0..1.
        ventricles: the cerebral ventricles' part of ``csf``, 0..1.
        regions: shares of the regions of ``PARTITION`` at 4 mm, ``[len(PARTITION), 40, 48, 40]``; sum 1.
        age, sex: the person's own, where known.
        shown: the brain mask that a T1 shows, as ``brain_mask`` finds it; None for ``mask``.
        prepared: T1 and mask of the head itself as ``prepare`` gives them, ``[2, *grid.shape]``; None where no grid was
            asked for.
    """

    name: str
    t1: Tensor
    gm: Tensor
    wm: Tensor
    csf: Tensor
    mask: Tensor
    ventricles: Tensor
    regions: Tensor
    age: float = 65.0
    sex: str = ""
    meta: dict = field(default_factory=dict)
    shown: Tensor | None = None
    prepared: Tensor | None = None

    def values(self) -> dict:
        """What the anatomy was made of, without what has been computed from it since."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to(self, device: torch.device | str) -> Anatomy:
        """The same anatomy on another device."""
        return Anatomy(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.values().items()})

    @property
    def visible(self) -> Tensor:
        """The brain mask that a T1 shows, 0..1."""
        return self.mask if self.shown is None else self.shown

    def regional(self, values: Sequence) -> Tensor:
        """A map that takes each region's value, ``[80, 96, 80]``; several lists of values give several maps."""
        table = torch.as_tensor(values, dtype=self.regions.dtype, device=self.regions.device)
        return upsample(torch.tensordot(table, self.regions, dims=1), WORK.shape)

    @cached_property
    def intensities(self) -> tuple[float, float, float]:
        """The T1's typical value in fluid, grey and white matter."""
        return tuple(float(self.t1[tissue > 0.8 * tissue.max()].median()) for tissue in (self.csf, self.gm, self.wm))

    @cached_property
    def rim(self) -> Tensor:
        """How near each voxel is to fluid or to the outside, 0..1: where the cortex thins first."""
        return (2 * apply_axes(blur_axes(WORK, 6.0), 1 - self.gm - self.wm)).clamp(0, 1)

    @cached_property
    def rind(self) -> Tensor:
        """How near each voxel is to grey matter, 0..1."""
        return (2 * apply_axes(blur_axes(WORK, 6.0), self.gm)).clamp(0, 1)

    @cached_property
    def ventricle_velocity(self) -> Tensor:
        """``[*HALF, 3]`` in voxels of ``HALF``: flowing along it for unit time enlarges the ventricles.

        It points into the ventricles (a voxel takes its value from nearer to their middle) and is 2.5 mm at its
        strongest.
        """
        smooth = apply_axes(blur_axes(WORK, 14.0), self.ventricles)
        smooth = torch.nn.functional.avg_pool3d(smooth[None, None], 2)[0, 0]
        slope = torch.stack(torch.gradient(smooth), dim=-1)
        return slope * (2.5 / 4.0) / slope.norm(dim=-1).max().clamp_min(1e-6)

    @cached_property
    def log_ventricles(self) -> float:
        """Natural logarithm of the ventricles' volume in millilitres, as they are."""
        return float(torch.log(self.ventricles.sum() * 0.008 + 1e-3))

    @cached_property
    def ventricle_gain(self) -> float:
        """Growth of ``log_ventricles`` per unit of ``ventricle_velocity``."""
        small = torch.nn.functional.avg_pool3d(self.ventricles[None, None], 2)[0]
        volume = [float(warp(small, velocity_to_displacement(a * self.ventricle_velocity)).sum()) for a in (-0.5, 0.5)]
        return max(float(np.log(volume[1] / volume[0])), 0.05)


def write_anatomies(anatomies: Sequence[Anatomy], path: Path) -> None:
    """Hand anatomies, but for their ``meta``, to other processes of this computer."""
    from safetensors.torch import save_file

    tensors, about = {}, []
    for number, anatomy in enumerate(anatomies):
        values = anatomy.values() | {"meta": {}}
        about.append({name: value for name, value in values.items() if not isinstance(value, Tensor)})
        volumes = {name: value.contiguous() for name, value in values.items() if isinstance(value, Tensor)}
        tensors |= {f"{number}.{name}": value for name, value in volumes.items()}
    save_file(tensors, str(path), metadata={"about": json.dumps(about)})


def read_anatomies(path: Path) -> list[Anatomy]:
    """What ``write_anatomies`` wrote; processes that read the same file share the memory."""
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        found = json.loads(file.metadata()["about"])
        names = list(file.keys())
        for name in names:
            number, _, field_name = name.partition(".")
            found[int(number)][field_name] = file.get_tensor(name)
    return [Anatomy(**values) for values in found]


@lru_cache(maxsize=1)  # 22 MiB, which take longer than the first case
def template_anatomy() -> Anatomy:
    """The MNI152 template as an anatomy: an average of young adults, smooth and symmetric.

    Made once a process, for all that ask: not to be changed.
    """
    template = load_template()
    t1, gm, wm, mask = (
        resample(s.data, s.affine, WORK.shape, WORK.affine)
        for s in (template.t1, template.gm, template.wm, template.mask)
    )
    mask = np.clip(mask, 0, 1)
    total = np.maximum(gm + wm, 1e-6)
    shrink = np.minimum(1, mask / total)
    gm, wm = gm * shrink, wm * shrink
    csf = mask - gm - wm
    x, y, z = np.moveaxis(coordinates(WORK.shape, WORK.affine), -1, 0)
    central = (x / 34) ** 2 + ((y + 12) / 48) ** 2 + ((z - 12) / 22) ** 2 <= 1
    central &= ~((np.abs(x) < 12) & (y < -33) & (z < 20))  # the cisterns behind the third ventricle
    t1 = normalise_t1(t1, mask > 0.5)
    return Anatomy(
        TEMPLATE_NAME,
        *(torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for v in (t1, gm, wm, csf, mask, csf * central)),
        torch.from_numpy(half_partition().copy()),
        age=30.0,
    )
