"""The command ``bundle``: what a model is, whether it is whole, and the folder that is offered to others."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from DualGlowLib import InputError
from DualGlowLib.__main__ import main
from DualGlowLib.bundle.bundle import MARK, load_bundle, save_bundle
from DualGlowLib.bundle.calibration import Calibration, write_calibration
from DualGlowLib.bundle.card import model_card
from DualGlowLib.bundle.files import CARD, CONFIG, WEIGHTS, describe
from DualGlowLib.bundle.licences import check_licence
from DualGlowLib.files import hash_file, write_json
from DualGlowLib.outputs import EVALUATION, generated_by
from DualGlowLib.sealed import write_sealed
from places import ROOT

OLDER = ROOT / "Testing/made_before/bundle"
PEOPLE = {
    "age": {"known": 5, "mean": 71.25, "sd": 6.5, "minimum": 60.0, "maximum": 82.0},
    "sex": {"F": 4, "M": 2},
    "diagnosis": {"AD": 1, "CN": 5},
    "site": {"A|B": 6},
}
CERTIFICATE = {"date": "2026-11-28", "fitted": 40, "tested": 20, "coverage": {"mean": 0.913, "joint": 0.9}}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model whose configuration says who its cases were."""
    bundle = load_bundle(OLDER)
    training = {**bundle.training, "people": PEOPLE, "held_out": {"cases": 2, "subjects": 1, "fold": 3}}
    bundle = replace(bundle, name="small", training=training)
    save_bundle(bundle, tmp_path / "model", model_card(bundle))
    write_calibration(Calibration(bundle.digest, 0.9, 20, {"pons": 1.1}, 1.2, CERTIFICATE), tmp_path / "model")
    return tmp_path / "model"


def report(path: Path, sha256: str) -> Path:
    row = {"psnr": 28.125, "ssim": 0.94, "crps": 0.0525, "coverage_90": 0.91}
    values = {
        "GeneratedBy": generated_by(EVALUATION),
        "bundle_sha256": sha256,
        "data_range_suvr": 3.0,
        "summary": {"model": row},
        "cases": [{"case": "sub-secret"}] * 7,
        "left_out": [],
    }
    return write_json(path, values)


def test_inspect_says_what_a_model_is(model: Path, capsys) -> None:
    assert main(["bundle", "inspect", str(model), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["name"], about["sha256"]) == ("small", hash_file(model / CONFIG))
    assert (about["training"]["people"], about["calibration"]["fitted"]) == (PEOPLE, 40)
    assert about["bytes"] == sum(path.stat().st_size for path in model.iterdir())
    assert main(["bundle", "inspect", str(model)]) == 0
    said = capsys.readouterr().out
    prepared = "bias corrected, SUVR to pons, PETs smoothed to 8 mm\n"
    for words in (
        prepared,
        "8×8×1",
        "71.25 ± 6.5",
        "CN: 5",
        "2 cases of 1 subject\n",
        "90 % intervals",
        "no licence",
        "none is",
    ):
        assert (words in said) == (words != "no licence"), words


@pytest.mark.parametrize("place", [OLDER, None])
def test_verify_accepts_what_is_whole(place: Path | None, model: Path, capsys) -> None:
    assert main(["bundle", "verify", str(place or model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert max(found["t1_error"], found["pet_error"]) < 1e-4


def _altered(name: str):
    def alter(model: Path) -> None:
        content = bytearray((model / name).read_bytes())
        content[len(content) // 2] ^= 1
        (model / name).write_bytes(content)

    return alter


def _with_weights(change):
    """Other weights, with the checksums that go with them: what only a try can find."""

    def alter(model: Path) -> None:
        tensors = load_file(model / WEIGHTS)
        change(tensors)
        save_file(tensors, model / WEIGHTS, MARK)
        (model / "calibration.json").unlink()
        values = json.loads((model / CONFIG).read_text())
        write_sealed(model / CONFIG, values, {WEIGHTS: hash_file(model / WEIGHTS)})

    return alter


def _endless(tensors: dict) -> None:
    next(tensor for name, tensor in tensors.items() if tensor.is_floating_point())[...] = torch.inf


def _not_invertible(tensors: dict) -> None:
    for name, tensor in tensors.items():
        if name.startswith("mri_flow") and name.endswith("norm.bias"):
            tensor[...] = 1e7  # beside which nothing of an image is left in float32


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_altered(CONFIG), CONFIG),
        (_altered(WEIGHTS), "checksum"),
        (_altered("calibration.json"), "calibration.json is damaged"),
        (lambda model: (model / WEIGHTS).unlink(), "is missing"),
        (_with_weights(_endless), "not finite"),
        (_with_weights(_not_invertible), "through its flow and back"),
    ],
)
def test_verify_says_in_one_sentence_what_is_wrong(model: Path, spoil, said: str, capsys) -> None:
    spoil(model)
    assert main(["bundle", "verify", str(model)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_what_is_published_can_be_checked_used_and_downloaded(model: Path, tmp_path: Path, capsys) -> None:
    card = (model / CARD).read_text()
    (model / CARD).write_text(card.replace("## Limits", "## Bounds") + "\n## Notes\n\nAsk us.\n")
    made = report(tmp_path / "report.json", hash_file(model / CONFIG))
    words = ["--licence", "cc-by-4.0", "--evaluation", str(made), "--output", str(tmp_path / "out")]
    assert main(["bundle", "publish", str(model), *words]) == 0
    out = tmp_path / "out"
    names = {"README.md", "SHA256SUMS", "calibration.json", CONFIG, "evaluation.json", "index.json", WEIGHTS}
    assert {path.name for path in out.iterdir()} == {*names, "small.zip"}
    sums = [line.split("  ") for line in (out / "SHA256SUMS").read_text().splitlines()]
    assert {name: digest for digest, name in sums} == {
        path.name: hash_file(path) for path in out.iterdir() if path.name != "SHA256SUMS"
    }
    (entry,) = json.loads((out / "index.json").read_text())["models"]
    assert entry["sha256"] == hash_file(out / entry["file"])
    with zipfile.ZipFile(out / "small.zip") as archive:
        archive.extractall(tmp_path / "fetched")
    assert main(["bundle", "verify", str(tmp_path / "fetched/small")]) == 0
    about = describe_flat(tmp_path / "fetched/small", capsys)
    assert about["licence"] == "CC-BY-4.0"
    assert about["evaluation"]["summary"]["model"]["psnr"] == 28.125
    text = (out / CARD).read_text()
    for said in (
        'license: "cc-by-4.0"', "71.2 ± 6.5 years (60 to 82); of 1 unknown", "F: 4, M: 2", "A B: 6", "fold 3",
        "fitted to 40 cases, hold 0.913 of 20", "PSNR dB 28.12", "7 cases not trained on", "## Limits", "Ask us.",
    ):  # fmt: skip
        assert said in text, said
    assert "## Bounds" not in text
    assert "sub-secret" not in "".join(path.read_text() for path in out.glob("*.json"))
    cards = pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed")
    assert cards.ModelCard(text).data.license == "cc-by-4.0"


def describe_flat(folder: Path, capsys) -> dict:
    capsys.readouterr()
    assert main(["bundle", "inspect", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="there is no folder in which not even root can write")
def test_where_nothing_can_be_written_the_sentence_names_what_was_asked_for(
    model: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").touch()
    for words in (
        ["export", str(model), "--output", str(tmp_path / "file/model.zip")],
        ["export", str(model), "--output", "/sys/model.zip"],
        ["publish", str(model), "--output", "/sys/model", "--licence", "CC-BY-4.0"],
    ):
        assert main(["bundle", *words]) == 2
        assert f"{words[3]} can't be written" in capsys.readouterr().err


def test_where_a_link_leads_is_published_to(model: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "there").mkdir()
    for name, target in (("to an empty folder", "there"), ("to nothing yet", "new")):
        (tmp_path / name).symlink_to(target)
        words = ["--output", str(tmp_path / name), "--licence", "CC-BY-4.0"]
        assert main(["bundle", "publish", str(model), *words]) == 0, capsys.readouterr().err
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / target / "SHA256SUMS").is_file()


def test_nothing_is_published_that_nobody_may_use_or_that_says_too_much(model: Path, tmp_path: Path, capsys) -> None:
    def refused(*words: str) -> str:
        assert main(["bundle", "publish", str(model), "--output", str(tmp_path / "out"), *words]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "states no licence" in refused()
    assert "SPDX" in refused("--licence", "Apache 2")
    assert "put it there as LICENSE" in refused("--licence", "LicenseRef-Mine")
    other = report(tmp_path / "other.json", "0" * 64)
    assert "another model" in refused("--licence", "MIT", "--evaluation", str(other))
    assert "no report" in refused("--licence", "MIT", "--evaluation", str(model / CONFIG))
    assert list(tmp_path.glob(".*")) == []
    (model / "LICENSE").write_text("Ask us.")
    assert main(["bundle", "publish", str(model), "--output", str(tmp_path / "own")]) == 0
    assert 'license_link: "LICENSE"' in (tmp_path / "own" / CARD).read_text()
    assert (tmp_path / "own/LICENSE").read_text() == "Ask us."
    assert main(["bundle", "publish", str(model), "--output", str(tmp_path / "own")]) == 2
    assert main(["bundle", "inspect", str(model), "--output", "x"]) == 2
    assert main(["bundle", "export", str(model)]) == 2


def test_a_model_that_replaces_another_has_nothing_of_what_was_measured_with_that(model: Path, tmp_path: Path) -> None:
    shutil.copy(report(tmp_path / "r.json", "0" * 64), model / "evaluation.json")
    save_bundle(load_bundle(OLDER), model, "# card\n")
    assert {path.name for path in model.iterdir()} == {CONFIG, WEIGHTS, CARD}


@pytest.mark.parametrize("text", ["mit", "GPL-3.0-or-later", "gpl-3.0-only", "LicenseRef-Hospital.1"])
def test_licences_by_their_identifiers(text: str) -> None:
    assert check_licence(text).lower() == text.lower()


@pytest.mark.parametrize("text", ["", "Apache", "MIT-or-later", "free", "LicenseRef-", "MIT\nAND more"])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="SPDX"):
        check_licence(text)


def test_the_card_of_a_model_that_ships_names_its_licence_to_the_window() -> None:
    assert describe(ROOT / "Resources/Models/simulated-fdg-medium")["licence"].lower() == "apache-2.0"
