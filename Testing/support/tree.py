"""The files of the repository, and what Slicer's build lists of them."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from places import ROOT

__all__ = ["MODULES", "cmake_list", "text", "tree", "under"]

MODULES = ("DualGlowSynthesis", "DualGlowTraining")


@cache
def tree() -> tuple[str, ...]:
    """Every file that is or may be committed, as a path from the top with forward slashes."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs the git checkout, to tell our files from others")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    names = set(listing.stdout.decode().split("\0")) - {""}
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def under(folder: str, suffix: str = "") -> list[str]:
    return [name for name in tree() if name.startswith(f"{folder}/") and name.endswith(suffix)]


def cmake_list(module: str, variable: str) -> list[str]:
    block = re.search(rf"^set\({variable}\n(.*?)\)", text(f"{module}/CMakeLists.txt"), re.MULTILINE | re.DOTALL)
    return block[1].replace("${MODULE_NAME}", module).split()
