"""Label maps in the space of each case's T1: to the grid through the case's own transform, regions that cases lack."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.atlas.regions import REGIONS, weights
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.evaluation.segmentations import Segmentations, read_segmentations
from DualGlowLib.evaluation.tables import evaluate
from DualGlowLib.preparation.deformable import Warp
from DualGlowLib.preparation.transforms import read_warped, write_transform
from DualGlowLib.study.measures import measure
from DualGlowLib.study.plan import begin_study, read_settings, read_study
from DualGlowLib.study.results import features
from DualGlowLib.volumes.affines import from_matvec
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from tiny_training import make_simulated, write_untrained

GRID = GRIDS["small"]
TURNED = from_matvec([[0.98, -0.17, 0.0], [0.17, 0.98, 0.05], [0.0, -0.05, 1.1]], [4.0, -7.0, 11.0])


def partition() -> np.ndarray:
    """DualGlow's own regions as labels 1, 2, … on the grid; where several are, the heaviest."""
    own = weights(GRID)
    return np.where(own.max(0) > 0, 1 + own.argmax(0), 0).astype(np.float32)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four simulated cases with label maps beside; the last lacks its second region, the third has no file."""
    folder = make_simulated(tmp_path_factory.mktemp("segmented") / "cases", 4)
    labels = folder.parent / "labels"
    labels.mkdir()
    for number in (1, 2, 4):
        found = partition()
        if number == 4:
            found[found == 2] = 0
        write_scan(Scan(found, GRID.affine), labels / f"sub-000{number}_dseg.nii.gz")
    return folder


def prepared_case(folder: Path, warp: Warp | None = None) -> tuple[Case, str]:
    """A case as ``prepare`` leaves it, whose T1 had another place than the template, and the pattern of its labels."""
    anat = folder / "sub-01" / "anat"
    anat.mkdir(parents=True)
    t1 = anat / "sub-01_space-MNI152NLin2009aSym_res-small_desc-preproc_T1w.nii.gz"
    write_scan(Scan(np.ones(GRID.shape, np.float32), GRID.affine), t1)
    way = type("Way", (), {"to_template": TURNED, "warp": warp})()
    suffix = ".tfm" if warp is None else ".h5"
    write_transform(way, anat / f"sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm{suffix}")
    return Case("sub-01", "sub-01", t1, None), str(folder / "{subject}_dseg.nii.gz")


def test_labels_go_through_the_transform_of_the_case(tmp_path: Path) -> None:
    """The patient's map has the template's voxels, moved: on the grid they come back to their places."""
    case, pattern = prepared_case(tmp_path)
    labels = partition()
    write_scan(Scan(labels, np.linalg.inv(TURNED) @ GRID.affine), tmp_path / "sub-01_dseg.nii.gz")
    found, lacking = read_segmentations(pattern, [case], GRID)
    assert not lacking
    np.testing.assert_array_equal(found.on_grid(case), labels)
    own = found.weights(case)
    np.testing.assert_allclose(own.sum((1, 2, 3)), 1, rtol=1e-5)
    next((tmp_path / "sub-01" / "anat").glob("*.tfm")).unlink()
    with pytest.raises(InputError, match="holds 0 transforms sub-01_from-T1w_to-"):
        found.weights(case)


def test_labels_go_through_a_deformation_too(tmp_path: Path) -> None:
    """A displacement of one voxel everywhere: the grid takes its labels from one voxel further on."""
    place = np.diag([10.0, 10, 10, 1])
    place[:3, 3] = -120, -140, -100
    field = np.zeros((26, 26, 24, 3), np.float32)
    field[..., 1] = GRID.spacing[1]
    case, pattern = prepared_case(tmp_path, Warp(field, -field, place))
    labels = partition()
    write_scan(Scan(labels, np.linalg.inv(TURNED) @ GRID.affine), tmp_path / "sub-01_dseg.nii.gz")
    matrix, warp = read_warped(next((tmp_path / "sub-01" / "anat").glob("*.h5")))
    np.testing.assert_allclose(matrix, TURNED, atol=1e-9)
    np.testing.assert_allclose(warp[0], field, atol=1e-6)
    np.testing.assert_allclose(warp[1], place, atol=1e-9)
    found = read_segmentations(pattern, [case], GRID)[0].on_grid(case)
    np.testing.assert_array_equal(found[:, :-1], labels[:, 1:])


class Half:
    """Half the T1, and samples around it."""

    name = "half"

    def predict(self, prepared, covariates) -> np.ndarray:
        return prepared.t1 / 2

    def sample(self, prepared, covariates, count, seed):
        random = np.random.default_rng(seed)
        return (prepared.t1 / 2 + random.normal(0, 0.1) for _ in range(count))


def test_regions_that_cases_lack_count_for_the_others(cohort: Path) -> None:
    """With the partition of the grid as label maps, numbers are those of the same map in template space."""
    pytest.importorskip("scoringrules")
    cases = [case for case in read_cases(cohort) if case.name != "sub-0003"]
    found, lacking = read_segmentations(str(cohort.parent / "labels" / "{case}_d*.nii.gz"), cases, GRID)
    assert lacking == {"label 2": ["sub-0004"]}
    result = evaluate([Half()], cases, GRID, 3.0, 4, regions=(found.names, found.weights))
    rows = {row["region"]: row for row in result["regions"]["half"]}
    assert [rows[name]["cases"] for name in ("label 1", "label 2")] == [3, 2]
    whole = evaluate([Half()], cases[:2], GRID, 3.0, 4, regions=(found.names, found.weights(cases[0])))
    same = {row["region"]: row for row in whole["regions"]["half"]}
    assert rows["label 2"]["bias"] == pytest.approx(same["label 2"]["bias"])
    summary = result["summary"]["half, mean of 4"]
    assert np.isfinite(list(summary.values())).all()
    fifths = result["rank_fifths"]["half, mean of 4"]
    assert sum(fifths["all"]) == pytest.approx(1)
    assert fifths["label 2"] == pytest.approx(whole["rank_fifths"]["half, mean of 4"]["label 2"])


def test_evaluate_says_what_cases_lack(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    table = tmp_path / "names.tsv"
    table.write_text("index\tname\n" + "".join(f"{place + 1}\t{name}\n" for place, name in enumerate(REGIONS)))
    report, pattern = tmp_path / "report.json", str(cohort.parent / "labels" / "{subject}_dseg.nii.gz")
    command = ["evaluate", str(write_untrained(tmp_path / "bundle")), str(cohort), "--output", str(report)]
    command += ["--device", "cpu", "--atlas"]
    assert main([*command, pattern, "--atlas-table", str(table)]) == 0
    assert f"regions without a voxel in some of the 4 cases: {REGIONS[1]} (sub-0004)" in capsys.readouterr().err
    found = json.loads(report.read_text())
    assert [row["region"] for row in found["regions"]["model"]] == [name for name in REGIONS if name in names_of(found)]
    assert [one["case"] for one in found["left_out"]] == ["sub-0003"]
    assert "sub-0003_dseg.nii.gz" in found["left_out"][0]["reason"]
    assert main([*command, pattern.replace("dseg", "none")]) == 2
    assert "none.nii.gz" in capsys.readouterr().err


def names_of(report: dict) -> list[str]:
    return [row["region"] for row in report["regions"]["model"]]


def test_a_study_takes_regions_of_each_case(cohort: Path, tmp_path: Path) -> None:
    """Its folder keeps their names; a case has no mean of a region that it lacks, and classifiers leave that out."""
    methods, settings = read_settings(None, ["mean"], True, {"atlas": str(cohort.parent / "labels" / "{case}_d*.gz")})
    notes: list[str] = []
    begin_study(tmp_path / "study", cohort, methods, settings, is_quick=True, note=notes.append)
    assert notes == ["regions without a voxel in some of the 4 cases: label 2 (sub-0004)"]
    study = read_study(tmp_path / "study")
    names, own = study.regions(GRID)
    cases = [case for case in study.cases() if case.name != "sub-0003"]
    rows = measure(Half(), cases, GRID, study.settings, (names, own))["cases"]
    place = names.index("label 2")
    assert [row["truth"][place] is None for row in rows] == [False, False, True]
    assert features(rows, "predicted").shape == (3, len(names) - 1)
    with pytest.raises(InputError, match="No region of the label maps is there in every case"):
        features([{"truth": [None, 1.0]}, {"truth": [1.0, None]}], "truth")


def test_a_pattern_finds_one_file(cohort: Path, tmp_path: Path) -> None:
    case = read_cases(cohort)[0]
    for number in range(2):
        shutil.copy(cohort.parent / "labels" / f"{case.name}_dseg.nii.gz", tmp_path / f"{case.name}_{number}.nii.gz")
    several = Segmentations(str(tmp_path / "{case}_*.nii.gz"), GRID, {1: "one"})
    with pytest.raises(InputError, match="finds 2 label maps for sub-0001"):
        several.weights(case)
    far = replace(several, pattern=str(tmp_path / "{case}_0.nii.gz"), labels={99: "nothing"})
    with pytest.raises(InputError, match="has no label on the grid"):
        far.weights(case)
