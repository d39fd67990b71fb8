"""The command line: ``python -m DualGlowLib COMMAND …``.

Exit code 0: done. 2: wrong usage or unusable input, with one line that says what, where and what to do. 1: anything
else.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any, NoReturn

from . import __version__
from .cli import adaptation, bundles, calibration, cohorts, reports, study, synthesis, training
from .cli.console import Console
from .errors import Cancelled, InputError, one_line
from .files import unusable
from .startup import is_first_rank, set_up_process

__all__ = ["main"]


_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ELOOP),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE, errno.ENOTEMPTY),
)
"""What files and folders of a user's can cause: no defects of ours, wherever they come up."""

_LOOP = "Symlink loop"  # what ``Path.resolve`` says of links that lead to themselves, until Python 3.12


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as of any other mistake; each command's parser is one too, and names itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)  # to sweep, --age would be --ages

    def error(self, message: str) -> NoReturn:
        if not is_first_rank():
            self.exit(2)
        said = f"{self.prog.replace('python -m DualGlowLib', 'dualglow')}: {one_line(message)}"
        self.exit(2, f"{said}; {self.prog} --help lists what there is.\n")

    def parse_known_args(self, args=None, namespace=None):
        known, rest = super().parse_known_args(args, namespace)
        if rest:  # a command would hand them up, to the program, which doesn't name the command
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return known, rest


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dualglow" if PurePath(sys.argv[0]).stem == "dualglow" else "python -m DualGlowLib",
        description="From a T1 brain MRI to the distribution of FDG-PET images that go with it. Research use only.",
    )
    parser.add_argument("--version", action="version", version=f"DualGlow {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for subject in (cohorts, training, synthesis, reports, study, calibration, adaptation, bundles):
        subject.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Args:
        argv: arguments without the program's name; by default those of the process.
    """
    _open_streams()
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed its message
        return int(stop.code or 0)
    try:
        return arguments.function(arguments, Console(arguments.json))
    except InputError as error:
        print(f"dualglow {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has gone
        sys.stdout = None
        return 1
    except OSError as error:
        if error.errno not in _PLACES:
            raise
        print(
            f"dualglow {arguments.command}: {one_line(unusable(error))}; see to that, and try again.", file=sys.stderr
        )
        return 2
    except RuntimeError as error:
        if not str(error).startswith(_LOOP):
            raise
        print(f"dualglow {arguments.command}: {one_line(error)}; give a path that leads somewhere.", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Cancelled):
        print(f"dualglow {arguments.command}: interrupted", file=sys.stderr)
        return 1


def _open_streams() -> None:
    """Give a process that was started without output and errors, as by ``>&-``, some that nobody reads.

    Otherwise the first files that it opens would take their places, and get what C libraries say there.
    """
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the process ends


if __name__ == "__main__":
    set_up_process()
    sys.exit(main())
