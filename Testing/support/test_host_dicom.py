"""The test host loads DICOM series as Slicer does, and tells of them what Slicer's database tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import vtk

from dicom_files import FRAME, STUDY, write_series
from DualGlowLib.volumes.reading import read_scan
from loaded import host, slicer

AFFINE = np.array([[0.9, 0, 0, -10], [0, 1.1, 0, 20], [0, 0, 1.2, -30], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def _clean():
    slicer.mrmlScene.Clear(0)
    slicer.dicomDatabase.clear()
    host.slot_errors.clear()
    yield
    slicer.dicomDatabase.clear()
    assert host.slot_errors == []


def series(folder: Path, number: int = 4, affine: np.ndarray = AFFINE, **tags: object) -> Path:
    stored = np.random.default_rng(number).integers(0, 4000, (12, 10, 9)).astype(np.uint16)
    tags = {"SeriesDescription": "MPRAGE", "SeriesInstanceUID": f"1.2.3.6.{number}", **tags}
    write_series(folder, stored, affine, SeriesNumber=number, **tags)
    return folder


@pytest.mark.parametrize("direction", [1, -1], ids=["rising", "falling"])
def test_a_series_is_loaded_where_it_lies(tmp_path, direction):
    folder = series(tmp_path / "t1", affine=AFFINE @ np.diag([1, 1, direction, 1]))
    (volume,) = host.load_dicom(folder)
    scan = read_scan(folder)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    assert matrix.Determinant() > 0  # Slicer turns the slices around where they are left-handed
    points = np.array([[0, 0, 0, 1], [11, 9, 8, 1], [2, 3, 1, 1]])
    voxels = slicer.util.arrayFromVolume(volume).transpose(2, 1, 0)
    ijk = points @ (np.linalg.inv(scan.affine) @ slicer.util.arrayFromVTKMatrix(matrix)).T
    assert [voxels[tuple(p[:3])] for p in points] == [scan.data[tuple(np.rint(p[:3]).astype(int))] for p in ijk]
    files = [slicer.dicomDatabase.fileForInstance(uid) for uid in volume.GetAttribute("DICOM.instanceUIDs").split()]
    heights = [float(pydicom.dcmread(file).ImagePositionPatient[2]) for file in files]
    assert heights == pytest.approx([matrix.MultiplyPoint((0, 0, k, 1))[2] for k in range(9)])


def test_a_volume_is_added_before_it_is_known_to_be_from_dicom(tmp_path):
    told = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller, event, node):
        if node.IsA("vtkMRMLScalarVolumeNode"):
            told.append(("added", node.GetName(), node.GetAttribute("DICOM.instanceUIDs")))
            node.AddObserver("ModifiedEvent", lambda *_: told.append(("known", node.GetName(), uids(node))))

    def uids(node) -> int:
        return len((node.GetAttribute("DICOM.instanceUIDs") or "").split())

    observer = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, added)
    (volume,) = host.load_dicom(series(tmp_path / "t1"))
    slicer.mrmlScene.RemoveObserver(observer)
    assert told[0] == ("added", "4: MPRAGE", None)
    assert ("known", "4: MPRAGE", 9) in told
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_patient_and_study_are_items_above_the_series(tmp_path):
    constants = slicer.vtkMRMLSubjectHierarchyConstants
    for number in (4, 5):
        series(tmp_path / "one", number, StudyDescription="Brain")
    series(tmp_path / "two", 6, PatientName="Doe^John", PatientID="7", StudyInstanceUID="1.2.9", StudyDate="")
    volumes = host.load_dicom(tmp_path)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    items = [hierarchy.GetItemByDataNode(volume) for volume in volumes]
    studies = [hierarchy.GetItemParent(item) for item in items]
    patients = [hierarchy.GetItemParent(item) for item in studies]
    assert studies[0] == studies[1] != studies[2]
    assert patients[0] == patients[1] != patients[2]
    assert [hierarchy.GetItemParent(item) for item in patients] == [hierarchy.GetSceneItemID()] * 3
    assert [hierarchy.GetItemName(item) for item in patients[1:]] == ["Doe^Jane (SECRET-4711)", "Doe^John (7)"]
    assert [hierarchy.GetItemName(item) for item in studies[1:]] == ["Brain (20200310)", "No study description"]
    assert {hierarchy.GetItemLevel(item) for item in patients} == {constants.GetDICOMLevelPatient()}
    assert {hierarchy.GetItemLevel(item) for item in studies} == {constants.GetDICOMLevelStudy()}
    uid = constants.GetDICOMUIDName()
    assert [hierarchy.GetItemUID(item, uid) for item in (items[0], studies[0], patients[0])] == [
        "1.2.3.6.4", STUDY, "SECRET-4711",
    ]  # fmt: skip
    assert hierarchy.GetItemAttribute(items[0], constants.GetDICOMSeriesModalityAttributeName()) == "MR"
    assert hierarchy.GetItemAttribute(items[0], constants.GetDICOMFrameOfReferenceUIDAttributeName()) == FRAME
    assert hierarchy.GetItemAttribute(studies[0], constants.GetDICOMStudyDateAttributeName()) == "20200310"
    assert hierarchy.GetItemAttribute(patients[0], constants.GetDICOMPatientSexAttributeName()) == "F"


def test_the_database_says_nothing_of_what_it_does_not_have(tmp_path):
    database = slicer.dicomDatabase
    assert database is slicer.app.dicomDatabase()
    assert database.isOpen
    assert (database.instanceValue("1.2", "0010,1010"), database.fileForInstance("1.2")) == ("", "")
    (volume,) = host.load_dicom(series(tmp_path))
    first = volume.GetAttribute("DICOM.instanceUIDs").split()[0]
    assert database.instanceValue(first, "0010,1010") == "071Y"
    assert database.instanceValue(first, "0008,0008") == "ORIGINAL\\PRIMARY\\M"
    assert database.instanceValue(first, "0010,4000") == ""
    assert database.instanceForFile(database.fileForInstance(first)) == first
    with pytest.raises(AttributeError):
        database.nosuch()


def test_the_id_of_a_node_is_given_again_after_the_scene_was_closed():
    ids = []
    for name in ("One", "Two"):
        slicer.mrmlScene.Clear(0)
        ids.append(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name).GetID())
    assert ids[0] == ids[1]
