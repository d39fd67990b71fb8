"""A row of the Patient section for each covariate that a model knows besides age, sex and diagnosis."""

import math
from collections.abc import Callable, Iterable, Mapping

import qt
from slicer.i18n import tr as _

from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import asTip

__all__ = ["CovariateRows"]


class CovariateRows:
    """``onChosen(name, value)`` hears the user; None is unknown.

    :param layout: the form layout that the rows are added to.
    """

    def __init__(self, layout, onChosen: Callable[[str, float | str | None], None]) -> None:
        self._layout, self._onChosen = layout, onChosen
        self._covariates: list[dict] = []
        self._rows: dict[str, _Number | _Category] = {}

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    def fill(self, covariates: Iterable[Mapping]) -> None:
        """Offer these, as ``bundle.files.describe`` gives them."""
        covariates = list(covariates)
        if covariates == self._covariates:
            return
        for row in self._rows.values():
            self._layout.removeRow(row.widget)
        self._covariates, self._rows = covariates, {}
        for facts in covariates:
            kind = _Category if facts["kind"] == "categorical" else _Number
            row = kind(facts, lambda value, name=facts["name"]: self._onChosen(name, value))
            row.widget.objectName = f"covariate {facts['name']}"
            label = qt.QLabel(f"{facts['name'].replace('_', ' ').capitalize()}:")
            label.textFormat = qt.Qt.PlainText
            label.wordWrap = True  # nobody knows how long names are
            self._layout.addRow(label, row.widget)
            self._rows[facts["name"]] = row

    def accepted(self, values: Mapping) -> dict:
        """Those of the values that the model knows, as the rows can show them."""
        found = {name: row.accepted(values[name]) for name, row in self._rows.items() if name in values}
        return {name: value for name, value in found.items() if value is not None}

    def show(self, values: Mapping) -> None:
        for name, row in self._rows.items():
            row.show(row.accepted(values.get(name)))


class _Number:
    """A spin box whose lowest value stands for unknown."""

    def __init__(self, facts: Mapping, onChosen: Callable[[float | None], None]) -> None:
        self._onChosen = onChosen
        low, high = facts.get("range") or (-1e6, 1e6)
        isWide = low < high and facts.get("range") is not None
        step = 10.0 ** math.floor(math.log10((high - low) / 10)) if isWide else 1.0
        self._decimals = max(0, min(6, 1 - round(math.log10(step)))) if isWide else 3
        scale = 10.0**self._decimals
        self._low, high = math.ceil(low * scale) / scale, math.floor(high * scale) / scale
        self._high = max(high, self._low)
        self._unknown = self._low - step
        self.widget = box = qt.QDoubleSpinBox()
        box.setKeyboardTracking(False)  # half a number is none
        box.setDecimals(self._decimals)
        box.setRange(self._unknown, self._high)
        box.setSingleStep(step)
        box.setSpecialValueText(_("unknown"))
        box.setValue(self._unknown)
        text = _("The model was trained on {low} to {high}; one step below, it is unknown.")
        box.toolTip = text.format(low=f"{low:g}", high=f"{high:g}")
        box.connect("valueChanged(double)", self._changed)

    def _changed(self, value: float) -> None:
        known = self.accepted(value)
        self._onChosen(known)
        self.show(known)  # between the lowest value and unknown there is nothing

    def accepted(self, value: object) -> float | None:
        if not isinstance(value, float | int) or isinstance(value, bool):
            return None
        found = round(float(value), self._decimals)
        return found if self._low <= found <= self._high else None

    def show(self, value: float | None) -> None:
        blocked = self.widget.blockSignals(True)
        self.widget.setValue(self._unknown if value is None else value)
        self.widget.blockSignals(blocked)


class _Category:
    def __init__(self, facts: Mapping, onChosen: Callable[[str | None], None]) -> None:
        self.widget = qt.QComboBox()
        self.widget.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # a long value widens no panel
        self.widget.minimumWidth = 100
        self._chooser = Chooser(self.widget, onChosen)
        self._chooser.fill([(_("unknown"), None), *((value, value) for value in facts["values"])])

    def accepted(self, value: object) -> str | None:
        return value if value in self._chooser.values else None

    def show(self, value: str | None) -> None:
        self._chooser.show(value)
        self.widget.toolTip = asTip(value or "") or _("As far as the model knows it.")  # a long one isn't seen whole
