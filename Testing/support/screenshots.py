"""Pictures of a module at work: its window beside the three slice views, as in Slicer, in one PNG.

    python Testing/support/screenshots.py [OUT]

makes those of README and manual (by default in their place), in the test host, from the T1 that ships with DualGlow and
from simulated cases.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QFontDatabase, QImage, QPainter
from PySide6.QtWidgets import QApplication

import host
from host import gestures, views
from host.pythonqt import unwrap

__all__ = ["grab", "pictures", "shot", "training_pictures"]

from DualGlowLib.training import status
from places import ROOT
from tiny_training import make_simulated, write_settings

WAIT = 600  # seconds; far more than any step takes

_COLORS = {"Red": "#f34a33", "Green": "#6eb04b", "Yellow": "#edd54c"}  # of Slicer's views
_BAR = 18  # px, the coloured bar over a view
_GAP = 2


def grab(widget: Any, width: int = host.PANEL_WIDTH) -> QImage:
    """The picture of a widget as wide as Slicer's module panel, or as it needs, and as high as it needs.

    Raises:
        RuntimeError: if no font can be found, so that every text would be a row of boxes.
    """
    if not QFontDatabase.families():
        raise RuntimeError("Qt finds no fonts; on Debian and Ubuntu, install fontconfig and fonts-dejavu-core.")
    was_shown = unwrap(widget).isVisible()
    target = host.lay_out(widget, width)
    QApplication.processEvents()
    picture = target.grab().toImage()
    target.setVisible(was_shown)
    return picture


def _draw_view(painter: QPainter, name: str, place: QRect) -> None:
    painter.fillRect(place.x(), place.y(), place.width(), _BAR, QColor(_COLORS[name]))
    painter.setPen(QColor("black"))
    bar = QRect(place.x() + 6, place.y(), place.width() - 12, _BAR)
    painter.drawText(bar, Qt.AlignmentFlag.AlignVCenter, name)
    pixels = np.ascontiguousarray(views.render(name, place.width(), place.height() - _BAR))
    height, width, _ = pixels.shape
    painter.drawImage(
        place.x(), place.y() + _BAR, QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    )


def shot(window: Any, path: str | Path, size: tuple[int, int] | None = None) -> Path:
    """Write the picture of a module's window and of the slice views.

    Args:
        window: the module's widget class's instance, or any widget of Qt.
        path: the PNG to write; its folder is made.
        size: width and height of the part with the views, px; by default as high as the window, and 4:3.

    Returns:
        The path.

    Raises:
        RuntimeError: if this machine has no fonts or can't render.
    """
    panel = grab(getattr(window, "parent", None) if not hasattr(window, "_object") else window)
    width, height = size or (max(600, panel.height() * 4 // 3), max(450, panel.height()))
    picture = QImage(panel.width() + _GAP + width, max(panel.height(), height), QImage.Format.Format_RGB32)
    picture.fill(panel.pixelColor(1, 1))
    painter = QPainter(picture)
    painter.drawImage(0, 0, panel)
    left = panel.width() + _GAP
    if width > height:  # Red beside the others, else above them
        main, half = width * 3 // 5, (height - _GAP) // 2
        side = left + main + _GAP, width - main - _GAP
        places = [(left, 0, main, height), (side[0], 0, side[1], half)]
        places.append((side[0], half + _GAP, side[1], height - half - _GAP))
    else:
        main, half = height * 3 // 5, (width - _GAP) // 2
        below = main + _GAP, height - main - _GAP
        places = [(left, 0, width, main), (left, below[0], half, below[1])]
        places.append((left + half + _GAP, below[0], width - half - _GAP, below[1]))
    for name, place in zip(("Red", "Yellow", "Green"), places, strict=True):
        _draw_view(painter, name, QRect(*place))
    painter.end()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(path), "PNG"):
        raise OSError(f"{path} can't be written.")
    return path


def pictures(folder: Path) -> list[Path]:
    """Make every picture of the README, as a user would: open, Apply, show the spread and the change since an
    age, sweep the ages.

    Args:
        folder: to write to.

    Returns:
        The paths.

    Raises:
        RuntimeError: if a step fails; with what the window says.
    """
    slicer = host.start()
    module = host.load(ROOT / "DualGlowSynthesis" / "DualGlowSynthesis.py")
    volume = slicer.util.loadVolume(str(ROOT / "Resources" / "Template" / "mni152_t1.nii.gz"))
    volume.SetName("DualGlowTemplateT1")
    widget = module.open()
    try:
        return [_small(path) for path in _make(slicer, widget, volume, folder)]
    finally:
        module.close(widget)


def training_pictures(folder: Path) -> list[Path]:
    """The Training window while a small run goes on: once its cases, once the run beside its latest sample.

    Args:
        folder: to write to.

    Returns:
        The paths.

    Raises:
        RuntimeError: if a step fails.
    """
    slicer = host.start()
    module = host.load(ROOT / "DualGlowTraining" / "DualGlowTraining.py")
    with tempfile.TemporaryDirectory() as place:
        cases, run = make_simulated(Path(place) / "cases", 24), Path(place) / "first"
        widget = module.open()
        ui, window = widget.ui, widget.window
        sections = ui.casesCollapsibleButton, ui.trainingCollapsibleButton, ui.runCollapsibleButton
        settings = {"steps": 4000, "validate_every": 20, "image_share": 0.005}

        def step(until: Callable[[], object]) -> None:
            if not host.pump(until, WAIT) or host.slot_errors:
                raise RuntimeError(f"{ui.foundLabel.text} {ui.runLabel.text} {host.slot_errors}")

        try:
            ui.casesPath.currentPath, ui.outputPath.currentPath = str(cases), str(run)
            ui.settingsPath.currentPath = str(write_settings(Path(place) / "s.json", **settings))
            gestures.click(ui.checkCasesButton)
            gestures.click(ui.estimateButton)
            step(lambda: window.cases.report and ui.estimateButton.text == "Estimate")
            gestures.click(ui.startButton)
            step(lambda: window.run.status.step > 20)
            gestures.choose(ui.viewsBox, "mean")
            step(lambda: window.run.samples.isShown)
            paths = [folder / "training.png", folder / "training-run.png"]
            for section in sections:
                section.collapsed = section is not sections[2]
            _fitted(slicer, widget, paths[1])
            for section in sections:
                section.collapsed = section is sections[2]
            ui.casesTable.selectRow(1)
            window._timer.stop()  # it would take the estimate for one of other folders, and clear it
            shown = {ui.casesPath: "/data/cohort", ui.outputPath: "/data/models/first"}
            for path, words in shown.items():  # what a user would see, not this folder
                unwrap(path).blockSignals(True)
                path.currentPath = words
            if not grab(widget.parent).save(str(paths[0]), "PNG"):
                raise OSError(f"{paths[0]} can't be written.")
            status.ask(run, "stop")
            host.pump(lambda: not status.read_status(run).is_running, WAIT)
        finally:
            module.close(widget)
    return [_small(path) for path in paths]


def _make(slicer: Any, widget: Any, volume: Any, folder: Path) -> list[Path]:
    ui, window = widget.ui, widget.window

    def press(button: Any) -> None:
        gestures.click(button)
        if not host.pump(until=lambda: not window.run.isBusy, timeout=WAIT) or host.slot_errors:
            raise RuntimeError(f"{button.text} failed: {ui.statusLabel.text} {host.slot_errors}")

    ui.ageKnownBox.checked = True
    gestures.choose(ui.sexBox, "female")
    gestures.choose(ui.diagnosisBox, "cognitively normal (CN)")
    ui.ageSlider.value = 70
    press(ui.applyButton)
    made = [_fitted(slicer, widget, folder / "demo.png")]

    ui.ageSlider.value, ui.temperatureSlider.value, ui.samplesBox.value = 90, 1, 20
    press(ui.applyButton)
    gestures.choose(ui.shownBox, "standard deviation")
    made.append(_fitted(slicer, widget, folder / "spread.png"))

    ui.temperatureSlider.value = 0
    press(ui.applyButton)
    gestures.choose(ui.shownBox, "change since age … (SUVR)")
    output = ui.outputSelector.currentNode()
    host.pump(until=lambda: output.GetNodeReference("DualGlow.Change") is not None, timeout=WAIT)
    made.append(_fitted(slicer, widget, folder / "change.png"))

    gestures.choose(ui.shownBox, "mean")
    ui.sweepCollapsibleButton.collapsed = False
    press(ui.sweepButton)
    montage = slicer.util.arrayFromVolume(volume.GetNodeReference("DualGlow.SweepMontage"))[0]
    height, width, _ = montage.shape
    pixels = np.ascontiguousarray(montage)
    made.append(folder / "sweep.png")
    QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888).save(str(made[-1]), "PNG")
    return made


def _fitted(slicer: Any, widget: Any, path: Path) -> Path:
    """``shot`` with the whole head in every view."""
    size = (860, grab(widget.parent).height())
    shot(widget, path, size)  # a view fits a volume to the size that it has
    for name in views.names():
        slicer.app.layoutManager().sliceWidget(name).sliceController().fitSliceToBackground()
    return shot(widget, path, size)


def _small(path: Path) -> Path:
    """The same picture in 256 colours of its own, dithered."""
    from PIL import Image

    with Image.open(path) as picture:
        full = picture.convert("RGB")
    palette = full.quantize(256, Image.Quantize.MAXCOVERAGE)
    full.quantize(256, palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "Resources" / "Screenshots")
    out = parser.parse_args().out
    for path in [*training_pictures(out), *pictures(out)]:
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")
