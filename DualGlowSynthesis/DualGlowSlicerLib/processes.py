"""Programs of DualGlow in Slicer's own Python, each a process that has its own session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import DualGlowLib

__all__ = ["command", "startProcess"]


def command(module: str, arguments: Sequence) -> list[str]:
    """How to run ``main`` of one of the library's modules; ``PythonSlicer`` is Slicer's Python without the application.

    :param module: its name, such as ``DualGlowLib.worker.server``.
    :param arguments: of its ``main``.
    """
    library = Path(DualGlowLib.__file__).resolve().parent.parent
    start = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from DualGlowLib.startup import set_up_process, "
        "usual_priority; set_up_process(); low = usual_priority(); low and print(low, file=sys.stderr); "
        f"from {module} import main; sys.exit(main(sys.argv[1:]))"
    )
    return [shutil.which("PythonSlicer") or sys.executable, "-u", "-c", start, str(library), *map(str, arguments)]


def startProcess(words: Sequence[str], stdin=subprocess.DEVNULL, stdout=None, stderr=None) -> subprocess.Popen:
    """Start a program apart from Slicer: keys that interrupt Slicer don't, and it may go on when Slicer has ended.

    A session of its own also has Linux share processors out to it as to Slicer as a whole, whatever the priorities of
    Slicer's threads.

    Raises:
        OSError: if it can't be started.
    """
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    if os.name == "nt":
        apart = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    else:
        apart = {"start_new_session": True}
    return subprocess.Popen(words, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, **apart)
