"""DualGlowTraining/Scripts/train.py: finds the library, hands the arguments on, and ends with its exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from places import TRAIN

FAKE_LIBRARY = """
import sys
def main(argv):
    print("library", argv)
    return int(argv[-1])
"""


@pytest.mark.parametrize("layout", ["checkout", "installed"])
@pytest.mark.parametrize("inside", ["python", "Slicer"])
def test_training_script_finds_the_library_and_passes_the_exit_code_on(tmp_path, layout, inside):
    """From a checkout and from the flat folder that Slicer installs to; with and without the application."""
    script = tmp_path / ("DualGlowTraining" if layout == "checkout" else "") / "Scripts" / "train.py"
    library = tmp_path / ("DualGlowSynthesis" if layout == "checkout" else "") / "DualGlowLib"
    for folder in (script.parent, library):
        folder.mkdir(parents=True)
    script.write_bytes(TRAIN.read_bytes())
    (library / "__init__.py").write_text("")
    (library / "__main__.py").write_text(FAKE_LIBRARY)
    code = "import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    if inside == "Slicer":
        fake = "types.SimpleNamespace(app=1, util=types.SimpleNamespace(exit=lambda code: print('application', code)))"
        code = f"import types; sys.modules['slicer'] = {fake}; {code}"
    arguments = [str(script), "--", "CASES", "--output", "7"] if inside == "Slicer" else [str(script), "CASES", "7"]
    program = f"import sys; sys.argv = {arguments!r}; {code}"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    given = ["train", "CASES", "--output", "7"] if inside == "Slicer" else ["train", "CASES", "7"]
    lines = [f"library {given}"] + ["application 7"] * (inside == "Slicer")
    assert done.stdout.splitlines() == lines
    assert done.returncode == 7


@pytest.mark.parametrize("package", ["nibabel", "scipy", "PIL"])
def test_training_script_names_a_missing_package(tmp_path, package):
    library = tmp_path / "DualGlowLib"
    library.mkdir()
    (library / "__init__.py").write_text("")
    (library / "__main__.py").write_text(f"raise ModuleNotFoundError('No module', name='{package}')")
    script = tmp_path / "Scripts" / "train.py"
    script.parent.mkdir()
    script.write_bytes(TRAIN.read_bytes())
    done = subprocess.run([sys.executable, str(script), "CASES"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    button = ElementTree.parse(TRAIN.parent.parent / "Resources" / "UI" / "DualGlowTraining.ui").find(
        ".//widget[@name='installButton']/property[@name='text']/string"
    )
    said = f"train.py: the Python package {package} is missing; "
    assert re.fullmatch(rf"{said}[^\n]*'{re.escape(button.text)}', [^\n]*\n", done.stderr)
    others = {**os.environ, "TORCHELASTIC_RUN_ID": "job", "RANK": "1"}
    done = subprocess.run([sys.executable, str(script), "CASES"], env=others, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
