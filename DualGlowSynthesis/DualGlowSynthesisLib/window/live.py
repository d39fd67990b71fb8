"""The preview that follows a slider: between images that were made before, at once, until the exact one is there."""

import numpy as np
import slicer

from DualGlowSlicerLib import volumes

from ..nodes import belonging, display

__all__ = ["Frames", "Preview"]


class Frames:
    """Means of the samples on the model's grid at some ages and temperatures, all with the same noise.

    Whatever else they depend on is their ``signature``; frames of another one are dropped.
    """

    def __init__(self) -> None:
        self.signature = None
        self._frames: dict[tuple[float, float], np.ndarray] = {}

    def begin(self, signature) -> None:
        if signature != self.signature:
            self.signature = signature
            self._frames = {}

    def add(self, age: float | None, temperature: float, values: np.ndarray) -> None:
        if age is not None:
            self._frames[age, temperature] = values

    def __len__(self) -> int:
        return len(self._frames)

    def missing(self, ages: list[float], temperatures: list[float]) -> bool:
        return any((age, temperature) not in self._frames for age in ages for temperature in temperatures)

    def at(self, age: float | None, temperature: float) -> np.ndarray | None:
        """Between the two neighbours that share the temperature, or else the age; None if there are none.

        Linear between frames: what that leaves out is what the exact image, a moment later, puts right.
        """
        for axis, (here, fixed) in enumerate(((age, temperature), (temperature, age))):
            if here is None:
                continue
            places = sorted(key[axis] for key in self._frames if key[1 - axis] == fixed)
            below = [place for place in places if place <= here]
            above = [place for place in places if place >= here]
            if below and above:
                low, high = below[-1], above[0]
                ends = [self._frames[(place, fixed) if axis == 0 else (fixed, place)] for place in (low, high)]
                share = (here - low) / (high - low) if high > low else 0.0
                return ends[0] if share == 0 else ends[0] + np.float32(share) * (ends[1] - ends[0])
        return None


class Preview:
    """The node that shows a frame: the model's own coarse grid, in the patient's space; not saved with the scene."""

    NAME = "DualGlow preview"

    def __init__(self) -> None:
        self._node = None

    @property
    def node(self):
        return self._node if self._node is not None and self._node.GetScene() is not None else None

    def show(self, values: np.ndarray, affine: np.ndarray, outputVolume, inputVolume, about: dict) -> None:
        """Draw ``values`` (i, j, k on the grid) in the place of the output.

        Args:
            about: what the frame is of, by provenance's keys.
            affine: 4x4, the grid's voxels to the patient's RAS; may shear, as the map to the template does.
        """
        node = self.node or self._make()
        matrix = slicer.util.vtkMatrixFromArray(np.asarray(affine, dtype=float))
        with slicer.util.NodeModify(node):
            slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(values.transpose(2, 1, 0)))
            node.SetIJKToRASMatrix(matrix)
            node.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
            volumes.markSynthetic(node, {**about, "Content": "preview"})
            belonging.claim(node, inputVolume)
        display.styleLike(node, outputVolume)
        display.addLegend(node, "SUVR")
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if view.GetForegroundVolumeID() in (outputVolume.GetID(), node.GetID()):
                view.SetForegroundVolumeID(node.GetID())

    def hide(self, outputVolume=None) -> None:
        """Put the output back where the preview lies."""
        if self.node is None:
            return
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if view.GetForegroundVolumeID() == self.node.GetID():
                view.SetForegroundVolumeID(outputVolume.GetID() if outputVolume is not None else None)

    def remove(self) -> None:
        if self.node is not None:
            slicer.mrmlScene.RemoveNode(self.node)
        self._node = None

    def _make(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.UnRegister(None)  # CreateNodeByClass hands its own reference over
        node.SetName(self.NAME)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        self._node = slicer.mrmlScene.AddNode(node)
        return self._node
