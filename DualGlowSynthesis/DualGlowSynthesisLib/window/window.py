"""The window of DualGlow Synthesis: its sections, the parameter node between them, and the engine behind."""

import logging
from contextlib import contextmanager

import slicer
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.devices import computer_memory
from DualGlowLib.synthesis import costs
from DualGlowSlicerLib import dependencies, volumes
from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import asTip, headline, showError, showingErrors, showPicture

from ..nodes import belonging, display, marks, results, sweep
from ..parameters import Choices
from . import agreement
from .engine import Engine
from .extraPanel import ExtraPanel
from .modelPanel import ModelPanel
from .patientPanel import PatientPanel
from .resultPanel import ResultPanel
from .runPanel import RunPanel, timeText

__all__ = ["Window"]

_LONG = 10.0
"""Seconds: what takes less is not worth a word before it starts."""

_NODES = ("inputVolume", "maskVolume", "petVolume", "outputVolume")  # fields that node selectors are tied to


class Window:
    """``parameters`` is the scene's parameter node while the module is shown, else None."""

    def __init__(self, ui, engine: Engine | None = None) -> None:
        self.ui, self.engine = ui, engine or Engine()
        self.parameters = None
        self._said = ""
        self._isRefreshing = False
        self._preparation = Chooser(ui.preparationBox, lambda value: self.choose("preparation", value))
        self._preparation.fill([(_("automatic"), "automatic"), (_("already prepared by DualGlow"), "prepared")])
        self.patient = PatientPanel(self)
        self.model = ModelPanel(self)
        self.result = ResultPanel(self)
        self.run = RunPanel(self)
        self.extra = ExtraPanel(self)
        ui.diceButton.connect("clicked(bool)", self._onDice)
        ui.verdictButton.connect("clicked(bool)", self._onVerdict)
        ui.installButton.connect("clicked(bool)", lambda _checked: self.ensureReady())
        self._seen = self._asked = None
        self._going: list[str] = []
        self._isPartGoing = False
        self.marks = marks.install()
        sweep.install()
        self.marks.onShown = self.showAgreement

    def close(self) -> None:
        self.parameters = None
        if self.marks.onShown == self.showAgreement:
            self.marks.onShown = None
        self.engine.close()  # first: whatever else fails, no process may stay
        self.model.close()
        self.run.forget()

    def forget(self) -> None:
        """The scene is about to be closed."""
        self.engine.forget()
        self.run.forget()
        self.patient.forget()
        self.result.forget()
        self._seen = self._asked = None
        self._going, self._isPartGoing = [], False
        self.say("")

    # ---- parameters

    def setParameters(self, parameters) -> None:
        """After ``connectGui``; None while the module is not shown, or a scene is read."""
        if parameters is None:
            self.run.leave()
        if parameters is None and self.parameters is not None:
            belonging.remember(self.parameters)  # a scene that is added puts another patient there
        self.parameters = parameters
        self.patient.forget()
        if parameters is not None:
            self.model.fill()
            self._showMissing()
            self.onParametersChanged()

    def choose(self, name: str, value) -> None:
        """What a widget without a connection of its own says."""
        if self.parameters is not None:
            setattr(self.parameters, name, value)

    def choices(self) -> Choices:
        known = self.model.covariates() if self.model.facts else None  # of a model that can't be read, nothing is known
        return Choices.of(self.parameters, self.model.bundle(), known)

    def patientChoice(self) -> tuple:
        """What the engine is told of the patient: the MRI, its mask or None, how it is prepared."""
        return self.parameters.inputVolume, self.parameters.maskVolume, self.parameters.preparation

    def onParametersChanged(self) -> None:
        parameters = self.parameters
        if parameters is None or self._isRefreshing or self._going:
            return
        self._isRefreshing = True  # what follows here is one change
        try:
            self.model.show(parameters)
            isOther = self.patient.follow(parameters)
            self._checkOutput(parameters)
        finally:
            self._isRefreshing = False
        if isOther:
            self._showPatient()
        self.refresh()
        parts = (parameters.shown, parameters.sampleNumber, parameters.region, parameters.sinceAge)
        shown = (*parts, parameters.outputVolume)
        if self._seen is not None and shown != self._seen and not isOther and not self.run.isBusy:
            self.run.showPart()
        asked = (parameters.outputVolume, self.choices())
        isMove = self._asked is not None and asked != self._asked and not isOther
        self._seen, self._asked = shown, asked
        self.run.choicesChanged(isMove)
        self.showAgreement()

    def _checkOutput(self, parameters) -> None:
        """A result may not go where another image is, or another patient's: the input's own output takes its place."""
        output, inputVolume = parameters.outputVolume, parameters.inputVolume
        reason = belonging.reasonAgainstOutput(output, inputVolume) if inputVolume is not None else ""
        if reason:
            own = belonging.resultFor(inputVolume)
            parameters.outputVolume = own if own is not output else None
            self.say(reason)

    def _showPatient(self) -> None:
        """Another input was chosen: where the views show an overlay of ours, it is to be this input's."""
        inputVolume, output = self.parameters.inputVolume, self.parameters.outputVolume
        shown = [node for node in self.shownNodes() if not belonging.belongsTo(node, inputVolume)]
        if inputVolume is None or not shown:
            return
        if output is not None and output.GetImageData() is not None:
            results.showResult(output, inputVolume, self.parameters.shown)
        else:
            slicer.util.setSliceViewerLayers(background=inputVolume, foreground=None, fit=True)

    @staticmethod
    def shownNodes() -> list:
        """The volumes made by DualGlow that the views show."""
        views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        return [node for view in views for node in marks.layersOf(view) if volumes.isSynthetic(node)]

    def nodeGoes(self, node) -> None:
        """A node is about to leave the scene; a selector then takes the next best, which nobody chose."""
        if self.parameters is not None:
            self._going += [name for name in _NODES if getattr(self.parameters, name) is node]
            self._isPartGoing |= node.GetAttribute("DualGlow.Provenance") is not None

    def nodeGone(self) -> None:
        if not (self._going or self._isPartGoing):
            return
        fields, self._going, self._isPartGoing = self._going, [], False
        with slicer.util.NodeModify(self.parameters):
            for name in fields:
                setattr(self.parameters, name, None)
        self.onParametersChanged()

    def refresh(self) -> None:
        """Bring every section up to date with the parameter node."""
        parameters = self.parameters
        if parameters is None or self._isRefreshing:
            return
        self._isRefreshing = True
        try:
            self.patient.show(parameters)
            self._preparation.show(parameters.preparation)
            self.result.show(parameters)
            reason = self._reasonAgainst(parameters)
            isBusy = self.run.isBusy
            self.extra.show(parameters, _("Wait until it is done.") if isBusy else reason)
            button = self.ui.applyButton
            button.text = _("Cancel") if isBusy else _("Apply")
            button.enabled = isBusy or not reason
            self.ui.statusLabel.text = self._said or ("" if isBusy else reason)
            tip = _("Synthesize the FDG-PET of this MRI and show it over the MRI.")
            button.toolTip = _("End what is running; the scene stays as it is.") if isBusy else asTip(reason) or tip
            temperature = parameters.temperature
            for widget in (self.ui.samplesBox, self.ui.seedBox, self.ui.diceButton):
                widget.enabled = temperature > 0
            if temperature > 0:
                text = _("Drawn from the model's distribution; above 1 wider than it.")
            else:
                text = _("0: the most likely image, of which there is one.")
            self.ui.temperatureText.text = text
            self._showVerdict()
        finally:
            self._isRefreshing = False
        self.showAgreement()

    @staticmethod
    def _reasonAgainst(parameters) -> str:
        volume = parameters.inputVolume
        if not volume:
            return _("Choose a T1-weighted MRI of the brain.")
        if volumes.isSynthetic(volume):
            return _("Choose an acquired MRI; this volume is synthetic.")
        return belonging.reasonAgainstOutput(parameters.outputVolume, volume)

    def showAgreement(self) -> None:
        """Say where what is shown is not what the panel says, and what to do about it."""
        parameters = self.parameters
        if parameters is None or self._isRefreshing:
            return
        self.result.showStyles(parameters)
        self._showEstimate()
        texts = []
        found = self.run.disagreements()
        if found:
            text = _("The PET is of {shown}.").format(shown=", ".join(found))
            if self.run.isFollowing():
                text += " " + _("The one that was chosen follows.")
            elif not self.run.isBusy:
                text += " " + _("Press Apply for the one that was chosen.")
            texts.append(text)
        other = ""
        if parameters.shown == "sample":
            other = agreement.otherSample(parameters.outputVolume, parameters.sampleNumber)
        elif parameters.shown in results.CHANGE_WINDOWS:
            other = agreement.otherSince(parameters.outputVolume, parameters.sinceAge)
        if other:
            texts.append(_("The PET is of {shown}.").format(shown=other))
        shown = agreement.elsewhere(parameters.outputVolume, self.shownNodes())
        if shown:
            texts.append(_("The views show: {shown}. Table and export are of the output below.").format(shown=shown))
        self.ui.agreementLabel.text = "\n".join(texts)
        self.ui.agreementLabel.visible = bool(texts)

    # ---- words to the user

    def say(self, text: str) -> None:
        """In the line below the bar, which otherwise says why nothing can be computed."""
        self._said = text
        self.ui.statusLabel.text = text

    def showProblem(self, text: str, isFailure: bool) -> None:
        """One sentence for what the user can mend; for a failure its details too."""
        self.say(headline(text))
        if isFailure:
            logging.error(text)
            sentence = _("The computation failed: {reason}").format(reason=headline(text))
            showError(sentence, detailedText=text)
        elif text:
            showError(text)

    @contextmanager
    def showing(self):
        """As ``showingErrors``, with the sentence in the status line too."""
        with showingErrors(_("The computation failed.")):
            try:
                yield
            except InputError as error:
                self.say(str(error))
                raise

    def ensureReady(self) -> bool:
        """Whether everything is there to compute with; asks before it installs what is missing."""
        ready = False
        with self.showing():
            if dependencies.ensurePackages(progress=self._showInstalling):
                ready = self.model.confirmLicence()
            else:
                self.say(_("Nothing was installed; without these packages nothing can be computed."))
        self._showMissing()
        return ready

    def _showInstalling(self, text: str) -> None:
        self.say(text)
        self.ui.statusLabel.repaint()  # the installer leaves the event loop no turn

    def _showMissing(self) -> None:
        text = dependencies.missingText(dependencies.missingPackages())
        self.ui.missingLabel.text = text
        self.ui.missingLabel.visible = self.ui.installButton.visible = bool(text)

    # ---- before Apply: how long, and whether the memory will do

    def _showEstimate(self) -> None:
        """Only what is long, or needs more than there is, is told."""
        texts, patient = [], self.patientChoice()
        can = not self.run.isBusy and not self._reasonAgainst(self.parameters)
        if can and patient[0].GetImageData() is not None and self.run.disagreesOrNew():
            seconds = self.engine.expected(patient, self.choices())
            if seconds >= _LONG:
                texts.append(_("Apply takes {time}.").format(time=timeText(seconds)))
            needed, free = costs.memory(patient[0].GetImageData().GetNumberOfPoints()), computer_memory()
            if free is not None and free < needed and not self.engine.client.isRunning:
                text = _("It needs about {needed} GiB of memory, and {free} GiB are free: close other programs first.")
                texts.append(text.format(needed=f"{needed / (1 << 30):.1f}", free=f"{free / (1 << 30):.1f}"))
        self.ui.estimateLabel.text = " ".join(texts)
        self.ui.estimateLabel.visible = bool(texts)

    # ---- the verdict on the preparation

    def _showVerdict(self) -> None:
        patient = self.patientChoice()
        prepared = self.engine.prepared
        known = prepared is not None and patient[0] is not None and self.engine.holds(*patient, self.choices())
        self.ui.verdictButton.enabled = known and bool(prepared.picture)
        if not known:
            self.ui.verdictLabel.text = _("Preparation: not done yet.")
            return
        verdict = prepared.verdict
        if verdict["status"] == "good":
            self.ui.verdictLabel.text = _("Preparation: good.")
        else:
            text = _("Preparation: doubtful – {reasons}")
            self.ui.verdictLabel.text = text.format(reasons="; ".join(verdict["reasons"]))

    def _onVerdict(self, _checked=False) -> None:
        showPicture(_("The template's brain over the MRI"), self.engine.prepared.picture)

    def _onDice(self, _checked=False) -> None:
        import random

        self.choose("seed", random.randint(0, 999999))

    # ---- what the extra sections made

    def showSweep(self, made, inputVolume) -> None:
        """The sweep's proxy over the MRI, its browser in the tool bar, its plot beside the slices."""
        display.showOverlay(made.proxy, inputVolume)
        display.showLegend(made.proxy, "SUVR")
        if getattr(slicer.modules, "sequences", None):
            slicer.modules.sequences.showSequenceBrowser(made.browser)
        if getattr(slicer.modules, "plots", None):
            slicer.modules.plots.logic().ShowChartInLayout(made.chart)

    def showComparison(self, made, inputVolume) -> None:
        display.showOverlay(made.z, inputVolume)
        display.showLegend(made.z, _("z"))
