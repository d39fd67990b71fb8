"""Which device is chosen, and whether the reason given for the CPU is the right one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from DualGlowLib import InputError, devices
from DualGlowLib.devices import Facts, Gpu, check_devices, choose, choose_device, gather, has_kernels, judge

GIB = 1 << 30
CARD = Gpu("Test Card", (8, 6), 20 * GIB, 24 * GIB)
CUDA = Facts("2.8.0+cu128", "12.8", driver=True, architectures=("sm_80", "sm_90", "compute_90"), gpus=(CARD,))


def changed(**values: object) -> Facts:
    return Facts(**{**vars(CUDA), **values})


def test_first_usable_gpu_is_chosen() -> None:
    broken = Gpu("Old Card", (3, 5), 8 * GIB, 8 * GIB)
    found = judge(changed(gpus=(broken, CARD)))
    assert [device.name for device in found.devices] == ["cuda:0", "cuda:1", "cpu"]
    assert [device.usable for device in found.devices] == [False, True, True]
    assert found.auto == "cuda:1"
    assert "Test Card" in found.reason


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts("2.8.0+cpu", driver=True), ["built without CUDA", "although there is an NVIDIA driver"]),
        (Facts("2.8.0+cpu"), ["no NVIDIA driver", "built without CUDA"]),
        (changed(driver=False, gpus=(), cuda_error="Found no NVIDIA driver"), ["no NVIDIA driver was found"]),
        (changed(gpus=(), cuda_error="the driver is too old (found version 11040)"), ["too old (found version 11040)"]),
        (changed(gpus=()), ["CUDA_VISIBLE_DEVICES"]),
        (changed(gpus=(Gpu("Old Card", (5, 2)),)), ["Old Card", "capability 5.2", "sm_80, sm_90, compute_90"]),
        (changed(gpus=(Gpu("Full Card", (8, 0), GIB // 4, 4 * GIB),)), ["Full Card", "0.2 GiB of its 4.0 GiB", "free"]),
        (changed(gpus=(Gpu("Sick Card", (8, 0), GIB, GIB, "no kernel image"),)), ["Sick Card", "(no kernel image)"]),
        (Facts("2.8.0", mps=""), ["mps"]),
        (Facts("2.8.0", mps="This macOS is too old."), ["Apple GPU", "this macOS is too old"]),
    ],
)
def test_reason_for_the_cpu(facts: Facts, words: list[str]) -> None:
    found = judge(facts)
    assert found.auto == "cpu"
    assert found.devices[-1] == devices.Device("cpu", "CPU", True)
    for word in words:
        assert word in found.reason
    assert found.reason.endswith(".")
    assert found.reason.count(". ") == 0, "one sentence"


def test_memory_that_is_needed_decides() -> None:
    assert judge(CUDA).auto == "cuda:0"
    assert judge(CUDA, memory=21 * GIB).auto == "cpu"


@pytest.mark.parametrize(
    ("capability", "architectures", "fits"),
    [
        ((8, 6), ("sm_80",), True),  # same major version, later minor
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_86",), False),
        ((9, 0), ("compute_80",), True),  # compiled when it is loaded
        ((7, 5), ("compute_80",), False),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((12, 0), ("sm_100", "sm_120"), True),
        ((12, 0), ("sm_100",), False),
        ((8, 6), ("gfx90a", ""), False),
    ],
)
def test_has_kernels(capability: tuple[int, int], architectures: tuple[str, ...], fits: bool) -> None:
    assert has_kernels(capability, architectures) is fits


def test_cards_of_amd_have_no_capability() -> None:
    facts = changed(cuda_build=None, rocm=True, architectures=("gfx90a",))
    assert judge(facts).auto == "cuda:0"


def test_choose_by_name() -> None:
    found = judge(Facts(**{**vars(CUDA), "gpus": (CARD, Gpu("Full Card", (8, 0), 0, GIB)), "mps": ""}))
    assert choose("auto", found)[0] == "cuda:0"
    assert choose("cuda", found)[0] == "cuda:0"
    assert choose("cpu", found) == ("cpu", "CPU was chosen.")
    assert choose("mps", found)[0] == "mps"
    with pytest.raises(InputError, match=r"'cuda:1' can't be used: only 0.0 GiB of its 1.0 GiB"):
        choose("cuda:1", found)
    with pytest.raises(InputError, match="there are auto, cuda:0, cuda:1, mps, cpu"):
        choose("cuda:2", found)


def test_unknown_device_says_why_there_is_no_gpu() -> None:
    with pytest.raises(InputError, match="built without CUDA"):
        choose("cuda:0", judge(Facts("2.8.0+cpu")))


def test_facts_of_this_machine() -> None:
    facts = gather()
    assert facts.torch_version == str(torch.__version__)
    assert (facts.cuda_build is not None) == (torch.version.cuda is not None)
    assert len(facts.gpus) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    found = check_devices()
    assert found.devices[-1].name == "cpu"
    assert choose_device("auto") == torch.device(found.auto)
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="'cuda:99' can't be used"):
        choose_device("cuda:99")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_highest_memory_is_of_the_process_itself() -> None:
    """Not of what started it, which ``getrusage`` has in it when a large program starts a small one."""
    large = bytearray(b"1") * (400 << 20)
    line = "import DualGlowLib.devices; print(DualGlowLib.devices.peak_memory())"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert 4 << 20 < int(done.stdout) < len(large) < devices.peak_memory()


def test_trial_computes_and_notices_what_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices._trial("cpu") == ""
    assert devices._trial("no such device") != ""
    convolve, calls = torch.nn.functional.conv3d, []

    def wrong_at_first(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(1)
        return convolve(*arguments, **options) + (len(calls) == 1)

    monkeypatch.setattr(torch.nn.functional, "conv3d", wrong_at_first)
    assert "differs" in devices._trial("cpu")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), "out of memory"),
        (NotImplementedError("The operator 'aten::foo' is not implemented for the MPS device"), "a part"),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), ""),
    ],
)
def test_fault_of_device(error: Exception, words: str) -> None:
    found = devices.fault_of_device(error)
    assert words in found
    assert bool(found) == bool(words)
