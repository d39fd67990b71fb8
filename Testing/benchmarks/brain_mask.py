"""Train the networks behind ``preparation.brain.brain_mask``, and measure the masks on real heads.

    python Testing/benchmarks/brain_mask.py train --data DATA --output weights.safetensors [--hold-out 9 14 21 ixi]
    python Testing/benchmarks/brain_mask.py evaluate --data DATA [--weights FILE] [HEAD ...]

``train`` learns both networks without the heads held out, prints their Dice, and then goes on with all of them: the
shipped weights are those of the second step (``--rounds 1`` stops after the first). ``evaluate`` prints the Dice of
the masks with weights of one's own or the shipped ones. What the whole preparation makes of them is for
``preparation.py``.

The data: T1s with region labels (DLMUSE, whose union is the brain with its ventricles and sulci), one head with its
extracted brain, and one label map of a whole head. Inputs are deformed and recoloured far beyond what scanners do,
after Hoopes et al., "SynthStrip: skull-stripping for any brain image", NeuroImage 2022.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "DualGlowSynthesis"))

from DualGlowLib.preparation import brain
from DualGlowLib.preparation.brainnet import BrainNet
from DualGlowLib.volumes.lattices import corners, lattice_about
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan

ELDERLY = ("3", "4", "6", "9", "10", "12", "14", "16", "18", "21", "23")
HEADS = (*ELDERLY, "ixi", "colin")
NETWORKS = {
    "coarse": {"inputs": 1, "width": 8, "levels": 4, "norm": "instance"},
    "fine": {"inputs": 2, "width": 8, "levels": 3, "norm": "batch"},
}
STEP = brain.FINE  # millimetres: the voxels of the training heads
PATCH = 40  # voxels: what the fine network sees in training


# ---------------------------------------------------------------------------------------------------------- the heads


@dataclass
class Head:
    """A labelled head at 2 mm along RAS; the image is None where only labels exist."""

    name: str
    image: torch.Tensor | None  # 1×1×X×Y×Z, 0..1.5
    mask: torch.Tensor  # the same shape, 0 or 1
    classes: torch.Tensor  # X×Y×Z, whole numbers: places that may be given one brightness
    air: int  # the class that is air
    box: list = field(default_factory=list)  # first and last voxel of the brain along each axis
    middle: np.ndarray | None = None
    surface: np.ndarray | None = None

    def __post_init__(self) -> None:
        inside = self.mask[0, 0].numpy() > 0
        self.box = [np.flatnonzero(inside.any(axis=rest))[[0, -1]] for rest in ((1, 2), (0, 2), (0, 1))]
        self.middle = np.argwhere(inside).mean(axis=0)
        self.surface = np.argwhere(inside & ~ndimage.binary_erosion(inside))


def paths(data: Path, name: str) -> tuple[Path, Path]:
    """T1 and labels of a head."""
    special = {
        "ixi": ("t1_real/ixi012_T1.nii.gz", "seg_real/ixi012_T1_DLMUSE.nii.gz"),
        "colin": ("t1_real/colin27_ch2.nii.gz", "brain_only/colin27_ch2bet.nii.gz"),
    }
    t1, labels = special.get(name, (f"elderly/Subj{name}_T1.nii.gz", f"elderly/Subj{name}_DLMUSE.nii.gz"))
    return data / t1, data / labels


def closed(mask: np.ndarray, radius: int) -> np.ndarray:
    """Closed by ``radius`` voxels, without holes."""
    ball = ndimage.generate_binary_structure(3, 1)
    padded = ndimage.binary_closing(np.pad(mask, radius + 1), ball, radius)
    return ndimage.binary_fill_holes(padded)[(slice(radius + 1, -radius - 1),) * 3]


def load_head(data: Path, name: str) -> Head:
    if name == "synthseg":
        scan = read_scan(data / "seg_real/synthseg_training_seg_01.nii.gz")
        labels = on_ras(scan, scan.data, order=0)
        mask = closed((labels > 0) & (labels < 200), 2)  # beyond 200 lies what is outside the brain
        classes = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        return Head(name, None, as_tensor(mask), torch.from_numpy(classes), 0)
    t1, labels = (read_scan(path) for path in paths(data, name))
    image = on_ras(t1, t1.data)
    image = brain.scale_intensity(image, *brain.intensity_range(image))
    inside = labels.data > (40 if name == "colin" else 0)
    mask = closed(on_ras(labels, inside) > 0.5, 3 if name == "colin" else 2)
    # Three brightnesses inside and six outside stand for tissues.
    tissue = np.quantile(image[mask], [0.2, 0.55])
    outside = image[~mask]
    bounds = [0.05, *np.quantile(outside[outside > 0.08], [0.25, 0.5, 0.7, 0.85])]
    outer = 3 + np.digitize(ndimage.gaussian_filter(image, 0.5), bounds)
    classes = np.where(mask, np.digitize(image, tissue), outer)
    return Head(name, as_tensor(image), as_tensor(mask), torch.from_numpy(classes), 3)


def on_ras(scan: Scan, data: np.ndarray, order: int = 1) -> np.ndarray:
    """A volume on the scan's lattice, at 2 mm along RAS."""
    low, high = corners([(-0.5, n - 0.5) for n in scan.shape], scan.affine)
    shape = np.round((high - low) / STEP).astype(int)
    affine = lattice_about((low + high) / 2, shape, STEP)
    return resample(data, scan.affine, tuple(shape), affine, order=order)


def as_tensor(volume: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]


# --------------------------------------------------------------------------------------------------------- the drawing


def draw(head: Head, rng: np.random.Generator, sides: int, size: float, at_surface: bool) -> tuple:
    """One deformed, recoloured piece of a head: image and soft mask, each 1×1×sides³ voxels of ``size`` millimetres."""
    image, mask = recolour(head, rng), head.mask
    if rng.random() < 0.12:  # the skull has been removed already, more or less closely
        radius = int(rng.integers(0, 3))
        image = image * (F.max_pool3d(mask, 2 * radius + 1, 1, radius) if radius else mask)
    if rng.random() < 0.35:
        image, mask = cut(head, image, mask, rng)
    blur = np.full(3, rng.uniform(0.24, 0.6) * size / STEP)
    if rng.random() < 0.2:
        blur[rng.integers(0, 3)] += rng.uniform(0.3, 1.2)  # thick slices
    volumes = torch.cat([gaussian(image, blur), gaussian(mask, np.full(3, 0.25 * size / STEP))], dim=1)
    grid = deformation(head, rng, sides, size, at_surface)
    place = (2 * grid + 1) / torch.tensor(image.shape[2:], dtype=torch.float32) - 1
    volumes = F.grid_sample(volumes, place.flip(-1)[None], align_corners=False)
    return disturb(volumes[:, :1], rng), volumes[:, 1:]


def recolour(head: Head, rng: np.random.Generator) -> torch.Tensor:
    """The image itself, or each class in a brightness of its own, or a mixture."""
    if head.image is not None and rng.random() >= 0.2:
        return head.image
    brightness = rng.uniform(0, 1.2, int(head.classes.max()) + 1).astype(np.float32)
    brightness[head.air] = abs(rng.normal(0, 0.03))
    made = torch.from_numpy(brightness)[head.classes][None, None]
    if head.image is None or rng.random() >= 0.7:
        return made
    share = rng.uniform(0.2, 0.7)
    return share * head.image + (1 - share) * made


def cut(head: Head, image: torch.Tensor, mask: torch.Tensor, rng: np.random.Generator) -> tuple:
    """A field of view that ends short of the head, on one or two sides, at times within the brain."""
    image, mask = image.clone(), mask.clone()
    for _ in range(int(rng.integers(1, 3))):
        axis = int(rng.integers(0, 3))
        first, last = head.box[axis]
        depth = rng.uniform(-0.4, 0.22) * (last - first)
        gone = [slice(None)] * 5
        if rng.random() < 0.5:
            gone[2 + axis] = slice(0, max(0, int(first + depth)))
        else:
            gone[2 + axis] = slice(max(0, int(last - depth)), None)
        image[tuple(gone)] = 0
        mask[tuple(gone)] = 0
    return image, mask


def deformation(head: Head, rng: np.random.Generator, sides: int, size: float, at_surface: bool) -> torch.Tensor:
    """Where each voxel of the piece comes from, in voxels of the head: sides³×3."""
    matrix = np.eye(3)
    if rng.random() < 0.15:  # axes swapped and flipped in any way
        matrix = matrix[rng.permutation(3)] * rng.choice([-1, 1], 3)
    elif rng.random() < 0.5:
        matrix = np.diag([-1.0, 1, 1])
    scale = np.exp(rng.normal(0, 0.08)) * np.exp(rng.normal(0, 0.04, 3))
    shear = np.eye(3) + np.triu(rng.normal(0, 0.04, (3, 3)), 1)
    matrix = matrix @ rotation(rng, 20 if rng.random() < 0.8 else 60) @ np.diag(scale) @ shear * (size / STEP)
    if at_surface:
        centre, shift = head.surface[rng.integers(len(head.surface))] + rng.normal(0, 4, 3), np.zeros(3)
    else:
        centre, shift = head.middle, rng.normal(0, 2.5 if rng.random() < 0.7 else 8, 3)
    grid = lattice(sides) - (sides - 1) / 2 + torch.from_numpy(shift).float()
    grid = grid @ torch.from_numpy(matrix.T).float() + torch.from_numpy(centre).float()
    if rng.random() < 0.7:
        grid = grid + wave(rng, int(rng.integers(4, 7)), sides, rng.uniform(0.3, 2.2), 3)[0].permute(1, 2, 3, 0)
    return grid


def disturb(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Another gamma, shading, gain and noise."""
    image = image.clamp_min(0) ** float(np.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.8:
        image = image * torch.exp(wave(rng, 3, image.shape[-1], rng.uniform(0, 0.35)))
    image = image * float(np.exp(rng.normal(0, 0.2)))
    level = rng.uniform(0, 0.06)
    first, second = (torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)) * level for _ in range(2))
    noisy = torch.sqrt((image + first) ** 2 + second**2)  # magnitude of a complex signal
    if rng.random() < 0.3:
        noisy = noisy * (image > 0.01)
    return noisy.clamp(0, 1.5)


def coarse_guess(mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """What the coarse network might have said: the mask displaced, blurred, too large or small, with a blunder."""
    sides = mask.shape[-1]
    grid = lattice(sides) + wave(rng, int(rng.integers(3, 6)), sides, rng.uniform(0.5, 2.5), 3)[0].permute(1, 2, 3, 0)
    place = (2 * grid + 1) / sides - 1
    guess = F.grid_sample(mask, place.flip(-1)[None], align_corners=False, padding_mode="border")
    guess = gaussian(F.pad(guess, [6] * 6, mode="replicate"), np.full(3, rng.uniform(1.2, 3.0)))[..., 6:-6, 6:-6, 6:-6]
    guess = torch.sigmoid(rng.uniform(6, 14) * (guess - rng.uniform(0.25, 0.75)))
    if rng.random() < 0.3:
        centre, radius = torch.from_numpy(rng.uniform(0, sides, 3)).float(), rng.uniform(3, 7)
        ball = torch.sigmoid((radius - (lattice(sides) - centre).norm(dim=-1)) * 2)[None, None]
        guess = guess * (1 - ball) if rng.random() < 0.5 else torch.maximum(guess, ball)
    return guess


def lattice(sides: int) -> torch.Tensor:
    axis = torch.arange(sides, dtype=torch.float32)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def wave(rng: np.random.Generator, knots: int, sides: int, sigma: float, channels: int = 1) -> torch.Tensor:
    """Smooth random field, 1×channels×sides³."""
    values = torch.from_numpy(rng.normal(0, sigma, (1, channels, knots, knots, knots)).astype(np.float32))
    return F.interpolate(values, size=(sides,) * 3, mode="trilinear", align_corners=True)


def rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def gaussian(volume: torch.Tensor, sigma: np.ndarray) -> torch.Tensor:
    """Blurred along each axis, in voxels."""
    for axis, width in enumerate(sigma):
        if width < 0.2:
            continue
        radius = max(1, int(np.ceil(2.5 * width)))
        taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / float(width)) ** 2)
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = -1, radius
        volume = F.conv3d(volume, (taps / taps.sum()).view(shape), padding=padding)
    return volume


# -------------------------------------------------------------------------------------------------------- the training


def train(net: BrainNet, heads: list[Head], steps: int, rate: float, seed: int, fine: bool) -> None:
    """AdamW with a cosine schedule; Dice and cross-entropy against the soft mask."""
    rng = np.random.default_rng(seed)
    odds = np.array([0.6 if head.name in ("synthseg", "colin") else 1.0 for head in heads])
    odds /= odds.sum()
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-3, betas=(0.9, 0.98))
    net.train()
    begun, losses = time.perf_counter(), []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 30) * (0.5 * (1 + np.cos(np.pi * step / steps)) + 0.005)
        inputs, targets = [], []
        for _ in range(2 if fine else 1):
            head = heads[rng.choice(len(heads), p=odds)]
            size, sides = (brain.FINE, PATCH) if fine else (brain.COARSE, brain.WINDOW)
            image, mask = draw(head, rng, sides, size, at_surface=fine)
            inputs.append(torch.cat([image, coarse_guess(mask, rng)], dim=1) if fine else image)
            targets.append(mask)
        loss = loss_of(net(torch.cat(inputs).contiguous(memory_format=torch.channels_last_3d)), torch.cat(targets))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            print(f"  step {step + 1} loss {np.mean(losses[-50:]):.4f} {time.perf_counter() - begun:.0f} s", flush=True)


def loss_of(logit: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    probability, axes = torch.sigmoid(logit), (1, 2, 3, 4)
    overlap = 2 * (probability * mask).sum(axes) + 50
    dice = overlap / (probability.sum(axes) + mask.sum(axes) + 50)
    return 1 - dice.mean() + 2 * F.binary_cross_entropy_with_logits(logit, mask)


def save(nets: dict[str, BrainNet], path: Path) -> None:
    """Half precision for the kernels, single for the rest; the networks' shapes go into the file's metadata.

    If the file is to ship, its SHA-256 goes into ``Resources/Models/brainmask/card.json``.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, net in nets.items():
        for key, value in net.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                tensors[f"{name}.{key}"] = (value.half() if value.ndim > 1 else value.float()).contiguous()
    save_file(tensors, str(path), metadata={"networks": json.dumps({name: net.config for name, net in nets.items()})})


def train_command(arguments: argparse.Namespace) -> None:
    torch.manual_seed(0)
    names = [*HEADS, "synthseg"]
    rounds = [[name for name in names if name not in arguments.hold_out], names][: arguments.rounds]
    nets = {name: BrainNet(**config).to(memory_format=torch.channels_last_3d) for name, config in NETWORKS.items()}
    for number, members in enumerate(rounds):
        heads = [load_head(arguments.data, name) for name in members]
        for name, net in nets.items():
            steps = arguments.steps[2 * number + (name == "fine")]
            print(f"{name}: {steps} steps on {', '.join(members)}", flush=True)
            rate = (4e-3 if number == 0 else 1.5e-3) if name == "coarse" else (3e-3 if number == 0 else 2e-3)
            train(net, heads, steps, rate, seed=number, fine=name == "fine")
        save(nets, arguments.output)
        use_weights(arguments.output)
        print("held out:" if number == 0 else "the same heads, now among those learned from:")
        evaluate(arguments.data, arguments.hold_out)


# ------------------------------------------------------------------------------------------------------ the measurement


def use_weights(path: Path) -> None:
    """Let ``brain_mask`` take its networks from a file of one's own."""
    brain._networks.cache_clear()
    brain.resource = lambda *parts: path


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float(np.count_nonzero(a & b)) / max(float(np.count_nonzero(a) + np.count_nonzero(b)), 1.0)


def evaluate(data: Path, names: list[str]) -> None:
    scores = []
    for name in names:
        t1, labels = (read_scan(path) for path in paths(data, name))
        mask, true = brain.brain_mask(t1).data, labels.data > 0
        scores.append(dice(mask, true))
        print(f"  {name:>6} dice {scores[-1]:.4f} volume {mask.sum() / true.sum():.3f} of the labels'", flush=True)
    if scores:
        print(f"    mean {np.mean(scores):.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training, evaluating = (commands.add_parser(name) for name in ("train", "evaluate"))
    for command in (training, evaluating):
        command.add_argument("--data", type=Path, required=True, help="folder with elderly/, t1_real/, seg_real/ …")
        command.add_argument("--threads", type=int, default=2)
    training.add_argument("--output", type=Path, required=True)
    training.add_argument("--hold-out", nargs="*", default=["9", "14", "21", "ixi"], choices=HEADS)
    training.add_argument("--rounds", type=int, default=2, choices=(1, 2))
    training.add_argument("--steps", type=int, nargs=4, default=[1300, 300, 150, 160], metavar="N",
                          help="coarse and fine without the heads held out, then coarse and fine with all")  # fmt: skip
    evaluating.add_argument("--weights", type=Path)
    evaluating.add_argument("heads", nargs="*", default=list(HEADS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.command == "train":
        train_command(arguments)
    else:
        if arguments.weights:
            use_weights(arguments.weights)
        evaluate(arguments.data, arguments.heads)


if __name__ == "__main__":
    main()
