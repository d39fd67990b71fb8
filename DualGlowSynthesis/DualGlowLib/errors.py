"""What is no fault of ours: input that a user is meant to mend, and work that was called off."""

__all__ = ["Cancelled", "InputError", "one_line"]


class InputError(ValueError):
    """Input or settings that can't be used.

    The message is one sentence for the user: what is wrong, where, and what to do about it. The command line prints
    it and exits with code 2; the Slicer modules show it. Everything else that goes wrong is a defect of ours and keeps
    its traceback. Names and other text from files come into it without their control characters.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


class Cancelled(Exception):
    """Raised by a progress callback to end the work; no fault of anybody's."""


def one_line(text: object) -> str:
    """Text without line ends and characters that a terminal or window would obey instead of showing them.

    >>> one_line("sub-01\\x1b[2J\\nsub-02")
    'sub-01�[2J sub-02'
    """
    return "".join(sign if sign.isprintable() else " " if sign.isspace() else "\ufffd" for sign in str(text))
