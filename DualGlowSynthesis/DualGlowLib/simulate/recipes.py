"""Cohorts that never change under their name, so that methods of different people can be compared on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..cases.case import Case
from ..cases.layouts import read_cases
from ..cases.splits import make_splits, write_splits
from ..errors import InputError
from ..files import write_json
from ..outputs import RECIPE, generated_by
from ..volumes.reading import read_scan
from .cohort import simulate_cohort, truth_file
from .versions import USUAL

__all__ = ["RECIPES", "Recipe", "hashes", "recipe_named", "simulate_recipe"]

_DIGITS = 2  # of region means in the hash that doesn't depend on the computer


@dataclass(frozen=True)
class Recipe:
    """All that fixes a cohort but the version of the simulator.

    Attributes:
        name: of the cohort, with its version.
        cases: how many.
        grid: name of the grid.
        seed: of the cohort and its folds.
        folds: that its subjects are divided into. The last is the test side, the one before the validation side.
        law: name of the law, see ``versions.LAWS``.
    """

    name: str
    cases: int
    grid: str
    seed: int
    folds: int = 5
    law: str = USUAL.name

    @property
    def sides(self) -> dict[str, list[int]]:
        """Folds to train on, to validate on and to test on."""
        numbers = list(range(self.folds))
        return {"train": numbers[:-2], "validation": numbers[-2:-1], "test": numbers[-1:]}


RECIPES = {recipe.name: recipe for recipe in (Recipe("DualGlow-Sim-1", 250, "small", 20261128, law="regions-1"),)}
"""By name. One that has been published is not changed: another gets the next number."""


def recipe_named(name: str) -> Recipe:
    """One of ``RECIPES``.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}; there are {', '.join(RECIPES)}.")
    return RECIPES[name]


def simulate_recipe(
    out: Path | str, recipe: Recipe, jobs: int = 1, progress: Callable[[str, float], None] | None = None
) -> dict:
    """Make the cohort of a recipe; ``truth/`` then has ``folds.json`` and ``recipe.json`` too.

    Args:
        out: the folder, see ``simulate_cohort``.
        recipe: what to make.
        jobs, progress: see ``simulate_cohort``.

    Returns:
        The recipe's fields, its ``sides``, and the ``sha256`` of what came out, see ``hashes``.

    Raises:
        InputError: as ``simulate_cohort``.
    """
    out = simulate_cohort(out, recipe.cases, recipe.grid, recipe.seed, jobs=jobs, progress=progress, law=recipe.law)
    cases = read_cases(out)
    if len(cases) != recipe.cases:
        raise InputError(f"{out} has {len(cases)} cases, {recipe.name} {recipe.cases}; give another folder.")
    write_splits(make_splits(cases, recipe.folds, recipe.seed), out / "truth" / "folds.json")
    about = {**asdict(recipe), "sides": recipe.sides, "sha256": hashes(cases)}
    write_json(out / "truth" / "recipe.json", {"GeneratedBy": generated_by(RECIPE), **about})
    return about


def hashes(cases: Sequence[Case]) -> dict[str, str]:
    """What says that two computers made the same simulated cases.

    Returns:
        SHA-256 of ``voxels``: T1s, masks and PETs to the last bit, which other processors or versions of torch may
        round otherwise; and of ``regions``: persons and region means to two digits, which they may not change.
    """
    voxels, regions = hashlib.sha256(), hashlib.sha256()
    for case in sorted(cases, key=lambda case: case.name):
        for path in (case.t1, case.mask, case.pet):
            voxels.update(read_scan(path).data.astype("<f4").tobytes())
        law = json.loads(truth_file(case, "law").read_text(encoding="utf-8"))
        means = [[row["region"], round(row["mean"], _DIGITS), round(row["drawn"], _DIGITS)] for row in law["regions"]]
        regions.update(json.dumps([case.name, sorted(case.covariates.items()), means]).encode())
    return {"voxels": voxels.hexdigest(), "regions": regions.hexdigest()}
