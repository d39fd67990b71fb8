"""The models that a user can choose, and how one is fetched: whole or not at all, and with one sentence if not."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import shutil
import stat
import threading
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest

from loaded import SYNTHESIS, add_model, host, slicer

from DualGlowLib import InputError  # isort: skip
from DualGlowLib.bundle.bundle import load_bundle  # isort: skip
from DualGlowLib.bundle.publishing import publish_bundle  # isort: skip
from DualGlowLib.resources import resource  # isort: skip
from DualGlowLib.sealed import write_sealed  # isort: skip
from DualGlowSynthesisLib.models import downloads, models  # isort: skip

BUNDLE = resource("Models", "simulated-fdg-medium")
SENTENCE = re.compile(r"[^\n]+\.")
WAIT = 60  # seconds after which a test gives up; nothing takes that long


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Where downloads go; and no settings yet."""
    import qt

    host.slot_errors.clear()
    qt.QSettings().remove("DualGlow")
    monkeypatch.setattr(models, "modelsFolder", lambda: tmp_path / "downloads")
    for name in ("NO_PROXY", "no_proxy"):  # the server is this machine
        monkeypatch.setenv(name, "*")
    yield tmp_path / "downloads"
    qt.QSettings().remove("DualGlow")
    assert host.slot_errors == []


def zipped(path: Path, entries: dict) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            file.writestr(info, content.read_bytes() if isinstance(content, Path) else content, zipfile.ZIP_STORED)
    return path


def files(folder: Path = BUNDLE, under: str = "") -> dict[str, Path]:
    return {f"{under}{path.name}": path for path in sorted(folder.iterdir())}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return zipped(tmp_path_factory.mktemp("archive") / "model.zip", files(under="simulated-fdg-medium/"))


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; ``held``: it stops in the middle until told to go on. ``short``: it ends there."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.requests, self.short, self.declared = path.read_bytes(), [], False, True
        self.go_on = threading.Event()
        self.go_on.set()
        self.url = f"http://127.0.0.1:{self.server_port}/model.zip"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request, client_address) -> None:
        """The other side went away, which is what some tests are about."""


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        server.requests.append(self.path)
        if self.path != "/model.zip":
            self.send_error(404)
            return
        self.send_response(200)
        if server.declared:
            self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        half = len(server.content) // 2
        self.wfile.write(server.content[:half])
        self.wfile.flush()
        server.go_on.wait(WAIT)
        if not server.short:
            self.wfile.write(server.content[half:])

    def log_message(self, *_) -> None:
        """Quiet."""


@pytest.fixture
def server(archive):
    server = Server(archive)
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


class Fetched:
    """A download and what its callbacks were told."""

    def __init__(self, url, sha256) -> None:
        self.progress, self.model, self.sentence, self.threads = [], None, None, set()
        self.handle = models.startDownload(url, sha256, self._progress, self._done, self._failed)

    def _progress(self, done, total) -> None:
        self.threads.add(threading.current_thread())
        self.progress.append((done, total))

    def _done(self, model) -> None:
        self.threads.add(threading.current_thread())
        assert self.model is None
        self.model = model

    def _failed(self, sentence) -> None:
        self.threads.add(threading.current_thread())
        assert self.sentence is None
        self.sentence = sentence

    def wait(self, until=None) -> Fetched:
        until = until or (lambda: not self.handle.isRunning())
        end = time.monotonic() + WAIT
        while not until():
            assert time.monotonic() < end, "nothing came"
            slicer.app.processEvents()
            time.sleep(0.002)
        return self


def nothing_is_left(folder: Path) -> bool:
    """The thread of a cancelled download may end a little after the user was told."""
    end = time.monotonic() + WAIT
    while folder.is_dir() and list(folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    return not folder.is_dir() or not list(folder.iterdir())


# ------------------------------------------------------------------------------------------------------------- the list


def test_the_model_that_ships_is_the_first_and_needs_no_agreement():
    model = models.listModels()[0]
    assert (model.name, model.path, model.origin, model.problem) == (BUNDLE.name, BUNDLE, "bundled", "")
    assert model.licence == "Apache-2.0"
    assert not models.needsAcknowledgement(model)
    assert not models.isDownloaded(model)


def test_facts_are_those_of_the_loaded_model():
    facts, bundle = models.modelFacts(BUNDLE), load_bundle(BUNDLE)
    assert (facts["name"], facts["sha256"], facts["training"]) == (bundle.name, bundle.digest, bundle.training)
    assert facts["simulated"] is True
    assert facts["grid"] == {"name": "medium", "shape": [48, 64, 48], "affine": bundle.grid.affine.tolist()}
    assert facts["card"].startswith("# simulated-fdg-medium")
    assert [one["name"] for one in facts["covariates"]] == [one.name for one in bundle.config.covariates]
    age, sex, diagnosis = facts["covariates"]
    assert age == {"name": "age", "kind": "numeric", "range": [40.0, 100.0]}
    assert (sex["values"], diagnosis["values"]) == (["F", "M"], ["CN", "MCI", "AD"])
    json.dumps(facts)


def test_downloads_go_to_the_users_own_data_and_not_to_the_module(monkeypatch):
    monkeypatch.undo()
    place = models.modelsFolder()
    assert place.is_absolute()
    assert place.parts[-2:] == ("DualGlow", "Models")
    assert not place.is_relative_to(Path(models.__file__).parents[2])


@pytest.mark.parametrize("given", ["folder", "file", "run"])
def test_a_folder_of_ones_own_stays_on_the_list(tmp_path, given):
    own = tmp_path / "run" / "bundle"
    shutil.copytree(BUNDLE, own)
    path = {"folder": own, "file": own / "weights.safetensors", "run": tmp_path / "run"}[given]
    added = models.addModelFolder(path)
    assert added.path == own
    assert added in models.listModels()
    assert models.addModelFolder(own) == added
    assert [model.name for model in models.listModels()] == [BUNDLE.name, added.name]  # every name once
    assert added.name != BUNDLE.name
    assert str(own) in added.title


def change_config(folder: Path, **values) -> None:
    path = folder / "config.json"
    values = {**json.loads(path.read_text(encoding="utf-8")), **values}
    write_sealed(path, values, {"weights.safetensors": values["sha256"]["weights.safetensors"]})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda own: (own / "config.json").unlink(), "is no DualGlow model"),
        (lambda own: (own / "config.json").write_text("{"), "is damaged"),
        (lambda own: (own / "weights.safetensors").write_bytes(b"0"), "checksum"),
        (lambda own: (own / "weights.safetensors").unlink(), "is missing"),
        (lambda own: change_config(own, format=2), "update DualGlow"),
        (lambda own: change_config(own, grid={**load_grid(own), "shape": [8, 8]}), "two-dimensional"),
    ],
)
def test_folders_that_hold_no_whole_model_are_not_added(tmp_path, damage, says):
    own = tmp_path / "own"
    shutil.copytree(BUNDLE, own)
    damage(own)
    with pytest.raises(InputError, match=says) as caught:
        models.addModelFolder(own)
    assert SENTENCE.fullmatch(str(caught.value))
    assert len(models.listModels()) == 1


def test_a_model_is_read_beside_the_window_and_what_is_wrong_is_said(tmp_path, monkeypatch):
    """The weights may have gigabytes."""
    own, threads, said = tmp_path / "own", [], []
    shutil.copytree(BUNDLE, own)
    check = models.check_weights
    monkeypatch.setattr(models, "check_weights", lambda *a: threads.append(threading.current_thread()) or check(*a))
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, *_, **__: said.append(text))
    widget = SYNTHESIS.open()
    try:
        add_model(widget, own)
        assert str(own) in widget.ui.modelBox.currentText
        (own / "weights.safetensors").write_bytes(b"0")
        add_model(widget, own)
        assert len(said) == 1
        assert "does not have the checksum" in said[0]
        assert threading.main_thread() not in threads
        widget.window.model.add(str(own))  # and the window is closed before it is read
    finally:
        SYNTHESIS.close(widget)


def load_grid(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text(encoding="utf-8"))["grid"]


def test_a_folder_that_went_away_stays_on_the_list_with_the_reason(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(BUNDLE, own)
    models.addModelFolder(own)
    own.rename(tmp_path / "elsewhere")
    model = models.listModels()[1]
    assert "is no DualGlow model" in model.problem
    assert "can't be used" in model.title
    with pytest.raises(InputError):
        models.modelFacts(model.path)
    (tmp_path / "elsewhere").rename(own)
    assert models.listModels()[1].problem == ""


def test_damaged_settings_are_ignored(caplog):
    import qt

    for text in ("{", "3", '["a", 3]', '{"a": 1}'):
        qt.QSettings().setValue("DualGlow/ModelFolders", text)
        assert models.listModels()[0].name == BUNDLE.name
    assert "damaged" in caplog.text


# ---------------------------------------------------------------------------------------------------------- the licence


def own_model(tmp_path, licence=None, text=None):
    own = tmp_path / "own"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(BUNDLE, own)
    if licence is not None:
        change_config(own, licence=licence)
    if text is not None:
        (own / "LICENSE").write_text(text, encoding="utf-8")
    return models.addModelFolder(own)


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "CC0-1.0", "BSD-3-Clause", "CC-BY-4.0", " mit License\n"])
def test_free_licences_need_no_agreement(tmp_path, licence):
    assert not models.needsAcknowledgement(own_model(tmp_path, licence))


def test_a_stricter_licence_is_agreed_to_once_and_anew_when_it_changes(tmp_path):
    model = own_model(tmp_path, "CC-BY-NC-4.0")
    assert models.needsAcknowledgement(model)
    assert "CC-BY-NC-4.0" in models.acknowledgementText(model)
    models.acknowledge(model)
    assert not models.needsAcknowledgement(model)
    assert not models.needsAcknowledgement(models.listModels()[1])
    assert models.needsAcknowledgement(own_model(tmp_path, "CC-BY-NC-ND-4.0"))


def test_a_licence_file_counts(tmp_path):
    model = own_model(tmp_path, text="Data use agreement\n\nResearch only.\n")
    assert model.licence.startswith("Data use agreement")
    assert models.needsAcknowledgement(model)
    assert not models.needsAcknowledgement(own_model(tmp_path, text="MIT License\n"))


@pytest.mark.parametrize(
    "licence",
    [
        "MIT, but not for commercial use", "Apache-2.0 WITH Commons-Clause", "CC-BY-4.0-NC", "CC-BY-NC-4.0",
        "mitigated",        "MIT License\n\nOnly for members of the consortium.", "apache", "<b>MIT</b>",
    ],
)  # fmt: skip
def test_what_only_begins_as_a_free_licence_is_asked_about(tmp_path, licence):
    model = own_model(tmp_path, licence)
    assert models.needsAcknowledgement(model)
    assert licence in models.acknowledgementText(model)


def test_only_somebody_elses_model_must_state_a_licence(tmp_path, archive):
    assert not models.needsAcknowledgement(own_model(tmp_path))  # trained by oneself
    named = Fetched(str(archive), digest(archive)).wait()  # its card's header says Apache-2.0
    assert not models.needsAcknowledgement(named.model)
    card = re.sub(r"^license: .*\n", "", (BUNDLE / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    unnamed = zipped(tmp_path / "unnamed.zip", {**files(), "README.md": card.encode("utf-8")})
    fetched = Fetched(str(unnamed), digest(unnamed)).wait()
    assert models.needsAcknowledgement(fetched.model)
    assert "states no licence" in models.acknowledgementText(fetched.model)


# ---------------------------------------------------------------------------------------------------------- downloading


def test_a_download_is_checked_placed_and_usable(server, archive, folder):
    fetched = Fetched(server.url, f" SHA256:{digest(archive).upper()}\n").wait()
    assert fetched.sentence is None
    model = fetched.model
    assert model in models.listModels()
    assert models.isDownloaded(model)
    assert (model.url, model.sha256, model.problem) == (server.url, digest(archive), "")
    assert list(folder.iterdir()) == [model.path]
    assert load_bundle(model.path).digest == load_bundle(BUNDLE).digest
    assert {path.name for path in model.path.iterdir()} == {*files(), "source.json"}
    assert fetched.threads == {threading.main_thread()}


def test_the_window_lives_and_sees_progress_while_a_server_is_slow(server, archive):
    server.go_on.clear()
    fetched = Fetched(server.url, digest(archive))
    half, size = len(server.content) // 2, len(server.content)
    fetched.wait(lambda: fetched.progress and fetched.progress[-1] == (half, size))
    ticks = []
    import qt

    timer = qt.QTimer()
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start(1)
    fetched.wait(lambda: len(ticks) >= 20)
    timer.stop()
    assert fetched.model is None
    server.go_on.set()
    assert fetched.wait().model is not None
    assert fetched.progress == sorted(set(fetched.progress))


def test_what_is_here_already_is_not_fetched_again(server, archive):
    first = Fetched(server.url, digest(archive)).wait()
    again = Fetched(server.url, digest(archive)).wait()
    assert again.model == first.model
    assert len(server.requests) == 1
    (first.model.path / "weights.safetensors").write_bytes(b"damaged")
    repaired = Fetched(server.url, digest(archive)).wait()
    assert repaired.model.path == first.model.path
    load_bundle(repaired.model.path)
    assert len(server.requests) == 2


def test_without_a_declared_size(server, archive):
    server.declared = False
    fetched = Fetched(server.url, digest(archive)).wait()
    assert fetched.model is not None


@pytest.mark.parametrize("is_known", [True, False])
def test_a_published_folder_is_offered_by_its_index(tmp_path, is_known):
    """As any web server offers it; the hash may be given besides."""
    publish_bundle(BUNDLE, tmp_path / "offered", "MIT")
    serve = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "offered"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        known = digest(tmp_path / "offered/simulated-fdg-medium.zip") if is_known else ""
        fetched = Fetched(f"http://127.0.0.1:{server.server_port}/index.json", known).wait()
        server.shutdown()
    assert fetched.sentence is None
    assert fetched.model.licence == "MIT"
    assert fetched.model.url.endswith("/simulated-fdg-medium.zip")
    assert fetched.model.sha256 == digest(tmp_path / "offered/simulated-fdg-medium.zip")


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{}",
        b"<html>",
        b"\xff",
        b'{"models": []}',
        b'{"models": [{"file": "a.zip", "sha256": "x"}]}',
        b'{"models": [{"file": "../a.zip", "sha256": "' + b"0" * 64 + b'"}]}',
        b'{"models": [{"file": "a.zip", "sha256": "'
        + b"0" * 64
        + b'"}, {"file": "b.zip", "sha256": "'
        + b"1" * 64
        + b'"}]}',
        b" " * (2 << 20),
    ],
)
def test_an_index_that_lists_no_one_model(tmp_path, folder, content):
    (tmp_path / "index.json").write_bytes(content)
    assert "does not list one model" in refused(str(tmp_path / "index.json"), "", folder)


def test_an_index_without_the_hash_that_is_given(tmp_path, folder):
    (tmp_path / "index.json").write_text(json.dumps({"models": [{"file": "a.zip", "sha256": "0" * 64}]}))
    assert "does not list one model" in refused(str(tmp_path / "index.json"), "1" * 64, folder)
    assert "64 hexadecimal digits" in refused(str(tmp_path / "index.json"), "123", folder)


@pytest.mark.parametrize("form", ["path", "uri"])
def test_an_archive_on_a_disk_works_offline(archive, form):
    fetched = Fetched(str(archive) if form == "path" else archive.as_uri(), digest(archive)).wait()
    assert fetched.model is not None


def refused(url, sha256, folder) -> str:
    fetched = Fetched(url, sha256).wait()
    assert fetched.model is None
    assert SENTENCE.fullmatch(fetched.sentence), fetched.sentence
    assert nothing_is_left(folder)
    assert len(models.listModels()) == 1
    return fetched.sentence


def test_wrong_hash(server, archive, folder):
    sentence = refused(server.url, "0" * 64, folder)
    assert "does not have the SHA-256" in sentence
    assert digest(archive) in sentence


@pytest.mark.parametrize("declared", [True, False])
def test_a_connection_that_ends_early(server, archive, folder, declared):
    server.short, server.declared = True, declared
    sentence = refused(server.url, digest(archive), folder)
    assert ("ended after" if declared else "does not have the SHA-256") in sentence


def test_nothing_at_that_address(server, archive, folder):
    assert "404" in refused(server.url + "s", digest(archive), folder)


def test_no_network(server, archive, folder):
    server.shutdown()
    server.server_close()  # nobody listens at that port now
    assert "can't be reached" in refused(server.url, digest(archive), folder)
    assert "can't be reached" in refused("http://no-such-host.invalid/model.zip", digest(archive), folder)


@pytest.mark.parametrize("url", ["", "model.zip", "ftp://example.org/model.zip", "https://", "http://[", "\0"])
def test_no_address(url, folder):
    assert "is no address" in refused(url, "0" * 64, folder)


@pytest.mark.parametrize("sha256", ["", "123", "g" * 64, "0" * 63])
def test_a_hash_is_required(server, sha256, folder):
    assert "64 hexadecimal digits" in refused(server.url, sha256, folder)
    assert server.requests == []


def test_cancelled_in_the_middle(server, archive, folder):
    server.go_on.clear()
    fetched = Fetched(server.url, digest(archive))
    fetched.wait(lambda: fetched.progress and fetched.progress[-1][0] == len(server.content) // 2)
    with pytest.raises(InputError, match="is running"):
        models.deleteDownloads()
    fetched.handle.cancel()
    fetched.wait()  # although the server is still silent
    assert "cancelled" in fetched.sentence
    server.go_on.set()
    assert nothing_is_left(folder)
    assert fetched.model is None
    assert len(models.listModels()) == 1


def test_cancelling_too_late_changes_nothing(archive):
    fetched = Fetched(str(archive), digest(archive)).wait()
    fetched.handle.cancel()
    slicer.app.processEvents()
    assert fetched.sentence is None
    assert fetched.model in models.listModels()


LINK = zipfile.ZipInfo("weights.safetensors")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(
    "entries",
    [
        {"../outside.txt": "x"},
        {"model/../../outside.txt": "x"},
        {"/outside.txt": "x"},
        {"C:/outside.txt": "x"},
        {"model\\..\\..\\outside.txt": "x"},
        {"model/config.json:stream": "x"},
        {"model/nul ": "x"},
        {LINK: "/etc/passwd"},
    ],
    ids=lambda entries: repr(next(iter(entries))),
)
def test_archives_that_point_elsewhere_are_refused_whole(tmp_path, folder, entries):
    path = zipped(tmp_path / "bad.zip", {**files(), **entries} if LINK not in entries else entries)
    assert "which no model has" in refused(str(path), digest(path), folder)
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("<html>Sign in</html>"), "is no zip file"),
        (lambda path: zipped(path, {"notes.txt": "x"}), "does not hold one DualGlow model"),
        (lambda path: zipped(path, {**files(under="a/"), **files(under="b/")}), "does not hold one DualGlow model"),
        (lambda path: zipped(path, {**files(), "config.json": "{}"}), "holds no usable model"),
        (lambda path: zipped(path, {**files(), "weights.safetensors": "x"}), "does not have the checksum"),
        (lambda path: zipped(path, {"config.json": BUNDLE / "config.json"}), "is missing"),
        (lambda path: path.write_bytes(zipped(path, files()).read_bytes()[:-9]), "is no zip file"),
    ],
)
def test_archives_without_a_whole_model(tmp_path, folder, make, says):
    path = tmp_path / "other.zip"
    make(path)
    sentence = refused(str(path), digest(path), folder)
    assert says in sentence
    assert downloads.PARTIAL not in sentence


def test_an_archive_from_a_mac_is_taken(tmp_path):
    extra = {"__MACOSX/model/._config.json": "x", "model/.DS_Store": "x"}
    path = zipped(tmp_path / "mac.zip", {**files(under="model/"), **extra})
    assert Fetched(str(path), digest(path)).wait().model is not None


def test_too_large(archive, folder, monkeypatch, server):
    monkeypatch.setattr(downloads, "MAX_BYTES", 10**6)
    assert "larger than 1.0 MB" in refused(server.url, digest(archive), folder)
    server.declared = False
    assert "larger than 1.0 MB" in refused(server.url, digest(archive), folder)


def test_a_bomb(tmp_path, folder, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(BUNDLE / "config.json", "config.json")
        file.writestr("weights.safetensors", bytes(4 * 10**6))
    monkeypatch.setattr(downloads, "MAX_BYTES", 10**6)
    assert path.stat().st_size < 10**5
    assert "larger than 1.0 MB" in refused(str(path), digest(path), folder)


def test_a_place_that_cannot_be_written(archive, folder):
    folder.write_text("a file where the folder should be")
    fetched = Fetched(str(archive), digest(archive)).wait()
    assert "can't be written" in fetched.sentence
    assert SENTENCE.fullmatch(fetched.sentence)


def test_a_disk_that_is_full_from_the_start(server, archive, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert "is full" in refused(server.url, digest(archive), folder)


def test_a_disk_that_becomes_full(archive, folder):
    resource_limits = pytest.importorskip("resource", reason="needs limits on the size of files, which Windows lacks")
    former = resource_limits.getrlimit(resource_limits.RLIMIT_FSIZE)
    resource_limits.setrlimit(resource_limits.RLIMIT_FSIZE, (4 * 2**20, former[1]))
    try:
        assert "is full" in refused(str(archive), digest(archive), folder)
    finally:
        resource_limits.setrlimit(resource_limits.RLIMIT_FSIZE, former)


def test_what_a_slicer_left_that_ended_in_the_middle_is_removed_after_a_day(archive, folder):
    import os

    for name, age in (("old", 2 * 86400), ("new", 60)):
        left = folder / f"{downloads.PARTIAL}{name}"
        left.mkdir(parents=True)
        (left / "archive.zip").write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    Fetched(str(archive), digest(archive)).wait()
    assert [path.name for path in folder.glob(f"{downloads.PARTIAL}*")] == [f"{downloads.PARTIAL}new"]
    assert len(models.listModels()) == 2


def test_deleting_downloads_frees_what_it_says(archive, folder):
    assert models.deleteDownloads() == 0
    model = Fetched(str(archive), digest(archive)).wait().model
    size = sum(path.stat().st_size for path in model.path.iterdir())
    assert size > 9 * 10**6
    assert models.deleteDownloads() == size
    assert not folder.exists()
    assert len(models.listModels()) == 1
