"""Checkpoints of a run: all that it needs to take the very steps that it would have taken.

Each is a file of tensors (``checkpoint-STEP.safetensors``) and a JSON file with everything else and the checksums of
both, which is written last. The one before the last is kept, in case that the last gets damaged.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ..bundle.bundle import MARK, has_mark, unsound_tensor
from ..errors import InputError
from ..files import write_whole
from ..sealed import CHECKSUMS, is_sealed, parse_json, write_sealed
from .distributed import laid_out

__all__ = ["OLD", "Checkpoints", "changes", "optimizer_parts", "read_old", "restore_optimizer"]

OLD = "checkpoint.pt"
"""What there was before: one file, pickled, without a checksum."""
_OLD_ENTRIES = ("step", "skipped", "usual", "lost", "joint", "since", "seconds", "config", "settings")
_FORMAT = 1


class Checkpoints:
    """Those in one folder, of which one process at a time may have the use.

    Args:
        folder: of the run.
        name: that their files' names begin with.

    Attributes:
        folder: of the run.
        last: step of the one that was written or read last.
    """

    def __init__(self, folder: Path, name: str = "checkpoint") -> None:
        self.folder, self.name = folder, name
        self.last: int | None = None

    def exist(self) -> bool:
        """Whether one was ever finished; tensors alone are what is left of a first one that was not."""
        return next(self.folder.glob(f"{self.name}-*.json"), None) is not None

    def foreign(self) -> Path | None:
        """A file that has the name of a checkpoint's tensors, though neither its mark nor a JSON file beside it."""
        steps = [self._paths(step) for step in self.steps()]
        return next(
            (data for about, data in steps if data.exists() and not about.exists() and not has_mark(data)), None
        )

    def steps(self) -> list[int]:
        """Of those that are there, whole or not, the highest first."""
        ours = re.compile(rf"{self.name}-(\d+)\.(json|safetensors)")
        names = (ours.fullmatch(path.name) for path in self.folder.glob(f"{self.name}-*"))
        return sorted({int(name[1]) for name in names if name}, reverse=True)

    def write(self, values: Mapping, tensors: Mapping[str, Tensor], kept: Set[int] = frozenset()) -> None:
        """Write one, and delete all others but the one that was written or read last.

        Args:
            values: what JSON can hold, with ``step``.
            tensors: by name.
            kept: steps of others that are to stay.

        Raises:
            InputError: if the folder can't be written or the disk is full; what was there is there still.
        """
        from safetensors.torch import save

        step = values["step"]
        about, data = self._paths(step)
        content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, MARK)
        write_whole(data, content, force=True)
        write_sealed(about, {"format": _FORMAT, **values}, {data.name: hashlib.sha256(content).hexdigest()})
        for other in set(self.steps()) - {step, self.last} - kept:
            for path in self._paths(other):
                with suppress(OSError):
                    path.unlink()
        self.last = step

    def read(self) -> tuple[dict, dict[str, Tensor], list[str]]:
        """The last one that is whole: values, tensors (on the CPU), and what is wrong with later ones.

        Raises:
            InputError: if none is whole.
        """
        problems = []
        for step in self.steps():
            try:
                found = self._read(step)
            except ValueError as error:
                problems.append(str(error))
            else:
                self.last = step
                return *found, problems
        raise InputError(
            f"{self.folder} can't be resumed: {'; '.join(problems) or 'it has no checkpoint'}; train anew in another "
            "folder."
        )

    def read_step(self, step: int) -> tuple[dict, dict[str, Tensor], str]:
        """Values and tensors of one step; empty, with what is wrong, if it isn't whole."""
        try:
            return *self._read(step), ""
        except ValueError as error:
            return {}, {}, str(error)

    def begun_with(self) -> dict:
        """Settings and model that the newest one that can be read states; empty if none does."""
        for step in self.steps():
            with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
                values = parse_json(self._paths(step)[0].read_bytes())
                if is_sealed(values, self._paths(step)[0].name):
                    return {key: values[key] for key in ("settings", "config")}
        return {}

    def _paths(self, step: int) -> tuple[Path, Path]:
        return self.folder / f"{self.name}-{step}.json", self.folder / f"{self.name}-{step}.safetensors"

    def _read(self, step: int) -> tuple[dict, dict[str, Tensor]]:
        """
        Raises:
            ValueError: if it is not whole.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        about, data = self._paths(step)
        try:
            values = parse_json(about.read_bytes())
            sealed = is_sealed(values, about.name)
            content = data.read_bytes()
            if not sealed or hashlib.sha256(content).hexdigest() != values[CHECKSUMS][data.name]:
                raise ValueError("the checksums differ")
            tensors = load(content)
        except FileNotFoundError as error:
            raise ValueError(f"{Path(error.filename).name} is missing") from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise ValueError(f"the checkpoint of step {step} is damaged ({error})") from None
        if values["format"] != _FORMAT:
            raise ValueError(f"the checkpoint of step {step} has format {values['format']}, not {_FORMAT}")
        if name := unsound_tensor(tensors):
            raise ValueError(f"in the checkpoint of step {step}, {name} is not finite")
        return values, tensors


# ---- an optimiser's state, in tensors and in what JSON can hold


def optimizer_parts(state: Mapping) -> tuple[dict, dict[str, Tensor]]:
    """``Optimizer.state_dict()`` as values and tensors."""
    tensors, values = {}, {}
    for index, entries in state["state"].items():
        values[str(index)] = {key: value for key, value in entries.items() if not isinstance(value, Tensor)}
        tensors |= {f"{index}.{key}": value for key, value in entries.items() if isinstance(value, Tensor)}
    return {"groups": state["param_groups"], "state": values}, tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, values: Mapping, tensors: Mapping[str, Tensor]) -> None:
    """Put back what ``optimizer_parts`` gave."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {int(index): dict(entries) for index, entries in values["state"].items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        like = parameters[int(index)]
        if key != "step" and tensor.shape == like.shape:
            tensor = laid_out(tensor, like)
        state[int(index)][key] = tensor
    fresh = optimizer.state_dict()["param_groups"]
    groups = [
        {**now, **{key: tuple(value) if isinstance(now.get(key), tuple) else value for key, value in saved.items()}}
        for now, saved in zip(fresh, values["groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


# ---- what there was before


def read_old(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Values and tensors of a ``checkpoint.pt``, as ``Checkpoints.read`` gives them.

    Its parts have checksums of their own, as those of any zip file, which torch does not look at.

    Raises:
        InputError: if it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {name} differs")
        state = torch.load(path, map_location="cpu", weights_only=True)
        optimizer, moments = optimizer_parts(state.pop("optimizer"))
        tensors = {f"optimizer.{name}": tensor for name, tensor in moments.items()}
        for part in ("model", "average"):
            tensors |= {f"{part}.{name}": tensor for name, tensor in state.pop(part).items()}
        if name := unsound_tensor(tensors):
            raise ValueError(f"{name} is not finite")
        if missing := set(_OLD_ENTRIES) - state.keys():
            raise ValueError(f"{min(missing)} is missing")
    except Exception as error:  # torch and zipfile raise many kinds
        words = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path} is damaged ({words}); train anew in another folder.") from None
    return {**state, "optimizer": optimizer}, tensors


def changes(before: Mapping[str, object] | None, now: Mapping[str, object]) -> str:
    """What differs of how a run computed and computes, in words; '' for nothing, and for a run that didn't say it."""
    differing = [name for name, value in now.items() if before and before.get(name, value) != value]
    return " and ".join(f"{name} {now[name]} in place of {before[name]}" for name in differing)
