"""A model with covariates of its own in the window: asked for, kept with the patient, and said wherever a PET is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QAbstractSpinBox, QComboBox, QLabel, QWidget

from hand_client import HandClient
from host.gestures import choose, type_text
from host.pythonqt import unwrap
from loaded import SYNTHESIS, add_model, host, slicer

from DualGlowLib.model.covariates import Covariate  # isort: skip
from DualGlowLib.resources import resource  # isort: skip
from DualGlowLib.sealed import write_sealed  # isort: skip
from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowSlicerLib import dependencies, volumes  # isort: skip
from DualGlowSynthesisLib.models import models  # isort: skip
from DualGlowSynthesisLib.window.engine import Engine  # isort: skip
from DualGlowSynthesisLib.window.window import Window  # isort: skip

SHAPE = (5, 4, 3)
AGE = Covariate("age", "numeric", mean=70.0, sd=12.0, minimum=40.0, maximum=100.0)
SEX = Covariate("sex", "categorical", values=("F", "M"))
EDUCATION = Covariate("education", "numeric", mean=13.0, sd=3.0, minimum=6.0, maximum=20.0)
SITE = Covariate("site", "categorical", values=("Boston", "Lyon"))
LONG = "Amsterdam University Medical Centre, location VUmc, scanner 2"


class Models:
    """Model folders of one's own on the window's list; the weights are those of the model that ships."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *covariates: Covariate) -> Path:
        own = self.folder / name
        shutil.copytree(resource("Models", "simulated-fdg-medium"), own)
        values = json.loads((own / "config.json").read_text(encoding="utf-8"))
        values["name"], values["model"]["covariates"] = name, [one.to_dict() for one in covariates]
        write_sealed(own / "config.json", values, {"weights.safetensors": values["sha256"]["weights.safetensors"]})
        return own


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import qt

    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    qt.QSettings().remove("DualGlow")
    monkeypatch.setattr(models, "modelsFolder", lambda: tmp_path / "downloads")
    monkeypatch.setattr(dependencies, "missingPackages", list)
    yield Models(tmp_path)
    qt.QSettings().remove("DualGlow")
    assert host.slot_errors == []


@pytest.fixture
def client() -> HandClient:
    return HandClient()


@pytest.fixture
def module(own, client: HandClient, monkeypatch: pytest.MonkeyPatch):
    """The module's widget, open, with the model that knows education and site."""
    import DualGlowSynthesis

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    widget = SYNTHESIS.open()
    add_model(widget, own.make("educated", AGE, SEX, EDUCATION, SITE))
    yield widget
    SYNTHESIS.close(widget)


def t1(name: str = "T1"):
    return slicer.util.addVolumeFromArray(np.ones(SHAPE[::-1], np.int16), name=name)


def rows(module) -> dict[str, QAbstractSpinBox | QComboBox]:
    """The rows of the model's own covariates, by name."""
    found = unwrap(module.ui.patientCollapsibleButton).findChildren(QWidget)
    return {w.objectName().split()[1]: w for w in found if w.objectName().startswith("covariate ")}


def shown(module) -> dict[str, str]:
    return {name: w.currentText() if isinstance(w, QComboBox) else w.text() for name, w in rows(module).items()}


def apply(module, client: HandClient) -> dict:
    """Press Apply; gives the provenance of the output."""
    module.ui.applyButton.click()
    client.answer_readying()
    client.answer_sample(SHAPE)
    return volumes.provenanceOf(module._parameterNode.outputVolume)


def say(module, education: str, site: str) -> None:
    type_text(rows(module)["education"], education)
    choose(rows(module)["site"], site)


def test_each_covariate_has_a_row_that_says_unknown(module, own) -> None:
    assert shown(module) == {"education": "unknown", "site": "unknown"}
    education, site = rows(module)["education"], rows(module)["site"]
    assert "6 to 20" in education.toolTip()
    assert [site.itemText(index) for index in range(site.count())] == ["unknown", "Boston", "Lyon"]
    layout = unwrap(module.ui.patientCollapsibleButton).layout()
    assert [layout.labelForField(row).text() for row in (education, site)] == ["Education:", "Site:"]
    add_model(module, own.make("plain", AGE))
    assert rows(module) == {}
    labels = [label.text() for label in unwrap(module.ui.patientCollapsibleButton).findChildren(QLabel)]
    assert not {"Education:", "Site:"} & set(labels)


def test_what_the_user_says_is_asked_and_written_on_the_pet(module, client: HandClient) -> None:
    t1()
    module.ui.liveBox.checked = False
    module.ui.ageSlider.value = 72
    say(module, "12", "Lyon")
    module.ui.applyButton.click()
    client.answer_readying()
    assert client.the("sample").question == Question({"age": 72.0, "education": 12.0, "site": "Lyon"})
    client.answer_sample(SHAPE)
    about = volumes.provenanceOf(module._parameterNode.outputVolume)
    assert about["Covariates"] == {"age": 72.0, "sex": None, "education": 12.0, "site": "Lyon"}
    for view in ("Red", "Green", "Yellow"):
        assert "\nage 72, education 12, site Lyon\ntemperature 0" in module.window.marks.textIn(view)
    assert module.ui.agreementLabel.text == ""
    type_text(rows(module)["education"], "16.5")
    assert "education 12 (chosen: 16.5)" in module.ui.agreementLabel.text
    choose(rows(module)["site"], "unknown")
    assert "site Lyon (chosen: unknown)" in module.ui.agreementLabel.text
    assert apply(module, client)["Covariates"] == {"age": 72.0, "sex": None, "education": 16.5, "site": None}
    assert module.ui.agreementLabel.text == ""
    assert "education 16.5, temperature 0" in module.window.marks.textIn("Red")


def test_marks_cut_nothing_that_was_said(module, own, client: HandClient) -> None:
    t1()
    names = [f"test_score_{number}" for number in range(6)]
    scores = [Covariate(name, "numeric", mean=5.0, sd=2.0, minimum=0.0, maximum=10.0) for name in names]
    add_model(module, own.make("scores", AGE, *scores))
    for number, name in enumerate(names):
        type_text(rows(module)[name], str(number + 1))
    apply(module, client)
    lines = module.window.marks.textIn("Red").split("\n")
    assert max(map(len, lines)) <= 44
    said = [f"test_score_{number} {number + 1}" for number in range(6)]
    assert ", ".join(lines[3:]) == ", ".join(["age unknown", *said, "temperature 0"])


def test_sweep_and_comparison_are_of_the_same_person(module, client: HandClient) -> None:
    t1()
    pet = slicer.util.addVolumeFromArray(np.ones((3, 3, 3), np.float32), name="PET")
    module.ui.ageSlider.value = 72
    say(module, "12", "Lyon")
    module.ui.sweepButton.click()
    client.answer_readying()
    assert client.the("sweep").question == Question({"age": 72.0, "education": 12.0, "site": "Lyon"})
    client.answer_sweep(SHAPE)
    (proxy,) = {node.GetID(): node for node in module.window.shownNodes()}.values()
    assert volumes.provenanceOf(proxy)["Covariates"] == {"age": 70.0, "sex": None, "education": 12.0, "site": "Lyon"}
    assert "education 12, site Lyon" in module.window.marks.textIn("Red")
    table = volumes.provenanceOf(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode"))
    assert (table["Age"], table["WithinTrainingRange"]) == ([50.0, 60.0, 70.0, 80.0, 90.0, 100.0], False)  # 100 isn't
    module.ui.petSelector.setCurrentNode(pet)
    module.ui.compareButton.click()
    assert client.the("compare").question.covariates == {"age": 72.0, "education": 12.0, "site": "Lyon"}
    client.answer_compare(SHAPE)
    assert "education 12, site Lyon" in module.window.marks.textIn("Red")


def test_the_overlay_follows_them_with_frames_of_their_own(module, client: HandClient) -> None:
    t1()
    module.ui.ageSlider.value = 72
    say(module, "12", "Lyon")
    apply(module, client)
    client.answer_frames()
    client.answer_frames()
    module.ui.ageSlider.value = 75
    preview = module.window.run.preview.node
    assert volumes.provenanceOf(preview)["Covariates"] == {"age": 75.0, "sex": None, "education": 12.0, "site": "Lyon"}
    type_text(rows(module)["education"], "16")
    assert volumes.provenanceOf(preview)["Covariates"]["education"] == 12.0  # there is no frame of the new one …
    assert "education 12" in module.window.marks.textIn("Red")  # … and this one says of whom it is
    assert "education 12 (chosen: 16)" in module.ui.agreementLabel.text
    assert module.window.run._settled.active
    module.window.run._settled.stop()
    module.window.run._onSettled()
    assert client.the("sample").question.covariates == {"age": 75.0, "education": 16.0, "site": "Lyon"}
    client.answer_sample(SHAPE)
    module.ui.ageSlider.value = 80
    assert preview.GetID() not in {node.GetID() for node in module.window.shownNodes()}  # those frames are dropped


def test_they_belong_to_the_patient(module, client: HandClient, tmp_path: Path) -> None:
    anna, bert = t1("Anna"), t1("Bert")
    module.ui.inputSelector.setCurrentNode(anna)
    say(module, "12", "Lyon")
    apply(module, client)
    module.ui.inputSelector.setCurrentNode(bert)
    assert shown(module) == {"education": "unknown", "site": "unknown"}
    assert apply(module, client)["Covariates"] == {"age": None, "sex": None, "education": None, "site": None}
    say(module, "8", "Boston")
    module.ui.inputSelector.setCurrentNode(anna)
    assert shown(module) == {"education": "12.0", "site": "Lyon"}

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert module._parameterNode.otherCovariates == ""
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert module._parameterNode.inputVolume.GetName() == "Anna"
    assert shown(module) == {"education": "12.0", "site": "Lyon"}
    assert "education 12, site Lyon" in module.window.marks.textIn("Red")
    assert module.ui.agreementLabel.text == ""
    module.ui.inputSelector.setCurrentNode(slicer.util.getNode("Bert"))
    assert shown(module) == {"education": "8.0", "site": "Boston"}


def test_a_model_that_knows_nothing_of_them_forgets_them(module, own, client: HandClient) -> None:
    t1()
    say(module, "12", "Lyon")
    apply(module, client)
    educated = module._parameterNode.model
    add_model(module, own.make("plain", AGE, SEX))
    assert module._parameterNode.otherCovariates == ""
    assert module.window.choices().question == Question()
    assert "education 12 (chosen: unknown)" in module.ui.agreementLabel.text  # the PET is still of that
    module.window.choose("model", educated)
    assert shown(module) == {"education": "unknown", "site": "unknown"}


def test_a_model_that_knows_other_values_forgets_them_with_a_word(module, own) -> None:
    t1()
    say(module, "18", "Lyon")
    short = Covariate("education", "numeric", mean=10.0, sd=2.0, minimum=8.0, maximum=16.0)
    add_model(module, own.make("short", AGE, short, SITE))
    assert shown(module) == {"education": "unknown", "site": "Lyon"}  # 16 would be another's
    assert module.window.choices().question == Question({"site": "Lyon"})
    assert "doesn't know education 18; it" in module.ui.statusLabel.text


@pytest.mark.parametrize("written", ["no JSON", "[1]", '{"education": "many", "site": "Nowhere", "height": 1.8}'])
def test_what_something_else_wrote_counts_as_unknown(module, written: str) -> None:
    t1()
    module._parameterNode.otherCovariates = written
    assert shown(module) == {"education": "unknown", "site": "unknown"}
    assert module.window.choices().question == Question()


@pytest.mark.parametrize("typed", ["5", "5.4"])
def test_below_the_lowest_value_is_unknown(module, typed: str) -> None:
    t1()
    type_text(rows(module)["education"], typed)
    assert shown(module)["education"] == "unknown"
    assert module.window.choices().question == Question()
    rows(module)["education"].stepUp()
    assert module.window.choices().question == Question({"education": 6.0})
    type_text(rows(module)["education"], typed)
    assert shown(module)["education"] == "unknown"
    assert module.window.choices().question == Question()


def test_a_number_without_a_range_can_be_any(module, own) -> None:
    t1()
    add_model(module, own.make("any", AGE, Covariate("height", "numeric")))
    type_text(rows(module)["height"], "-1.75")
    assert module.window.choices().question == Question({"height": -1.75})


def test_a_model_without_age_is_not_told_one(module, own, client: HandClient) -> None:
    t1()
    module.ui.ageSlider.value = 72
    add_model(module, own.make("ageless", EDUCATION, SITE))
    for widget in (module.ui.ageSlider, module.ui.ageKnownBox, module.ui.ageLabel):
        assert not widget.visible
    assert not module.ui.sweepButton.enabled
    assert module.ui.sweepButton.toolTip == "This model doesn't know the age."
    type_text(rows(module)["education"], "12")
    module.ui.applyButton.click()
    client.answer_readying()
    assert client.the("sample").question == Question({"education": 12.0})
    client.answer_sample(SHAPE)
    assert client.asked == []  # no frames over ages
    about = volumes.provenanceOf(module._parameterNode.outputVolume)
    assert (about["Covariates"], "Age" in about) == ({"education": 12.0, "site": None}, False)
    assert "age" not in module.window.marks.textIn("Red")
    assert module.ui.agreementLabel.text == ""


def test_a_model_without_covariates_is_told_none(module, own, client: HandClient) -> None:
    t1()
    module.ui.ageSlider.value = 72
    choose(module.ui.sexBox, "female")
    add_model(module, own.make("nothing"))
    module.ui.applyButton.click()
    client.answer_readying()
    assert client.the("sample").question == Question()
    client.answer_sample(SHAPE)
    assert volumes.provenanceOf(module._parameterNode.outputVolume)["Covariates"] == {}
    assert module.ui.agreementLabel.text == ""


def test_long_names_and_values_fit_the_panel(module, own) -> None:
    t1()
    years = Covariate("years_of_education_of_both_parents", "numeric", mean=1e5, sd=1e4, minimum=0.001, maximum=1e6)
    site = Covariate("site", "categorical", values=(LONG, "Lyon"))
    add_model(module, own.make("long", AGE, SEX, EDUCATION, site, years))
    choose(rows(module)["site"], LONG)
    assert rows(module)["site"].toolTip() == LONG  # what can't be seen whole is said
    slicer.app.processEvents()  # what joins a shown layout is shown a turn later
    panel = host.lay_out(SYNTHESIS.panel)
    assert panel.width() == host.PANEL_WIDTH
    section = unwrap(module.ui.patientCollapsibleButton)
    assert section.minimumSizeHint().width() <= section.width()
    layout, inside = section.layout(), section.rect()
    for name, row in rows(module).items():
        label = layout.labelForField(row)
        for widget in (row, label):
            assert inside.contains(widget.geometry()), name
        assert label.height() >= label.heightForWidth(label.width()), name
        assert label.width() >= max(label.fontMetrics().horizontalAdvance(word) for word in label.text().split()), name
        assert row.height() >= row.minimumSizeHint().height()
        if isinstance(row, QAbstractSpinBox):
            assert row.width() >= row.minimumSizeHint().width(), name


def test_a_name_with_braces_is_a_name(module, own, client: HandClient) -> None:
    add_model(module, own.make("braces", AGE, Covariate("score {0}", "numeric", minimum=0.0, maximum=9.0)))
    t1()
    module.window.patient._sayOther("score {0}", 5.0)
    apply(module, client)
    module.window.patient._sayOther("score {0}", None)
    assert "score {0} 5 (chosen: unknown)" in module.ui.agreementLabel.text
