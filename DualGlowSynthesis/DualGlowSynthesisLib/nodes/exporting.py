"""Results out of the scene: NIfTI, DICOM, tables and a report. Files appear whole or not at all."""

import csv
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowSlicerLib import volumes

from . import belonging

__all__ = ["exportDicom", "exportNifti", "exportReport", "exportTable"]


def exportNifti(volumeNode, path) -> Path:
    """Write a volume as float32 NIfTI, a synthetic one with its provenance in a JSON file beside it.

    The file lies where the scene shows the volume: linear parent transforms go into its affine, and into what the
    sidecar says of the way to the template.

    Raises:
        InputError: for a volume without voxels or below a transform that is not linear, a path that can't be written,
            or a file that holds the PET of another MRI.
    """
    from DualGlowLib.volumes.scan import Scan
    from DualGlowLib.volumes.writing import write_scan

    voxels, toWorld = _voxels(volumeNode), _parentMatrix(volumeNode)
    scan = Scan(voxels, toWorld @ volumes.affineOf(volumeNode), source=volumeNode.GetName())
    if not volumes.isSynthetic(volumeNode):
        return write_scan(scan, path)
    sidecar = {"Synthetic": True, **volumes.provenanceOf(volumeNode)}
    _refuseAnother(path, sidecar)
    if not np.array_equal(toWorld, np.eye(4)):
        sidecar["ParentTransform"] = toWorld
        if sidecar.get("ToTemplate") is not None:
            sidecar["ToTemplate"] = np.array(sidecar["ToTemplate"]) @ np.linalg.inv(toWorld)
    return write_scan(scan, path, _description(sidecar.get("Content")), sidecar)


def exportDicom(volumeNode, source, out) -> list[Path]:
    """Write a synthetic PET as a derived DICOM series into the study of the T1 that it was made from.

    The series lies where the T1's does, so parent transforms, which both share in the scene, are left out.

    Args:
        source: the T1's node, which was loaded from files in Slicer's DICOM database; or the T1's DICOM folder, or a
            file of its series; None: the node that the volume refers to as ``DualGlow.Input``.
        out: a folder, new or empty.

    Raises:
        InputError: for a volume that is no synthetic PET, files that are missing, a folder with the series of another
            MRI, and whatever ``export_dicom`` refuses.
    """
    from DualGlowLib.volumes.dicom.export import export_dicom
    from DualGlowLib.volumes.scan import Scan

    provenance = volumes.provenanceOf(volumeNode)
    if not volumes.isSynthetic(volumeNode) or provenance.get("Content", "mean") not in ("mean", "sample"):
        text = _("{name} is no synthetic PET, which alone is written as DICOM; write it as NIfTI.")
        raise InputError(text.format(name=volumeNode.GetName()))
    scan = Scan(_voxels(volumeNode), volumes.affineOf(volumeNode), source=volumeNode.GetName())
    age = provenance.get("Age")
    description = "DualGlow" if age is None else f"DualGlow age {age:g}"
    with tempfile.TemporaryDirectory(prefix="DualGlow") as folder:
        if isinstance(source, str | Path):
            _refuseOtherSeries(source, belonging.inputOf(volumeNode))
        else:
            source = _seriesOf(source or volumeNode.GetNodeReference("DualGlow.Input"), Path(folder))
        return export_dicom(scan, source, out, description, provenance)


def _refuseOtherSeries(source, inputVolume) -> None:
    """A folder that the user chose may hold another patient's series on the same lattice: compare some voxels."""
    if inputVolume is None:
        return
    from nibabel.affines import apply_affine

    from DualGlowLib.volumes.reading import read_scan

    series, own = read_scan(source), slicer.util.arrayFromVolume(inputVolume).transpose(2, 1, 0)
    toSeries = np.linalg.inv(series.affine) @ volumes.affineOf(inputVolume)
    indices = np.random.default_rng(0).integers(0, own.shape, (5000, 3))
    places = np.rint(apply_affine(toSeries, indices)).astype(int)
    if not np.allclose(toSeries, np.rint(toSeries), atol=0.01) or (places < 0).any() or (places >= series.shape).any():
        return  # on another lattice, which ``export_dicom`` tells
    ours, theirs = own[tuple(indices.T)], series.data[tuple(places.T)]
    if np.isclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(np.abs(own).max())).mean() < 0.95:
        text = _("The series in {folder} is not that of {name}; choose the folder of the MRI's own series.")
        raise InputError(text.format(folder=source, name=inputVolume.GetName()))


def exportTable(tableNode, path) -> Path:
    """Write a table as CSV (UTF-8, commas, a line of titles); what is not a number is an empty cell.

    How it was made goes into a JSON file beside it, if the table says so.

    Raises:
        InputError: if the file can't be written, or holds the table of another MRI.
    """
    from DualGlowLib.files import json_text, write_whole
    from DualGlowLib.outputs import SIDECAR, Output, check_outputs, generated_by, kind_of_file

    path, provenance = Path(path), volumes.provenanceOf(tableNode)
    sidecar = path.with_suffix(".json")
    if provenance:
        _refuseAnother(path, provenance)
        check_outputs([Output(sidecar, SIDECAR)])
    titles, rows = _tableContent(tableNode)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([[_csvCell(value) for value in row] for row in (titles, *rows)])
    write_whole(path, text.getvalue(), force=kind_of_file(sidecar) == SIDECAR)  # a CSV can't say whose it is
    if provenance:
        write_whole(sidecar, json_text({"Synthetic": True, "GeneratedBy": generated_by(SIDECAR), **provenance}))
    return path


def _csvCell(value) -> str:
    """For a table; text is no formula to spreadsheets."""
    from DualGlowLib.cases.tables import harmless_cell

    if isinstance(value, float):
        return f"{value:.7g}"
    return harmless_cell(value) if value not in (None, "") else ""


def exportReport(inputVolume, volumeNode, tableNode, verdict, path) -> Path:
    """Write one HTML page about a synthetic PET: slices over the T1, parameters, verdict, regions, model, warnings.

    Args:
        inputVolume: the T1.
        volumeNode: the PET, on the T1's lattice.
        tableNode: of region means; None for none.
        verdict: ``status`` and ``reasons`` of the T1's quality check; None takes the provenance's.
        path: of the page.

    Raises:
        InputError: if the volume is not synthetic or lies on other voxels, or the file can't be written, or is the
            report of another MRI.
    """
    from DualGlowLib.files import write_whole
    from DualGlowLib.pictures.drawing import write_png
    from DualGlowLib.pictures.quality import overlay_picture
    from DualGlowLib.pictures.report import report_html
    from DualGlowLib.volumes.scan import Scan

    if not volumes.isSynthetic(volumeNode):
        text = _("{name} is not synthetic; choose a PET that DualGlow made.")
        raise InputError(text.format(name=volumeNode.GetName()))
    t1, pet = (Scan(_voxels(node), volumes.affineOf(node)) for node in (inputVolume, volumeNode))
    if pet.shape != t1.shape or not np.allclose(pet.affine, t1.affine, atol=1e-3):
        text = _("{name} does not lie on the voxels of {mri}; choose the MRI that it was made from.")
        raise InputError(text.format(name=volumeNode.GetName(), mri=inputVolume.GetName()))
    provenance = volumes.provenanceOf(volumeNode)
    _refuseAnother(path, provenance)
    display = volumeNode.GetDisplayNode()
    high = display.GetWindowLevelMax() if display is not None and display.GetWindowLevelMax() > 0 else 2.5
    picture = overlay_picture(t1, pet, provenance.get("ToTemplate"), high)
    with tempfile.TemporaryDirectory(prefix="DualGlow") as folder:
        png = write_png(picture, Path(folder) / "overlay.png").read_bytes()
    caption = "T1, and synthetic FDG-PET over it. Radiological convention: the patient's right is on the left."
    table = ((), ()) if tableNode is None else _tableContent(tableNode)
    return write_whole(path, report_html(volumeNode.GetName(), [(caption, png)], provenance, verdict, table))


def _refuseAnother(path, provenance: dict) -> None:
    """A file that was made from another MRI stays, though DualGlow made it: two MRIs often have the same name."""
    from DualGlowLib.outputs import other_source

    digest, path = provenance.get("SourceVoxelsSHA256"), Path(path)
    if not digest or not path.is_file():
        return
    source = other_source(path if path.suffix != ".csv" else path.with_suffix(".nii"), digest)
    if path.suffix == ".html" and digest not in path.read_text(encoding="utf-8", errors="replace"):
        source = _("another T1")
    if source:
        text = _("{path} was made from another MRI ({source}); choose another folder, or move it.")
        raise InputError(text.format(path=path, source=source))


def _voxels(volumeNode) -> np.ndarray:
    """Indexed i, j, k; no copy if they are float32."""
    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfScalarComponents() != 1:
        text = _("{name} has no voxels with one number in each; choose a synthetic PET.")
        raise InputError(text.format(name=volumeNode.GetName()))
    return np.asarray(slicer.util.arrayFromVolume(volumeNode), dtype=np.float32).transpose(2, 1, 0)


def _parentMatrix(volumeNode) -> np.ndarray:
    """4x4 from the node's RAS to the scene's."""
    parent = volumeNode.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        text = _("{name} lies below {transform}, which is not linear; harden that transform on the volume first.")
        raise InputError(text.format(name=volumeNode.GetName(), transform=parent.GetName()))
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _description(content: str | None) -> str:
    """For the NIfTI header; at most 80 bytes."""
    from DualGlowLib.volumes.marking import SYNTHETIC, SYNTHETIC_BELOW, SYNTHETIC_SD

    others = {
        "sd": SYNTHETIC_SD,
        "below": SYNTHETIC_BELOW,
        "difference": "Acquired minus SYNTHETIC FDG, DualGlow, research use only",
        "z": "Acquired minus SYNTHETIC FDG over its SD, DualGlow, research use only",
    }
    return others.get(content, SYNTHETIC)


def _seriesOf(inputVolume, folder: Path) -> Path:
    """A file of the series that the T1 was loaded from, copied into ``folder`` if they don't lie by themselves."""
    identifiers = (inputVolume.GetAttribute("DICOM.instanceUIDs") or "").split() if inputVolume is not None else []
    database = getattr(slicer, "dicomDatabase", None)
    files = [Path(database.fileForInstance(uid) or "") for uid in identifiers] if database is not None else []
    if not files or not all(file.is_file() for file in files):
        text = _("The DICOM files of {name} are not in Slicer's database; choose the folder of the MRI's series.")
        raise InputError(text.format(name=inputVolume.GetName() if inputVolume is not None else _("the MRI")))
    if set(files[0].parent.iterdir()) == set(files):
        return files[0]
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f"{number:05d}.dcm")
    return folder / "00000.dcm"


def _tableContent(tableNode) -> tuple[list[str], list[list]]:
    """Titles, and rows of texts and numbers; NaN and empty cells are None."""
    table = tableNode.GetTable()
    columns = [table.GetColumn(number) for number in range(table.GetNumberOfColumns())]
    rows = [[_cell(column, row) for column in columns] for row in range(table.GetNumberOfRows())]
    return [column.GetName() for column in columns], rows


def _cell(column, row: int):
    value = column.GetValue(row)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return None if value == "" else value
