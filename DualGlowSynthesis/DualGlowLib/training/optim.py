"""Optimisers, the learning rate's course and the average of the weights; the authors' variant of Adamax."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from ..flow import Transform
from .distributed import local_part
from .settings import TrainingSettings

__all__ = ["Adam", "AdamW", "Adamax", "AuthorsAdamax", "Average", "build_optimizer", "learning_rate"]

_AT_ONCE = 1 << 18  # elements


def build_optimizer(model: nn.Module, settings: TrainingSettings, per_epoch: int) -> torch.optim.Optimizer:
    """The optimiser that the settings name, for all parameters of a model that are trained.

    Args:
        model: what is trained.
        settings: of the run.
        per_epoch: steps in one pass through the cases, by which the authors' program sets the decay of the norm.
    """
    rate = settings.learning_rate
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.optimizer == "authors":
        return AuthorsAdamax(trained, lr=rate, betas=(0.9, 1 - 1 / per_epoch))
    if settings.optimizer == "adamax":
        return Adamax(trained, lr=rate)
    if settings.optimizer == "adamw":
        return AdamW(_groups(model, trained, settings.weight_decay), lr=rate, betas=(0.9, 0.99))
    return Adam(trained, lr=rate, betas=(0.9, 0.99))


def _groups(model: nn.Module, trained: Iterable[nn.Parameter], decay: float) -> list[dict]:
    """The weights of convolutions and linear maps inside networks, which decay; and the rest.

    What an invertible layer is made of (ActNorm's scale, the matrix of a mixing) does not decay: it would pull the
    Jacobian to nothing, not to something simple.
    """
    networks = (module for module in model.modules() if not isinstance(module, Transform))
    weights = {
        id(parameter)
        for module in networks
        for name, parameter in module.named_parameters(recurse=False)
        if name == "weight" and parameter.dim() > 1
    }
    sides = ([], [])
    for parameter in trained:
        sides[id(parameter) not in weights].append(parameter)
    groups = zip(sides, (decay, 0.0), strict=True)
    return [{"params": side, "weight_decay": share} for side, share in groups if side]


def learning_rate(settings: TrainingSettings, step: int, since: int = 0) -> float:
    """That of a step, counted from 0; ``since`` is the step at which it began to rise from 0."""
    rate = settings.learning_rate * min(1.0, (step - since + 1) / max(1, settings.warmup))
    if settings.schedule == "constant":
        return rate
    done = max(0, step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Average:
    """Exponential moving average of a model's parameters; starts fast, so that early steps are forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = ([local_part(weight) for weight in one.parameters()] for one in (self.model, model))
        if mine:
            torch._foreach_lerp_(mine, theirs, 1 - decay)


class _Uncompiled:
    """An optimiser without what torch wraps its methods in for its compiler, which would be loaded at their first call.

    That takes longer than loading torch itself, in each process that trains, and nothing here is compiled.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class Adam(_Uncompiled, torch.optim.Adam):
    """torch's, which makes the same steps."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(_Uncompiled, torch.optim.AdamW):
    """torch's, which makes the same steps."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class Adamax(_Uncompiled, torch.optim.Adamax):
    """torch's, which makes the same steps."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adamax.step))


class AuthorsAdamax(_Uncompiled, torch.optim.Optimizer):
    """Adamax with Adam's bias correction, as the authors' program has it.

    ``m ← β₁m + (1−β₁)g``, ``u ← max(β₂u, |g|)``, ``w ← w − a·m/(u + ε)`` with
    ``a = lr·√(1−β₂ᵗ)/(1−β₁ᵗ)`` where Kingma & Ba's Adamax has ``lr/(1−β₁ᵗ)``: a warm-up in disguise (a third of the
    step at t = 100, four fifths at t = 800).

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: decay of the first moment and of the infinity norm; the authors use
            1 − 1/(iterations per epoch) for the second, 1 − 1/726 at batch 1.
        eps: added to the norm.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 1 - 1 / 726),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_inf"] = torch.zeros_like(parameter)
                state["step"] += 1
                t = state["step"]
                rate = group["lr"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
                for w, g, m, u in _pieces(parameter, parameter.grad, state["exp_avg"], state["exp_inf"]):
                    m.mul_(beta1).add_(g, alpha=1 - beta1)
                    torch.maximum(u.mul_(beta2), g.abs(), out=u)
                    w.addcdiv_(m, u + group["eps"], value=-rate)
        return loss


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Tensors of one shape in pieces that stay in a processor's cache: one pass over memory instead of seven."""
    tensors = tuple(local_part(tensor) for tensor in tensors)
    if tensors[0].device.type != "cpu" or not all(tensor.is_contiguous() for tensor in tensors):
        return iter([tensors])
    return zip(*(tensor.view(-1).split(_AT_ONCE) for tensor in tensors), strict=True)
