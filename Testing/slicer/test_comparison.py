"""A acquired PET compared with what the model expects, as nodes: places, values, colours, and words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from vtk.util import numpy_support

from hand_client import compared
from loaded import slicer
from module_scene import OBLIQUE, SHAPE, clean_scene, geometry, item_of, t1, voxels  # noqa: F401

from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowLib.worker.replies import Compared  # isort: skip
from DualGlowSynthesisLib.nodes import comparison  # isort: skip
from DualGlowSlicerLib import volumes  # isort: skip
from DualGlowSynthesisLib.nodes.comparison import summaryOf, writeComparison  # isort: skip

pytestmark = pytest.mark.usefixtures("clean_scene")

METRICS = {"mae": 0.125, "psnr": 21.5, "ssim": 0.75, "correlation": 0.875}


def reply(seed: int = 0, samples: int = 32, **changes) -> Compared:
    random = np.random.default_rng(seed)
    pet, mean, sd = (random.random(SHAPE, np.float32) + 0.5 for _ in range(3))
    z = (pet - mean) / sd
    z[0, 0, 0], z[1, 0, 0] = np.nan, np.inf
    regions = [
        {"region": "medial_frontal", "real": 1.25, "mean": 1.5, "low": 1.375, "high": 1.625, "z": -3.5},
        {"region": "pons", "real": 1.0, "mean": 1.0, "low": 0.9, "high": 1.1, "z": None},
    ]
    numbers = {"metrics": METRICS, "regions": regions, "bits_per_dim": 2.345, "percentile": 40.0}
    return compared(Question(samples=samples, temperature=1.0), pet, pet - mean, z, **(numbers | changes))


@pytest.fixture
def pair():
    real = slicer.util.addVolumeFromArray(np.ones((2, 2, 2), np.float32), name="Scan of the PET")
    return t1(), real


def rows(node) -> list[list[str]]:
    table = node.GetTable()
    return [
        [table.GetValue(row, column).ToString() for column in range(table.GetNumberOfColumns())]
        for row in range(table.GetNumberOfRows())
    ]


def test_maps_lie_where_the_mri_lies(pair):
    volume, real = pair
    given = reply()
    nodes = writeComparison(volume, real, given)
    for node, key in ((nodes.pet, "pet"), (nodes.difference, "difference"), (nodes.z, "z")):
        np.testing.assert_array_equal(voxels(node), np.where(np.isfinite(getattr(given, key)), getattr(given, key), 0))
        np.testing.assert_allclose(geometry(node), OBLIQUE)
        assert node.GetParentTransformNode() is volume.GetParentTransformNode()
        assert node.GetNodeReference("DualGlow.Input") is volume
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert {hierarchy.GetItemParent(item_of(node)) for node in nodes} == {hierarchy.GetItemParent(item_of(volume))}


def test_only_what_holds_synthetic_values_is_marked(pair):
    nodes = writeComparison(*pair, reply())
    assert [volumes.isSynthetic(node) for node in nodes[:3]] == [False, True, True]
    assert volumes.provenanceOf(nodes.z)["Content"] == "z"
    assert volumes.provenanceOf(nodes.difference)["RealPet"] == "Scan of the PET"
    assert nodes.pet.GetAttribute("DualGlow.ResampledFrom") == "Scan of the PET"


def test_maps_say_what_went_into_them(pair):
    """What the worker tells of the samples and of the PET is on both, with what they are in words of their own."""
    volume, real = pair
    question = Question({"age": 71.5, "sex": "F"}, samples=32, seed=7)
    pet = np.ones(SHAPE, np.float32, order="F")
    found = compared(question, pet, 0.5 * pet, 2 * pet, "real.nii.gz")
    nodes = writeComparison(volume, real, found)
    for node, units in ((nodes.difference, "SUVR"), (nodes.z, "standard deviations")):
        about = volumes.provenanceOf(node)
        assert about.items() >= (found.provenance | {"RealPet": "Scan of the PET", "Units": units}).items()
        told = {
            name: node.GetAttribute(f"DualGlow.{name}") for name in ("Age", "Sex", "Temperature", "Samples", "Seed")
        }
        assert told == {"Age": "71.5", "Sex": "F", "Temperature": "1", "Samples": "32", "Seed": "7"}
        assert node.GetAttribute("DualGlow.BundleSHA256") == 64 * "a"
        assert node.GetAttribute("DualGlow.RealPetVoxelsSHA256") == 64 * "b"
        assert node.GetAttribute("DualGlow.SourceVoxelsSHA256") == 64 * "c"


def drawn(node, values: np.ndarray) -> np.ndarray:
    """RGBA of values in the volume, as slice views take it."""
    slicer.util.arrayFromVolume(node).ravel()[: len(values)] = values
    slicer.util.arrayFromVolumeModified(node)
    producer = node.GetDisplayNode().GetImageDataConnection().GetProducer()
    producer.Update()
    colours = numpy_support.vtk_to_numpy(producer.GetOutputDataObject(0).GetPointData().GetScalars())
    return colours[: len(values)].astype(int)


@pytest.mark.parametrize(("part", "window"), [("difference", 0.5), ("z", 5.0)])
def test_less_is_blue_more_is_red_and_nothing_is_transparent(pair, part, window):
    node = getattr(writeComparison(*pair, reply()), part)
    places = np.array([-2, -1, -0.6, -0.3, -0.19, 0, 0.19, 0.3, 0.6, 1, 2])
    colours = drawn(node, places * window)
    assert list(colours[:, 3] > 0) == [abs(place) > 0.2 for place in places]
    np.testing.assert_allclose(colours[[0, 1], :3], [[0, 0, 255]] * 2, atol=2)
    np.testing.assert_allclose(colours[[-1, -2], :3], [[255, 0, 0]] * 2, atol=2)
    np.testing.assert_allclose(colours[::-1, [2, 1, 0]], colours[:, :3], atol=3)  # symmetric
    np.testing.assert_allclose(colours[8, :3], [255, 102, 102], atol=3)


def test_running_again_updates_the_same_nodes(pair):
    volume, real = pair
    first = writeComparison(volume, real, reply())
    first.z.GetDisplayNode().SetWindowLevelMinMax(-3, 3)
    before = slicer.mrmlScene.GetNumberOfNodes()
    given = reply(1, metrics={**METRICS, "mae": 0.5}, percentile=1.0)
    second = writeComparison(volume, real, given)
    assert all(old is new for old, new in zip(first, second, strict=True))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    np.testing.assert_array_equal(voxels(second.difference), given.difference)
    assert second.z.GetDisplayNode().GetWindowLevelMax() == 3
    assert rows(second.table)[0][:2] == ["Mean absolute error (SUVR)", "0.500"]
    assert second.table.GetAttribute("DualGlow.Summary").startswith("Unusual")


def test_colours_outlive_the_scene(pair, tmp_path):
    first = writeComparison(*pair, reply())
    assert first.difference.GetDisplayNode().GetColorNodeID() == first.z.GetDisplayNode().GetColorNodeID()
    before = drawn(first.z, np.array([-4.0, -0.9, 0.0, 0.9, 4.0]))
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.GetSaveWithScene() and node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"), None)
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(first.z.GetDisplayNode().GetColorNodeID()))
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    volume, z = slicer.util.getNode("T1"), slicer.util.getNode("T1 acquired PET z-map")
    np.testing.assert_array_equal(drawn(z, np.array([-4.0, -0.9, 0.0, 0.9, 4.0])), before)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    assert writeComparison(volume, slicer.util.getNode("Scan of the PET"), reply()).z is z
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


def test_the_table_has_metrics_and_regions(pair):
    found = rows(writeComparison(*pair, reply()).table)
    assert found[1] == ["PSNR (dB)", "21.500", "", "", "", ""]
    assert ["Of 100 PETs drawn, fits better than", "40.000", "", "", "", ""] in found
    assert found[-2:] == [
        ["medial frontal", "1.250", "1.500", "1.375", "1.625", "-3.500"],
        ["pons", "1.000", "1.000", "0.900", "1.100", ""],
    ]


def test_another_lattice_leaves_the_scene_as_it_was(pair):
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(ValueError, match="lattice of T1"):
        writeComparison(*pair, replace(reply(), z=np.zeros((2, 2, 2), np.float32)))
    assert slicer.mrmlScene.GetNumberOfNodes() == before


# Percentiles as ``DualGlowLib.fit.rank`` gives them: (below + 0.5) of (samples + 1).
@pytest.mark.parametrize(
    ("percentile", "samples", "start"),
    [
        (37.0, 32, "It fits as well as 37 of 100 PETs that the model draws for this person."),
        (5.0, 32, "It fits"),
        (50 / 33, 32, "Unusual: it fits less well than all 32 PETs that the model draws for this person."),
        (150 / 33, 32, "Unusual: it fits less well than 95 of 100 PETs that the model draws for this person."),
        (2.5, 19, "Unusual"),
        (7.5, 19, "It fits"),
        (100 - 50 / 21, 20, "Unusual: it fits better than 98 of 100 PETs"),
        (50 / 9, 8, "Undecided: only 8 PETs were drawn to rank it among; take 19 or more."),
        (100 * 8.5 / 9, 8, "Undecided"),
        (150 / 9, 8, "It fits"),
    ],
)
def test_words_for_the_percentile(percentile, samples, start):
    text = summaryOf(reply(percentile=percentile, samples=samples))
    assert text.startswith(start)
    assert "\n" not in text
    assert "its own yardstick" in text  # what the number can't say
    assert "bits" not in text  # which the table has, for who compares PETs
    assert "percentile" not in text


def test_a_doubtful_registration_comes_first():
    verdict = {"status": "doubtful", "reasons": ["12 % of the brain lies outside the PET"]}
    text = summaryOf(reply(verdict=verdict))
    assert text.startswith("Look at the registration of the PET first, it is doubtful (12 % of the brain lies outside")
    assert "It fits" in text


def test_windows_match_what_is_hidden():
    """The docstring's numbers: 0.1 SUVR and one standard deviation."""
    assert pytest.approx(0.1) == comparison.TRANSPARENT * comparison.DIFFERENCE_WINDOW
    assert pytest.approx(1.0) == comparison.TRANSPARENT * comparison.Z_WINDOW
