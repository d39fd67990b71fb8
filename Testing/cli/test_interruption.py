"""What signals do to a command that can be continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from DualGlowLib.cli.interruption import Stop

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_the_first_signal_asks_and_the_second_interrupts(name: str) -> None:
    before = signal.getsignal(getattr(signal, name))
    with Stop() as stop:
        signal.raise_signal(getattr(signal, name))
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(getattr(signal, name))
    assert signal.getsignal(getattr(signal, name)) == before


def test_signals_that_come_from_several_sides_interrupt_nothing() -> None:
    """As under torchrun, which passes on what a cluster has sent to its processes too."""
    with Stop(patient=True) as stop:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        assert stop.asked


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-"])
def test_a_process_without_output_works_in_silence(closed: str, tmp_path: Path) -> None:
    """As some schedulers start one; and what it writes is in its files, not in what was closed."""
    words = [sys.executable, "-m", "DualGlowLib", "simulate", str(tmp_path / "out"), "--cases", "1", "--grid", "small"]
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *words], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list((tmp_path / "out").glob("sub-*/pet/*.nii.gz"))) == 1
