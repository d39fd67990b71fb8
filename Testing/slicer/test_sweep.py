"""An age sweep as nodes: the right volume at each age, in the patient's place, in the same nodes every time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import hand_client
from hand_client import provenance, row
from loaded import slicer
from module_scene import OBLIQUE, SHAPE, clean_scene, geometry, item_of, t1, voxels  # noqa: F401

from DualGlowLib.synthesis.question import Question  # isort: skip
from DualGlowLib.worker.replies import Step  # isort: skip
from DualGlowSynthesisLib.nodes import sweep  # isort: skip
from DualGlowSlicerLib import volumes  # isort: skip

pytestmark = pytest.mark.usefixtures("clean_scene")

REGIONS = ("thalamus_L", "medial_frontal", "occipital", "posterior_cingulate_precuneus", "pons", "insula_L")
QUESTION = Question({"age": 70.0}, temperature=1.0, seed=4)
PROVENANCE = provenance(QUESTION, ToTemplate=[[1.0, 0.5]])


def step(age: float, intervals: bool = True, regions=REGIONS) -> Step:
    mean = np.random.default_rng(int(age)).random(SHAPE, np.float32)
    rows = [
        {
            **row(intervals),
            "region": name,
            "mean": age / 100 + number,
            "low": age / 100 + number - 0.1 if intervals else None,
            "high": age / 100 + number + 0.2 if intervals else None,
        }
        for number, name in enumerate(regions)
    ]
    about = provenance(QUESTION.at(age=age), ToTemplate=[[1.0, 0.5]], Device="mps")
    return hand_client.step(QUESTION, age, mean, regions=rows, provenance=about)


def made(volume, ages=(50.0, 60.5, 70.0), **options) -> sweep.SweepNodes:
    return sweep.makeSweep(volume, [step(age) for age in ages], PROVENANCE, **options)


def select(nodes: sweep.SweepNodes, number: int) -> None:
    nodes.browser.SetSelectedItemNumber(number)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(nodes.browser)


def table(node) -> dict[str, list]:
    columns = [node.GetTable().GetColumn(number) for number in range(node.GetNumberOfColumns())]
    return {c.GetName(): [c.GetValue(row) for row in range(c.GetNumberOfTuples())] for c in columns}


def test_each_age_shows_its_pet_where_the_mri_lies():
    volume = t1()
    nodes = made(volume, (70.0, 50.0, 60.5))  # in any order
    sequence, proxy = nodes.sequence, nodes.proxy
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("age", "year")
    assert sequence.GetIndexType() == sequence.NumericIndex
    assert [sequence.GetNthIndexValue(number) for number in range(3)] == ["50", "60.5", "70"]
    assert nodes.browser.GetProxyNode(sequence) is proxy
    for number, age in enumerate((50.0, 60.5, 70.0)):
        select(nodes, number)
        np.testing.assert_array_equal(voxels(proxy), step(age).mean)
        np.testing.assert_allclose(geometry(proxy), OBLIQUE)
        np.testing.assert_allclose(geometry(sequence.GetNthDataNode(number)), OBLIQUE)
        assert proxy.GetParentTransformNode() is volume.GetParentTransformNode()
        assert float(proxy.GetAttribute("DualGlow.Age")) == age
    assert proxy.GetNodeReference("DualGlow.Input") is volume
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(item_of(volume))
    assert hierarchy.GetItemLevel(study) == "Study"
    assert {hierarchy.GetItemParent(item_of(node)) for node in (proxy, nodes.table, nodes.chart)} == {study}


def test_the_age_asked_for_is_shown_first_and_stays():
    volume = t1()
    nodes = made(volume)
    assert nodes.proxy.GetAttribute("DualGlow.Age") == "70"
    select(nodes, 0)
    made(volume, (40.0, 52.0, 72.0))
    assert nodes.proxy.GetAttribute("DualGlow.Age") == "52"  # the nearest to 50, which was shown
    np.testing.assert_array_equal(voxels(nodes.proxy), step(52.0).mean)


def test_everything_says_that_it_is_synthetic_and_how_it_was_made():
    nodes = made(t1())
    parts = [nodes.sequence.GetNthDataNode(number) for number in range(3)]
    for node in (nodes.sequence, nodes.proxy, *parts):
        assert volumes.isSynthetic(node)
        assert volumes.provenanceOf(node)["ToTemplate"] == [[1.0, 0.5]]
    assert [volumes.provenanceOf(node)["Age"] for node in parts] == [50.0, 60.5, 70.0]
    assert parts[0].GetAttribute("DualGlow.Device") == "mps"
    assert volumes.firstAcquired().GetName() == "T1"


def test_running_again_updates_the_same_nodes():
    volume = t1()
    first = made(volume)
    first.proxy.GetDisplayNode().SetWindowLevelMinMax(0, 1.5)
    before = slicer.mrmlScene.GetNumberOfNodes()
    second = sweep.makeSweep(volume, [step(age, regions=REGIONS[::-1]) for age in (50.0, 55.0)], PROVENANCE)
    assert all(old is new for old, new in zip(first, second, strict=True))
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert [second.sequence.GetNthIndexValue(number) for number in range(2)] == ["50", "55"]
    assert second.sequence.GetNumberOfDataNodes() == 2  # 60.5 and 70 are gone
    assert second.sequence.GetSequenceScene().GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
    assert table(second.table)["Age"] == [50.0, 55.0]
    assert second.proxy.GetDisplayNode().GetWindowLevelMax() == 1.5  # what the user set stays
    np.testing.assert_array_equal(voxels(second.sequence.GetNthDataNode(1)), step(55.0).mean)


@pytest.mark.parametrize("lost", ["browser", "proxy", "sequence"])
def test_a_node_that_was_deleted_is_made_again(lost):
    volume = t1()
    nodes = made(volume)
    slicer.mrmlScene.RemoveNode(getattr(nodes, lost))
    assert sweep.sweepOf(volume) is None
    again = made(volume, (50.0, 80.0))
    assert again.browser.GetProxyNode(again.sequence) is again.proxy
    select(again, 1)
    np.testing.assert_array_equal(voxels(again.proxy), step(80.0).mean)
    assert tuple(sweep.sweepOf(volume)) == tuple(again)


def test_two_inputs_have_sweeps_of_their_own():
    one, other = t1("One"), t1("Other")
    first, second = made(one), made(other, (80.0,))
    assert not {node.GetID() for node in first} & {node.GetID() for node in second}
    assert first.sequence.GetNumberOfDataNodes() == 3
    assert second.proxy.GetAttribute("DualGlow.Age") == "80"
    assert first.proxy.GetAttribute("DualGlow.Age") == "70"


def test_the_table_has_all_regions_with_their_intervals():
    found = table(made(t1()).table)
    assert len(found) == 1 + 3 * len(REGIONS)
    assert found["Age"] == [50.0, 60.5, 70.0]
    np.testing.assert_allclose(found["medial frontal"], [1.5, 1.605, 1.7])
    np.testing.assert_allclose(found["medial frontal 5 %"], [1.4, 1.505, 1.6])
    np.testing.assert_allclose(found["pons 95 %"], [4.7, 4.805, 4.9])


def test_single_samples_have_no_intervals():
    volume = t1()
    nodes = made(volume)
    sweep.makeSweep(volume, [step(age, intervals=False) for age in (50.0, 60.0)], PROVENANCE)
    assert list(table(nodes.table)) == ["Age", *(name.replace("_", " ") for name in REGIONS)]
    assert nodes.chart.GetNumberOfPlotSeriesNodes() == 4
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 4
    assert "90 %" not in nodes.chart.GetTitle()  # at temperature 0, say, there is none


def test_the_chart_shows_means_with_dashed_bands_of_the_same_colour():
    nodes = made(t1())
    series = [nodes.chart.GetNthPlotSeriesNode(number) for number in range(nodes.chart.GetNumberOfPlotSeriesNodes())]
    assert len(series) == 12
    names = [one.GetName() for one in series[::3]]
    assert names == ["posterior cingulate precuneus", "medial frontal", "thalamus L", "occipital"]
    for mean, low, high in zip(series[::3], series[1::3], series[2::3], strict=True):
        assert (low.GetName(), high.GetName()) == (f"{mean.GetName()} 5 %", f"{mean.GetName()} 95 %")
        assert mean.GetColor() == low.GetColor() == high.GetColor()
        assert [one.GetLineStyle() for one in (mean, low, high)] == [mean.LineStyleSolid, *[mean.LineStyleDash] * 2]
        for one in (mean, low, high):
            assert one.GetTableNode() is nodes.table
            assert one.GetXColumnName() == "Age"
            assert one.GetYColumnName() in table(nodes.table)
            assert one.GetPlotType() == one.PlotTypeScatter
    assert len({one.GetColor() for one in series}) == 4
    assert "years" in nodes.chart.GetXAxisTitle()
    assert "SUVR" in nodes.chart.GetYAxisTitle()
    assert "90 %" in nodes.chart.GetTitle()


def test_the_montage_is_a_picture_the_right_way_round():
    volume = t1()
    pixels = np.random.default_rng(0).integers(0, 255, (7, 11, 3)).astype(np.uint8)
    made(volume, montage=pixels)
    montage = volume.GetNodeReference("DualGlow.SweepMontage")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(montage)[0], pixels)
    np.testing.assert_array_equal(np.diag(geometry(montage)), [-1, -1, 1, 1])  # row by row to the back, as ITK loads it
    assert volumes.isSynthetic(montage)
    made(volume)
    assert volume.GetNodeReference("DualGlow.SweepMontage") is None
    assert montage.GetScene() is None


@pytest.mark.parametrize("case", ["shape", "none", "picture"])
def test_what_can_not_be_written_leaves_the_scene_as_it_was(case):
    volume = t1()
    before = slicer.mrmlScene.GetNumberOfNodes()
    steps = {"shape": [step(50.0), replace(step(60.0), mean=np.zeros((2, 2, 2)))], "none": []}.get(case, [step(50.0)])
    with pytest.raises(ValueError, match=r"A sweep needs ages|no picture"):
        sweep.makeSweep(volume, steps, PROVENANCE, np.zeros((3, 4)) if case == "picture" else None)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_saved_and_read_again(tmp_path):
    """The sequence's file has the ages, places and marks; the table's numbers stay numbers."""
    nodes = made(t1())
    for node, ending in ((nodes.sequence, "seq.nrrd"), (nodes.table, "tsv")):
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / f"saved.{ending}"))
        assert node.GetStorageNode().WriteData(node)
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode")
    assert nodes.sequence.GetStorageNode().ReadData(sequence)
    assert [sequence.GetNthIndexValue(number) for number in range(3)] == ["50", "60.5", "70"]
    data = sequence.GetNthDataNode(1)
    np.testing.assert_array_equal(voxels(data), step(60.5).mean)
    np.testing.assert_allclose(geometry(data), OBLIQUE, atol=1e-6)
    assert volumes.isSynthetic(data)
    assert volumes.provenanceOf(data) == json.loads(json.dumps({**step(60.5).provenance, "Content": "sweep"}))
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableStorageNode")
    storage.SetFileName(str(tmp_path / "saved.tsv"))
    assert storage.ReadData(again)
    np.testing.assert_allclose(table(again)["Age"], [50.0, 60.5, 70.0])


def test_a_saved_scene_goes_on_where_it_was(tmp_path):
    volume = t1()
    nodes = made(volume)
    select(nodes, 0)
    scene, path = slicer.mrmlScene, str(tmp_path / "scene.mrb")
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.GetSaveWithScene() and node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
    assert scene.WriteToMRB(path, None)
    scene.Clear(0)
    assert scene.ReadFromMRB(path)
    volume = slicer.util.getNode("T1")
    nodes = sweep.sweepOf(volume)
    assert nodes is not None
    assert nodes.browser.GetProxyNode(nodes.sequence) is nodes.proxy
    assert [nodes.sequence.GetNthIndexValue(number) for number in range(3)] == ["50", "60.5", "70"]
    assert volumes.provenanceOf(nodes.sequence)["Age"] == [50.0, 60.5, 70.0]
    select(nodes, 2)
    np.testing.assert_array_equal(voxels(nodes.proxy), step(70.0).mean)
    np.testing.assert_allclose(geometry(nodes.proxy), OBLIQUE, atol=1e-6)
    assert nodes.proxy.GetParentTransformNode() is volume.GetParentTransformNode()
    assert nodes.proxy.GetAttribute("DualGlow.Age") == "70"
    assert table(nodes.table)["Age"] == [50.0, 60.5, 70.0]
    before = scene.GetNumberOfNodes()
    assert tuple(made(volume)) == tuple(nodes)
    assert scene.GetNumberOfNodes() == before


@pytest.mark.parametrize("lost", [None, 1])
@pytest.mark.parametrize("intervals", [True, False])
def test_a_chart_has_all_its_series_after_a_scene_was_read(tmp_path, intervals, lost):
    """Slicer loses one of them at times; the table has all that it needs to be built anew."""
    sweep.install()
    volume = t1()
    nodes = sweep.makeSweep(volume, [step(age, intervals) for age in (50.0, 70.0)], PROVENANCE)
    expected = shown(nodes.chart)
    if lost is not None:
        nodes.chart.RemoveNthPlotSeriesNodeID(lost)
    scene, path = slicer.mrmlScene, str(tmp_path / "scene.mrb")
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.GetSaveWithScene() and node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
    assert scene.WriteToMRB(path, None)
    scene.Clear(0)
    assert scene.ReadFromMRB(path)
    nodes = sweep.sweepOf(slicer.util.getNode("T1"))
    assert shown(nodes.chart) == expected
    assert ("90 %" in nodes.chart.GetTitle()) == intervals


def shown(chart) -> list[tuple]:
    series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    return [(one.GetYColumnName(), one.GetColor(), one.GetLineStyle()) for one in series]
