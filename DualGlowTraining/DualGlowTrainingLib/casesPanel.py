"""The section on the cases: which can be used, who they are, and how their preparation looks."""

import json
from contextlib import suppress
from pathlib import Path

import qt
from slicer.i18n import tr as _

from DualGlowLib.cohorts.demographics import ages_by_decade, demographics
from DualGlowSlicerLib.background import Background
from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import asTip, showingErrors

from . import charts
from .programs import COMMAND_LINE, Program

__all__ = ["CasesPanel"]

_ROWS = 100  # of the table that are filled at once
_PICTURE = 340  # px
_MANIFEST = "manifest.json"  # of prepared cases


class CasesPanel:
    """``onChanged`` is called when other cases are chosen or were looked at."""

    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._program = self._finding = self._prepared = None
        self._list, self._shown, self._filled = [], [], 0
        self.report = {}
        """What ``validate`` said of the folder; {} before."""
        ui = self._ui
        self._which = Chooser(ui.whichBox, lambda _value: self._filter())
        self._which.fill([(_("all"), ""), (_("usable"), "yes"), (_("not usable"), "no")])
        ui.casesTable.setHorizontalHeaderLabels((_("Case"), _("Age, sex, diagnosis"), _("Usable")))
        ui.casesPath.connect("currentPathChanged(QString)", self._onPath)
        ui.checkCasesButton.connect("clicked(bool)", self._onCheck)
        ui.filterEdit.connect("textChanged(QString)", lambda _text: self._filter())
        ui.casesTable.connect("itemSelectionChanged()", self._onSelected)
        ui.agesButton.connect("clicked(bool)", self._onAges)
        self._clear()

    @property
    def folder(self) -> str:
        return self._ui.casesPath.currentPath.strip()

    def _clear(self) -> None:
        self.report, self._list, self._prepared = {}, [], None
        self._ui.foundLabel.text = _("Check which cases can be used, and who they are.")
        self._filter()
        for widget in (self._ui.casesBox, self._ui.agesButton):
            widget.visible = False

    def _onPath(self, _path="") -> None:
        self.close()
        self._clear()
        self._window.onChoices()

    def show(self) -> None:
        ui = self._ui
        ui.checkCasesButton.enabled = bool(self.folder) and self._window.isReady
        ui.checkCasesButton.text = _("Cancel") if self._program else _("Check the cases")
        tip = _("Look at the header of every scan, in a process of its own.")
        ui.checkCasesButton.toolTip = tip if self.folder else _("Choose the folder of cases.")

    def _onCheck(self, _checked=False) -> None:
        if self._program:
            self.close()
            self._ui.foundLabel.text = _("Cancelled.")
        else:
            self._clear()
            with showingErrors(_("The cases can't be looked at.")):
                self._program = Program(COMMAND_LINE, ["validate", self.folder, "--json"], self._onEvent, self._onEnd)
                self._ui.foundLabel.text = _("Looking at the cases …")
        self._window.onChoices()

    def _onEvent(self, event: dict) -> None:
        if event.get("event") == "progress" and event.get("fraction") is not None:
            text = _("Looking at the cases … {percent} %")
            self._ui.foundLabel.text = text.format(percent=round(100 * event["fraction"]))
        elif event.get("event") == "report":
            self.report = event

    def _onEnd(self, code: int, said: str) -> None:
        self._program = None
        if not self.report:
            self._ui.foundLabel.text = said or _("The cases could not be looked at.")
        else:
            self._showReport(said)
        self._window.onChoices()

    def _showReport(self, said: str) -> None:
        report, ui = self.report, self._ui
        self._list = report.get("list", [])
        text = _("{usable} of {cases} cases can be used, of {subjects} subjects.")
        lines = [text.format(usable=report["usable"], cases=report["cases"], subjects=report["subjects"])]
        lines += [said] if said and not report["usable"] else []
        lines += [f"{note[:1].upper()}{note[1:]}." for note in report.get("notes", [])]
        ui.foundLabel.text = "\n".join(lines)
        self._groups = demographics(one["covariates"] for one in self._list if one["usable"])
        ui.demographicsLabel.text = "\n".join(group.to_text() for group in self._groups)
        ui.casesBox.visible = bool(self._list)
        ui.agesButton.visible = any(group.ages for group in self._groups)
        self._filter()

    # ---- the table

    def _filter(self) -> None:
        words = self._ui.filterEdit.text.lower().split()
        which = self._which.value

        def isWanted(one: dict) -> bool:
            text = " ".join((one["case"], *one["covariates"].values(), *one["reasons"], *one["notes"])).lower()
            return which in ("", "yes" if one["usable"] else "no") and all(word in text for word in words)

        self._shown, self._filled = [one for one in self._list if isWanted(one)], 0
        table = self._ui.casesTable
        table.clearContents()
        table.setRowCount(len(self._shown))
        self._showPictures("")
        self._fill()

    def _fill(self) -> None:
        """Some more rows."""
        table, end = self._ui.casesTable, min(self._filled + _ROWS, len(self._shown))
        for row in range(self._filled, end):
            one = self._shown[row]
            known = one["covariates"]
            who = ", ".join(known[key] for key in ("age", "sex", "diagnosis") if key in known)
            why = "; ".join([*one["reasons"], *one["notes"]])
            for column, text in enumerate((one["case"], who or "–", _("yes") if one["usable"] else _("no"))):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(asTip(why or text))
                table.setItem(row, column, item)
        if self._filled == 0 and end:
            table.resizeColumnsToContents()
        self._filled = end

    def _onSelected(self) -> None:
        row = self._ui.casesTable.currentRow()
        if not (0 <= row < len(self._shown) and self._ui.casesTable.selectedItems()):
            return
        one = self._shown[row]
        words = [*one["reasons"], *one["notes"]]
        text = "; ".join(words) or (_("can be used") if one["usable"] else "")
        self._ui.caseText.text = f"{one['case']}: {text}."
        self._showPictures(one["case"])

    def _showPictures(self, case: str) -> None:
        """Those of a prepared case, see ``prepare``, or of one that a run has prepared."""
        found, (folder, name) = 0, self._pictured(case)
        for label, suffix in ((self._ui.t1Picture, "T1w"), (self._ui.petPicture, "pet")):
            path = Path(folder, "qc", f"{name}_{suffix}.png")
            label.visible = bool(case) and path.is_file()
            if label.visible:
                found += 1
                label.setPixmap(qt.QPixmap(str(path)).scaledToWidth(_PICTURE, qt.Qt.SmoothTransformation))
        if not case:
            self._ui.caseText.text = _("Select a case to see what is said of it, and its pictures if it is prepared.")
        elif not found:
            self._ui.caseText.text += " " + _("There are no pictures: prepare makes them.")

    def _pictured(self, case: str) -> tuple[Path, str]:
        """Where a case's pictures would be, and its name there: here, or where the chosen run has prepared it."""
        if self._prepared is None and case:
            self._prepared, source, output = {}, self.folder, self._window.plan.folder
            self._finding = Background(lambda: _preparedOf(source, output), self._onPrepared) if output else None
        return self._prepared.get(case) or (Path(self.folder), case) if case else (Path(self.folder), "")

    def _onPrepared(self, found: dict) -> None:
        self._finding = None
        if found:
            self._prepared = found
            self._onSelected()

    def lookAgain(self) -> None:
        """Cases may have been prepared meanwhile."""
        self._prepared = None

    def _onAges(self, _checked=False) -> None:
        decades, counts = ages_by_decade(self._groups)
        curves = {name or _("no diagnosis"): ([low + 5 for low in decades], found) for name, found in counts.items()}
        charts.showChart(charts.updateChart("ages", _("Ages"), _("Age (years)"), _("Cases"), curves, bars=True))

    # ---- the window's timer

    def poll(self) -> None:
        if self._program:
            self._program.poll()
        if self._filled < len(self._shown):
            self._fill()

    def close(self) -> None:
        if self._finding is not None:
            self._finding.forget()
            self._finding = None
        if self._program:
            self._program.close()
            self._program = None


def _preparedOf(source: str, output: str) -> dict[str, tuple[Path, str]]:
    """Where runs in or beside the output folder have prepared these cases, and under which name, by their own names."""
    whole, place, found = Path(source).resolve(), Path(output).resolve(), {}
    paths = [path for folder in (place.parent, place) for path in folder.glob(f"*/{_MANIFEST}")]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            said = json.loads(path.read_text(encoding="utf-8"))
            if Path(said["source"]) == whole:
                found |= {one["case"]: (path.parent, name) for name, one in said["cases"].items()}
    return found
