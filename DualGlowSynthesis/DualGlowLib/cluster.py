"""A list of jobs, done by processes of this computer or by the workers of a Dask cluster: the same outcomes.

A worker does each job in a process of its own (``processes.work_off``), which has one thread, stays for the next job
and keeps what it has loaded. So a job computes as it does on one computer, can be ended, and takes nothing with it.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from . import __version__
from .errors import InputError
from .processes import Crew, Work, end_crew, failure, work_off

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["hand_out"]

_PATIENCE = 0.2  # seconds between looks at the wish to stop
_TO_ANSWER = 5.0  # seconds that a scheduler has to answer, and to come back
_TO_LEAVE = 10.0  # seconds that workers have to end what they are at
_AHEAD = 1000  # jobs that the scheduler knows at once; far more than are done at once cost it memory and time
_TRIES = 3  # workers that may die at a job
_PACKAGES = ("numpy", "scipy", "SimpleITK", "torch")


def hand_out(
    jobs: Sequence[object],
    work: Work,
    processes: int = 1,
    scheduler: str | None = None,
    *,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[int, str, float], None] | None = None,
    note: Callable[[str], None] | None = None,
    limit: float | None = None,
    witness: Path | None = None,
) -> Iterator[tuple[int, dict]]:
    """Do all jobs as ``processes.work_off`` does, here or on a cluster, and yield index and outcome of each.

    A job whose worker is killed or lost is done by another; it has failed when three workers have died at it. Workers
    may come and go. They stay when the work is done or stopped, without a process of it.

    Args:
        jobs, work, stop, progress, limit: see ``work_off``.
        processes: how many at once on this computer.
        scheduler: address of a Dask scheduler, such as ``tcp://node7:8786``; None for this computer.
        note: called with what the user should know, such as that there is no worker yet.
        witness: a file that workers must see as it is here, since they read and write the same folders.

    Raises:
        InputError: if Dask is not installed, the scheduler doesn't answer or is lost, or a worker has other versions or
            doesn't see the witness.
    """
    if scheduler is None:
        yield from work_off(jobs, work, min(processes, max(1, len(jobs))), stop, progress, limit)
        return
    client = _connect(scheduler)
    try:
        run = _Run(client, jobs, work, limit, witness and (str(witness.resolve()), _content(witness)))
        with closing(run.outcomes(stop, progress or (lambda *_: None), note or (lambda _: None))) as outcomes:
            yield from outcomes
    finally:
        with suppress(Exception):
            client.close(timeout=_TO_ANSWER)


def _connect(scheduler: str) -> Client:
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError:
        raise InputError(
            "--scheduler needs the Python package distributed (Dask); install it with: pip install distributed"
        ) from None
    try:
        get_address_host_port(scheduler)  # first, since a client that can't even begin writes a traceback at its end
        return Client(scheduler, timeout=_TO_ANSWER, set_as_default=False, name="DualGlow")
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        why = "doesn't answer" if isinstance(error, OSError) else f"is none ({error})"
        raise InputError(
            f"The Dask scheduler {scheduler} {why}; give the address that it prints when it starts, such as "
            "tcp://node7:8786."
        ) from None


class _Run:
    """Jobs at a scheduler: what is submitted, heard and counted. All that happens comes into one queue."""

    def __init__(self, client: Client, jobs: Sequence[object], work: Work, limit: float | None, witness: tuple) -> None:
        self._client, self._jobs, self._limit, self._witness = client, jobs, limit, witness
        self._name = f"dualglow-{uuid4().hex}"
        # A task, since what is scattered is lost with the workers that have it, and this is made anew.
        self._work = client.submit(_Sealed, pickle.dumps(work), os.getcwd(), key=f"{self._name}-work", pure=False)
        self._heard: queue.SimpleQueue = queue.SimpleQueue()
        self._futures: dict[int, Future] = {}
        self._begun, self._lost = Counter(), Counter()

    def outcomes(
        self, stop: Callable[[], bool] | None, progress: Callable[[int, str, float], None], note: Callable[[str], None]
    ) -> Iterator[tuple[int, dict]]:
        self._client.subscribe_topic(self._name, lambda event: self._heard.put(event[1]))
        waiting, silent = iter(range(len(self._jobs))), 0.0
        is_done = False
        try:
            while True:
                while len(self._futures) < _AHEAD and (index := next(waiting, None)) is not None:
                    self._submit(index)
                if not self._futures:
                    is_done = True
                    return
                if stop and stop():
                    return
                try:
                    index, *said = self._heard.get(timeout=_PATIENCE)
                except queue.Empty:
                    silent += _PATIENCE
                    if silent > _TO_ANSWER:
                        self._look(note)
                        silent = 0.0
                    continue
                silent = 0.0
                if index not in self._futures:
                    continue  # said of a job that is done
                if said == ["begun"]:
                    self._begun[index] += 1
                    outcome = _killer() if self._begun[index] > _TRIES else None
                elif said:
                    progress(index, *said)
                    continue
                else:
                    outcome = self._outcome(index)
                if outcome is not None:
                    self._futures.pop(index).release()
                    yield index, outcome
        finally:
            self._leave(is_done)

    def _submit(self, index: int) -> None:
        key = f"{self._name}-{index}-{self._lost[index]}"
        job = pickle.dumps(self._jobs[index])
        future = self._client.submit(
            _do, self._work, job, index, self._name, _versions(), self._witness, self._limit, key=key, pure=False
        )
        self._futures[index] = future
        future.add_done_callback(lambda done: self._heard.put((index,)))

    def _outcome(self, index: int) -> dict | None:
        """Of a job whose task has ended; None if it has to be done again."""
        from distributed import KilledWorker

        future = self._futures[index]
        if not future.done():
            return None  # it was lost meanwhile, and is done again
        if future.cancelled():
            raise self._gone()
        try:
            return future.result(timeout=_TO_ANSWER)
        except KilledWorker:
            # Dask blames a dead worker on all jobs that it was to do, also those that had not begun.
            self._lost[index] += 1
            if max(self._lost[index], self._begun[index]) >= _TRIES:
                return _killer()
            self._submit(index)
            return None
        except InputError:
            raise
        except ModuleNotFoundError as error:
            raise InputError(
                f"A worker of {self._client.scheduler.address} can't begin ({error}); install DualGlow where the "
                "workers run."
            ) from None
        except Exception as error:
            if self._client.status != "running":
                raise self._gone() from None
            return failure(error)

    def _look(self, note: Callable[[str], None]) -> None:
        """After a silence: is the scheduler there, and has it workers?"""
        if self._client.status != "running":
            raise self._gone()
        with suppress(OSError):
            if not self._client.nthreads():
                note(f"{self._client.scheduler.address} has no worker; waiting for one.")

    def _gone(self) -> InputError:
        return InputError(
            f"The Dask scheduler {self._client.scheduler.address} was lost; what is done stays, and the same command "
            "goes on once there is a scheduler."
        )

    def _leave(self, is_done: bool) -> None:
        """Have workers end their processes of this run; if jobs are left, wait until they have."""
        with suppress(Exception):
            self._client.cancel(list(self._futures.values()))
        if self._client.status != "running":
            return
        if is_done:
            with suppress(Exception):
                self._client.run(_leave, self._name, wait=False)
            return

        def ask() -> None:
            with suppress(Exception):
                self._client.run(_leave, self._name, on_error="ignore")

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_TO_LEAVE + _TO_ANSWER)


def _killer() -> dict:
    return {
        "status": "failed",
        "reasons": [f"the worker died at it {_TRIES} times; there may not be enough memory where they run"],
    }


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@cache
def _versions() -> dict[str, str]:
    """What the files of a job depend on."""
    found = {"DualGlow": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


# ------------------------------------------------------------------------------------------------- on the workers


class _Sealed:
    """Work as bytes: opened in the process that does it, not in the worker, which needs to load nothing for it.

    That process goes to the folder that paths are relative to.
    """

    def __init__(self, data: bytes, folder: str) -> None:
        self._data, self._folder, self._work = data, folder, None

    def __call__(self, job: bytes, report: Callable[[str, float], None]) -> dict:
        if self._work is None:
            with suppress(OSError):  # not there: paths that need it will say so
                os.chdir(self._folder)
            self._work = pickle.loads(self._data)
        return self._work(pickle.loads(job), report)


@dataclass
class _Mine:
    """What a worker has of a run: processes that wait for a job, and how many jobs it is at."""

    idle: Crew = field(default_factory=list)
    busy: int = 0
    is_over: bool = False


_runs: dict[str, _Mine] = {}


def _do(
    work: _Sealed,
    job: bytes,
    index: int,
    run: str,
    versions: dict[str, str],
    witness: tuple[str, bytes] | None,
    limit: float | None,
) -> dict:
    """One job, in a process of this worker."""
    from distributed import get_worker

    worker, mine = get_worker(), _runs.setdefault(run, _Mine())
    for name, version in versions.items():
        if (own := _versions().get(name)) != version:
            raise InputError(
                f"The worker {worker.address} has {name} {own or 'not at all'}, and this computer {version}, so that "
                "their files could differ; give them the same environment."
            )
    if witness and not _sees(*witness):
        raise InputError(
            f"The worker {worker.address} doesn't see {witness[0]} as this computer does; all folders must lie on a "
            "file system that the workers share, under the same path."
        )

    def tell(_: int, stage: str, fraction: float) -> None:
        worker.log_event(run, [index, stage, fraction])

    worker.log_event(run, [index, "begun"])
    mine.busy += 1
    try:
        crew = [mine.idle.pop()]
    except IndexError:
        crew = []
    try:
        with closing(work_off([job], work, 1, lambda: mine.is_over, tell, limit, crew)) as outcomes:
            for _, outcome in outcomes:
                return outcome
        return {"status": "failed", "reasons": ["its run was stopped"]}
    finally:
        mine.idle.extend(crew)
        mine.busy -= 1


def _sees(path: str, content: bytes) -> bool:
    """Whether a new file is there; network file systems may show it some seconds late."""
    end = time.monotonic() + _TO_ANSWER
    while _content(Path(path)) != content:
        if time.monotonic() > end:
            return False
        time.sleep(_PATIENCE)
    return True


async def _leave(run: str) -> None:
    """End what this worker does of a run, and wait for that."""
    mine = _runs.setdefault(run, _Mine())
    mine.is_over = True
    for _ in range(int(_TO_LEAVE / _PATIENCE)):
        if not mine.busy:
            break
        await asyncio.sleep(_PATIENCE)
    crew, mine.idle = mine.idle, []
    end_crew(crew)
