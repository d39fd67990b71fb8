"""Pictures of synthesized PET for reports and documentation (matplotlib, an extra)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from .errors import InputError
from .files import write_whole
from .outputs import NAME
from .scans import Scan, resample

__all__ = ["sweep_figure"]

_PLANES = ("sagittal", "coronal", "axial")


def _canonical(scan: Scan, reference: Scan, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """``scan`` on upright axes (to the right, front, up) that hold ``reference``; the array and its lower corner."""
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in reference.shape])).reshape(3, -1)
    places = reference.affine[:3, :3] @ corners + reference.affine[:3, 3:]
    low, high = places.min(1), places.max(1)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = low
    shape = tuple(int(n) for n in np.floor((high - low) / spacing) + 1)
    return resample(scan.data, scan.affine, shape, affine), low


def _slice(volume: np.ndarray, plane: int, index: int) -> np.ndarray:
    """One plane as rows from the top down; the patient's left on the right of the picture (radiological)."""
    cut = np.take(volume, index, axis=plane)
    if plane != 0:
        cut = cut[::-1]  # first axis runs to the patient's right
    return cut.T[::-1]


def sweep_figure(
    t1: Scan,
    pets: Sequence[Scan],
    labels: Sequence[str],
    path: Path | str,
    limit: float = 2.0,
    title: str = "",
    force: bool = False,
) -> None:
    """Three planes through the brain's middle: the T1, then for each PET the image and its overlay on the T1.

    Args:
        t1: the patient's T1.
        pets: SUVR, any lattice in the patient's space.
        labels: one for each PET.
        path: of the PNG.
        limit: SUVR at the top of the colour bar.
        title: above the picture.
        force: also replace a file that DualGlow did not write.

    Raises:
        InputError: if matplotlib is not installed, or the file can't be written or may not be replaced.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("Pictures need matplotlib; install it, e.g. pip install dualglow[figures].") from None

    spacing = max(1.0, float(t1.spacing.min()))
    head, _ = _canonical(t1, t1, spacing)
    images = [_canonical(pet, t1, spacing)[0] for pet in pets]
    brain = np.argwhere(images[0] > 0.1)
    if not len(brain):
        raise InputError("The PET to draw is empty.")
    low, high = brain.min(0), brain.max(0) + 1
    margin = int(12 / spacing)
    box = tuple(slice(max(0, a - margin), b + margin) for a, b in zip(low, high, strict=True))
    centre = [int((a + b) / 2) - s.start for a, b, s in zip(low, high, box, strict=True)]
    centre[0] += int(8 / spacing)  # beside the midline: the sagittal plane then shows cortex, not the falx
    head, images = head[box], [image[box] for image in images]
    grey = np.clip(head / np.percentile(head[images[0] > 0.1], 99), 0, 1)

    columns = 1 + 2 * len(pets)
    figure = Figure(figsize=(2.3 * columns + 0.9, 7.6), facecolor="black", layout="constrained")
    axes = figure.subplots(3, columns, gridspec_kw={"height_ratios": [grey.shape[2], grey.shape[2], grey.shape[1]]})
    colours = colormaps["inferno"]
    for plane in range(3):
        back = _slice(grey, plane, centre[plane])
        axes[plane, 0].imshow(back, cmap="gray", vmin=0, vmax=1)
        axes[plane, 0].set_ylabel(_PLANES[plane], color="white")
        for number, image in enumerate(images):
            cut = _slice(image, plane, centre[plane])
            shown = axes[plane, 1 + 2 * number].imshow(cut, cmap=colours, vmin=0, vmax=limit)
            over = axes[plane, 2 + 2 * number]
            over.imshow(back, cmap="gray", vmin=0, vmax=1)
            opacity = 0.65 * np.clip((cut - 0.1) / 0.3, 0, 1)
            over.imshow(cut, cmap=colours, vmin=0, vmax=limit, alpha=opacity)
    for plane in (1, 2):
        for x, side in ((0.03, "R"), (0.93, "L")):
            axes[plane, 0].text(x, 0.92, side, color="yellow", transform=axes[plane, 0].transAxes, fontsize=9)
    axes[0, 0].set_title("T1", color="white")
    for number, label in enumerate(labels):
        axes[0, 1 + 2 * number].set_title(f"PET, {label}", color="white")
        axes[0, 2 + 2 * number].set_title("overlay", color="white")
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_facecolor("black")
    bar = figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.01)
    bar.set_label("SUVR (reference: pons)", color="white")
    bar.ax.tick_params(colors="white")
    figure.suptitle(title or "Synthetic FDG-PET: research use only, not for diagnosis", color="white")
    content = BytesIO()
    figure.savefig(content, dpi=110, format="png", metadata={"Software": f"{NAME}, matplotlib"})
    write_whole(path, content.getvalue(), force)
