"""What Slicer's module DataProbe writes into the corners of the slice views: over whatever others wrote there.

It does so at every change of what a view shows. Of its settings these are the defaults: volumes at the lower left, all
else empty.
"""

from __future__ import annotations

from typing import Any

from .standins import observe

__all__ = ["annotate"]

_FONT_SIZE = 14
_CORNERS = 4


def annotate(view: Any) -> None:
    """Begin to write into the corners of a ``views.View``, as long as it lives."""
    view.annotation.SetMaximumFontSize(_FONT_SIZE)
    view.annotation.SetMinimumFontSize(_FONT_SIZE)
    view.annotation.SetNonlinearFontScaleFactor(1)
    view.annotation.GetTextProperty().SetFontFamilyToTimes()
    observe(view.logic, "ModifiedEvent", view, _write)
    _write(view)


def _write(view: Any) -> None:
    logic = view.logic
    composite = logic.GetSliceCompositeNode()
    if composite is None:
        return
    layers = [layer.GetVolumeNode() for layer in (logic.GetLabelLayer(), logic.GetForegroundLayer())]
    background = logic.GetBackgroundLayer().GetVolumeNode()
    opacities = composite.GetLabelOpacity(), composite.GetForegroundOpacity() if background is not None else None
    texts = [
        f"{letter}: {volume.GetName()}" + (f" ({int(opacity * 100)}%)" if opacity is not None else "")
        for letter, volume, opacity in zip("LF", layers, opacities, strict=True)
        if volume is not None
    ]
    if background is not None:
        texts.append(f"B: {background.GetName()}")
    length = int((logic.GetSliceNode().GetDimensions()[0] - 40) / _FONT_SIZE)
    view.annotation.SetText(0, "".join(_fitted(text, length) + "\n" for text in texts))
    for corner in range(1, _CORNERS):
        view.annotation.SetText(corner, "")
    view.annotation.GetTextProperty().SetShadow(1)


def _fitted(text: str, length: int) -> str:
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-(half - 3) :]}"
