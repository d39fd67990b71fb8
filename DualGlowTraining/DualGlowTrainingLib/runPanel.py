"""The section on the run: start, pause, stop and resume it, follow it, and use what it has made."""

import time
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.training import status as runs
from DualGlowLib.training.pace import spoken
from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import agreed, showError, showingErrors

from . import charts
from .history import History, LogTail
from .programs import COMMAND_LINE, SEQUENCE, Program, endProcess, startRun
from .samplesPanel import SamplesPanel

__all__ = ["LAST_RUN", "RunPanel"]

LOG, LAST_RUN = "train.log", "DualGlowTraining/LastRun"
_LOOK = 0.5  # seconds between two looks at the run's files
_CURVES = (
    ("pet_bits", "validation_pet_bits"),
    ("mri_bits", "validation_mri_bits"),
    ("loss", "validation_loss"),
    ("validation_psnr",),
    ("validation_crps",),
    ("gradient",),
)


class RunPanel:
    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._program = self._started = None
        self._startedAt, self._startedIn, self._next = 0.0, "", 0.0
        self._folder = None
        self._isCharted = self._stops = False
        self._statuses: dict[Path, runs.Status] = {}
        self._running = self._chain = None
        self.status = runs.Status()
        """Of the run that is shown, as it was last seen."""
        ui = self._ui
        ui.startButton.connect("clicked(bool)", self._onStart)
        ui.pauseButton.connect("clicked(bool)", self._onPause)
        ui.stopButton.connect("clicked(bool)", self._onStop)
        ui.curvesButton.connect("clicked(bool)", self._onCurves)
        ui.useButton.connect("clicked(bool)", self._onUse)
        ui.exportButton.connect("clicked(bool)", self._onExport)
        self._curve = Chooser(ui.curveBox, lambda _value: self._drawCurves())
        self._shown = Chooser(ui.shownBox, self._onShown)
        self.samples = SamplesPanel(ui)
        ui.exportLabel.text = ""

    # ---- what there is to do

    @property
    def _isStarting(self) -> bool:
        """Started, by this window or another, and no run has said anything yet; of folds also between two runs."""
        if any(status.is_running for status in [self.status, *self._statuses.values()]):
            return False
        isAlive = self._started is not None and self._started.poll() is None
        if self._isOfFolds:
            return isAlive or bool(self._chain and self._chain.alive)
        return isAlive and self.status.updated < self._startedAt

    @property
    def _isOfFolds(self) -> bool:
        return bool(self._window.plan.folds)

    @property
    def _canResume(self) -> bool:
        """Of several runs: some were begun, and not all are done."""
        if self._isOfFolds:
            states = {status.state for status in self._statuses.values()}
            return bool(states - {"none"}) and states != {"done"}
        return self.status.state in ("stopped", "failed", "dead") and (self._folder / runs.HISTORY).exists()

    def show(self) -> None:
        self._showRuns()
        ui, state = self._ui, self.status.state
        why = self._whyNot()
        ui.startButton.text = _("Resume") if self._canResume else _("Start")
        ui.startButton.enabled = not why
        tip = _("Goes on from the last checkpoint, with the settings that it began with.") if self._canResume else ""
        tip = tip or _("Prepares the cases where they aren't, and trains; Slicer may be closed.")
        ui.startButton.toolTip = why or tip
        isRunning = self.status.is_running
        ui.pauseButton.enabled = isRunning
        ui.pauseButton.text = _("Continue") if state == "paused" else _("Pause")
        ui.stopButton.enabled = isRunning or self._isStarting
        ui.stopButton.text = _("End at once") if self._stops and isRunning else _("Stop")
        isThere = self._folder is not None and (self._folder / "bundle" / "config.json").is_file()
        ui.useButton.enabled = isThere and not isRunning
        ui.exportButton.enabled = isThere and not isRunning and self._program is None
        for button in (ui.useButton, ui.exportButton):
            button.toolTip = "" if isThere else _("There is no trained model in the output folder yet.")
        ui.runLabel.text = self._words()
        ui.runLabel.visible = bool(ui.runLabel.text)
        ui.runBar.visible = isRunning
        if isRunning:
            ui.runBar.value = round(100 * self.status.fraction)
        hasCurves = self._folder is not None and bool(self._history.last)
        ui.numbersLabel.text = self._numbers() if hasCurves else ""
        for widget in (ui.numbersLabel, ui.curvesButton, ui.curveBox):
            widget.visible = hasCurves
        titles = (
            *(_("PET NLL (bits/dim)"), _("MRI NLL (bits/dim)"), _("loss")),
            *(_("PSNR (dB)"), _("CRPS (SUVR)"), _("gradient norm")),
        )
        found = self._history.curves if hasCurves else {}
        self._curve.fill([one for one in zip(titles, _CURVES, strict=True) if set(one[1]) & set(found)])
        ui.exportLabel.visible = bool(ui.exportLabel.text)

    def _whyNot(self) -> str:
        """Why nothing can be started or resumed; empty if it can."""
        state = self.status.state
        if not self._window.isReady:
            return _("Install the missing packages first.")
        if self._isStarting or any(status.is_running for status in [self.status, *self._statuses.values()]):
            return _("The run goes on.")
        if state == "elsewhere":
            return self.status.message
        if state == "done" and not self._canResume:
            return _("The run has ended; choose another output folder for another one.")
        if self._canResume:
            text = _("Resume it on the command line, with the options that it began with.")
            return "" if self._begun() else text
        if not self._window.plan.folder or not self._window.cases.folder:
            return _("Choose the folder of cases and the output folder.")
        return self._window.plan.refusal

    def _words(self) -> str:
        """What the run is doing."""
        status = self.status
        left = "" if status.seconds_left is None else _("about {time} left").format(time=spoken(status.seconds_left))
        if self._isStarting:
            return _("The training starts …")
        if self._stops and status.is_running:
            return _("The run stops after this step, and is saved.")
        texts = {
            "none": "",
            "preparing": _("Preparing the cases: {detail}").format(detail=status.detail),
            "reading": _("Reading the cases …"),
            "training": _("Training: step {step} of {steps}").format(step=status.step, steps=status.steps),
            "paused": _("Paused, and saved."),
            "stopped": _("Stopped at step {step} of {steps}, and saved; Resume goes on.").format(
                step=status.step, steps=status.steps
            )
            if status.steps
            else _("Stopped before the training; Resume goes on."),
            "done": _("Done: {steps} steps.").format(steps=status.steps),
        }
        text = texts.get(status.state, status.message)
        if status.is_running and status.message:
            return f"{text.rstrip(' .…')}. {status.message}"
        return f"{text}, {left}." if left and status.state in ("preparing", "training") else text

    def _numbers(self) -> str:
        last = self._history.last
        parts = [
            (_("PET {bits} bits"), "pet_bits"),
            (_("held-out PET {bits} bits"), "validation_pet_bits"),
            (_("MRI {bits} bits"), "mri_bits"),
            (_("held-out PSNR {bits} dB"), "validation_psnr"),
            (_("CRPS {bits} SUVR"), "validation_crps"),
        ]
        found = [text.format(bits=f"{last[key]:.4g}") for text, key in parts if isinstance(last.get(key), float)]
        found += [_("{count} steps skipped").format(count=last["skipped"])] if last.get("skipped") else []
        return _("At step {step}: {values}.").format(step=last.get("step", 0), values=", ".join(found))

    # ---- what the buttons do

    def _begun(self) -> list:
        """The arguments of a run that was begun, in its folder as it is now; of one fold, those of all."""
        folder, status = self._folder, self.status
        if self._isOfFolds:
            found = ((folder, status) for folder, status in self._statuses.items() if status.arguments)
            folder, status = next(found, (folder, runs.Status()))
        return [*status.arguments]

    def _onStart(self, _checked=False) -> None:
        plan, words = self._window.plan, self._begun() if self._canResume else []
        if self._isOfFolds:
            words = _without(words, ("--output", "--splits", "--fold")) or [self._window.cases.folder, *plan.options()]
            self.start(SEQUENCE, plan.foldArguments(words))
        elif words:
            words = [*_without(words, ("--output",)), "--output", str(self._folder)]  # the folder may have been moved
            self.start(COMMAND_LINE, ["train", *words, "--resume"])
        else:
            self.start(COMMAND_LINE, ["train", *plan.arguments()])

    def start(self, module: str, arguments: list) -> None:
        folder = Path(self._window.plan.folder)
        with showingErrors(_("The training can't be started.")):
            self._started = startRun(module, arguments, folder, folder / LOG)
            self._startedAt, self._startedIn, self._stops = time.time(), self._window.plan.folder, False
            qt.QSettings().setValue(LAST_RUN, str(folder))
            self._ui.casesPath.addCurrentPathToHistory()
            self._ui.outputPath.addCurrentPathToHistory()
        self._window.onChoices()

    def _onPause(self, _checked=False) -> None:
        with showingErrors(_("The run can't be paused.")):
            runs.ask(self._folder, "" if self.status.state == "paused" else "pause")

    def _onStop(self, _checked=False) -> None:
        with showingErrors(_("The run can't be stopped.")):
            if not self.status.is_running:
                endProcess(self._chain.pid if self._chain else self._started.pid)
            elif not self._stops:
                runs.ask(self._folder, "stop")
                self._stops = True
            elif agreed(
                _("End the run at once? What it did since its last checkpoint is done again when you resume it.")
            ):
                endProcess(self.status.holder.pid)
        self._window.onChoices()

    def _onCurves(self, _checked=False) -> None:
        self._isCharted = True
        charts.showChart(self._drawCurves())

    def _drawCurves(self):
        if not self._isCharted or self._folder is None:
            return None
        titles = (_("training"), _("held out"))
        names = [name for name in self._curve.value or () if name in self._history.curves]
        curves = {titles[name.startswith("validation_")]: self._history.curves[name] for name in names}
        title = self._ui.curveBox.currentText
        return charts.updateChart("run", f"{self._folder.name}: {title}", _("Step"), title, curves)

    def _onUse(self, _checked=False) -> None:
        """Choose the trained model in the module Synthesis, and go there."""
        with showingErrors(_("The model can't be used.")):
            widget = slicer.util.getModuleWidget("DualGlowSynthesis")
            if slicer.util.mainWindow() is not None:
                slicer.util.selectModule("DualGlowSynthesis")
            widget.window.model.add(str(self._folder / "bundle"))

    def _onExport(self, _checked=False) -> None:
        name = f"{self._folder.name}.zip"
        parent = slicer.util.mainWindow()
        path = qt.QFileDialog.getSaveFileName(parent, _("Export the model"), str(self._folder / name), "*.zip")
        if path:
            self.export(path)

    def export(self, path: str) -> None:
        """Write the model as one zip file, which Synthesis can download; in a process of its own."""

        def heard(event: dict) -> None:
            text = _("The model is in {path}; its SHA-256 is {sha256}.")
            self._ui.exportLabel.text = text.format(path=event.get("path"), sha256=event.get("sha256"))

        def ended(code: int, said: str) -> None:
            self._program = None
            if code:
                self._ui.exportLabel.text = ""
                showError(said or _("The model can't be exported."))
            self._window.onChoices()

        with showingErrors(_("The model can't be exported.")):
            words = [str(self._folder / "bundle"), path]
            self._program = Program("DualGlowLib.bundle.archive", words, heard, ended)
            self._ui.exportLabel.text = _("Writing the model …")
        self._window.onChoices()

    # ---- the window's timer

    def poll(self) -> None:
        if self._program:
            self._program.poll()
        now = time.monotonic()
        if now < self._next or self._folder is None:
            return
        self._next = now + _LOOK
        before, self.status = (self._statuses, self.status), runs.read_status(self._folder)
        self._statuses = {run: runs.read_status(run) for run in self._window.plan.foldRuns()}
        self._chain = runs.read_status(self._window.plan.folder).holder if self._isOfFolds else None
        self.samples.look()
        if not self.status.is_running:
            self._stops = False
        hasNews = self._history.read()
        if self._log.read():
            self._ui.logText.plainText = "\n".join(self._log.lines)
            bar = self._ui.logText.verticalScrollBar()
            bar.setValue(bar.maximum)
        if hasNews:
            self._drawCurves()
        hadStarted = self._started is not None
        self._seeEnd()
        if before[1].state == "preparing" != self.status.state:
            self._window.cases.lookAgain()
        if hasNews or (self._statuses, self.status) != before or hadStarted:
            self._window.onChoices()

    # ---- which run is shown

    def _showRuns(self) -> None:
        """Follow the run in the output folder; of folds the one that the user has chosen, or the one that has begun."""
        plan = self._window.plan
        found = plan.foldRuns()
        isNew = set(found) != set(self._statuses)
        if isNew:
            self._statuses = {run: runs.read_status(run) for run in found}
        self._shown.fill([(_said(run, self._statuses[run]), run) for run in found])
        self._ui.shownBox.visible = len(found) > 1
        running = next((run for run in found if self._statuses[run].is_running), None)
        if running is not None and running != self._running:
            self._shown.show(running)
        elif isNew and running is None and (unfinished := self._unfinished(found)):
            self._shown.show(unfinished)
        self._running = running
        self._follow(self._shown.value if found else Path(plan.folder) if plan.folder else None)

    def _unfinished(self, found: list) -> Path | None:
        """The run that was broken off, which is what the user has to know of when nothing goes on."""
        return next((run for run in found if self._statuses[run].state not in ("none", "done")), None)

    def _onShown(self, _run) -> None:
        self._window.onChoices()
        self._next = 0.0

    def _follow(self, folder: Path | None) -> None:
        """From now on the run in this folder is meant."""
        if folder == self._folder:
            return
        self._folder, self.status, self._stops = folder, runs.Status(), False
        if self._startedIn != self._window.plan.folder:
            self._started = None
        if folder is not None:
            self.status = runs.read_status(folder)
            self._history, self._log = History(folder), LogTail(Path(self._window.plan.folder) / LOG)
        self._ui.logText.plainText = ""
        self._ui.exportLabel.text = ""
        self.samples.follow(folder)

    def _seeEnd(self) -> None:
        """A run of this window that has ended before there was a run says why in its log alone."""
        if self._started is None or self._started.poll() is None:
            return
        code, self._started = self._started.returncode, None
        if code == 2 and self.status.updated < self._startedAt:
            said = next((line for line in reversed(self._log.lines) if line.startswith("dualglow ")), "")
            showError(said.partition(": ")[2] or _("The training could not be started; see its log."))

    def close(self) -> None:
        """The run goes on."""
        self.samples.close()
        if self._program:
            self._program.close()
            self._program = None


def _without(words: list, options: tuple) -> list:
    """The words of a command line without these options and their values."""
    return [
        word
        for place, word in enumerate(words)
        if word not in options and (place == 0 or words[place - 1] not in options)
    ]


def _said(run: Path, status: runs.Status) -> str:
    """A run of one fold in a word or two."""
    states = {
        "none": _("not begun"),
        "preparing": _("preparing"),
        "reading": _("reading"),
        "training": _("training"),
        "paused": _("paused"),
        "stopped": _("stopped"),
        "failed": _("failed"),
        "dead": _("died"),
        "elsewhere": _("on another computer"),
        "done": _("done"),
    }
    return f"{run.name}: {states[status.state]}"


def lastRun() -> str:
    """Folder of the run that was started last, or of several for folds, if it isn't over."""
    try:
        folder = qt.QSettings().value(LAST_RUN) or ""
        found = [folder, *Path(folder).glob("fold-*")] if folder else []
        return folder if any(runs.read_status(run).state not in ("none", "done") for run in found) else ""
    except (InputError, TypeError):
        return ""
