"""How the windows tell what went wrong, and show what is too long or too large for them."""

from contextlib import contextmanager

import qt
import slicer

from DualGlowLib import InputError

__all__ = ["headline", "showPicture", "showText", "showingErrors"]


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
        slicer.util.errorDisplay(refusal)


def headline(text: str) -> str:
    """The line of a failure that says what it was."""
    lines = text.strip().splitlines() or [""]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


def showText(title: str, markdown: str) -> None:
    """Show a text in a window of its own that scrolls and does not block."""
    browser = qt.QTextBrowser()
    browser.setMarkdown(markdown)
    browser.openExternalLinks = True
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
