"""``slicer.dicomDatabase``, and loading a series as Slicer's plug-in for scalar volumes does.

The volume comes into the scene first, with its name; patient and study appear in the subject hierarchy, and only then
does the volume get ``DICOM.instanceUIDs``: who looks at a volume when it is added does not see that it is from DICOM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import slicer
import vtk

__all__ = ["DICOMDatabase", "load_dicom"]

_SERIES, _STUDY, _PATIENT, _INSTANCE = "0020,000E", "0020,000D", "0010,0020", "0008,0018"
_ATTRIBUTES = {  # of the items of the subject hierarchy, as the plug-in names them
    "series": {
        "Modality": "0008,0060", "SeriesNumber": "0020,0011", "FrameOfReferenceUID": "0020,0052",
        "SeriesDescription": "0008,103E", "SeriesDate": "0008,0021", "SeriesTime": "0008,0031",
        "Manufacturer": "0008,0070", "Model": "0008,1090",
    },
    "patient": {
        "PatientName": "0010,0010", "PatientID": _PATIENT, "PatientSex": "0010,0040", "PatientBirthDate": "0010,0030",
        "PatientComments": "0010,4000",
    },
    "study": {
        "StudyDescription": "0008,1030", "StudyInstanceUID": _STUDY, "StudyID": "0020,0010", "StudyDate": "0008,0020",
        "StudyTime": "0008,0030",
    },
}  # fmt: skip


class DICOMDatabase:
    """The part of ctkDICOMDatabase that modules ask; what it does not have is ""."""

    __slots__ = ("_headers",)

    def __init__(self) -> None:
        self._headers: dict[str, pydicom.Dataset] = {}  # by the file's path

    def add(self, folder: Path) -> list[str]:
        """Take in the files below a folder, as the import of the DICOM module does; gives the UIDs of their series."""
        found = []
        for path in sorted(folder.rglob("*.dcm")):
            self._headers[str(path)] = pydicom.dcmread(path, stop_before_pixels=True)
            found.append(self.fileValue(str(path), _SERIES))
        return list(dict.fromkeys(found))

    def clear(self) -> None:
        self._headers.clear()

    @property
    def isOpen(self) -> bool:
        return True

    def fileValue(self, fileName: str, tag: str) -> str:
        """The value of a tag such as "0010,1010"; several are separated by backslashes."""
        group, element = (int(part, 16) for part in tag.split(","))
        value = self._headers.get(fileName, {}).get((group, element))
        value = "" if value is None or value.value is None else value.value
        many = isinstance(value, (list, tuple, pydicom.multival.MultiValue))
        return "\\".join(map(str, value)) if many else str(value)

    def instanceValue(self, sopInstanceUID: str, tag: str) -> str:
        return self.fileValue(self.fileForInstance(sopInstanceUID), tag)

    def fileForInstance(self, sopInstanceUID: str) -> str:
        return next((file for file in self._headers if self.fileValue(file, _INSTANCE) == sopInstanceUID), "")

    def instanceForFile(self, fileName: str) -> str:
        return self.fileValue(fileName, _INSTANCE)

    def filesForSeries(self, seriesUID: str, hits: int = -1) -> tuple[str, ...]:
        files = tuple(file for file in self._headers if self.fileValue(file, _SERIES) == seriesUID)
        return files[:hits] if hits >= 0 else files

    def instancesForSeries(self, seriesUID: str, hits: int = -1) -> tuple[str, ...]:
        return tuple(map(self.instanceForFile, self.filesForSeries(seriesUID, hits)))


def load_dicom(folder: Path) -> list[Any]:
    """Import a folder of DICOM files into ``slicer.dicomDatabase`` and load its series; gives the volume nodes.

    Raises:
        RuntimeError: if the files of a series are no volume.
    """
    return [_load(slicer.dicomDatabase, uid) for uid in slicer.dicomDatabase.add(folder)]


def _load(database: DICOMDatabase, series: str) -> Any:
    files = sorted(database.filesForSeries(series), key=lambda file: _distance(database, file))
    number, text = (database.fileValue(files[0], tag) for tag in ("0020,0011", "0008,103E"))
    names = vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(file)
    title = f"{number}: {text or 'Unnamed Series'}" if number else text or "Unnamed Series"
    volume = slicer.modules.volumes.logic().AddArchetypeScalarVolume(files[0], title, 0, names)
    if volume is None:
        raise RuntimeError(f"The series {series} can't be loaded as a volume.")
    _add_to_hierarchy(database, volume, files)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    if not slicer.vtkMRMLVolumeNode.IsIJKCoordinateSystemRightHanded(matrix):
        slicer.vtkMRMLVolumeNode.ReverseSliceOrder(volume.GetImageData(), matrix)
        volume.SetIJKToRASMatrix(matrix)
        files = files[::-1]
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(map(database.instanceForFile, files)))
    volume.SetAttribute("DICOM.instanceNumbers", " ".join(database.fileValue(file, "0020,0013") for file in files))
    application = slicer.app.applicationLogic()
    application.GetSelectionNode().SetActiveVolumeID(volume.GetID())
    application.PropagateVolumeSelection()
    return volume


def _distance(database: DICOMDatabase, file: str) -> float:
    """Of the slice along the normal of its plane, mm."""
    place, axes = (np.array(database.fileValue(file, tag).split("\\"), float) for tag in ("0020,0032", "0020,0037"))
    return float(np.cross(axes[:3], axes[3:]) @ place)


def _add_to_hierarchy(database: DICOMDatabase, volume: Any, files: list[str]) -> None:
    """The series' item below those of its study and patient, which are made where they are not there."""
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    uid, first = constants.GetDICOMUIDName(), files[0]
    series, study, patient = (database.fileValue(first, tag) for tag in (_SERIES, _STUDY, _PATIENT))
    patient = patient or f"Patient-{study}"
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
    hierarchy.SetItemUID(item, uid, series)
    hierarchy.SetItemUID(item, constants.GetDICOMInstanceUIDName(), " ".join(map(database.instanceForFile, files)))

    def describe(item: int, kind: str) -> None:
        for name, tag in _ATTRIBUTES[kind].items():
            hierarchy.SetItemAttribute(item, constants.GetDICOMAttributePrefix() + name, database.fileValue(first, tag))

    describe(item, "series")
    known = [hierarchy.GetItemByUID(uid, one) for one in (patient, study)]
    slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy(hierarchy, patient, study, series)
    if not known[0]:
        item = hierarchy.GetItemByUID(uid, patient)
        describe(item, "patient")
        name = database.fileValue(first, "0010,0010") or "No name"
        hierarchy.SetItemName(item, f"{name} ({patient})")
    if not known[1]:
        item = hierarchy.GetItemByUID(uid, study)
        describe(item, "study")
        text, date = (database.fileValue(first, tag) for tag in ("0008,1030", "0008,0020"))
        hierarchy.SetItemName(item, (text or "No study description") + (f" ({date})" if date else ""))
