"""The module DualGlow Synthesis: from a T1-weighted MRI in the scene to a synthetic FDG-PET over it."""

import numpy as np
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

from DualGlowSynthesisLib import dependencies, volumes
from DualGlowSynthesisLib.logic import DualGlowSynthesisLogic
from DualGlowSynthesisLib.messages import showingErrors


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
See the <a href="https://github.com/DualGlow/SlicerDualGlow">documentation</a>.
If you use it, cite: Sun H., Mehta R., Zhou H.H., Huang Z., Johnson S.C., Prabhakaran V., Singh V.,
<i>DUAL-GLOW: Conditional flow-based generative model for modality transfer</i>, ICCV 2019, pages 10611-10620.
""")
        self.parent.acknowledgementText = _("""
The method is by Haoliang Sun, Ronak Mehta, Hao H. Zhou, Zhichun Huang, Sterling C. Johnson, Vivek Prabhakaran and
Vikas Singh. This extension is an independent implementation and contains none of their program or weights.
""")


class DualGlowSynthesisWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/DualGlowSynthesis.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = DualGlowSynthesisLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self._showMissingPackages()
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Make or find the parameter node, and choose the scene's first acquired volume if none is chosen."""
        parameterNode = self.logic.getParameterNode()
        if not parameterNode.inputVolume:
            parameterNode.inputVolume = volumes.firstAcquired()
        self.setParameterNode(parameterNode)

    def setParameterNode(self, parameterNode) -> None:
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None) -> None:
        inputVolume = self._parameterNode.inputVolume
        if not inputVolume:
            reason = _("Choose a T1-weighted MRI of the brain.")
        elif volumes.isSynthetic(inputVolume):
            reason = _("Choose an acquired MRI; this volume is synthetic.")
        elif inputVolume is self._parameterNode.outputVolume:
            reason = _("Choose an output other than the input, which would be overwritten.")
        else:
            reason = ""
        self.ui.applyButton.enabled = not reason
        self.ui.applyButton.toolTip = reason or _("Synthesize the FDG-PET of this MRI and show it over the MRI.")

    def _showMissingPackages(self) -> None:
        text = dependencies.missingText(dependencies.missingPackages())
        self.ui.missingLabel.text = text and text + " " + _("Apply asks before it installs them.")
        self.ui.missingLabel.visible = bool(text)

    def _showProgress(self, stage: str, fraction: float) -> None:
        self.ui.progressBar.format = f"{stage} %p%"
        self.ui.progressBar.value = round(100 * fraction)
        self.ui.progressBar.repaint()  # no event is processed: nothing can change the scene meanwhile

    def onApplyButton(self) -> None:
        with showingErrors(_("The synthesis failed.")):
            dependencies.ensurePackages()
            try:
                with slicer.util.WaitCursor():
                    chosen = self._parameterNode
                    chosen.outputVolume = self.logic.synthesize(
                        chosen.inputVolume,
                        age=chosen.age,
                        sex=None if chosen.sex == "unknown" else chosen.sex,
                        diagnosis=None if chosen.diagnosis == "unknown" else chosen.diagnosis,
                        temperature=chosen.temperature,
                        seed=chosen.seed,
                        outputVolume=chosen.outputVolume,
                        progress=self._showProgress,
                    )
            finally:
                self.ui.progressBar.reset()
        self._showMissingPackages()


class DualGlowSynthesisTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_volumeToScanAndBack()

    def test_volumeToScanAndBack(self):
        """Voxels and geometry survive the way into the library and out, for an oblique volume under a transform."""
        axes = np.array([[0.0, -0.8, 0.6, 10], [0.0, 0.6, 0.8, -20], [-1.5, 0.0, 0.0, 30], [0, 0, 0, 1]])
        voxels = np.arange(60.0).reshape(3, 4, 5)
        volume = slicer.util.addVolumeFromArray(voxels, axes, "T1")
        volume.SetAndObserveTransformNodeID(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode").GetID())
        scan = volumes.scanFromVolume(volume)
        assert scan.data[4, 3, 2] == voxels[2, 3, 4]
        copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        volumes.updateVolumeFromScan(copy, scan, volume)
        assert np.array_equal(slicer.util.arrayFromVolume(copy), voxels)
        assert copy.GetTransformNodeID() == volume.GetTransformNodeID()
        assert np.allclose(volumes.scanFromVolume(copy).affine, axes)
