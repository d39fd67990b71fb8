"""DICOM: which files are a series, their voxels, SUV, and derived series of synthetic PETs."""
