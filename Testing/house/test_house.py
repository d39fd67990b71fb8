"""The rules that Slicer's build, the Extensions Index and our own house have for files; no module is run here."""

from __future__ import annotations

import ast
import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from places import ROOT
from tree import MODULES, cmake_list, text, tree, under

IN_SLICER = {
    "PIL",
    "ctk",
    "numpy",
    "pydicom",
    "qt",
    "scipy",
    "SimpleITK",
    "slicer",
    "vtk",
}  # what Slicer itself brings along
OURS = {"DualGlowLib", "DualGlowSlicerLib", "DualGlowSynthesisLib", "DualGlowTrainingLib"}
NO_TEXT = {".gz", ".mrb", ".npz", ".png", ".safetensors"}


# ----------------------------------------------------------------------------------------- what Slicer's build installs


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("MODULE_PYTHON_SCRIPTS", lambda name: name.endswith(".py")),
        ("MODULE_PYTHON_RESOURCES", lambda name: name.startswith("Resources/")),
    ],
)
def test_cmake_lists_every_file(module, variable, wanted):
    """What is not listed works from the checkout and is missing once installed."""
    listed = cmake_list(module, variable)
    there = {name for name in (path[len(module) + 1 :] for path in under(module)) if wanted(name)}
    missing, gone = sorted(there - set(listed)), sorted(set(listed) - there)
    lines = [f"  add     {name}" for name in missing] + [f"  remove  {name}" for name in gone]
    assert not lines, f"{module}/CMakeLists.txt, {variable}:\n" + "\n".join(lines)
    assert len(listed) == len(set(listed)), f"{module}/CMakeLists.txt, {variable} names a file twice."


def test_cmake_installs_the_shared_resources():
    """The folders of Resources that the library reads are copied and installed, and are not empty."""
    folders = re.search(r"^foreach\(folder (.*)\)$", text("DualGlowSynthesis/CMakeLists.txt"), re.MULTILINE)[1].split()
    used = set(re.findall(r'resource\("(\w+)"', "".join(text(name) for name in under("DualGlowSynthesis", ".py"))))
    assert used <= set(folders)
    assert all(under(f"Resources/{folder}") for folder in folders)


def test_packages_hold_nothing_but_python():
    """Other files there are installed neither by Slicer's build nor by pip; they belong in Resources."""
    for package in ("DualGlowLib", "DualGlowSlicerLib", "DualGlowSynthesisLib"):
        assert [name for name in under(f"DualGlowSynthesis/{package}") if not name.endswith(".py")] == []


def test_modules_do_not_overwrite_each_other():
    """All of both modules lands in one folder."""
    kinds = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")
    places = [name for module in MODULES for kind in kinds for name in cmake_list(module, kind)]
    assert len(places) == len(set(places))


# ------------------------------------------------------------------------------------- what the Extensions Index checks

ENTRY = {  # slicer-extension-catalog-entry-schema-v1.0.1.json
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}


@pytest.fixture(scope="module")
def entry() -> dict:
    return json.loads(text("DualGlow.json"))


def metadata(name: str) -> str:
    """A value of the top CMakeLists.txt, found as the Index's checker finds it: on one line, in double quotes."""
    found = re.findall(rf'set\s*\({name}\s*"([^"]+)"\)', text("CMakeLists.txt"), re.IGNORECASE)
    assert len(found) == 1, f"CMakeLists.txt must set {name} once, on one line, in double quotes."
    assert "\n" not in found[0]
    return found[0]


def test_catalog_entry_keeps_to_the_schema(entry):
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(ENTRY)
    assert [key for key, value in entry.items() if not isinstance(value, ENTRY[key])] == []
    assert 1 <= entry["tier"] <= 5
    assert entry["category"] == "Image Synthesis"  # one that the Index knows
    repository = entry["scm_url"].removesuffix(".git").rpartition("/")[2]
    assert entry["scm_url"].startswith("https://")
    assert repository.startswith("Slicer")


def test_cmake_agrees_with_the_catalog_entry(entry):
    project = re.findall(r"project\s*\(\s*([^\s\)\n\r]+)", text("CMakeLists.txt"), re.IGNORECASE)[0]
    assert (ROOT / f"{project}.json").is_file()
    assert not project.lower().startswith("slicer")
    assert metadata("EXTENSION_DEPENDS").split() == entry["build_dependencies"]
    assert metadata("EXTENSION_HOMEPAGE") == entry["scm_url"].removesuffix(".git")


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_image_urls_point_to_our_files(name, entry):
    base = entry["scm_url"].removesuffix(".git").replace("https://github.com", "https://raw.githubusercontent.com")
    for url in metadata(name).split():
        assert url.startswith(f"{base}/{entry['scm_revision']}/")
        path = url.removeprefix(f"{base}/{entry['scm_revision']}/")
        assert path in tree(), f"{name} names {path}, which is not in the repository."


def test_description_is_understandable_by_itself():
    assert len(metadata("EXTENSION_DESCRIPTION").split()) >= 20
    assert metadata("EXTENSION_CONTRIBUTORS")


def test_licence_and_readme_are_ours():
    for name, file in (("EXTENSION_LICENSE_FILE", "LICENSE"), ("EXTENSION_README_FILE", "README.md")):
        assert metadata(name) == f"${{CMAKE_CURRENT_SOURCE_DIR}}/{file}"
        assert file in tree()
    assert "Apache License" in text("LICENSE")
    assert "Version 2.0" in text("LICENSE")


def test_the_citation_is_valid():
    cffconvert = pytest.importorskip("cffconvert", reason="cffconvert is not installed")
    cffconvert.Citation(text("CITATION.cff")).validate()


def test_versions_and_requirements_agree():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 to read pyproject.toml")
    version = re.search(r'__version__ = "(.+)"', text("DualGlowSynthesis/DualGlowLib/__init__.py"))[1]
    assert re.search(r"^version: (.+)$", text("CITATION.cff"), re.MULTILINE)[1] == version
    released = re.search(r'^date-released: "(\d{4}-\d\d-\d\d)"$', text("CITATION.cff"), re.MULTILINE)[1]
    assert f"## [{version}] - {released}\n" in text("CHANGELOG.md")
    project = tomllib.loads(text("pyproject.toml"))
    requirements = project["project"]["dependencies"]
    with_pip = {line for line in requirements if not re.match(r"(torch|numpy|scipy|pillow|SimpleITK|pydicom)\b", line)}
    lines = text("DualGlowSynthesis/Resources/requirements.txt").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == with_pip
    packages = {
        str(Path(name).parent.relative_to("DualGlowSynthesis")) for name in under("DualGlowSynthesis/DualGlowLib")
    }
    installed = project["tool"]["setuptools"]["packages"]
    assert {name for name in installed if "._resources" not in name} == {
        package.replace("/", ".") for package in packages
    }
    torch = re.search(r'^TORCH = "(.+)"$', text("DualGlowSynthesis/DualGlowSlicerLib/dependencies.py"), re.MULTILINE)
    assert torch[1] in requirements


# --------------------------------------------------------------------------------------------- traps of a Slicer module


@pytest.mark.parametrize("module", MODULES)
def test_only_the_module_lies_in_its_folder(module):
    """Slicer takes every .py file directly in a module folder for a module and fails to load it at each start."""
    assert [name for name in under(module, ".py") if name.count("/") == 1] == [f"{module}/{module}.py"]


def in_slicer_files() -> list[str]:
    own = [f"{module}/{module}.py" for module in MODULES]
    return own + [name for module in MODULES for name in under(f"{module}/{module}Lib", ".py")]


def imported(nodes) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


def test_modules_import_nothing_at_file_scope_that_slicer_lacks():
    for name in in_slicer_files():
        foreign = imported(ast.parse(text(name)).body) - set(sys.stdlib_module_names) - IN_SLICER - OURS
        assert not foreign, f"{name} imports {', '.join(foreign)} at file scope; a fresh Slicer can't load it."


def test_modules_run_nothing_at_file_scope():
    definitions = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    for name in in_slicer_files():
        for node in ast.parse(text(name)).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert isinstance(node, definitions) or docstring, f"{name}:{node.lineno} runs when the module is loaded."


def test_library_knows_neither_slicer_nor_qt():
    for name in under("DualGlowSynthesis/DualGlowLib", ".py"):
        foreign = imported(ast.walk(ast.parse(text(name)))) & {"ctk", "PySide6", "PythonQt", "qt", "slicer", "vtk"}
        assert not foreign, f"{name} imports {', '.join(foreign)}."


ROOMS = (
    "flow", "model", "volumes", "metrics", "atlas", "preparation", "bundle", "cases", "pictures", "cohorts", "simulate",
    "training", "synthesis", "baselines", "evaluation", "adaptation", "study", "worker", "cli",
)  # fmt: skip
"""Of the library; each may import from those before it, and from the files at the root."""

AT_THE_ROOT = {
    "__init__", "__main__", "cluster", "devices", "errors", "files", "locks", "outputs", "processes", "progress",
    "provenance", "resources", "sealed", "spellings", "startup", "values",
}  # fmt: skip


def rooms_imported(name: str) -> set[str]:
    """Rooms and root files that a file of the library imports from, anywhere in it."""
    package = Path(name).parent.relative_to("DualGlowSynthesis").parts
    found = set()
    for node in ast.walk(ast.parse(text(name))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            parts = [part for part in base if part]
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


def test_each_room_knows_only_those_before_it():
    for name in under("DualGlowSynthesis/DualGlowLib", ".py"):
        parts = Path(name).relative_to("DualGlowSynthesis/DualGlowLib").parts
        if len(parts) == 1:
            assert Path(name).stem in AT_THE_ROOT, f"{name} lies at the root, where only what all may use belongs."
            continue
        above = ROOMS[ROOMS.index(parts[0]) + 1 :]
        wrong = rooms_imported(name) & set(above)
        assert not wrong, f"{name} imports from {', '.join(sorted(wrong))}, which come after {parts[0]}."


def test_no_room_is_crowded():
    folders = [str(Path(name).parent) for name in under("DualGlowSynthesis/DualGlowLib", ".py")]
    crowded = {folder for folder in folders if folders.count(folder) > 16}
    assert not crowded, f"{', '.join(crowded)}: more than 15 files; divide the room by subject."


def test_the_container_copies_what_a_wheel_needs():
    """Every file that pyproject.toml and the steps of the Containerfile name; a link, or a pattern, isn't followed."""
    copied = [
        source
        for line in re.findall(r"^COPY (.*) \S+$", text("Containerfile"), re.MULTILINE)
        for source in line.split()
    ]
    assert [source for source in copied if not under(source) and source not in tree()] == []
    named = [
        *re.findall(r"^(?:readme|license-files) = (.*)$", text("pyproject.toml"), re.MULTILINE),
        '"constraints.txt"',
    ]
    for name in re.findall(r'"([^"]+)"', " ".join(named)):
        assert any(name == source or name.startswith(f"{source}/") for source in copied), name
    extras = set(re.search(r'"/src\[(.*)\]"', text("Containerfile"))[1].split(","))
    assert extras <= set(
        re.findall(r"^(\w+) = \[", text("pyproject.toml").partition("optional-dependencies]")[2], re.MULTILINE)
    )


def test_importing_the_library_is_cheap():
    program = "import sys, DualGlowLib; print(*sorted({'torch', 'nibabel', 'SimpleITK', 'numpy'} & set(sys.modules)))"
    library = str(ROOT / "DualGlowSynthesis")
    done = subprocess.run([sys.executable, "-c", program], cwd=library, check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", MODULES)
def test_windows_are_wired(module):
    """Each MRML widget gets the scene, each name is used once, and no style is forced on the user."""
    root = ElementTree.fromstring(text(f"{module}/Resources/UI/{module}.ui"))
    widgets = list(root.iter("widget"))
    assert widgets[0].get("class") == "qMRMLWidget"
    names = [widget.get("name") for widget in widgets]
    assert len(names) == len(set(names))
    needing = {w.get("name") for w in widgets[1:] if w.get("class").startswith("qMRML")}
    wired = {
        connection.findtext("receiver")
        for connection in root.iter("connection")
        if connection.findtext("sender") == names[0]
        and connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }
    assert wired == needing
    assert not [one for one in root.iter("property") if one.get("name") == "styleSheet"]
    declared = {one.text for one in root.iterfind("customwidgets/customwidget/class")}
    assert declared == {w.get("class") for w in widgets if not w.get("class").startswith("Q")}


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "name", ["Resources/DualGlow.png", *(f"{module}/Resources/Icons/{module}.png" for module in MODULES)]
)
def test_icons_are_128_by_128_with_transparency(name):
    head = (ROOT / name).read_bytes()[:26]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (128, 128)
    assert head[25] == 6  # red, green, blue and opacity


def test_line_ends_are_lf():
    texts = [name for name in tree() if Path(name).suffix not in NO_TEXT]
    assert [name for name in texts if b"\r" in (ROOT / name).read_bytes()] == []


def test_no_file_is_large():
    """The Extensions Index refuses a clone of more than 100 MB, history included."""
    large = [name for name in tree() if (ROOT / name).stat().st_size > 12 * 2**20]
    assert large == []
