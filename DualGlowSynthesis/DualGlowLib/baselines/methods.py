"""The baselines by name: for each what fits it, with its label, its settings and the covariates that it gets."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ..errors import InputError
from .closed import LinearMethod, MeanAgeMethod, MeanMethod
from .iglow import IGlowMethod
from .method import Method, MethodConfig
from .neural.adversarial import CGanMethod, Pix2PixMethod, UCGanMethod
from .neural.matching import FlowMatchingMethod
from .neural.networks import quickened
from .neural.regressors import UNetMethod
from .neural.variational import CVaeMethod

__all__ = ["GROUP", "METHODS", "make", "method_named", "method_names"]

GROUP = "dualglow.methods"
"""Entry points of installed packages that bring methods of their own."""

METHODS: dict[str, type[Method]] = {
    "mean": MeanMethod,
    "mean-age": MeanAgeMethod,
    "linear": LinearMethod,
    "unet": UNetMethod,
    "flow-matching": FlowMatchingMethod,
    "cgan": CGanMethod,
    "ucgan": UCGanMethod,
    "pix2pix": Pix2PixMethod,
    "cvae": CVaeMethod,
    "iglow": IGlowMethod,
}
"""What ``train --method`` takes, beside methods of installed packages. A new one is a ``Method`` and its line here."""


def method_names() -> list[str]:
    """Of ``METHODS``, and of those that installed packages bring."""
    return [*METHODS, *(name for name in _brought() if name not in METHODS)]


def method_named(name: str) -> type[Method]:
    """One of ``METHODS``, or of an installed package.

    Raises:
        InputError: there is none of this name, or what a package brings is none.
    """
    if name in METHODS:
        return METHODS[name]
    if name not in _brought():
        raise InputError(f"There is no method {name!r}; there are {', '.join(method_names())}.")
    entry = _brought()[name]
    try:
        kind = entry.load()
    except Exception as error:  # whatever a module of somebody else does when it is imported
        raise InputError(f"The method {name!r} can't be loaded from {entry.value} ({error}); mend it.") from error
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise InputError(f"{entry.value} is no Method, which the method {name!r} must be; mend it.")
    return kind


@cache
def _brought() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def make(config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> Method:
    """The method that a configuration describes, before it is fitted; see ``Method``.

    Raises:
        InputError: if there is none of its name, it can't be so, or needs a package that is missing.
    """
    kind = method_named(config.method)
    kind.check(config)
    return quickened(kind(config, pet_scale, for_training))
