"""What the module DualGlow Synthesis computes: the user's choices, and the way from one volume node to another."""

from typing import Annotated

import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from DualGlowLib import InputError

from . import volumes

__all__ = ["DualGlowSynthesisLogic", "DualGlowSynthesisParameterNode"]


@parameterNodeWrapper
class DualGlowSynthesisParameterNode:
    """What the user chose; saved with the scene. Ages: the bundled model's; sex and diagnosis may be "unknown"."""

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    age: Annotated[float, WithinRange(40, 100)] = 70
    sex: str = "unknown"
    diagnosis: str = "unknown"
    temperature: Annotated[float, WithinRange(0, 1.5)] = 0
    seed: int = 0


class DualGlowSynthesisLogic(ScriptedLoadableModuleLogic):
    """Synthesis without a window.

    ``synthesizerFactory`` gives the library's Synthesizer, without arguments; None: that of the bundled model.
    """

    def __init__(self, synthesizerFactory=None) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._synthesizerFactory = synthesizerFactory or _bundledSynthesizer
        self._synthesizer = None
        self._encoded = (None, None)

    def getParameterNode(self):
        return DualGlowSynthesisParameterNode(super().getParameterNode())

    def synthesize(
        self,
        inputVolume,
        age=70,
        sex=None,
        diagnosis=None,
        temperature=0.0,
        samples=1,
        seed=0,
        outputVolume=None,
        progress=None,
    ):
        """Synthesize the FDG-PET (SUVR) of a T1-weighted MRI on the MRI's own lattice, and show it over the MRI.

        :param sex, diagnosis: None if unknown.
        :param temperature: factor on the latent noise; 0 gives the most likely image.
        :param samples: the result is the mean of this many; if several, their SD goes to the node that the output
          refers to as ``DualGlow.SD``.
        :param outputVolume: volume to write to; a new one if None.
        :param progress: called with a stage's name and a fraction 0..1.
        :return: the output volume.
        :raises InputError: for an unusable volume or covariate, in one sentence for the user.
        """
        if inputVolume is None:
            raise InputError(_("Choose a T1-weighted MRI of the brain."))
        if outputVolume is inputVolume:
            raise InputError(_("Choose an output other than the input, which would be overwritten."))
        encoding = self._encode(inputVolume, progress)
        covariates = {"age": age, "sex": sex, "diagnosis": diagnosis}
        drawn = {"temperature": temperature, "samples": samples, "seed": seed}
        result = self._synthesizer.sample(encoding, **covariates, **drawn)
        provenance = {**covariates, **drawn, **result.provenance}
        name = f"{inputVolume.GetName()} synthetic FDG"
        outputVolume = self._write(outputVolume, name, result.mean, inputVolume, provenance)
        sdVolume = outputVolume.GetNodeReference("DualGlow.SD")
        if result.sd is not None:
            sdVolume = self._write(sdVolume, f"{name} SD", result.sd, inputVolume, provenance)
        elif sdVolume is not None:
            slicer.mrmlScene.RemoveNode(sdVolume)  # it is that of another result
            sdVolume = None
        outputVolume.SetNodeReferenceID("DualGlow.SD", sdVolume.GetID() if sdVolume else None)
        volumes.showOverlay(outputVolume, inputVolume)
        return outputVolume

    def _encode(self, volume, progress):
        """Preparing and encoding take most of the time and depend on the MRI alone, so the last one is kept."""
        scan = volumes.scanFromVolume(volume)
        key = (volume.GetID(), volume.GetImageData().GetMTime(), scan.affine.tobytes())
        if self._encoded[0] != key:
            self._synthesizer = self._synthesizer or self._synthesizerFactory()
            self._encoded = (key, self._synthesizer.encode(scan, progress=progress))
        return self._encoded[1]

    @staticmethod
    def _write(volume, name, scan, inputVolume, provenance):
        if volume is None:
            unique = slicer.mrmlScene.GenerateUniqueName(name)
            volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", unique)
        volumes.updateVolumeFromScan(volume, scan, inputVolume)
        volumes.markSynthetic(volume, provenance)
        return volume


def _bundledSynthesizer():
    from DualGlowLib.synthesis import Synthesizer

    return Synthesizer.from_bundle(bundle=None, device="auto")
