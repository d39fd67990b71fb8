"""How good a model is on cases with a real (or simulated) PET: image metrics in the brain, beside a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cases import Case, read_on_grid
from .errors import InputError
from .files import write_json
from .scans import read_scan
from .synthesis import Synthesizer

__all__ = ["ImageMetrics", "evaluate", "image_metrics", "write_report"]


@dataclass(frozen=True)
class ImageMetrics:
    """Of a PET against the truth, inside a mask, in SUVR.

    Attributes:
        psnr: dB, with a fixed data range.
        ssim: 3-D, Gaussian window of 1.5 voxels, K = 0.01 and 0.03, averaged over the mask.
        mae: mean absolute error, SUVR.
        correlation: Pearson, over voxels.
    """

    psnr: float
    ssim: float
    mae: float
    correlation: float


def image_metrics(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, data_range: float) -> ImageMetrics:
    """Metrics of one volume; all three arrays have one shape.

    ``data_range`` (SUVR) is a constant of the model, not of the image: PSNR and SSIM would not compare otherwise.

    Raises:
        InputError: if scikit-image is not installed.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise InputError("Evaluation needs scikit-image; install it, e.g. pip install dualglow[evaluation].") from None

    image, truth = image.astype(np.float64), truth.astype(np.float64)
    difference = (image - truth)[mask]
    mse = float(np.mean(difference**2))
    _, ssim = structural_similarity(
        image, truth, data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    return ImageMetrics(
        psnr=math.inf if mse == 0 else 10 * math.log10(data_range**2 / mse),
        ssim=float(ssim[mask].mean()),
        mae=float(np.abs(difference).mean()),
        correlation=float(np.corrcoef(image[mask], truth[mask])[0, 1]),
    )


def evaluate(
    synthesizer: Synthesizer,
    cases: Sequence[Case],
    samples: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Compare the model with the PETs of cases that lie on its grid.

    The baseline is to copy the training cohort's mean PET for everybody. Where the cases are simulated, their
    ``truth/`` gives a third row, the conditional mean: no prediction from the MRI can be better on average.

    Args:
        synthesizer: the model.
        cases: not used in training.
        samples: K > 1 also measures the spread of K samples at temperature 1: how many voxels of the brain lie in
            the central 90 % of a normal law with the samples' mean and standard deviation.
        seed: of the samples.
        progress: called with the number done and the number to do.

    Returns:
        ``summary`` (means over cases, by method) and ``cases`` (each one's numbers).

    Raises:
        InputError: for a case that does not lie on the model's grid.
    """
    bundle = synthesizer.bundle
    base = getattr(bundle.model.link, "base_mean", None)
    mean_pet = None if base is None else (base[0, 0].cpu().numpy() + 0.5) * bundle.pet_scale
    rows = []
    for done, case in enumerate(cases):
        t1, pet, mask = read_on_grid(case, bundle.grid)
        encoding = synthesizer.encode_prepared(t1)
        methods = {"model, T=0": synthesizer.sample_grid(encoding, case.attributes)[0]}
        row: dict = {"case": case.name}
        if samples > 1:
            mean, sd = synthesizer.sample_grid(encoding, case.attributes, 1.0, samples, seed)
            methods[f"model, mean of {samples}"] = mean
            row["coverage_90"] = float((np.abs(pet - mean) <= 1.645 * sd)[mask].mean())
        if mean_pet is not None:
            methods["mean PET"] = mean_pet
        truth = sorted(case.t1.parents[2].glob(f"truth/{case.name}_mean.nii*"))
        if truth:
            methods["conditional mean (truth)"] = read_scan(truth[0]).data
        row["methods"] = {
            name: vars(image_metrics(image, pet, mask, bundle.pet_scale)) for name, image in methods.items()
        }
        rows.append(row)
        if progress:
            progress(done + 1, len(cases))
    common = [name for name in rows[0]["methods"] if all(name in row["methods"] for row in rows)]
    summary = {
        name: {key: float(np.mean([row["methods"][name][key] for row in rows])) for key in rows[0]["methods"][name]}
        for name in common  # of a merged cohort only some may be simulated
    }
    result = {"bundle": bundle.name, "bundle_sha256": bundle.digest, "data_range_suvr": bundle.pet_scale}
    if samples > 1:
        result["coverage_90"] = float(np.mean([row["coverage_90"] for row in rows]))
    return {**result, "summary": summary, "cases": rows}


def write_report(result: dict, path: Path) -> str:
    """Write ``result`` as JSON to ``path``; returns the summary as a Markdown table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    lines = ["| in the brain mask | PSNR dB | SSIM | MAE SUVR | correlation |", "|---|---|---|---|---|"]
    for name, row in result["summary"].items():
        lines.append(
            f"| {name} | {row['psnr']:.2f} | {row['ssim']:.4f} | {row['mae']:.4f} | {row['correlation']:.4f} |"
        )
    lines.append(f"\n{len(result['cases'])} cases, data range {result['data_range_suvr']:g} SUVR.")
    if "coverage_90" in result:
        lines.append(f"Voxels inside the central 90 % of the samples: {100 * result['coverage_90']:.1f} %.")
    return "\n".join(lines)
