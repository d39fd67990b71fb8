"""Apply, Cancel, progress, and the live overlay: when what is computed."""

import logging
import time

import qt
from slicer.i18n import tr as _

from DualGlowLib import InputError

from . import display, results
from .live import Frames, Preview
from .messages import headline

__all__ = ["RunPanel"]

SETTLE_MS = 250
"""A slider that has rested this long gets the exact image."""

KEYFRAME_AGES = 7
KEYFRAME_TEMPERATURES = (0.0, 0.5, 1.0, 1.5)


class RunPanel:
    """At most one job that the user asked for (``start``), and one that follows the sliders."""

    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self.frames, self.preview = Frames(), Preview()
        self._job = None
        self._live = None
        self._resultOf = None  # (patient, choices) that the output shows
        self._settled = qt.QTimer()
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLE_MS)
        self._settled.connect("timeout()", self._onSettled)
        self._ui.applyButton.connect("clicked(bool)", self._onApply)

    @property
    def isBusy(self) -> bool:
        return self._job is not None

    # ---- jobs that the user asks for

    def _onApply(self, _checked=False) -> None:
        if self._job is not None:
            self._job.cancel()
            self._window.say(_("Cancelling …"))
            return
        self.apply()

    def apply(self) -> None:
        """Synthesize with the present choices, into the output or a new volume."""
        window = self._window
        if not window.ensureReady():
            return
        parameters, patient, choices = window.parameters, window.patientChoice(), window.choices()

        def done(reply: dict) -> None:
            self._write(parameters, patient, choices, reply)
            self._afterExact(patient, choices)

        self.start(lambda **callbacks: window.engine.sample(patient, choices, **callbacks), done)

    def start(self, begin, onDone, onEvent=None) -> None:
        """Run a job with the bar and the Cancel button. ``begin(**callbacks)`` gives the ``Job``."""
        self._stopLive()
        started = time.monotonic()

        def ended() -> None:
            self._job = None
            self._ui.progressBar.reset()

        def progress(text: str, fraction: float) -> None:
            self._ui.progressBar.value = round(100 * fraction)
            self._ui.progressBar.format = text + _remaining(time.monotonic() - started, fraction)

        def done(reply: dict) -> None:
            ended()
            try:
                with self._window.showing():
                    onDone(reply)
            finally:
                self._window.refresh()

        def problem(text: str, isFailure: bool) -> None:
            ended()
            self._window.refresh()
            self._window.showProblem(text, isFailure)

        def cancelled() -> None:
            ended()
            self._window.say(_("Cancelled; nothing was changed."))
            self._window.refresh()

        def event(message: dict) -> None:
            if message["event"] == "notice":
                self._window.say(message["message"])
            if onEvent:
                onEvent(message)

        self._window.say("")
        try:
            job = begin(onDone=done, onProgress=progress, onProblem=problem, onCancelled=cancelled, onEvent=event)
        except InputError as error:
            self._window.showProblem(str(error), False)
            return
        self._job = None if job.isOver else job
        self._window.refresh()

    def forget(self) -> None:
        """The scene goes: drop what runs, without a word."""
        self._job = self._live = self._resultOf = None
        self._settled.stop()
        self.frames.begin(None)
        self.preview.remove()
        self._ui.progressBar.reset()

    def leave(self) -> None:
        """The user goes to another module: nothing follows the sliders, and no preview stays over the MRI."""
        self._settled.stop()
        self._stopLive()
        self.hidePreview()

    def hidePreview(self) -> None:
        """Put the output where the preview lies."""
        parameters = self._window.parameters
        self.preview.hide(parameters.outputVolume if parameters is not None else None)

    # ---- results

    def _write(self, parameters, patient: tuple, choices, reply: dict, isLive: bool = False) -> None:
        """``isLive``: the user is at the sliders; the views keep what they show."""
        inputVolume = patient[0]
        load = self._window.engine.client.load
        arrays = {kind: load(reply[kind]) for kind in ("mean", "sd", "below")}
        load(reply.get("grid_mean"))
        if inputVolume.GetScene() is None:
            raise InputError(_("The MRI was deleted while its PET was computed; load it and apply again."))
        output = parameters.outputVolume
        if output is inputVolume:
            raise InputError(_("Choose an output other than the input, which would be overwritten."))
        output = results.writeResult(inputVolume, output, arrays, reply["regions"], reply["provenance"], isOwned=True)
        parameters.outputVolume = output
        self._resultOf = (patient, choices)
        self._window.model.showDevice({**self._window.engine.description, "device": reply["device"]})
        self.preview.hide(output)
        if parameters.shown == "sample":
            self._showSample(parameters, patient, choices)
        isThere = display.isOver(results.resultOf(output, parameters.shown) or output)
        if not (isLive and isThere and parameters.shown != "below"):  # its legend names the threshold
            results.showResult(output, inputVolume, parameters.shown, choices.below)

    def showPart(self) -> None:
        """The user chose another part of the result to look at."""
        parameters = self._window.parameters
        output, inputVolume = parameters.outputVolume, parameters.inputVolume
        if output is None or inputVolume is None or output.GetImageData() is None:
            return
        if parameters.shown == "sample" and self._resultOf is not None and not self.isBusy:
            self._showSample(parameters, *self._resultOf)
        elif results.resultOf(output, parameters.shown) is None:
            self._window.say(_("Of one image there is the mean alone; take several samples at a temperature above 0."))
        results.showResult(output, inputVolume, parameters.shown, parameters.belowThreshold)

    def _showSample(self, parameters, patient: tuple, choices) -> None:
        number = min(parameters.sampleNumber, choices.samples)
        shown = results.resultOf(parameters.outputVolume, "sample")
        if shown is not None and shown.GetAttribute("DualGlow.SampleNumber") == str(number):
            return

        def done(reply: dict) -> None:
            array = self._window.engine.client.load(reply["sample"])
            output = parameters.outputVolume
            if output is None or patient[0].GetScene() is None or self._resultOf != (patient, choices):
                return
            results.writeSample(patient[0], output, array, number, reply["provenance"], isOwned=True)
            if parameters.shown == "sample":
                results.showResult(output, patient[0], "sample", choices.below)

        self._startLive(lambda **callbacks: self._window.engine.one(patient, choices, number - 1, **callbacks), done)

    # ---- the live overlay

    def choicesChanged(self) -> None:
        """Called whenever a parameter changed."""
        parameters, window = self._window.parameters, self._window
        if self._job is not None or self._resultOf is None:
            return
        if parameters.outputVolume is None or self._resultOf[0][0].GetScene() is None:  # one of them was deleted
            self._resultOf = None
            self._settled.stop()
            self.preview.remove()
            return
        patient, choices = window.patientChoice(), window.choices()
        if self._resultOf == (patient, choices):
            self._settled.stop()
            self.preview.hide(parameters.outputVolume)
            return
        isSame = patient == self._resultOf[0] and window.engine.holds(*patient, choices)
        if not (parameters.live and isSame):
            window.say(_("The choices have changed; press Apply for the PET that goes with them."))
            return
        if parameters.shown == "mean":
            self._showFrame(patient, choices, parameters.outputVolume)
        self._settled.start()

    def _showFrame(self, patient: tuple, choices, outputVolume) -> None:
        self.frames.begin(_signature(patient, choices))
        values = self.frames.at(choices.age, choices.temperature)
        if values is not None:
            self.preview.show(values, self._window.engine.prepared["grid_affine"], outputVolume, patient[0])

    def _onSettled(self) -> None:
        window, parameters = self._window, self._window.parameters
        if parameters is None or self._job is not None or self._resultOf is None:
            return
        patient, choices = window.patientChoice(), window.choices()
        if self._resultOf == (patient, choices) or not window.engine.holds(*patient, choices):
            return

        def done(reply: dict) -> None:
            if window.parameters is None:
                return
            if (window.patientChoice(), window.choices()) != (patient, choices):
                self._settled.start()  # it has moved on meanwhile; the frames show where
            with window.showing():
                self._write(parameters, patient, choices, reply, isLive=True)
                self._afterExact(patient, choices)
            window.refresh()

        self._startLive(lambda **callbacks: window.engine.sample(patient, choices, **callbacks), done)

    def _afterExact(self, patient: tuple, choices) -> None:
        """Have the frames made that the next move of a slider needs, unless something else comes first."""
        window = self._window
        if not window.parameters or not window.parameters.live or self._live is not None or choices.age is None:
            return
        self.frames.begin(_signature(patient, choices))
        low, high = window.ui.ageSlider.minimum, window.ui.ageSlider.maximum
        ages = [round(low + i * (high - low) / (KEYFRAME_AGES - 1), 3) for i in range(KEYFRAME_AGES)]
        for asked in ((ages, [choices.temperature]), ([choices.age], list(KEYFRAME_TEMPERATURES))):
            if self.frames.missing(*asked):
                self._askFrames(patient, choices, *asked)
                return

    def _askFrames(self, patient: tuple, choices, ages: list, temperatures: list) -> None:
        signature = _signature(patient, choices)

        def event(message: dict) -> None:
            if message["event"] == "keyframe":
                values = self._window.engine.client.load(message["values"])
                if self.frames.signature == signature:
                    self.frames.add(message["age"], message["temperature"], values)

        def done(_reply: dict) -> None:
            self._afterExact(patient, choices)

        engine = self._window.engine
        self._startLive(
            lambda **callbacks: engine.keyframes(patient, choices, ages, temperatures, **callbacks), done, event
        )

    def _startLive(self, begin, onDone, onEvent=None) -> None:
        self._stopLive()

        def problem(text: str, isFailure: bool) -> None:
            self._live = None
            if isFailure:
                logging.error(text)
            self.hidePreview()  # no exact image will take its place
            self._window.say(headline(text))

        def cancelled() -> None:
            if self._live is job:
                self._live = None

        def done(reply: dict) -> None:
            if self._live is job:
                self._live = None
                onDone(reply)

        try:
            job = begin(onDone=done, onProblem=problem, onCancelled=cancelled, onEvent=onEvent)
        except InputError as error:
            self._window.say(str(error))
            return
        self._live = None if job.isOver else job

    def _stopLive(self) -> None:
        if self._live is not None:
            self._live.cancel(isPatient=True)  # killed, the worker would lose the patient
            self._live = None


def _signature(patient: tuple, choices) -> tuple:
    """What keyframes depend on besides age and temperature."""
    return (*patient, choices.bundle, choices.sex, choices.diagnosis, choices.samples, choices.seed)


def _remaining(seconds: float, fraction: float) -> str:
    if fraction < 0.05 or seconds < 1:
        return ""
    left = seconds * (1 - fraction) / fraction
    return " – " + _("about {seconds} s left").format(seconds=max(round(left), 1))
