"""How a process that does nothing but compute is set up; to be called before torch is loaded."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress

__all__ = ["is_first_rank", "is_rank", "set_up_process", "usual_priority"]

_ARENA_MAX, _MMAP_THRESHOLD, _TOP_PAD, _TRIM_THRESHOLD = -8, -3, -2, -1  # malloc.h
_LARGEST, _KEPT, _STEP = 96 << 20, 512 << 20, 64 << 20  # bytes


def set_up_process() -> None:
    """Let this process keep the memory that it frees, and its threads sleep while they wait for each other.

    On Linux, an array of some megabytes is otherwise taken from the system anew, page by page, and given back at once:
    a quarter of a synthesis, and what processes on one machine wait for most. Arrays over 96 MiB still go back, and
    what is free at the end of the heap beyond 512 MiB. Threads that spin while they wait take the processor from
    whatever else runs. Looking for garbage after every 700 new objects, as Python does, takes a twentieth of the
    time in which torch is loaded, whose objects stay. Not for a process that others have a part in, such as Slicer's.

    Figures: Testing/benchmarks/RESULTS.md.
    """
    gc.set_threshold(20_000)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if is_rank():  # of torch, whose advice each process would print
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's: pages of 2 MiB where the system grants them
    with suppress(AttributeError, OSError):  # a C library that has other means, such as musl
        option = ctypes.CDLL(None).mallopt
        for name, value in (
            (_ARENA_MAX, 1),  # one heap for all threads, so that one uses what another has freed
            (_MMAP_THRESHOLD, _LARGEST),
            (_TRIM_THRESHOLD, _KEPT),
            (_TOP_PAD, _STEP),
        ):
            option(name, value)


def is_rank() -> bool:
    """Whether ``torchrun`` started this process, one of several that do the same."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first_rank() -> bool:
    """Whether this process is to say what all of them could: the first, or one that ``torchrun`` didn't start."""
    return not is_rank() or os.environ.get("RANK") == "0"


def usual_priority() -> str:
    """Take the priority that processes usually have, for a process that Slicer has started and that computes.

    On Linux, Slicer runs its main thread at nice 19, and so does what it starts. To be called before there are threads:
    each has a priority of its own.

    Returns:
        What to do where the system doesn't allow it, a sentence; empty if all is well.
    """
    if os.name != "posix" or (nice := os.getpriority(os.PRIO_PROCESS, 0)) <= 0:
        return ""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        return ""
    return (
        f"It computes at a low priority (nice {nice}), as Slicer itself; if other programs slow it down, start Slicer "
        "with SLICER_BACKGROUND_THREAD_PRIORITY=0 in its environment."
    )
