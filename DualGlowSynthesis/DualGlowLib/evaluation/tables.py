"""How good a model is on cases with a real (or simulated) PET: image metrics in the brain, beside a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..files import write_json
from ..metrics.images import image_metrics
from ..outputs import EVALUATION, Output, check_outputs, generated_by
from ..simulate.cohort import truth_file
from ..synthesis.question import Question
from ..synthesis.synthesizer import Synthesizer
from ..volumes.reading import read_scan

__all__ = ["evaluate", "report_output", "write_report"]


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
        asked = Question(synthesizer.known(case.attributes))
        methods = {"model, T=0": synthesizer.distribution(encoding, asked).mean}
        row: dict = {"case": case.name}
        if samples > 1:
            drawn = synthesizer.distribution(encoding, replace(asked, temperature=1.0, samples=samples, seed=seed))
            methods[f"model, mean of {samples}"] = drawn.mean
            row["coverage_90"] = float((np.abs(pet - drawn.mean) <= 1.645 * drawn.sd)[mask].mean())
        if mean_pet is not None:
            methods["mean PET"] = mean_pet
        truth = truth_file(case.t1, f"{case.name}_mean.nii.gz")
        if truth is not None:
            methods["conditional mean (truth)"] = read_scan(truth).data
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


def report_output(path: Path | str) -> Output:
    """The file that ``write_report`` writes, for ``outputs.check_outputs``."""
    return Output(Path(path), EVALUATION, makes_folder=True)


def write_report(result: dict, path: Path, force: bool = False) -> str:
    """Write ``result`` as JSON to ``path``; returns the summary as a Markdown table.

    Args:
        result: of ``evaluate``.
        path: where to; folders that don't exist are made.
        force: also replace a file that DualGlow did not write.

    Raises:
        InputError: if the file can't be written, or may not be replaced (``outputs.check_outputs``).
    """
    check_outputs([report_output(path)], force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"GeneratedBy": generated_by(EVALUATION), **result}, force)
    lines = ["| in the brain mask | PSNR dB | SSIM | MAE SUVR | correlation |", "|---|---|---|---|---|"]
    for name, row in result["summary"].items():
        lines.append(
            f"| {name} | {row['psnr']:.2f} | {row['ssim']:.4f} | {row['mae']:.4f} | {row['correlation']:.4f} |"
        )
    lines.append(f"\n{len(result['cases'])} cases, data range {result['data_range_suvr']:g} SUVR.")
    if "coverage_90" in result:
        lines.append(f"Voxels inside the central 90 % of the samples: {100 * result['coverage_90']:.1f} %.")
    return "\n".join(lines)
