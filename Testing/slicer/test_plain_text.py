"""Text from files is never markup: names, cards and licences of models, and sentences with paths in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication, QLabel, QMessageBox, QTextBrowser

from hand_client import HandClient
from host.gestures import answering
from host.pythonqt import unwrap
from loaded import SYNTHESIS, TRAINING, add_model, host, slicer

from DualGlowLib import InputError  # isort: skip
from DualGlowLib.resources import resource  # isort: skip
from DualGlowLib.sealed import write_sealed  # isort: skip
from DualGlowSlicerLib import dependencies, messages  # isort: skip
from DualGlowSynthesisLib.models import models  # isort: skip
from DualGlowSynthesisLib.window.engine import Engine  # isort: skip
from DualGlowSynthesisLib.window.window import Window  # isort: skip

MARKUP = '<a href="http://example.com"><img src="file:///etc/x.png">click</a> & <b>more</b>'


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import qt

    slicer.mrmlScene.Clear(0)
    host.slot_errors.clear()
    qt.QSettings().remove("DualGlow")
    monkeypatch.setattr(models, "modelsFolder", lambda: tmp_path / "downloads")
    monkeypatch.setattr(dependencies, "missingPackages", list)
    yield
    qt.QSettings().remove("DualGlow")
    assert host.slot_errors == []


def model(folder: Path) -> Path:
    """A model whose name, licence and card look like HTML; the weights are those of the model that ships."""
    shutil.copytree(resource("Models", "simulated-fdg-medium"), folder)
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    values["name"], values["licence"] = MARKUP, f"MIT {MARKUP}"
    write_sealed(folder / "config.json", values, {"weights.safetensors": values["sha256"]["weights.safetensors"]})
    (folder / "README.md").write_text(MARKUP, encoding="utf-8")
    return folder


def formats_of(show) -> list[tuple[str, Qt.TextFormat]]:
    """Texts and formats of the message boxes that ``show()`` brings up."""
    seen = []

    def look() -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox) and box.text() not in [text for text, _ in seen]:
            seen.append((box.text(), box.textFormat()))

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(0)
    with answering("OK"):
        show()
    timer.stop()
    return seen


def test_a_model_is_shown_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import DualGlowSynthesis

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(HandClient())))
    widget = SYNTHESIS.open()
    try:
        add_model(widget, model(tmp_path / "own"))
        labels = unwrap(widget.parent).findChildren(QLabel)
        assert any("<b>more</b>" in label.text() for label in labels)
        written = [label.objectName() for label in labels if label.textFormat() != Qt.TextFormat.PlainText]
        ours = {name for name in written if hasattr(widget.ui, name)}
        assert ours <= {"bannerLabel"}
        before = set(QApplication.topLevelWidgets())
        widget.ui.cardButton.click()
        (dialog,) = set(QApplication.topLevelWidgets()) - before
        assert dialog.findChild(QTextBrowser).toPlainText() == MARKUP
        dialog.close()
        (asked,) = formats_of(widget.window.model.confirmLicence)
        assert MARKUP in asked[0]
        assert asked[1] == Qt.TextFormat.PlainText
    finally:
        SYNTHESIS.close(widget)


def test_sentences_are_shown_as_they_are_written() -> None:
    def refuse() -> None:
        with messages.showingErrors("Failed."):
            raise InputError(f"{MARKUP} can't be read.")

    assert formats_of(refuse) == [(f"{MARKUP} can't be read.", Qt.TextFormat.PlainText)]
    tip = messages.asTip(MARKUP)
    assert "<b>" not in tip
    assert "&lt;b&gt;" in tip
    assert messages.asTip("age < ") != messages.asTip("age")
    assert messages.asTip("Press Apply first.") == "Press Apply first."


def test_the_training_windows_labels_are_plain() -> None:
    widget = TRAINING.open()
    try:
        labels = [
            label for label in unwrap(widget.parent).findChildren(QLabel) if hasattr(widget.ui, label.objectName())
        ]
        assert labels
        assert {label.textFormat() for label in labels} == {Qt.TextFormat.PlainText}
    finally:
        TRAINING.close(widget)
