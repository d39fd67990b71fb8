"""What a run makes of held-out cases, beside their truth: as a picture, and in the slice views while it goes on."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowSlicerLib import volumes
from DualGlowSlicerLib.background import Background
from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import showPicture

__all__ = ["SamplesPanel"]

SAMPLES = "samples"  # of a run's folder
_PICTURE = re.compile(r"step-(\d+)\.png")
_WIDTH = 300  # px
_KINDS = ("T1w", "pet", "mean", "sample")
_SYNTHETIC = ("mean", "sample")
_COLORS = ("vtkMRMLColorTableNodeFileInferno.txt", "vtkMRMLPETProceduralColorNodePET-Heat", "vtkMRMLColorTableNodeGrey")


class SamplesPanel:
    """Volumes in the slice views are neither listed in Slicer's selectors nor saved, and go when they are not shown."""

    def __init__(self, ui) -> None:
        self._ui = ui
        self._folder = self._path = self._reading = None
        self._stamps, self._nodes, self._before = (), {}, {}
        titles = ((_("as they are"), ""), (_("T1"), "T1w"), (_("PET"), "pet"), (_("mean"), "mean"))
        self._kind = Chooser(ui.viewsBox, lambda _kind: self._onKind())
        self._kind.fill([*titles, (_("sample"), "sample")])
        ui.enlargeButton.connect("clicked(bool)", self._onEnlarge)
        ui.samplesBox.visible = False

    @property
    def isShown(self) -> bool:
        """Whether one of the images is in the slice views."""
        return bool(self._nodes)

    def follow(self, run: Path | None) -> None:
        """From now on, show the samples of the run in this folder."""
        self.close()
        self._folder, self._path = run and run / SAMPLES, None
        self._ui.samplesBox.visible = False

    def look(self) -> None:
        """Show what is new."""
        steps = {}
        if self._folder is not None and self._folder.is_dir():
            steps = {int(found[1]): path for path in self._folder.iterdir() if (found := _PICTURE.fullmatch(path.name))}
        ui = self._ui
        ui.samplesBox.visible = bool(steps)
        if not steps:
            return
        if (path := steps[max(steps)]) != self._path:
            picture = qt.QPixmap(str(path))
            if not picture.isNull():
                self._path = path
                ui.samplesPicture.setPixmap(picture.scaledToWidth(_WIDTH, qt.Qt.SmoothTransformation))
                ui.samplesLabel.text = _("Held-out cases at step {step}.").format(step=max(steps))
        if any(node.GetScene() is None for node in self._nodes.values()):  # the scene was closed
            self._stamps, self._nodes, self._before = (), {}, {}
            self._kind.show("")
        if self._kind.value:
            self._read()

    def _onEnlarge(self, _checked=False) -> None:
        if self._path is not None:
            showPicture(self._ui.samplesLabel.text, str(self._path))

    # ---- in the slice views

    def _onKind(self) -> None:
        if not self._kind.value:
            self._giveBack()
        elif self._nodes:
            self._show()
        else:
            self._read()

    def _read(self) -> None:
        """Read the latest images beside the window, if they are others than those that are shown."""
        folder = self._folder
        try:
            stamps = tuple((folder / f"latest_{kind}.nii.gz").stat().st_mtime_ns for kind in _KINDS)
        except OSError:  # they are about to be written
            return
        if stamps == self._stamps or self._reading is not None:
            return

        def done(images: dict) -> None:
            self._reading = None
            if self._kind.value:
                self._stamps = stamps
                self._update(images)

        def failed(_error: Exception) -> None:  # as where one is just replaced: it is read again
            self._reading = None

        self._reading = Background(lambda: {kind: _image(folder, kind) for kind in _KINDS}, done, failed)

    def _update(self, images: dict) -> None:
        """The nodes that there are get the new voxels."""
        isFirst, run, high = not self._nodes, self._folder.parent.name, images["pet"].highest
        for kind, (data, affine, about, _highest) in images.items():
            # The name is what each slice view says of it.
            node = self._nodes.get(kind) or _hiddenVolume(f"{run}: {'SYNTHETIC ' if kind in _SYNTHETIC else ''}{kind}")
            self._nodes[kind] = node
            with slicer.util.NodeModify(node):
                node.SetAndObserveImageData(volumes.imageOf(data))
                node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
                if kind in _SYNTHETIC:
                    volumes.markSynthetic(node, about)
            display = node.GetDisplayNode()
            with slicer.util.NodeModify(display):
                isPET = kind != "T1w"
                colors = [name for name in _COLORS if slicer.mrmlScene.GetNodeByID(name)] if isPET else _COLORS[-1:]
                display.SetAndObserveColorNodeID(colors[0] if colors else None)
                display.AutoWindowLevelOff()
                display.SetWindowLevelMinMax(0.0, high if isPET else 1.2)
        if isFirst:
            self._show()

    def _show(self) -> None:
        isFirst = not self._before
        if isFirst:
            self._remember()
        node = self._nodes[self._kind.value]
        slicer.util.setSliceViewerLayers(background=node, foreground=None, label=None, fit=isFirst)

    def _remember(self) -> None:
        """What each view shows, and where."""
        for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            layers = view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetLabelVolumeID()
            self._before[view] = layers
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            matrix = vtk.vtkMatrix4x4()
            matrix.DeepCopy(view.GetSliceToRAS())
            self._before[view] = matrix, tuple(view.GetFieldOfView()), tuple(view.GetXYZOrigin())

    def _giveBack(self) -> None:
        """Let the views show what they showed before, but for one that the user has given something else."""
        ours = {node.GetID() for node in self._nodes.values()}
        views = {view.GetLayoutName(): view for view in self._before if view.IsA("vtkMRMLSliceCompositeNode")}
        for name, view in views.items():
            if view.GetScene() is None or view.GetBackgroundVolumeID() not in ours:
                continue
            scene = slicer.mrmlScene
            layers = [identity if identity and scene.GetNodeByID(identity) else None for identity in self._before[view]]
            with slicer.util.NodeModify(view):
                view.SetBackgroundVolumeID(layers[0])
                view.SetForegroundVolumeID(layers[1])
                view.SetLabelVolumeID(layers[2])
            for slice_ in self._before:
                if slice_.IsA("vtkMRMLSliceNode") and slice_.GetLayoutName() == name and slice_.GetScene() is not None:
                    matrix, field, origin = self._before[slice_]
                    slice_.SetFieldOfView(*field)
                    slice_.SetXYZOrigin(*origin)
                    slice_.GetSliceToRAS().DeepCopy(matrix)
                    slice_.UpdateMatrices()
        for node in self._nodes.values():
            display = node.GetDisplayNode()
            for one in filter(None, (display, node)):
                if one.GetScene() is not None:
                    slicer.mrmlScene.RemoveNode(one)
        self._stamps, self._nodes, self._before = (), {}, {}

    def close(self) -> None:
        """Nothing of it stays in the scene."""
        if self._reading is not None:
            self._reading.forget()
            self._reading = None
        self._giveBack()
        self._kind.show("")


class _Image(NamedTuple):
    """voxels, affine and sidecar; highest: value that few of its voxels are above, where a PET's colours end."""

    voxels: Any
    affine: Any
    about: dict
    highest: float


def _image(folder: Path, kind: str) -> _Image:
    import nibabel
    import numpy as np

    image = nibabel.load(folder / f"latest_{kind}.nii.gz")
    about = folder / f"latest_{kind}.json"
    said = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    voxels = np.asarray(image.dataobj, np.float32)
    return _Image(voxels, image.affine, said, max(float(np.percentile(voxels, 99.5)), 0.1))


def _hiddenVolume(name: str):
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node = slicer.mrmlScene.AddNode(node)
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetSaveWithScene(False)
    node.SetAndObserveDisplayNodeID(slicer.mrmlScene.AddNode(display).GetID())
    return node
