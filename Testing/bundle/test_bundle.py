"""The model file: what is written comes back; what is damaged is refused with one sentence."""

from __future__ import annotations

import json
import math
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from DualGlowLib import InputError
from DualGlowLib.bundle.bundle import Bundle, load_bundle, save_bundle
from DualGlowLib.bundle.card import model_card
from DualGlowLib.bundle.files import check_weights, describe, read_config, shipped_bundles
from DualGlowLib.files import hash_file
from DualGlowLib.model import DualGlow, encode_covariates, preset
from DualGlowLib.preparation import brain
from DualGlowLib.preparation.settings import Preparation
from DualGlowLib.resources import resource
from DualGlowLib.sealed import is_sealed
from DualGlowLib.volumes.grid import GRIDS, Grid


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    config = preset("standard", (16, 16, 16))
    small = {"widths": (8, 8, 8), "depths": (1, 1, 1)}
    flows = {"mri": replace(config.mri, **small), "pet": replace(config.pet, **small)}
    config = replace(config, **flows, link=replace(config.link, widths=(8, 8, 8), context=(2, 2, 2)))
    model = DualGlow(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    bundle = Bundle(model, Grid("test", (16, 16, 16), (10.0, 10.0, 10.0)), 1.5, 2.5, "test", {"cases": 3})
    save_bundle(bundle, tmp_path / "model", "# card\n")
    return bundle


def test_round_trip(bundle: Bundle, tmp_path: Path) -> None:
    loaded = load_bundle(tmp_path / "model")
    assert loaded.config == bundle.config
    assert (loaded.grid, loaded.t1_scale, loaded.pet_scale) == (bundle.grid, 1.5, 2.5)
    assert (loaded.name, loaded.training, loaded.digest) == ("test", {"cases": 3}, bundle.digest)
    assert len(loaded.digest) == 64
    mri = torch.rand(1, 1, 16, 16, 16)
    code = encode_covariates(bundle.config.covariates, [{"age": 70}])
    with torch.no_grad():
        mine = bundle.model.sample(bundle.model.encode(mri), code, 0.0)
        theirs = loaded.model.sample(loaded.model.encode(mri), code, 0.0)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=5e-3)  # large tensors are kept in float16


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, Preparation()),
        ({"preparation": {"bias": False, "reference": "cerebellum"}}, Preparation(bias=False, reference="cerebellum")),
        ({"preparation": {"deformable": True, "resolution": 6}}, Preparation(deformable=True, resolution=6.0)),
    ],
)
def test_what_an_older_model_does_not_state_is_as_by_default(
    bundle: Bundle, tmp_path: Path, stated: dict, expected: Preparation
) -> None:
    save_bundle(replace(bundle, training=stated), tmp_path / "older", "# card\n")
    loaded, about = load_bundle(tmp_path / "older"), describe(tmp_path / "older")
    assert loaded.training == stated
    assert loaded.preparation == expected
    assert (about["reference"], about["resolution"]) == (expected.reference, expected.resolution)
    assert f"SUVR, {expected.reference} = 1" in model_card(loaded)


def header_of(card: str) -> dict:
    head, _, page = card.removeprefix("---\n").partition("\n---\n\n")
    assert page.startswith("# ")
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in head.splitlines())}


@pytest.mark.parametrize(("stated", "licence"), [("CC-BY-4.0", "cc-by-4.0"), ("May be used\nby all.", "other")])
def test_a_card_begins_with_what_a_hub_lists(bundle: Bundle, tmp_path: Path, stated: str, licence: str) -> None:
    training = {"licence": stated, "validation_pet_bits": 3.14159, "validation_mri_bits": 6.0}
    named = replace(bundle, name='Münster: "#1"', training=training)
    card = model_card(named)
    save_bundle(named, tmp_path / "named", card)
    about, page = header_of(card), describe(tmp_path / "named")["card"]
    assert (about["license"], about["library_name"], about["metrics"]) == (licence, "dualglow", ["bits_per_dimension"])
    assert "simulated-data" not in about["tags"]
    assert page == "# " + card.partition("\n# ")[2]
    assert not {"license", "metrics", "model-index"} & header_of(model_card(bundle)).keys()
    cards = pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed")
    read = cards.ModelCard(card)
    assert (read.data.license, read.data.tags, read.data.model_name) == (licence, about["tags"], named.name)
    assert [(one.metric_type, one.metric_value) for one in read.data.eval_results] == [("bits_per_dimension", 3.142)]
    assert read.text.strip() == page.strip()


@pytest.mark.parametrize("stated", ["pons", {"bias": "no"}, {"reference": "moon"}, {"warp": True}])
def test_a_preparation_that_can_not_be_is_refused(bundle: Bundle, tmp_path: Path, stated: object) -> None:
    save_bundle(replace(bundle, training={"preparation": stated}), tmp_path / "odd", "# card\n")
    for read in (load_bundle, describe):
        with pytest.raises(InputError, match=r"odd.config\.json.*\.$"):
            read(tmp_path / "odd")


def test_equal_models_have_equal_digests(bundle: Bundle, tmp_path: Path) -> None:
    digest = bundle.digest
    save_bundle(bundle, tmp_path / "again", "# another card\n")
    assert bundle.digest == digest


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _newer(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


def _changed(place: str, value: object, sealed: bool = False):
    """Another value in the configuration, which keeps its checksum, or has none, as those of the first DualGlow."""

    def change(path: Path) -> None:
        values = json.loads(path.read_text())
        *parts, last = place.split(".")
        part = values
        for name in parts:
            part = part[int(name) if name.isdigit() else name]
        part[last] = value
        if not sealed:
            del values["sha256"]["config.json"]
        path.write_text(json.dumps(values))

    return change


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("weights.safetensors", _flip_a_bit, "does not have the checksum"),
        ("weights.safetensors", _truncate, "does not have the checksum"),
        ("weights.safetensors", Path.unlink, "is missing"),
        ("config.json", Path.unlink, "is no DualGlow model"),
        ("config.json", _truncate, "is damaged"),
        ("config.json", _newer, "update DualGlow"),
        ("config.json", lambda path: path.write_text("[]"), "is damaged"),
        ("config.json", _changed("intensities.pet.scale", 2.6, sealed=True), "the checksum that it states"),
        ("config.json", _changed("sha256.other", "0"), "it states the checksum of other"),
        ("config.json", _changed("intensities.pet.scale", math.nan), "NaN is no finite number"),
        ("config.json", _changed("intensities.t1.scale", math.inf), "Infinity is no finite number"),
        ("config.json", _changed("intensities.t1.scale", 0), "the scale of its T1 is 0"),
        ("config.json", _changed("intensities.pet.scale", -2.5), "the scale of its PET is -2.5"),
        ("config.json", _changed("grid.spacing", [10.0, math.nan, 10.0]), "NaN is no finite number"),
        ("config.json", _changed("grid.spacing", [10.0, 0.0, 10.0]), "the voxels of its grid measure"),
        ("config.json", _changed("grid.shape", [16, 0, 16]), "the shape of its grid"),
        ("config.json", _changed("model.covariates.0.sd", 0.0), "age has the mean"),
        ("config.json", _changed("model.mri_weight", -math.inf), "-Infinity is no finite number"),
    ],
)
def test_damaged_bundles_are_refused(bundle: Bundle, tmp_path: Path, name: str, damage, says: str) -> None:
    damage(tmp_path / "model" / name)
    with pytest.raises(InputError, match=says) as caught:
        load_bundle(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_no_flipped_bit_is_used(bundle: Bundle, tmp_path: Path) -> None:
    """300 of them: refused, or what is read is the same; the card is for people and has no checksum."""
    folder, rng = tmp_path / "model", random.Random(3)
    before, files = load_bundle(folder), ("config.json", "weights.safetensors", "config.json", "README.md")
    used = dict.fromkeys(files, 0)
    for number in range(300):
        path = folder / files[number % 4]
        whole = path.read_bytes()
        bit = rng.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = load_bundle(folder)
        except InputError:
            found = None
        if found is not None:
            used[path.name] += 1
            attributes = ("config", "grid", "t1_scale", "pet_scale", "name", "training")
            assert all(getattr(found, name) == getattr(before, name) for name in attributes)
            mine, theirs = found.model.state_dict(), before.model.state_dict()
            assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
        path.write_bytes(whole)
    assert used["weights.safetensors"] == 0
    assert used["config.json"] < 5  # such as 1e-05 and 1E-05


def test_bundles_without_a_checksum_of_the_configuration_are_read(bundle: Bundle, tmp_path: Path) -> None:
    """Those of DualGlow 0.1.0."""
    _changed("name", "test")(tmp_path / "model" / "config.json")
    assert load_bundle(tmp_path / "model").config == bundle.config


def test_weights_that_are_not_finite_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    """With the right checksum, as a DualGlow that did not look wrote them."""
    folder = tmp_path / "model"
    weights = load_file(folder / "weights.safetensors")
    name = next(name for name, value in weights.items() if value.dtype == torch.float16)
    weights[name].view(-1)[3] = math.inf
    (folder / "weights.safetensors").write_bytes(save(weights))
    _changed("sha256", {"weights.safetensors": hash_file(folder / "weights.safetensors"), "config.json": ""})(
        folder / "config.json"
    )
    with pytest.raises(InputError, match=f"In .+, {name} is not finite; get the model again"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda bundle: next(bundle.model.parameters()).data.view(-1)[:1].fill_(math.nan), r"\S+ is not finite"),
        (lambda bundle: setattr(bundle, "pet_scale", math.nan), "intensities.pet.scale is not finite"),
        (lambda bundle: setattr(bundle, "t1_scale", 0.0), "the scale of its T1 is 0"),
        (lambda bundle: setattr(bundle, "grid", replace(bundle.grid, centre=(0.0, math.inf, 0.0))), "grid.centre"),
        (lambda bundle: setattr(bundle, "training", {"notes": [{"bits": math.nan}]}), r"training.notes\[0\].bits is"),
    ],
)
def test_nothing_that_is_not_finite_is_written(bundle: Bundle, tmp_path: Path, change, says: str) -> None:
    change(bundle)
    with pytest.raises(InputError, match=f"^The model test can't be written to .+: .*{says}.*; train it anew.$"):
        save_bundle(bundle, tmp_path / "other", "# card\n")
    assert not (tmp_path / "other").exists()


def test_large_weights_do_not_become_infinite_on_disk(bundle: Bundle, tmp_path: Path) -> None:
    name, parameter = next(pair for pair in bundle.model.named_parameters() if pair[1].numel() >= 1024)
    with torch.no_grad():
        parameter.view(-1)[0] = 1e6
    save_bundle(bundle, tmp_path / "model", "# card\n")
    assert torch.equal(load_bundle(tmp_path / "model").model.get_parameter(name), parameter)


def test_the_bundles_that_ship_have_checksums() -> None:
    for folder in shipped_bundles():
        values = read_config(folder)
        assert is_sealed(values, "config.json")
        check_weights(folder, values)


def test_a_damaged_brain_mask_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resource("Models", "brainmask")
    for name in ("card.json", "weights.safetensors"):
        shutil.copy(source / name, tmp_path)
    monkeypatch.setattr(brain, "resource", lambda *parts: tmp_path / parts[-1])
    read = brain._networks.__wrapped__
    assert len(read()) == 2
    for name, says in (("weights.safetensors", "install DualGlow again"), ("card.json", "install DualGlow again")):
        whole = (tmp_path / name).read_bytes()
        place = whole.index(b"f1a07162") if name == "card.json" else 500_000
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=says):
            read()
        (tmp_path / name).write_bytes(whole)


def test_what_is_no_bundle_is_refused_with_what_to_give(tmp_path: Path) -> None:
    """A name that isn't there, the folder of the run or of the model's zip in place of it, a file, any other."""
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    config = tmp_path / "run" / "bundle" / "config.json"
    config.write_text("{}")
    packed = tmp_path / "model.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(config, "model/config.json")
    unpacked = tmp_path / "unpacked" / "model"
    shutil.copytree(config.parent, unpacked)
    (tmp_path / "empty").mkdir()
    expected = {
        tmp_path / "nowhere": "it does not exist; check the name.",
        tmp_path / "empty": "it has no config.json; give the folder bundle that training wrote.",
        tmp_path / "run": f"it is the folder of a run; give {config.parent}.",
        tmp_path / "unpacked": f"it has no config.json; give the folder in it that has one, {unpacked}.",
        config: "it is a file; give the folder that holds config.json.",
        packed: "it is a zip file; unpack it (python -m zipfile -e model.zip model) and give the folder that is then "
        "in model.",
    }
    for folder, says in expected.items():
        with pytest.raises(InputError) as refused:
            load_bundle(folder)
        assert str(refused.value) == f"{folder} is no DualGlow model: {says}"


def test_grids_divide_by_what_their_presets_need() -> None:
    for grid in GRIDS.values():
        assert all(side % 8 == 0 for side in grid.shape)
        preset("standard", grid.shape)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_changed("model.pet.widths", [4096, 8, 8]), "is far too small for the model that config.json describes"),
        (_changed("model.link.widths", [4096, 8, 8]), "is far too small for the model that config.json describes"),
        (_changed("model.pet.depths", [200, 200, 200]), "is far too small for the model that config.json describes"),
        (_changed("model.pet.widths", [8192, 8192, 8192]), "is far too small|more than 2e\\+09 weights"),
        (_changed("model.pet.depths", [10**9, 1, 1]), "depths must be at least 1 and at most 256"),
        (_changed("model.pet.widths", [-8, 8, 8]), "widths must be at least 1"),
        (_changed("model.shape", [2**20, 16, 16]), "shape must be at least 1 and at most 4096"),
        (_changed("model.pet.bound", "wide"), "bound must be a number"),
        (_changed("model.link", [1]), "must be an object of settings"),
        (lambda path: path.write_text("[" * 100_000), "is damaged or no DualGlow configuration"),
        (lambda path: path.write_bytes(b" " * (1 << 25)), "is larger than any configuration"),
    ],
)
def test_a_configuration_is_bounded_before_a_model_is_built(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change, says: str
) -> None:
    built = []
    monkeypatch.setattr("DualGlowLib.bundle.bundle.DualGlow", built.append)
    change(tmp_path / "model" / "config.json")
    with pytest.raises(InputError, match=says):
        load_bundle(tmp_path / "model")
    assert built == []


def test_a_model_has_at_least_the_weights_that_are_counted(bundle: Bundle) -> None:
    configs = [bundle.config]
    for changes in (
        {"kind": "levelwise", "conditioning": "none", "patterns": 0, "hidden": 16, "layers": n} for n in (1, 2, 3)
    ):
        link = replace(bundle.config.link, **changes)
        configs.append(replace(bundle.config, link=link, pet=replace(bundle.config.pet, centred=False)))
    for config in configs:
        count = sum(tensor.numel() for tensor in DualGlow(config).state_dict().values())
        assert 0 < config.least_weights < count
