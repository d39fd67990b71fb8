"""A covariate, an atlas and a baseline of one's own go through a whole study, and no file of DualGlow is changed."""

from __future__ import annotations

import csv
import json
import textwrap
from pathlib import Path

import nibabel
import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.baselines import methods
from DualGlowLib.study.plan import read_study
from DualGlowLib.volumes.grid import GRIDS
from tiny_training import make_simulated

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with the baseline of the page for developers."""
    page = PAGE.read_text(encoding="utf-8")
    code = textwrap.dedent(page.partition("  ```python\n")[2].partition("  ```")[0])
    about = tmp_path / "site" / "ours-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
    points = (
        "convolution = ours_of_a_test:ConvolutionMethod\nbroken = ours_of_a_test:nn\nmissing = ours_of_a_test:Other\n"
    )
    (about / "entry_points.txt").write_text(f"[{methods.GROUP}]\n{points}")
    (about.parent / "ours_of_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(about.parent)
    methods._brought.cache_clear()
    yield about.parent
    methods._brought.cache_clear()


def write_atlas(folder: Path) -> list[str]:
    """Two halves of the head, and a third region that lies nowhere."""
    grid = GRIDS["small"]
    labels = np.ones(grid.shape, np.uint8)
    labels[grid.shape[0] // 2 :] = 2
    nibabel.save(nibabel.Nifti1Image(labels, grid.affine), folder / "atlas.nii.gz")
    (folder / "atlas.tsv").write_text("index\tname\n1\thalf_L\n2\thalf_R\n3\tnowhere\n")
    return ["half_L", "half_R"]


def test_a_covariate_an_atlas_and_a_baseline_of_ones_own(tmp_path: Path, package: Path) -> None:
    cases, out = make_simulated(tmp_path / "cases", 6), tmp_path / "study"
    people = cases / "participants.tsv"
    head, *rows = people.read_text().splitlines()
    years = [f"{row}\t{8 + 2 * number}" for number, row in enumerate(rows)]
    people.write_text("\n".join([f"{head}\teducation", *years]) + "\n")
    names = write_atlas(tmp_path)
    covariates = ["age", {"name": "education", "kind": "numeric"}]
    own = {"method": "convolution", "model": {"width": 4, "covariates": covariates}}
    settings = tmp_path / "study.json"
    settings.write_text(json.dumps({"methods": {"ours": own}, "steps": 2}))
    command = ["study", "run", str(cases), str(out), "--quick", "--config", str(settings), "--device", "cpu"]
    command += ["--atlas", str(tmp_path / "atlas.nii.gz"), "--atlas-table", str(tmp_path / "atlas.tsv")]
    assert main([*command, "--index", "1", "--of", "4"]) == 0
    assert main(["study", "report", str(out)]) == 0
    run = read_study(out).runs[1]
    config = json.loads((run.folder / "bundle" / "config.json").read_text())
    learnt = {one["name"]: one for one in config["model"]["covariates"]}
    training, _ = read_study(out).sides(run.fold)
    education = [float(case.attributes["education"]) for case in training]
    assert set(learnt) == {"age", "education"}
    assert min(education) <= learnt["education"]["mean"] <= max(education)
    evaluation = json.loads((run.folder / "evaluation.json").read_text())
    assert [row["region"] for row in evaluation["regions"]["ours"]] == names
    assert evaluation["asymmetry"]["ours"][0]["region"] == "half"
    with (out / "report" / "fig14.csv").open() as file:
        assert {row["row"].split(",")[0] for row in csv.DictReader(file)} == {"half left", "half right"}
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "methods: mean, ours" in page
    assert "mean, fold 0: not begun" in page


def test_what_a_package_brings_must_be_a_method(package: Path) -> None:
    assert {"convolution", "broken", "mean"} <= set(methods.method_names())
    for name, message in (("broken", "ours_of_a_test:nn is no Method"), ("missing", "can't be loaded from")):
        with pytest.raises(InputError, match=message):
            methods.method_named(name)
