"""The small 3-D U-Net behind ``brain_mask``. Needs torch, so it is imported only when a mask is wanted."""

from __future__ import annotations

from itertools import pairwise, product

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..flow.convolve import Conv, convolve

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
        skips.pop()
        for block in reversed(self.up):
            skip = skips.pop()
            # The first convolution is of both together, of which the deeper is to be doubled along each axis.
            first, *others = block
            deep, shallow = first.weight.split([x.shape[1], skip.shape[1]], dim=1)
            x = _doubled(x, deep).add_(convolve(skip, shallow, first.bias))
            for layer in others:
                x = layer(x)
        return self.head(x)

    def fuse(self) -> BrainNet:
        """Make batch normalisations, which change no more, a part of the convolutions before them; returns itself."""
        for block in (*self.down, *self.up):
            for place, (layer, norm) in enumerate(pairwise(list(block))):
                if isinstance(norm, nn.BatchNorm3d):
                    layer.weight, layer.bias = fuse_conv_bn_weights(
                        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
                    )
                    block[place + 1] = nn.Identity()
        return self


def _doubled(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The 3×3×3 convolution of an image whose voxels are first doubled along each axis.

    Of three neighbours at the doubled size two are always the same voxel, so that 2×2×2 sums of the weights do for
    each of the eight places in a voxel; and no doubled image has to be made.
    """
    pairs = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # place in the voxel, neighbour, weight
    kernels = torch.einsum("pax,qby,rcz,oixyz->pqroiabc", pairs, pairs, pairs, weight).flatten(0, 3)
    sums = convolve(x, kernels).unflatten(1, (8, len(weight)))
    found = x.new_empty(len(x), len(weight), *(2 * n for n in x.shape[2:]))
    found = found.contiguous(memory_format=torch.channels_last_3d)
    for number, places in enumerate(product((0, 1), repeat=3)):
        to, of = ((Ellipsis, *sides) for sides in _sides(places, x.shape[2:]))
        found[to] = sums[:, number][of]
    return found


def _sides(places: tuple[int, ...], shape: torch.Size) -> tuple[list[slice], list[slice]]:
    """Where the values of such places lie in the doubled image, and in the sums."""
    return [slice(p, None, 2) for p in places], [slice(p, p + n) for p, n in zip(places, shape, strict=True)]
