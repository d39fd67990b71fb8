"""Programs of others that read what DualGlow writes, in the environment that ``make test-clients`` makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CLIENTS = Path(__file__).resolve().parents[2] / ".venv-clients" / ("Scripts" if sys.platform == "win32" else "bin")


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the environment's programs."""
    if not (CLIENTS / ".." / ".test").is_file():
        pytest.skip("the other programs are not installed; make test-clients installs them and runs these tests")
    return CLIENTS


@pytest.fixture(scope="session")
def ask(programs: Path) -> Callable[..., dict]:
    """Runs Python there, with arguments, and gives the JSON that it prints last."""

    def run(program: str, *arguments: object) -> dict:
        done = subprocess.run(
            [str(programs / "python"), "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
