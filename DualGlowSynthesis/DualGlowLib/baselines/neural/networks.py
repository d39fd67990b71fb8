"""Networks that several baselines are built of, from MONAI's parts.

Normalised by groups, not by instances: those would take away what is the same everywhere, as covariates are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...flow import convolve
from ..method import MethodConfig
from .monai import need_monai

__all__ = ["GROUPS", "check_levels", "convolution", "halving", "quickened", "unet", "with_maps"]

GROUPS = 8


def with_maps(image: Tensor, codes: Tensor) -> Tensor:
    """Images with the covariates' numbers as further channels, each the same everywhere, ``(B, 1 + n, *shape)``."""
    spatial = image.shape[2:]
    return torch.cat([image, codes.reshape(*codes.shape, *[1] * len(spatial)).expand(*codes.shape, *spatial)], 1)


def check_levels(config: MethodConfig, widths: tuple[int, ...], groups: int = GROUPS) -> None:
    """Refuse widths that no U-Net can have, or that this grid can't be halved for.

    Raises:
        InputError: if so.
    """
    if len(widths) < 2 or any(width % groups or not 0 < width <= 4096 for width in widths):
        raise InputError(f"widths of {config.method} must be at least 2 multiples of {groups}, not {widths}.")
    if any(side % 2 ** (len(widths) - 1) for side in config.shape):
        raise InputError(f"The grid {config.shape} does not divide by {2 ** (len(widths) - 1)}; give fewer widths.")


def unet(
    method: str, dims: int, channels: int, widths: tuple[int, ...], dropout: float = 0.0, last: int = 1
) -> nn.Sequential:
    """MONAI's U-Net with residual units and a last convolution that begins at 0."""
    nets = need_monai(method).nets
    body = nets.UNet(
        dims, channels, widths[0], widths, [2] * (len(widths) - 1), num_res_units=2, dropout=dropout,
        norm=("GROUP", {"num_groups": GROUPS}),
    )  # fmt: skip
    return nn.Sequential(body, nn.SiLU(), convolution(dims, widths[0], last, 1))


def convolution(dims: int, before: int, after: int, kernel: int) -> nn.Module:
    """The last of a network, which begins with the mean image: it gives 0."""
    found = (nn.Conv3d if dims == 3 else nn.Conv2d)(before, after, kernel, padding=kernel // 2)
    nn.init.zeros_(found.weight)
    nn.init.zeros_(found.bias)
    return found


class _Convolution(nn.Conv3d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(x, weight, bias)


def quickened(net: nn.Module) -> nn.Module:
    """The same network, whose same-padded convolutions in three dimensions go by ``flow.convolve``: up to several times
    as fast on a CPU."""
    for module in net.modules():
        if type(module) is nn.Conv3d and module.groups == 1:
            padding = tuple(side // 2 for side in module.kernel_size)
            if (module.stride, module.dilation, module.padding) == ((1,) * 3, (1,) * 3, padding) and all(
                side % 2 for side in module.kernel_size
            ):
                module.__class__ = _Convolution
    return net


def halving(method: str, dims: int, widths: Sequence[int], strides: Sequence[int]) -> list[nn.Module]:
    """Residual blocks from each width to the next."""
    blocks = need_monai(method).blocks
    norm = ("GROUP", {"num_groups": GROUPS})
    return [
        blocks.ResidualUnit(dims, before, after, strides=stride, norm=norm)
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True)
    ]
