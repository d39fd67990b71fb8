"""Results written to files: read back, they lie where the scene showed them, and say what they are."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from dicom_files import MPRAGE, write_series
from loaded import slicer
from module_scene import OBLIQUE, SHAPE, clean_scene, geometry, t1, turn, voxels  # noqa: F401

from DualGlowLib import InputError  # isort: skip
from DualGlowLib.volumes.marking import is_synthetic  # isort: skip
from DualGlowLib.volumes.reading import read_scan  # isort: skip
from DualGlowSynthesisLib.nodes import exporting, results  # isort: skip
from DualGlowSlicerLib import volumes  # isort: skip

pytestmark = pytest.mark.usefixtures("clean_scene")

PROVENANCE = {
    "Synthetic": True,
    "Units": "SUVR",
    "Age": 72.5,
    "Sex": None,
    "Temperature": 0.7,
    "Samples": 8,
    "Seed": 12345,
    "Bundle": "standard",
    "BundleSHA256": "0f" * 32,
    "TrainedOnSimulatedPET": True,
    "ToTemplate": [[1.0, 0.0, 0.0, 2.0], [0.0, 1.1, 0.0, 3.0], [0.0, 0.1, 1.0, 4.0], [0.0, 0.0, 0.0, 1.0]],
    "Verdict": {"status": "doubtful", "reasons": ["the brain is <small>"]},
}
VERDICT = {"status": "doubtful", "reasons": ["9 % of the brain is cut off"]}


def synthetic(volume, **changes):
    """A PET for a T1, as the module makes it."""
    pet = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{volume.GetName()} synthetic FDG")
    shape = volume.GetImageData().GetDimensions()
    volumes.updateVolumeFromArray(pet, np.random.default_rng(1).random(shape, np.float32) * 2, volume)
    volumes.markSynthetic(pet, PROVENANCE | changes)
    pet.SetNodeReferenceID("DualGlow.Input", volume.GetID())
    return pet


def bend(volume) -> None:
    """Put the volume under a transform that is not linear."""
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    points = [vtk.vtkPoints(), vtk.vtkPoints()]
    for place in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)):
        points[0].InsertNextPoint(place)
        points[1].InsertNextPoint(place[0] + place[1] ** 2 / 100, place[1], place[2])
    spline.SetSourceLandmarks(points[0])
    spline.SetTargetLandmarks(points[1])
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    transform.SetAndObserveTransformToParent(spline)
    volume.GetParentTransformNode().SetAndObserveTransformNodeID(transform.GetID())


# --------------------------------------------------------------------------------------------------------------- NIfTI


def test_nifti_lies_where_the_scene_shows_it(tmp_path):
    pet = synthetic(t1())
    path = exporting.exportNifti(pet, tmp_path / "pet.nii.gz")
    image = nib.load(path)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), voxels(pet))
    np.testing.assert_allclose(image.affine, turn() @ OBLIQUE, atol=1e-5)
    bounds = np.zeros(6)
    pet.GetRASBounds(bounds)  # with the transform, half a voxel beyond the voxels' middles
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in SHAPE])).reshape(3, -1)
    places = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    np.testing.assert_allclose(np.stack([places.min(1), places.max(1)], 1).ravel(), bounds, atol=1e-4)
    assert b"SYNTHETIC" in bytes(image.header["descrip"])


def test_sidecar_has_the_provenance_in_its_own_types(tmp_path):
    volume = t1()
    pet = synthetic(volume)
    exporting.exportNifti(pet, tmp_path / "pet.nii.gz")
    found = json.loads((tmp_path / "pet.json").read_text(encoding="utf-8"))
    np.testing.assert_allclose(found.pop("ParentTransform"), turn(), atol=1e-12)
    place = np.append(voxels(pet).shape, 1.0)
    np.testing.assert_allclose(  # the same point of the template by both ways
        np.array(found.pop("ToTemplate")) @ turn() @ OBLIQUE @ place,
        np.array(PROVENANCE["ToTemplate"]) @ OBLIQUE @ place,
    )
    assert found == {key: value for key, value in PROVENANCE.items() if key != "ToTemplate"}
    assert is_synthetic(read_scan(tmp_path / "pet.nii.gz"))
    pet.SetAndObserveTransformNodeID(None)
    exporting.exportNifti(pet, tmp_path / "pet.nii.gz")
    assert json.loads((tmp_path / "pet.json").read_text(encoding="utf-8")) == PROVENANCE
    np.testing.assert_allclose(nib.load(tmp_path / "pet.nii.gz").affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "said"),
    [("sd", "standard deviation"), ("below", "share below"), ("z", "over its SD"), ("sample", "FDG")],
)
def test_other_results_say_what_they_are(tmp_path, content, said):
    path = exporting.exportNifti(synthetic(t1(), Content=content), tmp_path / "other.nii")
    description = bytes(nib.load(path).header["descrip"]).decode()
    assert said in description
    assert "SYNTHETIC" in description
    assert "research use only" in description  # not cut off at 80 bytes


def test_acquired_volumes_are_not_called_synthetic(tmp_path):
    volume = t1()
    path = exporting.exportNifti(volume, tmp_path / "t1.nii.gz")
    np.testing.assert_array_equal(nib.load(path).get_fdata(), voxels(volume))
    assert not is_synthetic(read_scan(path))
    assert [file.name for file in tmp_path.iterdir()] == ["t1.nii.gz"]


def test_a_transform_that_is_not_linear_is_refused(tmp_path):
    volume = t1()
    pet = synthetic(volume)
    bend(volume)
    with pytest.raises(InputError, match=r"^T1 synthetic FDG lies below turned, which is not linear; [^\n]*\.$"):
        exporting.exportNifti(pet, tmp_path / "pet.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_write_is_refused(tmp_path):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    with pytest.raises(InputError, match=r"^Nothing has no voxels[^\n]*\.$"):
        exporting.exportNifti(empty, tmp_path / "pet.nii.gz")


# --------------------------------------------------------------------------------------------------------------- DICOM


@pytest.fixture
def series(tmp_path) -> Path:
    """A T1 of 9 slices with another file beside them."""
    stored = np.random.default_rng(0).integers(0, 4000, (12, 10, 9)).astype(np.uint16)
    affine = OBLIQUE @ np.diag([1, 1, -1, 1])
    write_series(tmp_path / "t1", stored, affine, SeriesNumber=4, SeriesDescription="MPRAGE", **MPRAGE)
    return tmp_path / "t1"


class Database:
    """``slicer.dicomDatabase`` for a folder."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.rglob("*.dcm"))
        self.files = {str(pydicom.dcmread(f, stop_before_pixels=True).SOPInstanceUID): str(f) for f in files}

    def fileForInstance(self, uid: str) -> str:
        return self.files.get(uid, "")


def loaded_t1(series: Path):
    """The series as Slicer loads it: a node under a transform, with the instances' UIDs as attribute."""
    scan = read_scan(series)
    volume = slicer.util.addVolumeFromArray(scan.data.transpose(2, 1, 0).astype(np.int16), scan.affine, "MPRAGE")
    volume.SetAndObserveTransformNodeID(t1("Other").GetTransformNodeID())
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(Database(series).files))
    return volume


def check_series(files: list[Path], pet, series: Path) -> None:
    written = read_scan(files[0].parent)
    step = np.linalg.inv(geometry(pet)) @ written.affine  # the T1's own place, without the parent transform
    corner = np.round(step @ (0, 0, 0, 1)).astype(int)[:3]
    other = np.round(step @ (*np.array(written.shape) - 1, 1)).astype(int)[:3]
    ours = voxels(pet)
    limit = float(np.abs(ours).max()) / 60000
    assert written.data[0, 0, 0] == pytest.approx(ours[tuple(corner)], abs=limit)
    assert written.data[-1, -1, -1] == pytest.approx(ours[tuple(other)], abs=limit)
    np.testing.assert_allclose(np.sort(written.data, axis=None), np.sort(ours, axis=None), atol=limit)
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    origin = pydicom.dcmread(next(series.glob("*.dcm")), stop_before_pixels=True)
    assert header.StudyInstanceUID == origin.StudyInstanceUID
    assert header.FrameOfReferenceUID == origin.FrameOfReferenceUID
    assert header.SeriesInstanceUID != origin.SeriesInstanceUID
    assert header.SeriesDescription == "SYNTHETIC FDG DualGlow age 72.5 NOT FOR DIAGNOSIS"
    assert "seed 12345" in header.DerivationDescription
    assert header.ReferencedSeriesSequence[0].SeriesInstanceUID == origin.SeriesInstanceUID


def test_dicom_of_another_patient_on_the_same_lattice_is_refused(tmp_path, series):
    volume = loaded_t1(series)
    pet = synthetic(volume)
    slicer.util.arrayFromVolume(volume)[:] = slicer.util.arrayFromVolume(volume)[:, ::-1]
    with pytest.raises(InputError, match=r"is not that of MPRAGE[^\n]*\.$"):
        exporting.exportDicom(pet, series, tmp_path / "pet")
    assert not (tmp_path / "pet").exists()


def test_dicom_from_a_folder(tmp_path, series):
    pet = synthetic(loaded_t1(series))
    files = exporting.exportDicom(pet, series, tmp_path / "pet")
    assert len(files) == 9
    check_series(files, pet, series)


@pytest.mark.parametrize("where", ["alone", "scattered", "beside others"])
def test_dicom_from_the_database(tmp_path, series, monkeypatch, where):
    pet = synthetic(loaded_t1(series))
    if where == "scattered":  # the database keeps files wherever they were imported from
        for number, file in enumerate(sorted(series.iterdir())):
            (series / str(number)).mkdir()
            shutil.copy(file, series / str(number))
        database = Database(series)
        database.files = {uid: str(max(series.rglob(Path(f).name), key=str)) for uid, f in database.files.items()}
    else:
        database = Database(series)
    if where == "beside others":  # a second time point of the same series, which Slicer loads as a volume of its own
        for file in sorted(series.glob("*.dcm")):
            other = pydicom.dcmread(file)
            other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
            other.AcquisitionNumber = 2
            other.save_as(series / f"again_{file.name}")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    before = {file: file.read_bytes() for file in series.rglob("*.dcm")}
    source = pet.GetNodeReference("DualGlow.Input") if where == "alone" else None
    files = exporting.exportDicom(pet, source, tmp_path / "pet")
    check_series(files, pet, series)
    assert {file: file.read_bytes() for file in series.rglob("*.dcm")} == before


@pytest.mark.parametrize("case", ["no database", "file gone", "not from DICOM", "no input"])
def test_dicom_without_the_source_files_is_refused(tmp_path, series, monkeypatch, case):
    volume = loaded_t1(series)
    pet = synthetic(volume)
    if case != "no database":
        monkeypatch.setattr(slicer, "dicomDatabase", Database(series), raising=False)
    if case == "file gone":
        next(series.iterdir()).unlink()
    if case == "not from DICOM":
        volume.RemoveAttribute("DICOM.instanceUIDs")
    if case == "no input":
        pet.SetNodeReferenceID("DualGlow.Input", None)
    with pytest.raises(InputError, match=r"^The DICOM files of [^\n]* choose the folder of the MRI's series\.$"):
        exporting.exportDicom(pet, None, tmp_path / "pet")
    assert not (tmp_path / "pet").exists()


@pytest.mark.parametrize("changes", [{"Content": "sd"}, {"Content": "z"}, None])
def test_dicom_holds_synthetic_pet_alone(tmp_path, series, changes):
    volume = loaded_t1(series)
    node = volume if changes is None else synthetic(volume, **changes)
    with pytest.raises(InputError, match=r"no synthetic PET[^\n]*\.$"):
        exporting.exportDicom(node, series, tmp_path / "pet")
    assert not (tmp_path / "pet").exists()


def test_dicom_of_another_series_is_refused(tmp_path, series):
    with pytest.raises(InputError, match=r"does not lie on the voxels of[^\n]*\.$"):
        exporting.exportDicom(synthetic(t1()), series, tmp_path / "pet")


# ----------------------------------------------------------------------------------------------------- table and report


def regions_table(rows=(("medial_frontal", 1.23456, 1.1, 1.4), ("pons, core", 1.0, None, None))):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "regions")
    results.updateTable(table, ["Region", "SUVR", "5 %", "95 %"], [list(row) for row in rows])
    return table


def test_table_of_texts(tmp_path):
    path = exporting.exportTable(regions_table(), tmp_path / "regions.csv")
    rows = list(csv.reader(path.open(encoding="utf-8", newline="")))
    assert rows == [
        ["Region", "SUVR", "5 %", "95 %"],
        ["medial_frontal", "1.235", "1.100", "1.400"],
        ["pons, core", "1.000", "", ""],
    ]


def test_table_of_numbers(tmp_path):
    columns = [np.array([50.0, 60.5]), np.array([1.23456, np.nan])]
    table = slicer.util.updateTableFromArray(None, columns, ["Age", "pons"])
    path = exporting.exportTable(table, tmp_path / "sweep.csv")
    assert path.read_text(encoding="utf-8") == "Age,pons\n50,1.23456\n60.5,\n"


def test_report_has_the_numbers_and_the_pictures(tmp_path):
    volume = t1()
    pet = synthetic(volume)
    path = exporting.exportReport(volume, pet, regions_table(), VERDICT, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    for said in (
        "T1 synthetic FDG", "72.5", "0.7", "12345", "0f" * 32, "medial_frontal", "1.235", "1.400", "simulated PET",
        "9 % of the brain is cut off", "Research use only, not for diagnosis", "pons, core",
    ):  # fmt: skip
        assert said in text
    assert "is &lt;small&gt;" not in text  # the verdict given comes before the provenance's
    pictures = re.findall(r'src="data:image/png;base64,([A-Za-z0-9+/=]+)"', text)
    assert len(pictures) == 1
    again = exporting.exportReport(volume, pet, None, None, tmp_path / "again.html").read_text(encoding="utf-8")
    assert "the brain is &lt;small&gt;" in again
    assert pictures[0] in again  # the same image, the same picture
    slicer.util.arrayFromVolume(pet)[:] *= 0.5
    other = exporting.exportReport(volume, pet, None, None, tmp_path / "again.html").read_text(encoding="utf-8")
    assert pictures[0] not in other


def test_report_of_the_wrong_volumes_is_refused(tmp_path):
    volume = t1()
    pet = synthetic(volume)
    with pytest.raises(InputError, match=r"^T1 is not synthetic[^\n]*\.$"):
        exporting.exportReport(volume, volume, None, VERDICT, tmp_path / "report.html")
    moved = t1("Moved")
    moved.SetOrigin(1, 2, 3)
    with pytest.raises(InputError, match=r"does not lie on the voxels of Moved[^\n]*\.$"):
        exporting.exportReport(moved, pet, None, VERDICT, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["nifti", "table", "report"])
def test_nothing_of_another_mri_is_written_over(tmp_path, what):
    volume = t1()
    pet, table = synthetic(volume), regions_table()
    for node in (pet, table):
        volumes.markSynthetic(node, {**volumes.provenanceOf(pet), "SourceVoxelsSHA256": "2b" * 32})
    path = tmp_path / ("pet" + {"nifti": ".nii.gz", "table": ".csv", "report": ".html"}[what])
    write = {
        "nifti": lambda: exporting.exportNifti(pet, path),
        "table": lambda: exporting.exportTable(table, path),
        "report": lambda: exporting.exportReport(volume, pet, table, VERDICT, path),
    }[what]
    write()
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    write()
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    for node in (pet, table):
        volumes.markSynthetic(node, {**volumes.provenanceOf(node), "SourceVoxelsSHA256": "1a" * 32})
    with pytest.raises(InputError, match=r"was made from another MRI[^\n]*\.$"):
        write()
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("what", ["nifti", "table", "report"])
@pytest.mark.parametrize("case", ["no such folder", "a folder", "disk full"])
def test_what_can_not_be_written_is_told_and_nothing_is_lost(tmp_path, monkeypatch, what, case):
    volume = t1()
    pet, table = synthetic(volume), regions_table()
    ending = {"nifti": ".nii.gz", "table": ".csv", "report": ".html"}[what]
    path = tmp_path / f"there{ending}"
    if case == "no such folder":
        path = tmp_path / "gone" / path.name
    elif case == "a folder":
        path.mkdir()
    else:
        path.write_text("what was there")

        def full(*_paths):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
    before = sorted(tmp_path.rglob("*"))
    write = {
        "nifti": lambda: exporting.exportNifti(pet, path),
        "table": lambda: exporting.exportTable(table, path),
        "report": lambda: exporting.exportReport(volume, pet, table, VERDICT, path),
    }[what]
    with pytest.raises(InputError, match=r"can't be written[^\n]*\.$"):
        write()
    assert sorted(tmp_path.rglob("*")) == before
    assert case != "disk full" or path.read_text() == "what was there"
