"""The test host draws slice views as Slicer does: what is seen lies where the geometry says."""

from __future__ import annotations

import os

import numpy as np
import pytest
import vtk
from PySide6.QtGui import QFontMetrics, QImage
from PySide6.QtWidgets import QLabel

import screenshots
from loaded import ROOT, host, slicer

T1 = ROOT / "Resources" / "Template" / "mni152_t1.nii.gz"
VIEWS = ("Red", "Green", "Yellow")
SIZE = (360, 300)  # width, height


@pytest.fixture(autouse=True)
def _rendering():
    reason = host.views.unavailable()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    slicer.mrmlScene.Clear(0)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    host.slot_errors.clear()
    yield
    assert host.slot_errors == []


def turned(x: float, y: float, z: float, shift: tuple[float, float, float]) -> vtk.vtkMatrix4x4:
    transform = vtk.vtkTransform()
    transform.Translate(shift)
    transform.RotateX(x)
    transform.RotateY(y)
    transform.RotateZ(z)
    return transform.GetMatrix()


def head(oblique: bool):
    """The template's T1; oblique: with turned axes, and under a transform that turns it further."""
    volume = slicer.util.loadVolume(str(T1))
    if oblique:
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        vtk.vtkMatrix4x4.Multiply4x4(turned(15, -10, 20, (12, -8, 5)), matrix, matrix)
        volume.SetIJKToRASMatrix(matrix)
        parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Parent")
        parent.SetMatrixTransformToParent(turned(-8, 12, 0, (-3, 9, 4)))
        volume.SetAndObserveTransformNodeID(parent.GetID())
    return volume


def overlay(volume, voxels: np.ndarray, threshold: float):
    """A volume on the lattice of another, in PET-Heat over it; below the threshold it is transparent."""
    pet = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, volume, "PET")
    slicer.util.updateVolumeFromArray(pet, voxels.astype(np.float32))
    display = pet.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLPETProceduralColorNodePET-Heat")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, float(voxels.max()))
    display.SetThreshold(threshold, float(voxels.max()))
    display.ApplyThresholdOn()
    display.SetInterpolate(False)
    slicer.util.setSliceViewerLayers(background=volume, foreground=pet, foregroundOpacity=1, fit=True)
    return pet


def ijk_to_world(volume) -> np.ndarray:
    matrix, parent = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    if volume.GetParentTransformNode():
        volume.GetParentTransformNode().GetMatrixTransformToWorld(parent)
    return slicer.util.arrayFromVTKMatrix(parent) @ slicer.util.arrayFromVTKMatrix(matrix)


def colored(picture: np.ndarray) -> np.ndarray:
    """Where a picture is not grey."""
    return np.ptp(picture.astype(int), axis=-1) > 8


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("oblique", [False, True], ids=["straight", "oblique"])
def test_marker_lands_where_the_geometry_says(view, oblique):
    volume = head(oblique)
    voxels = np.zeros_like(slicer.util.arrayFromVolume(volume))
    i, j, k = 60, 140, 110
    voxels[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = 100
    voxels[0, 0, 0] = 200  # red, not white, is the marker
    overlay(volume, voxels, 50)
    ras = (ijk_to_world(volume) @ [i, j, k, 1])[:3]
    host.views.position(view, ras)
    marker = np.argwhere(colored(host.views.render(view, *SIZE)))
    assert len(marker) > 20
    assert np.abs(marker.mean(axis=0) - host.views.rasToPixel(view, ras)).max() <= 1
    assert np.allclose(host.views.pixelToRas(view, *host.views.rasToPixel(view, ras)), ras, atol=1)
    host.views.position(view, ras + 20)
    assert not colored(host.views.render(view, *SIZE)).any()


def test_views_are_turned_as_in_slicer():
    head(False)
    slicer.util.resetSliceViews()
    pixel = {view: (lambda *ras, view=view: host.views.rasToPixel(view, ras)) for view in VIEWS}
    for view in VIEWS:
        host.views.render(view, *SIZE)
    assert pixel["Red"](50, 0, 0)[1] < pixel["Red"](-50, 0, 0)[1]  # the patient's right is on the left
    assert pixel["Red"](0, 50, 0)[0] < pixel["Red"](0, -50, 0)[0]  # the front is on top
    assert pixel["Green"](50, 0, 0)[1] < pixel["Green"](-50, 0, 0)[1]
    assert pixel["Green"](0, 0, 50)[0] < pixel["Green"](0, 0, -50)[0]
    assert pixel["Yellow"](0, 50, 0)[1] < pixel["Yellow"](0, -50, 0)[1]
    assert pixel["Yellow"](0, 0, 50)[0] < pixel["Yellow"](0, 0, -50)[0]


@pytest.mark.parametrize("view", VIEWS)
def test_edge_of_an_overlay_lies_on_the_edge_of_its_voxels(view):
    volume = head(True)
    brain = slicer.util.arrayFromVolume(volume) > 60
    overlay(volume, brain * 100.0, 50)
    shown = colored(host.views.render(view, *SIZE)) | (host.views.render(view, *SIZE).min(axis=-1) > 250)
    points = host.views.pixelToRas(view, *np.indices(SIZE[::-1]))
    world = np.linalg.inv(ijk_to_world(volume))
    i, j, k = np.moveaxis(np.rint(points @ world[:3, :3].T + world[:3, 3]).astype(int), -1, 0)
    inside = np.all([i >= 0, j >= 0, k >= 0], axis=0)
    inside &= (k < brain.shape[0]) & (j < brain.shape[1]) & (i < brain.shape[2])
    expected = np.zeros_like(shown)
    expected[inside] = brain[k[inside], j[inside], i[inside]]
    assert expected.mean() > 0.15
    assert (shown & expected).sum() / (shown | expected).sum() > 0.985


def test_opacity_blends_the_layers():
    volume = head(False)
    pet = overlay(volume, slicer.util.arrayFromVolume(volume), 60)
    host.views.position("Red", (0, 0, 20))
    pictures = []
    for opacity in (0.0, 0.5, 1.0):
        slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)
        picture = host.views.render("Red", *SIZE).astype(int)
        pictures.append(picture[: SIZE[1] * 5 // 6])  # below it, the opacity is written in words
    assert not colored(pictures[0]).any()
    assert np.abs(pictures[1] - (pictures[0] + pictures[2]) / 2).max() <= 2
    pet.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileInferno.txt")
    assert np.abs(host.views.render("Red", *SIZE)[: len(pictures[2])] - pictures[2]).max() > 50


def test_legend_is_drawn_beside_the_brain():
    volume = head(False)
    pet = overlay(volume, slicer.util.arrayFromVolume(volume), 60)
    bare = host.views.render("Red", *SIZE)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(pet)
    legend.SetTitleText("SUVR")
    legend.SetLabelFormat("%.1f")
    drawn = host.views.render("Red", *SIZE)
    rows, columns = np.nonzero(np.abs(drawn.astype(int) - bare).max(axis=-1) > 30)
    assert columns.min() > 0.7 * SIZE[0]  # at the right
    assert np.ptp(rows) > 0.3 * SIZE[1]
    assert (drawn[:, columns.min() :].min(axis=-1) > 200).sum() > 100  # white letters
    assert len(np.unique(drawn[rows, columns], axis=0)) > 50  # a ramp of colours
    legend.SetTitleText("FDG uptake")
    assert not np.array_equal(host.views.render("Red", *SIZE), drawn)
    slicer.mrmlScene.RemoveNode(legend)
    assert np.array_equal(host.views.render("Red", *SIZE), bare)


def test_legend_does_not_see_that_code_shows_another_volume():
    """Slicer's own displayable manager looks again when the user chooses a layer, or when the legend is modified."""
    volume = head(False)
    pet = overlay(volume, slicer.util.arrayFromVolume(volume), 60)
    other = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, volume, "Other")
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    composite = logic.GetSliceCompositeNode()
    composite.SetForegroundVolumeID(other.GetID())
    bare = host.views.render("Red", *SIZE)
    composite.SetForegroundVolumeID(pet.GetID())
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(pet)

    def is_drawn() -> bool:
        return bool((host.views.render("Red", *SIZE) != bare)[:, SIZE[0] * 3 // 4 :].any())

    for shown in (other.GetID(), None):
        composite.SetForegroundVolumeID(shown)
        assert is_drawn()
    legend.Modified()
    assert not is_drawn()
    for shown in (pet, other):
        logic.StartSliceCompositeNodeInteraction(composite.ForegroundVolumeFlag)
        composite.SetForegroundVolumeID(shown.GetID())
        logic.EndSliceCompositeNodeInteraction()
        assert is_drawn() is (shown is pet)


def test_a_scene_looks_the_same_after_saving_closing_and_loading(tmp_path):
    volume = head(True)
    pet = overlay(volume, slicer.util.arrayFromVolume(volume), 60)
    slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(pet)
    host.views.position("Green", (5, 10, 15))
    before = [host.views.render(view, *SIZE) for view in VIEWS]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert all(host.views.render(view, *SIZE).max() == 0 for view in VIEWS)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    for view, picture in zip(VIEWS, before, strict=True):
        different = np.abs(host.views.render(view, *SIZE).astype(int) - picture).max(axis=-1) > 2
        assert different.mean() < 1e-3  # matrices are saved with fewer digits


def test_only_views_of_the_layout_can_be_drawn():
    layouts = slicer.app.layoutManager()
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert host.views.render("Red", 100, 80).shape == (80, 100, 3)
    with pytest.raises(ValueError, match="no view Green"):
        host.views.render("Green")


def test_text_in_a_corner_of_a_view():
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    bare = host.views.render("Red", *SIZE)
    view.cornerAnnotation().SetText(vtk.vtkCornerAnnotation.LowerLeft, "Synthetic")
    written = host.views.render("Red", *SIZE)
    view.cornerAnnotation().ClearAllTexts()
    rows, columns = np.nonzero((written != bare).any(axis=-1))
    assert rows.min() > SIZE[1] / 2
    assert columns.max() < SIZE[0] / 2


def test_corners_are_written_over_when_a_view_shows_something_else():
    volume = head(False)
    overlay(volume, slicer.util.arrayFromVolume(volume), 60)
    view = slicer.app.layoutManager().sliceWidget("Red")
    host.views.render("Red", *SIZE)
    annotation = view.sliceView().cornerAnnotation()
    for corner in range(4):
        annotation.SetText(corner, "Synthetic")
    view.mrmlSliceCompositeNode().SetForegroundOpacity(0.25)
    assert [annotation.GetText(corner) for corner in range(4)] == ["F: PET (25%)\nB: mni152_t1\n", "", "", ""]
    bare = host.views.render("Red", *SIZE)
    view.overlayCornerAnnotation().SetText(vtk.vtkCornerAnnotation.UpperLeft, "Synthetic")
    assert (host.views.render("Red", *SIZE) != bare)[: SIZE[1] // 2, : SIZE[0] // 2].any()
    view.overlayCornerAnnotation().ClearAllTexts()


def test_what_is_added_to_the_renderer_of_a_view_is_drawn():
    layouts, texts = slicer.app.layoutManager(), {}

    def renderer(name: str) -> vtk.vtkRenderer:
        return layouts.sliceWidget(name).sliceView().renderWindow().GetRenderers().GetFirstRenderer()

    def mark(_layout: int = 0) -> None:
        for name in set(layouts.sliceViewNames()) - set(texts):
            texts[name] = vtk.vtkTextActor()
            texts[name].SetInput("SYNTHETIC")
            texts[name].SetPosition(10, 10)
            renderer(name).AddViewProp(texts[name])
            layouts.sliceWidget(name).sliceView().scheduleRender()

    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.setSliceViewerLayers(background=head(False), fit=True)
    mark()
    before = set(texts)
    layouts.connect("layoutChanged(int)", mark)
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeByThreeSliceView)
    layouts.disconnect("layoutChanged(int)", mark)
    new = sorted(set(texts) - before)
    assert len(new) == 6
    for name in ("Red", new[0]):
        assert layouts.sliceWidget(name).mrmlSliceNode().IsMappedInLayout()
        drawn = host.views.render(name, *SIZE)
        texts[name].VisibilityOff()
        rows, columns = np.nonzero((host.views.render(name, *SIZE) != drawn).any(axis=-1))
        assert rows.min() > SIZE[1] - 40
        assert columns.max() < SIZE[0] / 2
    for name, text in texts.items():
        renderer(name).RemoveViewProp(text)


def test_screenshot_shows_the_window_and_the_views(tmp_path):
    import qt

    volume = head(False)
    overlay(volume, slicer.util.arrayFromVolume(volume), 60)
    panel = qt.QWidget()
    layout = qt.QVBoxLayout(panel)
    layout.addWidget(qt.QPushButton("Synthesize"))
    picture = QImage(str(screenshots.shot(panel, tmp_path / "new" / "window.png", size=(600, 400))))
    assert (picture.width(), picture.height()) == (host.PANEL_WIDTH + 2 + 600, 400)
    assert picture.pixelColor(host.PANEL_WIDTH + 2 + 4, 2).name() == "#f34a33"  # the bar of the view Red
    letters = QFontMetrics(QLabel().font())
    assert letters.horizontalAdvance("iiii") < letters.horizontalAdvance("WWWW") / 2  # letters, not boxes
