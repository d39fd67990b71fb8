"""The module DualGlow Training: from a folder of T1/PET pairs to a trained model."""

import importlib
import os
import shlex
import subprocess
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path

import qt
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
Trains a DUAL-GLOW model on your own pairs of T1-weighted MRI and FDG-PET. It says which cases can be used and what the
training will need, prepares the scans where they aren't, and trains in a process that goes on when Slicer is closed; or
gives the command that does the same on a server.
See the <a href="https://github.com/DualGlow/SlicerDualGlow/blob/main/Documentation/training-module.md">user guide</a>.
If you use it, cite: Sun H., Mehta R., Zhou H.H., Huang Z., Johnson S.C., Prabhakaran V., Singh V.,
<i>DUAL-GLOW: Conditional flow-based generative model for modality transfer</i>, ICCV 2019, pages 10611-10620.
""")
        self.parent.acknowledgementText = _("""
The method is by Haoliang Sun, Ronak Mehta, Hao H. Zhou, Zhichun Huang, Sterling C. Johnson, Vivek Prabhakaran and
Vikas Singh. This extension is an independent implementation and contains none of their program or weights.
""")


_LOADED = (
    "DualGlowLib.training.status",
    "DualGlowSlicerLib.dependencies",
    "DualGlowTrainingLib.casesPanel",
    "DualGlowTrainingLib.runPanel",
)
"""What the window needs, piece by piece."""


def _findSharedPackages() -> None:
    """What both modules share lies beside DualGlowSynthesis.py, whose folder may not be on Slicer's module path."""
    folder = str(Path(__file__).resolve().parent.parent / "DualGlowSynthesis")
    if os.path.isdir(folder) and folder not in sys.path:
        sys.path.append(folder)


class DualGlowTrainingWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.logic = None
        self._window = self._pieces = self._timer = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DualGlowTraining.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        uiWidget.enabled = False  # until it listens
        self.logic = DualGlowTrainingLogic()
        self._pieces = self._made(uiWidget)
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._goOn)
        self._timer.start()

    def _made(self, uiWidget):
        """Make the window, in pieces between which Slicer answers: what is loaded for the first time takes longest."""
        _findSharedPackages()
        for name in _LOADED:
            importlib.import_module(name)
            yield
        from DualGlowTrainingLib.window import Window

        window = Window(self.ui, self.logic.commandLine)
        yield
        window.begin()
        uiWidget.enabled = True
        self._window = window

    def _goOn(self) -> None:
        try:
            next(self._pieces, None)
        finally:
            if self._pieces.gi_frame is None:  # the last one is made, or one has failed
                self._timer.stop()

    @property
    def window(self):
        """What the panel does; whoever asks before it is whole has it finished first."""
        while self._window is None and self._pieces is not None and self._pieces.gi_frame is not None:
            self._goOn()
        return self._window

    def cleanup(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        if self._window is not None:  # else it was never finished
            self._window.close()


class DualGlowTrainingLogic(ScriptedLoadableModuleLogic):
    """The training command; the training itself is the library's (``DualGlowLib.training``)."""

    def trainingScript(self) -> str:
        return str(Path(__file__).resolve().parent / "Scripts" / "train.py")

    def commandLine(self, cases: str, output: str, options: Sequence[str] = ()) -> str:
        """The command that trains without a window, quoted for this computer's shell.

        :param cases: folder of T1/PET pairs.
        :param output: folder of the run: log, checkpoints and the trained model.
        :param options: of ``DualGlowLib train``.
        """
        slicerArguments = ["--no-splash", "--no-main-window", "--python-script", self.trainingScript()]
        arguments = [slicer.app.launcherExecutableFilePath, *slicerArguments]
        arguments += ["--", cases, "--output", output, *options]
        return subprocess.list2cmdline(arguments) if os.name == "nt" else shlex.join(arguments)


class DualGlowTrainingTest(ScriptedLoadableModuleTest):
    """Slicer's test driver calls each ``test_``; the button "Reload and Test" calls ``runTest``."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for case in (self.test_commandLine, self.test_trainFromTheWindow):
            self.setUp()
            try:
                case()
            except unittest.SkipTest as reason:
                self.delayDisplay(f"{case.__name__} was skipped: {reason}")

    def test_commandLine(self):
        """The command names an existing script and keeps a path with a space in one piece."""
        logic = DualGlowTrainingLogic()
        assert os.path.isfile(logic.trainingScript())
        command = logic.commandLine("/data/my cases", "/data/run", ["--preset", "standard"])
        if os.name != "nt":
            expected = ["--", "/data/my cases", "--output", "/data/run", "--preset", "standard"]
            assert shlex.split(command)[-6:] == expected

    def test_trainFromTheWindow(self):
        _findSharedPackages()
        from DualGlowTrainingLib import selfTests

        selfTests.trainFromTheWindow()
