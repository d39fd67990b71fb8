"""Apply, Cancel, progress, and the live overlay: when what is computed."""

import logging
import time
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import qt
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.progress import Clock
from DualGlowLib.provenance import with_covariates
from DualGlowLib.worker.replies import Changed, Framed, Keyframe, Sampled
from DualGlowSlicerLib import volumes
from DualGlowSlicerLib.messages import headline

from ..nodes import belonging, display, results
from ..parameters import Choices
from . import agreement
from .live import Frames, Preview

__all__ = ["RunPanel", "timeText"]

SETTLE_MS = 250
"""A slider that has rested this long gets the exact image."""

_EXTRA = ("sample", *results.BOUNDS, *results.CHANGE_WINDOWS)
"""What can be shown and is made only then."""

_NEAR = ("NearestTo", "Region")

QUIET_SECONDS = 1.0
"""What follows the sliders is told in the bar if it takes longer."""

KEYFRAME_AGES = 7
KEYFRAME_TEMPERATURES = (0.0, 0.5, 1.0, 1.5)


class Made(NamedTuple):
    """What this window wrote into an output: of which patient, by which choices, from which state of the voxels.

    ``provenance``: what was written on the output; a script may write another result into it. ``regions``: rows of its
    table, see ``Sampled``.
    """

    output: Any
    patient: tuple
    choices: Choices
    state: tuple
    provenance: dict
    regions: list


class RunPanel:
    """At most one job that the user asked for (``start``), and one that follows the sliders."""

    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self.frames, self.preview = Frames(), Preview()
        self._job = None
        self._live = None
        self._made: dict[str, Made] = {}  # by the output's ID
        self._settled = qt.QTimer()
        self._settled.setSingleShot(True)
        self._settled.setInterval(SETTLE_MS)
        self._settled.connect("timeout()", self._onSettled)
        self._ui.applyButton.connect("clicked(bool)", self._onApply)
        self._ui.liveBox.connect("toggled(bool)", lambda isLive: None if isLive else self._stopLive())

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
        output = parameters.outputVolume
        if reason := belonging.reasonAgainstOutput(output, patient[0]):
            window.showProblem(reason, False)
            return
        state = _stateOf(patient)

        def done(reply: Sampled) -> None:
            self._write(parameters, output, patient, state, choices, reply)
            self._afterExact(patient, choices)

        self.start(lambda **callbacks: window.engine.sample(patient, choices, **callbacks), done)

    def start(self, begin, onDone, onEvent=None) -> None:
        """Run a job with the bar and the Cancel button. ``begin(**callbacks)`` gives the ``Job``."""
        self._settled.stop()
        self._stopLive()
        self.hidePreview()  # the exact image that was to take its place comes later, if at all
        progress = self._bar()

        def ended() -> None:
            self._job = None
            self._ui.progressBar.reset()

        def done(reply: Sampled) -> None:
            ended()
            try:
                with self._window.showing():
                    onDone(reply)
            finally:
                self._goOn()

        def problem(text: str, isFailure: bool) -> None:
            ended()
            self._goOn()
            self._window.showProblem(text, isFailure)

        def cancelled() -> None:
            ended()
            self._window.say(_("Cancelled; nothing was changed."))
            self._goOn()

        self._window.say("")
        callbacks = {"onProblem": problem, "onCancelled": cancelled, "onEvent": onEvent, "onNotice": self._window.say}
        try:
            job = begin(onDone=done, onProgress=progress, **callbacks)
        except InputError as error:
            self._window.showProblem(str(error), False)
            return
        self._job = None if job.isOver else job
        self._window.refresh()

    def _bar(self):
        """Gives what shows the progress of one job in the bar: how far it is, at what, and how long it will take."""
        clock, bar = Clock(), self._ui.progressBar

        def progress(text: str, fraction: float) -> None:
            left = clock.event(text, fraction)["seconds_left"]
            bar.value = round(100 * fraction)
            bar.format = text if left is None else _("{text} – {time} left").format(text=text, time=timeText(left))

        return progress

    def _goOn(self) -> None:
        """After a job: the sliders may have moved since the result was made."""
        self._window.refresh()
        if self._window.parameters is not None:
            self.choicesChanged(isMove=False)

    def forget(self) -> None:
        """The scene goes: drop what runs, without a word."""
        self._job = self._live = None
        self._made = {}
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
        output = belonging.resultFor(belonging.inputOf(self.preview.node))
        parameters = self._window.parameters
        chosen = parameters.outputVolume if parameters is not None else None
        if chosen is not None and belonging.inputOf(chosen) is belonging.inputOf(self.preview.node):
            output = chosen
        self.preview.hide(output)

    # ---- results

    def disagreements(self) -> list[str]:
        """What the output was made with, where that isn't what is chosen now; without an output nothing."""
        window, parameters = self._window, self._window.parameters
        output = parameters.outputVolume
        if output is None or parameters.inputVolume is None or not volumes.isSynthetic(output):
            return []
        inputVolume, maskVolume, preparation = window.patientChoice()
        digest = window.model.facts.get("sha256", "")
        found = agreement.disagreements(output, window.choices(), digest, preparation, maskVolume)
        made = self._madeInto(output)
        isMoved = inputVolume.GetTransformNodeID() != output.GetTransformNodeID()
        isMoved |= not np.allclose(volumes.affineOf(inputVolume), volumes.affineOf(output), atol=1e-3)
        if isMoved or (made is not None and made.state != _stateOf(made.patient)):
            found.append(_("the MRI or its mask as it was before it was changed"))
        return found

    def disagreesOrNew(self) -> bool:
        """Whether Apply would make another image than there is."""
        output = self._window.parameters.outputVolume
        return output is None or not volumes.isSynthetic(output) or bool(self.disagreements())

    def _madeInto(self, output) -> Made | None:
        made = self._made.get(output.GetID()) if output is not None else None
        isStill = made is not None and made.output is output and made.provenance == volumes.provenanceOf(output)
        return made if isStill else None

    def _write(
        self, parameters, output, patient: tuple, state: tuple, choices, reply: Sampled, isLive: bool = False
    ) -> None:
        """Write the result of an MRI that was in this ``state`` when it was asked for.

        ``isLive``: nobody pressed Apply; the views keep what they show.
        """
        inputVolume, maskVolume, preparation = patient
        if inputVolume.GetScene() is None:
            raise InputError(_("The MRI was deleted while its PET was computed; load it and apply again."))
        if output is not None and output.GetScene() is None:
            output = None  # it was deleted meanwhile
        output = results.writeResult(inputVolume, output, reply, choices.question.below, isOwned=True)
        agreement.notePreparation(output, preparation, maskVolume)
        self._made[output.GetID()] = Made(output, patient, choices, state, volumes.provenanceOf(output), reply.regions)
        self._window.model.showDevice(reply.device, self._window.engine.opened.device_reason)
        if parameters.inputVolume is not inputVolume:
            belonging.choose(inputVolume, output)  # the user has gone on to somebody or something else
            text = _("The PET of {name} is ready; it is shown when that MRI is chosen.")
            self._window.say(text.format(name=belonging.patientTitle(inputVolume)))
            return
        parameters.outputVolume = output
        self.preview.hide(output)
        self._showExtra(parameters, self._made[output.GetID()])
        isThere = any(display.isOver(node) for node in results.partsOf(output))
        isShown = display.isOver(results.resultOf(output, parameters.shown) or output)
        # The legend of the probability names its threshold, which may have changed.
        if not isLive or (isThere and (not isShown or parameters.shown == "below")):
            results.showResult(output, inputVolume, parameters.shown)

    def showPart(self) -> None:
        """The user chose another result, or another part of it, to look at."""
        parameters = self._window.parameters
        output, inputVolume = parameters.outputVolume, parameters.inputVolume
        if not belonging.belongsTo(output, inputVolume) or output.GetImageData() is None:
            return
        if parameters.shown in _EXTRA and not self.isBusy and (made := self._madeInto(output)) is not None:
            self._showExtra(parameters, made)
        elif results.resultOf(output, parameters.shown) is None:
            text = _("Of one image there is the mean alone; take several samples at a temperature above 0.")
            if parameters.shown in _EXTRA:
                text = _("Press Apply first; a single sample, or another age, can be drawn after that.")
            self._window.say(text)
        results.showResult(output, inputVolume, parameters.shown)

    def regions(self) -> list[str]:
        """Names of those whose bounds the output's samples have."""
        made = self._madeInto(self._window.parameters.outputVolume)
        return [row["region"] for row in made.regions if row["low_sample"]] if made is not None else []

    def _showExtra(self, parameters, made: Made) -> None:
        """Have made what sampling doesn't bring along, where it is chosen: one sample, or the change since an age."""
        if parameters.shown not in _EXTRA or made.state != _stateOf(made.patient):
            return  # what is drawn of other voxels would be none of that result
        if parameters.shown in results.CHANGE_WINDOWS:
            self._showChange(parameters, made)
            return
        number, near = min(parameters.sampleNumber, made.choices.question.samples), {}
        if parameters.shown in results.BOUNDS:
            rows = {row["region"]: row for row in made.regions if row["low_sample"]}
            if not rows:
                self._window.say(_("Of one image there is no interval; take several samples at a temperature above 0."))
                return
            row = rows.get(parameters.region) or next(iter(rows.values()))
            number = row[f"{parameters.shown}_sample"]
            near = {"NearestTo": results.BOUNDS[parameters.shown], "Region": row["region"]}
        self._showSample(parameters, made, number, near)

    def _showSample(self, parameters, made: Made, number: int, near: dict) -> None:
        shown = results.resultOf(made.output, "sample")
        about = volumes.provenanceOf(shown) if shown is not None else {}
        if about.get("SampleNumber") == number and {key: about[key] for key in _NEAR if key in about} == near:
            return

        def write(reply: Sampled) -> None:
            results.writeSample(made.patient[0], made.output, reply.mean, number, reply.provenance, True, near)

        choices = replace(made.choices, question=made.choices.question.one(number - 1))
        engine = self._window.engine
        self._drawExtra(parameters, made, lambda **calls: engine.sample(made.patient, choices, **calls), write)

    def _showChange(self, parameters, made: Made) -> None:
        since, shown = parameters.sinceAge, results.resultOf(made.output, "percent")
        if shown is not None and volumes.provenanceOf(shown).get("SinceAge") == since:
            return

        def write(reply: Changed) -> None:
            results.writeChange(made.patient[0], made.output, reply, isOwned=True)

        engine = self._window.engine
        self._drawExtra(
            parameters, made, lambda **calls: engine.change(made.patient, made.choices, since, **calls), write
        )

    def _drawExtra(self, parameters, made: Made, begin, write) -> None:
        def done(reply) -> None:
            if made.patient[0].GetScene() is None or self._madeInto(made.output) is not made:
                return
            write(reply)
            if parameters.shown in _EXTRA and parameters.outputVolume is made.output:
                results.showResult(made.output, made.patient[0], parameters.shown)
            self._window.refresh()

        self._startLive(begin, done)

    # ---- the live overlay

    def choicesChanged(self, isMove: bool = True) -> None:
        """Called whenever a parameter changed; ``isMove``: by the user, who then wants to see the result."""
        parameters, window = self._window.parameters, self._window
        if self._job is not None:
            return
        output = parameters.outputVolume
        if output is None or not belonging.belongsTo(output, parameters.inputVolume):
            self._settled.stop()
            self.preview.remove()
            return
        if not self.disagreements():
            self._settled.stop()
            self.preview.hide(output)
            return
        if not self.isFollowing():
            self._settled.stop()
            self.hidePreview()
            return
        patient, choices = window.patientChoice(), window.choices()
        if isMove and agreement.elsewhere(output, window.shownNodes()):  # a sweep or a comparison, say
            results.showResult(output, patient[0], parameters.shown)
        if isMove and parameters.shown == "mean":
            self._showFrame(patient, choices, output)
        self._settled.start()

    def isFollowing(self) -> bool:
        """Whether the exact image of what is chosen comes by itself."""
        window, parameters = self._window, self._window.parameters
        output = parameters.outputVolume
        if self.isBusy or not parameters.live or output is None or not volumes.isSynthetic(output):
            return False
        return window.engine.holds(*window.patientChoice(), window.choices())

    def _showFrame(self, patient: tuple, choices, outputVolume) -> None:
        self.frames.begin(_signature(patient, choices))
        question = choices.question
        values = self.frames.at(question.covariates.get("age"), question.temperature)
        if values is not None:
            about = {"Temperature": question.temperature, "Samples": question.samples}
            known = self._window.model.covariates()
            about = with_covariates(about, {name: question.covariates.get(name) for name in known})
            affine = self._window.engine.prepared.grid_affine
            self.preview.show(values, affine, outputVolume, patient[0], about)

    def _onSettled(self) -> None:
        window, parameters = self._window, self._window.parameters
        if parameters is None or self._job is not None or not self.disagreements() or not self.isFollowing():
            return
        patient, choices, output = window.patientChoice(), window.choices(), parameters.outputVolume
        state = _stateOf(patient)

        def done(reply: Sampled) -> None:
            if window.parameters is None or window.parameters.outputVolume is not output:
                return  # nobody asked for it by name, and the former output stays as the user left it
            with window.showing():
                self._write(parameters, output, patient, state, choices, reply, isLive=True)
                self._afterExact(patient, choices)
            window.refresh()
            if window.parameters.inputVolume is patient[0] and self.disagreements():
                self._settled.start()  # it has moved on meanwhile; the frames show where

        self._startLive(lambda **callbacks: window.engine.sample(patient, choices, **callbacks), done)

    def _afterExact(self, patient: tuple, choices) -> None:
        """Have the frames made that the next move of a slider needs, unless something else comes first."""
        window = self._window
        parameters = window.parameters
        if not parameters or not parameters.live or self._live is not None:
            return
        if parameters.inputVolume is not patient[0]:
            return
        self.frames.begin(_signature(patient, choices))
        low, high = window.ui.ageSlider.minimum, window.ui.ageSlider.maximum
        ages = [round(low + i * (high - low) / (KEYFRAME_AGES - 1), 3) for i in range(KEYFRAME_AGES)]
        age, wanted = choices.question.covariates.get("age"), []
        if "age" in window.model.covariates():
            wanted.append((ages, [choices.question.temperature]))
        if age is not None:
            wanted.append(([age], list(KEYFRAME_TEMPERATURES)))
        for asked in wanted:
            if self.frames.missing(*asked):
                self._askFrames(patient, choices, *asked)
                return

    def _askFrames(self, patient: tuple, choices, ages: list, temperatures: list) -> None:
        signature = _signature(patient, choices)

        def event(frame: Keyframe) -> None:
            if self.frames.signature == signature:
                self.frames.add(frame.age, frame.temperature, frame.values)

        def done(_reply: Framed) -> None:
            self._afterExact(patient, choices)

        engine = self._window.engine
        self._startLive(
            lambda **callbacks: engine.keyframes(patient, choices, ages, temperatures, **callbacks), done, event
        )

    def _startLive(self, begin, onDone, onEvent=None) -> None:
        self._stopLive()
        show, started = self._bar(), time.monotonic()

        def progress(text: str, fraction: float) -> None:
            if self._live is job and time.monotonic() - started >= QUIET_SECONDS:
                show(text, fraction)

        def ended() -> None:
            self._live = None
            self._ui.progressBar.reset()

        def problem(text: str, isFailure: bool) -> None:
            ended()
            if isFailure:
                logging.error(text)
            self.hidePreview()  # no exact image will take its place
            self._window.say(headline(text))
            self._window.refresh()

        def cancelled() -> None:
            if self._live is job:
                ended()

        def done(reply: Sampled) -> None:
            if self._live is job:
                ended()
                onDone(reply)

        job = None
        try:
            job = begin(onDone=done, onProgress=progress, onProblem=problem, onCancelled=cancelled, onEvent=onEvent)
        except InputError as error:
            self._window.say(str(error))
            return
        self._live = None if job.isOver else job

    def _stopLive(self) -> None:
        if self._live is not None:
            self._live.cancel(isForced=False)  # killed, the worker would lose the patient
            self._live = None
            self._ui.progressBar.reset()


def _signature(patient: tuple, choices) -> tuple:
    """What keyframes depend on besides age and temperature."""
    question = replace(choices.question.at(age=None), temperature=0.0, below=None)
    return (*patient, *_stateOf(patient), choices.bundle, question)


def _stateOf(patient: tuple) -> tuple:
    return volumes.stateOf(patient[0]), volumes.stateOf(patient[1])


def timeText(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 100:
        return _("about {seconds} s").format(seconds=max(round(seconds), 1))
    return _("about {minutes} min").format(minutes=round(seconds / 60))
