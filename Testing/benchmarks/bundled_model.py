"""What a bundle is worth on simulated cases that it has not seen: images, region means, intervals, age slopes.

    python Testing/benchmarks/bundled_model.py BUNDLE COHORT [--cases 20] [--samples 32] [--output report.json]

COHORT was written by ``simulate`` with another seed (and, for a stricter test, other heads) than the training cases.
Prints Markdown tables:

- image metrics in the brain beside the copied mean PET and the conditional mean that the simulator knows;
- region means: correlation with what was drawn, bias, coverage of the central 90 % interval of K samples at T = 1, and
  the samples' spread over the known standard deviation of the region's mean;
- age: relative slope per decade of each region's mean at T = 0 and fixed MRI, beside the simulator's own;
- how exactly the MRI flow returns.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from DualGlowLib.atlas.regions import REGIONS, weights
from DualGlowLib.baselines.mean import MeanPET
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.evaluation.report import write_report
from DualGlowLib.evaluation.tables import case_seed, evaluate
from DualGlowLib.simulate.cohort import truth_file
from DualGlowLib.synthesis.predictor import ModelPredictor
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer

_STUDIED = ("drawn", "mode", "mean", "low", "high", "sd", "true_sd", "slope", "true_slope", "round_trip")


def region_study(synthesizer: Synthesizer, cases: list, samples: int) -> dict:
    """Region means (cases × regions) drawn, predicted, their intervals, and slopes per decade relative to the mean."""
    kernels = np.asarray(weights(synthesizer.bundle.grid)).reshape(len(REGIONS), -1)
    kernels = kernels / kernels.sum(1, keepdims=True)

    def means(volume: np.ndarray) -> np.ndarray:
        return kernels @ volume.ravel()

    rows = {key: [] for key in _STUDIED}
    for case in cases:
        t1, pet, _ = read_on_grid(case, synthesizer.bundle.grid)
        encoding = synthesizer.encode_prepared(t1)
        truth = json.loads(truth_file(case, "law").read_text())
        truth = {entry["region"]: entry for entry in truth["regions"]}
        rows["drawn"].append(means(pet))
        asked = Question(synthesizer.known(case.covariates))

        def image(question: Question, encoding=encoding) -> np.ndarray:
            return means(synthesizer.distribution(encoding, question).mean)

        rows["mode"].append(image(asked))
        # Noise of the case's own: noise that all cases share would look like a bias of the model.
        own = replace(asked, temperature=1.0, seed=case_seed(0, case), samples=samples)
        drawn = synthesizer.distribution(encoding, own, regions=kernels.reshape(-1, *t1.shape)).regions
        rows["mean"].append(drawn.mean(0))
        rows["sd"].append(drawn.std(0, ddof=1))
        # Normal quantiles: 32 samples have no 5th and 95th percentile of their own.
        rows["low"].append(rows["mean"][-1] - 1.645 * rows["sd"][-1])
        rows["high"].append(rows["mean"][-1] + 1.645 * rows["sd"][-1])
        rows["true_sd"].append([truth[name]["sd"] for name in REGIONS])
        rows["true_slope"].append([truth[name]["relative_slope"] for name in REGIONS])
        young, old = (image(asked.at(age=age)) for age in (55.0, 85.0))
        rows["slope"].append((old - young) / 3 / ((old + young) / 2))
        flow, mri = synthesizer.model.mri_flow, torch.from_numpy(t1)[None, None] / synthesizer.bundle.t1_scale - 0.5
        with torch.inference_mode():
            rows["round_trip"].append(float((flow.inverse(flow(mri)[0]) - mri).abs().max()))
    return {key: np.array(value) for key, value in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("cohort")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--output", default="report.json")
    arguments = parser.parse_args()
    synthesizer = Synthesizer.from_bundle(arguments.bundle, "auto")
    cases = read_cases(arguments.cohort)[: arguments.cases]
    bundle = synthesizer.bundle
    methods = [ModelPredictor(synthesizer, "model"), *filter(None, [MeanPET.of_bundle(bundle)])]
    print(write_report(evaluate(methods, cases, bundle.grid, bundle.pet_scale, samples=8), Path(arguments.output)))

    study = region_study(synthesizer, cases, arguments.samples)
    inside = (study["low"] <= study["drawn"]) & (study["drawn"] <= study["high"])
    print(f"\nRegion means, {len(cases)} cases, {arguments.samples} samples at T = 1:\n")
    print("| region | drawn | predicted | bias | in 90 % | sd / true sd | slope %/decade | true slope |")
    print("|---|---|---|---|---|---|---|---|")
    for i, name in enumerate(REGIONS):
        ratio = (study["sd"][:, i] / study["true_sd"][:, i]).mean()
        bias = (study["mean"] - study["drawn"])[:, i].mean()
        print(
            f"| {name} | {study['drawn'][:, i].mean():.3f} | {study['mean'][:, i].mean():.3f} | {bias:+.3f} "
            f"| {100 * inside[:, i].mean():.0f} % | {ratio:.2f} "
            f"| {100 * study['slope'][:, i].mean():+.2f} | {100 * study['true_slope'][:, i].mean():+.2f} |"
        )
    print(f"\ncoverage of all region means: {100 * inside.mean():.1f} %")
    print(f"sd / true sd, all: {(study['sd'] / study['true_sd']).mean():.2f}")
    correlation = np.corrcoef(study["mode"].ravel(), study["drawn"].ravel())[0, 1]
    print(f"correlation of region means with those drawn (cases × regions): {correlation:.4f}")
    mine, true = study["slope"].mean(0), study["true_slope"].mean(0)
    size = float(mine @ true / (true @ true))
    print(f"relative slopes: correlation over regions {np.corrcoef(mine, true)[0, 1]:.3f}, size {size:.3f}")
    print(f"largest error of the MRI flow's round trip in float32 (T1 spans 0..1): {study['round_trip'].max():.1e}")


if __name__ == "__main__":
    main()
