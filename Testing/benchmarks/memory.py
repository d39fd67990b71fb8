"""Memory and time of a training step by depth and memory mode, and how exact the invertible mode's gradients are.

    python Testing/benchmarks/memory.py [--preset standard] [--grid medium] [--batch 2] [--times 1 4] [--rounds 5]

Prints three Markdown tables:

- memory, each row a process of its own: the peak of all bytes that torch holds during a step (its allocator's own
  record), of which weights, gradients and the optimiser's state (they grow with depth in every mode), and the rest,
  activations; and the peak of the process's resident memory over that after the imports, which also has the
  convolution library's working space;
- processor time of a step on one thread, the modes taking turns in one process;
- error of the gradient (norm of the difference over the norm) in float32 against float64, over 64 couplings with random
  networks whose log-scales have the standard deviation given, and of the model that ships.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, product

import torch

from DualGlowLib.atlas.template import load_template
from DualGlowLib.devices import peak_memory
from DualGlowLib.flow import MEMORY_MODES, FlowConfig, MultiScaleFlow, ZeroConv, initialize, set_memory
from DualGlowLib.model import DualGlow, ModelConfig, encode_covariates, preset
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.volumes.grid import GRIDS

MIB = 2**20


class Step:
    """A model of the preset with ``times`` its depth, ready for training steps on random images."""

    def __init__(self, options: argparse.Namespace, times: int, mode: str) -> None:
        torch.manual_seed(0)
        config = deeper(preset(options.preset, GRIDS[options.grid].shape), times, options.width)
        self.model = DualGlow(config)
        self.images = [torch.rand(options.batch, channels, *config.shape) for channels in reversed(config.channels)]
        self.covariates = torch.zeros(options.batch, sum(covariate.size for covariate in config.covariates))
        self.model.initialize(*self.images, self.covariates)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-5)
        set_memory(self.model, mode)

    def __call__(self) -> None:
        # Gradients stay allocated, so that they count as gradients and not as activations.
        self.optimizer.zero_grad(set_to_none=False)
        self.model(*self.images, self.covariates).loss.mean().backward()
        self.optimizer.step()

    def resident_bytes(self) -> int:
        """Weights, gradients, the optimiser's state, the images."""
        state = [value for entry in self.optimizer.state.values() for value in entry.values()]
        tensors = [*self.model.state_dict().values(), *(p.grad for p in self.model.parameters()), *state, *self.images]
        return sum(tensor.nbytes for tensor in tensors)


def deeper(config: ModelConfig, times: int, width: int | None) -> ModelConfig:
    def flow(one: FlowConfig) -> FlowConfig:
        widths = one.widths if width is None else (width,) * len(one.widths)
        return replace(one, depths=tuple(times * depth for depth in one.depths), widths=widths)

    return replace(config, mri=flow(config.mri), pet=flow(config.pet))


def couplings(model: DualGlow) -> int:
    return sum(len(level) for flow in (model.mri_flow, model.pet_flow) for level in flow.levels)


def activation_peak(step: Callable[[], None]) -> int:
    """Bytes that torch holds at most during a step over what it held before, by its allocator's own record."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def measure_memory(options: argparse.Namespace, times: int, mode: str) -> dict:
    """One configuration, in this process."""
    before = peak_memory()
    step = Step(options, times, mode)
    for _ in range(2):  # the first makes gradients and the optimiser's state
        step()
    process = peak_memory() - before  # read here: the profiler's own record takes memory too
    return {
        "couplings": couplings(step.model),
        "resident": step.resident_bytes(),
        "activations": activation_peak(step),
        "process": process,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


def memory_table(options: argparse.Namespace) -> None:
    # Without this, freed blocks stay with the process, and its resident peak says little.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    rows = []
    for mode in MEMORY_MODES:
        first = None
        for times in options.times:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", mode, str(times)]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            found["all"] = found["resident"] + found["activations"]
            first = first or found
            keys = ("all", "resident", "activations", "process")
            values = [f"{found[key] / MIB:.0f} (×{found[key] / first[key]:.2f})" for key in keys]
            rows.append([mode, found["couplings"], *values])
    table(["mode", "couplings", "peak MiB, all", "weights, gradients, optimiser", "activations", "process"], rows)


def time_table(options: argparse.Namespace) -> None:
    rows = []
    for times in options.times:
        steps = {mode: Step(options, times, mode) for mode in MEMORY_MODES}
        seconds: dict[str, list[float]] = {mode: [] for mode in MEMORY_MODES}
        for _ in range(options.rounds + 1):
            for mode, step in steps.items():
                start = time.process_time()
                step()
                seconds[mode].append(time.process_time() - start)
        middle = {mode: statistics.median(values[1:]) for mode, values in seconds.items()}
        cells = [f"{middle[mode]:.2f} (×{middle[mode] / middle['plain']:.2f})" for mode in MEMORY_MODES]
        rows.append([couplings(steps["plain"].model), *cells])
    table(["couplings", *(f"{mode}, s a step" for mode in MEMORY_MODES)], rows)


def gradients(net: MultiScaleFlow, x: torch.Tensor, mode: str) -> torch.Tensor:
    set_memory(net, mode)
    net.zero_grad(set_to_none=True)
    latents, log_det = net(x)
    (0.5 * sum(z.square().sum() for z in latents) - log_det.sum()).backward()
    return torch.cat([parameter.grad.flatten().double() for parameter in net.parameters()])


def bundled_rows() -> list[list[str]]:
    """The model that ships, on the template's T1 and a PET drawn for it: gradients of its own objective."""
    synthesizer = Synthesizer.from_bundle(device="cpu")
    model, bundle = synthesizer.model.requires_grad_(True), synthesizer.bundle
    mri = torch.from_numpy(synthesizer.encode(load_template().t1).prepared.t1)[None, None] / bundle.t1_scale
    covariates = encode_covariates(bundle.config.covariates, [{"age": 70, "sex": "F", "diagnosis": "CN"}])
    with torch.no_grad():
        pet = model.sample(model.encode(mri), covariates, 1.0, torch.Generator().manual_seed(0))
        backs = [float((model.mri_flow.inverse(model.mri_flow(mri - 0.5)[0]) - mri + 0.5).abs().max())]
        law = model.link.decode(model.encode(mri).features, covariates)
        backs.append(float((model.pet_from_latents(model.pet_latents(pet, law)[0], law) - pet).abs().max()))

    def found(mode: str, dtype: torch.dtype) -> list[torch.Tensor]:
        model.to(dtype)
        set_memory(model, mode)
        model.zero_grad(set_to_none=True)
        model(*(x.to(dtype) for x in (pet, mri, covariates))).loss.mean().backward()
        flows = (model.mri_flow, model.pet_flow)
        return [torch.cat([p.grad.flatten().double() for p in flow.parameters()]) for flow in flows]

    kinds = [("plain", torch.float32), ("invertible", torch.float32), ("plain", torch.float64)]
    *others, exact = [found(*kind) for kind in kinds]
    rows = []
    for i, name in enumerate(("MRI", "PET")):
        errors = [float((other[i] - exact[i]).norm() / exact[i].norm()) for other in others]
        rows.append([f"bundled model, {name} flow", "", *(f"{value:.1e}" for value in (backs[i], *errors))])
    return rows


def drift_table(options: argparse.Namespace) -> None:
    rows = []
    shapes = {"4 levels of 16": ((16,) * 4, (32, 32, 32)), "1 level of 64": ((64,), (16, 16, 16))}
    for (name, (depths, space)), spread in product(shapes.items(), (0.003, 0.01, 0.02)):
        torch.manual_seed(0)
        net = MultiScaleFlow(1, len(space), FlowConfig(depths, (16,) * len(depths)))
        x = torch.randn(2, 1, *space)
        with torch.no_grad():
            for layer in net.modules():
                if isinstance(layer, ZeroConv):
                    layer.weight.normal_(0.0, spread)
            initialize(net, [(x,)])
            log_s = net.levels[0][0].coupling._parameters_of(torch.randn(1, 4, *space), None)[1]
            back = float((net.inverse(net(x)[0]) - x).abs().max())
        plain, invertible = (gradients(net, x, mode) for mode in ("plain", "invertible"))
        exact = gradients(net.double(), x.double(), "plain")
        errors = [float((found - exact).norm() / exact.norm()) for found in (plain, invertible)]
        rows.append([name, f"{log_s.std():.2f}", *(f"{value:.1e}" for value in (back, *errors))])
    rows += bundled_rows()
    head = ["couplings", "log-scales' sd", "round trip", "gradient's error, plain", "gradient's error, invertible"]
    table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--grid", default="medium", choices=GRIDS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--width", type=int, help="of every coupling network, instead of the preset's")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4], help="factors on the preset's depths")
    parser.add_argument("--rounds", type=int, default=5, help="timed steps of each mode")
    parser.add_argument("--tables", nargs="+", default=["memory", "time", "drift"], help="which to print")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(measure_memory(options, int(options.one[1]), options.one[0])))
        return
    tables = {"memory": memory_table, "time": time_table, "drift": drift_table}
    for name in options.tables:
        tables[name](options)


if __name__ == "__main__":
    main()
