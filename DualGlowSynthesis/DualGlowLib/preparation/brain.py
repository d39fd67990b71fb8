"""Where the brain is in a T1 of a head: a coarse network finds it, a fine one draws its edge.

The idea of learning a brain mask from heads deformed and recoloured far beyond what scanners do, so that it holds for
heads the network has never seen, is that of SynthStrip (Hoopes et al., NeuroImage 2022); networks, training and
weights are our own (Testing/benchmarks/brain_mask.py).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..files import hash_file
from ..resources import resource
from ..volumes.contradictions import apart, header_doubts
from ..volumes.lattices import corners, lattice_about
from ..volumes.morphology import dilated, extent, filled, largest_piece, millilitres
from ..volumes.resampling import resample
from ..volumes.scan import Scan
from .field_of_view import FieldOfView

if TYPE_CHECKING:
    from torch import nn

__all__ = ["COARSE", "FINE", "WINDOW", "brain_mask", "given_mask", "intensity_range", "scale_intensity"]

COARSE = 4.0
"""Millimetres: voxel size at which the head is searched."""
FINE = 2.0
"""Millimetres: voxel size at which the edge is drawn."""
WINDOW = 56
"""Coarse voxels along each side of what the coarse network sees at once: 224 mm."""
_LARGEST = 1000.0  # millimetres; no field of view of a head scan is larger
_HEAD_LENGTH = 280.0  # millimetres from crown to chin, and some neck: what is longer holds more than a head
_HEAD_OVER_BRAIN = 1.7  # volumes: below this, there is no skull
_FOREGROUND = 0.05  # of bright tissue: above it is head; interpolation leaves a fringe of less around a stripped brain
_MARGIN = 16.0  # millimetres of surroundings that the fine network sees
_PLAUSIBLE_ML = (300.0, 3000.0)  # of a mask that is given
_MOST_LABELS = 500  # different values; FreeSurfer's labels are some hundreds, an image has more
_ON_HEAD = 0.6  # share of a given mask that must lie on the scan, and of that on something brighter than air


def brain_mask(scan: Scan, progress: Callable[[float], None] | None = None) -> Scan:
    """The brain with its ventricles and sulci, without skull, scalp and neck.

    Args:
        scan: a T1 of a head, in any orientation, with or without skull.
        progress: called with 0..1.

    Returns:
        A scan of bool voxels on the same lattice, one connected piece without holes; all False if the
        networks see none. In an image of something else it may be anything: ``prepare`` judges by the registration.

    Raises:
        InputError: if the field of view is larger than any scan of a head.
    """
    tell = progress or (lambda fraction: None)
    probability, affine, low, high = _probability(scan, tell)
    if probability is None:
        return scan.like(np.zeros(scan.shape, dtype=bool))
    inside = _on(scan, probability, affine)
    tell(0.9)
    inside = _already_stripped(scan.data > low + _FOREGROUND * (high - low), inside)
    view = FieldOfView.of(scan, inside)
    if not view.is_cut and view.may_be_cut(scan, low, high):
        inside = _to_the_cut(scan, inside, view)
    tell(1.0)
    return scan.like(inside)


def _to_the_cut(scan: Scan, inside: np.ndarray, view: FieldOfView) -> np.ndarray:
    """The brain as the networks draw it if the image went on beyond its edge; as it was where it isn't cut there."""
    probability, affine, _, _ = _probability(view.continued(scan, FINE), lambda fraction: None)
    if probability is None:
        return inside
    longer = _on(scan, probability, affine) & view.within(scan)
    return longer if longer.any() and FieldOfView.of(scan, longer).is_cut else inside


def _on(scan: Scan, probability: np.ndarray, affine: np.ndarray) -> np.ndarray:
    inside, likely = np.zeros(scan.shape, bool), probability > 0.5
    if not likely.any():
        return inside
    spans = [(side.start - 1, side.stop) for side in extent(likely)]  # beyond, interpolation can't reach so much
    low, high = corners(spans, np.linalg.solve(scan.affine, affine))
    low, high = (np.clip(end, 0, scan.shape).astype(int) for end in (np.floor(low), np.ceil(high) + 1))
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = inside[box]
    part[:] = resample(probability, affine, part.shape, scan.part(box).affine, antialias=False) > 0.5
    return filled(largest_piece(inside))


def _probability(scan: Scan, tell: Callable[[float], None]) -> tuple[np.ndarray | None, np.ndarray, float, float]:
    """Probability of brain and its 4×4 (None and the search's where there is none), background and bright tissue."""
    import torch

    coarse_net, fine_net = _fused()
    shape, affine = _lattice(scan.affine, [(-0.5, n - 0.5) for n in scan.shape], COARSE)
    if max(shape) * COARSE > _LARGEST:
        raise InputError(
            f"{scan.source or 'The image'} is {max(shape) * COARSE:.0f} mm long, too much for a scan of a head; check "
            "the voxel size in its header."
        )
    background = float(scan.data.min())
    image = resample(scan.data, scan.affine, shape, affine, fill=background)
    tell(0.2)
    low, high = intensity_range(image)
    with torch.inference_mode():
        probability = _search(coarse_net, scale_intensity(image, low, high))
        found = largest_piece(probability > 0.5)
        if not found.any():
            return None, affine, low, high

        spans = [(side.start, side.stop - 1) for side in extent(found)]
        shape, fine_affine = _lattice(affine, spans, FINE, _MARGIN)
        image = resample(scan.data, scan.affine, shape, fine_affine, fill=background)
        tell(0.5)
        prior = resample(np.where(dilated(found, 2), probability, 0), affine, shape, fine_affine)
        probability = _run(fine_net, np.stack([scale_intensity(image, low, high), prior]))
    tell(0.8)
    return probability, fine_affine, low, high


def given_mask(scan: Scan, mask: np.ndarray | Scan) -> tuple[np.ndarray, list[str]]:
    """A brain mask that somebody made with another program, on the scan's lattice, after a look at it.

    A mask whose lattice has the scan's shape and voxels but lies elsewhere has either been made in another space or
    been given a wrong header. Where the networks' own mask speaks for the second, it is taken voxel by voxel.

    Args:
        scan: the T1.
        mask: bool or numbers (brain where above 0.5) on the scan's lattice, or a scan in the same space on any lattice,
            e.g. at 1 mm, as HD-BET, SynthStrip and FreeSurfer write them; it is brought over by nearest neighbour.

    Returns:
        Bool of the scan's shape, and what is in doubt about it, a clause each.

    Raises:
        InputError: if the mask is empty, lies elsewhere than the head, or has no brain's volume.
        ValueError: if an array doesn't have the scan's shape.
    """
    where, name, doubts = scan.source or "the image", "The brain mask", []
    if isinstance(mask, Scan):
        name = f"The brain mask {mask.source}".rstrip()
        brain, its_affine = mask.data > 0.5, mask.affine
        inside = resample(brain, its_affine, scan.shape, scan.affine, order=0) > 0.5
        doubts = header_doubts(mask, "the brain mask's file")
        values = np.unique(mask.data[brain][::7])
        if values.size > _MOST_LABELS and values[-1] > 1:
            doubts.append("the brain mask holds grey values, as an image does, and is taken wherever they exceed 0.5")
    else:
        mask = np.asarray(mask)
        if mask.shape != scan.shape:
            raise ValueError(f"The mask's shape {mask.shape} is not the scan's {scan.shape}.")
        inside, its_affine = mask > 0.5, scan.affine
        brain = inside
    if not brain.any():
        raise InputError(f"{name} is empty; give a mask of the brain in {where}, or none.")
    volume, kept = (millilitres(one, affine) for one, affine in ((brain, its_affine), (inside, scan.affine)))
    if not _PLAUSIBLE_ML[0] <= volume <= _PLAUSIBLE_ML[1]:
        raise InputError(f"{name} measures {volume:.0f} ml, which is no brain; give a mask of the brain, or none.")
    low, high = intensity_range(scan.data)
    bright = np.mean(scan.data[inside] > low + _FOREGROUND * (high - low)) if inside.any() else 0.0
    if kept < _ON_HEAD * volume or bright < _ON_HEAD:
        raise InputError(f"{name} doesn't lie on the head in {where}; give a mask made from this very scan, or none.")
    if isinstance(mask, Scan) and (far := _elsewhere(scan, mask)) is not None:
        inside, said = _better_place(scan, inside, brain, far)
        doubts += said
    return inside, doubts


def _elsewhere(scan: Scan, mask: Scan) -> tuple[float, float] | None:
    """Millimetres and degrees between two lattices of one shape and voxel size that aren't the same voxels."""
    if mask.shape != scan.shape or not np.allclose(mask.spacing, scan.spacing, rtol=0.01):
        return None
    millimetres, turned = apart(scan.affine, mask.affine, scan.shape)
    step = np.linalg.solve(scan.affine, mask.affine)
    turn, shift = step[:3, :3], step[:3, 3] + np.minimum(step[:3, :3], 0) @ (np.array(mask.shape) - 1)
    same = np.abs(turn - np.rint(turn)).max() < 1e-2 and np.abs(shift).max() < 0.5  # the same voxels in another order
    return None if same or millimetres < 1 else (millimetres, turned)


def _better_place(
    scan: Scan, by_header: np.ndarray, by_voxel: np.ndarray, far: tuple[float, float]
) -> tuple[np.ndarray, list[str]]:
    """The one of two places of a mask that overlaps more with what the networks see, and what to say of it."""
    own = brain_mask(scan).data
    overlaps = [2 * np.count_nonzero(own & one) / (own.sum() + one.sum() + 1e-6) for one in (by_header, by_voxel)]
    if overlaps[1] <= overlaps[0]:
        return by_header, []
    return by_voxel, [
        f"the brain mask has the T1's voxels but another header, {far[0]:.0f} mm and {far[1]:.0f}° away; it fits "
        f"the head better voxel by voxel (overlap {overlaps[1]:.2f}, by its header {overlaps[0]:.2f}) and is taken so"
    ]


def _already_stripped(foreground: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The foreground itself, if the skull has been removed before: then somebody has drawn the edge already.

    A head has more than twice the volume of its brain; what is left after skull stripping has hardly more.
    """
    if np.count_nonzero(foreground) > _HEAD_OVER_BRAIN * np.count_nonzero(brain):
        return brain
    closed = filled(largest_piece(foreground))
    if np.count_nonzero(closed) > _HEAD_OVER_BRAIN * np.count_nonzero(brain):
        return brain
    return closed if np.count_nonzero(closed & brain) > 0.9 * np.count_nonzero(brain) else brain


def _search(net: nn.Module, image: np.ndarray) -> np.ndarray:
    """Probability of brain in a whole field of view at the coarse voxel size.

    The network sees one window of a fixed size, first about the middle of whatever is bright, then about the brain
    that it found there, until it stays: so the brain lies where it lay in training, however long the neck. Where more
    than a head is bright, each stretch of the body is looked at so, and the surest brain is taken.
    """
    bright = np.argwhere(image > image.mean())
    starts, along = [bright.mean(axis=0)], int(np.argmax(np.ptp(bright, axis=0)))
    first, last = bright[:, along].min(), bright[:, along].max()
    if last - first > _HEAD_LENGTH / COARSE:
        for middle in np.arange(first + WINDOW / 2, last - WINDOW / 4, WINDOW / 4):
            near = bright[np.abs(bright[:, along] - middle) <= WINDOW / 2]
            if len(near):
                starts.append(near.mean(axis=0))
    best, surest = np.zeros(image.shape, np.float32), 0.0
    for start in starts:
        probability, found = _follow(net, image, start)
        sure = float(probability[found].mean()) if found.any() else 0.0
        if sure > surest:
            best, surest = probability, sure
    return best


def _follow(net: nn.Module, image: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability of brain as the window sees it that starts about ``centre``, and the piece that it settles on."""
    for _ in range(4):
        start = np.round(centre).astype(int) - WINDOW // 2
        inner = [slice(max(s, 0), min(s + WINDOW, n)) for s, n in zip(start, image.shape, strict=True)]
        outer = tuple(slice(i.start - s, i.stop - s) for i, s in zip(inner, start, strict=True))
        window = np.zeros((1, WINDOW, WINDOW, WINDOW), np.float32)
        window[(0, *outer)] = image[tuple(inner)]
        probability = np.zeros(image.shape, np.float32)
        probability[tuple(inner)] = _run(net, window)[outer]
        found = largest_piece(probability > 0.5)
        if not found.any():
            break
        previous, centre = centre, np.argwhere(found).mean(axis=0)
        if np.abs(centre - previous).max() < 1:
            break
    return probability, found


def intensity_range(image: np.ndarray) -> tuple[float, float]:
    """Background and bright tissue: the 1st percentile, and the 98th of what is brighter than the mean."""
    low = float(np.percentile(image, 1))
    high = float(np.percentile(image[image > image.mean()], 98))
    return low, max(high, low + 1e-6 * max(abs(low), 1.0))


def scale_intensity(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """What the networks see: 0 at ``low``, 1 at ``high``, cut at 0 and 1.5."""
    return np.clip((np.asarray(image, np.float32) - low) / (high - low), 0, 1.5)


@lru_cache(maxsize=1)
def _networks() -> tuple[nn.Module, nn.Module]:
    """The two shipped networks, read once.

    Raises:
        InputError: if they are damaged.
    """
    import json

    from safetensors import safe_open

    from .brainnet import BrainNet

    card, path = (resource("Models", "brainmask", name) for name in ("card.json", "weights.safetensors"))
    try:
        whole = json.loads(card.read_bytes())["sha256"][path.name] == hash_file(path)
    except (LookupError, TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{path} does not have the checksum that {card.name} states; install DualGlow again.")
    nets = {}
    with safe_open(str(path), "pt") as file:
        keys = list(file.keys())
        for name, config in json.loads(file.metadata()["networks"]).items():
            net = BrainNet(**config)
            prefix = f"{name}."
            state = {key[len(prefix) :]: file.get_tensor(key).float() for key in keys if key.startswith(prefix)}
            net.load_state_dict(state, strict=False)  # batch normalisation's step counter is not kept
            nets[name] = net.eval().requires_grad_(False)
    return nets["coarse"], nets["fine"]


@lru_cache(maxsize=1)
def _fused() -> list[nn.Module]:
    """The same, as they are run."""
    return [deepcopy(net).fuse() for net in _networks()]


def _run(net: nn.Module, channels: np.ndarray) -> np.ndarray:
    """Probabilities for (C, X, Y, Z), which is padded with zeros to sides that the network can halve."""
    import torch

    multiple = 2 ** (net.config["levels"] - 1)
    padding = [(0, 0)] + [(0, -n % multiple) for n in channels.shape[1:]]
    padded = torch.from_numpy(np.pad(channels, padding).astype(np.float32))[None]
    logit = net(padded.contiguous(memory_format=torch.channels_last_3d))[0, 0]
    return torch.sigmoid(logit)[tuple(slice(n) for n in channels.shape[1:])].numpy()


def _lattice(affine: np.ndarray, spans: list, size: float, margin: float = 0.0) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a lattice along RAS whose voxels fill a box, ``spans`` of ``affine``, and a margin."""
    low, high = corners(spans, affine)
    low, high = low - margin, high + margin
    shape = tuple(int(n) for n in np.maximum(np.round((high - low) / size), 1))
    return shape, lattice_about((low + high) / 2, shape, size)
