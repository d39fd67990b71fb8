"""The module DualGlow Synthesis: from a T1-weighted MRI in the scene to a synthetic FDG-PET over it."""

import unittest

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from DualGlowSlicerLib import volumes
from DualGlowSynthesisLib import selfTests
from DualGlowSynthesisLib.logic import DualGlowSynthesisLogic
from DualGlowSynthesisLib.nodes import marks, sweep
from DualGlowSynthesisLib.sampleData import registerSampleData
from DualGlowSynthesisLib.window.window import Window


class DualGlowSynthesis(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("DualGlow Synthesis")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["The DualGlow contributors"]
        self.parent.helpText = _("""
Turns a T1-weighted MRI of the brain into the FDG-PET images that go with it, at the age that you set, with the
conditional flow model DUAL-GLOW. <b>The result is synthetic and for research use only.</b>
See the <a href="https://github.com/DualGlow/SlicerDualGlow/blob/main/Documentation/synthesis-module.md">user guide</a>.
If you use it, cite: Sun H., Mehta R., Zhou H.H., Huang Z., Johnson S.C., Prabhakaran V., Singh V.,
<i>DUAL-GLOW: Conditional flow-based generative model for modality transfer</i>, ICCV 2019, pages 10611-10620.
""")
        self.parent.acknowledgementText = _("""
The method is by Haoliang Sun, Ronak Mehta, Hao H. Zhou, Zhichun Huang, Sterling C. Johnson, Vivek Prabhakaran and
Vikas Singh. This extension is an independent implementation and contains none of their program or weights.
""")
        slicer.app.connect("startupCompleted()", registerSampleData)  # when the module Sample Data is there
        slicer.app.connect("startupCompleted()", marks.install)  # when the views are there
        slicer.app.connect("startupCompleted()", sweep.install)


class DualGlowSynthesisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.window = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DualGlowSynthesis.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = DualGlowSynthesisLogic()
        self.window = Window(self.ui)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        # Before the node selectors hear of it, and after them: they go to a neighbour that nobody chose.
        self.addObserver(scene, scene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved, priority=10.0)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved, priority=-10.0)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        if self.window is None:  # setup failed
            return
        try:
            self.setParameterNode(None)
            self.removeObservers()
        finally:
            self.window.close()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        self.setParameterNode(None)
        self.window.forget()

    def onSceneEndClose(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneStartImport(self, caller, event) -> None:
        """While nodes arrive, a selector takes the first, and would write it over what the file says."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event) -> None:
        if self.parent.isEntered:
            self.setParameterNode(self.logic.getParameterNode())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node) -> None:
        self.window.nodeGoes(node)

    def onNodeRemoved(self, caller, event) -> None:
        self.window.nodeGone()

    def initializeParameterNode(self) -> None:
        """Make or find the parameter node, and choose the scene's first acquired volume if none is chosen."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.inputVolume:
            parameterNode.inputVolume = volumes.firstAcquired()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode) -> None:
        if self._parameterNode:
            self.window.setParameters(None)
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._parameterNode = parameterNode
        if self._parameterNode:
            # connectGui does the same, but gives no tag to undo it by in some versions of Slicer.
            names = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
            tied = {name: widget for name, widget in names.items() if name}
            self._parameterNodeGuiTag = self._parameterNode.connectParametersToGui(tied)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
            self.window.setParameters(self._parameterNode)

    def _onParametersChanged(self, caller=None, event=None) -> None:
        self.window.onParametersChanged()


class DualGlowSynthesisTest(ScriptedLoadableModuleTest):
    """Slicer's test driver calls each ``test_``; the button "Reload and Test" calls ``runTest``."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for case in selfTests.CASES:
            self.setUp()
            try:
                case()
            except unittest.SkipTest as reason:
                self.delayDisplay(f"{case.__name__} was skipped: {reason}")

    def test_volumeToScanAndBack(self):
        selfTests.volumeToScanAndBack()

    def test_synthesisOfTheTemplate(self):
        selfTests.synthesisOfTheTemplate()

    def test_cancelLeavesTheScene(self):
        selfTests.cancelLeavesTheScene()
