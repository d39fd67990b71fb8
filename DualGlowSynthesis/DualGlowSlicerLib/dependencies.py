"""Python packages that Slicer does not bring along: which are missing, and how to get them after asking."""

import importlib
import importlib.metadata
import importlib.util
import logging
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from DualGlowLib import InputError

__all__ = ["consentText", "ensurePackages", "missingPackages", "missingText"]

TORCH = "torch>=2.4"
"""Never through pip: the PyTorch extension picks the build that fits the computer's graphics card."""

EXTENSION = "PyTorch"
"""Name of that extension in the Extensions Manager."""

_installing = False

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
    """The requirements, as pip writes them, that this Python does not meet. Imports none of them, asks no network."""
    return [requirement for requirement in _requirements() if not _isInstalled(requirement)]


def missingText(missing: list[str]) -> str:
    """What is missing and where it comes from, for the windows; empty if nothing is."""
    if not missing:
        return ""
    text = _("Missing Python packages: {names}.").format(names=", ".join(missing))
    if TORCH in missing and _hasExtension():
        text += " " + _("PyTorch is installed by the extension PyTorch.")
    elif TORCH in missing:
        text += " " + _("PyTorch is installed by the extension PyTorch, which is missing too.")
    return text


def consentText(missing: list[str]) -> str:
    """The one question before anything is fetched: what, from where, how much."""
    names = ", ".join(requirement for requirement in missing if requirement != TORCH)
    lines = [_("DualGlow needs software that Slicer does not bring along:")]
    if TORCH in missing and not _hasExtension():
        lines.append("- " + _("the extension PyTorch, from Slicer's extensions server"))
    if TORCH in missing:
        lines.append("- " + _("PyTorch, which the extension picks to fit this computer: 0.2 to 3 GB from pytorch.org"))
    if names:
        lines.append("- " + _("the Python packages {names}, from the Python Package Index").format(names=names))
    lines += ["", _("Download and install it into Slicer's own Python now? Later on no network is needed.")]
    return "\n".join(lines)


def ensurePackages(progress=None, confirm=None) -> bool:
    """Install what is missing, after asking once; whether all is there. Slicer's test mode installs nothing.

    False: the user declined, which is no error.

    :param progress: called with a sentence before each step; steps take minutes, and the window stands still meanwhile.
    :param confirm: called with ``consentText``, gives whether the user agrees; Slicer's dialog by default.

    Raises:
        InputError: if something is still missing afterwards: no network, or to be had after a restart only.
            What is there already stays as it is, and the next call goes on with the rest.
    """
    global _installing
    missing = missingPackages()
    if not missing:
        return True
    if _installing:  # the installers let the window handle a click now and then
        raise InputError(_("Packages are being installed; wait until that has ended."))
    if not slicer.app.testingEnabled():
        if not (confirm or _confirmed)(consentText(missing)):
            return False
        _installing = True
        try:
            _install(missing, progress or logging.info)
        finally:
            _installing = False
            importlib.invalidate_caches()
        missing = missingPackages()
    if missing:
        text = _("DualGlow can't run without the Python packages {names}; try again and let them be installed.")
        raise InputError(text.format(names=", ".join(missing)))
    return True


def _confirmed(question: str) -> bool:
    return slicer.util.confirmOkCancelDisplay(question, windowTitle="DualGlow")


def _install(missing: list[str], progress) -> None:
    others = [requirement for requirement in missing if requirement != TORCH]
    if others:  # the small ones first: whoever has no network learns it at once
        progress(_("Installing {names} …").format(names=", ".join(others)))
        _attempt(", ".join(others), _installWithPip, others)
    if TORCH not in missing:
        return
    if not _hasExtension():
        progress(_("Installing the extension PyTorch …"))
        _attempt(_("The extension PyTorch"), _installExtension)
    progress(_("Installing PyTorch; this takes minutes, and the window hardly answers meanwhile …"))
    _attempt("PyTorch", _installTorch)


def _attempt(what: str, install, *arguments) -> None:
    """Any failure of the installers becomes one sentence; the log gets the rest."""
    try:
        install(*arguments)
    except InputError:
        raise
    except Exception as error:  # pip's, the network's, the disk's: there is no end to their kinds
        logging.exception("DualGlow could not install %s.", what)
        text = _(
            "{what} could not be installed; check the network connection and the free space on the disk, and try again "
            "(the error log has the details)."
        )
        raise InputError(text.format(what=what)) from error


def _hasExtension() -> bool:
    if "PyTorchUtils" in sys.modules:
        return sys.modules["PyTorchUtils"] is not None
    try:
        return importlib.util.find_spec("PyTorchUtils") is not None
    except ValueError:
        return False


def _installExtension() -> None:
    """Through Slicer's extensions manager, without its questions: the user was asked already."""
    model = slicer.app.extensionsManagerModel() if hasattr(slicer.app, "extensionsManagerModel") else None
    if model is None:
        text = _("This Slicer has no Extensions Manager; install PyTorch with: PythonSlicer -m pip install {torch}.")
        raise InputError(text.format(torch=f'"{TORCH}"'))
    if not model.isExtensionInstalled(EXTENSION):
        asks = model.interactive
        model.interactive = False
        try:
            model.installExtensionFromServer(EXTENSION, False)  # False: don't restart Slicer, which may hold work
        finally:
            model.interactive = asks
        if not model.isExtensionInstalled(EXTENSION):
            text = _("The extension PyTorch could not be installed; check the network, or use the Extensions Manager.")
            raise InputError(text)
    # Slicer loads an extension's modules when it starts; this one is a Python file that can be imported before that.
    sys.path += [path for path in model.extensionModulePaths(EXTENSION) if path not in sys.path]
    importlib.invalidate_caches()
    if not _hasExtension():
        text = _("The extension PyTorch is installed; save your work, restart Slicer, and start again from here.")
        raise InputError(text)


def _installTorch() -> None:
    import PyTorchUtils

    PyTorchUtils.PyTorchUtilsLogic().installTorch(
        askConfirmation=False, torchVersionRequirement=TORCH.removeprefix("torch")
    )


def _installWithPip(requirements: list[str]) -> None:
    try:
        from slicer import packaging
    except ImportError:  # before Slicer 5.12
        slicer.util.pip_install(requirements)
    else:
        packaging.pip_ensure(requirements, requester="DualGlow", prompt_install=False)
