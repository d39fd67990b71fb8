"""A row of the Patient section for each covariate that a model knows besides age, sex and diagnosis."""

import math
from collections.abc import Callable, Iterable, Mapping

import qt
from slicer.i18n import tr as _

from DualGlowSlicerLib.choosers import Chooser

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
            self._layout.addRow(f"{facts['name'].replace('_', ' ').capitalize()}:", row.widget)
            self._rows[facts["name"]] = row

    def show(self, values: Mapping) -> None:
        for name, row in self._rows.items():
            row.show(values.get(name))


class _Number:
    """A spin box whose lowest value stands for unknown."""

    def __init__(self, facts: Mapping, onChosen: Callable[[float | None], None]) -> None:
        self._onChosen = onChosen
        low, high = facts.get("range") or (-1e6, 1e6)
        step = 10.0 ** math.floor(math.log10((high - low) / 10)) if high > low else 1.0
        self._decimals = max(0, min(6, 1 - round(math.log10(step))))
        scale = 10.0**self._decimals
        self._low, high = math.ceil(low * scale) / scale, math.floor(high * scale) / scale
        self._unknown = self._low - step
        self.widget = box = qt.QDoubleSpinBox()
        box.setKeyboardTracking(False)  # half a number is none
        box.setDecimals(self._decimals)
        box.setRange(self._unknown, max(high, self._low))
        box.setSingleStep(step)
        box.setSpecialValueText(_("unknown"))
        box.setValue(self._unknown)
        text = _("The model was trained on {low} to {high}; one step below, it is unknown.")
        box.toolTip = text.format(low=f"{low:g}", high=f"{high:g}")
        box.connect("valueChanged(double)", self._changed)

    def _changed(self, value: float) -> None:
        isKnown = value >= self._low - 0.5 * 10.0**-self._decimals
        self._onChosen(round(max(value, self._low), self._decimals) if isKnown else None)

    def show(self, value: object) -> None:
        isKnown = isinstance(value, float | int) and not isinstance(value, bool)
        blocked = self.widget.blockSignals(True)
        self.widget.setValue(float(value) if isKnown else self._unknown)
        self.widget.blockSignals(blocked)


class _Category:
    def __init__(self, facts: Mapping, onChosen: Callable[[str | None], None]) -> None:
        self.widget = qt.QComboBox()
        self.widget.toolTip = _("As far as the model knows it.")
        self._chooser = Chooser(self.widget, onChosen)
        self._chooser.fill([(_("unknown"), None), *((value, value) for value in facts["values"])])

    def show(self, value: object) -> None:
        self._chooser.show(value if value in self._chooser.values else None)
