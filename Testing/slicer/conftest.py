"""Tests with windows: none may leave anything of them behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up before the fixtures that open a window, and so asked when they have closed it."""
    if "loaded" not in sys.modules:  # no window can be opened
        yield
        return
    from leaks import Traces

    before = Traces()
    yield
    left = before.left()
    assert not left, f"{request.node.name} leaves {', '.join(left)}."
