"""How a process that only computes is set up."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

KEPT = """
import os, sys
import numpy as np
if {wanted}:
    from DualGlowLib.startup import set_up_process
    set_up_process()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
before = resident()
arrays = [np.ones(6 << 20) for _ in range(5)]
large = np.ones(16 << 20)
held = resident()
del arrays, large
print(held - before, resident() - before, os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize("wanted", [True, False])
def test_freed_memory_is_kept_but_for_the_largest(wanted: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "OMP_WAIT"))}
    done = subprocess.run([sys.executable, "-c", KEPT.format(wanted=wanted)], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    held, after, policy = done.stdout.decode().split()
    assert int(held) >= 5 * 48 + 128 - 8  # some of it was there before
    assert (int(after) >= 5 * 48 - 8) == wanted
    assert int(after) < 5 * 48 + 64
    assert policy == ("PASSIVE" if wanted else "None")


PRIORITY = """
import os
from DualGlowLib.startup import usual_priority
os.nice({nice} - os.nice(0))
if {user} is not None:
    os.setuid({user})
print(usual_priority(), os.getpriority(os.PRIO_PROCESS, 0), sep="|")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs nice")
def test_a_low_priority_is_raised_or_named() -> None:
    def run(nice: int, user: int | None = None) -> list[str]:
        done = subprocess.run([sys.executable, "-c", PRIORITY.format(nice=nice, user=user)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip().split("|")

    is_root = os.getuid() == 0
    if is_root:
        assert run(19) == ["", "0"]
        assert run(0) == ["", "0"]
    said, nice = run(19, 65534 if is_root else None)
    assert nice == "19"
    assert "(nice 19)" in said
    assert "SLICER_BACKGROUND_THREAD_PRIORITY=0" in said
