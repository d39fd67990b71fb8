"""Tables of numbers: methods on images (Table 1), persons (Table 3), and what methods cost (the leaderboard)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from ..cohorts.demographics import demographics
from ..evaluation.report import IN_BRAIN, LAW, LAW_OF_REGIONS, WHOLE
from .methods import title_of
from .results import TRUTH, Results
from .table import Cell, Part, Table

__all__ = ["BEST", "cells_of", "leaderboard", "rows_of", "table1", "table3"]

BEST = "best possible (the law's mean)"
_SAMPLED = {key: LAW[key] for key in ("crps", "coverage_90", "width_90") if key in LAW}
_KINDS = {
    "in the brain mask": IN_BRAIN,
    "whole volume, mostly air": WHOLE,
    "law of each voxel of the brain": LAW,
    "law of region means": LAW_OF_REGIONS,
}
_RACED = ("psnr", "ssim", "mae", "correlation")


def rows_of(results: Results) -> dict[str, Mapping]:
    """Rows of a table of methods: ``summarise``'s numbers by name; last, of simulated cases, the best possible."""
    rows, best = {}, {}
    for method in results.methods:
        for name, numbers in results.summary(method).items():
            if name != TRUTH:
                rows[name.replace(method, title_of(method), 1)] = numbers
            elif not best or len(numbers["psnr"]["by_fold"]) > len(best["psnr"]["by_fold"]):
                best = numbers
    return rows | ({BEST: best} if best else {})


def table1(results: Results) -> Part:
    """Table 1: every method by every image metric, over cases and over folds."""
    rows, tables = rows_of(results), []
    for title, columns in _KINDS.items():
        columns = {key: value for key, value in columns.items() if any(key in row for row in rows.values())}
        for over in ("cases", "folds") if columns else ():
            named = {name: row for name, row in rows.items() if any(key in row for key in columns)}
            made = [(name, cells_of(row, columns, over)) for name, row in named.items()]
            heads = ["method", *(heading for heading, _ in columns.values())]
            tables.append(Table(f"{title}: mean ± sd over {over}", heads, made))
    tables += _ranks(results)
    counts = [f"{title_of(name)} {len(results.of(name))}" for name in results.methods]
    notes = [
        *_columns(rows, results.study.settings.samples),
        f"Folds that count, of {results.study.settings.folds}: {', '.join(counts)}.",
        f"The data range of PSNR and SSIM is {results.study.data_range:g} SUVR for all methods.",
        "The mean PET is that of the training cases, whatever the T1 shows.",
    ]
    for one in results.found:
        if left := one.evaluation["left_out"]:
            count = f"{len(left)} {'case' if len(left) == 1 else 'cases'}"
            notes.append(f"{one.run.name}: {count} left out, the first {left[0]['case']}: {left[0]['reason']}")
    return Part("Table 1: methods on images", tables, notes=notes)


def _columns(rows: Mapping[str, Mapping], samples: int) -> list[str]:
    """What the rows and columns of Table 1 are, of those that it has."""
    keys = {key for row in rows.values() for key in row}
    notes = [
        "Larger is better: PSNR, SSIM, Pearson's r. Smaller is better: MAE and RMSE, mean absolute and root mean "
        "squared error; NMSE, the squared error over the PET's square; NLL, minus log2 of the density in SUVR, of "
        "methods that have one; CRPS and energy score, the distance between the PET and the law of the samples.",
    ]
    if keys & LAW.keys():
        notes += [
            f"A method's own row is its prediction (temperature 0); mean of {samples}: the mean of so many samples "
            "(temperature 1).",
            "Inside 90 %: share of voxels or regions whose value in the PET lies in the central 90 % interval of the "
            "samples, 0.9 if the law is right; width 90 %: of that interval, SUVR.",
        ]
    if BEST in rows:
        notes.append(
            "Best possible: the mean of the law that each simulated PET was drawn from, which no method knows."
        )
    return notes


def _ranks(results: Results) -> list[Table]:
    """How often the PET's region means lie in each fifth of the samples' ranks."""
    rows = []
    for method in results.methods:
        found = [one.evaluation["rank_fifths"] for one in results.of(method)]
        for name in dict.fromkeys(name for own in found for name in own):
            shares = [own[name]["all"] for own in found if name in own]
            cells = [
                Cell(statistics.fmean(own), statistics.stdev(own) if len(own) > 1 else None, len(own))
                for own in zip(*shares, strict=True)
            ]
            rows.append((name.replace(method, title_of(method), 1), cells))
    heads = ["method", "lowest fifth", "second", "third", "fourth", "highest fifth"]
    title = "rank of region means among samples, 0.2 each if the law is right: mean ± sd over folds"
    return [Table(title, heads, rows)] if rows else []


def cells_of(row: Mapping, columns: Mapping[str, tuple[str, str]], over: str) -> list[Cell]:
    """A row's cells, mean ± sd over ``"cases"`` or ``"folds"``; columns as ``evaluation.report`` has them."""
    return [
        Cell(row[key][over]["mean"], row[key][over]["sd"], row[key][over]["n"], form) if key in row else Cell(None)
        for key, (_, form) in columns.items()
    ]


def table3(results: Results) -> Part:
    """Table 3: who the cases are, by diagnosis."""
    rows = []
    for group in demographics(case.covariates for case in results.cases):
        ages = group.ages
        sd = statistics.stdev(ages) if len(ages) > 1 else None
        age = Cell(statistics.fmean(ages), sd, len(ages), ".2f") if ages else Cell(None)
        counts = [Cell(number, form="d") for number in (group.cases, group.women, group.men)]
        rows.append((group.diagnosis or "no diagnosis", [counts[0], age, *counts[1:]]))
    columns = ["diagnosis", "cases", "age", "F", "M"]
    return Part("Table 3: persons", [Table("by diagnosis, age as mean ± sd", columns, rows)])


def leaderboard(results: Results) -> Part:
    """Quality and cost of every method in one table."""
    columns = {key: IN_BRAIN[key] for key in _RACED} | _SAMPLED
    summaries, rows = rows_of(results), []
    for method in results.methods:
        title = title_of(method)
        drawn = next((row for name, row in summaries.items() if name.startswith(f"{title}, mean of ")), {})
        cells = cells_of({**drawn, **summaries[title]}, columns, "cases")
        rows.append((title, [*cells, *_costs(results, method)]))
    if BEST in summaries:
        rows.append((BEST, [*cells_of(summaries[BEST], columns, "cases"), *[Cell(None)] * 3]))
    heads = ["method", *(heading for heading, _ in columns.values()), "training, h", "s a PET", "s a sample"]
    known = "Quality is that in the brain mask; CRPS, inside 90 % and width 90 % are of samples' voxels."
    note = "Hours are those of one fold's training, seconds those of one held-out case, each on one processor core."
    return Part("Leaderboard", [Table("mean ± sd over cases", heads, rows)], notes=[known, note])


def _costs(results: Results, method: str) -> list[Cell]:
    """Hours of training, and seconds of a prediction and of a sample: means over folds."""
    found = results.of(method)
    hours = [one.measures["seconds"]["training"] / 3600 for one in found if one.measures["seconds"].get("training")]
    times = [
        [value for one in found if (value := one.measures["seconds"][kind]) is not None]
        for kind in ("prediction", "sample")
    ]
    return [
        Cell(statistics.fmean(values), None, len(values), ".3f") if values else Cell(None) for values in (hours, *times)
    ]
