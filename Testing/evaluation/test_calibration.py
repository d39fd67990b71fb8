"""Calibrated intervals: they hold what they promise whatever the law, and only of the model that was measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.bundle.bundle import load_bundle, save_bundle
from DualGlowLib.bundle.calibration import Calibration, read_calibration, write_calibration
from DualGlowLib.cases.case import Case
from DualGlowLib.evaluation.calibrating import Residuals, calibrate, conformal_factor, least_cases, measure
from DualGlowLib.evaluation.exchangeability import exchangeability
from DualGlowLib.synthesis.draws import Distribution
from DualGlowLib.synthesis.region_table import region_rows
from tiny_training import make_simulated, write_untrained


def made(count: int, seed: int, wrong: float = 0.5) -> Residuals:
    """Cases whose law has heavy tails and regions that go together, with a spread that is wrong by a factor."""
    rng = np.random.default_rng(seed)
    common = rng.standard_t(3, (count, 1))
    truth = 0.7 * common + 0.7 * rng.standard_t(3, (count, len(REGIONS)))
    cases = [Case(f"{i}", f"{i}", Path(), None, {"age": f"{50 + i % 40}", "sex": "FM"[i % 2]}) for i in range(count)]
    spread = np.full(truth.shape, wrong)
    return Residuals(np.abs(truth) / spread, spread, cases)


def test_intervals_hold_of_other_cases_what_they_promise() -> None:
    """Each region alone, and all at once, though the model's own spread is half of what it should be."""
    fitted, tested = made(1000, 0), made(20_000, 1)
    assert np.mean(tested.z <= 1.645) < 0.7
    found = measure(calibrate(fitted, "x", 0.9, 20), tested, 1000, 0)
    assert found["coverage"]["mean"] == pytest.approx(0.9, abs=0.01)
    assert all(value == pytest.approx(0.9, abs=0.035) for value in found["coverage"]["regions"].values())
    assert found["coverage"]["joint"] == pytest.approx(0.9, abs=0.03)
    assert found["width"]["joint"] > 1.3 * found["width"]["mean"]
    assert found["expected"][0] < 0.9 < found["expected"][1]
    groups = {row["group"]: row for row in found["groups"]}
    assert sum(row["cases"] for name, row in groups.items() if name.startswith("age")) == 20_000
    assert groups["sex F"]["cases"] == groups["sex M"]["cases"] == 10_000
    assert groups["sex F"]["mean"] == pytest.approx(0.9, abs=0.02)


def test_the_factor_is_the_order_statistic_of_the_theory() -> None:
    assert conformal_factor(np.arange(1.0, 10), 0.9) == 9
    assert conformal_factor(np.arange(1.0, 20), 0.9) == 18
    assert (least_cases(0.9), least_cases(0.5), least_cases(0.95)) == (9, 1, 19)
    with pytest.raises(InputError, match="at least 9"):
        conformal_factor(np.arange(8.0), 0.9)


# ---- whether they hold elsewhere


def test_cases_like_those_of_the_calibration_are_found_different_as_seldom_as_promised(monkeypatch) -> None:
    """Regions go together and have heavy tails, and the largest of them is looked at."""
    monkeypatch.setattr("DualGlowLib.evaluation.exchangeability._PERMUTATIONS", 199)
    p = [exchangeability(calibrate(made(60, 2 * i), "x", 0.9, 20), made(25, 2 * i + 1), i).p for i in range(200)]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09
    assert 0.4 < np.mean(p) < 0.6


def test_a_site_that_differs_is_found_and_where() -> None:
    calibration = calibrate(made(300, 0), "x", 0.9, 20)
    same, wider = made(30, 1), made(30, 1, wrong=0.3)
    fine, found = exchangeability(calibration, same), exchangeability(calibration, wider)
    assert fine.p > 0.05
    assert "nothing speaks against" in fine.sentences
    assert found.p < 0.001
    assert found.coverage["mean"] < 0.85 < fine.coverage["mean"]
    assert "does not hold here" in found.sentences
    one = made(30, 1)
    one.z[:, 7] *= 3
    there = exchangeability(calibration, one)
    assert there.p < 0.01
    assert there.region == REGIONS[7]
    assert 2 < there.ratio < 4.5
    assert there == exchangeability(calibration, one)


def test_what_can_not_be_compared_is_said() -> None:
    calibration = calibrate(made(60, 0), "x", 0.9, 20)
    with pytest.raises(InputError, match=r"9 cases are too few .* at least 10"):
        exchangeability(calibration, made(9, 1))
    with pytest.raises(InputError, match=r"before residuals were kept .*; run calibrate again"):
        exchangeability(replace(calibration, scores={}), made(30, 1))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_simulated(tmp_path_factory.mktemp("calibration") / "cohort", 16)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_untrained(tmp_path / "bundle")


def test_a_model_is_calibrated_and_its_table_has_both_intervals(
    cohort: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["calibrate", str(bundle), str(cohort), "--samples", "3", "--device", "cpu"]
    assert main([*command, "--level", "0.95"]) == 2
    assert (
        "needs 19 to fit to, and better 400; give more cases, or others to test on with --test"
        in capsys.readouterr().err
    )
    assert main(command) == 0
    said = capsys.readouterr()
    assert "| all 23 regions at once |" in said.out
    assert "cases to fit to are few" in said.err
    found = load_bundle(bundle).calibration
    assert set(found.factors) == set(REGIONS)
    assert (found.level, found.samples, found.certificate["tested"]) == (0.9, 3, 16 - found.certificate["fitted"])
    assert {len(scores) for scores in found.scores.values()} == {found.certificate["fitted"]}
    before = (bundle / "calibration.json").read_bytes()
    assert main(["calibrate", str(bundle), str(cohort), "--check", "--samples", "3"]) == 2
    assert "leave --samples out" in capsys.readouterr().err
    assert main(["calibrate", str(bundle), str(cohort), "--check", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("Of 16 cases, 90 % intervals hold the region means of ")
    assert (bundle / "calibration.json").read_bytes() == before
    t1, mask = (str(next(cohort.glob(f"sub-0001/anat/*_{what}.nii.gz"))) for what in ("T1w", "mask"))
    for temperature, calibrated in (("1", True), ("0.5", False)):
        pet = tmp_path / f"{temperature}.nii.gz"
        options = ["--mask", mask, "--bundle", str(bundle), "--temperature", temperature, "--samples", "4", "--regions"]
        assert main(["synthesize", t1, "--output", str(pet), "--device", "cpu", *options]) == 0
        header, *rows = [
            line.split("\t") for line in next(tmp_path.glob(f"{temperature}*.tsv")).read_text().splitlines()
        ]
        assert ("low90_all" in header) == calibrated
        if calibrated:
            low, high, low_all, high_all = (
                header.index(name) for name in ("low90", "high90", "low90_all", "high90_all")
            )
            values = [[float(cell) for cell in row[1:]] for row in rows]
            assert all(row[low_all - 1] <= row[low - 1] <= row[high - 1] <= row[high_all - 1] for row in values)
        about = json.loads(pet.with_name(f"{temperature}.json").read_text())
        assert (about.get("CalibratedCases") == found.certificate["fitted"]) == calibrated


@pytest.mark.parametrize("name", ["nowhere", "cohort"])
def test_a_folder_that_is_no_model(name: str, cohort: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["calibrate", str(cohort.parent / name), str(cohort)]) == 2
    assert f"{name} is no DualGlow model" in capsys.readouterr().err


def test_persons_that_the_factors_are_fitted_to_test_nothing(
    cohort: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Under another name too."""
    (tmp_path / "others").mkdir()
    shutil.copytree(cohort / "sub-0003" / "anat", tmp_path / "others" / "b" / "anat")
    for what, scan in (("t1", "anat/*T1w"), ("pet", "pet/*pet")):
        source = next((cohort / "sub-0003").glob(f"{scan}.nii.gz"))
        shutil.copyfile(source, tmp_path / "others" / "b" / f"{what}.nii.gz")
    assert main(["calibrate", str(bundle), str(cohort), "--test", str(tmp_path / "others")]) == 2
    assert "b of --test has the same PET as sub-0003" in capsys.readouterr().err
    assert not (bundle / "calibration.json").exists()


def test_what_is_said_of_a_damaged_calibration_helps(cohort: Path, bundle: Path, capsys: pytest.CaptureFixture) -> None:
    (bundle / "calibration.json").write_text("{")
    with pytest.raises(InputError, match="run calibrate again with --force"):
        load_bundle(bundle)
    assert main(["calibrate", str(bundle), str(cohort), "--samples", "2", "--force", "--device", "cpu"]) == 0
    assert load_bundle(bundle).calibration is not None


def _table(folder: Path, name: str) -> list[str]:
    return next(folder.glob(f"{name}*.tsv")).read_text().splitlines()


def law(samples: int, seed: int = 0) -> Distribution:
    regions = np.random.default_rng(seed).normal(1.5, 0.1, (samples, len(REGIONS)))
    return Distribution(np.zeros(1), None, None, None, regions, samples)


def test_the_table_by_hand() -> None:
    found = law(25)
    used = Calibration("x", 0.9, 25, dict.fromkeys(REGIONS[1:], 2.0), 1.5, {})
    rows = region_rows(found, calibration=used)
    half = 2 * np.sqrt(26 / 25) * found.regions.std(0, ddof=1)
    assert rows[1]["low"] == pytest.approx(rows[1]["mean"] - half[1])
    assert rows[1]["high_all"] == pytest.approx(rows[1]["mean"] + 1.5 * half[1])
    assert region_rows(found)[1]["low_all"] is None
    assert region_rows(found, calibration=replace(used, level=0.8))[1] == region_rows(found)[1]


@pytest.mark.parametrize("fitted", [10, 20, 100])
@pytest.mark.parametrize("samples", [2, 5, 20, 100])
def test_intervals_hold_with_another_number_of_samples(fitted: int, samples: int) -> None:
    """Of a normal law whose spread is half of what it should be."""
    rng = np.random.default_rng(fitted + samples)

    def cases(count: int, drawn: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        draws = rng.normal(0, 0.5, (drawn, count, len(REGIONS)))
        return rng.normal(0, 1, (count, len(REGIONS))), draws.mean(0), draws.std(0, ddof=1)

    truth, mean, sd = cases(4000, fitted)
    spread = np.sqrt(1 + 1 / fitted) * sd
    people = [Case(f"{i}", f"{i}", Path(), None) for i in range(len(truth))]
    used = calibrate(Residuals(np.abs(truth - mean) / spread, spread, people), "x", 0.9, fitted)
    truth, mean, sd = cases(4000, samples)
    far, one = np.full(len(REGIONS), 1e6), np.ones(len(REGIONS))  # bounds are at least 0
    half = [used.interval(REGIONS, far, one, samples, is_joint)[1] - far for is_joint in (False, True)]
    alone, together = (np.abs(truth - mean) <= each * sd for each in half)
    assert alone.mean() == pytest.approx(0.9, abs=0.04)
    assert together.all(1).mean() == pytest.approx(0.9, abs=0.08)


@pytest.mark.parametrize("joint", [1e-6, 1.0, 1e3, 1e300])
def test_any_factors_give_bounds_that_are_numbers(joint: float) -> None:
    used = Calibration("x", 0.9, 400, dict.fromkeys(REGIONS, 2.0), joint)
    rows = region_rows(law(2), calibration=used)
    assert np.isfinite([row[key] for row in rows for key in ("low", "high", "low_all", "high_all")]).all()


def test_a_region_that_was_not_calibrated_keeps_its_own_interval() -> None:
    used = Calibration("x", 0.9, 20, dict.fromkeys(REGIONS[1:], 2.0), 1.5, {})
    first, plain = region_rows(law(25), calibration=used)[0], region_rows(law(25))[0]
    assert first == plain


def test_only_of_its_own_model(bundle: Path, tmp_path: Path) -> None:
    model = load_bundle(bundle)
    good = Calibration(model.digest, 0.9, 20, dict.fromkeys(REGIONS, 2.0), 1.5, {})
    path = write_calibration(good, bundle)
    assert read_calibration(bundle, model.digest) == good == load_bundle(bundle).calibration
    with pytest.raises(InputError, match="with another model; run calibrate again"):
        read_calibration(bundle, "another")
    path.write_text(path.read_text().replace("2.0", "0.1"))
    with pytest.raises(InputError, match="is damaged"):
        load_bundle(bundle)
    assert load_bundle(bundle, is_calibrated=False).calibration is None
    save_bundle(model, bundle, "card")  # a model that takes its place has none
    assert not path.exists()
    write_calibration(replace(good, bundle_sha256=model.digest, joint=-1.0), bundle)
    with pytest.raises(InputError, match="a number of it can't be"):
        load_bundle(bundle)
