"""The weight λ of the MRI's likelihood (eq. 12; paper, appendix 6.4, Fig. 17) on a simulated cohort.

    python -m DualGlowLib simulate TRAIN --cases 500 --grid small --seed 5
    python -m DualGlowLib simulate TEST --cases 100 --grid small --seed 77
    python Testing/benchmarks/lambda_ablation.py TRAIN TEST --output RUNS [--preset standard] [--steps 3000]

One model per λ, everything else alike, the seed too; each in a folder of its own under RUNS (a finished one is taken as
it is, one that was interrupted goes on). Prints a Markdown table over the cases of TEST: bits per dimension of PET and
MRI, PSNR of the PET at T = 0 inside the brain mask, with the mean PET of the training cases beside it, and the largest
error of the MRI flow's round trip in float32 (the T1 spans 0..1).
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import torch

from DualGlowLib.bundle.bundle import Bundle, load_bundle
from DualGlowLib.cases.layouts import is_simulated, read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.model import PRESETS, ModelConfig, encode_covariates, fit_covariates, preset
from DualGlowLib.training.data import Cohort, split_subjects
from DualGlowLib.training.loop import Trainer
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import GRIDS

WEIGHTS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def model_of(options: argparse.Namespace, mri_weight: float) -> ModelConfig:
    config = preset(options.preset, GRIDS[options.grid].shape, mri_weight=mri_weight)
    for part in ("mri", "pet"):
        flow = getattr(config, part)
        levels = len(flow.depths)
        depths = flow.depths if options.depth is None else (options.depth,) * levels
        widths = flow.widths if options.width is None else (options.width,) * levels
        config = replace(config, **{part: replace(flow, depths=depths, widths=widths)})
    return config


def train(run: Path, config: ModelConfig, options: argparse.Namespace, cohort: Cohort, simulated: bool) -> Bundle:
    if not (run / "bundle" / "config.json").is_file():
        config = replace(config, covariates=fit_covariates(config.covariates, [c.covariates for c in cohort.cases]))
        settings = TrainingSettings(
            steps=options.steps,
            batch=options.batch,
            warmup=min(200, options.steps // 5),
            ema=options.ema,
            checkpoint_every=100,
        )
        sides = (cohort.subset(side) for side in split_subjects(cohort.cases, settings.validation, settings.seed))
        about = {"simulated": simulated}
        trainer = Trainer(run, config, settings, GRIDS[options.grid], *sides, options.device, about=about)
        trainer.run(resume=(run / "history.jsonl").is_file())
    return load_bundle(run / "bundle")


def psnr(image: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> float:
    """dB, of a data range of 1: images in the model's units."""
    return -10 * math.log10(float((image - truth)[mask].square().mean()))


@torch.inference_mode()
def measure(bundle: Bundle, cohort: Cohort, masks: list[torch.Tensor], mean_pet: torch.Tensor) -> dict:
    model = bundle.model.float().eval()
    rows = []
    for i, mask in enumerate(masks):
        batch = cohort.batch([i])
        covariates = encode_covariates(bundle.config.covariates, batch.covariates)
        noisy = model.add_noise(batch.pet, batch.mri, torch.Generator().manual_seed(i))
        objective = model(*noisy, covariates)
        latents, _ = model.mri_flow(batch.mri - 0.5)
        mode = model.sample(model.encode(batch.mri), covariates, 0.0)
        rows.append(
            {
                "pet_bits": objective.pet_bits.item(),
                "mri_bits": objective.mri_bits.item(),
                "psnr": psnr(mode[0, 0], batch.pet[0, 0], mask),
                "mean_psnr": psnr(mean_pet, batch.pet[0, 0], mask),
                "round_trip": float((model.mri_flow.inverse(latents) - (batch.mri - 0.5)).abs().max()),
            }
        )
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    means["round_trip"] = max(row["round_trip"] for row in rows)
    return {**means, "steps": bundle.training["steps"], "seconds": bundle.training["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--grid", default="small", choices=GRIDS)
    parser.add_argument("--preset", default="standard", choices=PRESETS)
    parser.add_argument("--weights", type=float, nargs="+", default=list(WEIGHTS), help="the λ to compare")
    parser.add_argument("--depth", type=int, help="of every level of both flows, instead of the preset's")
    parser.add_argument("--width", type=int, help="of every coupling network, instead of the preset's")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--ema", type=float, default=0.999, help="of the weights; less for a short run")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    grid = GRIDS[options.grid]
    cohort = Cohort.load(read_cases(options.train), grid)
    test_cases = read_cases(options.test)
    test = Cohort.load(test_cases, grid, cohort.pet_scale)
    masks = [torch.from_numpy(read_on_grid(case, grid)[2]).bool() for case in test_cases]
    mean_pet = cohort.statistics()[0][0]
    options.output.mkdir(parents=True, exist_ok=True)
    print("| λ | steps | s | PET bits/dim | MRI bits/dim | PSNR at T = 0, dB | of the mean PET | MRI round trip |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    found = {}
    for weight in options.weights:
        run = options.output / f"{options.preset}-{weight:g}"
        bundle = train(run, model_of(options, weight), options, cohort, is_simulated(options.train))
        row = found[f"{weight:g}"] = measure(bundle, test, masks, mean_pet)
        values = [f"{row[key]:.3f}" for key in ("pet_bits", "mri_bits")]
        values += [f"{row[key]:.2f}" for key in ("psnr", "mean_psnr")]
        print(
            f"| {weight:g} | {row['steps']} | {row['seconds']} | {' | '.join(values)} | {row['round_trip']:.1e} |",
            flush=True,
        )
    summary = options.output / f"{options.preset}.json"
    summary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
