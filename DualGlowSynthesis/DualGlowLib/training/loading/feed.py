"""The batches of a run's steps, one after the other; from disk, they are read ahead in processes of their own."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from ...errors import InputError
from ...processes import spawning
from ...startup import set_up_process
from ..data import Batch, Cohort, step_generator, step_indices
from ..settings import TrainingSettings
from .cache import CachedCohort

__all__ = ["Feed"]

_AHEAD = 2  # batches that each process reads ahead
_MOST_STEPS = 1 << 40
_PATIENCE = 20.0  # seconds that the end of the processes may take; it takes 5 for one that hangs


@dataclass(frozen=True)
class _Order(Dataset):
    """What is in the batch of each step."""

    cohort: Cohort
    settings: TrainingSettings
    rows: slice

    def batch(self, step: int) -> Batch:
        chosen = self.settings
        indices = step_indices(step, len(self.cohort), chosen.batch, chosen.seed)
        augment = step_generator(chosen.seed, step, 1) if chosen.augment else None
        return self.cohort.batch(indices, augment, self.rows)

    def __getitem__(self, step: int) -> Batch | str:
        try:
            return self.batch(step)
        except InputError as error:  # which torch would wrap in a traceback
            return str(error)

    def __len__(self) -> int:
        return _MOST_STEPS


class Feed:
    """Gives the batch of any step; those of steps in order come soonest.

    A small cohort in memory needs no processes. Those that read from disk are two by default and stay until ``close``;
    if one is killed, for want of memory say, the run reads by itself from then on.

    Args:
        cohort: to train on.
        settings: of the run.
        rows: of each batch, those that this process takes.
        device: that the batches are for.
        note: called with what the user should know.
    """

    def __init__(
        self,
        cohort: Cohort,
        settings: TrainingSettings,
        rows: slice,
        device: torch.device,
        note: Callable[[str], None],
    ) -> None:
        self._order, self._note = _Order(cohort, settings, rows), note
        self._workers = settings.workers if isinstance(cohort, CachedCohort) else 0
        self._is_pinned = device.type == "cuda"
        self._batches: Iterator[Batch | str] | None = None
        self._next = 0  # step of the batch that comes next from the processes
        self._latest: tuple[int, Batch] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of a step; asked for again, it is not read again.

        Raises:
            InputError: if a case of it can't be read.
        """
        if self._latest is None or self._latest[0] != step:
            self._latest = step, self._ahead(step) if self._workers else self._order.batch(step)
        return self._latest[1]

    def close(self) -> None:
        """End the processes.

        In a thread, which is left behind if it takes too long: torch 2.13.0 waits without end for a lock that a process
        held when it was killed.
        """
        held = [self._batches]
        self._batches = None
        if held[0] is not None:
            ending = threading.Thread(target=held.clear, daemon=True)
            ending.start()
            ending.join(_PATIENCE)

    def _ahead(self, step: int) -> Batch:
        if self._batches is None or step != self._next:
            self.close()  # the processes end before others begin
            self._batches, self._next = self._reading(step), step
        try:
            batch, why = next(self._batches), ""
        except (RuntimeError, EOFError, OSError) as error:
            # torch itself tells of most deaths; of one while it hands a batch over, Python does.
            if isinstance(error, RuntimeError) and "DataLoader" not in str(error):
                raise
            batch, why = None, (str(error).splitlines() or ["while it handed over a batch"])[0]
        if why:  # only here does nothing but ``_batches`` hold the processes: the error did
            self._workers = 0
            self.close()
            self._note(
                f"A process that reads the cases has ended ({why.rstrip('.')}); the run goes on without. There may "
                "be too little memory, or too little shared memory (/dev/shm) in a container."
            )
            return self._order.batch(step)
        self._next = step + 1
        if isinstance(batch, str):
            raise InputError(batch)
        return batch

    def _reading(self, step: int) -> Iterator[Batch | str]:
        loader = DataLoader(
            self._order,
            batch_size=None,
            sampler=range(step, _MOST_STEPS),
            num_workers=self._workers,
            prefetch_factor=_AHEAD,
            collate_fn=_as_it_is,
            pin_memory=self._is_pinned,
            worker_init_fn=_begin,
            multiprocessing_context=spawning(),
        )
        with _usual_signals():
            return iter(loader)


@contextmanager
def _usual_signals() -> Iterator[None]:
    """Keep torch from raising the death of a reading process wherever the run is at; ``next`` tells of it too."""
    child = getattr(signal, "SIGCHLD", None)  # none on Windows
    before = signal.getsignal(child) if child else None
    yield
    if child and threading.current_thread() is threading.main_thread():
        signal.signal(child, signal.SIG_DFL if before is None else before)


def _as_it_is(batch: Batch | str) -> Batch | str:
    return batch


def _begin(number: int) -> None:
    """In a new process: Ctrl-C goes to the whole group, and the run decides; to tidy up at the end takes seconds."""
    set_up_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    atexit.register(os._exit, 0)
