"""``slicer.parameterNodeWrapper`` of the test host: typed fields, their widgets, and what Slicer refuses."""

from __future__ import annotations

import enum
import pathlib
import typing
from typing import Annotated

import numpy as np
import pytest
import vtk

from host_scene import clean_host, volume  # noqa: F401
from loaded import slicer

import ctk  # isort: skip
import qt  # isort: skip

from slicer.parameterNodeWrapper import (  # isort: skip
    Choice,
    FloatRange,
    RangeBounds,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)

pytestmark = pytest.mark.usefixtures("clean_host")


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2


@parameterPack
class Person:
    age: Annotated[float, WithinRange(0, 120)] = 70
    sex: str = "unknown"


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    age: Annotated[float, WithinRange(40, 100)] = 70
    samples: Annotated[int, WithinRange(1, 32)] = 1
    live: bool = True
    name: str = "a"
    map: Annotated[str, Choice(["Heat", "Grey"])] = "Heat"
    mode: Mode = Mode.EXACT
    folder: pathlib.Path = pathlib.Path("x")
    window: Annotated[FloatRange, RangeBounds(0, 5)] = FloatRange(0, 2.5)
    below: typing.Optional[float]  # noqa: UP045, Slicer refuses float | None
    regions: list[str]
    person: Person


@pytest.fixture
def parameters() -> Parameters:
    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters"))


def test_fields_of_every_type_come_back_from_a_saved_scene(parameters, tmp_path):
    parameters.volume = volume()
    parameters.age, parameters.samples, parameters.live, parameters.name = 81.5, 8, False, "é"
    parameters.map, parameters.mode, parameters.folder = "Grey", Mode.FAST, pathlib.Path("/a b")
    parameters.window, parameters.below = FloatRange(0.5, 3), 1.25
    parameters.regions = ["pons", "cuneus"]
    parameters.regions.append("insula")
    parameters.person.age = 55
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = Parameters(slicer.util.getNode("Parameters"))
    assert loaded.volume is slicer.util.getNode("T1")
    assert np.array_equal(slicer.util.arrayFromVolume(loaded.volume).ravel(), np.arange(60))
    assert (loaded.age, loaded.samples, loaded.live, loaded.name) == (81.5, 8, False, "é")
    assert (loaded.map, loaded.mode, loaded.folder) == ("Grey", Mode.FAST, pathlib.Path("/a b"))
    assert (loaded.window, loaded.below) == (FloatRange(0.5, 3), 1.25)
    assert loaded.regions == ["pons", "cuneus", "insula"]
    assert loaded.person == Person(55, "unknown")
    loaded.below = None
    assert loaded.below is None


def singleton() -> Parameters:
    """As a module's logic makes it: a scene has one, into which the one of a file is copied."""
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
    node.UnRegister(None)
    node.SetSingletonTag("HostTrial")
    return Parameters(slicer.mrmlScene.AddNode(node))


@pytest.mark.parametrize("ending", ["mrb", "mrml"])
def test_connected_selector_overwrites_what_a_scene_file_says(tmp_path, ending):
    saved = singleton()
    saved.age = 81
    volume("One")
    saved.volume = volume("Two")
    assert slicer.util.saveScene(str(tmp_path / f"scene.{ending}"))
    slicer.mrmlScene.Clear(0)
    selector = slicer.qMRMLNodeComboBox()
    selector.addEnabled = selector.removeEnabled = False
    selector.setMRMLScene(slicer.mrmlScene)
    parameters, told = singleton(), []
    parameters.connectParametersToGui({"volume": selector})

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller, event, node):
        if node.IsA("vtkMRMLScalarVolumeNode"):
            told.append(f"{node.GetName()} came, {parameters.volume.GetName()} is chosen")

    scene = slicer.mrmlScene
    observers = [
        scene.AddObserver(scene.StartImportEvent, lambda *_: told.append("start")),
        scene.AddObserver(scene.NodeAddedEvent, added),
        scene.AddObserver(scene.EndImportEvent, lambda *_: told.append("end")),
    ]
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: told.append(f"aged {parameters.age:.0f}"))
    slicer.util.loadScene(str(tmp_path / f"scene.{ending}"), {"clear": False})
    for observer in observers:
        scene.RemoveObserver(observer)
    assert (told[0], told[-1]) == ("start", "end")
    places = [told.index(text) for text in ("aged 81", "One came, One is chosen", "Two came, One is chosen")]
    assert places == sorted(places)
    assert scene.GetSingletonNode("HostTrial", "vtkMRMLScriptedModuleNode") is parameters.parameterNode
    assert parameters.age == 81
    assert parameters.volume is selector.currentNode() is slicer.util.getNode("One")


@pytest.mark.parametrize(
    ("field", "value"),
    [("age", 120.0), ("samples", 1.5), ("map", "Blue"), ("window", FloatRange(0, 9)), ("name", None), ("live", 1)],
)
def test_unfit_values_are_refused(parameters, field, value):
    before = getattr(parameters, field)
    with pytest.raises((ValueError, TypeError)):
        setattr(parameters, field, value)
    assert getattr(parameters, field) == before


def test_widgets_and_fields_follow_each_other(parameters):
    widgets = {
        "volume": slicer.qMRMLNodeComboBox(), "age": ctk.ctkSliderWidget(), "samples": qt.QSpinBox(),
        "live": qt.QCheckBox(), "name": qt.QLineEdit(), "map": qt.QComboBox(), "mode": qt.QComboBox(),
        "folder": ctk.ctkPathLineEdit(), "window": ctk.ctkRangeWidget(), "person.age": qt.QDoubleSpinBox(),
    }  # fmt: skip
    widgets["volume"].setMRMLScene(slicer.mrmlScene)
    tag = parameters.connectParametersToGui(widgets)
    one = volume()
    widgets["volume"].setCurrentNode(one)
    widgets["age"].value, widgets["samples"].value, widgets["live"].checked = 60, 4, False
    widgets["name"].text, widgets["map"].currentIndex, widgets["mode"].currentIndex = "b", 1, 0
    widgets["folder"].currentPath, widgets["person.age"].value = "/data", 33
    widgets["window"].setValues(1, 2)
    assert parameters.volume is one
    assert (parameters.age, parameters.samples, parameters.live, parameters.name) == (60, 4, False, "b")
    assert (parameters.map, parameters.mode, parameters.folder) == ("Grey", Mode.FAST, pathlib.Path("/data"))
    assert (parameters.window, parameters.person.age) == (FloatRange(1, 2), 33)
    parameters.window, parameters.age = FloatRange(0, 4), 99.0
    assert (widgets["window"].maximumValue, widgets["age"].value) == (4, 99)
    parameters.disconnectGui(tag)
    widgets["age"].value = 50
    assert parameters.age == 99


@pytest.mark.parametrize(
    ("field", "widget"),
    [("samples", "ctkSliderWidget"), ("age", "ctkDoubleSpinBox"), ("map", "ctkComboBox"), ("below", "ctkSliderWidget")],
)
def test_widgets_without_a_connector_are_refused(parameters, field, widget):
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({field: getattr(ctk, widget)()})


def test_types_that_slicer_refuses_are_refused():
    with pytest.raises(TypeError, match="has no type"):
        parameterNodeWrapper(type("P", (), {"__annotations__": {"age": float | None}}))
