"""Where the files that ship with DualGlow lie: the bundled models and the brain template."""

from __future__ import annotations

from pathlib import Path

__all__ = ["resource"]


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. ``resource("Template", "mni152_t1.nii.gz")``.

    The library runs from three places, and the folder lies elsewhere in each: installed by Slicer
    (``qt-scripted-modules/DualGlowLib`` beside ``qt-scripted-modules/Resources``), from a checkout
    (``Resources`` at its top), and installed by pip (``DualGlowLib/_resources``).

    Raises:
        FileNotFoundError: if none of them has it, which means a broken installation.
    """
    here = Path(__file__).resolve().parent
    for root in (here / "_resources", here.parent / "Resources", here.parent.parent / "Resources"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"{'/'.join(parts)} is missing from this DualGlow installation; install it again.")
