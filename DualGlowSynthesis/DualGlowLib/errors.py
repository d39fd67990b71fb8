"""What is no fault of ours: input that a user is meant to mend, and work that was called off."""

__all__ = ["Cancelled", "InputError"]


class InputError(ValueError):
    """Input or settings that can't be used.

    The message is one sentence for the user: what is wrong, where, and what to do about it. The command line prints
    it and exits with code 2; the Slicer modules show it. Everything else that goes wrong is a defect of ours and keeps
    its traceback.
    """


class Cancelled(Exception):
    """Raised by a progress callback to end the work; no fault of anybody's."""
