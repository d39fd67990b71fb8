"""What signals do to a command that can be continued."""

from __future__ import annotations

import os
import signal

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
