"""How long a synthesis takes on this machine, stage by stage, and how much memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from ..devices import peak_memory
from ..preparation.t1 import prepare, to_patient
from ..resources import resource
from ..volumes.reading import read_scan
from ..volumes.scan import Scan
from .question import Question
from .synthesizer import Synthesizer

__all__ = ["benchmark"]


def benchmark(synthesizer: Synthesizer, scan: Scan | None = None, repeats: int = 5) -> dict:
    """Seconds of every stage from a T1 to its PET; for stages that repeat, the median.

    Args:
        synthesizer: the model on its device.
        scan: a T1; by default the 1 mm template.
        repeats: runs of the stages that a slider repeats.

    Returns:
        ``seconds`` by stage (``first`` is everything until the first overlay, reading included), ``peak_memory_mb``
        of the process, and what the machine is.
    """
    seconds: dict[str, float] = {}

    def timed(stage: str, function: Callable, count: int = 1):
        times = []
        for _ in range(count):
            start = time.perf_counter()
            result = function()
            if synthesizer.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        seconds[stage] = round(sorted(times)[len(times) // 2], 4)
        return result

    path = resource("Template", "mni152_t1.nii.gz")
    scan = timed("read", lambda: scan or read_scan(path))
    prepared = timed("prepare", lambda: prepare(scan, synthesizer.bundle.grid))
    encoding = timed("encode", lambda: synthesizer.encode_prepared(prepared.t1))
    asked = Question(synthesizer.known({"age": 70, "sex": "F", "diagnosis": "CN"}))
    timed("first sample", lambda: synthesizer.distribution(encoding, asked))
    volume = timed("sample at T=0", lambda: synthesizer.distribution(encoding, asked), repeats).mean
    timed("sample at T=1", lambda: synthesizer.distribution(encoding, replace(asked, temperature=1.0)), repeats)
    timed("to the patient", lambda: to_patient(volume, prepared), repeats)
    stages = ("read", "prepare", "encode", "first sample", "to the patient")
    seconds["first"] = round(sum(seconds[stage] for stage in stages), 4)
    cuda, peak = synthesizer.device.type == "cuda", peak_memory()
    return {
        "bundle": synthesizer.bundle.name,
        "grid": synthesizer.bundle.grid.name,
        "scan": {"shape": list(scan.shape), "spacing": [round(float(s), 3) for s in scan.spacing]},
        "device": torch.cuda.get_device_name(synthesizer.device) if cuda else synthesizer.device.type,
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": seconds,
        "peak_memory_mb": None if peak is None else round(peak / (1 << 20), 1),
    }
