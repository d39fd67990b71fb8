"""Fetch a model: the archive in a thread, its hash, its contents, and only then a folder that can be used."""

import errno
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar
from urllib.parse import quote, urljoin, urlsplit

import qt
from slicer.i18n import tr as _

from DualGlowLib import InputError, __version__
from DualGlowLib.bundle.files import CONFIG, check_weights, describe, read_config
from DualGlowLib.files import write_json

__all__ = ["PARTIAL", "SOURCE", "Download", "isIndex", "megabytes"]

SOURCE = "source.json"
"""In the folder of a downloaded model: where it came from, and the hash of the archive."""

PARTIAL = ".part-"
"""How the names of folders begin that are not complete."""

TIMEOUT = 30
"""Seconds without a byte after which the connection counts as broken."""

MAX_BYTES = 2**31
"""Of the archive, and of what is in it. The largest preset has a tenth of that."""

_INDEX, _MOST_INDEX = "index.json", 1 << 20
_BLOCK = 1 << 16
_POLL = 40  # ms
_YIELD = 0.01  # s
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NAME = re.compile(r"\.?\w[\w .()+-]*(?<! )(?<!\.)")


class _Problem(Exception):
    """What went wrong in the thread; the sentence about it is written in the thread of the window."""

    def __init__(self, kind: str, **values) -> None:
        super().__init__(kind)
        self.kind, self.values = kind, values


class Download:
    """A model on its way into ``folder``. It starts at once; the callbacks run in the thread that made it.

    :param url: of a zip file (http, https or file), or the path of one; or of the index that ``bundle publish`` writes.
    :param sha256: of the zip file, 64 hexadecimal digits. With an index it may be empty, if that lists one model: the
        index says it then, which shows what is damaged, but not who made it.
    :param folder: where models are kept; the model becomes a folder in it, whole or not at all.
    :param onProgress: called with the bytes so far, and those that there will be (None: unknown).
    :param onDone: called with the model's folder.
    :param onFailed: called with one sentence, also after ``cancel``.
    """

    _running: ClassVar[set] = set()  # kept alive although nobody may hold the handle

    def __init__(self, url: str, sha256: str, folder: Path, onProgress=None, onDone=None, onFailed=None) -> None:
        self.url, self.sha256, self.folder = _address(url), _digits(sha256), Path(folder)
        self._isOpen = not str(sha256).strip()
        self.cancelled = False
        self._callbacks = (onProgress, onDone, onFailed)
        self._stage = self._shown = (0, None)
        self._result = None  # the folder, or the exception; set by the thread, once
        self._commit = threading.Lock()  # who holds it decides between "cancelled" and "in place"
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL)
        self._timer.connect("timeout()", self._poll)
        self._timer.start()
        self._running.add(self)
        threading.Thread(target=self._run, name="DualGlow download", daemon=True).start()

    def cancel(self) -> None:
        """Leave nothing behind. ``onFailed`` is told soon, even if the server doesn't answer; too late, ``onDone``."""
        with self._commit:
            self.cancelled = self.cancelled or self._result is None

    def isRunning(self) -> bool:
        """Until one of ``onDone`` and ``onFailed`` was called."""
        return self in self._running

    @classmethod
    def anyRunning(cls) -> bool:
        return bool(cls._running)

    def _poll(self) -> None:
        # Slicer's event loop keeps Python's lock: the thread goes on only while Python code here waits.
        time.sleep(_YIELD)
        onProgress, onDone, onFailed = self._callbacks
        result, stage = self._result, self._stage
        if self.cancelled:
            result = _Problem("cancelled")
        if result is None:
            if onProgress is not None and stage != self._shown:
                self._shown = stage
                onProgress(*stage)
            return
        self._timer.stop()
        self._running.discard(self)
        if isinstance(result, Path):
            if onDone is not None:
                onDone(result)
            return
        if not isinstance(result, (_Problem, InputError)):
            logging.error("The download of a model failed.", exc_info=result)
            result = _Problem("defect", reason=type(result).__name__)
        if onFailed is not None:
            onFailed(_sentence(result, self.url) if isinstance(result, _Problem) else str(result))

    # ------------------------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            self._result = self._fetch()
        except BaseException as error:
            self._result = error

    def _fetch(self) -> Path:
        if self.url is None:
            raise _Problem("address")
        if self.sha256 is None and not (self._isOpen and isIndex(self.url)):
            raise _Problem("digits")
        if isIndex(self.url):
            self._look(self.url)
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _clean(self.folder)
            if former := self._former():
                return former
            partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=self.folder))
        try:
            archive, bundle = partial / "archive.zip", partial / "bundle"
            self._receive(archive)
            with _writing(self.folder):
                unpack(archive, bundle, self._stop)
                return self._place(bundle, partial)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _former(self) -> Path | None:
        """The same archive, fetched before and still whole."""
        for source in self.folder.glob(f"[!.]*-{self.sha256[:8]}/{SOURCE}"):
            try:
                if json.loads(source.read_text(encoding="utf-8"))["sha256"] == self.sha256:
                    check_weights(source.parent, read_config(source.parent))
                    return source.parent
            except (ValueError, KeyError, TypeError) as error:  # InputError too; it is fetched again
                logging.info("%s is not whole: %s", source.parent, error)
        return None

    def _stop(self) -> None:
        if self.cancelled:
            raise _Problem("cancelled")

    def _look(self, index: str) -> None:
        """Take the address and the hash of the one model that is meant from an index."""
        with _answer(index) as response:
            content = self._block(response, 0)
            while len(content) <= _MOST_INDEX and (block := self._block(response, len(content))):
                content += block
        try:
            if len(content) > _MOST_INDEX:
                raise ValueError
            listed = {one["sha256"]: one["file"] for one in json.loads(content)["models"]}
            digests = [_digits(digest) for digest in listed if self.sha256 in (None, _digits(digest))]
            (self.sha256,) = digests
            name = listed[self.sha256]
            if not _NAME.fullmatch(name):
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _Problem("index") from error
        self.url = urljoin(index, quote(name))

    def _receive(self, archive: Path) -> None:
        response = _answer(self.url)
        total, done = hashlib.sha256(), 0
        with response, _writing(self.folder), archive.open("wb") as file:
            length = response.headers.get("Content-Length", "")
            length = int(length) if length.isdigit() else None
            self._checkSize(length or 0)
            while block := self._block(response, done):
                done += len(block)
                self._checkSize(done)
                total.update(block)
                file.write(block)
                self._stage = (done, length)
        if length is not None and done < length:
            raise _Problem("broken", size=megabytes(done))
        if total.hexdigest() != self.sha256:
            raise _Problem("hash", found=total.hexdigest())

    def _block(self, response, done: int) -> bytes:
        self._stop()
        try:
            return response.read1(_BLOCK)  # what is there: a slow server delays neither progress nor cancelling
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _Problem("broken", size=megabytes(done)) from error

    def _checkSize(self, size: int) -> None:
        if size > MAX_BYTES:
            raise _Problem("large", size=megabytes(MAX_BYTES))
        if size and size > shutil.disk_usage(self.folder).free:
            raise _Problem("full", folder=self.folder)

    def _place(self, bundle: Path, partial: Path) -> Path:
        """Check the model and rename it into place."""
        try:
            values = read_config(bundle)
            check_weights(bundle, values)
            name = describe(bundle)["name"]
        except InputError as error:
            reason = str(error).replace(f"{bundle}{os.sep}", "").replace(str(bundle), "it")
            raise _Problem("bundle", reason=reason.rstrip(".")) from error
        write_json(bundle / SOURCE, {"url": self.url, "sha256": self.sha256})
        target = self.folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name).strip('._')[:60]}-{self.sha256[:8]}"
        with self._commit:
            self._stop()
            if target.exists():  # the same archive, fetched before and damaged since
                target.rename(partial / "former")
            bundle.rename(target)
            self._result = target
        return target


def _answer(url: str):
    """What a server answers."""
    request = urllib.request.Request(url, headers={"User-Agent": f"DualGlow/{__version__}"})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            raise _Problem("answer", reason=f"{error.code} {error.reason}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _Problem("unreachable", reason=_reason(error)) from error


def unpack(archive: Path, folder: Path, stop=lambda: None) -> None:
    """The files of the one bundle in a zip file, at its top or in one folder, into a new folder.

    Raises:
        _Problem: for an archive that is damaged, holds no bundle or several, or a name that points elsewhere, a link,
            or more than ``MAX_BYTES``.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [entry for entry in file.infolist() if not entry.is_dir()]
            for entry in entries:
                _refuseUnsafe(entry)
            paths = {entry: PurePosixPath(entry.filename) for entry in entries}
            places = [path.parent for path in paths.values() if path.name == CONFIG and len(path.parts) <= 2]
            if len(places) != 1:
                raise _Problem("nobundle")
            files = {entry: path.name for entry, path in paths.items() if path.parent == places[0]}
            if sum(entry.file_size for entry in files) > MAX_BYTES:
                raise _Problem("large", size=megabytes(MAX_BYTES))
            folder.mkdir()
            for entry, name in files.items():
                # zipfile itself ends with an error where an entry holds more than it declares.
                with file.open(entry) as source, (folder / name).open("xb") as out:
                    while block := source.read(1 << 20):
                        stop()
                        out.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, FileExistsError) as error:
        raise _Problem("archive") from error


def _refuseUnsafe(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    # orig_filename: zipfile cuts the name at a NUL and makes slashes of Windows' separators.
    plain = "\\" not in entry.orig_filename and all(map(_NAME.fullmatch, entry.orig_filename.split("/")))
    if kind not in (0, stat.S_IFREG) or not plain:
        raise _Problem("unsafe", name=entry.orig_filename[:80])
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Problem("archive")


def _clean(folder: Path) -> None:
    """Remove what a Slicer that ended in the middle of a download left, after a day; another Slicer may be at work."""
    for path in folder.glob(f"{PARTIAL}*"):
        if time.time() - path.stat().st_mtime > 86400:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _writing(folder: Path):
    """Tell a disk that is full, or can't be written, from everything else."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _Problem("full", folder=folder) from error
        raise _Problem("unwritable", folder=folder, reason=error.strerror or error) from error


# -------------------------------------------------------------------------------------------- what the user gave, reads


def isIndex(url: str) -> bool:
    """Whether this is the address of a list of models, as ``bundle publish`` writes it."""
    return urlsplit(str(url).strip()).path.rpartition("/")[2] == _INDEX


def _address(text: str) -> str | None:
    text = str(text).strip()
    try:
        parts = urlsplit(text)
        if parts.scheme.lower() in ("http", "https") and parts.hostname:
            return text
    except ValueError:
        return None
    if parts.scheme.lower() == "file":
        return text
    path = Path(text).expanduser()
    return path.resolve().as_uri() if text and path.is_file() else None


def _digits(text: str) -> str | None:
    text = str(text).strip().lower().removeprefix("sha256:").strip()
    return text if re.fullmatch("[0-9a-f]{64}", text) else None


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason).strip().rstrip(".") or type(error).__name__


def megabytes(size: int) -> str:
    """A size for reading."""
    return f"{size / 1e6:.1f} MB"


def _sentence(problem: _Problem, url: str | None) -> str:
    texts = {
        "address": _("This is no address of a model; give one that begins with https://, or the path of a zip file."),
        "digits": _("A SHA-256 has 64 hexadecimal digits; copy it from where the model's address stands."),
        "unreachable": _("{url} can't be reached ({reason}); check the address and the network connection."),
        "answer": _("The server's answer for {url} is {reason}; check the address."),
        "broken": _("The connection to {url} ended after {size}; try again."),
        "index": _(
            "{url} does not list one model, or none with the SHA-256 that you gave; give the address of its zip file."
        ),
        "hash": _(
            "{url} does not have the SHA-256 that you gave (it has {found}), so nothing was installed; check both, or "
            "tell whoever published them."
        ),
        "archive": _("{url} is no zip file, or a damaged one; nothing was installed."),
        "unsafe": _("{url} holds a file with the name {name!r}, which no model has; nothing was installed."),
        "nobundle": _("{url} does not hold one DualGlow model, a folder with config.json; nothing was installed."),
        "bundle": _("{url} holds no usable model: {reason}; nothing was installed."),
        "large": _("{url} is larger than {size}, which no model is; nothing was installed."),
        "full": _("The disk that holds {folder} is full; make room there and try again."),
        "unwritable": _("{folder} can't be written ({reason}); nothing was installed."),
        "cancelled": _("The download was cancelled; nothing was installed."),
        "defect": _("The download failed ({reason}); the error log has the details, and nothing was installed."),
    }
    return texts[problem.kind].format(url=url, **problem.values)
