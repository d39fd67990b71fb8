"""Measure ``t1.prepare`` on real heads: masks and registration, turned heads, bias, time and memory.

    python Testing/benchmarks/preparation.py heads --data DATA [FILE ...]
    python Testing/benchmarks/preparation.py turns --data DATA [HEAD ...]
    python Testing/benchmarks/preparation.py bias  --data DATA [HEAD ...]
    python Testing/benchmarks/preparation.py time  [--data DATA]

``heads`` prints what ``prepare`` finds in every T1 of the data and in files of one's own, and how it refuses images of
something else. Mask Dice is that of the patient's brain mask, template Dice that of the template's brain mapped to the
patient, both with the labels taken as they are (DLMUSE > 0, or the extracted brain of Colin27; nothing is closed or
filled); the mean and the worst are over the heads with DLMUSE labels, the only ones drawn independently of us.
``turns`` turns the head without telling the header: all 24 ways to lay a head along the axes, and 35° and 60° tilts;
each must come back to where the upright head came, or be refused or doubted. ``bias`` prints how even white matter is
before and after the correction, with and without an added shading. ``time`` prints what the stages take.
"""

from __future__ import annotations

import argparse
import sys
import time
import zipfile
from itertools import permutations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
import torch
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from DualGlowLib import InputError
from DualGlowLib.atlas.template import load_template
from DualGlowLib.devices import peak_memory
from DualGlowLib.preparation import t1 as preparation
from DualGlowLib.preparation.bias import correct_bias
from DualGlowLib.preparation.t1 import Prepared, prepare
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

ELDERLY = ("3", "4", "6", "9", "10", "12", "14", "16", "18", "21", "23")
DLMUSE = (*ELDERLY, "ixi")
WHITE = tuple(range(81, 95))  # DLMUSE codes of the lobes' white matter
UNLABELLED = (
    "pairs/brainweb06/t1.nii.gz",
    "awkward/papaya_sample_4Dshape.nii.gz",
    "dicom/philips_adni_mprage_41M.zip",
    "dicom/decubitus_left_t1_thick.zip",
    "derived/ixi012_4mm_no_xform.nii.gz",
)
OTHER = (
    "pairs/brainweb06/pet.nii.gz",
    "pet/CN_FDG_PET_TEMPLATE.nii.gz",
    "atlas_mni/neuroparc_Desikan_2mm.nii.gz",
    "atlas_mni/neuroparc_Tissue_2mm.nii.gz",
    "seg_real/synthseg_training_seg_01.nii.gz",
    "atlas_mni/clinical_scct_CT_template.nii",
    "awkward/avf_float32.nrrd",
)


def paths(data: Path, name: str) -> tuple[Path, Path]:
    """T1 and labels of a head."""
    special = {
        "ixi": ("t1_real/ixi012_T1.nii.gz", "seg_real/ixi012_T1_DLMUSE.nii.gz"),
        "colin": ("t1_real/colin27_ch2.nii.gz", "brain_only/colin27_ch2bet.nii.gz"),
        "colin, stripped": ("brain_only/colin27_ch2bet.nii.gz", "brain_only/colin27_ch2bet.nii.gz"),
    }
    t1, labels = special.get(name, (f"elderly/Subj{name}_T1.nii.gz", f"elderly/Subj{name}_DLMUSE.nii.gz"))
    return data / t1, data / labels


def read(path: Path) -> Scan:
    """A scan, also from a zip of one DICOM series."""
    if path.suffix != ".zip":
        return read_scan(path)
    with TemporaryDirectory() as folder:
        zipfile.ZipFile(path).extractall(folder)
        return read_scan(folder)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float(np.count_nonzero(a & b)) / max(float(np.count_nonzero(a) + np.count_nonzero(b)), 1.0)


def mapped_brain(prepared: Prepared) -> np.ndarray:
    """The template's brain on the scan's lattice."""
    mask = load_template().mask
    return resample(mask.data, mask.affine, prepared.scan.shape, prepared.to_template @ prepared.scan.affine) > 0.5


# ---------------------------------------------------------------------------------------------------------- heads


def heads(arguments: argparse.Namespace) -> None:
    data, scores = arguments.data, []
    table = [(name, *paths(data, name)) for name in (*DLMUSE, "colin", "colin, stripped")]
    table += [(Path(name).name, data / name, None) for name in (*UNLABELLED, *OTHER)]
    table += [(Path(name).name, Path(name), None) for name in arguments.files]
    print(f"{'T1':32} mask dice  template dice  overlap  likeness  turned  seconds  verdict")
    for name, path, labels in table:
        begun = time.perf_counter()
        try:
            prepared = prepare(read(path), GRIDS["standard"])
        except InputError as error:
            print(f"{name:32} refused ({time.perf_counter() - begun:.1f} s): {error}", flush=True)
            continue
        seconds, found, quality = time.perf_counter() - begun, ["        -", "            -"], prepared.quality
        if labels is not None:
            true = read_scan(labels).data > 0
            pair = dice(prepared.patient_mask, true), dice(mapped_brain(prepared), true)
            found = [f"{pair[0]:9.4f}", f"{pair[1]:13.4f}"]
            if name in DLMUSE:
                scores.append(pair)
        row = f"{quality['dice']:7.3f}  {quality['correlation']:8.3f}  {quality['turned']:6.1f}  {seconds:7.1f}"
        said = ": ".join([prepared.verdict.status, *filter(None, ["; ".join(prepared.verdict.reasons)])])
        print(f"{name:32} {'  '.join(found)}  {row}  {said}", flush=True)
    for word, of in (("mean", np.mean), ("worst", np.min)):
        pair = of(scores, axis=0)
        print(f"{word + f' of {len(scores)} with DLMUSE labels':32} {pair[0]:9.4f}  {pair[1]:13.4f}")


# ---------------------------------------------------------------------------------------------------------- turns


def rotations() -> dict[str, np.ndarray]:
    """The 24 rotations that lay axes along axes, and tilts about each axis, by name."""
    found = {}
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
        if np.linalg.det(turn) > 0:
            found["".join("xyz"[n] if s > 0 else "XYZ"[n] for n, s in zip(order, signs, strict=True))] = turn
    for angle, axis in product((35, -35, 60, -60), range(3)):
        found[f"{'xyz'[axis]}{angle:+d}°"] = Rotation.from_euler("xyz"[axis], angle, degrees=True).as_matrix()
    return found


def farthest(affine: np.ndarray, expected: np.ndarray) -> float:
    """How far apart two affines put the brain, at most, in millimetres of template space."""
    corners = np.array(list(product([-60, 60], [-95, 60], [-55, 70])))
    return float(np.linalg.norm(apply_affine(affine @ np.linalg.inv(expected), corners) - corners, axis=1).max())


def turns(arguments: argparse.Namespace) -> None:
    wrong = []
    for name in arguments.files or ("10", "14", "ixi"):
        scan = read_scan(paths(arguments.data, name)[0])
        upright = prepare(scan, GRIDS["medium"])
        for turn, matrix in rotations().items():
            world = np.eye(4)
            world[:3, :3] = matrix
            begun = time.process_time()
            try:
                prepared = prepare(Scan(scan.data, world @ scan.affine, f"{name} {turn}"), GRIDS["medium"])
            except InputError as error:
                print(f"{name:>4} {turn:5} refused: {error}", flush=True)
                wrong.append(f"{name} {turn} refused")
                continue
            apart = farthest(prepared.to_template @ world, upright.to_template)
            quality = prepared.quality
            row = f"dice {quality['dice']:.3f} likeness {quality['correlation']:.3f} turned {quality['turned']:5.1f}"
            taken = time.process_time() - begun
            print(f"{name:>4} {turn:5} {apart:6.2f} mm off, {row}, {taken:.1f} s of CPU", flush=True)
            if apart > 5:
                wrong.append(f"{name} {turn} {apart:.1f} mm, {prepared.verdict.status}")
    print(f"{len(wrong)} not right: {', '.join(wrong)}" if wrong else "all right")


# ----------------------------------------------------------------------------------------------------------- bias


def bias(arguments: argparse.Namespace) -> None:
    """Coefficient of variation of white matter (labels), what is left of a known shading, and the same of ITK's N4."""
    print(
        "head    white matter: as read  corrected   shaded  corrected   sd of log shading: added  left    seconds  "
        "ITK's N4: white matter  log fields' correlation  seconds"
    )
    for name in arguments.files or DLMUSE:
        scan, labels = (read_scan(path) for path in paths(arguments.data, name))
        brain, white = labels.data > 0, np.isin(labels.data.round(), WHITE)
        i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in scan.shape], indexing="ij")
        shade = 1 + 0.2 * (i + 0.6 * j - 0.5 * k) / 1.2
        shaded = scan.like((scan.data * shade).astype(np.float32))
        begun = time.process_time()
        plain = correct_bias(scan, brain)
        seconds = time.process_time() - begun
        again = correct_bias(shaded, brain)
        columns = [float(one.data[white].std() / one.data[white].mean()) for one in (scan, plain, shaded, again)]
        inside = brain & (plain.data > 1)
        left = np.log(np.maximum(again.data, 1e-3) / np.maximum(plain.data, 1e-3))[inside].std()
        numbers = "  ".join(f"{number:9.4f}" for number in columns)
        begun = time.process_time()
        other = itk_n4(scan, brain)
        alike = log_correlation(scan, plain.data, other, inside)
        theirs = f"{other[white].std() / other[white].mean():24.4f}  {alike:23.3f}"
        print(
            f"{name:6} {numbers}  {np.log(shade)[inside].std():24.4f}  {left:.4f}  {seconds:7.1f}  {theirs}"
            f"  {time.process_time() - begun:7.1f}",
            flush=True,
        )


def itk_n4(scan: Scan, brain: np.ndarray) -> np.ndarray:
    """The scan after SimpleITK's N4 with its usual settings on every second voxel."""
    image = sitk.Cast(scan.to_sitk(), sitk.sitkFloat32)
    small = [sitk.Shrink(one, [2] * 3) for one in (image, Scan(brain.astype(np.uint8), scan.affine).to_sitk())]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50] * 4)
    n4.Execute(small[0] + 1e-3, small[1])
    return Scan.from_sitk(image / sitk.Exp(n4.GetLogBiasFieldAsImage(image))).data


def log_correlation(scan: Scan, one: np.ndarray, other: np.ndarray, inside: np.ndarray) -> float:
    fields = [np.log(np.maximum(scan.data, 1)[inside] / np.maximum(image, 1e-3)[inside]) for image in (one, other)]
    return float(np.corrcoef(fields)[0, 1])


# ----------------------------------------------------------------------------------------------------------- time


def stages(scan: Scan) -> None:
    """What the stages of one preparation take, and the most memory so far."""
    marks: dict[str, float] = {}

    def timed(name: str, module: object, attribute: str) -> None:
        function = getattr(module, attribute)

        def wrapped(*positions: object, **names: object) -> object:
            begun = time.perf_counter()
            try:
                return function(*positions, **names)
            finally:
                marks[name] = marks.get(name, 0.0) + time.perf_counter() - begun

        setattr(module, attribute, wrapped)

    parts = {"brain mask": "brain_mask", "bias": "correct_bias", "registration": "register", "resampling": "_on_grid"}
    before = {attribute: getattr(preparation, attribute) for attribute in (*parts.values(), "examine")}
    for name, attribute in {**parts, "verdict": "examine"}.items():
        timed(name, preparation, attribute)
    begun = time.perf_counter()
    prepare(scan, GRIDS["standard"])
    whole = time.perf_counter() - begun
    for attribute, function in before.items():
        setattr(preparation, attribute, function)
    for name, seconds in marks.items():
        print(f"{name:>16} {seconds:8.2f} s")
    memory = (peak_memory() or 0) / (1 << 20)
    print(f"{'whole':>16} {whole:8.2f} s\n{'peak memory':>16} {memory:8.0f} MB", flush=True)


def timing(arguments: argparse.Namespace) -> None:
    """A 1 mm T1 (the template) and, where the data are there, Colin27 and the Philips series."""
    template = load_template()
    print("the template as a T1, 1 mm:")
    stages(Scan(template.t1.data * 7.0, template.t1.affine))
    for name in ("t1_real/colin27_ch2.nii.gz", "dicom/philips_adni_mprage_41M.zip") if arguments.data else ():
        begun = time.perf_counter()
        scan = read(arguments.data / name)
        print(f"{name}:\n{'read':>16} {time.perf_counter() - begun:8.2f} s")
        stages(scan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("heads", "turns", "bias", "time"))
    parser.add_argument("--data", type=Path, help="folder with elderly/, t1_real/, seg_real/ …")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("files", nargs="*", help="files of one's own (heads), or heads such as 10, 14, ixi")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(arguments.threads)
    {"heads": heads, "turns": turns, "bias": bias, "time": timing}[arguments.command](arguments)


if __name__ == "__main__":
    main()
