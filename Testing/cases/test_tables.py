"""Tables as people and programs write them: every row or an error, never half a table; and what is written to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import find_cases
from DualGlowLib.cases.tables import harmless_cell, read_table, table_text
from DualGlowLib.errors import one_line
from DualGlowLib.training.data import Cohort
from DualGlowLib.volumes.grid import Grid
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from empty_scans import pair, tree, write


def rows(tmp_path: Path, text: str) -> list[dict[str, str]]:
    return read_table(write(tmp_path / "table.tsv", text))


@pytest.mark.parametrize(
    "cell", ['"moved', 'moved"', 'said "fine" after', '5"', '"a" and "b', '"', "a\u2028b", "a\x0bb", "a\x85b"]
)
@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_no_cell_swallows_rows(tmp_path: Path, cell: str, separator: str, end: str) -> None:
    lines = [["id", "comment", "age"], ["1", "ok", "61"], ["2", cell, "62"], ["3", cell, "63"], ["4", "ok", "64"]]
    found = rows(tmp_path, "".join(separator.join(line) + end for line in lines))
    assert [row["id"] for row in found] == ["1", "2", "3", "4"]
    assert [row["age"] for row in found] == ["61", "62", "63", "64"]


def test_the_last_column_may_hold_the_quote(tmp_path: Path) -> None:
    found = rows(tmp_path, 'id\tcomment\n1\tok\n2\t"moved\n3\tok\n4\tsaid "fine" after\n')
    assert [row["id"] for row in found] == ["1", "2", "3", "4"]


def test_quotes_that_are_meant_are_understood(tmp_path: Path) -> None:
    found = rows(tmp_path, 'id,comment,age\n1,"a, b",61\n2,"two\nlines",62\n3,"say ""hi""",63\n')
    assert [row["comment"] for row in found] == ["a, b", "two lines", 'say "hi"']
    assert [row["age"] for row in found] == ["61", "62", "63"]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "sep=,\n", "\ufeffsep=;\n", "\ufeff\ufeff"])
def test_what_spreadsheets_write_before_the_header(tmp_path: Path, first: str) -> None:
    assert rows(tmp_path, f"{first}id;age\n1\u200b;61,5\n") == [{"id": "1", "age": "61,5"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('id,comment,age\n1,"a, b,61\n2,ok,62\n', "line 2, has a quote that is not closed"),
        ("id\tage\tsex\n\n1\t61\tF\n2\t6", "ends in the middle of line 4"),
        ("id\tage\n1\t2\t3\n", "line 2, has 3 fields under 2 columns"),
        ("sep=;\n", "is empty"),
        ("i\0d\0", "is no table of text"),
        ("/annex/objects/MD5E-s12--0123.tsv\n", r"was not fetched; fetch it first \(datalad get\)"),
    ],
)
def test_half_a_table_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        rows(tmp_path, text)


def test_a_field_too_long_for_the_parser(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2, is no row of a table"):
        rows(tmp_path, f"id\tcomment\n1\t{'x' * 200_000}\n")


@pytest.mark.parametrize("where", ["participants.tsv", "sub-01/sub-01_sessions.tsv", "sub-01/ses-1/sub-01_scans.tsv"])
@pytest.mark.parametrize("pointer", [False, True])
def test_a_table_that_was_not_fetched_is_not_passed_over(tmp_path: Path, where: str, pointer: bool) -> None:
    tree(tmp_path, *pair("sub-01", "ses-1"))
    if pointer:
        write(tmp_path / where, "/annex/objects/MD5E-s12--0123.tsv\n")
    else:
        (tmp_path / where).symlink_to(".git/annex/objects/xx/yy/table.tsv")
    (found,) = find_cases(tmp_path).items
    assert found.mistakes == [f"{Path(where).name} is a link whose content was not fetched (datalad get)"]
    (tmp_path / "cases.csv").symlink_to(".git/annex/objects/xx/yy/cases.csv")
    with pytest.raises(InputError, match=r"cases\.csv is a link whose content was not fetched"):
        find_cases(tmp_path)


@pytest.mark.parametrize("text", ["=1+1", "+49 170", "-foo", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1"])
def test_what_a_spreadsheet_would_run_is_text(tmp_path: Path, text: str) -> None:
    cell = harmless_cell(text)
    assert cell[0] == "'"
    assert rows(tmp_path, table_text(["id", "x"], [["1", text]]))[0]["x"] == text.strip()


@pytest.mark.parametrize("text", ["-1.5", "+2", "1e-3", "70", "n/a", "a=b"])
def test_numbers_and_words_stay_as_they_are(text: str) -> None:
    assert harmless_cell(text) == text


def test_control_characters_reach_no_sentence_and_no_table() -> None:
    text = "sub-01\x1b[2J\r\n\u202egnp\udcff"
    assert one_line(text) == "sub-01\ufffd[2J  \ufffdgnp\ufffd"
    assert str(InputError(f"{text} is wrong.")).isprintable()
    assert all(line.replace("\t", "").isprintable() for line in table_text([text], [[text]]).splitlines())


def scans(folder: Path, levels: list[float]) -> tuple[list[Case], Grid]:
    grid = Grid("tiny", (8, 8, 8), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    cases = []
    for index, level in enumerate(levels):
        data = np.random.default_rng(index).uniform(0.1, 1, grid.shape).astype(np.float32)
        paths = [folder / f"{index}_{name}.nii.gz" for name in ("t1", "pet")]
        for path, values in zip(paths, (data, data * level), strict=True):
            write_scan(Scan(values, grid.affine), path, "a scan")
        cases.append(Case(f"sub-{index}", f"sub-{index}", *paths))
    return cases, grid


@pytest.mark.parametrize("level", [9000.0, 0.01])
def test_one_pet_in_another_unit_cannot_set_the_scale(tmp_path: Path, level: float) -> None:
    cases, grid = scans(tmp_path, [2.0, 2.2, 1.8, level])
    with pytest.raises(InputError, match=r"The PETs of sub-3 \(.*not SUVR.*at [12]\.\d+"):
        Cohort.load(cases, grid)
    assert Cohort.load(cases[:3], grid).pet_scale == pytest.approx(2.6, abs=0.1)
    assert torch.isfinite(Cohort.load(cases, grid, pet_scale=2.5).t1).all()  # a scale that is given is a model's


def test_pets_that_are_none_of_them_suvr(tmp_path: Path) -> None:
    cases, grid = scans(tmp_path, [9000.0, 8000.0])
    with pytest.raises(InputError, match=r"sub-0 .*sub-1 .*not SUVR"):
        Cohort.load(cases, grid)
