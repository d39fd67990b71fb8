"""A worker process, asked one thing after the other; imports nothing of the library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Worker"]


class Worker:
    """The process.

    Args:
        folder: of its arrays.
        library: the folder that holds ``DualGlowLib``.
        environment: of the process; by default this one's.
    """

    def __init__(self, folder: str | Path, library: Path, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "DualGlowLib.worker", str(folder)],
            env={**(environment or os.environ), "PYTHONPATH": str(library)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.number = 0
        self.hello = json.loads(self.process.stdout.readline())

    def ask(self, do: str, **values: object) -> tuple[dict, list[dict]]:
        """The last event, and those before."""
        self.number += 1
        self.process.stdin.write(json.dumps({"id": self.number, "do": do, **values}).encode() + b"\n")
        self.process.stdin.flush()
        heard = []
        while True:
            event = json.loads(self.process.stdout.readline())
            if event["event"] == "done":
                return event, heard
            if event["event"] in ("refused", "failed", "cancelled"):
                raise SystemExit(f"{do}: {event}")
            heard.append(event)

    def used(self) -> tuple[float, float]:
        """Its processor seconds so far, and its resident memory at the peak in MiB; NaN where there is no /proc."""
        try:
            place = Path("/proc", str(self.process.pid))
            ticks = place.joinpath("stat").read_text().rpartition(")")[2].split()[11:13]
            peak = next(line for line in place.joinpath("status").read_text().splitlines() if line.startswith("VmHWM"))
        except OSError:
            return float("nan"), float("nan")
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
