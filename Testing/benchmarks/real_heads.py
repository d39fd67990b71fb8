"""How near a bundle's PET of a real head comes to the simulator's conditional mean for that head's own labels.

    python Testing/benchmarks/real_heads.py BUNDLE HEADS [--law NAME]… [--folds FOLDS.json --fold K]

HEADS holds T1s with MUSE labels and participants.csv (``simulate.labels``). Each T1, untouched, goes through the whole
preparation; the PET at T = 0 for the person's age and sex, cognitively normal, is brought back to the T1's voxels and
compared there, over all labelled voxels, with the mean of the law for the head as it is (brought there too). Data range
3.68 SUVR. The truth is the simulator's: it says how well a model makes of a head what its law makes of it.

With ``--folds`` of a mixed cohort (``simulate --mixed``) only the heads of fold K, which a model that was trained with
it held out hasn't seen. Prints a table for each law: mean and lowest dB, and grey over white matter beside the truth's;
rows for the PET as a user gets it, not cut at the T1's mask, the mean of head and mirror image, and with a brain mask
made of the labels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from DualGlowLib.preparation.t1 import Prepared, prepare, to_patient
from DualGlowLib.simulate.anatomy import Anatomy
from DualGlowLib.simulate.case import law_of
from DualGlowLib.simulate.labels import closed_labels, find_pairs, load_anatomies
from DualGlowLib.simulate.shape import Covariates, as_it_is
from DualGlowLib.simulate.versions import LAWS, LawVersion, law_named
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.separable import WORK

DATA_RANGE = 3.68  # SUVR
PURE = 0.8  # share of a tissue from which on a voxel counts for grey over white


class Truth:
    """What a law says of a head as it is, on the T1's lattice: the mean, where it counts, grey and white matter."""

    def __init__(self, head: Anatomy, version: LawVersion, scan: Scan, labels: np.ndarray) -> None:
        target = head.meta["to_template"] @ scan.affine

        def back(volume: torch.Tensor) -> np.ndarray:
            return resample(volume.numpy(), WORK.affine, scan.shape, target, order=3)

        law = law_of(as_it_is(head), Covariates(head.age, head.sex or "F", "CN"), 0.0, WORK, version)
        self.mean, self.where = back(law.mean), labels > 0
        self.grey, self.white = (self.where & (back(share) > PURE) for share in (head.gm, head.wm))

    def decibel(self, pet: np.ndarray) -> float:
        error = (pet - self.mean)[self.where].astype(np.float64)
        return 10 * math.log10(DATA_RANGE**2 / np.mean(error**2))

    def contrast(self, pet: np.ndarray) -> float:
        return float(pet[self.grey].mean() / pet[self.white].mean())


def pets(synthesizer: Synthesizer, scan: Scan, labels: np.ndarray, known: dict) -> Iterator[tuple[str, np.ndarray]]:
    """What to call a PET of the T1, and the PET on the T1's lattice."""

    def mean(t1: np.ndarray) -> np.ndarray:
        encoding = synthesizer.encode_prepared(t1)
        return synthesizer.distribution(encoding, Question(synthesizer.known(known))).mean

    def both(prepared: Prepared) -> np.ndarray:
        return (mean(prepared.t1) + mean(prepared.t1[::-1].copy())[::-1]) / 2

    grid = synthesizer.bundle.grid
    found, given = prepare(scan, grid), prepare(scan, grid, mask=closed_labels(labels > 0, scan))
    yield "as a user gets it", to_patient(mean(found.t1), found).data
    yield "not cut at the mask", to_patient(mean(found.t1), found, mask=False).data
    yield "not cut, head and mirror image", to_patient(both(found), found, mask=False).data
    yield "mask of the labels", to_patient(mean(given.t1), given).data
    yield "mask of the labels, not cut", to_patient(mean(given.t1), given, mask=False).data
    yield "mask of the labels, not cut, head and mirror image", to_patient(both(given), given, mask=False).data


def of_fold(path: Path, fold: int) -> set[str]:
    """The heads of a fold of a mixed cohort."""
    subjects = json.loads(path.read_text(encoding="utf-8"))["subjects"].values()
    return {subject["stratum"] for subject in subjects if subject["fold"] == fold}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("heads", type=Path, help="folder of T1s with MUSE labels")
    parser.add_argument("--law", action="append", choices=LAWS, help="the truth; repeatable (default: each)")
    parser.add_argument("--folds", type=Path, help="truth/folds.json of a mixed cohort")
    parser.add_argument("--fold", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.heads.is_dir():
        print(f"{arguments.heads} is not there: nothing to measure.")
        return
    torch.set_num_threads(1)
    synthesizer = Synthesizer.from_bundle(arguments.bundle, "cpu")
    laws = [law_named(name) for name in arguments.law or LAWS]
    anatomies = {law.name: {one.name: one for one in load_anatomies(arguments.heads, version=law)} for law in laws}
    wanted = of_fold(arguments.folds, arguments.fold) if arguments.folds else None
    numbers: dict[str, dict[str, list]] = {law.name: {} for law in laws}
    for name, t1, label in find_pairs(arguments.heads):
        if wanted is not None and name not in wanted:
            continue
        scan, seg = read_scan(t1), read_scan(label)
        labels = resample(seg.data, seg.affine, scan.shape, scan.affine, order=0)
        head = anatomies[laws[0].name][name]
        truths = {law.name: Truth(anatomies[law.name][name], law, scan, labels) for law in laws}
        known = {"age": f"{head.age:.1f}", "sex": head.sex or "F", "diagnosis": "CN"}
        for what, pet in pets(synthesizer, scan, labels, known):
            for law, truth in truths.items():
                row = (truth.decibel(pet), truth.contrast(pet), truth.contrast(truth.mean))
                numbers[law].setdefault(what, []).append(row)
                print(name, law, what, " ".join(f"{value:.2f}" for value in row), sep="\t", file=sys.stderr)
    for law, rows in numbers.items():
        print(f"\n| {law}, {len(next(iter(rows.values())))} heads | dB, mean | lowest | grey/white | truth's |")
        print("|---|---|---|---|---|")
        for what, values in rows.items():
            decibel, contrast, true = np.array(values).T
            print(
                f"| {what} | {decibel.mean():.2f} | {decibel.min():.2f} | {contrast.mean():.2f} | {true.mean():.2f} |"
            )


if __name__ == "__main__":
    main()
