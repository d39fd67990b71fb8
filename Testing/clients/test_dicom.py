"""The derived DICOM series in the hands of others: dcm2niix and highdicom find the same voxels in the same places."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from dicom_files import MPRAGE, write_series
from DualGlowLib.volumes.dicom.export import export_dicom
from DualGlowLib.volumes.reading import read_scan
from DualGlowLib.volumes.scan import LPS, Scan

SCANNER = {
    "Manufacturer": "Ourvendor", "ManufacturerModelName": "Magnet", "DeviceSerialNumber": "123456",
    "SoftwareVersions": "VX 9", "StationName": "MR1",
}  # fmt: skip
LATTICES = {
    "axial": from_matvec(np.diag([-1.0, -1.0, 2.0]), [5.0, 6.0, -7.0]),
    "oblique": from_matvec(euler2mat(0.4, -0.3, 0.2) @ np.diag([-0.7, -0.8, -4.8]), [-10, 20, 30]),
}
HIGHDICOM = """
import json, sys
from pathlib import Path
import numpy as np, pydicom, highdicom
datasets = [pydicom.dcmread(path) for path in sorted(Path(sys.argv[1]).iterdir())]
volume = highdicom.get_volume_from_series(datasets)
np.save(sys.argv[2], volume.array)
print(json.dumps({"affine": volume.affine.tolist(), "frame": str(volume.frame_of_reference_uid)}))
"""
MODULES = """
import json, sys
import pydicom
from highdicom._standard_utils import is_attribute_in_iod
dataset = pydicom.dcmread(sys.argv[1])
dataset.EchoTime = "3"
print(json.dumps([one.keyword for one in dataset if not is_attribute_in_iod(one.keyword, dataset.SOPClassUID)]))
"""


@pytest.fixture(params=LATTICES)
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Scan]:
    """A series and the PET that it was written from."""
    stored = np.random.default_rng(0).integers(0, 4000, (12, 10, 9)).astype(np.uint16)
    write_series(tmp_path / "t1", stored, LATTICES[request.param], SeriesNumber=4, **{**MPRAGE, **SCANNER})
    t1 = read_scan(tmp_path / "t1")
    pet = t1.like(np.random.default_rng(5).normal(1.0, 0.6, t1.shape).astype(np.float32))
    export_dicom(pet, tmp_path / "t1", tmp_path / "pet", provenance={"Bundle": "b", "Age": 70})
    return tmp_path / "pet", pet


def test_dcm2niix(exported: tuple[Path, Scan], programs: Path, tmp_path: Path) -> None:
    folder, pet = exported
    (tmp_path / "out").mkdir()
    command = [str(programs / "dcm2niix"), "-ba", "n", "-z", "y", "-f", "pet", "-o", str(tmp_path / "out"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "Patient Position" not in done.stdout  # it warns of one that is missing
    image = nib.as_closest_canonical(nib.load(tmp_path / "out" / "pet.nii.gz"))
    wanted = nib.as_closest_canonical(nib.Nifti1Image(pet.data, pet.affine))
    np.testing.assert_allclose(image.affine, wanted.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_fdata(), wanted.get_fdata(), atol=1e-4)
    about = json.loads((tmp_path / "out" / "pet.json").read_text())
    said = json.dumps(about)
    assert not [value for value in SCANNER.values() if value in said]  # the T1's scanner acquired no PET
    assert about["ManufacturersModelName"] == "DualGlow"
    first = pydicom.dcmread(next(folder.iterdir()))
    assert about["SeriesInstanceUID"] == first.SeriesInstanceUID
    assert about["StudyInstanceUID"] == first.StudyInstanceUID
    assert about["PatientPosition"] == "HFS"
    assert "SYNTHETIC" in about["SeriesDescription"]
    assert "SYNTHETIC" in about["ImageComments"]
    assert not {"RadionuclideTotalDose", "InjectedRadioactivity", "TracerName", "AcquisitionTime"} & about.keys()


def test_highdicom(exported: tuple[Path, Scan], ask: Callable, tmp_path: Path) -> None:
    folder, pet = exported
    found = ask(HIGHDICOM, folder, tmp_path / "array.npy")
    image = nib.as_closest_canonical(nib.Nifti1Image(np.load(tmp_path / "array.npy"), LPS @ np.array(found["affine"])))
    wanted = nib.as_closest_canonical(nib.Nifti1Image(pet.data, pet.affine))
    np.testing.assert_allclose(image.affine, wanted.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_fdata(), wanted.get_fdata(), atol=1e-4)
    assert found["frame"] == pydicom.dcmread(next((folder.parent / "t1").iterdir())).FrameOfReferenceUID


def test_each_attribute_belongs_to_a_pet_image(exported: tuple[Path, Scan], ask: Callable) -> None:
    """By the tables of the standard that highdicom has."""
    strangers = ask(MODULES, next(exported[0].iterdir()))
    assert [one for one in strangers if one != "SyntheticData"] == [
        "EchoTime"
    ]  # the first is younger than those tables
