"""How good methods are on cases with an acquired (or simulated) PET: image metrics in the brain, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..cases.case import Case
from ..cases.ongrid import read_on_grid
from ..errors import InputError
from ..files import make_folder, write_json
from ..metrics.images import image_metrics
from ..outputs import EVALUATION, Output, check_outputs, generated_by
from ..preparation.t1 import PreparedT1
from ..simulate.cohort import truth_file
from ..synthesis.draws import Draws
from ..synthesis.predictor import Predictor, SamplingPredictor
from ..volumes.grid import Grid
from ..volumes.reading import read_scan

__all__ = ["evaluate", "none_left", "report_output", "write_report"]

_LISTED = 10  # cases that were left out, in the table that people read


def evaluate(
    predictors: Sequence[Predictor],
    cases: Sequence[Case],
    grid: Grid,
    data_range: float,
    samples: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Compare what methods predict with the PETs of cases that lie on a grid.

    Where the cases are simulated, their truth gives a further row, the conditional mean: no prediction from the MRI
    can be better on average. A case that can't be read, or that a method can't take (an age outside its range), is left
    out for all methods, with the reason.

    Args:
        predictors: the methods, a model or a baseline; each with a name of its own. They never see the PETs.
        cases: not used in their training.
        grid: that the cases lie on.
        data_range: of PSNR and SSIM, SUVR; one constant for all methods that are to be compared.
        samples: K > 1 also draws K samples from each method that can (``SamplingPredictor``), and measures their mean
            and their spread: how many voxels of the brain lie in the central 90 % of a normal law with the samples'
            mean and standard deviation.
        seed: of the samples.
        progress: called with the number done and the number to do.

    Returns:
        ``data_range_suvr``, ``summary`` (means over cases, by method; for samples with ``coverage_90``), ``cases``
        (each one's numbers) and ``left_out`` (``case`` and ``reason`` of each that was).

    Raises:
        InputError: if there are no cases or no methods, or two of one name; if every case is left out; and for a
            method that gives anything but finite numbers on the grid, or too few samples.
    """
    if not cases or not predictors:
        raise InputError(f"There are {len(predictors)} methods and {len(cases)} cases; give at least one of each.")
    rows, left_out = [], []
    for done, case in enumerate(cases):
        methods: dict[str, dict[str, float]] = {}
        try:
            t1, pet, mask = read_on_grid(case, grid)
            for name, image, sd in _images(predictors, PreparedT1(grid, t1, mask), case, samples, seed):
                if name in methods:
                    raise _MethodError(
                        f"Two rows of the report would be called {name!r}; give each method a name of its own."
                    )
                methods[name] = {**vars(image_metrics(image, pet, mask, data_range))}
                if sd is not None:
                    methods[name]["coverage_90"] = float((np.abs(pet - image) <= 1.645 * sd)[mask].mean())
        except _MethodError:
            raise
        except InputError as error:
            left_out.append({"case": case.name, "reason": str(error)})
        else:
            rows.append({"case": case.name, "methods": methods})
        if progress:
            progress(done + 1, len(cases))
    if not rows:
        raise none_left(left_out)
    common = [name for name in rows[0]["methods"] if all(name in row["methods"] for row in rows)]
    summary = {
        name: {key: float(np.mean([row["methods"][name][key] for row in rows])) for key in rows[0]["methods"][name]}
        for name in common  # of a merged cohort only some may be simulated
    }
    return {"data_range_suvr": data_range, "summary": summary, "cases": rows, "left_out": left_out}


class _MethodError(InputError):
    """A fault of a method, not of the case."""


def none_left(left_out: Sequence[Mapping[str, str]]) -> InputError:
    """What is said if every case is left out."""
    count = (
        f"None of the {len(left_out)} cases can be evaluated" if len(left_out) > 1 else "The case can't be evaluated"
    )
    return InputError(f"{count}; {left_out[0]['case']}: {left_out[0]['reason']}")


def _images(
    predictors: Sequence[Predictor], prepared: PreparedT1, case: Case, samples: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """What to compare with the PET of a case: name, SUVR on the grid, and the standard deviation of samples."""

    def checked(predictor: Predictor, image: np.ndarray) -> np.ndarray:
        image, shape = np.asarray(image), tuple(prepared.grid.shape)
        if image.shape != shape:
            raise _MethodError(f"{predictor.name} gives a PET of the shape {image.shape} for {case.name}, not {shape}.")
        if not np.isfinite(image).all():
            raise _MethodError(f"{predictor.name} gives values that are not finite (NaN or infinity) for {case.name}.")
        return image

    for predictor in predictors:
        image = predictor.predict(prepared, case.attributes)
        yield predictor.name, checked(predictor, image), None
        if samples > 1 and isinstance(predictor, SamplingPredictor):
            draws = Draws()
            for image in islice(predictor.sample(prepared, case.attributes, samples, seed), samples):
                draws.add(torch.tensor(checked(predictor, image), dtype=torch.float32))
            if draws.images.count < samples:
                raise _MethodError(f"{predictor.name} draws {draws.images.count} PETs for {case.name}, not {samples}.")
            found = draws.result()
            yield f"{predictor.name}, mean of {samples}", found.mean, found.sd
    truth = truth_file(case, "mean")
    if truth is not None:
        yield "conditional mean (truth)", read_scan(truth).data, None


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
    make_folder(path.parent)
    write_json(path, {"GeneratedBy": generated_by(EVALUATION), **result}, force)
    lines = ["| in the brain mask | PSNR dB | SSIM | MAE SUVR | correlation |", "|---|---|---|---|---|"]
    for name, row in result["summary"].items():
        lines.append(
            f"| {name} | {row['psnr']:.2f} | {row['ssim']:.4f} | {row['mae']:.4f} | {row['correlation']:.4f} |"
        )
    lines.append(f"\n{len(result['cases'])} cases, data range {result['data_range_suvr']:g} SUVR.")
    left_out = result["left_out"]
    lines += [f"Left out: {one['case']}: {one['reason']}" for one in left_out[:_LISTED]]
    if len(left_out) > _LISTED:
        lines.append(f"Left out too: {len(left_out) - _LISTED} more, listed in {path}.")
    for name, row in result["summary"].items():
        if "coverage_90" in row:
            lines.append(
                f"{name}: {100 * row['coverage_90']:.1f} % of the voxels lie inside the samples' central 90 %."
            )
    return "\n".join(lines)
