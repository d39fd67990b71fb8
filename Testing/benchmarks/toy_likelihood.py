"""How near a trained model comes to a conditional density that is known in closed form.

    python Testing/benchmarks/toy_likelihood.py [--dims 2] [--steps 4000] [--people 20] [--samples 100]

The law is that of ``Testing/support/toy_cohort.py``. Printed are the bits per dimension that the model loses against
the truth, and how far means and spreads of samples lie from the true ones, in standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))

from toy_cohort import train_toy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("dims", 2), ("steps", 4000), ("batch", 64), ("people", 20), ("samples", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=6e-3)
    arguments = parser.parse_args()
    start = time.monotonic()
    model, law = train_toy(arguments.dims, arguments.steps, arguments.batch, arguments.rate)
    print(f"trained in {time.monotonic() - start:.0f} s")

    generator = torch.Generator().manual_seed(99)
    mri, codes = law.cases(5000, generator)
    pet, _ = model.add_noise(law.draw(mri, codes, generator), mri, generator)
    truth, voxels, count = law.log_prob(pet, mri, codes), math.prod(law.shape), arguments.samples
    with torch.no_grad():
        mine = model.pet_log_prob(pet, model.link.decode(model.encode(mri).features, codes))
        gap = (truth - mine) / (math.log(2) * voxels)
        print(f"truth {8 - truth.mean() / (math.log(2) * voxels):.4f} bits/dim")
        print(f"model loses {gap.mean():.4f} ± {gap.std() / 5000**0.5:.4f} bits/dim")
        means, spreads, wholes = [], [], []
        sd_of_mean = math.hypot(law.white / voxels**0.5, law.shared)
        for i in range(arguments.people):
            one, code = mri[i : i + 1], codes[i : i + 1]
            many = code.expand(count, -1)
            drawn = model.sample(model.encode(one), many, 1.0, torch.Generator().manual_seed(i))
            mean = law.mean(one, code)[0]
            means.append((drawn.mean(0) - mean) / (law.sd / count**0.5))
            spreads.append((drawn.std(0) / law.sd - 1) * (2 * count) ** 0.5)
            wholes.append((drawn.mean() - mean.mean()) / (sd_of_mean / count**0.5))
    for name, values in (("voxel means", means), ("voxel sds", spreads), ("means of the picture", wholes)):
        z = torch.stack(values)
        inside = 100 * (z.abs() < 3).float().mean()
        print(f"{name}: {inside:.1f} % within 3 standard errors, rms {z.square().mean().sqrt():.2f}")


if __name__ == "__main__":
    main()
