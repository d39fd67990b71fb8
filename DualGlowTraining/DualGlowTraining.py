"""The module DualGlow Training: prepares the command that trains a model on a folder of T1/PET pairs."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class DualGlowTraining(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DualGlow Training")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["The DualGlow contributors"]
        self.parent.helpText = _("""
Gives the command that trains a DUAL-GLOW model on your own pairs of T1-weighted MRI and FDG-PET. It prepares the scans
first, where they aren't, and runs without a window, on this computer or on a server.
See the <a href="https://github.com/DualGlow/SlicerDualGlow/blob/main/Documentation/training-module.md">user guide</a>.
If you use it, cite: Sun H., Mehta R., Zhou H.H., Huang Z., Johnson S.C., Prabhakaran V., Singh V.,
<i>DUAL-GLOW: Conditional flow-based generative model for modality transfer</i>, ICCV 2019, pages 10611-10620.
""")
        self.parent.acknowledgementText = _("""
The method is by Haoliang Sun, Ronak Mehta, Hao H. Zhou, Zhichun Huang, Sterling C. Johnson, Vivek Prabhakaran and
Vikas Singh. This extension is an independent implementation and contains none of their program or weights.
""")


def _findSharedPackages() -> None:
    """What both modules share lies beside DualGlowSynthesis.py, whose folder may not be on Slicer's module path."""
    folder = str(Path(__file__).resolve().parent.parent / "DualGlowSynthesis")
    if os.path.isdir(folder) and folder not in sys.path:
        sys.path.append(folder)


class DualGlowTrainingWidget(ScriptedLoadableModuleWidget):
    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        _findSharedPackages()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DualGlowTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = DualGlowTrainingLogic()
        self.ui.casesPath.connect("currentPathChanged(QString)", self.updateCommand)
        self.ui.outputPath.connect("currentPathChanged(QString)", self.updateCommand)
        self.ui.presetBox.connect("currentIndexChanged(int)", self.updateCommand)
        self.ui.gridBox.connect("currentIndexChanged(int)", self.updateCommand)
        self.ui.copyButton.connect("clicked(bool)", self.onCopyButton)
        self.ui.installButton.connect("clicked(bool)", self.onInstallButton)
        self.updateCommand()
        self._showMissingPackages()

    def updateCommand(self, *unused) -> None:
        cases, output = self.ui.casesPath.currentPath, self.ui.outputPath.currentPath
        grid = self.ui.gridBox.currentText if self.ui.gridBox.currentIndex > 0 else ""
        command = self.logic.commandLine(cases or "CASES", output or "RUN", self.ui.presetBox.currentText, grid)
        self.ui.commandText.plainText = command
        self.ui.copyButton.enabled = bool(cases and output)
        tip = _("Copy the command, to run it in a terminal.")
        self.ui.copyButton.toolTip = tip if cases and output else _("Choose the folder of cases and the output folder.")

    def onCopyButton(self) -> None:
        slicer.app.clipboard().setText(self.ui.commandText.plainText)
        self.ui.casesPath.addCurrentPathToHistory()  # offered again next time
        self.ui.outputPath.addCurrentPathToHistory()

    def onInstallButton(self) -> None:
        from DualGlowSlicerLib import dependencies
        from DualGlowSlicerLib.messages import showingErrors

        with showingErrors(_("The installation failed.")):
            dependencies.ensurePackages()
        self._showMissingPackages()

    def _showMissingPackages(self) -> None:
        from DualGlowSlicerLib import dependencies

        text = dependencies.missingText(dependencies.missingPackages())
        self.ui.missingLabel.text = text
        self.ui.missingLabel.visible = bool(text)
        self.ui.installButton.visible = bool(text)


class DualGlowTrainingLogic(ScriptedLoadableModuleLogic):
    """The training command; the training itself is the library's (``DualGlowLib.training``)."""

    def trainingScript(self) -> str:
        return str(Path(__file__).resolve().parent / "Scripts" / "train.py")

    def commandLine(self, cases: str, output: str, preset: str, grid: str = "") -> str:
        """The command that trains without a window, quoted for this computer's shell.

        :param cases: folder of T1/PET pairs.
        :param output: folder of the run: log, checkpoints and the trained model.
        :param preset: name of a model.
        :param grid: name of a grid; empty for the one that the cases lie on, medium for scans.
        """
        slicerArguments = ["--no-splash", "--no-main-window", "--python-script", self.trainingScript()]
        arguments = [slicer.app.launcherExecutableFilePath, *slicerArguments]
        arguments += ["--", cases, "--output", output, "--preset", preset]
        arguments += ["--grid", grid] if grid else []
        return subprocess.list2cmdline(arguments) if os.name == "nt" else shlex.join(arguments)


class DualGlowTrainingTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.test_commandLine()

    def test_commandLine(self):
        """The command names an existing script and keeps a path with a space in one piece."""
        logic = DualGlowTrainingLogic()
        assert os.path.isfile(logic.trainingScript())
        command = logic.commandLine("/data/my cases", "/data/run", "standard")
        if os.name != "nt":
            expected = ["--", "/data/my cases", "--output", "/data/run", "--preset", "standard"]
            assert shlex.split(command)[-6:] == expected
