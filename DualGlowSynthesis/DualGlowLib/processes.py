"""A pool of processes for a list of jobs; one that fails or is killed does no harm to the others."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.spawn import get_executable

from .startup import set_up_process

__all__ = ["Crew", "Work", "end_crew", "failure", "spawning", "work_off"]

_ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ),
    "1",
)
_PATIENCE = 0.2  # seconds between looks at the wish to stop
_IDLE = 60.0  # seconds without a job after which a process ends, with the memory that it has kept
_starting = threading.Lock()  # what is changed while a process starts belongs to all threads

Work = Callable[[object, Callable[[str, float], None]], dict]


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    index: int | None = None  # of the job it is at
    since: float = 0.0  # when it began that, on the monotonic clock


Crew = list[_Worker]
"""Processes of one kind of work, which ``work_off`` may find and leave."""


def work_off(
    jobs: Sequence[object],
    work: Work,
    processes: int = 1,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, str, float], None] | None = None,
    limit: float | None = None,
    crew: Crew | None = None,
) -> Iterator[tuple[int, dict]]:
    """Do all jobs in new processes and yield the index and outcome of each as it is done.

    A job whose function raises has the outcome ``{"status": "failed", "reasons": […], "traceback": …}``; so has one
    whose process ended (killed for its memory, say), and the others go on in a new process. Each process computes in
    one thread: sums come out alike to the last bit only if they are split alike. When the caller is done, is
    interrupted or dies, the processes end too.

    Args:
        jobs: what to do; pickled.
        work: called with a job and a function for progress; pickled once for each process, since they are spawned. If
            it has a true ``alone``, each job gets a process of its own, whose memory goes with it.
        processes: how many at once.
        stop: asked several times a second; when it says True, the processes are ended and no more jobs yielded.
        progress: called with a job's index, a stage and how much of the job is done.
        limit: seconds after which a job's process is ended; the job has failed then.
        crew: processes of an earlier call with the same work; those that are idle at the end stay in it.
    """
    context, waiting = spawning(), deque(enumerate(jobs))
    kept, crew = crew, [] if crew is None else crew
    try:
        while waiting or any(worker.index is not None for worker in crew):
            if stop and stop():
                return
            for worker in [one for one in crew if one.index is None and not one.process.is_alive()]:
                crew.remove(worker)  # killed while it waited: no job is given to it
                worker.pipe.close()
            busy = sum(worker.index is not None for worker in crew)
            while len(crew) < min(processes, busy + len(waiting)):
                crew.append(_start(context, work))
            for worker in crew:
                if worker.index is None and waiting:
                    worker.index, job = waiting.popleft()
                    worker.since = time.monotonic()
                    with suppress(BrokenPipeError, ConnectionResetError):  # its end shows in its sentinel
                        worker.pipe.send(job)
            for worker in [one for one in crew if one.index is not None and limit is not None]:
                if time.monotonic() - worker.since > limit:
                    crew.remove(worker)
                    end_crew([worker])
                    yield worker.index, {"status": "failed", "reasons": [f"it took more than {limit:g} seconds"]}
            ready = wait([worker.pipe for worker in crew] + [worker.process.sentinel for worker in crew], _PATIENCE)
            for worker in [one for one in crew if one.pipe in ready or one.process.sentinel in ready]:
                message = _hear(worker)
                if message is None:
                    crew.remove(worker)
                    worker.process.join()
                    if worker.index is not None:
                        yield worker.index, _ended(worker.process.exitcode)
                elif message[0] == "leaves":
                    crew.remove(worker)
                    worker.pipe.close()
                    if worker.index is not None:  # it got the job in that very moment
                        waiting.appendleft((worker.index, jobs[worker.index]))
                elif message[0] == "progress":
                    if progress:
                        progress(worker.index, *message[1:])
                else:
                    index, worker.index = worker.index, None
                    yield index, message[1]
    finally:
        busy = crew if kept is None else [worker for worker in crew if worker.index is not None]
        end_crew(busy)
        crew[:] = [worker for worker in crew if worker not in busy]


def spawning() -> SpawnContext:
    """What new processes are begun with: they share nothing with this one, whose threads may hold any lock."""
    context = get_context("spawn")
    if real := _python_behind(os.fsdecode(get_executable())):
        context.set_executable(real)
    return context


def failure(error: Exception) -> dict:
    """The outcome of a job that raised this; to be called where the exception is handled."""
    words = str(error).splitlines()
    reason = f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
    return {"status": "failed", "reasons": [reason], "traceback": traceback.format_exc()}


def end_crew(crew: Sequence[_Worker]) -> None:
    """End processes, whatever they are at."""
    for worker in crew:
        worker.process.terminate()
    for worker in crew:
        worker.process.join(5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()


def _python_behind(python: str) -> str | None:
    """In Slicer, ``python`` is the launcher PythonSlicer, which does not hand pipes on: the Python that it would start.

    See https://github.com/Slicer/Slicer/issues/7445.
    """
    return shutil.which("python-real", path=os.path.dirname(python)) if "PythonSlicer" in python else None


def _hear(worker: _Worker) -> tuple | None:
    """The next message, or None if the process has ended and said all."""
    try:
        return worker.pipe.recv()
    except (EOFError, OSError):
        return None


def _ended(code: int | None) -> dict:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        how = f"was killed ({name}); there may not be enough memory for so many processes"
    else:
        how = f"ended with code {code}"
    return {"status": "failed", "reasons": [f"its process {how}"]}


def _start(context, work: Work) -> _Worker:
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    with _starting, _environment(_ONE_THREAD), _as_parent():
        process.start()
    theirs.close()
    return _Worker(process, mine)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Settings that libraries read once, when they are loaded, so they must be there when the process starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _as_parent() -> Iterator[None]:
    """Let a daemonic process, as Dask's workers are, have children: ours end with it, however it goes.

    multiprocessing refuses it such children because it would leave them behind, and has no public way to say otherwise.
    """
    settings = current_process()._config
    before = settings.pop("daemon", None)
    try:
        yield
    finally:
        if before is not None:
            settings["daemon"] = before


def _serve(pipe: Connection, work: Work) -> None:
    """Do the jobs that come through the pipe, and send their outcomes back, until it closes."""
    set_up_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)

    def report(stage: str, fraction: float) -> None:
        pipe.send(("progress", stage, fraction))

    while True:
        try:
            if not pipe.poll(_IDLE):
                pipe.send(("leaves",))
                return
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            outcome = work(job, report)
        except Exception as error:
            outcome = failure(error)
        try:
            pipe.send(("done", outcome))
            if getattr(work, "alone", False):
                pipe.send(("leaves",))
                return
        except OSError:
            return


def _end_with_parent() -> None:
    """End at once when the parent is gone, however it went."""
    wait([parent_process().sentinel])
    os._exit(1)
