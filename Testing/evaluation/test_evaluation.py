"""Metrics: known values, the mask, and the report of a run over simulated cases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import DEFAULT_BUNDLE
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.evaluation.tables import evaluate
from DualGlowLib.metrics.images import image_metrics, structural_similarity
from DualGlowLib.resources import resource
from DualGlowLib.simulate.anatomy import template_anatomy
from DualGlowLib.simulate.case import simulate_case
from DualGlowLib.simulate.cohort import simulate_cohort, truth_file
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).random((16, 16, 16))


def test_known_values(truth: np.ndarray) -> None:
    mask = np.ones(truth.shape, bool)
    perfect = image_metrics(truth, truth, mask, data_range=2.0)
    assert perfect.psnr == math.inf
    assert (perfect.ssim, perfect.mae) == (1.0, 0.0)
    shifted = image_metrics(truth + 0.02, truth, mask, data_range=2.0)
    assert shifted.psnr == pytest.approx(40.0)
    assert shifted.mae == pytest.approx(0.02)
    assert shifted.correlation == pytest.approx(1.0)
    assert image_metrics(truth + 0.02, truth, mask, data_range=4.0).psnr == pytest.approx(46.02, abs=0.01)


def test_structural_similarity_is_that_of_scikit_image(truth: np.ndarray) -> None:
    library = pytest.importorskip("skimage.metrics")
    image = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    _, expected = library.structural_similarity(image, truth, data_range=3.0, **options)
    np.testing.assert_allclose(structural_similarity(image, truth, 3.0), expected, rtol=1e-9)


def test_flat_images_have_no_correlation(truth: np.ndarray) -> None:
    assert math.isnan(image_metrics(0 * truth, truth, truth > 0.5, 1.0).correlation)


def test_only_the_mask_counts(truth: np.ndarray) -> None:
    mask = np.zeros(truth.shape, bool)
    mask[4:12, 4:12, 4:12] = True
    spoilt = np.where(mask, truth + 0.02, 99.0)
    metrics = image_metrics(spoilt, truth, mask, data_range=2.0)
    assert metrics.psnr == pytest.approx(40.0)
    assert metrics.mae == pytest.approx(0.02)


def test_the_bundled_model_beats_the_mean_pet(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    simulate_cohort(tmp_path / "cohort", 3, "medium", seed=4242)
    report = tmp_path / "report.json"
    arguments = [str(resource("Models", DEFAULT_BUNDLE)), str(tmp_path / "cohort"), "--output", str(report)]
    assert main(["evaluate", *arguments, "--samples", "2", "--device", "cpu"]) == 0
    assert "| mean PET |" in capsys.readouterr().out
    result = json.loads(report.read_text())
    assert len(result["cases"]) == 3
    summary = result["summary"]
    model, mean, best = (summary[name] for name in ("model, T=0", "mean PET", "conditional mean (truth)"))
    assert mean["psnr"] + 3 < model["psnr"] < best["psnr"]
    assert mean["ssim"] < model["ssim"] < best["ssim"]


def test_cases_anywhere_can_be_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain folders named relatively are not deep enough to lie in a simulated cohort."""
    synthesizer = Synthesizer.from_bundle(resource("Models", DEFAULT_BUNDLE), "cpu")
    grid = synthesizer.bundle.grid
    case = simulate_case(5, [template_anatomy()], grid)
    (tmp_path / "one").mkdir()
    for name, image in (("t1", case.t1), ("pet", case.pet)):
        write_scan(Scan(image.numpy(), grid.affine), tmp_path / "one" / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    for cases in (read_cases("."), [Case("one", "one", Path("one/t1.nii.gz"), Path("one/pet.nii.gz"))]):
        summary = evaluate(synthesizer, cases)["summary"]
        assert summary["model, T=0"]["psnr"] > 20
        assert "conditional mean (truth)" not in summary


def test_the_truth_of_a_case_is_found_where_the_simulator_puts_it(tmp_path: Path) -> None:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "sub-0001.json").touch()
    assert truth_file(tmp_path / "sub-0001/anat/sub-0001_T1w.nii.gz", "sub-0001.json") is not None
    assert truth_file(tmp_path / "sub-0001/anat/sub-0001_T1w.nii.gz", "sub-0002.json") is None
    assert truth_file(Path("/t1.nii.gz"), "sub-0001.json") is None


def test_leakage_is_reported_on_request(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cohort = simulate_cohort(tmp_path / "cohort", 4, "medium", seed=4242)
    report = tmp_path / "report.json"
    arguments = [str(resource("Models", DEFAULT_BUNDLE)), str(cohort), "--output", str(report), "--device", "cpu"]
    assert main(["evaluate", *arguments, "--leakage"]) == 2
    assert "too few for a leakage report" in capsys.readouterr().err
    assert not report.exists()
    people = (cohort / "participants.tsv").read_text().splitlines()
    for copy in range(4, 20):  # the same four persons under other names
        old, new = f"sub-000{copy % 4 + 1}", f"sub-{copy + 1:04d}"
        for path in cohort.glob(f"{old}/*/*"):
            target = cohort / new / path.parent.name / path.name.replace(old, new)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
        people.append(people[copy % 4 + 1].replace(old, new))
    (cohort / "participants.tsv").write_text("\n".join(people) + "\n")
    assert main(["evaluate", *arguments, "--leakage"]) == 0
    assert "| level of the MRI | covariate |" in capsys.readouterr().out
    levels = json.loads(report.read_text())["leakage"]["levels"]
    assert {"image", "1", "below top"} <= levels.keys()
    assert levels["image"]["age"]["r2"] > 0.5  # four persons, each five times: easily told again
