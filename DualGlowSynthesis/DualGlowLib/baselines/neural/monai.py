"""The networks of MONAI, where it is installed: baselines are built of them, DUAL-GLOW itself is not."""

from __future__ import annotations

from types import ModuleType

from ...errors import InputError

__all__ = ["need_monai"]


def need_monai(method: str) -> ModuleType:
    """The package ``monai.networks``, with ``nets`` and ``blocks``.

    Raises:
        InputError: if MONAI is not installed; it names the method that needs it.
    """
    try:
        import einops  # noqa: F401  # of MONAI's attention, which says so itself only when it is used
        import monai.networks.blocks
        import monai.networks.nets
    except ImportError:
        raise InputError(
            f"The method {method} needs the Python package MONAI; install it with: pip install monai einops"
        ) from None
    return monai.networks
