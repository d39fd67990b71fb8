"""iGlow, the paper's baseline (appendix 6.2), on a simulated cohort: is the PET that its likelihood prefers any good?

    python -m DualGlowLib simulate TRAIN --cases 500 --grid small --seed 5
    python -m DualGlowLib simulate TEST --cases 40 --grid small --seed 77
    python Testing/benchmarks/iglow.py TRAIN TEST [--steps 1500] [--depth 10] [--width 32] [--ascents 0 50 200 800]

Prints a Markdown table over the cases of TEST: PSNR in the brain mask of the PET found after so many steps up the
gradient, the mean PET (0 steps) being where it starts, and log p(T1, PET) in bits per dimension (the lower, the
likelier), with that of the PET that was drawn for comparison.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from DualGlowLib.baselines.iglow import IGlow
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.flow import FlowConfig
from DualGlowLib.training.data import Cohort
from DualGlowLib.volumes.grid import GRIDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--grid", default="small", choices=GRIDS)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--depth", type=int, default=10, help="couplings of each level; the paper has 10")
    parser.add_argument("--width", type=int, default=32, help="of the coupling networks")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--ascents", type=int, nargs="+", default=[0, 50, 200, 800])
    parser.add_argument("--cases", type=int, default=12, help="of TEST")
    options = parser.parse_args()

    grid = GRIDS[options.grid]
    cohort = Cohort.load(read_cases(options.train), grid)
    cases = read_cases(options.test)[: options.cases]
    test = Cohort.load(cases, grid, cohort.pet_scale)
    masks = torch.stack([torch.from_numpy(read_on_grid(case, grid)[2]) for case in cases])[:, None].bool()
    model = IGlow(
        grid.shape, FlowConfig(depths=(options.depth,) * options.levels, widths=(options.width,) * options.levels)
    )
    events: list[dict] = []
    started = time.monotonic()
    model.fit(cohort, options.steps, options.batch, options.rate, report=events.append)
    last = events[-100:]
    bits = sum(event["bits"] for event in last) / len(last)
    size = f"{options.levels} × {options.depth} couplings of width {options.width}"
    took = f"{options.steps} steps of {options.batch} cases, {time.monotonic() - started:.0f} s"
    print(f"{size}, {took}, {events[-1]['skipped']} skipped; training {bits:.3f} bits/dim\n")
    batch = test.batch(range(len(cases)))
    print(
        "| steps up the gradient | PSNR dB | bits/dim of T1 and PET together | the same with the PET that was drawn |"
    )
    print("|---|---|---|---|")
    with torch.no_grad():
        drawn = model.bits(batch.mri, batch.pet).mean()
    for steps in options.ascents:
        found = model.ascend(batch.mri, steps)
        errors = [float((a - b)[m].square().mean()) for a, b, m in zip(found, batch.pet, masks, strict=True)]
        psnr = sum(-10 * math.log10(error) for error in errors) / len(errors)
        with torch.no_grad():
            likely = model.bits(batch.mri, found).mean()
        print(f"| {steps} | {psnr:.2f} | {likely:.3f} | {drawn:.3f} |", flush=True)


if __name__ == "__main__":
    main()
