"""The window's section on the model and the device that computes."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.worker.replies import read_end
from DualGlowSlicerLib.background import Background
from DualGlowSlicerLib.choosers import Chooser
from DualGlowSlicerLib.messages import agreed, showingErrors, showText

from ..models import models

__all__ = ["ModelPanel"]


class ModelPanel:
    def __init__(self, window) -> None:
        self._window, self._ui = window, window.ui
        self._models = {}
        self._download = self._checking = None
        self.facts = {}
        """Of the chosen model, as ``models.modelFacts`` gives them."""
        self._chooser = Chooser(self._ui.modelBox, lambda value: window.choose("model", value))
        self._device = Chooser(self._ui.deviceBox, lambda value: window.choose("device", value))
        self._device.fill([(_("automatic"), "auto"), (_("CPU"), "cpu")])
        self._ui.addModelButton.connect("clicked(bool)", self._onAdd)
        self._ui.downloadModelButton.connect("clicked(bool)", self._onDownload)
        self._ui.deleteDownloadsButton.connect("clicked(bool)", self._onDelete)
        self._ui.cardButton.connect("clicked(bool)", self._onCard)
        self._ui.deviceButton.connect("clicked(bool)", self._onCheckDevices)
        self._shown = None

    def fill(self) -> None:
        """Look which models there are."""
        self._models = {model.name: model for model in models.listModels()}
        self._chooser.fill([(model.title, name) for name, model in self._models.items()])
        self._ui.deleteDownloadsButton.enabled = any(models.isDownloaded(model) for model in self._models.values())

    def show(self, parameters) -> None:
        chosen = self._models.get(parameters.model) or next(iter(self._models.values()))
        if parameters.model != chosen.name:
            parameters.model = chosen.name
        if parameters.device not in self._device.values:  # a scene from another computer
            parameters.device = "auto"
        self._chooser.show(parameters.model)
        self._device.show(parameters.device)
        if self._shown != chosen:
            self._shown = chosen
            try:
                self.facts = models.modelFacts(chosen.path)
                self._ui.modelText.text = self._summary()
            except InputError as error:
                self.facts = {}
                self._ui.modelText.text = str(error)
            self._window.patient.setModel(self.facts)
        self._window.patient.narrowAge()

    def bundle(self) -> str | None:
        """Folder of the chosen model."""
        return str(self._shown.path) if self._shown else None

    def confirmLicence(self) -> bool:
        """Whether the model may be used: a licence stricter than DualGlow's own is agreed to once."""
        if self._shown is None or not models.needsAcknowledgement(self._shown):
            return True
        if not agreed(models.acknowledgementText(self._shown)):
            return False
        models.acknowledge(self._shown)
        return True

    def covariates(self) -> list[str]:
        """Names of those that the chosen model knows."""
        return [covariate["name"] for covariate in self.facts.get("covariates", ())]

    def showDevice(self, device: str, reason: str) -> None:
        """Where the last result was computed, and why there."""
        self._ui.deviceText.text = _("Computed on {device}. {reason}").format(device=device, reason=reason)

    def _summary(self) -> str:
        training = self.facts.get("training", {})
        kind = _("simulated PET") if self.facts.get("simulated") else _("acquired PET")
        text = _("{name}, trained on {kind}; {resolution} mm, SUVR over the {reference}. Licence: {licence}.")
        cases = training.get("cases")
        return text.format(
            name=self.facts.get("name", ""),
            kind=kind if not cases else _("{kind} of {cases} cases").format(kind=kind, cases=cases),
            resolution=f"{self.facts['resolution']:g}",
            reference=self.facts["reference"],
            licence=self.facts.get("licence", ""),
        )

    # ---- what the buttons do

    def _onAdd(self, _checked=False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder of a model"))
        if folder:
            self.add(folder)

    def add(self, folder: str) -> None:
        """Offer the model in this folder, from now on, and choose it, as soon as it is found to be whole."""

        def ended() -> None:
            self._checking = None
            self._ui.addModelButton.enabled = True

        def checked(path: Path) -> None:
            ended()
            self._choose(models.keepModelFolder(path))

        def failed(error: Exception) -> None:
            ended()
            with showingErrors(_("The model can't be added.")):
                raise error

        if self._checking is not None:
            self._checking.forget()
        self._ui.addModelButton.enabled = False
        self._checking = Background(lambda: models.checkModelFolder(folder), checked, failed)

    def _choose(self, model) -> None:
        self.fill()
        self._window.choose("model", model.name)

    def _onDownload(self, _checked=False) -> None:
        if self._download is not None:
            self._download.cancel()
            return
        parent = slicer.util.mainWindow()
        words = _("Address of the model's zip file, or of the index.json beside it:")
        url = qt.QInputDialog.getText(parent, _("Download a model"), words)
        isListed = models.isIndex(url or "")  # which says the hash
        isAsked = url and not isListed
        digest = qt.QInputDialog.getText(parent, _("Download a model"), _("Its SHA-256:")) if isAsked else ""
        if url and (digest or isListed):
            self.download(url, digest)

    def download(self, url: str, sha256: str) -> None:
        """Fetch a model that the user asked for; the window goes on meanwhile."""

        def ended() -> None:
            self._download = None
            self._ui.downloadModelButton.text = _("Download…")

        def progress(done: int, total: int | None) -> None:
            share = f"{100 * done / total:.0f} %" if total else f"{done / 1e6:.1f} MB"
            self._ui.downloadModelButton.text = _("Cancel ({share})").format(share=share)

        def finished(model) -> None:
            ended()
            self._choose(model)

        def failed(text: str) -> None:
            ended()
            self._window.showProblem(text, False)

        with showingErrors(_("The model can't be downloaded.")):
            self._ui.downloadModelButton.text = _("Cancel")
            try:
                self._download = models.startDownload(url, sha256, progress, finished, failed)
            except InputError:
                ended()
                raise

    def _onDelete(self, _checked=False) -> None:
        if slicer.util.confirmOkCancelDisplay(_("Delete all downloaded models from this computer?")):
            with self._window.showing():
                freed = models.deleteDownloads()
                self._window.say(_("{size} MB were freed.").format(size=f"{freed / 1e6:.1f}"))
            self.fill()
            self._window.onParametersChanged()

    def _onCard(self, _checked=False) -> None:
        showText(self.facts.get("name", ""), self.facts.get("card", ""))

    def _onCheckDevices(self, _checked=False) -> None:
        self._ui.deviceButton.enabled = False
        self._ui.deviceText.text = _("Trying each device …")

        def done(message: dict) -> None:
            reply = read_end("devices", message)
            self._ui.deviceButton.enabled = True
            self._device.fill(
                [(_("automatic"), "auto")]
                + [(device["title"], device["name"]) for device in reply.devices if device["usable"]]
            )
            titles = {device["name"]: device["title"] for device in reply.devices}
            auto = titles.get(reply.auto, reply.auto)
            lines = [_("Automatic takes {name}. {reason}").format(name=auto, reason=reply.auto_reason)]
            lines += [f"{device['title']}: {device['reason'] or _canBeUsed(device)}" for device in reply.devices]
            self._ui.deviceText.text = "\n".join(lines)

        def failed(text: str) -> None:
            self._ui.deviceButton.enabled = True
            self._ui.deviceText.text = text

        if not self._window.ensureReady():
            failed("")
            return
        self._window.engine.client.request("devices", onDone=done, onRefused=failed, onFailed=failed)

    def close(self) -> None:
        if self._checking is not None:
            self._checking.forget()
        if self._download is not None:
            self._download.cancel()


def _canBeUsed(device: dict) -> str:
    if device["memory_free"] is None:
        return _("can be used.")
    return _("can be used; {free} GiB of its memory are free.").format(free=f"{device['memory_free'] / (1 << 30):.1f}")
