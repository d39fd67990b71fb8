"""The uptake field of the law field-1: fitted to a real mean image, and judged on what it was not fitted to.

    python Testing/benchmarks/uptake_field.py [CN_FDG_PET_TEMPLATE.nii.gz] --heads DIR [--write]

The image is the mean FDG PET of 116 normal persons that ``simulator_contrast.py`` compares with. For the template, and
for the mean of labelled heads as they are, it is brought to the law's mean by an affine and divided by its pons. The
logarithm of the factors on grey and on white matter is fitted by Gauss-Newton through both partial volumes and a blur
of 9 mm: the law's PSF, and what averaging persons adds. Two penalties hold it: on differences of neighbouring
coefficients, and on their size.

Prints, for both laws, Pearson correlations of the law's mean (blurred to those 9 mm, as the image is) with the image,
over brain and grey matter, and grey over white matter: on the template; on all heads with the field that ships; on
halves of the heads with a field that was fitted to the template and the other half. Then, lobe by lobe, the root mean
square error over the lobe of a field fitted to all but that lobe, beside that of the table of regions alone, which was
once adjusted to all of it. ``--write`` makes the file that ships.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, lsmr
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from simulator_contrast import registered

from DualGlowLib.atlas.regions import PARTITION, REGIONS, weights, work_partition
from DualGlowLib.resources import resource
from DualGlowLib.simulate.anatomy import Anatomy, template_anatomy
from DualGlowLib.simulate.field import FIELD_SHAPE, uptake_field
from DualGlowLib.simulate.labels import load_anatomies
from DualGlowLib.simulate.uptake import REFERENCE_AGE, WHITE_SLOPE, region_table
from DualGlowLib.simulate.versions import LAWS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.separable import WORK, apply_axes, blur_axes, upsample

LAW = LAWS["field-1"]
AGE = 60.0  # of the image's persons, about
IMAGE_FWHM = 9.0
SMOOTHNESS, SIZE = 12.0, 1.2  # weights of the penalties, beside the squared error of a voxel
LOBES = {
    "frontal": ("medial_frontal", "lateral_frontal"),
    "parietal": ("inferior_parietal", "posterior_cingulate"),
    "temporal": ("lateral_temporal", "medial_temporal"),
    "occipital": ("occipital",),
    "sensorimotor": ("sensorimotor",),
    "deep grey and insula": ("thalamus", "striatum", "insula"),
    "cerebellum": ("cerebellum",),
    "brain stem": ("brain_stem",),
}


@dataclass
class Target:
    """What the field is fitted through: uptake of grey and white matter by the table before blur, and the real image.

    Attributes:
        base: ``[2, *WORK.shape]``, the mean over anatomies.
        brain, grey, white: bool, ``WORK.shape``.
        real: the image there, over its mean in the pons.
    """

    base: Tensor
    brain: Tensor
    grey: Tensor
    white: Tensor
    real: Tensor

    @classmethod
    def of(cls, anatomies: list[Anatomy], image: Scan, own_age: bool) -> Target:
        """The image is registered to the law's mean by the table, then once more to what a field makes of that."""
        count = len(anatomies)
        base = sum(activity(one, one.age if own_age else AGE) for one in anatomies) / count
        shares = (sum(getattr(one, name) for one in anatomies) / count for name in ("mask", "gm", "wm"))
        brain, grey, white = (share > 0.5 for share in shares)
        target = cls(base, brain, grey, white, brought(image, blurred(base.sum(0))))
        return replace(target, real=brought(image, target.image(fitted([(target, brain)]))))

    def image(self, coefficients: Tensor) -> Tensor:
        """The law's mean at the real image's resolution."""
        return blurred((self.base * torch.exp(upsample(coefficients, WORK.shape))).sum(0))

    def told(self, image: Tensor) -> str:
        """Correlations with the real image over brain and grey matter; grey over white."""
        pairs = (torch.stack([image[where], self.real[where]]) for where in (self.brain, self.grey))
        found = " | ".join(f"{torch.corrcoef(pair)[0, 1]:.3f}" for pair in pairs)
        return f"{found} | {self.contrast(image):.2f}"

    def contrast(self, image: Tensor) -> float:
        return float(image[self.grey].mean() / image[self.white].mean())


def blurred(image: Tensor) -> Tensor:
    return apply_axes(blur_axes(WORK, IMAGE_FWHM), image)


def brought(image: Scan, to: Tensor) -> Tensor:
    """The real image on ``WORK``, over its mean in the pons."""
    real = registered(image, Scan(to.numpy(), WORK.affine))
    return torch.from_numpy(real / (weights(WORK)[REGIONS.index("pons")] * real).sum()).float()


def activity(anatomy: Anatomy, age: float) -> Tensor:
    """Uptake of grey and white matter by the table, normal, mean of both sexes, before blur, ``[2, *WORK.shape]``."""
    decades, table = (age - REFERENCE_AGE) / 10, region_table()
    grey = [table[name].grey * (1 + table[name].slope * decades) for name in PARTITION]
    white = [table[name].white * (1 + WHITE_SLOPE * decades * (name != "brain_stem")) for name in PARTITION]
    maps = torch.stack([anatomy.gm, anatomy.wm]) * anatomy.regional([grey, white])
    return maps / float((weights(WORK)[REGIONS.index("pons")] * blurred(maps.sum(0)).numpy()).sum())


def fitted(targets: list[tuple[Target, Tensor]], symmetric: bool = True) -> Tensor:
    """Logarithms of the factors, ``[2, *FIELD_SHAPE]``, from the chosen voxels of each target."""
    found = torch.zeros(2, *FIELD_SHAPE)

    def even(values: Tensor) -> Tensor:
        return (values + values.flip(1)) / 2 if symmetric else values

    def penalties(values: Tensor) -> Tensor:
        steps = [SMOOTHNESS**0.5 * torch.diff(values, dim=axis).flatten() for axis in (1, 2, 3)]
        return torch.cat([*steps, SIZE**0.5 * values.flatten()])

    for _ in range(3):
        factors = torch.exp(upsample(found, WORK.shape))

        def predicted(values: Tensor, factors: Tensor = factors) -> Tensor:
            changes = factors * upsample(even(values), WORK.shape)
            seen = [blurred((target.base * changes).sum(0))[where] for target, where in targets]
            return torch.cat([*seen, penalties(even(values))])

        _, transposed = torch.func.vjp(predicted, found)
        errors = [(target.real - target.image(found))[where] for target, where in targets]
        wanted = torch.cat([*errors, -penalties(found)])
        operator = LinearOperator(
            (len(wanted), found.numel()),
            matvec=lambda x, f=predicted: f(torch.from_numpy(x).float().view(2, *FIELD_SHAPE)).double().numpy(),
            rmatvec=lambda y, f=transposed: f(torch.from_numpy(y).float())[0].flatten().double().numpy(),
            dtype=np.float64,
        )
        step = lsmr(operator, wanted.double().numpy(), maxiter=40, atol=1e-4, btol=1e-4)[0]
        found = found + even(torch.from_numpy(step).float().reshape(found.shape))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = ROOT.parent / "shared" / "data"
    parser.add_argument("image", nargs="?", type=Path, default=data / "pet" / "CN_FDG_PET_TEMPLATE.nii.gz")
    parser.add_argument("--heads", type=Path, required=True, help="folder of T1s with MUSE labels")
    parser.add_argument("--write", action="store_true", help="write the coefficients that ship")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scan, heads = read_scan(arguments.image), load_anatomies(arguments.heads, version=LAW)
    template = Target.of([template_anatomy()], scan, False)
    halves = [Target.of(heads[start::2], scan, True) for start in (0, 1)]
    every = Target.of(heads, scan, True)

    def field(*targets: Target) -> Tensor:
        return fitted([(target, target.brain) for target in targets])

    whole = field(template, every)
    if arguments.write:
        half = whole[:, : FIELD_SHAPE[0] // 2].numpy().astype(np.float16)
        np.savez_compressed(resource("Simulator", "NOTICE").with_name(LAW.field), log_factors=half)
    shipped = uptake_field(LAW.field)
    print(f"the field that ships: {shipped.min():.2f} to {shipped.max():.2f}; from this fit it differs by at most "
          f"{(shipped - torch.exp(upsample(whole, WORK.shape))).abs().max():.3f}")  # fmt: skip

    print("\n| law's mean against the real one | regions-1: brain | grey | grey/white | field-1: brain | grey | "
          "grey/white | real grey/white |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    flat = torch.zeros(2, *FIELD_SHAPE)
    rows = {
        "template, fitted to": (template, whole),
        "all heads, fitted to": (every, whole),
        "heads, field of the template alone": (every, field(template)),
        "half the heads, field of the template and the others": (halves[0], field(template, halves[1])),
        "the other half, likewise": (halves[1], field(template, halves[0])),
    }
    for name, (target, found) in rows.items():
        told = " | ".join(target.told(target.image(one)) for one in (flat, found))
        print(f"| {name} | {told} | {target.contrast(target.real):.2f} |")

    print("\n| lobe left out of the fit, rms SUVR | template: table alone | field fitted to the rest | not symmetric | "
          "heads: table alone | field fitted to the rest | not symmetric |\n|---|---|---|---|---|---|---|")  # fmt: skip
    owner = torch.from_numpy(work_partition().argmax(0))
    for lobe, names in LOBES.items():
        inside = torch.isin(owner, torch.tensor([i for i, name in enumerate(PARTITION) if name.startswith(names)]))
        rest = [(target, target.brain & ~inside) for target in (template, every)]
        fields = [flat, fitted(rest), fitted(rest, False)]
        errors = ((t.image(f) - t.real)[inside & t.brain] for t in (template, every) for f in fields)
        print(f"| {lobe} | {' | '.join(f'{float(error.square().mean().sqrt()):.3f}' for error in errors)} |")


if __name__ == "__main__":
    main()
