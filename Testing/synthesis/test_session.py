"""The session: what is kept, what is drawn, and how it goes on when something goes wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from DualGlowLib import InputError
from DualGlowLib.atlas.regions import REGIONS
from DualGlowLib.atlas.template import load_template
from DualGlowLib.bundle.bundle import load_bundle, save_bundle
from DualGlowLib.preparation.adoption import adopt
from DualGlowLib.preparation.t1 import Prepared, prepare, to_patient
from DualGlowLib.synthesis.cache import SizedCache
from DualGlowLib.synthesis.draws import Distribution
from DualGlowLib.synthesis.question import Question
from DualGlowLib.synthesis.region_table import interval90, region_rows
from DualGlowLib.synthesis.session import Cancelled, Session
from DualGlowLib.volumes.grid import GRIDS, Grid
from DualGlowLib.volumes.resampling import resample
from DualGlowLib.volumes.scan import Scan


def ask(age: float | None = None, sex: str | None = None, diagnosis: str | None = None, **draws) -> Question:
    return Question({"age": age, "sex": sex, "diagnosis": diagnosis}, **draws)


STEP = 3.0  # millimetres: a small T1


def template_scan() -> tuple[Scan, np.ndarray]:
    """The template's T1 in large voxels, its left first and lying a little askew, and its mask."""
    t1, mask = load_template().t1, load_template().mask
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    affine = turn @ np.array([[-STEP, 0, 0, 99], [0, STEP, 0, -140], [0, 0, STEP, -82], [0, 0, 0, 1.0]])
    shape = (67, 80, 60)
    inside = resample(mask.data, mask.affine, shape, affine) > 0.5
    return Scan(resample(t1.data, t1.affine, shape, affine), affine, "template"), inside


@pytest.fixture(scope="module")
def module_session() -> Session:
    session = Session()
    session.open(None, "cpu")
    scan, mask = template_scan()
    session.prepare(scan, mask, key="template")
    return session


@pytest.fixture
def session(module_session: Session) -> Session:
    """With the template for a patient."""
    patient, kept = module_session.prepare(lambda: pytest.fail("It is prepared already."), key="template")
    assert kept
    assert patient is module_session.patient
    return module_session


# ---------------------------------------------------------------------------------------------------- on the way back


@pytest.mark.parametrize("turned", [False, True])
def test_boxes_change_no_value(turned: bool) -> None:
    """``to_patient`` resamples only where the brain is; as if it had resampled everywhere."""
    template, grid = load_template(), GRIDS["small"]
    affine = np.array([[0, 0, 2.0, -80], [-2.2, 0.2, 0, 95], [0, 2.1, 0.3, -90], [0, 0, 0, 1]])
    if turned:
        affine = np.array([[-1.1, 0, 0, 120], [0, 2.9, 0, -150], [0, 0, 2.9, -80], [0, 0, 0, 1]])
    shape = (90, 90, 90)
    mask = resample(template.mask.data, template.mask.affine, shape, affine) > 0.5
    scan = Scan(np.zeros(shape, np.float32), affine)
    prepared = Prepared(grid, np.zeros(grid.shape), np.zeros(grid.shape, bool), scan, mask, np.diag([1.1, 1, 0.9, 1]))
    volume = np.random.default_rng(0).normal(1, 0.5, grid.shape).astype(np.float32)
    whole = resample(volume, grid.affine, shape, prepared.to_template @ affine, order=3)
    expected = np.clip(whole, volume.min(), volume.max()) * prepared.patient_edge
    found = to_patient(volume, prepared)
    assert np.abs(found.data - expected).max() < 1e-5
    assert np.array_equal(found.data != 0, expected != 0)
    assert np.count_nonzero(expected) > 50_000
    assert sum(np.prod([side.stop - side.start for side in box]) for box, _ in prepared.patient_slabs) < 0.7 * mask.size
    everywhere = to_patient(volume, prepared, mask=False).data
    assert np.abs(everywhere - np.clip(whole, volume.min(), volume.max())).max() < 1e-5


def test_edge_of_a_mask_at_the_border_and_of_none() -> None:
    mask = np.zeros((20, 20, 20), bool)
    grid = GRIDS["small"]
    empty = Prepared(grid, np.zeros(grid.shape), np.zeros(grid.shape, bool), Scan(mask, np.eye(4)), mask, np.eye(4))
    assert not to_patient(np.ones(grid.shape), empty).data.any()
    mask = mask.copy()
    mask[:5, 3:18, 19] = True
    cut = Prepared(grid, np.zeros(grid.shape), np.zeros(grid.shape, bool), Scan(mask, np.eye(4)), mask, np.eye(4))
    centres = np.argwhere(np.ones(mask.shape)).reshape(*mask.shape, 3)
    inside = np.argwhere(mask)
    for place in [(6, 10, 19), (2, 10, 16), (7, 10, 19), (0, 3, 19), (2, 1, 19), (2, 10, 10)]:
        # Distance to the mask's nearest voxel: the edge is 1 to 1.5 mm and 0 from 3.5 mm on.
        distance = np.linalg.norm(inside - centres[place], axis=1).min()
        assert cut.patient_edge[place] == pytest.approx(np.clip((3.5 - distance) / 2, 0, 1), abs=1e-5)


# --------------------------------------------------------------------------------------------------- model and patient


def test_description(session: Session) -> None:
    about = session.describe()
    assert about["name"] == session.synthesizer.bundle.name
    assert about["sha256"] == session.synthesizer.bundle.digest
    assert about["simulated"] is True
    assert about["grid"]["shape"] == list(session.synthesizer.bundle.grid.shape)
    assert np.allclose(about["grid"]["affine"], session.synthesizer.bundle.grid.affine)
    assert about["regions"] == list(REGIONS)
    assert about["resolution"] == 7.0
    covariates = {one["name"]: one for one in about["covariates"]}
    assert covariates["age"]["range"] == [40.0, 100.0]
    assert covariates["sex"]["values"] == ["F", "M"]
    assert "Research use only" in about["card"]


def test_opening_the_same_again_loads_nothing(session: Session) -> None:
    before = session.synthesizer
    session.open(None, "cpu")
    assert session.synthesizer is before


def test_nothing_without_model_or_patient() -> None:
    session = Session()
    with pytest.raises(InputError, match="open one first"):
        session.prepare(template_scan()[0])
    with pytest.raises(InputError, match="open one first"):
        session.sample(ask())
    session.open(None, "cpu")
    asked = ask(70)
    for do in (session.sample, lambda one: session.keyframes(one, [70], [0]), lambda one: session.sweep(one, [70])):
        with pytest.raises(InputError, match="prepare a T1 first"):
            do(asked)


def test_refused_or_cancelled_t1_leaves_no_patient(session: Session) -> None:
    kept = session.patient
    with pytest.raises(InputError, match="same value"):
        session.prepare(Scan(np.ones((80, 80, 80), np.float32), np.diag([3, 3, 3, 1.0])), key="flat")
    assert session.patient is None

    def cancel(stage: str, fraction: float) -> None:
        if stage == "registration":
            raise Cancelled

    scan, mask = template_scan()
    with pytest.raises(Cancelled):
        session.prepare(scan, mask, key="other", progress=cancel)
    assert session.patient is None
    with pytest.raises(InputError, match="prepare a T1 first"):
        session.sample(ask(70))
    # Two inputs in turn: the first one is still known by its key.
    assert session.prepare(lambda: pytest.fail("read again"), key="template") == (kept, True)


def test_what_is_prepared_already_gives_what_preparing_gave(session: Session) -> None:
    direct = session.patient
    expected = session.sample(ask(70, "F", temperature=1.0, samples=2, seed=3))
    grid = session.synthesizer.bundle.grid
    stages: list[str] = []
    patient, kept = session.prepare(
        Scan(direct.prepared.t1, grid.affine, "prepared"),
        prepared=True, key="prepared", progress=lambda stage, share: stages.append(stage),
    )  # fmt: skip
    assert not kept
    assert "registration" not in stages
    assert np.array_equal(patient.prepared.t1, direct.prepared.t1)
    assert np.array_equal(patient.prepared.to_template, np.eye(4))
    found = session.sample(ask(70, "F", temperature=1.0, samples=2, seed=3))
    assert np.array_equal(found.distribution.mean, expected.distribution.mean)
    assert found.regions == expected.regions
    # On the T1's own lattice, which here is the grid: nothing is moved.
    inside = patient.prepared.patient_mask
    assert np.abs(found.mean.data - found.distribution.mean)[inside].max() < 1e-4


def test_prepared_on_another_lattice(session: Session) -> None:
    direct, grid = session.patient.prepared, session.synthesizer.bundle.grid
    finer = Grid("finer", (96, 112, 88), (1.9, 1.9, 1.9))
    scan, mask = template_scan()
    written = prepare(scan, finer, mask)
    found = adopt(Scan(written.t1, finer.affine), grid)
    both = found.mask & direct.mask
    assert 2 * both.sum() / (found.mask.sum() + direct.mask.sum()) > 0.97
    assert np.abs(found.t1 - direct.t1)[both].mean() < 0.05  # it was interpolated twice
    assert abs(np.median(found.t1[both]) - np.median(direct.t1[both])) < 0.02


def test_regions_that_a_prepared_t1_lacks_have_no_value(session: Session, tmp_path: Path) -> None:
    grid, t1 = session.synthesizer.bundle.grid, session.patient.prepared.t1
    assert adopt(Scan(t1, grid.affine), grid).regions_known.all()

    cut = t1.copy()
    cut[: grid.shape[0] // 4] = 0  # a quarter of the box at the left
    found = adopt(Scan(cut, grid.affine), grid)
    unknown = {name for name, known in zip(REGIONS, found.regions_known, strict=True) if not known}
    assert "lateral_temporal_L" in unknown
    assert not any(name.endswith("_R") for name in unknown)
    assert found.verdict.status == "doubtful"
    assert "lateral_temporal_L" in found.verdict.reasons[0]

    about = {"quality": {"regions_seen": {"occipital": 0.8, "=1+1": 0}}, "verdict": {"reasons": ["The brain is cut."]}}
    (tmp_path / "t1.json").write_text(json.dumps({"Preparation": about}))
    found = adopt(Scan(t1, grid.affine, str(tmp_path / "t1.nii.gz")), grid)
    assert [name for name, known in zip(REGIONS, found.regions_known, strict=True) if not known] == ["occipital"]
    assert found.verdict.reasons[-1] == "The brain is cut"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda scan: Scan(scan.data * 300, scan.affine), "white matter is near 300"),
        (lambda scan: Scan(scan.data - 0.1, scan.affine), "not prepared: its values run from -0.1"),
        (lambda scan: Scan(scan.data, scan.affine + 40 * np.eye(4, k=3)), "overlaps"),
        (lambda scan: Scan(np.where(scan.data > 0, scan.data, 0.9), scan.affine), "100% of it is above 0"),
        (lambda scan: Scan(np.where(scan.data > 0, 1.3 - 0.65 * scan.data, 0), scan.affine), "correlates"),
    ],
)
def test_what_is_not_prepared_is_refused(session: Session, spoil, words: str) -> None:
    grid = session.synthesizer.bundle.grid
    scan = spoil(Scan(session.patient.prepared.t1, grid.affine, "T1"))
    with pytest.raises(InputError, match=words):
        adopt(scan, grid)


def test_template_as_it_is_counts_as_prepared_only_after_scaling(session: Session) -> None:
    grid, t1 = session.synthesizer.bundle.grid, load_template().t1
    with pytest.raises(InputError, match="is not prepared"):
        adopt(t1, grid)


# ---------------------------------------------------------------------------------------------------------------- PETs


def test_sample_is_the_synthesizers(session: Session) -> None:
    shares: list[float] = []
    question = ask(72, "M", "AD", temperature=0.7, samples=3, seed=5, below=1.0)
    found = session.sample(question, lambda stage, share: shares.append(share))
    expected = session.synthesizer.sample(session.patient.encoded, question)
    assert np.array_equal(found.mean.data, expected.mean.data)
    assert np.array_equal(found.sd.data, expected.sd.data)
    assert np.array_equal(found.below.data, expected.below.data)
    assert found.mean.shape == session.patient.prepared.scan.shape
    assert found.provenance == expected.provenance
    assert [row["region"] for row in found.regions] == list(REGIONS)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for row, values in zip(found.regions, expected.distribution.regions.T, strict=True):
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert row["low"] < row["mean"] < row["high"]
    alone = session.sample(ask(72))
    assert alone.sd is None
    assert all(row["sd"] is row["low"] is row["high"] is None for row in alone.regions)


def test_one_is_a_sample_of_the_many(session: Session) -> None:
    many = session.sample(ask(65, temperature=1.0, samples=3, seed=9))
    ones = [session.sample(ask(65, temperature=1.0, samples=3, seed=9).one(index)) for index in range(3)]
    mean = np.mean([one.distribution.mean for one in ones], axis=0)
    assert np.abs(mean - many.distribution.mean).max() < 1e-5
    assert np.abs(ones[0].distribution.mean - ones[2].distribution.mean).max() > 0.05
    assert ones[2].provenance["FirstSample"] == 2


def test_keyframes_are_kept_and_share_their_noise(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    original = type(session.synthesizer).distribution

    def counted(self, *arguments, **options) -> Distribution:
        drawn.append(arguments[1].covariates["age"])
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(session.synthesizer), "distribution", counted)
    frames = list(session.keyframes(ask(sex="F", samples=2, seed=11), [61, 71], [0.0, 1.0]))
    assert [(age, temperature) for age, temperature, _ in frames] == [(61, 0.0), (71, 0.0), (61, 1.0), (71, 1.0)]
    assert drawn == [61, 71, 61, 71]
    again = list(session.keyframes(ask(sex="F", samples=2, seed=11), [71, 61], [1.0]))
    assert drawn == [61, 71, 61, 71]
    assert again[0][2] is frames[3][2]
    # Where no noise is drawn, neither the seed nor the number of samples makes another frame.
    assert next(session.keyframes(ask(sex="F", samples=5, seed=12), [61], [0.0]))[2] is frames[0][2]
    exact = session.sample(ask(71, "F", temperature=1.0, samples=2, seed=11))
    assert np.array_equal(exact.distribution.mean, frames[3][2])
    # And what was sampled is a frame from then on; another seed is not.
    session.sample(ask(66, "F", temperature=1.0, samples=2, seed=11))
    before = len(drawn)
    list(session.keyframes(ask(sex="F", samples=2, seed=11), [66], [1.0]))
    assert len(drawn) == before
    list(session.keyframes(ask(sex="F", samples=2, seed=12), [66], [1.0]))
    assert len(drawn) == before + 1
    with pytest.raises(ValueError, match="read-only"):
        frames[0][2][0, 0, 0] = 1


def test_keyframes_of_later_samples_are_others(session: Session) -> None:
    ages, question = [62], ask(temperature=1.0, seed=11)
    later = next(session.keyframes(replace(question, first=5), ages, [1.0]))[2]
    assert np.abs(next(session.keyframes(question, ages, [1.0]))[2] - later).max() > 0.01


def test_keyframes_of_another_patient_are_others(session: Session) -> None:
    mine = next(session.keyframes(ask(), [60], [0.0]))[2]
    prepared = session.patient.prepared
    scan = Scan(np.where(prepared.t1 > 0.5, prepared.t1, 0.8 * prepared.t1), prepared.grid.affine)
    session.prepare(scan, prepared=True)
    assert np.abs(next(session.keyframes(ask(), [60], [0.0]))[2] - mine).max() > 0.01


def test_keyframes_refuse_before_the_first(session: Session) -> None:
    with pytest.raises(InputError, match="age 200"):
        session.keyframes(ask(), [60, 200], [0.0])
    with pytest.raises(InputError, match="temperature is 9"):
        session.keyframes(ask(), [60], [0.0, 9.0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"age": 300}, "age 300"),
        ({"age": 10**400}, "age must be a number, not 1000"),
        ({"sex": "X"}, "sex is 'X'"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)}, "7 temperatures are given"),
        ({"samples": 0}, "samples is 0"),
        ({"samples": 100000}, "samples is 100000"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"below": 0}, "threshold"),
        ({"first": -1}, "number of the first sample"),
    ],
)
def test_values_that_cannot_be(session: Session, values: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        session.sample(ask(**values))


def test_cancelled_sampling_leaves_the_session_usable(session: Session) -> None:
    shares: list[float] = []

    def cancel(stage: str, share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        session.sample(ask(70, temperature=1.0, samples=100), cancel)
    assert len(shares) == 3
    assert session.sample(ask(70)).provenance["Device"] == "cpu"


def test_sweep(session: Session) -> None:
    steps: list[tuple] = []
    picture = session.sweep(ask(sex="F"), [55, 85], lambda age, made: steps.append((age, made)))
    assert [age for age, _ in steps] == [55, 85]
    for age, made in steps:
        assert np.array_equal(made.distribution.mean, session.sample(ask(age, "F")).distribution.mean)
    assert picture.dtype == np.uint8
    body = picture[48 : picture.shape[0] // 2, 20:-60].astype(int)  # the upper half; below, what has changed
    young, old = body[:, : body.shape[1] // 2], body[:, body.shape[1] // 2 :]
    assert young.sum() > 1.02 * old.sum()  # uptake falls with age, in the same colours
    assert ((young.sum(2) > 60) == (old.sum(2) > 60)).mean() > 0.97  # and the brain stays where it is
    with pytest.raises(InputError, match="0 ages"):
        session.sweep(ask(), [])


def test_a_sweep_shows_what_has_changed_since_its_first_age(session: Session) -> None:
    """Below the PETs: nothing for the first age, and less uptake, which is blue, for the last."""
    alone, both = session.sweep(ask(sex="F"), [55]), session.sweep(ask(sex="F"), [55, 85])
    assert both.shape[0] == 2 * alone.shape[0]
    body = both[alone.shape[0] + 60 :, 30:-70].astype(int)
    first, last = body[:, : body.shape[1] // 2], body[:, body.shape[1] // 2 :]
    blue = [int(((part[..., 2] - part[..., 0]) > 60).sum()) for part in (first, last)]
    assert blue[0] == 0
    assert blue[1] > 2000


def test_change_since_an_age(session: Session) -> None:
    """On the T1's lattice what the two results differ by, from the same noise; per cent of the other."""
    question = ask(80, "F", temperature=1.0, samples=2)
    heard: list[float] = []
    found = session.change(question, 50, lambda stage, share: heard.append(share))
    now, then = session.sample(question), session.sample(question.at(age=50))
    np.testing.assert_allclose(found.difference.data, now.mean.data - then.mean.data, atol=1e-2)  # cut to their ranges
    inside = session.patient.prepared.patient_edge == 1
    inside &= then.mean.data > 0.5
    expected = 100 * (now.mean.data / np.where(inside, then.mean.data, 1) - 1)
    np.testing.assert_allclose(found.percent.data[inside], expected[inside], atol=0.5)
    assert (found.provenance["Age"], found.provenance["SinceAge"]) == (80, 50)
    for row, after, before in zip(found.regions, now.regions, then.regions, strict=True):
        assert row["change"] == pytest.approx(after["mean"] - before["mean"], abs=1e-4)
        assert row["percent"] == pytest.approx(100 * row["change"] / before["mean"], abs=1e-2)
    assert heard == sorted(heard)
    assert not session.change(question, 80).difference.data.any()
    with pytest.raises(InputError, match="age is unknown"):
        session.change(ask(sex="F"), 50)
    with pytest.raises(InputError, match="age"):
        session.change(question, 1000)


def test_a_covariate_that_the_model_does_not_know_is_refused(session: Session) -> None:
    """Provenance states what went into an image: what can't go in is not asked for in silence."""
    known = r"doesn't know education, but age, sex, diagnosis"
    question = Question({"age": 70, "education": 12})
    for do in (session.sample, session.provenance, lambda one: session.sweep(one, [60])):
        with pytest.raises(InputError, match=known):
            do(question)
    session.sample(Question({"age": 70, "education": None}))  # which says nothing


# ---------------------------------------------------------------------------------------------------------- GPU and CPU


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory (MPS …)")]
)
def test_full_gpu_goes_on_with_the_cpu(session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    expected = session.sample(ask(70, temperature=1.0, samples=2))
    told, calls = [], []
    monkeypatch.setattr(session, "notice", told.append)
    monkeypatch.setattr(session, "device", "cuda:0")  # as if: there need be none here
    model = session.synthesizer.model
    draw = model.sample

    def full_at_the_second(*arguments, **options) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return draw(*arguments, **options)

    monkeypatch.setattr(model, "sample", full_at_the_second)
    found = session.sample(ask(70, temperature=1.0, samples=2))
    assert len(calls) == 4
    assert found.provenance["Device"] == session.device == "cpu"
    assert len(told) == 1
    assert "cuda:0" in told[0]
    assert "out of memory" in session.device_reason
    assert np.array_equal(found.distribution.mean, expected.distribution.mean)
    assert session.patient.by is session.synthesizer
    session.sample(ask(70))
    assert len(told) == 1


def test_faults_of_ours_are_not_taken_for_the_gpus(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments, **options) -> None:
        raise RuntimeError("The size of tensor a must match")

    monkeypatch.setattr(session, "device", "cuda:0")
    monkeypatch.setattr(session.synthesizer.model, "sample", fail)
    with pytest.raises(RuntimeError, match="must match"):
        session.sample(ask(70))
    assert session.device == "cuda:0"


# ----------------------------------------------------------------------------------------------- beside an acquired PET


@pytest.fixture(scope="module")
def pets(module_session: Session) -> tuple[Scan, Scan]:
    """Of the template at 70, drawn from the model: as it is but elsewhere; with a hole in the posterior cingulate."""
    session = module_session
    session.prepare(lambda: pytest.fail("read again"), key="template")
    prepared, grid = session.patient.prepared, session.synthesizer.bundle.grid
    drawn = session.sample(ask(70, temperature=1.0, seed=4321)).distribution.mean
    affine = np.linalg.inv(prepared.to_template) @ grid.affine
    moved = np.eye(4)
    moved[:3, 3] = 6, -4, 5
    points = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1) @ grid.affine[:3, :3].T
    distance = np.linalg.norm(points + grid.affine[:3, 3] - (0, -56, 30), axis=-1)
    hole = drawn * (1 - 0.7 * np.exp(-((distance / 25) ** 2)))
    return Scan(1000 * drawn, moved @ affine, "PET"), Scan(hole.astype(np.float32), affine, "PET")


def test_pet_that_fits(session: Session, pets: tuple[Scan, Scan]) -> None:
    stages: list[tuple[str, float]] = []
    found = session.compare(pets[0], ask(70, samples=6), progress=lambda *told: stages.append(told))
    shift = found.prepared.pet_to_t1[:3, :3] @ (6, -4, 5) + found.prepared.pet_to_t1[:3, 3]
    assert np.abs(shift).max() < 1.5
    assert {"registration", "sampling", "likelihood"} <= {stage for stage, _ in stages}
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    prepared = session.patient.prepared
    inside = prepared.patient_mask
    assert found.pet.shape == found.z.shape == found.difference.shape == inside.shape
    assert np.allclose(found.z.affine, prepared.scan.affine)
    assert 0.4 < np.abs(found.z.data[inside]).mean() < 1.6
    assert not found.z.data[prepared.patient_edge == 0].any()
    assert np.median(np.abs([row["z"] for row in found.regions])) < 2.5
    assert found.metrics.correlation > 0.85
    assert 0 < found.percentile < 100
    expected = session.sample(ask(70, temperature=1.0, samples=6)).mean.data
    core = prepared.patient_edge == 1
    assert np.corrcoef((found.pet.data - expected)[core], found.difference.data[core])[0, 1] > 0.7


def test_pet_that_does_not_fit(session: Session, pets: tuple[Scan, Scan]) -> None:
    found = session.compare(pets[1], ask(70, samples=6), registered=True)
    rows = {row["region"]: row for row in found.regions}
    hit = rows["posterior_cingulate_precuneus"]
    assert hit["z"] < -2  # persons of one T1 differ by an eighth there
    assert hit["real"] < hit["low"]
    assert hit["z"] == pytest.approx((hit["real"] - hit["mean"]) / hit["sd"])
    assert abs(rows["lateral_frontal_R"]["z"]) < 4
    place = (
        np.linalg.inv(session.patient.prepared.scan.affine)
        @ np.linalg.inv(session.patient.prepared.to_template)
        @ (0, -56, 30, 1)
    )
    i, j, k = np.round(place[:3]).astype(int)
    assert found.z.data[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].mean() < -4


def test_registration_of_a_pet_is_kept(
    session: Session, pets: tuple[Scan, Scan], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session.compare(pets[1], ask(70, samples=2), registered=True)
    name = "DualGlowLib.synthesis.session.prepare_pet"
    monkeypatch.setattr(name, lambda *_, **options: pytest.fail("registered again"))
    second = session.compare(pets[1], ask(80, samples=2), registered=True)
    assert second.prepared is first.prepared
    assert second.regions[0]["real"] == first.regions[0]["real"]
    assert second.regions[0]["mean"] != first.regions[0]["mean"]
    with pytest.raises(InputError, match="at least 2"):
        session.compare(pets[1], ask())


def test_a_model_with_another_reference_region_gets_its_own_suvr(
    session: Session, pets: tuple[Scan, Scan], tmp_path: Path
) -> None:
    """The T1 stays prepared, since both models want it alike; the PET doesn't."""
    shipped = load_bundle()
    about = {**shipped.training, "preparation": {"reference": "brain", "resolution": 7.0}}
    save_bundle(replace(shipped, training=about), tmp_path / "model", "# card\n")
    session.open(None, "cpu")
    first = session.compare(pets[1], ask(70, samples=2), registered=True)
    patient = session.patient
    try:
        session.open(tmp_path / "model", "cpu")
        assert session.patient is patient
        second = session.compare(pets[1], ask(70, samples=2), registered=True)
    finally:
        session.open(None, "cpu")
    assert (first.prepared.reference, second.prepared.reference) == ("pons", "brain")


def test_the_bar_of_a_comparison_is_in_proportion_to_its_time(session: Session, pets) -> None:
    """A PET that is registered already brings no share of the bar, and many samples take most of it."""
    starts = {}
    for samples in (2, 12):
        heard: list[tuple[str, float]] = []

        def hear(stage: str, share: float, heard: list = heard) -> None:
            heard.append((stage, share))

        session.compare(pets[1], ask(71, samples=samples), registered=True, progress=hear)
        shares = [share for _stage, share in heard]
        assert shares == sorted(shares)
        assert shares[-1] == 1
        starts[samples] = heard
    assert starts[12][0][1] < 0.1  # not half of it at once
    likelihood = {
        samples: [share for stage, share in heard if stage == "likelihood"] for samples, heard in starts.items()
    }
    assert likelihood[12][-1] > 0.9 > likelihood[2][-1] - likelihood[2][0]


# -------------------------------------------------------------------------------------------------------------- numbers


def law(samples: int, seed: int = 0) -> Distribution:
    values = 1 + 0.1 * np.random.default_rng(seed).normal(size=(samples, len(REGIONS))).astype(np.float32)
    return Distribution(np.zeros(1), None, None, None, values, samples)


@pytest.mark.parametrize("samples", [2, 5, 18, 19, 40])
def test_intervals_hold_nine_in_ten(samples: int) -> None:
    """Of further samples of a normal law, on average over many runs; also of few samples."""
    inside = []
    for seed in range(60):
        low, high = interval90(law(samples, seed))
        new = 1 + 0.1 * np.random.default_rng(1000 + seed).normal(size=(200, len(REGIONS)))
        inside.append(((new >= low) & (new <= high)).mean())
    assert 0.88 < np.mean(inside) < 0.92


@pytest.mark.parametrize(("samples", "student"), [(2, 6.3138), (6, 2.0150), (18, 1.7396)])
def test_few_samples_give_students_interval(samples: int, student: float) -> None:
    """Of any table: 95th percentile with one degree of freedom less than samples."""
    found = law(samples)
    half = student * found.regions.std(0, ddof=1) * np.sqrt(1 + 1 / samples)
    np.testing.assert_allclose(interval90(found)[1] - found.regions.mean(0), half, rtol=1e-4)


def test_rows_of_one_sample_have_no_interval() -> None:
    assert region_rows(law(1))[0]["sd"] is None
    keys = {"region", "mean", "sd", "low", "high", "low_all", "high_all", "low_sample", "high_sample"}
    assert set(region_rows(law(3))[0]) == keys
    assert region_rows(law(1))[0]["low_sample"] is None


def test_rows_name_the_samples_at_their_bounds() -> None:
    found = law(40)
    for column, row in enumerate(region_rows(found)):
        for bound in ("low", "high"):
            away = np.abs(found.regions[:, column] - row[bound])
            assert away[row[f"{bound}_sample"] - 1] == away.min()


def test_a_region_that_the_t1_does_not_show_has_no_value() -> None:
    known = np.arange(len(REGIONS)) != 3
    rows = region_rows(law(3), known)
    assert rows[3] == {"region": REGIONS[3], **dict.fromkeys(set(rows[0]) - {"region"})}
    assert [row["mean"] is not None for row in rows] == known.tolist()


def test_kept_lets_go_of_the_least_used() -> None:
    kept: SizedCache[str] = SizedCache(6, len)
    for key, value in (("a", "xx"), ("b", "xx"), ("c", "xx")):
        kept.put(key, value)
    assert kept.get("a") == "xx"
    kept.put("d", "xxx")
    assert [kept.get(key) for key in "abcd"] == ["xx", None, None, "xxx"]
    kept.put("e", "x" * 10)
    assert list(kept) == ["x" * 10]
