"""Small helpers of the window: a combo box of values, and what DICOM tells of the patient."""

from collections.abc import Callable, Iterable
from typing import Any

import slicer

__all__ = ["Chooser", "dicomFacts", "instancesOf"]


class Chooser:
    """A combo box whose titles stand for values; ``onChosen(value)`` hears the user, not ``show``."""

    def __init__(self, box, onChosen: Callable[[Any], None]) -> None:
        self._box, self._onChosen, self._values = box, onChosen, []
        box.connect("currentIndexChanged(int)", self._changed)

    def fill(self, choices: Iterable[tuple[str, Any]]) -> None:
        """Offer these (title, value); the shown value stays if it is among them."""
        choices = list(choices)
        titles = [title for title, _value in choices]
        if [value for _title, value in choices] == self._values and titles == self._titles():
            return
        before = self.value
        blocked = self._box.blockSignals(True)
        self._box.clear()
        for title in titles:
            self._box.addItem(title)
        self._values = [value for _title, value in choices]
        self._box.blockSignals(blocked)
        self.show(before)

    def _titles(self) -> list[str]:
        return [self._box.itemText(index) for index in range(self._box.count)]

    @property
    def values(self) -> list:
        return list(self._values)

    @property
    def value(self) -> Any:
        index = self._box.currentIndex
        return self._values[index] if 0 <= index < len(self._values) else None

    def show(self, value: Any) -> None:
        """Select a value, the first if it is not among them."""
        blocked = self._box.blockSignals(True)
        self._box.setCurrentIndex(self._values.index(value) if value in self._values else 0 if self._values else -1)
        self._box.blockSignals(blocked)

    def _changed(self, index: int) -> None:
        if 0 <= index < len(self._values):
            self._onChosen(self._values[index])


def instancesOf(volumeNode) -> list[str]:
    """The DICOM instances that a volume was loaded from, as far as Slicer says so."""
    return (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split() if volumeNode else []


def dicomFacts(volumeNode) -> dict:
    """``age`` in years and ``sex`` (F, M) of the patient, as far as the series says; {} for other volumes."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = instancesOf(volumeNode)
    if not instances or database is None:
        return {}
    facts = {}
    age = database.instanceValue(instances[0], "0010,1010").strip()  # as 072Y; in children days, weeks or months
    if age.endswith("Y") and age[:-1].isdigit():
        facts["age"] = float(age[:-1])
    sex = database.instanceValue(instances[0], "0010,0040").strip()
    if sex in ("F", "M"):
        facts["sex"] = sex
    return facts
