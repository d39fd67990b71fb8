"""A training for each fold of a cohort, one after another in one process: what a window starts and leaves alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

__all__ = ["FOLDS", "fold_folder", "main"]

FOLDS = "folds.json"
"""In the output folder: the folds, where no file of them was given."""


def fold_folder(folder: Path | str, fold: int) -> Path:
    """The run of a fold, in the folder of all."""
    return Path(folder) / f"fold-{fold}"


def main(arguments: Sequence[str]) -> int:
    """``FOLDER FOLDS WHICH CASES …``: train on each fold in turn, into ``FOLDER/fold-0`` and so on.

    Runs that have ended are left alone, others that were begun are resumed. The first that fails, or is stopped, is the
    last. While one process does this, others are refused.

    Args:
        arguments: the folder; a file of folds, or how many are to be made (``FOLDS``, made once); the fold that is
            trained, or ``all``; then the arguments of ``train`` but for output and folds.

    Returns:
        The exit code of ``train``.
    """
    from ..training.loop import hold_run

    folder, folds, which, *words = arguments
    try:
        with hold_run(folder):
            return _train(Path(folder), folds, which, words)
    except InputError as error:
        print(f"dualglow train: {error}", file=sys.stderr)
        return 2


def _train(folder: Path, folds: str, which: str, words: list[str]) -> int:
    from ..__main__ import main as dualglow
    from ..cases.splits import fold_numbers
    from ..training.status import HISTORY, read_status

    path = folder / FOLDS if folds.isdigit() else Path(folds)
    if (
        folds.isdigit()
        and not path.exists()
        and (code := dualglow(["validate", words[0], *_layout(words), "--splits", str(path), "--folds", folds]))
    ):
        return code
    count = len(fold_numbers(path))
    if folds.isdigit() and count != int(folds):
        raise InputError(f"{path} has {count} folds, not {folds}; give that number, or another output folder.")
    for fold in range(count) if which == "all" else [int(which)]:
        run = fold_folder(folder, fold)
        if read_status(run).state == "done":
            continue
        again = ["--resume"] if (run / HISTORY).exists() else []
        options = ["--output", str(run), "--splits", str(path), "--fold", str(fold), *again]
        if code := dualglow(["train", *words, *options]):
            return code
    return 0


def _layout(words: list[str]) -> list[str]:
    """The option of ``train`` that ``validate`` needs too."""
    return words[(place := words.index("--layout")) : place + 2] if "--layout" in words else []
