#!/usr/bin/env bash
# Believed:  the sidecar's Manufacturer, DeviceSerialNumber and SoftwareVersions are those of the series: dcm2niix reads
#            General Equipment, at the top level of the file.
# Version:   dcm2niix 1.0.20260724, pydicom 3.0.2.
# Behaviour: it reads these elements wherever they stand, the last one wins: of a derived PET that names the scanner of
#            its source in Contributing Equipment (PS3.3 C.12.1), the sidecar says that this scanner made the PET, and
#            gives its serial number though the series has none.
# Output:    Manufacturer Philips, DeviceSerialNumber 45053, SoftwareVersions 5.7; in the file Maker, none, 1.0
set -euo pipefail
place=$(mktemp -d); trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install -q --disable-pip-version-check dcm2niix==1.0.20260724 pydicom==3.0.2 numpy==2.3.5
cd "$place" && mkdir series out && env/bin/python - <<'PYTHON'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

study, series, frame = (generate_uid() for _ in range(3))
for number in range(6):
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = PositronEmissionTomographyImageStorage
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), study, series
    image.FrameOfReferenceUID, image.Modality, image.SeriesNumber, image.InstanceNumber = frame, "PT", 3, number + 1
    image.PatientName = image.PatientID = "phantom"
    image.StudyDate, image.SeriesTime, image.AcquisitionTime = "20200102", "100000", "100000"
    image.Manufacturer, image.ManufacturerModelName, image.SoftwareVersions = "Maker", "Maker One", "1.0"
    image.ImageType, image.Units, image.PatientPosition = ["DERIVED", "SECONDARY"], "NONE", "HFS"
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = [2, 2], 2
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = 16
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    scanner = Dataset()
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "109101", "DCM"
    purpose.CodeMeaning = "Acquisition Equipment"
    scanner.PurposeOfReferenceCodeSequence = [purpose]
    scanner.Manufacturer, scanner.DeviceSerialNumber, scanner.SoftwareVersions = "Philips", "45053", "5.7"
    image.ContributingEquipmentSequence = [scanner]
    image.PixelData = np.random.default_rng(number).integers(0, 999, (16, 16)).astype("<u2").tobytes()
    image.save_as(f"series/{number}.dcm", enforce_file_format=True)
PYTHON
env/bin/dcm2niix -ba n -f pet -o out series > out/log.txt
env/bin/python - <<'PYTHON'
import json

about = json.load(open("out/pet.json"))
found = {key: about.get(key) for key in ("Manufacturer", "DeviceSerialNumber", "SoftwareVersions")}
print(found)
assert found == {"Manufacturer": "Philips", "DeviceSerialNumber": "45053", "SoftwareVersions": "5.7"}
PYTHON
