"""Does a GPU compute what the processor does, and how fast. See check.sh.

    Testing/gpu/check.sh [--tiny]

Prints Markdown: the largest differences between devices (encoding, sample, likelihood, the losses of ten steps), then
milliseconds of a ``standard`` sample as it is and as a CUDA graph, and of a training step of the paper's preset with
the share that it reaches of the rate at which the device multiplies matrices, in TF32 and in bfloat16. Without a GPU
the processor stands in for it, against itself in float64, with models as small as with ``--tiny``. Exit code 1 if the
devices disagree.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from DualGlowLib.flow import set_memory
from DualGlowLib.model import DualGlow, ModelConfig, preset
from DualGlowLib.training.optim import Adamax
from DualGlowLib.volumes.grid import GRIDS

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
ALLOWED = {"encoding": 1e-3, "sample": 1e-3, "likelihood": 1e-4, "ten steps": 1e-3}  # relative to the values' size


def config_of(name: str, tiny: bool) -> ModelConfig:
    """The preset on its grid; ``tiny``: the same parts, as few and narrow as they go."""
    config = preset(name, (16, 16, 16) if tiny else GRIDS["standard"].shape)
    if not tiny:
        return config

    def small(flow):
        count = min(len(flow.depths), 3)
        return replace(flow, depths=(1,) * count, widths=(8,) * count)

    flows = {"mri": small(config.mri), "pet": small(config.pet)}
    widths = config.link.widths[: len(flows["pet"].depths)]
    context = config.link.context[: len(flows["pet"].depths)]
    return replace(config, link=replace(config.link, widths=widths, context=context), **flows)


def made(config: ModelConfig, batch: int = 1) -> tuple[DualGlow, list[Tensor], Tensor]:
    """A model whose layers all do something, PET and MRI for it, and covariates; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = DualGlow(config)
    images = [torch.rand(batch, n, *config.shape, generator=generator) for n in reversed(config.channels)]
    covariates = torch.randn(batch, sum(one.size for one in config.covariates), generator=generator)
    model.initialize(*images, covariates)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 3 and not weight.any():
                weight.copy_(0.02 * torch.randn(weight.shape, generator=generator))
    return model, images, covariates


def answers(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """What is compared: computed on ``device``, brought back."""
    model, images, covariates = made(config)
    model = model.to(device, dtype)
    pet, mri, covariates = (one.to(device, dtype) for one in (*images, covariates))
    found = {}
    with torch.no_grad():
        encoding = model.encode(mri)
        found["encoding"] = torch.cat([one.flatten() for one in encoding.features])
        found["sample"] = model.sample(encoding, covariates, 1.0, torch.Generator().manual_seed(0))
        law = model.link.decode(encoding.features, covariates)
        found["likelihood"] = model.pet_log_prob(pet, law)
    optimizer = Adamax(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(pet, mri, covariates).loss.mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    found["ten steps"] = torch.stack(losses)
    return {name: value.double().cpu() for name, value in found.items()}


def compare(name: str) -> bool:
    """Prints a row a value; whether the devices agree."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    config = config_of(name, True)
    other = torch.float32 if GPU else torch.float64
    mine, theirs = answers(config, DEVICE, torch.float32), answers(config, torch.device("cpu"), other)
    agree = True
    for what, allowed in ALLOWED.items():
        error = float((mine[what] - theirs[what]).abs().max() / theirs[what].abs().max())
        agree &= error <= allowed
        print(f"| {name} | {what} | {error:.1e} | {'yes' if error <= allowed else 'NO'} |", flush=True)
    return agree


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Of one call, the median; the first calls, which choose kernels, are left out."""
    found, first = [], 3 if GPU else 1
    for number in range(times + first):
        if GPU:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        if GPU:
            torch.cuda.synchronize()
        if number >= first:
            found.append(1000 * (time.perf_counter() - begun))
    return statistics.median(found)


def sampling(tiny: bool) -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    model, images, covariates = made(config_of("standard", tiny))
    model = model.to(DEVICE).eval().requires_grad_(False)
    covariates = covariates.to(DEVICE)
    with torch.inference_mode():
        encoding = model.encode(images[1].to(DEVICE))
        plain = milliseconds(lambda: model.sample(encoding, covariates, 1.0), 20 if GPU else 3)
        print(f"| standard | sample | {plain:.1f} ms | |")
    if not GPU:
        return
    with torch.no_grad():
        law = model.link.decode(encoding.features, covariates)
        latents = [torch.randn(1, *one, device=DEVICE) for one in model.pet_flow.latent_shapes(model.config.shape)]
        eager = milliseconds(lambda: model.pet_from_latents(latents, law), 20)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            model.pet_from_latents(latents, law)
        captured = milliseconds(graph.replay, 20)
        print(f"| standard | latents to PET | {eager:.1f} ms | as a CUDA graph {captured:.1f} ms |")


def matrix_rate(dtype: torch.dtype, tiny: bool) -> float:
    """Floating-point operations a second of one large product of matrices."""
    side = 256 if tiny else 8192
    a, b = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
    return 2 * side**3 / (milliseconds(lambda: a @ b, 10 if GPU else 2) / 1000)


def training(tiny: bool) -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    model, images, covariates = made(config_of("paper", tiny))
    model = model.to(DEVICE)
    images, covariates = [one.to(DEVICE) for one in images], covariates.to(DEVICE)
    optimizer = Adamax(model.parameters(), lr=1e-5)

    def step(dtype: torch.dtype) -> None:
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, dtype=dtype) if dtype != torch.float32 else nullcontext():
            loss = model(*images, covariates).loss.mean()
        loss.backward()
        optimizer.step()

    mapping = {torch.ops.aten.mkldnn_convolution: one_dnn_flop}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counted:
        step(torch.float32)
    set_memory(model, "invertible")  # what it computes again isn't counted
    for dtype in (torch.float32, torch.bfloat16):
        rate = matrix_rate(dtype, tiny)
        took = milliseconds(lambda dtype=dtype: step(dtype), 5 if GPU else 1)
        share = counted.get_total_flops() / (took / 1000) / rate
        kind = {torch.float32: "TF32" if GPU else "float32", torch.bfloat16: "bfloat16"}[dtype]
        print(f"| paper | step, {kind} | {took:.1f} ms | {share:.0%} of {rate / 1e12:.2f} TFLOP/s |", flush=True)
    if GPU:
        print(f"| paper | memory at its peak | {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB | |")


def one_dnn_flop(x_shape, w_shape, *_, out_shape=None, **__) -> int:
    """As torch counts its own convolutions."""
    return conv_flop_count(x_shape, w_shape, out_shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="small models on a GPU too")
    tiny = parser.parse_args().tiny or not GPU
    against = "the processor" if GPU else "itself in float64 (no GPU here)"
    print(f"{torch.cuda.get_device_name() if GPU else 'Processor'}, torch {torch.__version__}, against {against}\n")
    print("| preset | what | largest difference | agrees |\n|---|---|---|---|")
    agree = [compare(name) for name in ("standard", "authors", "paper")]
    print("\n| preset | what | time | |\n|---|---|---|---|")
    sampling(tiny)
    training(tiny)
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
