"""The examples in docstrings run, and give what they say; ``t1.nii.gz`` of their folder is a T1 that they may read."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from DualGlowLib.volumes.writing import write_scan
from heads import coarse_template
from places import LIBRARY

FILES = {path: path.read_text(encoding="utf-8") for path in sorted(LIBRARY.rglob("*.py"))}
MODULES = [".".join(path.relative_to(LIBRARY).with_suffix("").parts) for path in FILES if ">>> " in FILES[path]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the template's T1 in voxels of 4 mm as ``t1.nii.gz``."""
    folder = tmp_path_factory.mktemp("examples")
    write_scan(coarse_template(4)[0], folder / "t1.nii.gz")
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    module = import_module(name.removesuffix(".__init__"))
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert found
    runner, said = doctest.DocTestRunner(), []
    for test in found:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_no_example_is_skipped() -> None:
    assert [path.name for path in FILES if "doctest: +SKIP" in FILES[path]] == []
