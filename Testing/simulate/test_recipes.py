"""Cohorts of a recipe: their folds and hashes, and what the command refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.splits import read_splits
from DualGlowLib.simulate.recipes import RECIPES, Recipe, hashes, recipe_named, simulate_recipe
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.writing import write_scan

TINY = Recipe("Tiny-1", 3, "small", 5, 3)


def test_a_recipe_makes_the_same_cohort_again(tmp_path: Path) -> None:
    about = simulate_recipe(tmp_path / "first", TINY)
    assert json.loads((tmp_path / "first" / "truth" / "recipe.json").read_text())["sha256"] == about["sha256"]
    assert about["sides"] == {"train": [0], "validation": [1], "test": [2]}
    cases = read_cases(tmp_path / "first")
    splits = read_splits(tmp_path / "first" / "truth" / "folds.json", cases)
    assert sorted(len(splits.fold(fold)[1]) for fold in range(3)) == [1, 1, 1]
    assert hashes(cases) == about["sha256"]
    assert simulate_recipe(tmp_path / "first", TINY) == about

    pet = read_scan(cases[0].pet)
    pet.data[10, 10, 10] += 1e-3
    write_scan(
        pet,
        cases[0].pet,
        "SIMULATED by DualGlow",
        json.loads(cases[0].pet.with_name(cases[0].pet.name.replace(".nii.gz", ".json")).read_text()),
    )
    changed = hashes(cases)
    assert changed["voxels"] != about["sha256"]["voxels"]
    assert changed["regions"] == about["sha256"]["regions"]


def test_published_recipes_stay(tmp_path: Path) -> None:
    """A recipe is not changed under its name."""
    assert {"DualGlow-Sim-1": Recipe("DualGlow-Sim-1", 250, "small", 20261128, 5)} == RECIPES
    assert recipe_named("DualGlow-Sim-1").sides == {"train": [0, 1, 2], "validation": [3], "test": [4]}
    with pytest.raises(InputError, match="no recipe 'DualGlow-Sim-0'; there are DualGlow-Sim-1"):
        recipe_named("DualGlow-Sim-0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs --cases, how many to make, or --recipe"),
        (["--recipe", "DualGlow-Sim-1", "--cases", "3"], "--recipe and --cases don't go together"),
        (["--recipe", "DualGlow-Sim-1", "--independent-anatomy"], "--independent-anatomy don't go together"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, options: list[str], message: str, capsys) -> None:
    assert main(["simulate", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
