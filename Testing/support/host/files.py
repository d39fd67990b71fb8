"""Reading and writing: ``slicer.app.ioManager()``, on which slicer.util's load…, save… and exportNode rest.

Data go through the real MRML storage nodes, scenes through vtkMRMLScene.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
import vtk

from .logics import Core

__all__ = ["IOManager"]

_TYPES = {  # file type: node class, and extensions by which a file is known
    "VolumeFile": ("vtkMRMLVolumeNode", (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".dcm")),
    "SegmentationFile": ("vtkMRMLSegmentationNode", (".seg.nrrd", ".seg.nhdr")),
    "SequenceFile": ("vtkMRMLSequenceNode", (".seq.nrrd", ".seq.nhdr", ".seq.mrb")),
    "TransformFile": ("vtkMRMLTransformNode", (".h5", ".tfm", ".mat", ".txt")),
    "TableFile": ("vtkMRMLTableNode", (".csv", ".tsv", ".schema.csv")),
    "ModelFile": ("vtkMRMLModelNode", (".vtk", ".vtp", ".stl", ".ply", ".obj")),
    "TextFile": ("vtkMRMLTextNode", (".json", ".xml", ".html")),
    "ColorTableFile": ("vtkMRMLColorTableNode", (".ctbl",)),
    "SceneFile": ("vtkMRMLScene", (".mrml", ".mrb")),
}
_OPTIONS = {"labelmap": 1, "center": 2, "autoWindowLevel": 4, "singleFile": 8, "discardOrientation": 16}


class IOManager:
    """The part of qSlicerIOManager without dialogs."""

    __slots__ = ("_core",)

    def __init__(self, core: Core) -> None:
        self._core = core

    def fileType(self, fileName: str) -> str:
        """The type that the name's longest known extension speaks for; "NoFile" when none does."""
        name = Path(fileName).name.lower()
        found = [(len(one), kind) for kind, (_, endings) in _TYPES.items() for one in endings if name.endswith(one)]
        return max(found)[1] if found else "NoFile"

    def fileWriterFileType(self, node: Any) -> str:
        return next((kind for kind, (cls, _) in _TYPES.items() if node.IsA(cls)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> tuple[str, ...]:
        """What the node can be written as, such as "NIfTI (.nii.gz)"."""
        storage = node.CreateDefaultStorageNode()
        if storage is None:
            return ()
        storage.UnRegister(None)  # the caller owns what Create… gives
        storage.SetScene(self._core.scene)  # without one it knows no types of images
        types = storage.GetSupportedWriteFileTypes()
        return tuple(types.GetValue(index) for index in range(types.GetNumberOfValues()))

    def extractKnownExtension(self, fileName: str, node: Any) -> str:
        """The longest extension of the name in which the node can be written, such as ".nii.gz", or ""."""
        helper = slicer.vtkDataFileFormatHelper
        endings = (helper.GetFileExtensionFromFormatString(text) for text in self.fileWriterExtensions(node))
        return max((one for one in endings if str(fileName).lower().endswith(one)), key=len, default="")

    def stripKnownExtension(self, fileName: str, node: Any) -> str:
        return str(fileName).removesuffix(self.extractKnownExtension(fileName, node))

    def addDefaultStorageNodes(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode", self._core.scene):
            if node.GetStorageNode() is None and node.GetSaveWithScene():
                node.AddDefaultStorageNode()

    def loadScene(self, fileName: str, clear: bool = True) -> bool:
        return self.loadNodes("SceneFile", {"fileName": fileName, "clear": clear})

    def saveScene(self, fileName: str, screenShot: Any = None) -> bool:
        return self.saveNodes("SceneFile", {"fileName": fileName})

    def loadNodes(
        self, fileType: str, properties: Mapping[str, Any], loadedNodes: Any = None, userMessages: Any = None
    ) -> bool:
        """Read a file into the scene; the nodes that it gave are added to the vtkCollection ``loadedNodes``."""
        path = str(properties["fileName"])
        if not Path(path).is_file():
            return False
        if fileType == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)), userMessages)
        if fileType == "VolumeFile":
            node = self._load_volume(path, properties)
        else:
            node = self._load_by_storage(path, _TYPES[fileType][0], properties)
        if node is None:
            return False
        if loadedNodes is not None:
            loadedNodes.AddItem(node)
        return True

    def _load_scene(self, path: str, clear: bool, messages: Any) -> bool:
        scene = self._core.scene
        if path.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def _load_volume(self, path: str, properties: Mapping[str, Any]) -> Any:
        options = sum(bit for key, bit in _OPTIONS.items() if properties.get(key))
        name = properties.get("name") or _name(path)
        volumes, application = self._core.logics["Volumes"], self._core.application
        node = volumes.AddArchetypeVolume(path, name, options)
        if node is None:
            return None
        if properties.get("colorNodeID"):
            node.GetDisplayNode().SetAndObserveColorNodeID(properties["colorNodeID"])
        if properties.get("show", True):
            selection = application.GetSelectionNode()
            if node.IsA("vtkMRMLLabelMapVolumeNode"):
                selection.SetActiveLabelVolumeID(node.GetID())
            else:
                selection.SetActiveVolumeID(node.GetID())
            application.PropagateVolumeSelection()
        return node

    def _load_by_storage(self, path: str, kind: str, properties: Mapping[str, Any]) -> Any:
        concrete = "vtkMRMLLinearTransformNode" if kind == "vtkMRMLTransformNode" else kind
        scene = self._core.scene
        name = scene.GetUniqueNameByString(properties.get("name") or _name(path))
        node = scene.AddNewNodeByClass(concrete, name)
        node.AddDefaultStorageNode(path)
        if not node.GetStorageNode().ReadData(node):
            scene.RemoveNode(node)
            return None
        return node

    def saveNodes(self, fileType: str, properties: Mapping[str, Any], userMessages: Any = None) -> bool:
        """Write a node, or the scene, to a file that it will remember."""
        path, scene = str(properties["fileName"]), self._core.scene
        folder = Path(path).resolve().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            logging.error(f"Unable to create directory {folder}: {error}")
            return False
        if fileType == "SceneFile":
            return self._save_scene(path, userMessages)
        node = scene.GetNodeByID(properties["nodeID"])
        if node is None:
            return False
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node))

    def _save_scene(self, path: str, messages: Any) -> bool:
        scene = self._core.scene
        if path.lower().endswith((".mrb", ".mrml")):
            scene.SetURL(path)
            scene.SetRootDirectory(str(Path(path).resolve().parent))
        if path.lower().endswith(".mrb"):
            written = bool(scene.WriteToMRB(path, None, messages))
            scene.SetStorableNodesModifiedSinceRead()  # for who saves to a folder next
            return written
        if path.lower().endswith(".mrml"):
            return bool(scene.Commit(path, messages))
        Path(path).mkdir(exist_ok=True)
        if any(Path(path).iterdir()):
            slicer.util.warningDisplay(f"Selected directory {path} is not empty. Please choose an empty directory.")
            return False
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, messages))

    def exportNodes(
        self,
        nodeIDs: list[str],
        fileNames: list[str],
        properties: Mapping[str, Any],
        hardenTransform: bool,
        userMessages: Any = None,
    ) -> bool:
        """Write copies of nodes; neither they nor their storage nodes change."""
        done = [
            self._export(self._core.scene.GetNodeByID(one), str(path), properties, hardenTransform)
            for one, path in zip(nodeIDs, fileNames, strict=True)
        ]
        return all(done)

    def _export(self, node: Any, path: str, properties: Mapping[str, Any], harden: bool) -> bool:
        scene = slicer.vtkMRMLScene()
        scene.SetDataIOManager(self._core.scene.GetDataIOManager())
        copy = node.NewInstance()
        copy.Copy(node)
        scene.AddNode(copy)
        if harden and node.IsA("vtkMRMLTransformableNode") and node.GetParentTransformNode() is not None:
            toWorld = vtk.vtkGeneralTransform()
            node.GetParentTransformNode().GetTransformToWorld(toWorld)
            transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
            transform.SetAndObserveTransformToParent(toWorld)
            copy.SetAndObserveTransformNodeID(transform.GetID())
            copy.HardenTransform()
        storage = copy.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetWriteFileFormat(properties["fileFormat"])
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        scene.AddNode(storage)
        return bool(storage.WriteData(copy))


def _name(path: str) -> str:
    """The node's name after its file's: without the folder and the known extension."""
    name = Path(path).name
    endings = [one for _, known in _TYPES.values() for one in known if name.lower().endswith(one)]
    return name[: -len(max(endings, key=len))] if endings else Path(path).stem
