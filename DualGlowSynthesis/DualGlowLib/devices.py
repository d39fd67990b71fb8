"""Which device a model runs on, and why not another: facts about torch and the machine, and what follows from them."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = [
    "MIN_MEMORY",
    "Device",
    "Facts",
    "Gpu",
    "Judgement",
    "check_devices",
    "choose",
    "choose_device",
    "computer_memory",
    "fault_of_device",
    "free_memory",
    "gather",
    "has_kernels",
    "judge",
    "memory_of_process",
    "peak_memory",
]

MIN_MEMORY = 1 << 30
"""Bytes that must be free on a GPU: torch's own libraries there take about half of that."""


@dataclass(frozen=True)
class Gpu:
    """What torch says of one CUDA device.

    Attributes:
        name: of the card.
        capability: its compute capability, e.g. (8, 6).
        memory_free, memory_total: bytes, None if unknown.
        failure: what the trial of a small convolution there said; empty if its result was right.
    """

    name: str
    capability: tuple[int, int]
    memory_free: int | None = None
    memory_total: int | None = None
    failure: str = ""


@dataclass(frozen=True)
class Facts:
    """What ``judge`` needs to know; ``gather`` collects it.

    Attributes:
        torch_version: e.g. "2.8.0+cu128".
        cuda_build: CUDA version that this torch was built with; None if without.
        rocm: whether it was built for AMD's cards (they have no compute capability).
        driver: whether there is an NVIDIA driver on the machine.
        cuda_error: what torch says if CUDA doesn't start, else empty.
        architectures: those that this torch has kernels for, e.g. ("sm_80", "sm_90", "compute_90").
        gpus: CUDA devices in torch's order.
        mps: None if this torch was built without Apple's Metal, else why it can't be used (empty: it can).
        memory_free: of the computer, bytes; None if unknown.
    """

    torch_version: str
    cuda_build: str | None = None
    rocm: bool = False
    driver: bool = False
    cuda_error: str = ""
    architectures: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    mps: str | None = None
    memory_free: int | None = None


@dataclass(frozen=True)
class Device:
    """One device, judged.

    Attributes:
        name: torch's, e.g. "cuda:0".
        title: for people.
        usable: whether a model can run there.
        reason: why it can't be used; empty if it can.
        memory_free, memory_total: bytes, None if unknown.
    """

    name: str
    title: str
    usable: bool
    reason: str = ""
    memory_free: int | None = None
    memory_total: int | None = None

    to_dict = asdict


@dataclass(frozen=True)
class Judgement:
    """Every device, the CPU last, which of them ``auto`` takes, and one sentence that says why."""

    devices: tuple[Device, ...]
    auto: str
    reason: str

    def to_dict(self) -> dict:
        return {
            "devices": [device.to_dict() for device in self.devices],
            "auto": self.auto,
            "auto_reason": self.reason,
        }


def judge(facts: Facts, memory: int = MIN_MEMORY) -> Judgement:
    """Say of each device whether a model can run there, and choose one.

    The first usable CUDA device is chosen, else the CPU. Apple's GPU must be asked for by its name: it passes the same
    trial, but the model's numbers have not been compared there.

    Args:
        facts: from ``gather``.
        memory: bytes that must be free.
    """
    cards = [_card(number, gpu, facts, memory) for number, gpu in enumerate(facts.gpus)]
    others = []
    if facts.mps is not None:
        others.append(Device("mps", "Apple GPU (Metal)", not facts.mps, facts.mps))
    devices = (*cards, *others, Device("cpu", "CPU", True, memory_free=facts.memory_free))
    usable = [card for card in cards if card.usable]
    if usable:
        return Judgement(devices, usable[0].name, f"{usable[0].title} is the first GPU that can be used.")
    return Judgement(devices, "cpu", _why_cpu(facts, devices[:-1]))


def _card(number: int, gpu: Gpu, facts: Facts, memory: int) -> Device:
    reason = ""
    if not facts.rocm and not has_kernels(gpu.capability, facts.architectures):
        known = ", ".join(facts.architectures) or "none"
        reason = (
            f"Its compute capability {gpu.capability[0]}.{gpu.capability[1]} is not among those that PyTorch "
            f"{facts.torch_version} was built for ({known}); install a PyTorch build for it."
        )
    elif gpu.memory_free is not None and gpu.memory_free < memory:
        reason = (
            f"Only {_gigabytes(gpu.memory_free)} of its {_gigabytes(gpu.memory_total)} memory are free and "
            f"{_gigabytes(memory)} are needed; close other programs that use it."
        )
    elif gpu.failure:
        reason = f"A trial computation on it failed ({gpu.failure}); update its driver or PyTorch."
    return Device(f"cuda:{number}", gpu.name, not reason, reason, gpu.memory_free, gpu.memory_total)


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code compiled for these architectures runs on a device of this compute capability.

    Machine code (``sm_86``) runs on the same major version from its minor one on, and with a letter (``sm_90a``) on
    exactly that one; intermediate code (``compute_90``) on that version and all later ones.
    """
    for architecture in architectures:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", architecture)
        if not found:
            continue
        version = int(found[2]), int(found[3])
        if found[4] or version == capability:
            fits = version == capability
        else:
            fits = version < capability and (found[1] == "compute" or version[0] == capability[0])
        if fits:
            return True
    return False


def _why_cpu(facts: Facts, devices: Sequence[Device]) -> str:
    torch_name = f"PyTorch {facts.torch_version}"
    if facts.gpus:
        first = next(device for device in devices if device.name == "cuda:0")
        return f"The CPU is used, because {first.title} can't be: {_inner(first.reason)}"
    if facts.mps == "":
        return "The CPU is used; the Apple GPU can be tried too: choose mps."
    if facts.mps:
        return f"The CPU is used, because the Apple GPU can't be: {_inner(facts.mps)}"
    if facts.cuda_build is None and not facts.rocm:
        if facts.driver:
            return (
                f"The CPU is used, because {torch_name} was built without CUDA, although there is an NVIDIA driver; "
                "install a CUDA build of PyTorch."
            )
        return f"The CPU is used: there is no NVIDIA driver, and {torch_name} was built without CUDA."
    if not facts.driver and not facts.rocm:
        return "The CPU is used, because no NVIDIA driver was found; if there is an NVIDIA GPU, install its driver."
    if facts.cuda_error:
        return f"The CPU is used, because CUDA can't be started ({facts.cuda_error}); update the GPU's driver."
    return "The CPU is used, because the driver shows no GPU to this program; look at CUDA_VISIBLE_DEVICES."


def _inner(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / (1 << 30):.1f} GiB"


def check_devices(name: str = "", memory: int = MIN_MEMORY) -> Judgement:
    """``judge`` of what ``gather`` finds here for a device's name, "auto", or (empty) all devices."""
    return judge(gather(name), memory)


def choose(name: str, judgement: Judgement) -> tuple[str, str]:
    """The device that a user's word stands for, and why it is that one.

    Args:
        name: "auto" or a device's name; "cuda" is the first of its kind.
        judgement: from ``judge``.

    Raises:
        InputError: if there is no such device here, or it can't be used.
    """
    if name == "auto":
        return judgement.auto, judgement.reason
    wanted = "cuda:0" if name == "cuda" else name
    for device in judgement.devices:
        if device.name == wanted:
            if not device.usable:
                raise InputError(f"The device {name!r} can't be used: {_inner(device.reason)}")
            return device.name, f"{device.title} was chosen."
    there = ", ".join(device.name for device in judgement.devices)
    because = f" With auto {_inner(judgement.reason)}" if judgement.auto == "cpu" and wanted != "cpu" else ""
    raise InputError(f"The device {name!r} can't be used here; there are auto, {there}.{because}")


def choose_device(name: str = "auto") -> torch.device:
    """``auto``: the first CUDA device that can be used, else the CPU; or a device by its name.

    Raises:
        InputError: if there is no such device here, or it can't be used.
    """
    import torch

    return torch.device("cpu" if name == "cpu" else choose(name, check_devices(name))[0])


# --------------------------------------------------------------------------------------------------- what there is here


def gather(name: str = "") -> Facts:
    """Ask torch and the machine; nothing that fails there raises.

    Args:
        name: try this device alone, or with "auto" CUDA devices up to the first that works: a trial takes some hundred
            megabytes of a GPU for as long as the process lives. Empty to try all.
    """
    import torch

    gpus: tuple[Gpu, ...] = ()
    error = ""
    rocm = bool(getattr(torch.version, "hip", None))
    if torch.version.cuda or rocm:
        try:
            torch.cuda.init()
            gpus = _gpus("cuda:0" if name == "cuda" else name)
        except Exception as failure:  # torch raises RuntimeError, AssertionError and others of its own
            error = _line(failure)
    return Facts(
        torch_version=str(torch.__version__),
        cuda_build=torch.version.cuda,
        rocm=rocm,
        driver=_has_driver(),
        cuda_error=error,
        architectures=tuple(torch.cuda.get_arch_list()) if gpus else (),
        gpus=gpus,
        mps=_mps(),
        memory_free=computer_memory(),
    )


def computer_memory() -> int | None:
    """Bytes of the computer's memory that a program can have now; None where the system doesn't say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return _windows_memory() if sys.platform == "win32" else None


def _windows_memory() -> int | None:
    class Status(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "free", *"abcde")),
        )

    status = Status(length=ctypes.sizeof(Status))
    done = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return status.free if done else None


def memory_of_process(entry: str) -> int | None:
    """Bytes that Linux has under a name, such as "VmHWM", about this process; None where the system doesn't say."""
    with suppress(OSError, StopIteration), open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{entry}:"))
    return None


def peak_memory() -> int | None:
    """The most memory that this process has had, bytes; None where the system doesn't say.

    Of Linux' two figures this is VmHWM: the other, of ``getrusage``, is never less than what the process that started
    this one had then, such as Slicer.
    """
    peak = memory_of_process("VmHWM")
    if peak is not None:
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return None
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest << 10


def _gpus(name: str) -> tuple[Gpu, ...]:
    import torch

    found: list[Gpu] = []
    for number in range(torch.cuda.device_count()):
        works = any(not gpu.failure and gpu.memory_free is not None for gpu in found)
        found.append(_gpu(number, not works if name == "auto" else name in ("", f"cuda:{number}")))
    return tuple(found)


def _gpu(number: int, tried: bool) -> Gpu:
    import torch

    about = torch.cuda.get_device_properties(number)
    free = total = None
    failure = ""
    if not tried:
        return Gpu(about.name, (about.major, about.minor), None, about.total_memory)
    try:
        free, total = torch.cuda.mem_get_info(number)
        if free >= MIN_MEMORY:
            failure = _trial(f"cuda:{number}")
    except Exception as error:  # see gather
        failure = _line(error)
    return Gpu(about.name, (about.major, about.minor), free, total or about.total_memory, failure)


def _mps() -> str | None:
    import torch

    if not torch.backends.mps.is_built():
        return None
    if not torch.backends.mps.is_available():
        return "This macOS or this computer's GPU is too old for PyTorch's Metal."
    failure = _trial("mps")
    return f"A trial computation on it failed ({failure}); update macOS or PyTorch." if failure else ""


def _trial(device: str) -> str:
    """Run what the model is made of, a 3-D convolution, and compare with the CPU; what went wrong, or nothing."""
    import torch

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 4, 8, 8, 8, generator=generator)
    kernel = torch.randn(4, 4, 3, 3, 3, generator=generator)
    try:
        with torch.inference_mode():
            found = torch.nn.functional.conv3d(image.to(device), kernel.to(device), padding=1).cpu()
            expected = torch.nn.functional.conv3d(image, kernel, padding=1)
    except Exception as error:  # see gather
        return _line(error)
    # Tensor cores may round to 10 bits.
    return "" if torch.allclose(found, expected, atol=0.1) else "its result differs from the CPU's"


def _has_driver() -> bool:
    """Whether the library that NVIDIA's driver installs can be loaded."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return os.path.exists("/proc/driver/nvidia/version")
    return True


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


# ------------------------------------------------------------------------------------------------ when it fails in work


def fault_of_device(error: Exception) -> str:
    """What a GPU has failed at, as the end of a sentence; empty if the fault isn't the device's."""
    import torch

    if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):  # MPS has no class for it
        return "is out of memory"
    if isinstance(error, NotImplementedError):
        return "can't do a part of the computation"
    if "CUDA error" in str(error):
        return "has failed"
    return ""


def free_memory() -> None:
    """Give back what torch keeps of the GPUs' memory for later."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
