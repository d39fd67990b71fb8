"""The small 3-D U-Net behind ``brain_mask``. Needs torch, so it is imported only when a mask is wanted."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ..flow import Conv

__all__ = ["BrainNet"]


class _Block(nn.Sequential):
    """Two 3×3×3 convolutions, each with normalisation and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: type[nn.Module]) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                Conv(channels, outputs, 3, 3, bias=False),
                norm(outputs, affine=True),
                nn.LeakyReLU(0.1, inplace=True),
            ]
        super().__init__(*layers)


class BrainNet(nn.Module):
    """U-Net from ``inputs`` channels to the logit of "this voxel is brain".

    Every side of the volume must divide by 2^(levels − 1); the channels double from level to level. With ``norm``
    "instance" the volume must have the size that the network was trained with, since the statistics change with the
    amount of background; with "batch" any size will do.
    Shapes: (N, inputs, X, Y, Z) → (N, 1, X, Y, Z).
    """

    def __init__(self, inputs: int = 1, width: int = 8, levels: int = 4, norm: str = "instance") -> None:
        super().__init__()
        self.config = {"inputs": inputs, "width": width, "levels": levels, "norm": norm}
        kind = {"instance": nn.InstanceNorm3d, "batch": nn.BatchNorm3d}[norm]
        channels = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(_Block(i, o, kind) for i, o in zip([inputs, *channels], channels, strict=False))
        self.up = nn.ModuleList(_Block(deep + shallow, shallow, kind) for shallow, deep in pairwise(channels))
        self.head = Conv(width, 1, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool3d(x, 2))
            skips.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, skips[level]], dim=1))
        return self.head(x)
