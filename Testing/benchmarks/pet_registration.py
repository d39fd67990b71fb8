"""How well a PET that has been moved is brought back onto its T1.

    python Testing/benchmarks/pet_registration.py --data DATA [--only WORD ...] [--json FILE]

DATA holds the pair BrainWeb 06 (``pairs/brainweb06``) and T1s with region labels (DLMUSE) of elderly persons. From the
labels a PET is made for each head (grey : white : fluid as 4 : 1 : 0.2, scalp and neck as bright as in the T1 but
faint, blurred to 6 mm, with noise). Every PET is moved by known rotations and shifts, by its header or by its voxels,
and made harder in the ways that real ones are. Printed for each: the mean displacement over the brain that is left
after registration (millimetres), and what the registration says of itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from DualGlowLib.preparation.brain import brain_mask
from DualGlowLib.preparation.rigid import register_rigid
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

WHITE = (35, 40, 41, 61, 62, 69, *range(81, 96))  # MUSE labels of white matter and brain stem
FLUID = (1, 4, 11, 46, 49, 50, 51, 52)
FWHM = np.sqrt(8 * np.log(2))


def points_of(scan: Scan, mask: np.ndarray) -> np.ndarray:
    """Millimetres of the brain's voxels, n×3."""
    return nib.affines.apply_affine(scan.affine, np.argwhere(mask))


def motion(angle: float, axis: np.ndarray, shift: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """4×4: turn by degrees about an axis through ``centre``, then shift."""
    turn = nib.quaternions.angle_axis2mat(np.deg2rad(angle), axis)
    return nib.affines.from_matvec(turn, centre + shift - turn @ centre)


def moves(count: int, centre: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Four extremes, then rotations up to 20° about random axes with shifts up to 30 mm along each axis."""
    rng = np.random.default_rng(seed)
    extremes = [(20, [1, 0, 0], [30, 30, 30]), (-20, [0, 1, 0], [-30, 30, -30])]
    extremes += [(20, [0, 0, 1], [30, -30, -30]), (-20, [1, 1, 1], [-30, -30, 30])]
    drawn = [(rng.uniform(-20, 20), rng.normal(size=3), rng.uniform(-30, 30, 3)) for _ in range(count)]
    return [motion(a, np.array(axis, float), np.array(shift), centre) for a, axis, shift in (extremes + drawn)[:count]]


def moved(pet: Scan, move: np.ndarray) -> Scan:
    """The PET elsewhere in space, by its header."""
    return Scan(pet.data, move @ pet.affine, pet.source)


def moved_voxels(pet: Scan, move: np.ndarray) -> Scan:
    """The PET elsewhere in space, by its voxels, on its old lattice."""
    return pet.like(resample(pet.data, np.asarray(move @ pet.affine), pet.shape, pet.affine, order=3))


def relaid(pet: Scan, codes: str) -> Scan:
    """The same image with its voxel axes in another order."""
    image = nib.Nifti1Image(pet.data, pet.affine)
    ornt = nib.orientations.ornt_transform(nib.io_orientation(pet.affine), nib.orientations.axcodes2ornt(tuple(codes)))
    image = image.as_reoriented(ornt)
    return Scan(np.asarray(image.dataobj), image.affine)


def voxels(pet: Scan, size: tuple[float, float, float]) -> Scan:
    """The same image in voxels of another size."""
    step = np.array(size) / pet.spacing
    shape = tuple(int(n) for n in np.floor(np.array(pet.shape) / step))
    affine = pet.affine @ np.diag([*step, 1.0])
    return Scan(resample(pet.data, pet.affine, shape, affine), affine)


def blurred(pet: Scan, fwhm: float, noise: float = 0.0, seed: int = 0) -> Scan:
    """Blurred by ``fwhm`` millimetres, with noise of that blur's texture, ``noise`` times the 98th percentile."""
    data = ndimage.gaussian_filter(pet.data, fwhm / FWHM / pet.spacing)
    grain = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=pet.shape), 4.0 / FWHM / pet.spacing)
    data = data + noise * np.percentile(data[data > data.mean()], 98) * grain / grain.std() * (data > 0.01)
    return pet.like(data.astype(np.float32))


def cut(pet: Scan, mask: Scan, top: float, bottom: float) -> Scan:
    """Without the brain's uppermost and lowest millimetres (the third voxel axis must run upwards)."""
    height = points_of(mask, mask.data)[:, 2]
    z = pet.affine[2, 2] * np.arange(pet.shape[2]) + pet.affine[2, 3]
    keep = np.flatnonzero((z < height.max() - top) & (z > height.min() + bottom))
    affine = pet.affine @ nib.affines.from_matvec(np.eye(3), [0, 0, keep[0]])
    return Scan(pet.data[:, :, keep[0] : keep[-1] + 1], affine)


def whole_body(pet: Scan) -> Scan:
    """In a trunk of 1.2 m with warm tissue, a warm liver and a heart and bladder hotter than the brain; 4 mm voxels."""
    small = voxels(pet, (4.0, 4.0, 4.0))
    below = 300
    data = np.pad(small.data, ((40, 40), (20, 20), (below, 0)))
    bright = float(np.percentile(small.data[small.data > small.data.mean()], 90))
    i, j, k = np.indices(data.shape)
    middle = np.array([data.shape[0] / 2, data.shape[1] / 2])
    radial = ((i - middle[0]) / 45) ** 2 + ((j - middle[1]) / 28) ** 2
    data[(radial < 1) & (k < below - 10)] = 0.12 * bright
    for (x, y, z), radius, uptake in (((15, 0, 200), 19, 0.35), ((-8, 8, 235), 9, 0.9), ((0, 10, 20), 10, 6.0)):
        ball = (i - middle[0] - x) ** 2 + (j - middle[1] - y) ** 2 + (k - z) ** 2 < radius**2
        data[ball] = uptake * bright
    data = ndimage.gaussian_filter(data, 6.0 / FWHM / 4.0)
    data = data * (1 + np.random.default_rng(0).normal(0, 0.1, data.shape)).astype(np.float32)
    return Scan(data, small.affine @ nib.affines.from_matvec(np.eye(3), [-40, -20, -below]))


def pet_of_labels(t1: Scan, labels: np.ndarray, seed: int = 0) -> Scan:
    """A PET of a head whose regions are known, on the T1's lattice; see the top of this file."""
    brain = labels > 0
    uptake = np.where(np.isin(labels, WHITE), 1.0, np.where(np.isin(labels, FLUID), 0.2, 4.0)) * brain
    scalp = np.clip(t1.data / np.percentile(t1.data[brain], 98), 0, 1.5) * ~ndimage.binary_dilation(brain, iterations=3)
    return blurred(t1.like((uptake + 0.8 * scalp).astype(np.float32)), 6.0, noise=0.04, seed=seed)


def situations(data: Path) -> Iterator[tuple[str, Scan, np.ndarray, Scan, np.ndarray]]:
    """Name, T1, its brain, PET, and where the T1's millimetres went in that PET (4×4)."""
    folder = data / "pairs" / "brainweb06"
    t1, pet = read_scan(folder / "t1.nii.gz"), read_scan(folder / "pet.nii.gz")
    brain = brain_mask(t1)
    centre = points_of(t1, brain.data).mean(axis=0)
    for number, move in enumerate([np.eye(4), *moves(14, centre)]):
        yield f"brainweb header {number}", t1, brain.data, moved(pet, move), move
    some = moves(6, centre, seed=1)
    for number, move in enumerate(some[:3]):
        yield f"brainweb voxels {number}", t1, brain.data, moved_voxels(pet, move), move
    soft = blurred(pet, 8.0, noise=0.08)
    harder = {
        "8 mm and noise": soft,
        "axes PSR": relaid(pet, "PSR"),
        "axes RAS": relaid(pet, "RAS"),
        "voxels 5 mm": voxels(pet, (5.0, 5.0, 5.0)),
        "voxels 1.5×1.5×4": voxels(soft, (1.5, 1.5, 4.0)),
        "top cut 25": cut(pet, brain, 25, 0),
        "bottom cut 40": cut(pet, brain, 0, 40),
        "both cut, noisy": cut(soft, brain, 20, 30),
        "whole body": whole_body(soft),
        "whole body, sharp": whole_body(pet),
    }
    sheared = np.eye(4)
    sheared[0, 1], sheared[2, 0] = 0.1, -0.08
    lattice = pet.affine @ sheared
    harder["sheared lattice"] = Scan(resample(pet.data, pet.affine, pet.shape, lattice), lattice)
    for name, image in harder.items():
        for number in (0, 3, 5):
            yield f"brainweb {name} {number}", t1, brain.data, moved(image, some[number]), some[number]
    for person in ("elderly/Subj10", "elderly/Subj4", "elderly/Subj14", "t1_real/ixi012"):
        t1 = read_scan(data / f"{person}_T1.nii.gz")
        file = f"{person}_DLMUSE.nii.gz" if "elderly" in person else "seg_real/ixi012_T1_DLMUSE.nii.gz"
        labels, brain = read_scan(data / file).data, brain_mask(t1)
        pet = pet_of_labels(t1, labels)
        points = points_of(t1, brain.data)
        for number, move in enumerate(moves(5, points.mean(axis=0), seed=2)):
            yield f"{person} {number}", t1, brain.data, moved(pet, move), move


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", nargs="*", default=[], help="words that a situation's name must hold, one of them")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    print(f"{'situation':36s}{'left, mm':>9s}{'MI':>7s}{'seen':>6s}{'CPU s':>7s}")
    for name, t1, brain, pet, move in situations(arguments.data):
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        start = time.process_time()
        transform, quality = register_rigid(pet, t1, brain)
        seconds = time.process_time() - start
        points = points_of(t1, brain)
        error = transform @ move - np.eye(4)
        left = float(np.linalg.norm(nib.affines.apply_affine(error, points), axis=1).mean())
        rows.append({"situation": name, "left": left, **quality, "seconds": seconds})
        print(f"{name:36s}{left:9.2f}{quality['information']:7.3f}{quality['seen']:6.2f}{seconds:7.1f}", flush=True)
    left = np.array([row["left"] for row in rows])
    counted = f"{np.sum(left < 2)} of {len(rows)} below 2 mm"
    print(f"mean {left.mean():.2f} mm, worst {left.max():.2f} mm, {counted}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
