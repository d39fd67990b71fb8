"""The window's section on the patient: each covariate that the model knows, with the range it was trained on."""

import math

from slicer.i18n import tr as _

from .choosers import Chooser, dicomFacts
from .parameters import UNKNOWN

__all__ = ["PatientPanel"]

_TITLES = {
    "F": lambda: _("female"),
    "M": lambda: _("male"),
    "CN": lambda: _("cognitively normal (CN)"),
    "MCI": lambda: _("mild cognitive impairment (MCI)"),
    "AD": lambda: _("Alzheimer's disease (AD)"),
}


class PatientPanel:
    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._sex = Chooser(self._ui.sexBox, lambda value: window.choose("sex", value))
        self._diagnosis = Chooser(self._ui.diagnosisBox, lambda value: window.choose("diagnosis", value))
        self._seen = None
        self._range = None

    def setModel(self, facts: dict) -> None:
        """Offer what this model knows: ``facts`` as ``models.modelFacts`` gives them."""
        known = {covariate["name"]: covariate for covariate in facts.get("covariates", ())}
        age = known.get("age")
        for widget in (self._ui.ageLabel, self._ui.ageSlider, self._ui.ageKnownBox, self._ui.trainedLabel):
            widget.visible = age is not None
        low, high = age["range"] if age and age.get("range") else (0, 0)
        self._range = (float(math.ceil(low)), float(math.floor(high))) if low < high else None
        if self._range:
            low, high = self._range  # whole years within what it was trained on
            text = _("The model was trained on ages {low} to {high}.")
            self._ui.trainedLabel.text = text.format(low=f"{low:g}", high=f"{high:g}")
        for name, chooser, label, box in (
            ("sex", self._sex, self._ui.sexLabel, self._ui.sexBox),
            ("diagnosis", self._diagnosis, self._ui.diagnosisLabel, self._ui.diagnosisBox),
        ):
            values = known.get(name, {}).get("values") or []
            label.visible = box.visible = bool(values)
            titles = [(_TITLES[value]() if value in _TITLES else value, value) for value in values]
            chooser.fill([(_("unknown"), UNKNOWN), *titles])

    def narrowAge(self) -> None:
        """Give the slider the model's range; the parameter node's own, set by ``connectGui``, is wider."""
        if self._range:
            low, high = self._range
            parameters = self._window.parameters
            if parameters is not None and not low <= parameters.age <= high:
                parameters.age = min(max(parameters.age, low), high)
            slider = self._ui.ageSlider
            if (slider.minimum, slider.maximum) != (low, high):
                slider.minimum, slider.maximum = low, high

    def show(self, parameters) -> None:
        self._takeFromDicom(parameters)
        for name, chooser in (("sex", self._sex), ("diagnosis", self._diagnosis)):
            value = getattr(parameters, name)
            if value not in chooser.values:  # this model doesn't know it
                setattr(parameters, name, UNKNOWN)
                value = UNKNOWN
            chooser.show(value)
        self._ui.ageSlider.enabled = parameters.ageKnown

    def _takeFromDicom(self, parameters) -> None:
        """Once for each input, so that what the user sets stays."""
        volume = parameters.inputVolume
        identity = volume.GetID() if volume else None
        if identity == self._seen:
            return
        self._seen = identity
        facts = dicomFacts(volume)
        if "age" in facts and (self._range is None or self._range[0] <= facts["age"] <= self._range[1]):
            parameters.age = facts["age"]
        if facts.get("sex") in self._sex.values:
            parameters.sex = facts["sex"]
