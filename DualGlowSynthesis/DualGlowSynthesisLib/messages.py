"""How the windows tell what went wrong."""

from contextlib import contextmanager

import slicer

from DualGlowLib import InputError

__all__ = ["showingErrors"]


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
