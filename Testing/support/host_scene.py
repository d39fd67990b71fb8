"""What tests of the host itself begin with: an empty scene in the usual layout, and a small volume."""

from __future__ import annotations

import numpy as np
import pytest

from loaded import host, slicer

__all__ = ["clean_host", "volume"]


@pytest.fixture
def clean_host():
    slicer.mrmlScene.Clear(0)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    host.slot_errors.clear()
    yield
    errors = list(host.slot_errors)
    host.slot_errors.clear()
    assert errors == []


def volume(name: str = "T1", shift: float = 0.0):
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5) + shift
    return slicer.util.addVolumeFromArray(array, np.diag([1, 2, 3, 1.0]), name)
