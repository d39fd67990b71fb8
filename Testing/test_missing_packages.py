"""A Slicer without torch: both modules load, say what is missing, and install it after asking."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import types
from pathlib import Path

import pytest

from loaded import ROOT, TRAINING, host, slicer
from test_house import MODULES, cmake_list

from DualGlowLib import InputError  # isort: skip
from DualGlowSynthesisLib import dependencies  # isort: skip


def test_requirements_are_met_here():
    assert dependencies.missingPackages() == []
    assert dependencies.missingText([]) == ""


@pytest.fixture
def bare(monkeypatch):
    """A Python without torch and nibabel, in an application that may install; gives what was installed."""
    missing, installed = ["torch>=2.4", "nibabel>=5.2"], []
    monkeypatch.setattr(dependencies, "missingPackages", lambda: [name for name in missing if name not in installed])
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    torch_logic = types.SimpleNamespace(
        installTorch=lambda askConfirmation, torchVersionRequirement: (
            askConfirmation and installed.append("torch" + torchVersionRequirement)
        )
    )
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=lambda: torch_logic))
    return installed


def packaging_module(monkeypatch, ensure):
    packaging = types.SimpleNamespace(pip_ensure=ensure)
    monkeypatch.setattr(slicer, "packaging", packaging, raising=False)


def test_torch_comes_from_its_extension_and_the_rest_from_pip(bare, monkeypatch):
    packaging_module(monkeypatch, lambda requirements, requester: bare.extend(requirements))
    dependencies.ensurePackages()
    assert bare == ["torch>=2.4", "nibabel>=5.2"]


def test_slicer_before_5_12_asks_and_uses_pip(bare, monkeypatch):
    asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or True)
    monkeypatch.setattr(slicer.util, "pip_install", bare.extend)
    dependencies.ensurePackages()
    assert bare == ["torch>=2.4", "nibabel>=5.2"]
    assert "nibabel" in asked[0]


def test_declining_leaves_one_sentence(bare, monkeypatch):
    def decline(requirements, requester):
        raise RuntimeError("User declined package installation")

    packaging_module(monkeypatch, decline)
    with pytest.raises(InputError, match="nibabel"):
        dependencies.ensurePackages()


@pytest.mark.usefixtures("bare")
def test_missing_pytorch_extension_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InputError, match="extension PyTorch"):
        dependencies.ensurePackages()


def test_nothing_is_installed_in_test_mode(bare, monkeypatch):
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True)
    with pytest.raises(InputError, match="torch"):
        dependencies.ensurePackages()
    assert bare == []


def test_training_window_installs_what_is_missing(bare, monkeypatch):
    packaging_module(monkeypatch, lambda requirements, requester: bare.extend(requirements))
    widget = TRAINING.open()
    assert "torch>=2.4, nibabel>=5.2" in widget.ui.missingLabel.text
    assert not widget.ui.installButton.isHidden()
    widget.ui.installButton.click()
    assert bare == ["torch>=2.4", "nibabel>=5.2"]
    assert widget.ui.missingLabel.isHidden()
    assert widget.ui.installButton.isHidden()
    TRAINING.close(widget)
    assert host.slot_errors == []


ALONE = """
import sys
sys.path.insert(0, sys.argv[1] + "/Testing")
from pathlib import Path
import host
host.start()
host.load(Path(sys.argv[1], "DualGlowTraining", "DualGlowTraining.py")).open()
print("opened")
"""


def test_training_module_works_with_only_its_folder_on_the_module_path():
    command = [sys.executable, "-c", ALONE, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "opened", done.stderr


FRESH = """
import sys
sys.path.insert(0, sys.argv[1] + "/Testing")
from pathlib import Path
import host
slicer = host.start()
for name in ("DualGlowSynthesis", "DualGlowTraining"):
    module = host.load(Path(sys.argv[2], name + ".py"))
    widget = module.open()
    print(module.facts.title + ":", widget.ui.missingLabel.text, widget.ui.missingLabel.isHidden())
from DualGlowSynthesisLib import dependencies
try:
    dependencies.ensurePackages()
except dependencies.InputError as error:
    print("Refused:", error)
"""


def test_fresh_slicer_loads_both_modules_and_says_what_is_missing(tmp_path):
    """The modules in one flat folder, as installed, in a Python with what Slicer brings along and no more.

    There is neither torch nor nibabel nor safetensors, and no file that CMakeLists.txt does not list.
    """
    packages, installed = tmp_path / "site-packages", tmp_path / "qt-scripted-modules"
    packages.mkdir()
    absent = re.compile(r"torch|functorch|nibabel|safetensors", re.IGNORECASE)
    for folder in site.getsitepackages():
        for package in Path(folder).iterdir():
            if not absent.match(package.name) and package.suffix != ".pth":
                (packages / package.name).symlink_to(package)
    for module in MODULES:
        for name in cmake_list(module, "MODULE_PYTHON_SCRIPTS") + cmake_list(module, "MODULE_PYTHON_RESOURCES"):
            (installed / name).parent.mkdir(parents=True, exist_ok=True)
            (installed / name).write_bytes((ROOT / module / name).read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", FRESH, str(ROOT), str(installed)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if ":" in line]
    assert [line.partition(":")[0] for line in lines] == ["DualGlow Synthesis", "DualGlow Training", "Refused"]
    for line in lines:
        assert all(name in line for name in ("torch>=2.4", "nibabel", "safetensors"))
        assert line.endswith("False") or line.startswith("Refused")
    assert "extension PyTorch" in lines[0]
