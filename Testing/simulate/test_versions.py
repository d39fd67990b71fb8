"""Laws by name: which a cohort states, the uptake field, and mixed cohorts of real heads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.atlas.regions import PARTITION, REGIONS
from DualGlowLib.cases.layouts import read_cases
from DualGlowLib.cases.splits import read_splits
from DualGlowLib.simulate import cohort as cohorts
from DualGlowLib.simulate.anatomy import Anatomy, read_anatomies, template_anatomy, write_anatomies
from DualGlowLib.simulate.case import law_of, simulate_case
from DualGlowLib.simulate.cohort import HEAD_FOLDS, simulate_cohort, truth_file
from DualGlowLib.simulate.field import uptake_field
from DualGlowLib.simulate.labels import find_pairs, load_anatomy
from DualGlowLib.simulate.shape import Covariates, as_it_is, detail
from DualGlowLib.simulate.versions import LAWS, USUAL, law_named
from DualGlowLib.volumes.grid import GRIDS
from DualGlowLib.volumes.reading import read_scan

GRID = GRIDS["small"]
FIELD = LAWS["field-1"]


@pytest.fixture(scope="module")
def template() -> Anatomy:
    return template_anatomy()


# ---- names


def test_published_laws_stay() -> None:
    """A law is not changed under its name; the file of a field has its number too."""
    assert list(LAWS) == ["regions-1", "field-1"]
    assert USUAL is LAWS["regions-1"]
    assert (FIELD.field, FIELD.is_evened) == ("uptake_field_1.npz", True)
    field = uptake_field(FIELD.field)
    assert float(field[:, 20:60:13, 20:80:19, 20:60:13].sum()) == pytest.approx(136.3850, rel=1e-5)
    with pytest.raises(InputError, match="no law 'field-0'; choose one of regions-1, field-1"):
        law_named("field-0")


def test_a_cohort_states_its_law_and_keeps_to_it(tmp_path: Path) -> None:
    usual, other = (simulate_cohort(tmp_path / law, 1, GRID, 21, law=law) for law in LAWS)
    for folder, law in ((usual, "regions-1"), (other, "field-1")):
        assert json.loads((folder / "truth" / "cohort.json").read_text())["law"] == law
        case = read_cases(folder)[0]
        assert json.loads(truth_file(case, "law").read_text())["law"] == law
    drawn = simulate_case(cohorts.case_seed(21, 0), [template_anatomy()], GRID, version=FIELD)
    assert np.allclose(read_scan(truth_file(case, "mean")).data, drawn.mean, atol=1e-4)
    with pytest.raises(InputError, match="another law; give the same law"):
        simulate_cohort(usual, 2, GRID, 21, law="field-1")
    settings = json.loads((usual / "truth" / "cohort.json").read_text())
    del settings["law"], settings["mixed"]  # as one of before
    (usual / "truth" / "cohort.json").write_text(json.dumps(settings))
    simulate_cohort(usual, 1, GRID, 21)


# ---- the field


def test_a_field_changes_the_mean_and_leaves_effects_as_they_are(template: Anatomy) -> None:
    """Age, sex and diagnosis change the uptake of a place by the share that they did; the pons stays 1."""
    field = uptake_field(FIELD.field)
    assert torch.allclose(field, field.flip(1), atol=1e-5)
    assert 0.4 < float(field.min()) < 0.9
    assert 1.1 < float(field.max()) < 2.5
    shape = as_it_is(template)
    found = {}
    for law in (USUAL, FIELD):
        for age, diagnosis in ((65.0, "CN"), (85.0, "CN"), (65.0, "AD")):
            drawn = law_of(shape, Covariates(age, "F", diagnosis), 0.0, GRID, law)
            means = drawn.region_law()[0]
            found[law.name, age, diagnosis] = means[: len(PARTITION)].numpy()
            assert float(means[REGIONS.index("pons")]) == pytest.approx(1, abs=0.03)
    for age, diagnosis in ((85.0, "CN"), (65.0, "AD")):
        effects = [found[law, age, diagnosis] / found[law, 65.0, "CN"] for law in LAWS]
        assert np.abs(effects[1] - effects[0]).max() < 0.02
    change = found["field-1", 65.0, "CN"] / found["regions-1", 65.0, "CN"]
    assert 0.04 < np.abs(np.log(change)).max() < 0.5


# ---- T1s


@pytest.fixture(scope="module")
def heads(template: Anatomy) -> list[Anatomy]:
    """The template four times, as if it were a head's that had been prepared."""
    prepared = simulate_case(3, [template], GRID, version=FIELD)
    own = torch.stack([prepared.t1, prepared.mask.float()])
    return [replace(template, name=f"p{i}", shown=template.mask, prepared=own) for i in range(4)]


def test_a_prepared_case_is_the_head_as_it_is(heads: list[Anatomy]) -> None:
    one, other = (simulate_case(seed, heads, GRID, version=FIELD, kind="prepared") for seed in (1, 2))
    assert torch.equal(one.mask, heads[0].prepared[1] > 0.5)
    pair = torch.stack([one.t1[one.mask], heads[0].prepared[0][one.mask]])
    assert torch.corrcoef(pair)[0, 1] > 0.99
    assert one.covariates != other.covariates
    assert not torch.equal(one.t1, other.t1)  # another sharpness
    expected = law_of(as_it_is(heads[0]), one.covariates, one.atrophy, GRID, FIELD)
    assert torch.equal(one.mean, expected.mean)


def test_a_kind_that_is_not_there_is_an_error(template: Anatomy) -> None:
    with pytest.raises(ValueError, match="regions-1 has no T1s of the kind 'deformed'"):
        simulate_case(1, [template], GRID, kind="deformed")
    with pytest.raises(ValueError, match="mni152 was not kept as prepared on the grid small"):
        simulate_case(1, [template], GRID, version=FIELD, kind="prepared")


def test_a_deformed_case_has_the_noise_of_its_head_alone(heads: list[Anatomy]) -> None:
    """The T1 lies where the law says that the brain is."""
    case = simulate_case(5, heads, GRID, version=FIELD, kind="deformed")
    law = law_of(as_it_is(heads[0]), case.covariates, case.atrophy, GRID, FIELD)
    assert float((case.mean - law.mean).abs().max()) > 0.3  # deformed
    own = case.t1[case.mask]
    assert float(own.max()) <= 1.5
    bright = own > own.quantile(0.6)
    assert float(case.mean[case.mask][bright].mean()) < float(case.mean[case.mask][~bright & (own > 0.3)].mean())


def test_once_interpolated_t1s_are_sharper(template: Anatomy) -> None:
    def sharpness(**law: object) -> float:
        drawn = (simulate_case(seed, [template], GRID, **law) for seed in range(2))
        return float(np.mean([float(detail(case.t1, case.mask)[case.mask].std()) for case in drawn]))

    assert sharpness(version=FIELD) > 1.08 * sharpness()


def test_anatomies_travel_with_what_they_show(heads: list[Anatomy], template: Anatomy, tmp_path: Path) -> None:
    head = replace(heads[0], **{k: v.clone() for k, v in vars(heads[0]).items() if isinstance(v, torch.Tensor)})
    write_anatomies([head, template], tmp_path / "a.safetensors")
    head, plain = read_anatomies(tmp_path / "a.safetensors")
    assert torch.equal(head.prepared, heads[0].prepared)
    assert torch.equal(head.shown, template.mask)
    assert plain.shown is None
    assert plain.prepared is None
    assert torch.equal(plain.visible, template.mask)


# ---- mixed cohorts


def test_a_mixed_cohort_keeps_heads_on_one_side(
    heads: list[Anatomy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load(folder: Path, progress: object, version: object, grid: object) -> list[Anatomy]:
        asked.append((version, grid))
        return heads

    monkeypatch.setattr(cohorts, "find_pairs", lambda folder: [(head.name, None, None) for head in heads])
    monkeypatch.setattr(cohorts, "load_anatomies", load)
    for count in (5, 8):
        out = simulate_cohort(tmp_path / "out", count, GRID, 2, anatomy=tmp_path, law="field-1", mixed=True)
    assert asked == [(FIELD, GRID)] * 2
    cases = read_cases(out)
    truths = [json.loads(truth_file(case, "law").read_text()) for case in cases]
    assert [one["kind"] for one in truths] == ["prepared", "prepared", "deformed", "photograph"] * 2
    assert json.loads((out / "truth" / "cohort.json").read_text())["anatomies"] == ["p0", "p1", "p2", "p3"]
    head = {one["participant_id"].removeprefix("sub-"): one["anatomy"] for one in truths}
    splits = read_splits(out / "truth" / "folds.json", cases)
    assert splits.folds == HEAD_FOLDS
    for fold in range(HEAD_FOLDS):
        train, test = ({head[case.subject.removeprefix("sub-")] for case in side} for side in splits.fold(fold))
        assert train
        assert not train & test


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixed": True}, "needs a law of evened heads, not regions-1"),
        ({"mixed": True, "law": "field-1"}, "needs 3 labelled heads or more, not 0"),
        ({"law": "field"}, "no law 'field'"),
    ],
)
def test_what_a_mix_needs(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_cohort(tmp_path / "out", 1, GRID, **options)
    assert not (tmp_path / "out").exists()


def test_a_real_head_as_the_pipeline_sees_it(shared: Path) -> None:
    """Evened, in the mask that is found; its tissue as far as the labels reach."""
    name, t1, label = find_pairs(shared / "data" / "elderly")[0]
    head = load_anatomy(t1, label, name, version=FIELD, grid=GRID)
    assert head.prepared.shape == (2, *GRID.shape)
    assert torch.allclose(head.gm + head.wm + head.csf, head.mask, atol=1e-4)
    assert 0.85 < float((head.shown * head.mask).sum() / head.mask.sum()) <= 1
    assert float((head.shown - head.mask).abs().sum()) > 1000
    assert 600 < float(head.gm.sum() * 0.008) < 1100
    case = simulate_case(1, [head], GRID, version=FIELD, kind="prepared")
    assert torch.equal(case.mask, head.prepared[1] > 0.5)
