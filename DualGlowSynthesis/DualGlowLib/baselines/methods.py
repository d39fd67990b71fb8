"""The baselines by name: for each what fits it, with its label, its settings and the covariates that it gets."""

from __future__ import annotations

from ..errors import InputError
from .closed import LinearMethod, MeanAgeMethod, MeanMethod
from .iglow import IGlowMethod
from .method import Method, MethodConfig
from .neural.adversarial import CGanMethod, Pix2PixMethod, UCGanMethod
from .neural.matching import FlowMatchingMethod
from .neural.networks import quickened
from .neural.regressors import UNetMethod
from .neural.variational import CVaeMethod

__all__ = ["METHODS", "make", "method_named"]

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
"""What ``train --method`` takes. A new one is a ``Method`` and its line here."""


def method_named(name: str) -> type[Method]:
    """One of ``METHODS``.

    Raises:
        InputError: there is none of this name.
    """
    if name not in METHODS:
        raise InputError(f"There is no method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]


def make(config: MethodConfig, pet_scale: float = 1.0, for_training: bool = False) -> Method:
    """The method that a configuration describes, before it is fitted; see ``Method``.

    Raises:
        InputError: if there is none of its name, it can't be so, or needs a package that is missing.
    """
    kind = method_named(config.method)
    kind.check(config)
    return quickened(kind(config, pet_scale, for_training))
