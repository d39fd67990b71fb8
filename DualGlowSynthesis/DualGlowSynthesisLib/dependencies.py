"""Python packages that Slicer does not bring along: which are missing, and how to get them after asking."""

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DualGlowLib import InputError

__all__ = ["ensurePackages", "missingPackages", "missingText"]

TORCH = "torch>=2.4"
"""Never through pip: the PyTorch extension picks the build that fits the computer's graphics card."""

REQUIREMENTS = Path(__file__).resolve().parent.parent / "Resources" / "requirements.txt"


def _requirements() -> list[str]:
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [TORCH, *(line for line in lines if line)]


def _isInstalled(requirement: str) -> bool:
    from packaging.requirements import Requirement

    wanted = Requirement(requirement)
    try:
        found = importlib.util.find_spec(wanted.name) is not None
        return found and wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True)
    except (ImportError, ValueError):  # the package is blocked, or half removed
        return False


def missingPackages() -> list[str]:
    """The requirements, as pip writes them, that this Python does not meet. Imports none of them."""
    return [requirement for requirement in _requirements() if not _isInstalled(requirement)]


def missingText(missing: list[str]) -> str:
    """What is missing and where it comes from, for the windows; empty if nothing is."""
    if not missing:
        return ""
    text = _("Missing Python packages: {names}.").format(names=", ".join(missing))
    if TORCH in missing:
        text += " " + _("PyTorch is installed by the extension PyTorch, see the Extensions Manager.")
    return text


def ensurePackages() -> None:
    """Install what is missing, after asking. Slicer's test mode installs nothing.

    Raises:
        InputError: if something is still missing afterwards, because the user declined or it can't be installed.
    """
    missing = missingPackages()
    if missing and not slicer.app.testingEnabled():
        if TORCH in missing:
            _installTorch()
        others = [requirement for requirement in missing if requirement != TORCH]
        if others:
            _installWithPip(others)
        importlib.invalidate_caches()
        missing = missingPackages()
    if missing:
        raise InputError(_refusal(missing))


def _refusal(missing: list[str]) -> str:
    text = _("DualGlow can't run without the Python packages {names}; try again and let them be installed.")
    return text.format(names=", ".join(missing))


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        text = _("The extension PyTorch is missing; install it in the Extensions Manager and restart Slicer.")
        raise InputError(text) from error
    PyTorchUtils.PyTorchUtilsLogic().installTorch(
        askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch")
    )


def _installWithPip(requirements: list[str]) -> None:
    try:
        from slicer import packaging
    except ImportError:  # before Slicer 5.12
        question = _("DualGlow needs the Python packages {names}. Install them now?")
        if slicer.util.confirmOkCancelDisplay(question.format(names=", ".join(requirements))):
            slicer.util.pip_install(requirements)
        return
    try:
        packaging.pip_ensure(requirements, requester="DualGlow")
    except RuntimeError as error:  # its word for: the user declined
        raise InputError(_refusal(requirements)) from error
