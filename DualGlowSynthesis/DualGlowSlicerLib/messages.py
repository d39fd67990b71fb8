"""How the windows tell what went wrong, and show what is too long or too large for them.

Text that comes from files (names of models, cards, covariates, paths in sentences) is never markup: Qt would otherwise
take what looks like HTML for it, with its links and pictures.
"""

import html
from contextlib import contextmanager

import qt
import slicer

from DualGlowLib import InputError

__all__ = ["agreed", "asTip", "headline", "showError", "showNotice", "showPicture", "showText", "showingErrors"]


@contextmanager
def showingErrors(failure: str):
    """Show an InputError as the sentence that it is, and end there; any other error after ``failure``, and raise it."""
    refusal = ""
    with slicer.util.tryWithErrorDisplay(failure):
        try:
            yield
        except InputError as error:
            refusal = str(error)
    if refusal:
        showError(refusal)


def showError(text: str, **more) -> None:
    """Show what went wrong, as plain text; ``more`` as ``slicer.util.errorDisplay`` takes it."""
    slicer.util.errorDisplay(text, textFormat=qt.Qt.PlainText, **more)


def showNotice(text: str) -> None:
    """Show something to know, as plain text."""
    slicer.util.infoDisplay(text, textFormat=qt.Qt.PlainText)


def agreed(text: str) -> bool:
    """Ask, in plain text, whether the user agrees."""
    return slicer.util.confirmOkCancelDisplay(text, textFormat=qt.Qt.PlainText)


def asTip(text: str) -> str:
    """Text for a tool tip, which has no plain format of its own."""
    return f"<p>{html.escape(text)}</p>" if "<" in text or "&" in text else text


def headline(text: str) -> str:
    """The line of a failure that says what it was."""
    lines = text.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def showText(title: str, text: str) -> None:
    """Show a text in a window of its own that scrolls and does not block."""
    browser = qt.QTextBrowser()
    browser.setPlainText(text)
    _show(title, browser).resize(640, 560)


def showPicture(title: str, path: str) -> None:
    """The same with a picture, in its own size."""
    pixmap, picture, area = qt.QPixmap(path), qt.QLabel(), qt.QScrollArea()
    picture.setPixmap(pixmap)
    area.setWidget(picture)
    _show(title, area).resize(min(pixmap.width() + 40, 1200), min(pixmap.height() + 40, 800))


def _show(title: str, content):
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.setAttribute(qt.Qt.WA_DeleteOnClose)
    dialog.setWindowTitle(title)
    qt.QVBoxLayout(dialog).addWidget(content)
    dialog.show()
    return dialog
