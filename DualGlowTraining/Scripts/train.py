"""Train a DualGlow model without a window; the same job inside Slicer and in plain Python.

    Slicer --no-splash --no-main-window --python-script train.py -- CASES --output RUN [--preset standard] [...]
    python train.py CASES --output RUN [...]
    torchrun --nproc_per_node=4 train.py CASES --output RUN [...]

Takes the options of ``python -m DualGlowLib train`` and ends with its exit codes: 0 done, 2 wrong usage or unusable
input (one line says what, where, and what to do), 1 anything else. It finds the library by itself.
"""

import os
import sys
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "nibabel", "pydicom", "safetensors", "PIL")


def findLibrary() -> None:
    """Put the folder that holds DualGlowLib on Python's path: a checkout's, or the one that Slicer installs to.

    With neither, DualGlowLib is taken from Python's own packages.
    """
    module = Path(__file__).resolve().parent.parent
    for folder in (module.parent / "DualGlowSynthesis", module):
        if (folder / "DualGlowLib" / "__init__.py").is_file():
            sys.path.insert(0, str(folder))
            return


def main(arguments: list) -> int:
    """Run ``DualGlowLib train``; gives its exit code."""
    findLibrary()
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments  # Slicer hands the "--" on
    try:
        from DualGlowLib.__main__ import main as run
        from DualGlowLib.startup import set_up_process, usual_priority

        set_up_process()
        if "slicer" in sys.modules and (low := usual_priority()):
            print(f"train.py: {low}", file=sys.stderr)
        return run(["train", *arguments])
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        if "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK") != "0":
            return 1  # the first of torchrun's processes says it
        print(
            f"train.py: the Python package {error.name} is missing; in Slicer, open DualGlow Training and press "
            f"'Install missing packages…', elsewhere run 'pip install .' in the checkout of DualGlow.",
            file=sys.stderr,
        )
        return 1


def leave(code: int) -> None:
    """End the process with this exit code, and inside Slicer the application first.

    Slicer would stay open after the script, and under ``--testing`` replace the exit code with its own.
    """
    slicer = sys.modules.get("slicer")
    if getattr(slicer, "app", None) is not None:
        slicer.util.exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
