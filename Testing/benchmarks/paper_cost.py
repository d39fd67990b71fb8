"""What the paper's model costs at its full size: weights, memory, operations a step, and the hours of its training.

    python Testing/benchmarks/paper_cost.py [--measure] [--rate 10] [--pairs 806] [--tiny]

All of it but ``--measure`` is counted on tensors without content, so it takes no memory: every convolution and matrix
product of a step (forward, backward; a batch of one case), and every tensor that is kept for the backward pass.
``--measure`` times steps of the same width and grid at depth 1 on this computer's processor, one thread, and takes
the rate that these reach for the whole; ``--rate`` is another, in 10¹² operations a second. ``--tiny`` shrinks the
model, to see that the benchmark runs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from DualGlowLib.flow import MEMORY_MODES, set_memory
from DualGlowLib.model import DualGlow, ModelConfig, preset
from DualGlowLib.training.optim import Adamax
from DualGlowLib.training.settings import PRESET_TRAINING

PRESETS = ("paper", "paper-conditional", "authors")
OF_A_WEIGHT = 4 * 5  # bytes: weight, gradient, two moments, average
GIB, DAY = 1 << 30, 24
SHAPE = (64, 96, 64)  # the paper's


def at_depth(config: ModelConfig, depth: int) -> ModelConfig:
    flows = {name: replace(getattr(config, name), depths=(depth,) * len(config.pet.depths)) for name in ("mri", "pet")}
    return replace(config, **flows)


def inputs(config: ModelConfig, device: str) -> tuple[Tensor, Tensor, Tensor]:
    codes = sum(covariate.size for covariate in config.covariates)
    image = torch.full((1, 1, *config.shape), 0.5, device=device)
    return image, image, torch.zeros(1, codes, device=device)


def counted(config: ModelConfig) -> tuple[int, float, dict[str, int]]:
    """Weights, operations of a step (two for each multiplication with its sum), and bytes kept in each memory mode."""
    with torch.device("meta"):
        model = DualGlow(config)
    weights = {id(parameter) for parameter in model.parameters()}
    with FlopCounterMode(display=False) as counter:
        model(*inputs(config, "meta")).loss.mean().backward()
    kept = {}
    for mode in MEMORY_MODES:
        set_memory(model, mode)
        storages: dict[int, torch.UntypedStorage] = {}  # held, so that none takes another's number

        def pack(tensor: Tensor, storages: dict = storages) -> Tensor:
            if id(tensor) not in weights:
                storage = tensor.untyped_storage()
                storages[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(*inputs(config, "meta"))
        kept[mode] = sum(storage.nbytes() for storage in storages.values())
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops(), kept


def measured(config: ModelConfig, steps: int = 3) -> tuple[float, float]:
    """Seconds of a step on this processor (the fastest of some), and operations a second."""
    torch.set_num_threads(1)
    operations = counted(config)[1]
    model, times = DualGlow(config), []
    optimizer = Adamax(model.parameters(), lr=1e-4)
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(*inputs(config, "cpu")).loss.mean().backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return min(times), operations / min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="time steps at depth 1 here")
    parser.add_argument("--rate", type=float, default=10.0, help="10¹² operations a second")
    parser.add_argument("--pairs", type=int, default=806, help="cases of the training")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    shape = (16, 16, 16) if options.tiny else SHAPE
    configs = {name: preset(name, shape) for name in PRESETS}
    if options.tiny:
        flow = {"depths": [1] * 4, "widths": [8] * 4}
        configs = {name: one.updated({"mri": flow, "pet": flow}) for name, one in configs.items()}
    rates = {f"hours at {options.rate:g}·10¹²/s": options.rate * 1e12}
    if options.measure:
        seconds, rate = measured(at_depth(configs["paper"], 1))
        print(f"`paper` at depth 1: {seconds:.3g} s a step here, {rate / 1e9:.3g}·10⁹ operations a second.\n")
        rates["days at the rate here"] = rate
    kept_titles = [f"kept, {mode}, GiB" for mode in MEMORY_MODES]
    titles = ["preset", "weights, 10⁶", "state, GiB", *kept_titles, "operations a step, 10¹²", "steps", *rates]
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(titles))
    for name, config in configs.items():
        weights, operations, kept = counted(config)
        steps = PRESET_TRAINING[name]["epochs"] * options.pairs
        hours = [steps * operations / rate / 3600 for rate in rates.values()]
        if options.measure:
            hours[-1] /= DAY
        cells = [f"{weights / 1e6:.1f}", f"{weights * OF_A_WEIGHT / GIB:.2f}"]
        cells += [f"{kept[mode] / GIB:.2f}" for mode in MEMORY_MODES]
        cells += [f"{operations / 1e12:.3g}", str(steps), *(f"{time_:.3g}" for time_ in hours)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
