"""Table 2 on region means whose classes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.study.classifier import comparison_of, table2
from DualGlowLib.study.methods import method_named
from DualGlowLib.study.plan import Run, Settings, Study
from DualGlowLib.study.results import Found, Results
from DualGlowLib.study.table import Part

pytest.importorskip("sklearn")
FOLDS, A_FOLD, REGIONS = 2, 16, 4
ONE_PAIR = ["CN=CN", "AD=AD"]


def results(folder: Path, diagnoses: tuple[str, str] = ("CN", "AD"), sessions: int = 1) -> Results:
    """Acquired PETs and the law tell diagnoses apart, T1 and synthetic PETs don't; age does, but for a few."""
    generator = np.random.default_rng(3)
    study = Study(folder, folder, {"mean": method_named("mean")}, Settings(folds=FOLDS))
    found = []
    for fold in range(FOLDS):
        rows = []
        for number in range(A_FOLD):
            is_patient = number % 2
            for session in range(sessions):
                noise = generator.normal(size=(3, REGIONS))
                clear = 1.5 - 0.5 * is_patient + 0.02 * noise[0]
                who = {"case": f"{fold}-{number}-{session}", "subject": f"{fold}-{number}", "sex": "F"}
                who |= {"age": str(60 + 9 * is_patient + number % 5), "diagnosis": diagnoses[is_patient]}
                unclear = (1.25 + 0.02 * noise[2]).tolist()
                seen = {"truth": clear.tolist(), "law": clear.tolist(), "t1": noise[1].tolist()}
                rows.append(who | seen | {"predicted": unclear})
        found.append(Found(Run(folder, "mean", fold), {}, {"cases": rows, "regions": list("abcd")}))
    return Results(study, found, [])


def rows_by_name(part: Part, title: str) -> dict[str, list]:
    (table,) = [one for one in part.tables if one.title == title]
    return {name: [cell.value for cell in cells] for name, cells in table.rows}


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Part:
    """Of subjects with two sessions each."""
    return table2(results(tmp_path_factory.mktemp("table2"), sessions=2), ONE_PAIR)


@pytest.mark.parametrize("how", ["C = 1, gamma = scale", "C and gamma by nested cross-validation"])
def test_what_tells_the_groups_apart_does_so(part: Part, how: str) -> None:
    rows = rows_by_name(part, f"{{CN}} against {{AD}}: {how}")
    subjects, accuracy, area, *rates = rows["acquired PET → acquired PET"]
    assert (subjects, accuracy, area) == (64, 1.0, 1.0)
    assert rates == [0, 0, 0, 0]
    assert rows["age and sex alone"][1] > 0.9
    assert 0.25 < rows["T1 alone (grey matter)"][1] < 0.75
    assert 0.25 < rows["mean PET → mean PET"][1] < 0.75
    assert rows["acquired PET → mean PET"][1] == pytest.approx(0.5, abs=0.3)
    for row in rows.values():
        assert row[1] + row[3] + row[4] == pytest.approx(1)


def test_diagnoses_are_grouped_where_they_are_used(tmp_path: Path) -> None:
    part = table2(results(tmp_path, ("SMC", "LMCI")))
    assert [table.title.partition(":")[0] for table in part.tables] == ["{CN,SMC,EMCI} against {MCI,LMCI,AD}"] * 2
    assert any("{CN} against {AD}" in note and "too few" in note for note in part.notes)
    own = table2(results(tmp_path, ("SMC", "LMCI")), ["well=SMC", "ill=LMCI"])
    assert rows_by_name(own, "{SMC} against {LMCI}: C = 1, gamma = scale")["acquired PET → acquired PET"][1] == 1


def test_two_groups_are_told_apart() -> None:
    with pytest.raises(InputError, match="has 3 groups; table2 tells two apart"):
        comparison_of(["CN=CN", "MCI=MCI", "AD=AD"])
