"""The history of a run as others read it: a table, and event files for TensorBoard."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...files import write_whole
from ..status import HISTORY

__all__ = ["TABLE", "TENSORBOARD", "Logs", "is_table"]

TABLE, TENSORBOARD = "history.csv", "tensorboard"
_FIRST = "step"  # column


def is_table(path: Path) -> bool:
    """Whether a file is such a table, or the beginning of one."""
    with path.open("rb") as file:
        head = file.read(len(_FIRST) + 1)
    return any(f"{_FIRST}{end}".encode().startswith(head) for end in (",", "\n"))


class Logs:
    """Follows ``history.jsonl``, which is the one that counts: ``history.csv`` and ``tensorboard/`` are made from it.

    That they can't be written is no reason to end a run; it is said once.

    Args:
        folder: of the run.
        note: called with what the user should know.
        events: whether TensorBoard is to have event files.
    """

    def __init__(self, folder: Path, note: Callable[[str], None], events: bool = False) -> None:
        self.folder, self._note = folder, note
        self._columns: list[str] = []
        self._asked, self._events, self._is_written = events, None, True

    def begin(self, step: int) -> None:
        """Bring both to where the history is: after that step, 0 before the first. Later steps are taken back."""
        self._try(self._write)
        if self._asked:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._note(
                    "Event files for TensorBoard need the Python package tensorboard; install it with: "
                    "pip install tensorboard. The table history.csv is written."
                )
                return
            self._try(lambda: setattr(self, "_events", self._writer(SummaryWriter, step)))

    def record(self, event: Mapping[str, float]) -> None:
        """One more line of the history, which has it already."""
        self._try(lambda: self._add(event))
        for name, value in event.items() if self._events else ():
            if name not in ("step", "seconds"):
                held = name.startswith("validation_")
                tag = f"validation/{name.removeprefix('validation_')}" if held else f"training/{name}"
                self._try(lambda tag=tag, value=value: self._events.add_scalar(tag, value, event["step"]))

    def picture(self, step: int, image: np.ndarray) -> None:
        """A picture of that step, uint8, rows × columns × 3, for TensorBoard."""
        if self._events:
            self._try(lambda: self._events.add_image("held-out cases", image, step, dataformats="HWC"))

    def flush(self) -> None:
        """No checkpoint without the events that lead to it."""
        if self._events:
            self._try(self._events.flush)

    def close(self) -> None:
        if self._events:
            self._try(self._events.close)
        self._events = None

    def _writer(self, kind: type, step: int) -> object:
        return kind(str(self.folder / TENSORBOARD), purge_step=step + 1 if step else None)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (OSError, InputError) as error:
            if self._is_written:
                words = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                self._note(f"The logs in {self.folder} can't be written ({words.rstrip('.')}); {HISTORY} has it all.")
            self._is_written = False

    # ---- the table

    def _add(self, event: Mapping[str, float]) -> None:
        if not event.keys() <= set(self._columns):
            self._write()
            return
        with (self.folder / TABLE).open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(event)

    def _write(self) -> None:
        """The whole table, with a column for each name that the history has."""
        with (self.folder / HISTORY).open(encoding="utf-8") as lines:
            events = [json.loads(line) for line in lines]
        self._columns = list(dict.fromkeys([_FIRST, *(name for event in events for name in event)]))
        text = io.StringIO()
        table = csv.DictWriter(text, self._columns, lineterminator="\n")
        table.writeheader()
        table.writerows(events)
        write_whole(self.folder / TABLE, text.getvalue(), force=True)
