"""Stand-ins of the sliders and spin boxes for real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Property, Qt, Signal, Slot
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QDoubleSpinBox, QSizePolicy, QSlider, QWidget

from .pythonqt import StandIn
from .standins import row, stored

__all__ = ["CTK", "QMRML"]


def _of_spin_box(kind: type, name: str) -> Property:
    """The property of the slider's spin box, from which the slider takes its steps."""
    setter = f"set{name[0].upper()}{name[1:]}"

    def write(self: Any, value: Any) -> None:
        getattr(self._spin, setter)(value)
        self._match()

    return Property(kind, lambda self: getattr(self._spin, name)(), write)


class ctkSliderWidget(StandIn, QWidget):
    """Slider and spin box. Without ``tracking``, a drag gives valueIsChanging, and its end valueChanged."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    constants = dict(NoSynchronize=0, SynchronizeWidth=1, SynchronizeDecimals=2, SynchronizeSiblings=3)  # noqa: C408, RUF012

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Orientation.Horizontal), QDoubleSpinBox()
        self._before: float | None = None  # the value when a drag began
        self._slider.valueChanged.connect(self._slid)
        self._slider.sliderPressed.connect(self._pressed)
        self._slider.sliderReleased.connect(self._released)
        self._spin.valueChanged.connect(self._spun)
        row(self, self._slider, self._spin)
        self._match()

    def _match(self) -> None:
        """Give the slider a step for each step of the spin box, and the position that fits best."""
        low, high, step = self._spin.minimum(), self._spin.maximum(), self._spin.singleStep()
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(0, min(max(1, round((high - low) / (step or 1))), 1_000_000))
        self._slider.setValue(round((self._spin.value() - low) / (high - low or 1) * self._slider.maximum()))
        self._slider.blockSignals(blocked)

    def _slid(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + (high - low) * position / self._slider.maximum())

    def _spun(self, value: float) -> None:
        if not self._slider.isSliderDown():
            self._match()
        if not self.tracking:
            self.valueIsChanging.emit(value)
        if self.tracking or self._before is None:
            self.valueChanged.emit(value)

    def _pressed(self) -> None:
        self._before = None if self.tracking else self._spin.value()

    def _released(self) -> None:
        before, self._before = self._before, None
        if before is not None and before != self._spin.value():
            self.valueChanged.emit(self._spin.value())

    value = _of_spin_box(float, "value")
    minimum = _of_spin_box(float, "minimum")
    maximum = _of_spin_box(float, "maximum")
    singleStep = _of_spin_box(float, "singleStep")
    decimals = _of_spin_box(int, "decimals")
    suffix = _of_spin_box(str, "suffix")
    prefix = _of_spin_box(str, "prefix")
    pageStep = stored(float, 10.0)
    tracking = stored(bool, True)
    tickInterval = stored(float, 0.0)
    spinBoxVisible = Property(
        bool, lambda self: not self._spin.isHidden(), lambda self, value: self._spin.setVisible(value)
    )

    @Slot(float)
    def setValue(self, value: float) -> None:
        self.value = value

    @Slot(int)
    def setDecimals(self, decimals: int) -> None:
        self.decimals = decimals

    @Slot(bool)
    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin.setVisible(visible)

    @Slot()
    def reset(self) -> None:
        self.value = 0.0


class _Bar(QWidget):
    """The part of a range that is chosen, drawn between its ends."""

    def __init__(self, parent: ctkRangeWidget) -> None:
        super().__init__(parent)
        self.setMinimumSize(60, 16)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: Any) -> None:
        owner, painter = self.parent(), QPainter(self)
        low, high = owner.minimum, owner.maximum
        left, right = ((value - low) / (high - low or 1) * self.width() for value in owner.ends)
        middle = self.height() // 2
        painter.fillRect(0, middle - 2, self.width(), 4, self.palette().mid())
        painter.fillRect(round(left), middle - 2, max(1, round(right - left)), 4, self.palette().highlight())
        for end in (left, right):
            painter.fillRect(min(max(0, round(end) - 3), self.width() - 6), middle - 7, 6, 14, self.palette().dark())


def _of_both(kind: type, name: str, spin: str = "_low") -> Property:
    """A property that the two spin boxes share."""
    setter = f"set{name[0].upper()}{name[1:]}"

    def write(self: Any, value: Any) -> None:
        for box in (self._low, self._high):
            getattr(box, setter)(value)

    return Property(kind, lambda self: getattr(getattr(self, spin), name)(), write)


class ctkRangeWidget(StandIn, QWidget):
    """Two spin boxes and a bar; the lower value never exceeds the upper one."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueIsChanging = Signal(float)
    rangeChanged = Signal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._low, self._high = QDoubleSpinBox(), QDoubleSpinBox()
        self._bounds, self.ends = (0.0, 99.0), (0.0, 99.0)
        for box in (self._low, self._high):
            box.setRange(*self._bounds)
        self._high.setValue(99.0)
        self._low.valueChanged.connect(lambda value: self.setValues(value, max(value, self.ends[1])))
        self._high.valueChanged.connect(lambda value: self.setValues(min(value, self.ends[0]), value))
        row(self, self._low, _Bar(self), self._high)

    @Slot(float, float)
    def setValues(self, low: float, high: float) -> None:
        decimals = self._low.decimals()
        low, high = (
            round(min(max(value, self._bounds[0]), self._bounds[1]), decimals) for value in sorted((low, high))
        )
        before, self.ends = self.ends, (low, high)
        for box, value in ((self._low, low), (self._high, high)):
            blocked = box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(blocked)
        self.update()
        if low != before[0]:
            self.minimumValueChanged.emit(low)
        if high != before[1]:
            self.maximumValueChanged.emit(high)
        if self.ends != before:
            self.valuesChanged.emit(low, high)

    @Slot(float)
    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self.ends[1]))

    @Slot(float)
    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self.ends[0]), value)

    @Slot(float, float)
    def setRange(self, low: float, high: float) -> None:
        changed, self._bounds = self._bounds != (low, high), (low, high)
        for box in (self._low, self._high):
            blocked = box.blockSignals(True)
            box.setRange(low, high)
            box.blockSignals(blocked)
        if changed:
            self.rangeChanged.emit(low, high)
        self.setValues(*self.ends)

    @Slot(int)
    def setDecimals(self, decimals: int) -> None:
        self.decimals = decimals

    @Slot()
    def reset(self) -> None:
        self.setValues(*self._bounds)

    minimumValue = Property(float, lambda self: self.ends[0], lambda self, value: self.setMinimumValue(value))
    maximumValue = Property(float, lambda self: self.ends[1], lambda self, value: self.setMaximumValue(value))
    minimum = Property(
        float, lambda self: self._bounds[0], lambda self, low: self.setRange(low, max(low, self._bounds[1]))
    )
    maximum = Property(
        float, lambda self: self._bounds[1], lambda self, high: self.setRange(min(high, self._bounds[0]), high)
    )
    decimals = _of_both(int, "decimals")
    singleStep = _of_both(float, "singleStep")
    suffix = _of_both(str, "suffix")
    prefix = _of_both(str, "prefix")
    tracking = stored(bool, True)
    symmetricMoves = stored(bool, False)


class ctkDoubleSpinBox(StandIn, QDoubleSpinBox):
    """The values are set as in Qt's spin box; what CTK adds for decimals is kept and does nothing."""

    decimalsChanged = Signal(int)

    constants = dict(  # noqa: C408, RUF012
        SetAlways=0, SetIfDifferent=1, FixedDecimals=0, DecimalsByShortcuts=1, DecimalsByKey=2, DecimalsByValue=4,
        ReplaceDecimals=8, InsertDecimals=16, DecimalsAsMin=32, DecimalsAsMax=64,
    )  # fmt: skip

    decimalsOption = stored(int, 0)

    @Slot(float)
    def setValueIfDifferent(self, value: float) -> None:
        self.setValue(value)


def _scene_part(base: type, name: str, document: str) -> type:
    """A widget of qMRML that adds to one of CTK a scene, of which it would take units."""

    def set_scene(self: Any, scene: Any) -> None:
        self._scene = scene

    def scene(self: Any) -> Any:
        return getattr(self, "_scene", None)

    body: dict[str, Callable | Property] = {
        "setMRMLScene": Slot(object, name="setMRMLScene")(set_scene),
        "mrmlScene": Slot(result=object, name="mrmlScene")(scene),
        "quantity": stored(str, ""),
        "__doc__": document,
        "__module__": __name__,
    }
    return type(name, (base,), body)


qMRMLSliderWidget = _scene_part(ctkSliderWidget, "qMRMLSliderWidget", "A slider with the scene's units.")
qMRMLRangeWidget = _scene_part(ctkRangeWidget, "qMRMLRangeWidget", "A range with the scene's units.")
qMRMLSpinBox = _scene_part(ctkDoubleSpinBox, "qMRMLSpinBox", "A spin box with the scene's units.")

CTK = (ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget)
QMRML = (qMRMLRangeWidget, qMRMLSliderWidget, qMRMLSpinBox)
