"""What the commands may not overwrite."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..outputs import Output, check_outputs

__all__ = ["case_inputs", "check"]


def check(arguments: argparse.Namespace, outputs: Iterable[Output], inputs: Iterable[str | Path]) -> None:
    """``check_outputs`` for a command that has ``--force``.

    Raises:
        InputError: as ``check_outputs``.
    """
    check_outputs(outputs, inputs, arguments.force, "give another name, or --force to replace it")


def case_inputs(cases: str | Path, layout: str | None = None) -> Iterator[Path]:
    """All that a command reads which works on a directory of cases: the directory, and scans that lie elsewhere.

    Raises:
        InputError: as ``cases.layouts.find_cases``.
    """
    from ..cases.layouts import find_cases

    yield Path(cases)
    for item in find_cases(cases, layout).items:
        if item.case is not None:
            yield from filter(None, (item.case.t1, item.case.pet, item.case.mask, item.case.pet_to_t1))
