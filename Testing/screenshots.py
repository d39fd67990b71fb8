"""Pictures of a module at work: its window beside the three slice views, as in Slicer, in one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QFontDatabase, QImage, QPainter
from PySide6.QtWidgets import QApplication, QWidget

from host import views
from host.pythonqt import unwrap

__all__ = ["grab", "shot"]

_COLORS = {"Red": "#f34a33", "Green": "#6eb04b", "Yellow": "#edd54c"}  # of Slicer's views
_BAR = 18  # px, the coloured bar over a view
_GAP = 2


def grab(widget: Any, width: int = 440) -> QImage:
    """The picture of a widget as wide as Slicer's module panel and as high as it needs.

    Raises:
        RuntimeError: if no font can be found, so that every text would be a row of boxes.
    """
    if not QFontDatabase.families():
        raise RuntimeError("Qt finds no fonts; on Debian and Ubuntu, install fontconfig and fonts-dejavu-core.")
    target: QWidget = unwrap(widget)
    target.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    target.show()
    for _ in range(3):  # children that show or hide others change the height
        QApplication.processEvents()
        height = target.layout().totalHeightForWidth(width) if target.layout().hasHeightForWidth() else 0
        target.resize(width, max(height, target.sizeHint().height(), target.minimumSizeHint().height()))
    QApplication.processEvents()
    picture = target.grab().toImage()
    target.hide()
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
    left, main, half = panel.width() + _GAP, width * 3 // 5, (height - _GAP) // 2
    side = width - main - _GAP
    _draw_view(painter, "Red", QRect(left, 0, main, height))
    _draw_view(painter, "Yellow", QRect(left + main + _GAP, 0, side, half))
    _draw_view(painter, "Green", QRect(left + main + _GAP, half + _GAP, side, height - half - _GAP))
    painter.end()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(path), "PNG"):
        raise OSError(f"{path} can't be written.")
    return path
