"""The section on the training: which model, where, on what device; and what that will need."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.cases.splits import fold_numbers
from DualGlowLib.cli.sequence import FOLDS, fold_folder
from DualGlowLib.training.pace import size_of, spoken
from DualGlowLib.training.status import read_status
from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import showingErrors

from .programs import COMMAND_LINE, Program

__all__ = ["PlanPanel"]


class PlanPanel:
    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._program = None
        self._found, self._tried = {}, []
        ui = self._ui
        self._device = Chooser(ui.deviceBox, lambda _value: window.onChoices())
        titles = ((_("automatic"), "auto"), (_("CPU"), "cpu"), (_("NVIDIA GPU"), "cuda"), (_("Apple GPU"), "mps"))
        self._device.fill(titles)
        self._memory = Chooser(ui.memoryBox, lambda _value: window.onChoices())
        kept = ((_("as the settings say"), ""), (_("plain"), "plain"), (_("checkpoint"), "checkpoint"))
        self._memory.fill([*kept, (_("invertible"), "invertible")])
        self._tips = {box: box.toolTip for box in (ui.presetBox, ui.foldsBox)}
        for box in (ui.presetBox, ui.gridBox):
            box.connect("currentIndexChanged(int)", window.onChoices)
        for box in (ui.stepsBox, ui.batchBox, ui.jobsBox):
            box.connect("valueChanged(int)", window.onChoices)
        for path in (ui.settingsPath, ui.splitsPath):
            path.connect("currentPathChanged(QString)", window.onChoices)
        ui.outputPath.connect("currentPathChanged(QString)", self._onOutput)
        self._fold = Chooser(ui.foldBox, lambda _value: window.onChoices())
        self._counted = ("", 0, "")
        ui.foldsBox.connect("valueChanged(int)", window.onChoices)
        ui.estimateButton.connect("clicked(bool)", self._onEstimate)
        ui.proposalButton.connect("clicked(bool)", self._onProposal)

    @property
    def folder(self) -> str:
        return self._ui.outputPath.currentPath.strip()

    def options(self) -> list[str]:
        """Of ``train``, besides cases and output folder."""
        ui, options = self._ui, []
        settings = ui.settingsPath.currentPath.strip()
        options += ["--config", settings] if settings else ["--preset", ui.presetBox.currentText]
        options += ["--grid", ui.gridBox.currentText] if ui.gridBox.currentIndex > 0 else []
        for name, box in (("--steps", ui.stepsBox), ("--batch", ui.batchBox)):
            options += [name, str(box.value)] if box.value else []
        options += ["--memory", self._memory.value] if self._memory.value else []
        options += ["--device", self._device.value] if self._device.value != "auto" else []
        return options + (["--jobs", str(ui.jobsBox.value)] if ui.jobsBox.value > 1 else [])

    def arguments(self) -> list[str]:
        return [self._window.cases.folder, "--output", self.folder, *self.options()]

    # ---- folds

    @property
    def splits(self) -> str:
        """Folds of the user's own; empty for none."""
        return self._ui.splitsPath.currentPath.strip()

    @property
    def folds(self) -> int:
        """How many there are; 0 without cross-validation."""
        if self.splits:
            return self._count()[0]
        return self._ui.foldsBox.value if self._ui.foldsBox.value > 1 else 0

    @property
    def which(self) -> str:
        """The fold that is trained, or ``all``."""
        return self._fold.value or "all"

    def _onOutput(self, _path="") -> None:
        """A folder with runs of folds shows them, as one with a run does."""
        ui, splits = self._ui, _foldsIn(self.folder) if self.folder else ""
        if splits and Path(splits) == Path(self.folder, FOLDS):
            with suppress(InputError):
                ui.foldsBox.value = len(fold_numbers(splits))
            ui.splitsPath.currentPath = ""
        elif splits:
            ui.splitsPath.currentPath = splits
        self._window.onChoices()

    def foldRuns(self) -> list[Path]:
        """The folders of the chosen folds' runs; without folds, none."""
        if not self.folder:
            return []
        return [fold_folder(self.folder, fold) for fold in range(self.folds) if self.which in ("all", str(fold))]

    def foldArguments(self, words: Sequence[str]) -> list[str]:
        """Of ``cli.sequence``; ``words`` as those of ``train``, but for output and folds."""
        return [self.folder, self.splits or str(self.folds), self.which, *words]

    def commands(self) -> list[tuple[str, list[str]]]:
        """Output folder and options of each ``train`` that does what is chosen."""
        folder, options = self.folder or "RUN", self.options()
        if not self.folds:
            return [(folder, options)]
        splits = self.splits or str(Path(folder, FOLDS))
        chosen = [fold for fold in range(self.folds) if self.which in ("all", str(fold))]
        return [
            (str(fold_folder(folder, fold)), [*options, "--splits", splits, "--fold", str(fold)]) for fold in chosen
        ]

    def _count(self) -> tuple[int, str]:
        """How many folds the user's own file has, and what is wrong with it."""
        path = self.splits
        if self._counted[0] != path:
            try:
                self._counted = path, len(fold_numbers(path)), ""
            except InputError as error:
                self._counted = path, 0, str(error)
        return self._counted[1:]

    @property
    def refusal(self) -> str:
        """Why what is chosen can't be trained, as far as it was tried."""
        if self.splits and self._count()[1]:
            return self._count()[1]
        return self._found.get("refusal", "") if self._tried == self.arguments() else ""

    def show(self) -> None:
        ui = self._ui
        isChosen = bool(self._window.cases.folder and self.folder)
        self._showIf(ui.foldsBox, not self.splits, _("The folds file, below More, says it."))
        offered = [(_("all folds, one after another"), "all")] if self.folds else []
        self._fold.fill(offered + [(_("fold {number}").format(number=fold), str(fold)) for fold in range(self.folds)])
        ui.foldBox.visible = ui.foldLabel.visible = bool(self.folds)
        isPreset = not ui.settingsPath.currentPath.strip()
        self._showIf(ui.presetBox, isPreset, _("The settings file, below More, says which model."))
        ui.estimateButton.enabled = isChosen and self._window.isReady
        ui.estimateButton.text = _("Cancel") if self._program else _("Estimate")
        tip = _("A few steps on made-up images, in a process of its own: half a minute on a small grid.")
        ui.estimateButton.toolTip = tip if isChosen else _("Choose the folder of cases and the output folder.")
        if not self._program and self._tried and self._tried != self.arguments():
            self._found, self._tried, ui.estimateLabel.text = {}, [], ""
        ui.estimateLabel.visible = bool(ui.estimateLabel.text)
        ui.proposalButton.visible = bool(self.refusal and self._found.get("proposal"))

    def _showIf(self, box, isFree: bool, otherwise: str) -> None:
        """A box that can be used, or says why it can't."""
        box.enabled, box.toolTip = isFree, self._tips[box] if isFree else otherwise

    def _onEstimate(self, _checked=False) -> None:
        if self._program:
            self.close()
            self._ui.estimateLabel.text = _("Cancelled.")
        else:
            self._found, self._tried = {}, self.arguments()
            with showingErrors(_("The estimate can't be made.")):
                words = ["train", *self._tried, "--estimate", "--json"]
                self._program = Program(COMMAND_LINE, words, self._onEvent, self._onEnd)
                self._ui.estimateLabel.text = _("Trying a few steps …")
        self._window.onChoices()

    def _onEvent(self, event: dict) -> None:
        if event.get("event") == "progress" and event.get("fraction") is not None:
            text = _("Trying a few steps … {percent} %")
            self._ui.estimateLabel.text = text.format(percent=round(100 * event["fraction"]))
        elif event.get("event") == "estimate":
            self._found = event

    def _onEnd(self, code: int, said: str) -> None:
        self._program = None
        self._ui.estimateLabel.text = self._words() if self._found and not self.refusal else said
        if not self._found:
            self._ui.estimateLabel.text = said or _("The estimate could not be made.")
        self._window.onChoices()

    def _words(self) -> str:
        found = self._found
        free, pace = found["free"], found["pace"]
        lines = [
            _("Memory: {used} of {free} that are free").format(
                used=size_of(found["memory"]), free="?" if free is None else size_of(free)
            ),
            _("Disk: {used} of {free} that are free").format(
                used=size_of(found["disk"]), free=size_of(found["disk_free"])
            ),
            _("A step: {seconds} s, on {device}").format(seconds=f"{pace['joint']:.3g}", device=found["device"]),
            _("In all: about {time} for {steps} steps").format(time=spoken(found["seconds"]), steps=found["steps"]),
        ]
        if self.folds:
            lines[-1] += " " + _("of each fold")
        if found["to_prepare"]:
            lines.append(_("{count} cases are prepared first, which comes on top").format(count=found["to_prepare"]))
        return "\n".join(lines)

    def _onProposal(self, _checked=False) -> None:
        """Choose what was found to fit."""
        proposal = self._found.get("proposal") or {}
        if "memory" in proposal:
            self._memory.show(proposal["memory"])
        if "batch" in proposal:
            self._ui.batchBox.value = proposal["batch"]
        if "grid" in proposal:
            self._ui.gridBox.currentText = proposal["grid"]
        self._window.onChoices()

    def poll(self) -> None:
        if self._program:
            self._program.poll()

    def close(self) -> None:
        if self._program:
            self._program.close()
            self._program = None


def _foldsIn(folder: str) -> str:
    """The file of folds of the runs in a folder; empty if there are none."""
    if (own := Path(folder, FOLDS)).is_file():
        return str(own)
    words = read_status(fold_folder(folder, 0)).arguments
    return words[words.index("--splits") + 1] if "--splits" in words[:-1] else ""
