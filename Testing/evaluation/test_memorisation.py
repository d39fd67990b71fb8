"""A method that gives back what it was trained on is seen; one that doesn't isn't blamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.evaluation import read_report
from DualGlowLib.bundle.files import CONFIG
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.evaluation.memorisation import memorisation, memorisation_text
from DualGlowLib.files import hash_file
from DualGlowLib.simulate.cohort import simulate_cohort
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan
from tiny_training import write_settings

GRID = GRIDS["small"]


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("cohorts")
    counts = {"trained": 14, "held out": 8, "new": 10}
    return {
        name: simulate_cohort(folder / name, count, GRID, seed=80 + seed, independent_anatomy=True)
        for seed, (name, count) in enumerate(counts.items())
    }


class Repeating:
    """Gives PETs of a directory, whatever it is asked, after a change."""

    name = "repeating"

    def __init__(
        self, cohort: Path, change=lambda image, generator: image, share: float = 1.0, other: Path | None = None
    ):
        self.images = [read_scan(case.pet).data for case in read_cases(cohort)]
        self.others = [read_scan(case.pet).data for case in read_cases(other)] if other else self.images
        self.change, self.share = change, share

    def predict(self, prepared, covariates) -> np.ndarray:
        return self.images[0]

    def sample(self, prepared, covariates, samples: int, seed: int) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(seed)
        for _ in range(samples):
            images = self.images if generator.random() < self.share else self.others
            yield self.change(images[generator.integers(len(images))], generator)


def noisy(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return image + 0.15 * generator.standard_normal(image.shape).astype(np.float32)


def blurred(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return gaussian_filter(image, 0.5)


def found_of(method: object, cohorts: dict[str, Path], samples: int = 6) -> dict:
    sides = (read_cases(cohorts[name]) for name in ("held out", "trained"))
    return memorisation(method, *sides, GRID, samples)


@pytest.mark.parametrize("change", [lambda image, generator: image, noisy, blurred])
def test_a_method_that_repeats_its_training_is_flagged(cohorts: dict[str, Path], change) -> None:
    found = found_of(Repeating(cohorts["trained"], change), cohorts)
    assert found["flagged"]
    assert found["copies"] == 1
    assert found["samples"] == 48
    assert found["distance"]["sample_to_training"] < 0.6 * found["distance"]["truth_to_training"]
    assert "come back" in memorisation_text(found)


def test_one_that_repeats_now_and_then_too(cohorts: dict[str, Path]) -> None:
    found = found_of(Repeating(cohorts["trained"], share=0.25, other=cohorts["new"]), cohorts, 12)
    assert found["flagged"]
    assert 0.1 < found["copies"] < 0.4


def test_new_images_and_their_mean_are_not_flagged(cohorts: dict[str, Path]) -> None:
    """Even though a mean is nearer to all PETs than they are to each other."""
    new = found_of(Repeating(cohorts["new"]), cohorts)
    assert (new["flagged"], new["copies"] <= 0.05) == (False, True)

    class Mean(Repeating):
        name, sample = "mean", None

        def predict(self, prepared, covariates) -> np.ndarray:
            return np.mean(self.images, 0)

    mean = found_of(Mean(cohorts["trained"]), cohorts)
    assert (mean["flagged"], mean["copies"]) == (False, 0)
    assert mean["distance"]["sample_to_training"] < mean["distance"]["truth_to_training"]
    assert "no PET of its training comes back" in memorisation_text(mean)


def test_sessions_of_one_person_count_as_one(cohorts: dict[str, Path]) -> None:
    """Or a copy would have a near neighbour: the same person a year later."""
    from dataclasses import replace

    trained = read_cases(cohorts["trained"])
    twice = [replace(case, name=f"{case.name}_{visit}") for case in trained for visit in "ab"]
    found = memorisation(Repeating(cohorts["trained"]), read_cases(cohorts["held out"]), twice, GRID, 4)
    assert found["copies"] == 1


def test_cases_of_the_training_and_too_few_are_refused(cohorts: dict[str, Path]) -> None:
    trained, held_out = (read_cases(cohorts[name]) for name in ("trained", "held out"))
    method = Repeating(cohorts["new"])
    with pytest.raises(InputError, match=r"sub-0003 has the same PET as sub-0003"):
        memorisation(method, [*held_out, trained[2]], trained, GRID)
    for cases, training in ((held_out[:4], trained), (held_out, trained[:2])):
        with pytest.raises(InputError, match="takes at least 5 and 3"):
            memorisation(method, cases, training, GRID)


def test_evaluate_reports_it_and_the_card_of_what_is_published_says_it(
    cohorts: dict[str, Path], tmp_path: Path, capsys
) -> None:
    settings = write_settings(tmp_path / "settings.json", steps=2, sampled_cases=0)
    words = ["--output", str(tmp_path / "run"), "--config", str(settings), "--device", "cpu", "--licence", "mit"]
    assert main(["train", str(cohorts["trained"]), *words]) == 0
    bundle, report = tmp_path / "run/bundle", tmp_path / "report.json"
    training = json.loads((bundle / CONFIG).read_text())["training"]
    assert training["licence"] == "MIT"
    people, cases = training["people"], training["cases"]
    assert people["age"]["known"] == sum(people["sex"].values()) == sum(people["diagnosis"].values()) == cases
    assert cases + training["held_out"]["cases"] == 14
    words = ["--memorisation", str(cohorts["trained"]), "--samples", "2", "--device", "cpu"]
    assert main(["evaluate", str(bundle), str(cohorts["held out"]), "--output", str(report), *words]) == 0
    assert "| held-out PETs |" in capsys.readouterr().out
    told = json.loads(report.read_text())["memorisation"]
    assert told["training"] == 14
    assert told["held_out"] == len(told["cases"]) <= 8
    kept = read_report(report, hash_file(bundle / CONFIG))["memorisation"]
    assert "cases" not in kept
    words = ["--output", str(tmp_path / "out"), "--evaluation", str(report)]
    assert main(["bundle", "publish", str(bundle), *words]) == 0
    card = (tmp_path / "out/README.md").read_text()
    assert f"| memorisation | {told['verdict']} |" in card
    assert 'license: "mit"' in card
    assert main(["evaluate", str(bundle), str(cohorts["trained"]), "--output", str(tmp_path / "b.json"),
                 "--memorisation", str(cohorts["trained"]), "--device", "cpu"]) == 2  # fmt: skip
