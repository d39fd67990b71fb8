"""The test host itself: the application, the widgets and the scene behave as in Slicer, and are as strict."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import vtk

from host.layouts import WIDGETS as VIEW_WIDGETS
from host.members import RECORD, members
from host.widgets import CTK, QMRML
from host.window import WIDGETS as APPLICATION_WIDGETS
from host_scene import clean_host, volume  # noqa: F401
from loaded import host, slicer
from places import SUPPORT

import ctk  # isort: skip
import qt  # isort: skip

pytestmark = pytest.mark.usefixtures("clean_host")

STAND_INS = (*CTK, *QMRML, *VIEW_WIDGETS, *APPLICATION_WIDGETS)


# ------------------------------------------------------------------------------------------------------- strictness


LISTED = """
import json
import test_host
offered = {}
for stand_in in test_host.STAND_INS:
    meta = stand_in.staticMetaObject
    names = {meta.property(index).name() for index in range(meta.propertyOffset(), meta.propertyCount())}
    names |= {meta.method(index).name().data().decode() for index in range(meta.methodOffset(), meta.methodCount())}
    offered[stand_in.__name__] = sorted(names)
print(json.dumps(offered))
"""


@pytest.fixture(scope="module")
def offered() -> dict[str, list[str]]:
    """Each stand-in's own properties and methods, asked in a process of its own.

    PySide6 takes a meta object for deleted once another object, since deleted, lay at its address.
    """
    if not RECORD.is_file():
        pytest.skip("needs the record of PythonQt's members in ../shared, which is not part of the repository")
    place = {"PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", LISTED], env=os.environ | place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("stand_in", STAND_INS, ids=lambda cls: cls.__name__)
def test_stand_ins_offer_nothing_that_slicer_lacks(stand_in, offered):
    own = {name for name in offered[stand_in.__name__] if not name.startswith("_")}
    assert own | set(stand_in.constants) <= members(stand_in.__name__)


def test_misspelt_names_fail():
    button = qt.QPushButton("Apply")
    with pytest.raises(AttributeError):
        button.nosuchprop = 3
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    with pytest.raises(AttributeError):
        ctk.ctkSliderWidget().setRange(0, 5)
    with pytest.raises(AttributeError):
        slicer.app.nosuch = 1
    with pytest.raises(AttributeError):
        slicer.app.layoutManager().nosuch()
    assert button.connect("nosuch()", print) is False
    assert "no signal nosuch()" in str(host.slot_errors.pop())


def test_values_are_those_of_pythonqt():
    assert qt.Qt.AlignLeft | qt.Qt.AlignTop == 33
    label = qt.QLabel("text")
    label.setAlignment(qt.Qt.AlignRight)
    assert label.alignment & qt.Qt.AlignRight
    label.alignment = qt.Qt.AlignLeft | qt.Qt.AlignTop
    assert label.alignment == 33
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLTableNode"]
    assert selector.nodeTypes == ("vtkMRMLTableNode",)
    parent = qt.QWidget()
    child = qt.QLabel("gone", parent)
    parent.delete()
    with pytest.raises(ValueError, match="destroyed"):
        child.text  # noqa: B018


UI = """<ui version="4.0"><class>W</class><widget class="qMRMLWidget" name="W"><layout class="QVBoxLayout" name="l">
<item><widget class="{widget}" name="w">{setting}</widget></item></layout></widget>{connection}</ui>"""
CONNECTION = """<connections><connection><sender>W</sender><signal>{}</signal><receiver>w</receiver>
<slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections>"""
GOOD = "mrmlSceneChanged(vtkMRMLScene*)"


@pytest.mark.parametrize(
    ("widget", "setting", "signal", "complaint"),
    [
        ("qMRMLTableView", "", GOOD, None),
        ("ctkRangeWidget", '<property name="maximum"><double>5</double></property>', None, None),
        ("ctkNoWidget", "", None, "no stand-in"),
        ("ctkRangeWidget", '<property name="nosuch"><double>5</double></property>', None, "no such property"),
        ("qMRMLTableView", "", "nosuch(vtkMRMLScene*)", "no such signal"),
    ],
)
def test_ui_files_are_checked(tmp_path, widget, setting, signal, complaint):
    connection = CONNECTION.format(signal) if signal else ""
    (tmp_path / "w.ui").write_text(UI.format(widget=widget, setting=setting, connection=connection))
    if complaint:
        with pytest.raises(RuntimeError, match=complaint):
            slicer.util.loadUI(str(tmp_path / "w.ui"))
        host.slot_errors.clear()
        return
    window = slicer.util.loadUI(str(tmp_path / "w.ui"))
    window.setMRMLScene(slicer.mrmlScene)
    if signal:
        assert slicer.util.childWidgetVariables(window).w.mrmlScene() is slicer.mrmlScene


# ---------------------------------------------------------------------------------------------------------- widgets


def test_range_keeps_its_ends_in_order():
    widget, seen = ctk.ctkRangeWidget(), []
    widget.setRange(0, 5)
    widget.connect("valuesChanged(double,double)", lambda low, high: seen.append((low, high)))
    widget.setValues(1, 2.5)
    widget.minimumValue = 4
    widget.maximumValue = 9
    assert seen == [(1, 2.5), (4, 4), (4, 5)]
    assert (widget.minimumValue, widget.maximumValue, widget.minimum, widget.maximum) == (4, 5, 0, 5)


@pytest.mark.parametrize("tracking", [True, False])
def test_dragging_a_slider(tracking):
    slider, final, moving = ctk.ctkSliderWidget(), [], []
    slider.minimum, slider.maximum, slider.singleStep, slider.tracking = 40, 100, 1, tracking
    slider.value = 70
    slider.connect("valueChanged(double)", final.append)
    slider.connect("valueIsChanging(double)", moving.append)
    host.gestures.drag(slider, 71, 75, 90)
    assert (final, moving) == (([71, 75, 90], []) if tracking else ([90], [71, 75, 90]))
    assert slider.value == 90


def test_node_selector_shows_the_nodes_that_fit():
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(slicer.mrmlScene)
    one, two = volume("One"), volume("Two")
    two.SetAttribute("DualGlow.Synthetic", "true")
    host.gestures.choose(selector, "Two")
    assert selector.currentNode() is two
    selector.addAttribute("vtkMRMLScalarVolumeNode", "DualGlow.Synthetic", "false")
    assert (selector.nodeCount(), selector.currentNode()) == (0, None)
    selector.removeAttribute("vtkMRMLScalarVolumeNode", "DualGlow.Synthetic")
    selector.setCurrentNode(one)
    one.SetName("Uno")
    host.gestures.choose(selector, "Uno")
    assert (selector.nodeCount(), selector.currentNode()) == (2, one)
    slicer.mrmlScene.Clear(0)
    assert (selector.nodeCount(), selector.currentNode()) == (0, None)


@pytest.mark.parametrize("with_actions", [True, False], ids=["with actions", "bare"])
@pytest.mark.parametrize("with_none", [True, False], ids=["with None", "without None"])
@pytest.mark.parametrize(
    ("names", "deleted", "expected"),
    [("ABC", "A", "B"), ("ABC", "B", "C"), ("ABC", "C", "B"), ("AB", "B", "A"), ("A", "A", None)],
)
def test_node_selector_goes_to_a_neighbour_when_its_node_goes(names, deleted, expected, with_none, with_actions):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLScalarVolumeNode"], with_none
    selector.addEnabled = selector.removeEnabled = selector.renameEnabled = with_actions
    selector.setMRMLScene(slicer.mrmlScene)
    nodes, heard = {name: volume(name) for name in names}, []
    selector.setCurrentNode(nodes[deleted])
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    slicer.mrmlScene.RemoveNode(nodes[deleted])
    assert selector.currentNode() is nodes.get(expected)
    assert heard[-1] is nodes.get(expected)
    assert selector.nodeCount() == len(names) - 1


def test_node_selector_without_none_takes_the_first_node():
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.addEnabled, selector.removeEnabled = ["vtkMRMLScalarVolumeNode"], False, False
    selector.setMRMLScene(slicer.mrmlScene)
    one, two = volume("One"), volume("Two")
    assert selector.currentNode() is one
    selector.setCurrentNode(two)
    later = slicer.qMRMLNodeComboBox()
    later.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    asked = slicer.qMRMLNodeComboBox()
    asked.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    asked.setCurrentNode(two)
    for box in (later, asked):
        assert not box.enabled
        box.setMRMLScene(slicer.mrmlScene)
        assert box.enabled
    assert (later.currentNode(), asked.currentNode()) == (one, two)


def test_collapsible_boxes_hide_what_is_in_them():
    for box in (ctk.ctkCollapsibleButton(), ctk.ctkCollapsibleGroupBox()):
        layout = qt.QVBoxLayout(box)
        label, hidden = qt.QLabel("in it"), qt.QLabel("never shown")
        layout.addWidget(label)
        layout.addWidget(hidden)
        hidden.visible = False
        box.show()
        for collapsed in (True, False):
            box.collapsed = collapsed
            assert (label.visible, hidden.visible) == (not collapsed, False)
        box.collapsed = True
        with pytest.raises(ValueError, match="not shown"):
            host.gestures.click(label)
        box.hide()


def test_table_view_follows_its_node():
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    view = slicer.qMRMLTableView()
    view.setMRMLTableNode(table)
    slicer.util.updateTableFromArray(table, [np.array([1.5, 2.5])], ["SUVR"])
    table.SetUseColumnTitleAsColumnHeader(True)
    model = view.model()
    assert (model.rowCount(), model.columnCount()) == (2, 1)
    assert [model.index(row, 0).data() for row in range(2)] == ["1.5", "2.5"]
    assert model.headerData(0, qt.Qt.Horizontal) == "SUVR"
    table.GetTable().SetValue(0, 0, vtk.vtkVariant(9.0))
    table.GetTable().Modified()
    assert float(model.index(0, 0).data()) == 9


# ------------------------------------------------------------------------------------------------------ the application


def test_layouts_show_their_views():
    layouts, changed = slicer.app.layoutManager(), []
    assert set(layouts.sliceViewNames()) >= {"Red", "Green", "Yellow"}
    layouts.connect("layoutChanged(int)", changed.append)
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
    assert changed == [slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView] == [layouts.layout]
    assert (layouts.plotViewCount, layouts.threeDViewCount) == (1, 0)
    chart = slicer.util.plot(np.arange(6.0).reshape(3, 2), xColumnIndex=0)
    assert layouts.plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() == chart.GetID()
    controller = layouts.sliceWidget("Red").sliceController()
    controller.setSliceOffsetValue(12.5)
    assert layouts.sliceWidget("Red").mrmlSliceNode().GetSliceOffset() == pytest.approx(12.5)


FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
import host
slicer = host.start()
import numpy as np
import vtk
started = []
slicer.app.connect("startupCompleted()", lambda: started.append("modules that were loaded"))
assert started == []
host.pump(timeout=0.01)
slicer.app.connect("startupCompleted()", lambda: started.append("too late"))
host.pump(timeout=0.01)
print(started)
assert host.views.unavailable()
volume = slicer.util.addVolumeFromArray(np.ones((3, 4, 5)), name="T1")
slicer.util.setSliceViewerLayers(background=volume, foreground=volume, fit=True)
legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(volume)
layouts = slicer.app.layoutManager()
layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeByThreeSliceView)
for name in layouts.sliceViewNames():
    view = layouts.sliceWidget(name).sliceView()
    renderer = view.renderWindow().GetRenderers().GetFirstRenderer()
    actor = vtk.vtkTextActor()
    actor.SetInput("SYNTHETIC")
    renderer.AddViewProp(actor)
    assert renderer.HasViewProp(actor)
    view.cornerAnnotation().SetText(0, "mark")
    view.scheduleRender()
    view.forceRender()
    renderer.RemoveViewProp(actor)
try:
    host.views.render("Red")
except RuntimeError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere graphics can't be taken away")
def test_a_fresh_application_tells_of_its_start_and_needs_no_graphics(tmp_path):
    nowhere = {
        "__EGL_VENDOR_LIBRARY_FILENAMES": str(tmp_path / "absent.json"),
        "VTK_DEFAULT_OPENGL_WINDOW": "vtkEGLRenderWindow",
    }
    folder = str(SUPPORT)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, folder], env=os.environ | nowhere, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "['modules that were loaded']" in done.stdout
    assert "can't render offscreen" in done.stdout


def test_settings_and_files_lie_in_a_temporary_folder():
    settings = qt.QSettings()
    settings.setValue("DualGlow/models", "/models")
    assert slicer.util.settingsValue("DualGlow/models", "") == "/models"
    assert slicer.util.settingsValue("DualGlow/absent", 3, converter=int) == 3
    folder = pathlib.Path(slicer.app.temporaryPath).parent
    for path in (settings.fileName(), slicer.app.revisionUserSettings().fileName(), slicer.util.tempDirectory()):
        assert folder in pathlib.Path(path).parents
    settings.remove("DualGlow/models")


@pytest.mark.parametrize("name", ["pet.nii.gz", "pet.nrrd"])
def test_volumes_are_written_and_read(tmp_path, name):
    node = volume(shift=0.5)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 10)
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert slicer.util.exportNode(node, str(tmp_path / f"world_{name}"), {}, world=True)
    assert slicer.util.saveNode(node, str(tmp_path / name), {})
    assert node.GetStorageNode().GetFileName() == str(tmp_path / name)
    for file, shift in ((name, 0), (f"world_{name}", 10)):
        read = slicer.util.loadVolume(str(tmp_path / file))
        assert np.array_equal(slicer.util.arrayFromVolume(read), slicer.util.arrayFromVolume(node))
        assert read.GetOrigin() == pytest.approx((shift, 0, 0))
        assert read.GetSpacing() == pytest.approx((1, 2, 3))
    assert node.GetOrigin() == (0, 0, 0)
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "absent.nii.gz"))


def test_tables_are_written_and_read(tmp_path):
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Regions")
    slicer.util.updateTableFromArray(table, [np.array([1.5, 2.5])], ["SUVR"])
    assert slicer.util.exportNode(table, str(tmp_path / "regions.csv"), {})
    assert (tmp_path / "regions.csv").read_text().split() == ['"SUVR"', "1.5", "2.5"]
    assert table.GetStorageNode() is None  # exported, not saved


def test_volumes_have_items_in_the_subject_hierarchy(tmp_path):
    one, two = volume("One"), volume("Two")
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(one), study)
    slicer.mrmlScene.RemoveNode(two)
    assert [hierarchy.GetItemName(item) for item in slicer.util.getSubjectHierarchyItemChildren()] == ["Study"]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.GetItemByDataNode(slicer.util.getNode("One"))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "Study"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSubjectHierarchyNode") == 1


def test_deleting_a_branch_of_the_subject_hierarchy_deletes_its_nodes():
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    selector.setMRMLScene(slicer.mrmlScene)
    one, _two, other = volume("One"), volume("Two"), volume("Other")
    selector.setCurrentNode(one)
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    for name in ("One", "Two"):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(slicer.util.getNode(name)), study)
    assert hierarchy.RemoveItem(study)
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["Other"]
    assert [hierarchy.GetItemName(item) for item in slicer.util.getSubjectHierarchyItemChildren()] == ["Other"]
    assert selector.currentNode() is other


@pytest.mark.parametrize("name", ["scene.mrb", "scene.mrml", "folder"])
def test_scenes_are_written_to_new_folders_and_read(tmp_path, name):
    node = volume("One", shift=0.5)
    path = tmp_path / "new" / "folder" / name
    node.AddDefaultStorageNode()
    if name == "scene.mrml":  # its volumes are saved by themselves
        assert slicer.util.saveNode(node, str(path.parent / "One.nrrd"))
    assert slicer.util.saveScene(str(path))
    modified = node.GetModifiedSinceRead()
    assert modified is (name == "scene.mrb")  # so that saving it to a folder later writes it
    if name != "folder":
        assert pathlib.Path(slicer.mrmlScene.GetRootDirectory()) == path.parent
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    changed = []
    slicer.app.layoutManager().connect("layoutChanged(int)", changed.append)
    slicer.util.loadScene(str(path / "folder.mrml" if name == "folder" else path), {"clear": True})
    slicer.app.layoutManager().disconnect("layoutChanged(int)", changed.append)
    assert changed[-1] == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView == slicer.app.layoutManager().layout
    read = slicer.util.getNode("One")
    assert np.array_equal(slicer.util.arrayFromVolume(read).ravel(), np.arange(60) + 0.5)
    (tmp_path / "file").touch()
    assert not slicer.util.saveScene(str(tmp_path / "file" / name))


def test_message_boxes_are_skipped_unless_a_test_answers_them():
    assert slicer.app.testingEnabled()
    assert not slicer.util.confirmOkCancelDisplay("Delete?")  # Slicer says otherwise, but compares True with a button
    with host.gestures.answering("OK") as asked:
        assert slicer.util.confirmOkCancelDisplay("Delete all?", windowTitle="Trial")
    with host.gestures.answering("Cancel") as again:
        assert not slicer.util.confirmOkCancelDisplay("Delete this?")
    assert (asked, again) == (["Delete all?"], ["Delete this?"])
    with pytest.raises(ValueError, match="no button 'Perhaps'"), host.gestures.answering("Perhaps"):
        slicer.util.confirmYesNoDisplay("Sure?")
    assert slicer.app.testingEnabled()


def test_sequence_browser_shows_the_chosen_item():
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "Ages")
    for age in (50, 60, 70):
        node = volume(shift=age)
        sequence.SetDataNodeAtValue(node, str(age))
        slicer.mrmlScene.RemoveNode(node)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    for index, age in enumerate((50, 60, 70)):
        browser.SetSelectedItemNumber(index)
        assert slicer.util.arrayFromVolume(browser.GetProxyNode(sequence))[0, 0, 0] == age


def test_tool_bar_of_sequences_is_hidden_until_it_is_shown(tmp_path):
    module, bar = slicer.modules.sequences, slicer.modules.sequences.toolBar()
    module.setToolBarVisible(False)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    assert bar.activeBrowserNode() is None
    bar.setActiveBrowserNode(browser)
    assert (bar.activeBrowserNode(), bar.visible, module.isToolBarVisible()) == (browser, False, False)
    module.autoShowToolBar = False
    assert module.showSequenceBrowser(browser)
    assert not bar.visible
    module.autoShowToolBar = True
    assert module.showSequenceBrowser(browser)
    assert (bar.visible, module.toolBarVisible) == (True, True)
    bar.visible = False
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert bar.activeBrowserNode() is None
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert host.pump(until=lambda: bar.visible)
    assert bar.activeBrowserNode().GetName() == "Browser"
    module.setToolBarVisible(False)


MODULE = """
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
class HostTrial(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Trial"
class HostTrialWidget(ScriptedLoadableModuleWidget):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.calls = []
    def enter(self): self.calls.append("enter")
    def exit(self): self.calls.append("exit")
    def cleanup(self): self.calls.append("cleanup")
    def setup(self): self.calls.append("{word}")
"""


def test_modules_are_selected_left_and_reloaded(tmp_path, monkeypatch):
    path = tmp_path / "HostTrial.py"
    path.write_text(MODULE.replace("{word}", "setup"))
    host.load(path)
    slicer.util.selectModule("HostTrial")
    first = slicer.modules.HostTrialWidget
    assert (first.parent.visible, first.parent.width) == (True, host.PANEL_WIDTH)
    slicer.util.selectModule("Volumes")
    assert not first.parent.visible
    assert first.calls == ["setup", "enter", "exit"]
    assert slicer.util.selectedModule() == "Volumes"
    path.write_text(MODULE.replace("{word}", "setup again"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    slicer.util.reloadScriptedModule("HostTrial")
    second = slicer.modules.HostTrialWidget
    assert second.calls == ["setup again"]
    assert second.parent == first.parent
    slicer.util.selectModule("HostTrial")
    slicer.util.reloadScriptedModule("HostTrial")  # while it is shown: it is neither left nor entered
    third = slicer.modules.HostTrialWidget
    assert third.parent.isEntered
    slicer.modules.hosttrial.close(third)
    assert first.calls == ["setup", "enter", "exit", "cleanup"]
    assert second.calls == ["setup again", "enter", "cleanup"]
    assert third.calls == ["setup again", "exit", "cleanup"]


def test_a_window_is_as_wide_as_the_module_panel_unless_it_needs_more(tmp_path):
    path = tmp_path / "HostPanelTrial.py"
    setup = """
        import qt
        self.table = qt.QTableWidget(2, 4)
        self.layout.addWidget(self.table)
        self.button = qt.QPushButton("x")
        self.layout.addWidget(self.button)"""
    text = MODULE.replace("HostTrial", "HostPanelTrial").replace('self.calls.append("{word}")', setup)
    path.write_text(text)
    module = host.load(path)
    widget = module.open()
    assert widget.table.viewport().width < host.PANEL_WIDTH == widget.table.width == widget.button.width
    assert sum(widget.table.columnWidth(column) for column in range(4)) > widget.table.viewport().width  # cut
    widget.button.setMinimumWidth(500)
    host.lay_out(widget.parent)
    assert widget.parent.width == 500
    module.close(widget)


def test_gaps_of_the_event_loop_are_measured():
    with host.Gaps() as gaps:
        assert host.pump(until=lambda: gaps.calls >= 5)
        time.sleep(0.2)
        host.pump(timeout=0.02)
    assert gaps.longest >= 0.2
    assert not host.pump(until=lambda: False, timeout=0.01)
