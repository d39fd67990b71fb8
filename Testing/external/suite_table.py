"""The table that every runner of a public suite prints: case, verdict, reason.

*right*: what the suite expects, be it a value or a refusal. *refused*: a sentence where a value could have been had.
*wrong*: another value, a value where there must be none, or an error that is no sentence.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from DualGlowLib import InputError

__all__ = ["Row", "attempt", "run"]


class Row(NamedTuple):
    """One case: its name, ``right``, ``refused`` or ``wrong``, and why."""

    case: str
    verdict: str
    reason: str


def attempt(case: str, judge: Callable[[], tuple[str, str]], refusal: str = "refused") -> Row:
    """The row of a case.

    Args:
        case: its name.
        judge: gives verdict and reason, or raises what the library raises.
        refusal: the verdict if that is an InputError: "right" where the suite expects a refusal.
    """
    try:
        verdict, reason = judge()
    except InputError as error:
        return Row(case, refusal, str(error))
    except Exception as error:  # the fault that a suite is run to find
        return Row(case, "wrong", f"{type(error).__name__}: {error}")
    return Row(case, verdict, reason)


def run(description: str, rows: Callable[[Path], Iterable[Row]]) -> int:
    """Take the suite's folder from the command line, print the table in Markdown; 1 if a case is not right, else 0."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the suite lies")
    folder, counts = parser.parse_args().folder, Counter()
    if not folder.is_dir():
        parser.error(f"there is no folder {folder}")
    print("| case | verdict | reason |\n|---|---|---|")
    for row in rows(folder):
        counts[row.verdict] += 1
        # The folder's name is no part of the reason, and a bar or a line's end would end the cell.
        reason = " ".join(row.reason.replace(f"{folder}/", "").replace("|", "\\|").split())
        print(f"| {row.case} | {row.verdict} | {reason} |", flush=True)
    if not counts:
        parser.error(f"{folder} holds no case of this suite")
    print(f"\n{counts.total()} cases: " + ", ".join(f"{counts[word]} {word}" for word in ("right", "refused", "wrong")))
    return int(counts["right"] < counts.total())
