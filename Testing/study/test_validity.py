"""Whose PET it is: on region means and errors that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.metrics.images import smoothness
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.study.measures import measure
from DualGlowLib.study.methods import method_named
from DualGlowLib.study.plan import Run, Settings, Study
from DualGlowLib.study.results import Found, Results
from DualGlowLib.study.validity import validity

FOLDS, A_FOLD, REGIONS = 2, 12, 3


def results(folder: Path, knows: bool) -> Results:
    """A patient in each fold has a deficit in region 0; the method shows it (``knows``), or what all have in common."""
    random = np.random.default_rng(1)
    study, found = Study(folder, folder, {"mean": method_named("mean")}, Settings(folds=FOLDS)), []
    for fold in range(FOLDS):
        rows = []
        for number in range(A_FOLD):
            truth = 1 + 0.05 * random.normal(size=REGIONS).clip(-1, 1)
            is_patient = number == 0
            truth[0] -= 0.5 * is_patient
            who = {"case": f"{fold}-{number}", "subject": f"{fold}-{number}", "sex": "F", "age": "70"}
            who |= {"diagnosis": "AD" if is_patient else "CN", "truth": truth.tolist(), "law": None, "t1": [0.0] * 3}
            made = truth.tolist() if knows else [1.0] * REGIONS
            rows.append(who | {"predicted": made, "swap": [0.1, 0.2 if knows else 0.1]})
        found.append(Found(Run(folder, "mean", fold), {}, {"cases": rows, "regions": list("abc")}))
    return Results(study, found, [])


@pytest.mark.parametrize(("knows", "expected"), [(True, (1.0, 100.0, 1.0, 1.0)), (False, (0.5, 0.0, 1 / A_FOLD, 0.0))])
def test_a_method_that_knows_the_person_and_one_that_does_not(
    tmp_path: Path, knows: bool, expected: tuple[float, ...]
) -> None:
    (table,) = validity(results(tmp_path, knows)).tables
    ((name, cells),) = table.rows
    values = dict(zip(table.columns[1:], (cell.value for cell in cells), strict=True))
    assert name == "mean PET"
    keys = ("own MRI nearer", "error by another's MRI, %", "identified", "deficits found")
    assert [values[key] for key in keys] == pytest.approx(expected)
    assert values["by chance"] == pytest.approx(1 / A_FOLD)
    assert values["false alarms"] <= 0.1
    assert values["FWHM, mm"] is None


def test_effective_resolution_is_that_of_a_blurred_noise() -> None:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).normal(size=(48, 48, 48))
    mask = np.zeros(noise.shape, bool)
    mask[6:-6, 6:-6, 6:-6] = True
    for width in (3.0, 5.0):  # voxels
        blurred = gaussian_filter(noise, width / np.sqrt(8 * np.log(2)), truncate=6)
        assert smoothness(blurred, mask, (2.0, 2.0, 2.0)) == pytest.approx(2 * width, rel=0.05)
    assert np.isnan(smoothness(np.ones(noise.shape), mask, (2.0, 2.0, 2.0)))


class Given:
    """Half the T1: every MRI gives another PET."""

    name = "given"

    def predict(self, prepared, covariates) -> np.ndarray:
        return prepared.t1 / 2


def test_a_run_measures_another_mri(tmp_path: Path) -> None:
    from DualGlowLib.atlas.regions import REGIONS as NAMES
    from DualGlowLib.atlas.regions import weights
    from DualGlowLib.cases.layouts import read_cases
    from DualGlowLib.cases.ongrid import read_on_grid
    from DualGlowLib.volumes.grid import GRIDS

    grid = GRIDS["small"]
    cases = read_cases(simulate_cohort(tmp_path / "cases", 3, grid, seed=5))
    rows = measure(Given(), cases, grid, Settings(swept=1, ages=(70.0,)), (NAMES, weights(grid)))["cases"]
    (row, *_) = (row for row in rows if "swap" in row)
    place = [case.name for case in cases].index(row["case"])
    _, pet, mask = read_on_grid(cases[place], grid)
    t1, other = (read_on_grid(cases[number % 3], grid)[0] for number in (place, place + 1))
    expected = [float(np.sqrt(np.square(one[mask] / 2 - pet[mask]).mean())) for one in (t1, other)]
    assert row["swap"] == pytest.approx(expected, rel=1e-5)
    assert 4 < row["fwhm"]["truth"] < 60
