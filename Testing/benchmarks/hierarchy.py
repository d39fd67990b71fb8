"""Hierarchical against flat (paper, appendix 6.4): what it saves that half of the channels leave at each level.

    python Testing/benchmarks/hierarchy.py [--grid small] [--levels 3] [--depth 2] [--width 32] [--rounds 5]

Trains one flow on random images in both ways (``FlowConfig.split``) at equal depth and width, on one thread, and prints
a Markdown table: processor time of a step, the two taking turns; peak of the activations by torch's own record
(``memory.py``); parameters of the flow, those in its invertible 1×1 convolutions, and those of the levelwise link of
the preset ``paper`` between two such flows, which grows with the square of the top latent's channels; and the
multiply-adds of the flow per voxel. The paper's count, 2^l·N·l against (2^(l+1) − 2)·N for l levels whose tensors halve
from one to the next, stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from memory import MIB, activation_peak, table

from DualGlowLib.flow import MEMORY_MODES, FlowConfig, MultiScaleFlow, initialize, set_memory
from DualGlowLib.model import LinkConfig, ModelConfig
from DualGlowLib.model.link import build_link
from DualGlowLib.volumes.grid import GRIDS


class Step:
    """One flow, ready for training steps on random images."""

    def __init__(self, options: argparse.Namespace, levels: int, shape: Sequence[int], split: bool) -> None:
        torch.manual_seed(0)
        self.config = FlowConfig((options.depth,) * levels, (options.width,) * levels, split=split)
        self.flow = MultiScaleFlow(1, len(shape), self.config)
        self.images = torch.rand(options.batch, 1, *shape)
        initialize(self.flow, [(self.images,)])
        set_memory(self.flow, options.memory)
        self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=1e-5)

    def __call__(self) -> None:
        self.optimizer.zero_grad(set_to_none=False)
        latents, log_det = self.flow(self.images)
        (0.5 * sum(z.square().sum() for z in latents) - log_det.sum()).backward()
        self.optimizer.step()


def size(parameters: Sequence[torch.Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def link_parameters(flow: FlowConfig, shape: Sequence[int]) -> int:
    """Of the link of the preset ``paper``; nothing is allocated."""
    config = ModelConfig("paper", shape, flow, flow, LinkConfig(conditioning="none"), covariates=())
    with torch.device("meta"):
        shapes = MultiScaleFlow(1, len(shape), flow).latent_shapes(shape)
        return size(build_link(config, shapes, shapes).parameters())


def multiply_adds(flow: MultiScaleFlow) -> float:
    """Of the 1×1 convolutions and the coupling networks, per voxel of the image."""
    total = 0.0
    for level, steps in enumerate(flow.levels, 1):
        voxels = 2.0 ** (-level * flow.dims)
        for step in steps:
            kernels = size([p for p in step.coupling.parameters() if p.dim() > 2])
            total += voxels * (kernels + step.actnorm.log_scale.numel() ** 2)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", default="small", choices=GRIDS)
    parser.add_argument("--levels", type=int, nargs="+", default=[3])
    parser.add_argument("--depth", type=int, default=2, help="of every level")
    parser.add_argument("--width", type=int, default=32, help="of every coupling network")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--memory", default="plain", choices=MEMORY_MODES)
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape, rows = GRIDS[options.grid].shape, []
    for levels in options.levels:
        steps = {"hierarchical": Step(options, levels, shape, True), "flat": Step(options, levels, shape, False)}
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(options.rounds + 1):  # the first makes gradients and the optimiser's state
            for name, step in steps.items():
                start = time.process_time()
                step()
                seconds[name].append(time.process_time() - start)
        first = None
        for name, step in steps.items():
            mixing = size([p for level in step.flow.levels for one in level for p in one.mixing.parameters()])
            found = [
                statistics.median(seconds[name][1:]),
                activation_peak(step) / MIB,
                size(step.flow.parameters()) / 1e6,
                mixing / 1e6,
                link_parameters(step.config, shape) / 1e6,
                multiply_adds(step.flow) / 1e3,
                2**levels * levels if name == "flat" else 2 ** (levels + 1) - 2,
            ]
            first = first or found
            cells = [f"{value:.4g} (×{value / base:.2f})" for value, base in zip(found, first, strict=True)]
            rows.append([f"{levels} levels, {name}", *cells])
    table(
        [
            "",
            "s a step",
            "activations, MiB",
            "flow, M parameters",
            "of which 1×1",
            "link, M parameters",
            "k multiply-adds a voxel",
            "paper's count",
        ],
        rows,
    )


if __name__ == "__main__":
    main()
