"""Patients, a worker and a user for walks through the window: every voxel tells of whom and of which question it is."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from DualGlowLib.provenance import with_covariates
from DualGlowLib.worker import replies
from hand_client import HandClient, compared, opened, prepared, provenance, row, sampled, step
from loaded import SYNTHESIS, slicer

from DualGlowSynthesisLib.nodes import belonging, marks, results  # isort: skip
from DualGlowSlicerLib import volumes  # isort: skip

__all__ = ["SHAPE", "CodedClient", "Database", "Desk", "add_patient", "open_desk"]

SHAPE = (5, 4, 3)


def add_patient(code: int, name: str, dicom: str = "") -> object:
    """A T1 whose voxels are its code; ``dicom``: its instance, which Slicer writes on the volume after adding it."""
    volume = slicer.util.addVolumeFromArray(np.full(SHAPE[::-1], code, np.int16), np.diag([1.0, 1, 2, 1]), name)
    volume.SetAttribute("Test.Code", str(code))
    if dicom:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), f"Patient {code}")
        study = hierarchy.CreateStudyItem(patient, "Study")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
        volume.SetAttribute("DICOM.instanceUIDs", dicom)
    return volume


def code_of(volume) -> int:
    return int(slicer.util.arrayFromVolume(volume).flat[0])


class Database:
    """What Slicer's DICOM database says of the instances ``2.KIND.…``."""

    def instanceValue(self, uid: str, tag: str) -> str:
        age = {"2.1": "083Y", "2.2": ""}[".".join(uid.split(".")[:2])]
        return {"0010,1010": age, "0010,0040": "F" if age else "M"}[tag]

    def fileForInstance(self, _uid: str) -> str:
        return ""


class CodedClient(HandClient):
    """Answers with images whose voxels are 1000 × the patient's code + the age (0 if unknown)."""

    def __init__(self) -> None:
        super().__init__()
        self.patient = 0

    def answer(self) -> bool:
        """Answer the first request that waits; whether there was one."""
        while self.asked and self.asked[0].isCancelled:
            if self.asked[0].callbacks:
                self.asked[0].cancelled()
            else:
                self.asked.pop(0)
        if not self.asked:
            return False
        getattr(self, f"_{self.asked[0].do}")(self.asked[0])
        return True

    def _image(self, age) -> np.ndarray:
        return np.full(SHAPE, 1000 * self.patient + (age or 0), np.float32, order="F")

    def _rows(self, age) -> list[dict]:
        value = self.patient + (age or 0) / 1000
        return [{**row(False), "region": "pons", "mean": value, "real": value, "z": 0.0}]

    def told(self, question, **changes) -> dict:
        """What an answer says of its question and its patient."""
        about = provenance(question, self.model, Source=f"code {self.patient}", **changes)
        return {"regions": self._rows(question.covariates.get("age")), "provenance": about}

    @property
    def _verdict(self) -> dict:
        return {"status": "doubtful", "reasons": [f"code {self.patient}"]}

    def _open(self, asked) -> None:
        asked.done(opened(self.model))

    def _prepare(self, asked) -> None:
        self.patient = int(asked.arguments["voxels"].flat[0])
        asked.done(prepared(verdict=self._verdict, grid_affine=np.eye(4).tolist()))

    def _sample(self, asked) -> None:
        question = asked.question
        mean = self._image(question.covariates.get("age"))
        sd = mean.copy(order="F") if question.drawn > 1 else None
        below = None if question.below is None else mean.copy(order="F")
        asked.done(sampled(question, mean, sd=sd, below=below, **self.told(question)))

    def _keyframes(self, asked) -> None:
        for temperature in asked.arguments["temperatures"]:
            for age in asked.arguments["ages"]:
                values = np.full((4, 4, 4), 1000 * self.patient + (age or 0), np.float32)
                about = self.told(replace(asked.question.at(age=age), temperature=temperature))["provenance"]
                asked.event("keyframe", age=age, temperature=temperature, values=values, provenance=about)
        asked.done(replies.Framed())

    def _sweep(self, asked) -> None:
        ages = asked.arguments["ages"]
        for age in ages:
            question = asked.question.at(age=age)
            asked.event("step", **vars(step(question, age, self._image(age), **self.told(question))))
        asked.done(replies.Swept(None, with_covariates(self.told(asked.question)["provenance"], {"age": ages})))

    def _compare(self, asked) -> None:
        images = [self._image(asked.question.covariates.get("age")) for _ in range(3)]
        told = self.told(replace(asked.question, temperature=1.0), RealPet=asked.arguments["source"])
        asked.done(compared(asked.question, *images, verdict=self._verdict, **told))


class Desk:
    """The window beside its views, and what must hold of them at every moment (``check``).

    Args:
        module: the module's widget.
        client: the worker's part.
        folder: where exports go.
    """

    def __init__(self, module, client: CodedClient, folder: Path) -> None:
        self.module, self.client, self.folder = module, client, folder
        self.first_codes: dict[str, tuple] = {}  # of every volume that was ever there
        self.exports = 0

    @property
    def window(self):
        return self.module.window

    @property
    def ui(self):
        return self.module.ui

    @property
    def parameters(self):
        return self.module._parameterNode

    def patients(self) -> list:
        """Acquired T1s of the scene."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [node for node in nodes if node.GetAttribute("Test.Code") and not volumes.isSynthetic(node)]

    def settle(self) -> None:
        """The slider has rested."""
        if self.window.run._settled.active:
            self.window.run._settled.stop()
            self.window.run._onSettled()

    def finish(self) -> None:
        """Let everything come to rest."""
        for _ in range(100):
            self.settle()
            if not self.client.answer() and not self.window.run._settled.active:
                return
        raise AssertionError("It never comes to rest.")

    # ---- what must hold

    def check(self) -> None:
        self._check_nodes()
        for name in slicer.app.layoutManager().sliceViewNames():
            self._check_view(name)
        if self.parameters is not None:
            self._check_panel()

    def _check_nodes(self) -> None:
        """No image is ever of another patient than at first, and no acquired one changes."""
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if node.GetImageData() is None or node.GetName() == "DualGlow preview":
                continue
            key = node.GetID() + (node.GetAttribute("Test.Scene") or "")
            code = code_of(node)
            if volumes.isSynthetic(node):
                about = volumes.provenanceOf(node)
                assert code // 1000 == self._code(node), (node.GetName(), code, about)
                assert code % 1000 == (about["Age"] or 0), (node.GetName(), code, about)
                code //= 1000
            known = self.first_codes.setdefault(key, (node, code))
            if known[0] is node:
                assert known[1] == code, f"{node.GetName()} was {known[1]} and is {code}"
            else:
                self.first_codes[key] = (node, code)

    def _code(self, node) -> int:
        """Of the patient that a node says that it is of."""
        inputVolume = belonging.inputOf(node)
        if inputVolume is not None:
            return code_of(inputVolume)
        source = volumes.provenanceOf(node).get("Source", "")
        return int(source.removeprefix("code ") or 0)

    def _check_view(self, name: str) -> None:
        composite = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
        node, text = marks.shownIn(composite), self.window.marks.textIn(name)
        if node is None:
            assert text == ""
            return
        about = volumes.provenanceOf(node)
        assert "SYNTHETIC" in text
        assert belonging.scanName(node)[:20] in text
        assert ("age unknown" if about["Age"] is None else f"age {about['Age']:g}") in text
        code = code_of(node)
        assert code // 1000 == self._code(node)
        if about.get("Content") == "preview":
            assert abs(code % 1000 - (about["Age"] or 0)) <= 1
        else:
            assert code % 1000 == (about["Age"] or 0)
        below = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if below is not None and below is not node and below is not belonging.inputOf(node):
            assert "NOT made from" in text or volumes.isSynthetic(below)

    def _check_panel(self) -> None:
        parameters, ui = self.parameters, self.ui
        inputVolume, output = parameters.inputVolume, parameters.outputVolume
        assert ui.inputSelector.currentNode() is inputVolume
        assert ui.outputSelector.currentNode() is output
        table = ui.regionsView.mrmlTableNode()
        assert table is results.resultOf(output, "table")
        if inputVolume is None:
            assert "good" not in ui.verdictLabel.text
            assert "code" not in ui.verdictLabel.text
            return
        code = code_of(inputVolume)
        if "code" in ui.verdictLabel.text:
            assert f"code {code}" in ui.verdictLabel.text
        if ui.compareText.text:
            assert f"code {code}" in ui.compareText.text
        if output is None or output.GetImageData() is None:
            return
        assert belonging.inputOf(output) is inputVolume
        about = volumes.provenanceOf(output)
        if table is not None:
            assert table.GetTable().GetValue(0, 1).ToString() == f"{code + (about['Age'] or 0) / 1000:.3f}"
        chosen = round(parameters.age, 1) if parameters.ageKnown else None
        sex = None if parameters.sex == "unknown" else parameters.sex
        if (about["Age"], about["Sex"], about["Temperature"]) != (chosen, sex, round(parameters.temperature, 3)):
            assert "The PET is of" in ui.agreementLabel.text
        for node in self.window.shownNodes():
            isPart = node in results.partsOf(output)
            isPreview = volumes.provenanceOf(node).get("Content") == "preview"
            assert isPart or isPreview or "The views show" in ui.agreementLabel.text
            if isPreview:
                assert "The PET is of" in ui.agreementLabel.text

    def export(self) -> None:
        """What is exported is of the panel's patient and of the output's question, in the files' names too."""
        output = self.parameters.outputVolume
        if not self.ui.exportNiftiButton.enabled or output.GetImageData() is None:
            return
        self.exports += 1
        folder = self.folder / str(self.exports)
        folder.mkdir()
        self.ui.exportPath.currentPath = str(folder)
        for button in (self.ui.exportNiftiButton, self.ui.exportTableButton, self.ui.exportReportButton):
            if button.enabled:
                button.click()
        import nibabel as nib

        about = volumes.provenanceOf(output)
        (image,) = folder.glob("*.nii.gz")
        assert int(nib.load(image).get_fdata().flat[0]) == 1000 * self._code(output) + (about["Age"] or 0)
        sidecar = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
        assert (sidecar["Age"], sidecar["Source"]) == (about["Age"], f"code {self._code(output)}")
        for table in folder.glob("*.csv"):
            value = list(csv.reader(table.open()))[1][1]
            assert float(value) == round(self._code(output) + (about["Age"] or 0) / 1000, 3)
        for page in folder.glob("*.html"):
            assert f"code {self._code(output)}" in page.read_text()


def open_desk(client: CodedClient, folder: Path, monkeypatch) -> Desk:
    """The module's window with this worker, for a test that closes it."""
    import DualGlowSynthesis
    from DualGlowSynthesisLib.window.engine import Engine
    from DualGlowSynthesisLib.window.window import Window

    monkeypatch.setattr(DualGlowSynthesis, "Window", lambda ui: Window(ui, Engine(client)))
    return Desk(SYNTHESIS.open(), client, folder)
