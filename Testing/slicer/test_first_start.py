"""A Slicer without torch: both modules load, say what is missing, and install it after asking once."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest

from loaded import ROOT, TRAINING, host, slicer
from tree import MODULES, cmake_list

from DualGlowLib import InputError  # isort: skip
from DualGlowSlicerLib import dependencies  # isort: skip

SENTENCE = re.compile(r"[A-Zn][^\n]+\.")


def test_requirements_are_met_here():
    assert dependencies.missingPackages() == []
    assert dependencies.missingText([]) == ""
    dependencies.ensurePackages(confirm=lambda text: pytest.fail("asked although nothing is missing"))


class Installing:
    """``slicer.app`` outside of its test mode; ``manager``: of extensions, if it has one."""

    def __init__(self, real, manager=None) -> None:
        self._real = real
        self.testing = False
        if manager is not None:
            self.extensionsManagerModel = lambda: manager

    def testingEnabled(self) -> bool:
        return self.testing

    def __getattr__(self, name):
        return getattr(self._real, name)


class Computer:
    """An application that may install, in a Python without torch and nibabel; stand-ins for what installs."""

    def __init__(self, monkeypatch) -> None:
        self.patch = monkeypatch
        self.missing, self.installed, self.asked, self.steps = ["torch>=2.4", "nibabel>=5.2"], [], [], []
        self.agrees = True
        monkeypatch.setattr(
            dependencies, "missingPackages", lambda: [name for name in self.missing if name not in self.installed]
        )
        monkeypatch.setattr(slicer, "app", Installing(slicer.app))
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", self._confirm)
        self.ensure = lambda requirements, requester, prompt_install: (
            prompt_install or self.installed.extend(requirements)
        )
        packaging = types.SimpleNamespace(pip_ensure=lambda *values, **named: self.ensure(*values, **named))
        monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
        self.torch = lambda askConfirmation, torchVersionRequirement: (
            askConfirmation or self.installed.append("torch" + torchVersionRequirement)
        )
        logic = types.SimpleNamespace(installTorch=lambda **named: self.torch(**named))
        self.utils = types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", self.utils)

    def _confirm(self, text, windowTitle=None) -> bool:
        self.asked.append(text)
        return self.agrees

    def ensurePackages(self) -> bool:
        return dependencies.ensurePackages(progress=self.steps.append)

    def refusal(self) -> str:
        with pytest.raises(InputError) as caught:
            self.ensurePackages()
        assert SENTENCE.fullmatch(str(caught.value)), str(caught.value)
        return str(caught.value)

    def withoutExtension(self, manager) -> None:
        self.patch.setitem(sys.modules, "PyTorchUtils", None)
        self.patch.setattr(slicer, "app", Installing(slicer.app, manager))


@pytest.fixture
def computer(monkeypatch) -> Computer:
    return Computer(monkeypatch)


def test_one_question_then_everything(computer):
    computer.ensurePackages()
    assert computer.installed == ["nibabel>=5.2", "torch>=2.4"]
    assert len(computer.asked) == 1
    for name in ("PyTorch", "nibabel>=5.2", "pytorch.org", "Python Package Index"):
        assert name in computer.asked[0]
    assert "extensions server" not in computer.asked[0]  # the extension is there
    assert len(computer.steps) == 2
    assert "nibabel" in computer.steps[0]
    assert "PyTorch" in computer.steps[1]
    computer.ensurePackages()
    assert len(computer.asked) == 1


def test_declining_is_no_error_and_leaves_everything_as_it_was(computer):
    computer.agrees = False
    assert not computer.ensurePackages()
    assert (computer.installed, computer.steps) == ([], [])


def test_slicer_before_5_12_uses_its_pip(computer, monkeypatch):
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", computer.installed.extend)
    computer.ensurePackages()
    assert computer.installed == ["nibabel>=5.2", "torch>=2.4"]


def fail(*_, **__):
    raise subprocess.CalledProcessError(1, "pip install")


def test_what_fails_is_told_in_one_sentence_and_the_rest_goes_on_next_time(computer, caplog):
    computer.torch, working = fail, computer.torch
    assert "PyTorch could not be installed" in computer.refusal()
    assert computer.installed == ["nibabel>=5.2"]
    assert "CalledProcessError" in caplog.text
    computer.torch = working
    computer.ensurePackages()
    assert computer.installed == ["nibabel>=5.2", "torch>=2.4"]
    assert "nibabel" not in computer.asked[1]


def test_pytorch_that_was_declined_in_its_own_dialog(computer):
    computer.torch = lambda **named: None
    assert "torch>=2.4" in computer.refusal()


def test_a_click_during_the_installation_starts_no_second_one(computer):
    def click(**named):
        computer.seen = computer.refusal()

    computer.torch = click
    with pytest.raises(InputError):
        computer.ensurePackages()
    assert "being installed" in computer.seen
    assert len(computer.asked) == 1


def test_nothing_is_installed_in_test_mode(computer):
    slicer.app.testing = True
    assert "torch" in computer.refusal()
    assert (computer.installed, computer.asked) == ([], [])


class Manager:
    """Slicer's extensions manager, as far as it is used; ``works``: it gets the extension."""

    def __init__(self, folder: Path, works=True, modules=True) -> None:
        self.folder, self.works, self.modules, self.installed = folder, works, modules, False
        self.interactive, self.calls = True, []

    def isExtensionInstalled(self, name) -> bool:
        return self.installed

    def installExtensionFromServer(self, name, restart=True) -> bool:
        self.calls.append((name, restart, self.interactive))
        self.installed = self.works
        return True  # as the real one does where only the download failed

    def extensionModulePaths(self, name):
        return (str(self.folder),) if self.modules else ()


def test_missing_extension_is_installed_and_used_at_once(computer, tmp_path, monkeypatch):
    manager = Manager(tmp_path)
    computer.withoutExtension(manager)
    monkeypatch.delitem(sys.modules, "PyTorchUtils")
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "PyTorchUtils.py").write_text(
        "import slicer\n"
        "class PyTorchUtilsLogic:\n"
        "    def installTorch(self, askConfirmation, torchVersionRequirement):\n"
        "        slicer.modules.recorded.append('torch' + torchVersionRequirement)\n"
    )
    monkeypatch.setattr(slicer.modules, "recorded", computer.installed, raising=False)
    computer.ensurePackages()
    assert manager.calls == [("PyTorch", False, False)]  # no restart, no second question
    assert manager.interactive is True
    assert "extensions server" in computer.asked[0]
    assert computer.installed == ["nibabel>=5.2", "torch>=2.4"]
    assert len(computer.steps) == 3


@pytest.mark.parametrize(
    ("manager", "says"),
    [
        (lambda folder: None, "PythonSlicer -m pip install"),
        (lambda folder: Manager(folder, works=False), "could not be installed"),
        (lambda folder: Manager(folder, modules=False), "restart Slicer"),
    ],
)
def test_extension_that_cannot_be_had(computer, tmp_path, manager, says):
    manager = manager(tmp_path)
    computer.withoutExtension(manager)
    assert "which is missing too" in dependencies.missingText(computer.missing)
    assert says in computer.refusal()
    assert computer.installed == ["nibabel>=5.2"]
    assert manager is None or manager.interactive is True


def test_training_window_installs_what_is_missing(computer):
    host.slot_errors.clear()
    widget = TRAINING.open()
    assert widget.window is not None
    assert "torch>=2.4, nibabel>=5.2" in widget.ui.missingLabel.text
    assert not widget.ui.installButton.isHidden()
    widget.ui.installButton.click()
    assert computer.installed == ["nibabel>=5.2", "torch>=2.4"]
    assert widget.ui.missingLabel.isHidden()
    assert widget.ui.installButton.isHidden()
    TRAINING.close(widget)
    assert host.slot_errors == []


ALONE = """
import sys
sys.path.insert(0, sys.argv[1] + "/Testing/support")
from pathlib import Path
import host
host.start()
host.load(Path(sys.argv[1], "DualGlowTraining", "DualGlowTraining.py")).open().window
print("opened")
"""


def test_training_module_works_with_only_its_folder_on_the_module_path():
    command = [sys.executable, "-c", ALONE, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "opened", done.stderr


# ---------------------------------------------------------------------- a Python without torch, in a process of its own


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A folder with the modules in one flat folder, as installed, and a Python with what Slicer brings along.

    There is neither torch nor nibabel nor safetensors, and no file that CMakeLists.txt does not list; ``wheels`` holds
    packages with these names that pip can install without a network.
    """
    folder = tmp_path_factory.mktemp("fresh")
    packages, installed = folder / "site-packages", folder / "qt-scripted-modules"
    packages.mkdir()
    absent = re.compile(r"torch|functorch|nibabel|safetensors", re.IGNORECASE)
    for source in site.getsitepackages():
        for package in Path(source).iterdir():
            if not absent.match(package.name) and package.suffix != ".pth":
                (packages / package.name).symlink_to(package)
    for module in MODULES:
        for name in cmake_list(module, "MODULE_PYTHON_SCRIPTS") + cmake_list(module, "MODULE_PYTHON_RESOURCES"):
            (installed / name).parent.mkdir(parents=True, exist_ok=True)
            (installed / name).write_bytes((ROOT / module / name).read_bytes())
    shared = re.search(r"foreach\(folder (.*)\)", (ROOT / "DualGlowSynthesis/CMakeLists.txt").read_text())[1].split()
    for name in shared:
        (installed / "Resources" / name).symlink_to(ROOT / "Resources" / name)
    wheels = folder / "wheels"
    wheels.mkdir()
    for name, version in (("torch", "2.9.0"), ("nibabel", "5.3.0"), ("safetensors", "0.5.0")):
        with zipfile.ZipFile(wheels / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            about = f"{name}-{version}.dist-info"
            wheel.writestr(f"{name}/__init__.py", f'__version__ = "{version}"\n')
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", f"{name}/__init__.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n")
    return folder


def run(fresh: Path, program: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "PYTHONPATH": str(fresh / "site-packages"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CONFIG_HOME": str(fresh / "config"),
        "XDG_DATA_HOME": str(fresh / "data"),
        **environment,
    }
    command = [sys.executable, "-S", "-c", program, str(ROOT), str(fresh)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


START = """
import sys
network = []
def watch(event, values):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby", "urllib.Request")):
        network.append((event, values))
sys.addaudithook(watch)
sys.path.insert(0, sys.argv[1] + "/Testing/support")
from pathlib import Path
import host
fresh = Path(sys.argv[2])
slicer = host.start()
place = fresh / "qt-scripted-modules"
modules = [host.load(place / (name + ".py")) for name in ("DualGlowSynthesis", "DualGlowTraining")]
from DualGlowSlicerLib import dependencies
from DualGlowSynthesisLib.models import models
"""

OPEN = """
for module in modules:
    widget = module.open()
    assert widget.window is not None  # it is made to the end
    print(module.facts.title + ":", widget.ui.missingLabel.text, widget.ui.missingLabel.isHidden())
    slicer.app.processEvents()
try:
    dependencies.ensurePackages()
except dependencies.InputError as error:
    print("Refused:", error)
print("Model:", models.modelFacts(models.listModels()[0].path)["name"])
print("Network:", network, sorted({"torch", "nibabel", "safetensors", "SimpleITK"} & set(sys.modules)))
"""


INSTALL = """
import os
asked = []
slicer.util.confirmOkCancelDisplay = lambda text, windowTitle=None: not asked.append(text)

class Manager:
    interactive, installed = True, False
    def isExtensionInstalled(self, name):
        return self.installed
    def installExtensionFromServer(self, name, restart):
        place = fresh / "PyTorch"
        place.mkdir()
        (place / "PyTorchUtils.py").write_text('''
import slicer
class PyTorchUtilsLogic:
    def installTorch(self, askConfirmation, torchVersionRequirement):
        slicer.util.pip_install(["torch" + torchVersionRequirement])
''')
        self.installed = True
        return True
    def extensionModulePaths(self, name):
        return (str(fresh / "PyTorch"),)

class Installing:
    real, manager = slicer.app, Manager()
    def __getattr__(self, name):
        return getattr(self.real, name)
    def testingEnabled(self):
        return False
    def extensionsManagerModel(self):
        return self.manager

slicer.app = Installing()
os.environ.update(PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_TIMEOUT="1")
try:
    dependencies.ensurePackages()
except dependencies.InputError as error:
    print("Refused:", error)
print("Still missing:", dependencies.missingPackages())
del os.environ["PIP_INDEX_URL"]
os.environ.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(fresh / "wheels"))
dependencies.ensurePackages()
print("Not ready:", repr(dependencies.missingText(dependencies.missingPackages())))
os.environ["PATH"] = ""  # nothing can be installed from now on
dependencies.ensurePackages()
import torch, nibabel, safetensors
print("Versions:", torch.__version__, nibabel.__version__, safetensors.__version__, len(asked), network)
"""


@pytest.fixture(scope="module")
def said(fresh) -> list[str]:
    """What a fresh Slicer says, line by line: when the modules are opened, and then when packages are installed."""
    path, pip, program = os.environ["PATH"], {}, START + OPEN
    if os.name != "nt":  # where the launcher of Slicer's Python is no shell script
        launcher = fresh / "bin" / "PythonSlicer"
        launcher.parent.mkdir()
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
        launcher.chmod(0o755)
        path = f"{launcher.parent}{os.pathsep}{path}"
        pip = {
            "PIP_TARGET": str(fresh / "site-packages"),
            "PIP_CONFIG_FILE": os.devnull,
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        program += INSTALL
    done = run(fresh, program, PATH=path, PIP_DISABLE_PIP_VERSION_CHECK="1", **pip)
    return [line for line in done.stdout.splitlines() if ":" in line]


def test_fresh_slicer_loads_both_modules_and_says_what_is_missing(said):
    lines = said[:5]
    titles = [line.partition(":")[0] for line in lines]
    assert titles == ["DualGlow Synthesis", "DualGlow Training", "Refused", "Model", "Network"], said
    for line in lines[:3]:
        assert all(name in line for name in ("torch>=2.4", "nibabel", "safetensors"))
        assert line.endswith("False") or line.startswith("Refused")
    assert "extension PyTorch" in lines[0]
    assert lines[3] == "Model: simulated-fdg-medium"
    assert lines[4] == "Network: [] []"  # nobody was asked, and nothing heavy was loaded


@pytest.mark.skipif(os.name == "nt", reason="the launcher of Slicer's Python is a shell script here")
def test_pip_really_fails_without_a_network_and_really_installs_from_a_folder(said):
    """Slicer's own ``pip_install`` and pip itself, with wheels in place of the packages."""
    lines = {line.partition(":")[0]: line.partition(": ")[2] for line in said[5:]}
    assert "nibabel>=5.2, safetensors>=0.4.3 could not be installed" in lines["Refused"]
    assert lines["Still missing"] == "['torch>=2.4', 'nibabel>=5.2', 'safetensors>=0.4.3']"
    assert lines["Not ready"] == "''"
    assert lines["Versions"] == "2.9.0 5.3.0 0.5.0 2 []"
