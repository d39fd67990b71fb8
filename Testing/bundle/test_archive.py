"""A bundle as one zip file."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from DualGlowLib import InputError
from DualGlowLib.bundle.archive import export_bundle, main
from DualGlowLib.bundle.files import WEIGHTS, shipped_bundles
from DualGlowLib.files import hash_file


def test_the_archive_holds_the_bundle_and_has_the_hash_that_is_said(tmp_path: Path, capsys) -> None:
    bundle = shipped_bundles()[0]
    assert main([str(bundle), str(tmp_path / "one.zip")]) == 0
    assert hash_file(tmp_path / "one.zip") in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        for name in archive.namelist():
            assert archive.read(name) == (bundle / Path(name).name).read_bytes()
        assert {Path(name).parent.name for name in archive.namelist()} == {bundle.name}
    assert list(tmp_path.iterdir()) == [tmp_path / "one.zip"]


def test_what_is_no_part_of_the_bundle_is_not_handed_on(tmp_path: Path) -> None:
    """A table of the cases, or the address that the model was downloaded from."""
    bundle = tmp_path / "bundle"
    shutil.copytree(shipped_bundles()[0], bundle)
    (bundle / "LICENSE").write_text("terms")
    export_bundle(bundle, tmp_path / "sound.zip")
    for name in ("participants.tsv", "source.json", "calibration.json.orig"):
        (bundle / name).write_text("private")
    export_bundle(bundle, tmp_path / "mixed.zip")
    names = [zipfile.ZipFile(tmp_path / name).namelist() for name in ("sound.zip", "mixed.zip")]
    assert names[0] == names[1]
    assert any(name.endswith("/LICENSE") for name in names[0])


def test_nothing_is_replaced_and_no_damaged_model_exported(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already"):
        export_bundle(shipped_bundles()[0], tmp_path / "mine.zip")
    assert (tmp_path / "mine.zip").read_bytes() == b"mine"
    (tmp_path / "link.zip").symlink_to("nowhere")
    with pytest.raises(InputError, match="exists already"):
        export_bundle(shipped_bundles()[0], tmp_path / "link.zip")
    assert (tmp_path / "link.zip").is_symlink()
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in shipped_bundles()[0].iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[: 1000 if path.name == WEIGHTS else None])
    with pytest.raises(InputError, match="checksum"):
        export_bundle(broken, tmp_path / "other.zip")
    with pytest.raises(InputError, match="can't be written"):
        export_bundle(shipped_bundles()[0], tmp_path / "gone" / "other.zip")
    assert not (tmp_path / "other.zip").exists()
