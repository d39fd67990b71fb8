"""The window's section on the patient: each covariate that the model knows, with the range it was trained on."""

import json
import math

import vtk
from slicer.i18n import tr as _

from DualGlowLib.spellings import BROADER
from DualGlowSlicerLib.choosers import Chooser, dicomFacts, instancesOf

from ..nodes import belonging
from ..parameters import UNKNOWN, otherCovariates
from .covariateRows import CovariateRows

__all__ = ["PatientPanel"]

_READ = "DualGlow.DicomRead"  # which series the covariates of an input were taken from

_TITLES = {
    "F": lambda: _("female"),
    "M": lambda: _("male"),
    "CN": lambda: _("cognitively normal (CN)"),
    "SMC": lambda: _("significant memory concern (SMC)"),
    "EMCI": lambda: _("early mild cognitive impairment (EMCI)"),
    "MCI": lambda: _("mild cognitive impairment (MCI)"),
    "LMCI": lambda: _("late mild cognitive impairment (LMCI)"),
    "AD": lambda: _("Alzheimer's disease (AD)"),
}


class PatientPanel:
    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._sex = Chooser(self._ui.sexBox, lambda value: window.choose("sex", value))
        self._diagnosis = Chooser(self._ui.diagnosisBox, lambda value: window.choose("diagnosis", value))
        self._others = CovariateRows(self._ui.patientCollapsibleButton.layout(), self._sayOther)
        self._range, self._groups = None, {}
        self._inputVolume = self._age = None  # as last seen
        self._observer = None

    def setModel(self, facts: dict) -> None:
        """Offer what this model knows: ``facts`` as ``models.modelFacts`` gives them."""
        known = {covariate["name"]: covariate for covariate in facts.get("covariates", ())}
        age = known.get("age")
        self._groups = {**BROADER, **known.get("diagnosis", {}).get("groups", {})}
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
        self._others.fill(known[name] for name in known if name not in ("age", "sex", "diagnosis"))

    def _sayOther(self, name: str, value: float | str | None) -> None:
        parameters = self._window.parameters
        if parameters is not None:
            _keep(parameters, {**otherCovariates(parameters), name: value})

    def narrowAge(self) -> None:
        """Give the slider the model's range; the parameter node's own, set by ``connectGui``, is wider."""
        if self._range:
            low, high = self._range
            parameters = self._window.parameters
            if parameters is not None and not low <= parameters.age <= high:
                if parameters.ageKnown:
                    self._sayNarrowed(parameters.age)
                self._age = parameters.age = min(max(parameters.age, low), high)
            slider = self._ui.ageSlider
            if (slider.minimum, slider.maximum) != (low, high):
                slider.minimum, slider.maximum = low, high

    def _sayNarrowed(self, age: float) -> None:
        text = _("Age {age} is outside the model's range; the nearest that it knows was set.")
        self._window.say(text.format(age=f"{age:g}"))

    def follow(self, parameters) -> bool:
        """Let the covariates be those of the input's patient; whether the input is another than before."""
        inputVolume = parameters.inputVolume
        isOther = not belonging.isAbout(parameters, inputVolume)
        if isOther or self._inputVolume is not inputVolume:
            self._window.say("")  # it was about the former
        if isOther:
            if not parameters.patient and belonging.belongsTo(parameters.outputVolume, inputVolume):
                belonging.setAbout(parameters, inputVolume)  # a scene of an earlier version
                inputVolume.SetAttribute(_READ, " ".join(instancesOf(inputVolume)))
            else:
                belonging.remember(parameters)
                said = belonging.recall(parameters)
                if said.get("ageKnown") and parameters.age != said.get("age"):  # the slider ended before it
                    self._sayNarrowed(said["age"])
                self.narrowAge()
        elif not parameters.ageKnown and self._age is not None and parameters.age != self._age:
            parameters.ageKnown = True  # who moves the slider says the age
        if self._inputVolume is not inputVolume:
            isOther = True
            self.forget()
            if inputVolume is not None:
                self._observer = inputVolume.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onInputModified)
        self._takeFromDicom(parameters)
        self._inputVolume, self._age = inputVolume, parameters.age
        return isOther

    def forget(self) -> None:
        """The parameter node is another, or the scene."""
        if self._observer is not None:
            self._inputVolume.RemoveObserver(self._observer)
        self._inputVolume = self._age = self._observer = None

    def _onInputModified(self, _caller, _event) -> None:
        if self._inputVolume is None:  # no longer observed, in the middle of this very event
            return
        if " ".join(instancesOf(self._inputVolume)) != (self._inputVolume.GetAttribute(_READ) or ""):
            self._window.onParametersChanged()
        self._window.showAgreement()

    def show(self, parameters) -> None:
        for name, chooser in (("sex", self._sex), ("diagnosis", self._diagnosis)):
            value = getattr(parameters, name)
            if value not in chooser.values:  # this model doesn't know it, or as a part of another
                other = self._groups.get(value) if name == "diagnosis" else None
                if other in chooser.values:
                    self._window.say(_("{one} counts as {other} for this model.").format(one=value, other=other))
                value = other if other in chooser.values else UNKNOWN
                setattr(parameters, name, value)
            chooser.show(value)
        said = otherCovariates(parameters)
        known = self._others.accepted(said)
        if known != said:
            self._sayForgotten({name: said[name] for name in self._others.names if name in said and name not in known})
            _keep(parameters, known)
        self._others.show(known)

    def _sayForgotten(self, values: dict) -> None:
        if values:
            text = _("This model doesn't know {values}; it takes that as unknown.")
            told = [
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
            ]
            self._window.say(text.format(values=", ".join(told)))

    def _takeFromDicom(self, parameters) -> None:
        """Once for each series, so that what the user sets stays; Slicer names a volume's series after adding it."""
        volume = parameters.inputVolume
        instances = " ".join(instancesOf(volume))
        if not instances or volume.GetAttribute(_READ) == instances:
            return
        volume.SetAttribute(_READ, instances)
        facts = dicomFacts(volume)
        if "age" in facts and not parameters.ageKnown:
            if self._range is None or self._range[0] <= facts["age"] <= self._range[1]:
                parameters.age, parameters.ageKnown = facts["age"], True
            else:
                text = _("The DICOM series says {age} years, which is outside the ages that the model was trained on.")
                self._window.say(text.format(age=f"{facts['age']:g}"))
        if facts.get("sex") in self._sex.values and parameters.sex == UNKNOWN:
            parameters.sex = facts["sex"]


def _keep(parameters, covariates: dict) -> None:
    """Those besides age, sex and diagnosis; what is unknown is left out."""
    known = {name: value for name, value in covariates.items() if value is not None}
    parameters.otherCovariates = json.dumps(known, sort_keys=True) if known else ""
