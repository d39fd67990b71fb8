"""Conditional models on a simulated cohort: what the age slider does by region, and what the MRI's latents still tell.

    python -m DualGlowLib simulate TRAIN --cases 500 --grid small --seed 5
    python -m DualGlowLib simulate TEST --cases 100 --grid small --seed 77
    python Testing/benchmarks/conditional.py TRAIN TEST --output RUNS [--steps 3000] [--only paper,standard]

Every variant is trained in a folder of its own under RUNS (a finished one is taken as it is, one that was interrupted
goes on), then measured on the cases of TEST:

- the relative slope per decade of each region's mean between 55 and 85 years at T = 0, beside two truths: at the same
  anatomy (what the simulator calls the slope), and with all that age does, atrophy too (the same person simulated at
  both ages). A model whose MRI codes tell nothing of age can only show the second: the paper's conditional mode.
- the leakage report.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from DualGlowLib.atlas.regions import REGIONS, weights
from DualGlowLib.bundle.bundle import Bundle, load_bundle
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import is_simulated, read_cases
from DualGlowLib.evaluation.leakage import leakage, leakage_table
from DualGlowLib.model import ModelConfig, encode_covariates, fit_covariates, preset
from DualGlowLib.simulate.anatomy import template_anatomy
from DualGlowLib.simulate.case import simulate_case
from DualGlowLib.simulate.cohort import truth_file
from DualGlowLib.simulate.versions import USUAL, law_named
from DualGlowLib.training.data import Cohort, split_subjects
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import GRIDS, Grid

YOUNG, OLD = 55.0, 85.0


def variants(shape: tuple[int, ...], width: int, depth: int) -> dict[str, tuple[ModelConfig, dict]]:
    """Models by name, with what differs in their training. The paper's are its own but for width and depth."""
    flow = {"depths": [depth] * 4, "widths": [width] * 4}
    paper = preset("paper-conditional", shape, mri=flow, pet=flow)
    standard = preset("standard", shape)
    return {
        "paper": (paper, {}),
        "paper-haar": (paper.updated({"mri": {"squeeze": "haar"}, "pet": {"squeeze": "haar"}}), {}),
        "paper-ramp": (paper.updated({"discriminators": {"schedule": "ramp"}}), {}),
        "paper-strong": (paper.updated({"discriminators": {"reversal": 10.0}}), {}),
        "paper-watch": (paper.updated({"discriminators": {"reversal": 0.0}}), {}),
        "paper-plain": (paper.updated({"discriminators": {"weight": 0.0}}), {}),
        "release": (paper.updated({"conditioning": "release", "discriminators": {"weight": 0.0}}), {}),
        "standard": (standard, {}),
        "standard-residual": (standard.updated({"conditioning": "residual"}), {}),
        "standard-told": (standard, {"covariate_dropout": 0.0}),
        "standard-hidden": (standard, {"covariate_dropout": 0.7}),
    }


def relative(young: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Change per decade over the value at 65 years."""
    slope = (old - young) / (OLD - YOUNG) * 10
    return slope / (young + slope * (65.0 - YOUNG) / 10)


def truth(case: Case) -> dict:
    return json.loads(truth_file(case, "law").read_text())


def whole_effect(cases: list[Case], grid: Grid, path: Path) -> np.ndarray:
    """Relative slopes, cases × regions, of the same persons at both ages; kept in ``path``."""
    if not path.is_file():
        anatomies, rows = [template_anatomy()], []
        for case in cases:
            known = truth(case)
            if known["anatomy"] != anatomies[0].name:
                continue
            version = law_named(known.get("law", USUAL.name))
            made = simulate_case(known["seed"], anatomies, grid, anatomy=0, version=version)
            pair = []
            for age in (YOUNG, OLD):
                person = replace(made.covariates, age=age)
                aged = simulate_case(known["seed"], anatomies, grid, anatomy=0, covariates=person, version=version)
                pair.append(aged.law.region_law()[0].numpy())
            rows.append(relative(*pair).tolist())
        path.write_text(json.dumps(rows))
    return np.array(json.loads(path.read_text()))


@torch.inference_mode()
def slider(bundle: Bundle, cohort: Cohort) -> np.ndarray:
    """Relative slopes of the model, cases × regions."""
    kernels = np.asarray(weights(bundle.grid)).reshape(len(REGIONS), -1)
    rows = []
    for i, case in enumerate(cohort.cases):
        ages = [{**case.covariates, "age": age} for age in (YOUNG, OLD)]
        code = encode_covariates(bundle.config.covariates, ages)
        images = bundle.model.sample(bundle.model.encode(cohort.batch([i]).mri), code, 0.0)
        rows.append(relative(*(kernels @ image.numpy().ravel() for image in images)))
    return np.array(rows)


def compare(name: str, mine: np.ndarray, true: np.ndarray) -> str:
    size = float(mine @ true / (true @ true))
    return f"{name}: correlation over regions {np.corrcoef(mine, true)[0, 1]:.3f}, size {size:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--grid", default="small")
    parser.add_argument("--only", default="paper,paper-plain,standard", help="variants, with commas")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=32, help="of the paper's coupling networks")
    parser.add_argument("--depth", type=int, default=4, help="of each of the paper's levels")
    parser.add_argument("--persons", type=int, default=24, help="simulated at both ages")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    grid, output = GRIDS[arguments.grid], arguments.output
    output.mkdir(parents=True, exist_ok=True)

    train_cases, test_cases = read_cases(arguments.train), read_cases(arguments.test)
    train = Cohort.load(train_cases, grid)
    test = Cohort.load(test_cases, grid, train.pet_scale)
    direct = np.array([[row["relative_slope"] for row in truth(case)["regions"]] for case in test_cases]).mean(0)
    whole = whole_effect(test_cases[: arguments.persons], grid, output / "whole_effect.json").mean(0)
    known = variants(grid.shape, arguments.width, arguments.depth)
    slopes, summary = {}, {}
    for name in arguments.only.split(","):
        config, changes = known[name]
        config = replace(config, covariates=fit_covariates(config.covariates, [c.covariates for c in train_cases]))
        settings = TrainingSettings(steps=arguments.steps, batch=arguments.batch, warmup=100).updated(changes)
        inside, outside = split_subjects(train_cases, settings.validation, settings.seed)
        run = output / name
        if not (run / "bundle" / "config.json").is_file():
            about = {"simulated": is_simulated(arguments.train)}
            sides = train.subset(inside), train.subset(outside)
            trainer = Trainer(run, config, settings, grid, *sides, arguments.device, about=about)
            trainer.run(resume=(run / "history.jsonl").is_file())
        bundle = load_bundle(run / "bundle")
        numbers = {key: round(value, 4) for key, value in bundle.training.items() if key.endswith("bits")}
        print(f"\n## {name}: {bundle.training['steps']} steps, {bundle.training['seconds']} s, {numbers}\n")
        slopes[name] = slider(bundle, test).mean(0)
        for text, true in (("slope at the same anatomy", direct), ("all that age does", whole)):
            print(compare(text, slopes[name], true))
        report = leakage(bundle.model, test)
        print(f"\n{leakage_table(report)}", flush=True)
        summary[name] = {"slopes": slopes[name].tolist(), "leakage": report, "training": bundle.training}
    print("\nRelative slope, % a decade:\n")
    print("| region | same anatomy | all of age | " + " | ".join(slopes) + " |\n|" + "---|" * (3 + len(slopes)))
    for i, region in enumerate(REGIONS):
        row = [direct[i], whole[i], *(values[i] for values in slopes.values())]
        print(f"| {region} | " + " | ".join(f"{100 * value:+.2f}" for value in row) + " |")
    summary["truth"] = {"regions": list(REGIONS), "same_anatomy": direct.tolist(), "all_of_age": whole.tolist()}
    (output / "conditional.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
