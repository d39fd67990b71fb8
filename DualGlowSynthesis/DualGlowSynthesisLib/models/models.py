"""The models that a user can choose: those that come with DualGlow, folders of one's own, and downloaded ones."""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import qt
from slicer.i18n import tr as _

from DualGlowLib import InputError
from DualGlowLib.bundle.files import CONFIG, WEIGHTS, check_weights, describe, read_config, shipped_bundles

from .downloads import SOURCE, Download, isIndex

__all__ = [
    "Model",
    "acknowledge",
    "acknowledgementText",
    "addModelFolder",
    "checkModelFolder",
    "deleteDownloads",
    "isDownloaded",
    "isIndex",
    "keepModelFolder",
    "listModels",
    "modelFacts",
    "modelsFolder",
    "needsAcknowledgement",
    "startDownload",
]

BUNDLED, ADDED, DOWNLOADED = "bundled", "added", "downloaded"

FREE_LICENCES = (
    *("apache-2.0", "apache license 2.0", "apache license, version 2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0"),
    *("cc-by-4.0", "mit", "mit license", "unlicense", "the unlicense"),
)
"""Names of licences that ask for no more than that of DualGlow's code. Only a name alone says that: what begins with
one may go on with more terms."""

_FOLDERS, _ACKNOWLEDGED = "DualGlow/ModelFolders", "DualGlow/AcknowledgedLicences"


@dataclass(frozen=True)
class Model:
    """One entry of the model selector.

    name: the model's own, with some digits where another in the list has it too. title: for the selector.
    path: its folder.
    url, sha256: where it was downloaded from, and of the archive there; empty for others.
    licence: a name such as "Apache-2.0", a text, or empty if none is stated.
    origin: "bundled", "added" or "downloaded". problem: one sentence why it can't be used; empty if it can.
    """

    name: str
    title: str
    path: Path
    url: str = ""
    sha256: str = ""
    licence: str = ""
    origin: str = ADDED
    problem: str = ""


def modelsFolder() -> Path:
    """Where downloaded models are kept: the user's own, and the same for every version of Slicer. May not exist yet."""
    place = qt.QStandardPaths.writableLocation(qt.QStandardPaths.GenericDataLocation)
    return Path(place, "DualGlow", "Models")


def listModels() -> list[Model]:
    """Every model that is known, the default first. Reads small files only, and never the network."""
    models = [_model(folder, BUNDLED) for folder in shipped_bundles()]
    models += [_model(path.parent, DOWNLOADED) for path in sorted(modelsFolder().glob(f"[!.]*/{SOURCE}"))]
    models += [_model(Path(folder), ADDED) for folder in _stored(_FOLDERS)]
    taken = set()
    for index, model in enumerate(models):
        name = model.name
        if name in taken:
            digits = model.sha256 or hashlib.sha256(str(model.path).encode("utf-8")).hexdigest()
            name = f"{name}-{digits[:8]}"
        taken.add(name)
        models[index] = replace(model, name=name, title=_title(name, model))
    return models


def isDownloaded(model: Model) -> bool:
    """Whether ``deleteDownloads`` would delete it."""
    return model.origin == DOWNLOADED


def modelFacts(path) -> dict:
    """What to tell of a model, read without torch; see ``DualGlowLib.bundle_files.describe``.

    Raises:
        InputError: if it is no model of brains that this DualGlow can read.
    """
    return describe(Path(path))


# ------------------------------------------------------------------------------------------- adding and removing models


def addModelFolder(path) -> Model:
    """Put a model on the list that stays where it is; its whole content is checked, which takes time.

    :param path: the folder, or a file in it, or the output folder of a training, which holds it as ``bundle``.

    Raises:
        InputError: if it is no whole model.
    """
    return keepModelFolder(checkModelFolder(path))


def checkModelFolder(path) -> Path:
    """The folder of the model that ``addModelFolder`` is given, checked; a thread may do that."""
    folder = Path(path).expanduser()
    if folder.is_file():
        folder = folder.parent
    if not (folder / CONFIG).is_file() and (folder / "bundle" / CONFIG).is_file():
        folder = folder / "bundle"
    folder = folder.resolve()
    values = read_config(folder)
    describe(folder)
    check_weights(folder, values)
    return folder


def keepModelFolder(folder: Path) -> Model:
    """Put a folder on the list that ``checkModelFolder`` gave."""
    if all(model.path != folder for model in listModels()):
        _store(_FOLDERS, [*_stored(_FOLDERS), str(folder)])
    return _listed(folder)


def startDownload(url: str, sha256: str, onProgress=None, onDone=None, onFailed=None) -> Download:
    """Fetch a model in the background; call this only when the user asked for it.

    :param url: of a zip file (http, https or file), or the path of one, with one model in it; or of its index.
    :param sha256: of the zip file; nothing is unpacked unless it agrees. May be empty with an index of one model.
    :param onProgress: called with the bytes so far, and those that there will be (None: unknown).
    :param onDone: called with the ``Model``.
    :param onFailed: called with one sentence, also after ``.cancel()`` of the handle that this returns.
    """

    def done(folder: Path) -> None:
        if onDone is not None:
            onDone(_listed(folder))

    return Download(url, sha256, modelsFolder(), onProgress, done, onFailed)


def deleteDownloads() -> int:
    """Delete every downloaded model. Gives the bytes that are free now.

    Raises:
        InputError: while a download is running, or if files can't be deleted, for example because they are in use.
    """
    if Download.anyRunning():
        raise InputError(_("A download is running; cancel it or wait for its end before you delete the models."))
    return _delete(modelsFolder())


# ------------------------------------------------------------------------------------------------------------- licences


def needsAcknowledgement(model: Model) -> bool:
    """Whether the user must be shown ``acknowledgementText`` and agree before this model is used.

    So it is with a licence that asks for more than that of DualGlow's code, and with somebody else's model that states
    none, until ``acknowledge`` was called for these terms.
    """
    if model.origin == BUNDLED:
        return False
    if model.licence:
        stricter = " ".join(model.licence.split()).lower() not in FREE_LICENCES
    else:
        stricter = model.origin == DOWNLOADED
    return stricter and _terms(model) not in _stored(_ACKNOWLEDGED)


def acknowledgementText(model: Model) -> str:
    """What to show before ``acknowledge``."""
    if not model.licence:
        text = _("The model {name} states no licence, so you may need its authors' permission to use it.")
        return text.format(name=model.name)
    text = _("The model {name} has a licence of its own, which may ask for more than that of DualGlow:")
    return text.format(name=model.name) + "\n\n" + model.licence


def acknowledge(model: Model) -> None:
    """Remember that the user agreed to this model's terms; others, or those of a changed model, are asked anew."""
    if _terms(model) not in _stored(_ACKNOWLEDGED):
        _store(_ACKNOWLEDGED, [*_stored(_ACKNOWLEDGED), _terms(model)])


def _terms(model: Model) -> str:
    config = (model.path / CONFIG).read_bytes() if (model.path / CONFIG).is_file() else b""
    return hashlib.sha256(config + model.licence.encode("utf-8")).hexdigest()


# -------------------------------------------------------------------------------------------------------------- details


def _model(folder: Path, origin: str) -> Model:
    name, licence, problem = folder.name, "", ""
    try:
        facts = describe(folder)
        name, licence = facts["name"], facts["licence"]
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder / WEIGHTS} is missing; get the model again.")
    except InputError as error:
        problem = str(error)
    except OSError as error:
        problem = _("{folder} can't be read ({reason}).").format(folder=folder, reason=error.strerror or error)
    source = _source(folder) if origin == DOWNLOADED else {}
    return Model(name, "", folder, source.get("url", ""), source.get("sha256", ""), licence, origin, problem)


def _source(folder: Path) -> dict:
    try:
        found = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
        return {"url": str(found["url"]), "sha256": str(found["sha256"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _title(name: str, model: Model) -> str:
    texts = {
        BUNDLED: _("{name} (included)"),
        DOWNLOADED: _("{name} (downloaded)"),
        ADDED: _("{name} ({folder})"),
    }
    title = texts[model.origin].format(name=name, folder=model.path)
    return _("{model}: can't be used").format(model=title) if model.problem else title


def _listed(folder: Path) -> Model:
    """The entry of a folder that is known."""
    return next(model for model in listModels() if model.path == folder)


def _stored(key: str) -> list:
    """A list that was kept in the application's settings."""
    try:
        found = json.loads(qt.QSettings().value(key) or "[]")
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, list):
        logging.warning("The setting %s is damaged and is ignored.", key)
        return []
    return [one for one in found if isinstance(one, str)]


def _store(key: str, values: list) -> None:
    # As one text: lists of one come back from the settings as a string, and Qt 5 and 6 differ in empty ones.
    qt.QSettings().setValue(key, json.dumps(values))


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _delete(folder: Path) -> int:
    before = _size(folder)
    try:
        # These first: what is left over, where a file is in use, is then no model any more.
        for source in [*folder.glob(SOURCE), *folder.glob(f"*/{SOURCE}")]:
            source.unlink()
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        text = _("{folder} can't be deleted ({reason}); if one of its models is in use, choose another and try again.")
        raise InputError(text.format(folder=folder, reason=error.strerror or error)) from error
    return before - _size(folder)
