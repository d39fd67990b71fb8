"""The window of DualGlow Training: its sections, and the timer that keeps them up to date."""

import qt
import slicer
from slicer.i18n import tr as _

from DualGlowLib.training.status import read_status
from DualGlowSlicerLib import dependencies
from DualGlowSlicerLib.messages import showingErrors

from .casesPanel import CasesPanel
from .planPanel import PlanPanel
from .runPanel import RunPanel, lastRun

__all__ = ["Window"]

_POLL_MS = 100


class Window:
    """``commandLine``: called with cases, output folder and options, gives the command that does the same.

    Nothing is computed here, and nothing is waited for: what takes time are processes, whose files a timer reads. It
    works from ``begin`` on.
    """

    def __init__(self, ui, commandLine) -> None:
        self.ui, self._commandLine = ui, commandLine
        self.isReady = False
        """Whether all packages are there."""
        self.cases = self.plan = self.run = None
        self.cases = CasesPanel(self)
        self.plan = PlanPanel(self)
        self.run = RunPanel(self)
        ui.copyButton.connect("clicked(bool)", self._onCopy)
        ui.installButton.connect("clicked(bool)", self._onInstall)
        if not self.plan.folder and (folder := lastRun()):
            ui.outputPath.currentPath = folder
            arguments = read_status(folder).arguments
            if arguments and not self.cases.folder:
                ui.casesPath.currentPath = arguments[0]
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    def begin(self) -> None:
        """Look which packages are missing, and at the run, from now on; takes as long as all before."""
        self._showMissing()
        self.onChoices()
        self._timer.start()
        self.run.poll()

    def onChoices(self, *_unused) -> None:
        """Something was chosen, or has come."""
        if self.run is None:  # it is being made
            return
        for panel in (self.cases, self.plan, self.run):
            panel.show()
        cases, folder = self.cases.folder, self.plan.folder
        self.ui.commandText.plainText = "\n".join(
            self._commandLine(cases or "CASES", run, options) for run, options in self.plan.commands()
        )
        isWhole = bool(cases and folder)
        self.ui.copyButton.enabled = isWhole
        tip = _("Copy the command, to run it in a terminal.")
        self.ui.copyButton.toolTip = tip if isWhole else _("Choose the folder of cases and the output folder.")

    def _poll(self) -> None:
        for panel in (self.cases, self.plan, self.run):
            panel.poll()

    def _onCopy(self, _checked=False) -> None:
        slicer.app.clipboard().setText(self.ui.commandText.plainText)
        self.ui.casesPath.addCurrentPathToHistory()  # offered again next time
        self.ui.outputPath.addCurrentPathToHistory()

    def _onInstall(self, _checked=False) -> None:
        with showingErrors(_("The installation failed.")):
            dependencies.ensurePackages()
        self._showMissing()
        self.onChoices()

    def _showMissing(self) -> None:
        text = dependencies.missingText(dependencies.missingPackages())
        self.isReady = not text
        self.ui.missingLabel.text = text
        self.ui.missingLabel.visible = bool(text)
        self.ui.installButton.visible = bool(text)

    def close(self) -> None:
        """Runs go on."""
        self._timer.stop()
        for panel in (self.cases, self.plan, self.run):
            panel.close()
