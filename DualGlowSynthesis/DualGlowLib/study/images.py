"""Figures of images: cases by diagnosis (Figs. 5, 9–11), ages (6, 13), methods (12) and λ (17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..cases.case import Case
from ..cases.layouts import is_simulated
from ..cases.ongrid import read_on_grid
from ..errors import InputError
from ..evaluation.report import IN_BRAIN
from ..pictures.drawing import png_bytes
from ..pictures.montage import montage
from ..pictures.samples import rows_picture
from ..preparation.t1 import PreparedT1
from ..volumes.grid import Grid
from ..volumes.reading import read_scan
from .curves import left_out_ages, main_method
from .measures import SHOWN
from .methods import title_of
from .numbers import cells_of, rows_of
from .plan import Run, some_of_each
from .results import Results
from .running import SHOWN_FOLD, example_file
from .table import Part, Table

__all__ = ["fig5", "fig6", "fig9", "fig12", "fig13", "fig17"]


@dataclass(frozen=True)
class _Shown:
    """A held-out case that is shown: its scans, and its diagnosis."""

    case: Case
    t1: np.ndarray
    pet: np.ndarray
    mask: np.ndarray

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.case.name, self.diagnosis)))

    @property
    def diagnosis(self) -> str:
        return self.case.covariates.get("diagnosis", "")


def fig5(results: Results) -> Part:
    """Fig. 5: a case of each diagnosis: T1, its PET, the synthetic one."""
    method = _shown_method(results)
    shown = _cases(results, 1)
    picture = _rows(results, shown, [method], method)
    return Part("Fig. 5: a case of each diagnosis", pictures={"": picture}, notes=_notes(results))


def fig9(results: Results) -> Part:
    """Figs. 9–11: several cases of each diagnosis, a picture for each."""
    method = _shown_method(results)
    by_diagnosis: dict[str, list[_Shown]] = {}
    for one in _cases(results, SHOWN):
        by_diagnosis.setdefault(one.diagnosis, []).append(one)
    pictures = {
        diagnosis or "unknown": _rows(results, own, [method], f"{method}, {diagnosis or 'no diagnosis'}")
        for diagnosis, own in by_diagnosis.items()
    }
    return Part("Figs. 9–11: cases by diagnosis", pictures=pictures, notes=_notes(results))


def fig12(results: Results) -> Part:
    """Fig. 12: all methods side by side."""
    methods = [name for name in results.methods if _has_examples(results, name)]
    if not methods:
        raise InputError(f"No method has fold {SHOWN_FOLD} done, of whose cases pictures are; run the study on.")
    picture = _rows(results, _cases(results, 1), methods, "methods side by side")
    return Part("Fig. 12: methods side by side", pictures={"": picture}, notes=_notes(results))


def fig6(results: Results) -> Part:
    """Fig. 6: a case of each diagnosis at other ages, the MRI the same."""
    method = _shown_method(results)
    grid, rows, names = results.study.grid(), [], []
    ages = _ages(results, method)
    for one in _cases(results, 1):
        rows.append([one.t1, *(_example(results, method, one.case, f"age-{age:g}", grid) for age in ages)])
        names.append(one.name)
    picture = png_bytes(rows_picture(rows, names, ["T1", *(f"{age:g} years" for age in ages)], grid, method))
    notes = [*_notes(results), *left_out_ages(results.study.settings.ages, ages)]
    return Part("Fig. 6: the same MRI at other ages", pictures={"": picture}, notes=notes)


def fig13(results: Results) -> Part:
    """Fig. 13: the same in three planes, and what changes since the youngest age; a picture for each diagnosis."""
    method = _shown_method(results)
    grid, ages, pictures = results.study.grid(), _ages(results, method), {}
    for one in _cases(results, 1):
        pets = [_example(results, method, one.case, f"age-{age:g}", grid) for age in ages]
        prepared = PreparedT1(grid, one.t1, one.mask)
        picture = montage(prepared, pets, [f"{age:g} y" for age in ages], changes=True)
        pictures[one.diagnosis or "unknown"] = png_bytes(picture)
    shown = ", ".join(one.name for one in _cases(results, 1))
    notes = [f"{method}: {shown}.", *_notes(results), *left_out_ages(results.study.settings.ages, ages)]
    return Part("Fig. 13: the same MRI at other ages, in three planes", pictures=pictures, notes=notes)


def fig17(results: Results) -> Part:
    """Fig. 17: what the weight λ of the MRI's likelihood does."""
    study = results.study
    weighted = {name: study.methods[name].weight for name in results.methods}
    methods = sorted((name for name, weight in weighted.items() if weight is not None), key=lambda name: weighted[name])
    if len(methods) < 2:
        raise InputError("Fig. 17 compares values of λ; run the study with --methods lambda-0.001,lambda-1 first.")
    shown = [name for name in methods if _has_examples(results, name)]
    pictures = {"": _rows(results, _cases(results, 1), shown, "weight of the MRI's likelihood")} if shown else {}
    columns = {key: IN_BRAIN[key] for key in ("psnr", "ssim", "mae")}
    rows = [(name, cells_of(rows_of(results)[name], columns, "cases")) for name in methods]
    table = Table("λ: mean ± sd over cases", ["λ", *(heading for heading, _ in columns.values())], rows)
    return Part("Fig. 17: the weight λ", [table], pictures, notes=_notes(results))


def _shown_method(results: Results) -> str:
    """The method that pictures of one method show.

    Raises:
        InputError: if there is none yet.
    """
    method = main_method(results)
    if not _has_examples(results, method):
        raise InputError(f"{method} has not done fold {SHOWN_FOLD}, of whose cases pictures are; run the study on.")
    return method


def _has_examples(results: Results, method: str) -> bool:
    return any(one.run.fold == SHOWN_FOLD for one in results.of(method))


def _cases(results: Results, number: int) -> list[_Shown]:
    """The first held-out cases of each diagnosis."""
    grid = results.study.grid()
    held_out = results.study.sides(SHOWN_FOLD)[1]
    return [_Shown(case, *read_on_grid(case, grid)) for case in some_of_each(held_out, number)]


def _ages(results: Results, method: str) -> list[float]:
    """Those that the method could be asked for of every case that is shown."""
    first = next(one for one in results.of(method) if one.run.fold == SHOWN_FOLD)
    run, ages = first.run, first.measures["ages"]
    shown = some_of_each(results.study.sides(SHOWN_FOLD)[1], 1)
    taken = [age for age in ages if all(example_file(run, case.name, f"age-{age:g}").is_file() for case in shown)]
    if not taken:
        raise InputError(
            f"{run.folder} has no PETs at other ages; show a method that takes the age, or if {method} does, delete "
            "that folder and run the study again."
        )
    return taken


def _example(results: Results, method: str, case: Case, name: str, grid: Grid) -> np.ndarray:
    run = Run(results.study.folder, method, SHOWN_FOLD)
    path = example_file(run, case.name, name)
    try:
        scan = read_scan(path)
    except InputError as error:
        raise InputError(
            f"A picture can't be made ({str(error).rstrip('.')}); delete {run.folder} and run the study again."
        ) from None
    if not grid.holds(scan.shape, scan.affine):
        raise InputError(f"{path} does not lie on the study's grid; delete {run.folder} and run the study again.")
    return scan.data


def _rows(results: Results, shown: Sequence[_Shown], methods: Sequence[str], caption: str) -> bytes:
    grid = results.study.grid()
    given = "simulated PET" if is_simulated(results.study.source) else "acquired PET"
    rows = [[one.t1, one.pet, *(_example(results, name, one.case, "", grid) for name in methods)] for one in shown]
    columns = ["T1", given, *map(title_of, methods)]
    return png_bytes(rows_picture(rows, [one.name for one in shown], columns, grid, caption))


def _notes(results: Results) -> list[str]:
    return [f"Cases that were held out, of fold {SHOWN_FOLD}; the patient's right is on the picture's left."]
