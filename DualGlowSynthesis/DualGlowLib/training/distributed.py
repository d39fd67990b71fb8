"""Several processes that train one model, started by ``torchrun``: what each does, and what they tell each other.

All take the same steps, each with its share of the cases. The model is copied to each process (DDP), or its weights
are divided among them (FSDP2), see ``Ranks.spread``; either way the gradients are those of the whole batch. The first
process alone writes files and speaks. What can be wrong is told to all of them (``Ranks.together``), so that they end
together and one says why.

``torchrun`` starts all of them again when one has died, if it may (``--max-restarts``). What it started before is
remembered where it keeps its own memory: that the folder's run is its own, to go on with; that a process had nothing
to try again, since a user must mend something or asked it to stop.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..devices import choose_device
from ..errors import InputError
from ..model import DualGlow, Objective
from ..startup import is_rank
from .status import Interrupted, Lost

__all__ = ["Ranks", "joined", "laid_out", "local_part", "one_number"]

_WAITING = timedelta(days=7)  # the first process prepares the cases meanwhile, or waits for the user
_GREETING = timedelta(minutes=5)
_BEGUN, _ENDED, _SPOKEN, _FAILURE = "DualGlow run", "DualGlow exit code", "DualGlow spoken", "DualGlow failure"
_LOST = (
    "Another process of the run has ended; torchrun starts all of them again from the last checkpoint if it was given "
    "--max-restarts, else go on with --resume."
)

T = TypeVar("T")


class Ranks:
    """The processes of a run, as one of them sees them; by default there is only this one.

    All of them must call each method that exchanges something, in the same order.

    Args:
        rank: number of this process; the first, 0, writes files and speaks.
        count: of the processes.
        job: what ``torchrun`` remembers as long as it runs; None without it.
        attempt: the same, of this start of the processes alone.

    Attributes:
        is_restarted: whether ``torchrun`` started the run in the folder before.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, job: dist.Store | None = None, attempt: dist.Store | None = None
    ) -> None:
        self.rank, self.count, self._job, self._attempt = rank, count, job, attempt
        self.is_restarted = job is not None and job.check([_BEGUN])
        self._parent = os.getppid()

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device that a user's word stands for; each process of a computer has a GPU of its own.

        Raises:
            InputError: as ``choose_device``, and for one that several processes can't share.
        """
        if self.count > 1 and name in ("auto", "cuda"):
            here = int(os.environ["LOCAL_RANK"])
            name = f"cuda:{here}" if name == "cuda" or torch.cuda.is_available() else "cpu"
        elif self.count > 1 and name != "cpu":
            raise InputError(f"{self.count} processes can't share the device {name!r}; give --device cuda or cpu.")
        device = choose_device(name)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device

    # ---- what they tell each other

    def share(self, batch: int) -> slice:
        """The rows of a batch of so many cases that are this process's."""
        return slice(self.rank * batch // self.count, (self.rank + 1) * batch // self.count)

    def any(self, flag: bool) -> bool:
        """Whether one of them says yes."""
        if self.count == 1:
            return flag
        said = torch.tensor([int(flag)])
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said.item())

    def total(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The sum over all of them of numbers that have the same names everywhere."""
        if self.count == 1 or not values:
            return {name: value.item() for name, value in values.items()}
        # On the CPU, where a process can wait for others without keeping a GPU busy.
        stacked = torch.stack(list(values.values())).detach().cpu().double()
        dist.all_reduce(stacked)
        return dict(zip(values, stacked.tolist(), strict=True))

    def together(self, work: Callable[[], T]) -> T:
        """Do something of which nobody knows whether it succeeds everywhere.

        Raises:
            InputError, Interrupted: in all of them, if in one.
        """
        if self.count == 1:
            return work()
        error = result = None
        try:
            result = work()
        except (InputError, Interrupted) as caught:
            error = caught
        if self.any(error is not None):
            errors: list[Exception | None] = [None] * self.count
            dist.all_gather_object(errors, error)
            raise next(one for one in errors if one is not None) from error
        return result

    def first(self, work: Callable[[], T]) -> T:
        """Let the first process do something, and give what it made to all of them.

        Raises:
            InputError, Interrupted: in all of them, if it does.
        """
        if self.count == 1:
            return work()
        given = [self.together(work if self.is_first else lambda: None)]
        dist.broadcast_object_list(given, src=0)
        return given[0]

    @contextmanager
    def holding(self, hold: Callable[[], AbstractContextManager[T]]) -> Iterator[T | None]:
        """Let the first process hold what ``hold`` makes while the body runs in all of them; the others get None.

        Raises:
            InputError: in all of them, if it can't be had.
        """
        with ExitStack() as stack:
            yield self.together(lambda: stack.enter_context(hold()) if self.is_first else None)

    def tensors(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Those of the first process, on the CPU, in all of them; what the others give counts for nothing."""
        if self.count == 1:
            return tensors
        kinds = self.first(lambda: [(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()])
        found = {}
        for name, shape, dtype in kinds:
            # Contiguous: a broadcast is of the numbers as they lie in memory, whatever each side takes them for.
            tensor = tensors[name].contiguous() if self.is_first else torch.empty(shape, dtype=dtype)
            dist.broadcast(tensor, src=0)
            found[name] = tensor
        return found

    def whole(self, tensors: Mapping[str, Tensor], everywhere: bool = False) -> dict[str, Tensor]:
        """Tensors of which each process may have a part, in one piece; in the others nothing unless ``everywhere``."""
        found = {}
        for name, tensor in tensors.items():
            tensor = _full(tensor.detach())
            if self.is_first or everywhere:
                found[name] = tensor.cpu()
        return found

    # ---- the model

    def spread(self, model: DualGlow, sharded: bool, by_flow: bool = False) -> Callable[..., Objective]:
        """What to call in the model's place, so that the gradients are averaged over the processes.

        A copy of the model in each process (DDP), whose gradients are averaged while they are computed. Not all
        parameters are used in all steps (``image_only``), which DDP has to look for at each: told that all are, it
        averages nothing in the first backward pass after a change, and says nothing.

        Or ``sharded`` (FSDP2): each process keeps a part of each weight, its gradient and all that the optimiser knows
        of it. The weights of a flow's step are gathered while it is computed; those of a whole flow with ``by_flow``,
        for the backward pass of the memory mode ``invertible``, which doesn't go through the modules. The model's
        parameters are others afterwards. What reads them sees this process's part (``local_part``, ``one_number``), and
        what writes them from data, as ``initialize`` does, is lost: it has to be done before.
        """
        if self.count == 1:
            return model
        inner = _AsTensors(model)
        if sharded:
            self._shard(inner, by_flow)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                inner = nn.parallel.DistributedDataParallel(
                    inner, find_unused_parameters=True, broadcast_buffers=False, gradient_as_bucket_view=True
                )
        return lambda *arguments: Objective(**inner(*arguments))

    def _shard(self, inner: _AsTensors, by_flow: bool) -> None:
        try:
            from torch.distributed.fsdp import fully_shard
        except ImportError:
            raise InputError(f"sharding 'full' needs torch 2.6 or newer, not {torch.__version__}.") from None
        model = inner.model
        device = next(model.parameters()).device.type
        mesh = dist.init_device_mesh(device, (self.count,))
        flows = [model.mri_flow, model.pet_flow]
        units = flows if by_flow else [step for flow in flows for steps in flow.levels for step in steps]
        for unit in [*units, inner]:
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)

    # ---- how they end

    def is_orphaned(self) -> bool:
        """Whether ``torchrun`` has gone without ending its processes, which would train on for nobody."""
        return self._job is not None and os.getppid() != self._parent

    def remember(self) -> None:
        """From now on the run in the folder is this torchrun's, which goes on with it if it starts again."""
        if self._job is not None:
            self._job.set(_BEGUN, "1")

    def finish(self, code: int) -> None:
        """Let ``torchrun`` not try again: whatever it starts ends at once with this exit code."""
        if self._job is not None:
            with suppress(RuntimeError):  # it has gone
                self._job.set(_ENDED, str(code))

    def speaks(self) -> bool:
        """Whether this process is to say how the run ended: the one that asks first."""
        if self._attempt is None:
            return True
        try:
            return self._attempt.add(_SPOKEN, 1) == 1
        except RuntimeError:  # the one that remembers has gone
            return self.is_first

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Let the others know what is wrong here.

        Raises:
            Lost: in place of what torch raises when another process has gone, with what that one told.
        """
        try:
            yield
        except InputError as error:
            if self._attempt is not None:
                with suppress(RuntimeError):
                    self._attempt.set(_FAILURE, str(error))
            raise
        except RuntimeError as error:
            if self.count == 1 or not _is_loss(error):
                raise
            words = _LOST
            with suppress(RuntimeError):
                if self._attempt.check([_FAILURE]):
                    words = self._attempt.get(_FAILURE).decode()
            raise Lost(words) from error


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that ``torchrun`` started together with this one, if it did.

    An ``InputError`` leaves the block in one of them alone; the others exit with its code, as do all that torchrun
    starts again afterwards.
    """
    if not is_rank():
        yield Ranks()
        return
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    job = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        timeout=_GREETING,
        multi_tenant=True,
    )
    if job.check([_ENDED]):
        raise SystemExit(int(job.get(_ENDED)))
    # What was there before the start is of processes that are dead; not every torch keeps the two apart itself.
    attempt = dist.PrefixStore(f"DualGlow {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} of {count}", job)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=count, timeout=_WAITING)
    ranks = Ranks(rank, count, job, attempt)
    # Small gradients that lie otherwise in memory than their weights are copied, and nobody writes into latents.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    try:
        with ranks.telling():
            yield ranks
    except Exception as error:
        code = 2 if isinstance(error, InputError) else 1
        if code == 2:
            ranks.finish(code)
        if not ranks.speaks():
            raise SystemExit(code) from None
        raise
    dist.destroy_process_group()


class _AsTensors(nn.Module):
    """The model whose result is a dict: FSDP looks for tensors in what is common, not in classes of ours."""

    def __init__(self, model: DualGlow) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: object) -> dict:
        return vars(self.model(*arguments))


def _is_loss(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(name in str(error) for name in ("gloo", "Gloo", "NCCL"))


# ---- tensors of which each process has a part: torch's DTensor, which takes a while to load and isn't in every torch


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def one_number(tensor: Tensor) -> float:
    """The number that a tensor of one element holds, the same in all processes."""
    return _full(tensor).item()


def local_part(tensor: Tensor) -> Tensor:
    """What of a tensor this process has, to be computed with element by element; changes of it are the tensor's."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor divided among the processes, and in memory, as ``like`` of the same shape is."""
    if not hasattr(like, "to_local"):
        # Sums are rounded as they would have been.
        return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
