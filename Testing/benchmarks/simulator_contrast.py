"""Do simulated images look like real ones? Region means against a real mean image; T1s as sharp as real T1s.

    python Testing/benchmarks/simulator_contrast.py [CN_FDG_PET_TEMPLATE.nii.gz] [--cases N] [--law NAME]
    python Testing/benchmarks/simulator_contrast.py --heads DIR

The real image is the mean FDG PET of 116 normal persons (DlutMedimgGroup/Chinese-Brain-PET-Template, MIT). Its brain is
smaller than the MNI152 template although its header says MNI, so it is first brought to the simulated mean by an affine
registration (mutual information). Both are then divided by their mean over the pons. The simulator's grey uptakes were
adjusted by region to this very image, so a good agreement shows that the adjustment holds after deformation and blur;
it is not a test on other data.

With ``--heads`` (T1s with MUSE labels) instead: the standard deviation in the brain, on the grid ``medium``, of what a
blur over two voxels takes away from a T1: of the real heads as ``prepare`` gives them, and of simulated cases of each
kind by each law, two for each head.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from DualGlowLib.atlas.regions import REGIONS, weights
from DualGlowLib.simulate.anatomy import template_anatomy
from DualGlowLib.simulate.case import KINDS, simulate_case
from DualGlowLib.simulate.labels import load_anatomies
from DualGlowLib.simulate.shape import Covariates, detail
from DualGlowLib.simulate.versions import LAWS, USUAL, LawVersion
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import Scan

GRID = GRIDS["standard"]


def simulated_mean(cases: int, version: LawVersion = USUAL) -> tuple[np.ndarray, np.ndarray]:
    """Mean over cognitively normal persons of 45–75 years of their conditional mean PET, and of their brain masks."""
    anatomies = [template_anatomy()]
    mean, mask = np.zeros(GRID.shape), np.zeros(GRID.shape)
    for seed in range(cases):
        age = 45 + 30 * (seed + 0.5) / cases
        case = simulate_case(seed, anatomies, GRID, covariates=Covariates(age, "FM"[seed % 2], "CN"), version=version)
        mean += case.mean.numpy() / cases
        mask += case.mask.numpy() / cases
    return mean, mask > 0.5


def registered(real: Scan, fixed: Scan) -> np.ndarray:
    """The real image on the simulated one's lattice, after an affine registration."""
    target, moving = (sitk.Cast(scan.to_sitk(), sitk.sitkFloat32) for scan in (fixed, real))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.01, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([4, 0])
    affine = sitk.AffineTransform(3)
    method.SetInitialTransform(affine, inPlace=True)
    method.Execute(target, moving)
    print("affine, template mm to image mm:", " ".join(f"{v:.3f}" for v in affine.GetMatrix()))
    return Scan.from_sitk(sitk.Resample(moving, target, affine, sitk.sitkLinear)).data


def compare_sharpness(folder: Path) -> None:
    """Print the table of ``--heads``."""
    grid = GRIDS["medium"]

    def row(name: str, cases: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        values = [float(detail(t1, mask)[mask].std()) for t1, mask in cases]
        print(f"| {name} | {np.mean(values):.3f} | {min(values):.3f}–{max(values):.3f} |")

    print("| T1s | sd of the detail, mean | range |\n|---|---|---|")
    for version in reversed(LAWS.values()):
        heads = load_anatomies(folder, version=version, grid=grid if version.is_evened else None)
        if version.is_evened:
            row("real heads as prepared", ((head.prepared[0], head.prepared[1] > 0.5) for head in heads))
        for kind in KINDS if version.is_evened else KINDS[:1]:
            drawn = (
                simulate_case(seed, heads, grid, anatomy=seed % len(heads), version=version, kind=kind)
                for seed in range(2 * len(heads))
            )
            row(f"{version.name}, {kind}", ((case.t1, case.mask) for case in drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT.parent / "shared" / "data" / "pet" / "CN_FDG_PET_TEMPLATE.nii.gz"
    parser.add_argument("image", nargs="?", type=Path, default=default)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--law", choices=LAWS, default=USUAL.name)
    parser.add_argument("--heads", type=Path, help="folder of T1s with MUSE labels: compare the sharpness of T1s")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.heads:
        compare_sharpness(arguments.heads)
        return

    simulated, mask = simulated_mean(arguments.cases, LAWS[arguments.law])
    real = registered(read_scan(arguments.image), Scan(simulated, GRID.affine))
    weight = weights(GRID).reshape(len(REGIONS), -1)
    ours, theirs = weight @ simulated.ravel(), weight @ real.ravel()
    pons = REGIONS.index("pons")
    ours, theirs, simulated, real = (
        ours / ours[pons],
        theirs / theirs[pons],
        simulated / ours[pons],
        real / theirs[pons],
    )
    print(f"{'region':32s}{'simulated':>10s}{'real':>8s}{'ratio':>8s}")
    for name, a, b in zip(REGIONS, ours, theirs, strict=True):
        print(f"{name:32s}{a:10.3f}{b:8.3f}{a / b:8.3f}")
    print(f"Pearson correlation over {len(REGIONS)} regions: {np.corrcoef(ours, theirs)[0, 1]:.3f}")
    print(f"Pearson correlation over brain voxels: {np.corrcoef(simulated[mask], real[mask])[0, 1]:.3f}")


if __name__ == "__main__":
    main()
