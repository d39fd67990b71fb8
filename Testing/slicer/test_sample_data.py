"""The sample that ships with DualGlow, as Slicer's module Sample Data offers it."""

from __future__ import annotations

import os
import struct
import sys
import types
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import vtk

from loaded import SYNTHESIS, host, slicer

from DualGlowLib.resources import resource  # isort: skip
from DualGlowSynthesisLib import sampleData  # isort: skip

SOURCES: dict[str, list] = {}


class Source:
    """``SampleData.SampleDataSource`` with one file."""

    def __init__(self, **values) -> None:
        self.__dict__.update(values)

    def __eq__(self, other) -> bool:
        return self.__dict__ == other.__dict__


class SampleDataLogic:
    """``SampleData.SampleDataLogic``: its registration, with the same signature, and its download."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom", sampleName=None, uris=None, fileNames=None, nodeNames=None, customDownloader=None,
        thumbnailFileName=None, loadFileType="VolumeFile", loadFiles=None, loadFileProperties=None, checksums=None,
    ):  # fmt: skip
        source = Source(
            sampleName=sampleName, uri=uris, fileName=fileNames, nodeName=nodeNames, checksum=checksums,
            thumbnailFileName=thumbnailFileName, loadFileType=loadFileType,
        )  # fmt: skip
        if source not in SOURCES.setdefault(category, []):
            SOURCES[category].append(source)

    def downloadSamples(self, sampleName, cache: Path):
        source = next(one for sources in SOURCES.values() for one in sources if one.sampleName == sampleName)
        path = cache / source.fileName
        urllib.request.urlretrieve(source.uri, path)
        algorithm, digest = slicer.util.extractAlgoAndDigest(source.checksum)
        assert slicer.util.computeChecksum(algorithm, str(path)) == digest
        nodes = vtk.vtkCollection()
        properties = {"fileName": str(path), "name": source.nodeName}
        assert slicer.app.coreIOManager().loadNodes(source.loadFileType, properties, nodes)
        return [nodes.GetItemAsObject(0)]


class NewerLogic(SampleDataLogic):
    """That of Slicer 5.12, which gives categories a title."""

    titles: dict[str, str] = {}  # noqa: RUF012

    @classmethod
    def registerCustomSampleDataCategory(cls, category, title=None):
        cls.titles[category] = title


@pytest.fixture(params=[SampleDataLogic, NewerLogic])
def logic(request, monkeypatch):
    SOURCES.clear()
    slicer.mrmlScene.Clear(0)
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=request.param))
    return request.param()


@pytest.mark.usefixtures("logic")
def test_registered_when_the_application_has_started():
    connected = []
    real = slicer.app
    slicer.app = types.SimpleNamespace(connect=lambda signal, slot: connected.append((signal, slot)))
    try:
        getattr(SYNTHESIS.python, SYNTHESIS.name)(host.application._ModuleFacts(Path(SYNTHESIS.path)))
    finally:
        slicer.app = real
    assert SOURCES == {}  # not before: the module Sample Data may not be there yet
    for signal, slot in connected:
        assert signal == "startupCompleted()"
        slot()
    assert [source.sampleName for source in SOURCES["DualGlow"]] == ["DualGlowTemplateT1"]


def test_registering_twice_offers_it_once(logic):
    sampleData.registerSampleData()
    sampleData.registerSampleData()
    assert len(SOURCES["DualGlow"]) == 1
    if isinstance(logic, NewerLogic):
        assert logic.titles == {"DualGlow": "DualGlow"}


def test_a_slicer_without_the_module_sample_data_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", None)
    sampleData.registerSampleData()


def test_it_loads_from_the_disk_where_the_template_lies(logic, tmp_path):
    sampleData.registerSampleData()
    source = SOURCES["DualGlow"][0]
    assert source.uri.startswith("file:///")
    (node,) = logic.downloadSamples("DualGlowTemplateT1", tmp_path)
    assert node.GetName() == "DualGlowTemplateT1"
    image = sitk.ReadImage(str(resource("Template", "mni152_t1.nii.gz")))
    assert np.array_equal(slicer.util.arrayFromVolume(node), sitk.GetArrayFromImage(image))
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    assert np.allclose(bounds, [-98.5, 98.5, -134.5, 98.5, -72.5, 116.5])


def test_a_folder_with_spaces_and_letters_of_any_language(logic, tmp_path, monkeypatch):
    place = tmp_path / "Bildgebung für alle 脳" / "t1.nii.gz"
    place.parent.mkdir()
    os.symlink(resource("Template", "mni152_t1.nii.gz"), place)
    monkeypatch.setattr(sampleData, "resource", lambda *parts: place)
    sampleData.registerSampleData()
    (node,) = logic.downloadSamples("DualGlowTemplateT1", tmp_path)
    assert node.GetImageData().GetDimensions() == (197, 233, 189)


@pytest.mark.usefixtures("logic")
def test_thumbnail_has_the_size_that_slicer_asks_for():
    sampleData.registerSampleData()
    path = Path(SOURCES["DualGlow"][0].thumbnailFileName)
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (260, 280)
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float)
    assert picture[:4].max() == 0  # a margin
    upper = picture[4:160, 67:193]  # the axial slice: left and right alike, frontal lobe (narrower) on top
    assert np.corrcoef(upper.ravel(), upper[:, ::-1].ravel())[0, 1] > 0.95
    widths = (upper > 40).sum(1)
    assert widths[:40].mean() < widths[-60:-20].mean()
