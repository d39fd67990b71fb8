"""Our affine registration to the template (``preparation.affine``) beside SimpleITK's, on real heads.

    python Testing/benchmarks/registration.py [--data DATA] [--tables lying turned] [--turned HEAD ...] [--json FILE]

Three ways, one thread: ours; SimpleITK's ``ImageRegistrationMethod`` on the same brain (the T1 without shading, cut to
the same mask); and SimpleITK's on the whole head, of which the metric sees what lies on the template's brain. SimpleITK
goes by a rigid step to an affine one, from the centres of mass (brain) or of the images (head), with Mattes' mutual
information (50 bins, every voxel), at 8, 4 and 2 mm, by gradient descent whose step is estimated anew in each
iteration, scaled by physical shift: of what was tried, what gave it the best overlaps.

Printed for each head are Dice coefficients in template space (2 mm): of the brain; of grey and white matter, against
the template's probability maps above 0.5; and of ten lobes, against the Desikan atlas (neuroparc, MNI152), which
neither has seen; and seconds of CPU. Labels are DLMUSE's as they are. Heads without labels have their brain from our
network (Colin27: from BET); for them the lobes are missing. Below: means over the heads with labels, how many of all
heads are failures (brain below 0.9), and the ratio of the times. The last table turns heads in their file by what the
header does not say (``--turned``), with the mask of the upright head: how many of the poses fail.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from preparation import DLMUSE, paths, read

from DualGlowLib.atlas.template import load_template
from DualGlowLib.preparation.affine import register
from DualGlowLib.preparation.bias import correct_bias
from DualGlowLib.preparation.brain import brain_mask
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import (
    LPS,
    Scan,
)

UNLABELLED = {
    "pairs/brainweb06/t1.nii.gz": "brainweb",
    "awkward/papaya_sample_4Dshape.nii.gz": "papaya",
    "dicom/philips_adni_mprage_41M.zip": "philips",
}
FAILED = 0.9  # Dice of the brain below which a registration is a failure
ATLAS = "atlas_mni/neuroparc_Desikan_2mm.nii.gz"

# Lobes: DLMUSE codes of the right side (the left is one more), labels of the left side in the atlas (right: 35 more).
LOBES = {
    "frontal": (
        (104, 118, 120, 124, 136, 140, 142, 146, 152, 162, 164, 178, 186, 190, 192, 204),
        (4, 13, 15, 19, 20, 21, 28, 29, 33),
    ),
    "sensorimotor": ((148, 150, 176, 182), (18, 23, 25)),
    "parietal": ((106, 168, 174, 194, 198), (9, 26, 30, 32)),
    "temporal": ((122, 132, 154, 180, 184, 200, 202, 206), (2, 8, 10, 16, 31, 34, 35)),
    "occipital": ((108, 114, 128, 134, 144, 156, 160, 196), (6, 12, 14, 22)),
}
WHITE = (*range(81, 95),)
GREY = (*range(100, 208), 23, 30, 31, 32, 36, 37, 38, 39, 47, 48, 55, 56, 57, 58, 59, 60, 71, 72, 73, 75, 76)

TURNS = {
    "35° nodded": Rotation.from_euler("x", 35, degrees=True),
    "35° turned": Rotation.from_euler("z", -35, degrees=True),
    "60° on one ear": Rotation.from_euler("y", 60, degrees=True),
    "lying on the back": Rotation.from_euler("x", 90, degrees=True),
    "looking back": Rotation.from_euler("z", 180, degrees=True),
    "upside down": Rotation.from_euler("y", 180, degrees=True),
}


@dataclass
class Head:
    """A T1 with its brain, and labels where there are some."""

    name: str
    scan: Scan
    mask: np.ndarray
    corrected: Scan
    true_brain: np.ndarray
    labels: np.ndarray | None


def heads(data: Path, names: tuple[str, ...]) -> Iterator[Head]:
    for name in names:
        own = paths(data, name) if "/" not in name else (data / name, None)
        scan = read(own[0])
        mask = brain_mask(scan).data
        labels = read_scan(own[1]).data if own[1] else None
        brain = mask if labels is None else labels > 0
        short = UNLABELLED.get(name, name)
        yield Head(short, scan, mask, correct_bias(scan, mask), brain, labels if name in DLMUSE else None)


# ------------------------------------------------------------------------------------------------------- the three ways


def ours(head: Head, pose: np.ndarray) -> np.ndarray:
    scan = Scan(head.corrected.data, pose @ head.corrected.affine)
    return register(scan, head.mask).to_template


def itk_brain(head: Head, pose: np.ndarray) -> np.ndarray:
    scan = Scan(np.where(head.mask, head.corrected.data, 0), pose @ head.scan.affine)
    return itk(scan, whole=False)


def itk_head(head: Head, pose: np.ndarray) -> np.ndarray:
    return itk(Scan(head.scan.data, pose @ head.scan.affine), whole=True)


def itk(scan: Scan, whole: bool) -> np.ndarray:
    """4×4 from the scan's RAS to the template's; ``whole``: a head, not only its brain."""
    fixed, mask = template()
    moving = sitk.Cast(Scan(scan.data.astype(np.float32), scan.affine).to_sitk(), sitk.sitkFloat32)
    starts = sitk.CenteredTransformInitializerFilter
    transform = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            fixed, moving, sitk.Euler3DTransform(), starts.GEOMETRY if whole else starts.MOMENTS
        )
    )
    optimise(fixed, moving, transform, mask if whole else None)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(transform.GetCenter())
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.GetTranslation())
    optimise(fixed, moving, affine, mask if whole else None)
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(affine.GetMatrix(), (3, 3))
    matrix[:3, 3] = affine.TransformPoint((0.0, 0.0, 0.0))
    return np.linalg.inv(LPS @ matrix @ LPS)


def optimise(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Transform, mask: sitk.Image | None) -> None:
    """In place."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.NONE)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, 200, 1e-6, 10, method.EachIteration, 1.0)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, True)
    with suppress(RuntimeError):  # the images have come apart: it stays where it was
        method.Execute(fixed, moving)


_kept: list[tuple[sitk.Image, sitk.Image]] = []


def template() -> tuple[sitk.Image, sitk.Image]:
    """The template's T1 at 2 mm, and its brain widened by 6 mm."""
    if not _kept:
        whole = load_template()
        affine = whole.t1.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
        shape = tuple(n // 2 for n in whole.t1.shape)
        t1 = resample(whole.t1.data, whole.t1.affine, shape, affine)
        brain = resample(whole.mask.data, whole.mask.affine, shape, affine) > 0.5
        near = binary_dilation(brain, iterations=3).astype(np.uint8)
        _kept.append((Scan(t1, affine).to_sitk(), Scan(near, affine).to_sitk()))
    return _kept[0]


WAYS: dict[str, Callable[[Head, np.ndarray], np.ndarray]] = {
    "ours": ours,
    "ITK, brain": itk_brain,
    "ITK, head": itk_head,
}

# ------------------------------------------------------------------------------------------------------------- overlaps


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float(np.count_nonzero(a & b)) / max(float(np.count_nonzero(a) + np.count_nonzero(b)), 1.0)


class Atlas:
    """What heads are compared with, on the atlas's lattice."""

    def __init__(self, data: Path) -> None:
        atlas, whole = read_scan(data / ATLAS), load_template()
        self.shape, self.affine = atlas.shape, atlas.affine
        self.lobes = lobes(atlas.data.round().astype(int), atlas=True)
        self.brain, self.grey, self.white = (
            resample(one.data, one.affine, self.shape, self.affine) > 0.5 for one in (whole.mask, whole.gm, whole.wm)
        )

    def overlaps(self, head: Head, to_template: np.ndarray) -> dict[str, float]:
        """Dice of what the head has, by name."""
        place = np.linalg.inv(to_template) @ self.affine

        def here(data: np.ndarray) -> np.ndarray:
            return resample(data.astype(np.float32), head.scan.affine, self.shape, place)

        found = {"brain": dice(here(head.true_brain) > 0.5, self.brain)}
        if head.labels is None:
            return found
        found["grey"] = dice(here(np.isin(head.labels, GREY)) > 0.5, self.grey)
        found["white"] = dice(here(np.isin(head.labels, WHITE)) > 0.5, self.white)
        own = lobes(head.labels.round().astype(int), atlas=False)
        found["lobes"] = float(np.mean([dice(here(own[name]) > 0.5, self.lobes[name]) for name in own]))
        return found


def lobes(labels: np.ndarray, atlas: bool) -> dict[str, np.ndarray]:
    """Masks of the ten lobes."""
    found = {}
    for name, (codes, numbers) in LOBES.items():
        for side in (0, 1):  # right, left
            wanted = [n + 35 * (1 - side) for n in numbers] if atlas else [code + side for code in codes]
            found[f"{name} {'RL'[side]}"] = np.isin(labels, wanted)
    return found


# -------------------------------------------------------------------------------------------------------------- tables


def as_they_lie(arguments: argparse.Namespace, atlas: Atlas) -> list[dict]:
    rows, kinds = [], ("brain", "grey", "white", "lobes")
    print("Dice: " + ", ".join(kinds) + "; seconds of CPU")
    print(f"{'T1':16}" + "".join(f"{way:>38}" for way in WAYS))
    for head in heads(arguments.data, (*DLMUSE, "colin", "colin, stripped", *UNLABELLED)):
        line = f"{head.name:16}"
        for way, run in WAYS.items():
            begun = time.process_time()
            found = run(head, np.eye(4))
            row = {"head": head.name, "way": way, "seconds": time.process_time() - begun}
            row |= atlas.overlaps(head, found)
            rows.append(row)
            line += "   " + "".join(f"{row[k]:7.3f}" if k in row else f"{'-':>7}" for k in kinds)
            line += f"{row['seconds']:7.1f}"
        print(line, flush=True)
    labelled = [row for row in rows if "lobes" in row]
    line = f"{'mean of labelled':16}"
    for way in WAYS:
        mine = [row for row in labelled if row["way"] == way]
        line += "   " + "".join(f"{np.mean([row[k] for row in mine]):7.3f}" for k in kinds)
        line += f"{np.mean([row['seconds'] for row in rows if row['way'] == way]):7.1f}"
    print(line)
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way]
        failed = sum(row["brain"] < FAILED for row in mine)
        ratios = [row["seconds"] / other["seconds"] for row, other in zip(mine, rows[:: len(WAYS)], strict=True)]
        print(f"{way:12} {failed} of {len(mine)} fail; {np.median(ratios):.1f} times the time of ours (median)")
    return rows


def turned(arguments: argparse.Namespace, atlas: Atlas) -> list[dict]:
    rows = []
    print("turned; Dice: brain, lobes; seconds of CPU")
    print(f"{'T1':8}{'pose':20}" + "".join(f"{way:>24}" for way in WAYS))
    for head in heads(arguments.data, tuple(arguments.turned)):
        for name, turn in TURNS.items():
            pose = np.eye(4)
            pose[:3, :3] = turn.as_matrix()
            line = f"{head.name:8}{name:20}"
            for way, run in WAYS.items():
                begun = time.process_time()
                found = run(head, pose) @ pose
                seconds = time.process_time() - begun
                row = {"head": head.name, "pose": name, "way": way, "seconds": seconds, **atlas.overlaps(head, found)}
                rows.append(row)
                line += f"{row['brain']:10.3f}{row['lobes']:7.3f}{seconds:7.1f}"
            print(line, flush=True)
    for way in WAYS:
        mine = [row["lobes"] < 0.3 or row["brain"] < FAILED for row in rows if row["way"] == way]
        print(f"{way:12} {sum(mine)} of {len(mine)} poses fail (brain below {FAILED}, or lobes below 0.3: turned over)")
    return rows


TABLES = {"lying": as_they_lie, "turned": turned}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--tables", nargs="*", choices=TABLES, default=[*TABLES])
    parser.add_argument("--turned", nargs="*", default=["10", "ixi"], help="heads to turn, e.g. 10 14 ixi")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    atlas = Atlas(arguments.data)
    register(load_template().t1, load_template().mask.data > 0.5)  # the template's own levels are computed once
    template()
    rows = [row for table in arguments.tables for row in TABLES[table](arguments, atlas)]
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
