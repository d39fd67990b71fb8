"""Metrics: known values, the mask, and the report of a run over simulated cases."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.baselines.iglow import IGlow
from DualGlowLib.baselines.mean import MeanPET
from DualGlowLib.bundle.bundle import DEFAULT_BUNDLE
from DualGlowLib.cases.case import Case
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.ongrid import read_on_grid
from DualGlowLib.evaluation.report import write_report
from DualGlowLib.evaluation.tables import case_seed, evaluate
from DualGlowLib.flow import FlowConfig
from DualGlowLib.metrics.images import image_metrics, structural_similarity, whole_volume_metrics
from DualGlowLib.preparation.t1 import PreparedT1
from DualGlowLib.processes import work_off
from DualGlowLib.resources import resource
from DualGlowLib.simulate.anatomy import template_anatomy
from DualGlowLib.simulate.case import simulate_case
from DualGlowLib.simulate.cohort import simulate_cohort, truth_file
from DualGlowLib.synthesis.predictor import ModelPredictor
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.synthesizer import Synthesizer
from DualGlowLib.training.data import Cohort
from DualGlowLib.volumes.scan import Scan
from DualGlowLib.volumes.writing import write_scan
from tiny_training import write_untrained
from toy_cohort import Deadly


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


def test_the_other_metrics_are_those_of_scikit_image(truth: np.ndarray) -> None:
    library = pytest.importorskip("skimage.metrics")
    image = truth + np.random.default_rng(1).normal(0, 0.1, truth.shape)
    mask = truth > 0.3
    found = image_metrics(image, truth, mask, 3.0)
    assert found.psnr == pytest.approx(
        library.peak_signal_noise_ratio(truth[mask], image[mask], data_range=3.0), rel=1e-9
    )
    assert found.nmse == pytest.approx(library.normalized_root_mse(truth[mask], image[mask]) ** 2, rel=1e-9)
    assert found.rmse == pytest.approx(library.mean_squared_error(truth[mask], image[mask]) ** 0.5, rel=1e-9)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True, "data_range": 3.0}
    whole = whole_volume_metrics(image, truth, 3.0)
    assert whole["psnr_whole"] == pytest.approx(library.peak_signal_noise_ratio(truth, image, data_range=3.0), rel=1e-9)
    assert whole["ssim_whole"] == pytest.approx(
        library.structural_similarity(truth, image, **options)[1].mean(), rel=1e-9
    )


def test_zeros_beyond_the_border_are_a_convolution_with_padding(truth: np.ndarray) -> None:
    """As PASTA and SiM2P compute it: images between 0 and 1, a window of 11 voxels, zero padding."""
    import torch

    image = np.clip(truth + np.random.default_rng(1).normal(0, 0.1, truth.shape), 0, 1)
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    line /= line.sum()
    window = (line[:, None, None] * line[:, None] * line)[None, None]

    def blurred(values: np.ndarray) -> np.ndarray:
        return torch.nn.functional.conv3d(torch.tensor(values)[None, None], window, padding=5)[0, 0].numpy()

    m, n = blurred(image), blurred(truth)
    v, w, c = blurred(image**2) - m**2, blurred(truth**2) - n**2, blurred(image * truth) - m * n
    ssim = (2 * m * n + 1e-4) * (2 * c + 9e-4) / ((m**2 + n**2 + 1e-4) * (v + w + 9e-4))
    assert whole_volume_metrics(3 * image, 3 * truth, 3.0)["ssim_padded"] == pytest.approx(ssim.mean(), rel=1e-9)


def test_flat_images_have_no_correlation(truth: np.ndarray) -> None:
    assert math.isnan(image_metrics(0 * truth, truth, truth > 0.5, 1.0).correlation)


def test_only_the_mask_counts(truth: np.ndarray) -> None:
    mask = np.zeros(truth.shape, bool)
    mask[4:12, 4:12, 4:12] = True
    spoilt = np.where(mask, truth + 0.02, 99.0)
    metrics = image_metrics(spoilt, truth, mask, data_range=2.0)
    assert metrics.psnr == pytest.approx(40.0)
    assert metrics.mae == pytest.approx(0.02)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cohort(tmp_path_factory.mktemp("simulated") / "cohort", 3, "medium", seed=4242)


def test_the_bundled_model_beats_the_mean_pet(simulated: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = tmp_path / "report.json"
    arguments = [str(resource("Models", DEFAULT_BUNDLE)), str(simulated), "--output", str(report)]
    assert main(["evaluate", *arguments, "--samples", "2", "--device", "cpu"]) == 0
    assert "| mean PET |" in capsys.readouterr().out
    result = json.loads(report.read_text())
    assert len(result["cases"]) == 3
    summary = result["summary"]
    model, mean, best = (summary[name] for name in ("model", "mean PET", "conditional mean (truth)"))
    assert mean["psnr"] + 3 < model["psnr"] < best["psnr"]
    assert mean["ssim"] < model["ssim"] < best["ssim"]


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer.from_bundle(resource("Models", DEFAULT_BUNDLE), "cpu")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, synthesizer: Synthesizer) -> Path:
    """A plain folder of two simulated cases with their covariates."""
    folder, grid = tmp_path_factory.mktemp("plain"), synthesizer.bundle.grid
    for name, seed in (("one", 5), ("two", 6)):
        case = simulate_case(seed, [template_anatomy()], grid)
        (folder / name).mkdir()
        for kind, image in (("t1", case.t1), ("pet", case.pet)):
            write_scan(Scan(image.numpy(), grid.affine), folder / name / f"{kind}.nii.gz")
    (folder / "participants.tsv").write_text("participant_id\tage\tsex\none\t70\tF\ntwo\t80\tM\n")
    return folder


def test_cases_anywhere_can_be_evaluated(
    plain: Path, synthesizer: Synthesizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain folders named relatively are not deep enough to lie in a simulated cohort."""
    monkeypatch.chdir(plain)
    bundle = synthesizer.bundle
    for cases in (read_cases("."), [Case("one", "one", Path("one/t1.nii.gz"), Path("one/pet.nii.gz"))]):
        summary = evaluate([ModelPredictor(synthesizer, "model")], cases, bundle.grid, bundle.pet_scale)["summary"]
        assert summary["model"]["psnr"] > 20
        assert list(summary) == ["model"]


def test_the_numbers_of_a_model_are_those_of_its_pets(plain: Path, synthesizer: Synthesizer) -> None:
    bundle, cases = synthesizer.bundle, read_cases(plain)
    methods = [ModelPredictor(synthesizer, "model"), MeanPET.of_bundle(bundle)]
    result = evaluate(methods, cases, bundle.grid, bundle.pet_scale, samples=3, seed=8)
    for case, row in zip(cases, result["cases"], strict=True):
        t1, pet, mask = read_on_grid(case, bundle.grid)
        encoding = synthesizer.encode_prepared(t1)
        asked = Question(synthesizer.known(case.attributes))
        mode = synthesizer.distribution(encoding, asked).mean
        own = case_seed(8, case)
        drawn = synthesizer.distribution(encoding, replace(asked, temperature=1.0, samples=3, seed=own))
        copied = (bundle.model.link.base_mean[0, 0].numpy() + 0.5) * bundle.pet_scale
        images = {"model": mode, "model, mean of 3": drawn.mean, "mean PET": copied}
        expected = {name: vars(image_metrics(image, pet, mask, bundle.pet_scale)) for name, image in images.items()}
        half = 2.9199855803537 * np.sqrt(4 / 3) * drawn.sd  # the 95 % quantile of Student's t with 2 degrees of freedom
        inside = float((np.abs(pet - drawn.mean) <= half)[mask].mean())
        assert row["methods"].keys() == expected.keys()
        for name, numbers in expected.items():
            for key, value in numbers.items():
                assert row["methods"][name][key] == pytest.approx(value, rel=1e-5), (name, key)
        assert row["methods"]["model, mean of 3"]["coverage_90"] == pytest.approx(inside, abs=1e-4)
        log_prob = methods[0].log_prob(PreparedT1(bundle.grid, t1, mask), case.attributes, pet)
        assert row["methods"]["model"]["nll_bits"] == pytest.approx(-log_prob / math.log(2) / pet.size)
    assert case_seed(8, cases[0]) != case_seed(8, cases[1])  # noise that cases share would look like a bias
    rows = [row["methods"]["model"]["psnr"] for row in result["cases"]]
    assert result["summary"]["model"]["psnr"] == np.mean(rows)


class Grey:
    """A method of one's own: uptake rises with the T1 up to grey matter and falls again, and with age everywhere."""

    name = "grey matter"

    def predict(self, prepared: PreparedT1, covariates: Mapping[str, object]) -> np.ndarray:
        grey = np.exp(-(((prepared.t1 - 0.7) / 0.25) ** 2))
        return np.where(prepared.mask, (2.1 - 0.006 * float(covariates["age"])) * (0.5 + 0.5 * grey), 0.0)

    def sample(self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(0, 0.4, (samples, *prepared.grid.shape))
        return self.predict(prepared, covariates) + noise


def test_a_method_of_ones_own_is_evaluated_like_any(plain: Path, synthesizer: Synthesizer, tmp_path: Path) -> None:
    grid, cases = synthesizer.bundle.grid, read_cases(plain)
    cohort = Cohort.load(cases, grid)
    glow = IGlow(grid.shape, FlowConfig(depths=(1, 1), widths=(4, 4)), ascent=1).fit(cohort, 1, 1)
    result = evaluate([Grey(), MeanPET.fit(cohort), glow], cases, grid, 3.5, samples=40)
    summary = result["summary"]
    assert list(summary) == ["grey matter", "grey matter, mean of 40", "mean PET", "iGlow"]
    pets = [read_on_grid(case, grid) for case in cases]
    own = [
        Grey().predict(PreparedT1(grid, t1, mask), {"age": age})
        for (t1, _, mask), age in zip(pets, (70, 80), strict=True)
    ]
    mae = np.mean([np.abs(a - pet)[mask].mean() for a, (_, pet, mask) in zip(own, pets, strict=True)])
    assert summary["grey matter"]["mae"] == pytest.approx(mae, rel=1e-6)
    assert summary["grey matter, mean of 40"]["mae"] == pytest.approx(mae, rel=0.1)
    inside = np.mean(
        [(np.abs(a - pet) <= 1.645 * 0.4)[mask].mean() for a, (_, pet, mask) in zip(own, pets, strict=True)]
    )
    assert summary["grey matter, mean of 40"]["coverage_90"] == pytest.approx(inside, abs=0.03)
    assert "| grey matter |" in write_report(result, tmp_path / "report.json")


def test_a_case_that_cannot_be_taken_is_left_out_for_all(plain: Path, synthesizer: Synthesizer, tmp_path: Path) -> None:
    class Young(Grey):
        name = "young"

        def predict(self, prepared: PreparedT1, covariates: Mapping[str, object]) -> np.ndarray:
            if int(covariates["age"]) > 75:
                raise InputError("age 80 is too much.")
            return super().predict(prepared, covariates)

    cases, grid = read_cases(plain), synthesizer.bundle.grid
    damaged = replace(cases[0], name="damaged", pet=plain / "participants.tsv")
    result = evaluate([Grey(), Young()], [damaged, *cases], grid, 3.5)
    assert [row["case"] for row in result["cases"]] == ["one"]
    assert [one["case"] for one in result["left_out"]] == ["damaged", "two"]
    assert result["left_out"][1]["reason"] == "age 80 is too much."
    alone = evaluate([Grey()], cases[:1], grid, 3.5)["summary"]["grey matter"]
    assert result["summary"]["grey matter"] == alone
    assert "Left out: two: age 80 is too much." in write_report(result, tmp_path / "report.json")
    with pytest.raises(InputError, match=r"^The case can't be evaluated; two: age 80 is too much\.$"):
        evaluate([Young()], cases[1:], grid, 3.5)


def test_an_outside_cohort_is_evaluated_without_those_that_the_model_cannot_take(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cohort, report = tmp_path / "cohort", tmp_path / "report.json"
    shutil.copytree(plain, cohort)
    (cohort / "participants.tsv").write_text("participant_id\tage\tsex\none\t70\tF\ntwo\t9\tM\n")
    arguments = ["evaluate", str(resource("Models", DEFAULT_BUNDLE)), str(cohort), "--output", str(report), "--force"]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert "Left out: two: age 9 is outside the range" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert [row["case"] for row in found["cases"]] == ["one"]
    assert [one["case"] for one in found["left_out"]] == ["two"]
    (cohort / "participants.tsv").write_text("participant_id\tage\none\t7\ntwo\t9\n")
    assert main([*arguments, "--device", "cpu"]) == 2
    assert "None of the 2 cases can be evaluated; one: age 7 is outside" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "drawn", "says"),
    [(np.zeros((2, 3, 4)), 3, r"grey matter gives a PET of the shape \(2, 3, 4\) for one, not"),
     (np.nan, 3, "grey matter gives values that are not finite"), (1.0, 2, "grey matter draws 2 PETs for one, not 3")],
)  # fmt: skip
def test_what_a_method_may_not_give(plain: Path, synthesizer: Synthesizer, answer, drawn: int, says: str) -> None:
    class Wrong(Grey):
        def predict(self, prepared: PreparedT1, covariates: Mapping[str, object]) -> np.ndarray:
            return answer if np.ndim(answer) else np.full(prepared.grid.shape, answer)

        def sample(self, prepared: PreparedT1, covariates: Mapping[str, object], samples: int, seed: int) -> list:
            return [self.predict(prepared, covariates)] * drawn

    with pytest.raises(InputError, match=says):
        evaluate([Wrong()], read_cases(plain), synthesizer.bundle.grid, 3.5, samples=3)


@pytest.mark.parametrize("samples", [1, -3])
def test_a_number_of_samples_that_shows_no_law(plain: Path, synthesizer: Synthesizer, samples: int) -> None:
    with pytest.raises(InputError, match=f"samples is {samples}; give at least 2, or 0"):
        evaluate([Grey()], read_cases(plain), synthesizer.bundle.grid, 3.5, samples=samples)


def test_processes_measure_what_one_measures(plain: Path, tmp_path: Path) -> None:
    """Which the shipped model is loaded by; and a case whose process is killed is left out, named."""
    bundle, reports = resource("Models", DEFAULT_BUNDLE), {}
    for name, options in {"here": [], "jobs": ["--jobs", "2"]}.items():
        reports[name] = tmp_path / f"{name}.json"
        assert (
            main(["evaluate", str(bundle), str(plain), "--output", str(reports[name]), "--device", "cpu", *options])
            == 0
        )
    here, jobs = (json.loads(path.read_text()) for path in reports.values())
    assert [one["case"] for one in jobs["cases"]] == [one["case"] for one in here["cases"]]
    for row, numbers in here["summary"].items():
        assert jobs["summary"][row] == pytest.approx(numbers, rel=1e-4), row


def test_a_case_whose_process_ends_is_left_out(plain: Path, synthesizer: Synthesizer) -> None:
    cases = read_cases(plain)
    one = [replace(case, covariates={"age": "70" if case is cases[0] else "71"}) for case in cases]
    found = evaluate([Deadly()], one, synthesizer.bundle.grid, 3.0, handed_out=work_off)
    assert [row["case"] for row in found["left_out"]] == [cases[0].name]
    assert "was killed" in found["left_out"][0]["reason"]
    assert len(found["cases"]) == len(cases) - 1


def test_each_row_has_a_name_of_its_own(plain: Path, synthesizer: Synthesizer) -> None:
    grid, cases = synthesizer.bundle.grid, read_cases(plain)
    with pytest.raises(InputError, match="would be called 'grey matter'"):
        evaluate([Grey(), Grey()], cases, grid, 3.5)
    for methods, some in (([], cases), ([Grey()], [])):
        with pytest.raises(InputError, match="at least one of each"):
            evaluate(methods, some, grid, 3.5)


def test_the_truth_of_a_case_is_found_where_the_simulator_puts_it(tmp_path: Path) -> None:
    def case(name: str, t1: Path) -> Case:
        return Case(name, name, t1, None)

    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "sub-0001.json").touch()
    t1 = tmp_path / "sub-0001/anat/sub-0001_T1w.nii.gz"
    assert truth_file(case("sub-0001", t1), "law") == tmp_path / "truth" / "sub-0001.json"
    assert truth_file(case("sub-0001", t1), "mean") is None
    assert truth_file(case("sub-0002", t1), "law") is None
    assert truth_file(case("sub-0001", Path("/t1.nii.gz")), "law") is None


def test_leakage_is_reported_on_request(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cohort, report = simulate_cohort(tmp_path / "cohort", 3, "small", seed=4242), tmp_path / "report.json"
    arguments = [str(write_untrained(tmp_path / "bundle")), str(cohort), "--output", str(report), "--device", "cpu"]
    assert main(["evaluate", *arguments, "--leakage"]) == 2
    assert "too few for a leakage report" in capsys.readouterr().err
    assert not report.exists()
    people = (cohort / "participants.tsv").read_text().splitlines()
    for copy in range(3, 21):  # the same three persons under other names
        old, new = f"sub-000{copy % 3 + 1}", f"sub-{copy + 1:04d}"
        for path in cohort.glob(f"{old}/*/*"):
            target = cohort / new / path.parent.name / path.name.replace(old, new)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
        people.append(people[copy % 3 + 1].replace(old, new))
    (cohort / "participants.tsv").write_text("\n".join(people) + "\n")
    assert main(["evaluate", *arguments, "--leakage"]) == 0
    assert "| level of the MRI | covariate |" in capsys.readouterr().out
    levels = json.loads(report.read_text())["leakage"]["levels"]
    assert {"image", "1", "below top"} <= levels.keys()
    assert levels["image"]["age"]["r2"] > 0.5  # three persons, each seven times: easily told again
