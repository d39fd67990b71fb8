"""The window's sections on the age sweep, the comparison with an acquired PET, and export."""

from dataclasses import replace
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.provenance import with_covariates
from DualGlowLib.worker.replies import Compared, Swept
from DualGlowSlicerLib import volumes

from ..nodes import belonging, comparison, exporting, results, sweep

__all__ = ["ExtraPanel"]

COMPARED_SAMPLES = 32
"""A rank among fewer than 19 samples says nothing about 5 %, and the predicted standard deviation needs some too."""


class ExtraPanel:
    def __init__(self, window) -> None:
        self._window, self._ui, ui = window, window.ui, window.ui
        self._exports = (ui.exportNiftiButton, ui.exportDicomButton, ui.exportReportButton, ui.exportTableButton)
        self._tips = [button.toolTip for button in self._exports]
        self._ui.sweepButton.connect("clicked(bool)", self._onSweep)
        self._ui.compareButton.connect("clicked(bool)", self._onCompare)
        self._ui.exportNiftiButton.connect("clicked(bool)", lambda _checked: self._export(self._exportNifti))
        self._ui.exportDicomButton.connect("clicked(bool)", lambda _checked: self._export(self._exportDicom))
        self._ui.exportTableButton.connect("clicked(bool)", lambda _checked: self._export(self._exportTable))
        self._ui.exportReportButton.connect("clicked(bool)", lambda _checked: self._export(self._exportReport))

    def show(self, parameters, reason: str) -> None:
        """``reason``: why nothing can be computed, or ""."""
        ui, output = self._ui, parameters.outputVolume
        ages = self._ages(parameters)
        noAges = "" if ages else _("The first age must not be above the last.")
        if "age" not in self._window.model.covariates():
            noAges = _("This model doesn't know the age.")
        pet = parameters.petVolume
        if pet is None:
            noPet = _("Choose the person's acquired FDG-PET.")
        elif volumes.isSynthetic(pet):
            noPet = _("Choose an acquired PET; this volume is synthetic.")
        elif pet is parameters.inputVolume:
            noPet = _("Choose a PET other than the MRI.")
        else:
            noPet = ""
        for button, tip, why in (
            (ui.sweepButton, _("A sequence of PETs over ages, and the regions' means against age."), reason or noAges),
            (ui.compareButton, _("The PET's difference from the prediction."), reason or noPet),
        ):
            button.enabled, button.toolTip = not why, why or tip
        there = output is not None and volumes.isSynthetic(output)
        why = "" if there else _("Press Apply first; there is no synthetic PET yet.")
        for button, tip in zip(self._exports, self._tips, strict=True):
            button.enabled, button.toolTip = there, why or tip
        ui.exportTableButton.enabled = there and results.resultOf(output, "table") is not None
        ui.compareText.text = comparison.textFor(parameters.inputVolume)

    # ---- ages

    @staticmethod
    def _ages(parameters) -> list[float]:
        return [
            float(age) for age in range(parameters.sweepFirst, parameters.sweepLast + 1, max(parameters.sweepStep, 1))
        ]

    def _onSweep(self, _checked=False) -> None:
        window = self._window
        if not window.ensureReady():
            return
        parameters, patient, choices = window.parameters, window.patientChoice(), window.choices()
        steps = []

        def done(reply: Swept) -> None:
            if patient[0].GetScene() is None:
                raise InputError(_("The MRI was deleted while its PETs were computed; load it and try again."))
            age = choices.question.covariates.get("age")  # it opens there
            provenance = with_covariates(reply.provenance, {"age": age})
            made = sweep.makeSweep(patient[0], steps, provenance, reply.montage, isOwned=True)
            if parameters.inputVolume is patient[0]:
                window.showSweep(made, patient[0])

        ages = self._ages(parameters)
        window.run.start(
            lambda **callbacks: window.engine.sweep(patient, choices, ages, **callbacks), done, steps.append
        )

    # ---- an acquired PET

    def _onCompare(self, _checked=False) -> None:
        window = self._window
        if not window.ensureReady():
            return
        parameters, patient, choices = window.parameters, window.patientChoice(), window.choices()
        pet = parameters.petVolume
        choices = replace(choices, question=replace(choices.question, samples=COMPARED_SAMPLES))

        def done(reply: Compared) -> None:
            if patient[0].GetScene() is None or pet.GetScene() is None:
                raise InputError(_("A volume was deleted while it was compared; load it and try again."))
            made = comparison.writeComparison(patient[0], pet, reply, isOwned=True)
            if parameters.inputVolume is patient[0]:
                window.showComparison(made, patient[0])

        window.run.start(lambda **callbacks: window.engine.compare(patient, choices, pet, **callbacks), done)

    # ---- files

    def _export(self, write) -> None:
        with self._window.showing():
            folder = self._ui.exportPath.currentPath
            if not folder:
                raise InputError(_("Choose the folder to write to."))
            self._ui.exportPath.addCurrentPathToHistory()
            with slicer.util.WaitCursor():
                written = write(Path(folder), self._window.parameters)
            self._window.say(_("Written: {path}").format(path=written))

    def _exportNifti(self, folder: Path, parameters):
        return exporting.exportNifti(parameters.outputVolume, folder / f"{_fileName(parameters.outputVolume)}.nii.gz")

    def _exportDicom(self, folder: Path, parameters):
        output = parameters.outputVolume
        source = _madeFrom(output)
        if not source.GetAttribute("DICOM.instanceUIDs"):
            source = self._askSeries(source.GetName())
        return exporting.exportDicom(output, source, folder / f"{_fileName(output)}_DICOM")[0].parent

    @staticmethod
    def _askSeries(name: str) -> str:
        """The folder of the MRI's DICOM files; only the study that they belong to can take a derived series."""
        title = _("Folder of the DICOM series that {name} comes from").format(name=name)
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)
        if not folder:
            raise InputError(_("A DICOM series is added to the MRI's study; choose the folder of the MRI's series."))
        return folder

    def _exportTable(self, folder: Path, parameters):
        table = results.resultOf(parameters.outputVolume, "table")
        return exporting.exportTable(table, folder / f"{_fileName(table)}.csv")

    def _exportReport(self, folder: Path, parameters):
        output = parameters.outputVolume
        table = results.resultOf(output, "table")
        return exporting.exportReport(_madeFrom(output), output, table, None, folder / f"{_fileName(output)}.html")


def _madeFrom(output):
    """The MRI of a result, whatever is chosen as input now."""
    inputVolume = belonging.inputOf(output)
    if inputVolume is None:
        text = _("The MRI that {name} was made from is no longer in the scene; load it and apply again.")
        raise InputError(text.format(name=output.GetName()))
    return inputVolume


def _fileName(node) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in node.GetName())
