"""README, CONTRIBUTING and Documentation agree with the code: links, commands, options, defaults, grids, numbers."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path, PurePosixPath

import pytest

from DualGlowLib.__main__ import _parser
from DualGlowLib.model import PRESETS, preset
from DualGlowLib.training.settings import TrainingSettings
from DualGlowLib.volumes.grid import GRIDS
from places import ROOT
from tree import MODULES, text, tree

RESULTS = "Testing/benchmarks/RESULTS.md"
OWN = "https://github.com/DualGlow/SlicerDualGlow/blob/main/"


@cache
def manual() -> tuple[str, ...]:
    """The pages for readers: README, CONTRIBUTING and Documentation."""
    return "README.md", "CONTRIBUTING.md", *_found("Documentation/*.md")


@cache
def pages() -> tuple[str, ...]:
    """Every page: those for readers, what was measured, and the models' cards."""
    return *manual(), RESULTS, *_found("Resources/Models/*/README.md")


def _found(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def without_code(name: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text(name), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(name: str) -> set[str]:
    """What GitHub makes of the headings of a page."""
    titles = re.findall(r"^#+ +(.+?) *$", without_code(name), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()) for title in titles]
    return {word.replace(" ", "-") for word in words}


def section(name: str, title: str) -> str:
    """What stands under a heading of level 2, up to the next one."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text(name), re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {title!r}."
    return found[1]


def rows(table: str) -> list[list[str]]:
    """Cells of the rows of all tables in a text, titles included."""
    lines = [line.strip().strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line] for line in lines]


# -------------------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("name", manual())
def test_links_and_pictures_exist(name):
    """With the heading that a link names; upper and lower case as on disk."""
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        parts: list[str] = [] if not path else [*PurePosixPath(name).parts[:-1]]
        for part in PurePosixPath(path or name).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        file = "/".join(parts)
        if file not in tree() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    assert not missing, f"{name} links to {', '.join(missing)}, which isn't there."


def test_links_to_our_repository_exist():
    """Those that windows and pages give as addresses."""
    named = [name for name in tree() if Path(name).suffix in (".py", ".md", ".ui", ".toml", ".txt", ".cff")]
    for name in named:
        for path in re.findall(re.escape(OWN) + r"([\w./-]+)", text(name)):
            assert path in tree(), f"{name} links to {path}, which isn't there."


def test_tests_that_are_named_exist():
    """In pages, comments and docstrings: with its folder, or by its file alone."""
    files = {PurePosixPath(name).name for name in tree()}
    missing = []
    for name in tree():
        if PurePosixPath(name).suffix in (".py", ".md", ".txt", ".toml") and name != "Testing/benchmarks/RESULTS.md":
            named = re.findall(r"(Testing/)?((?:\w+/)*test_\w+\.py)\b", text(name))
            missing += [f"{name}: {root}{path}" for root, path in named if not _is_there(root, path, files)]
    assert missing == []


def _is_there(root: str, path: str, files: set[str]) -> bool:
    return root + path in tree() if "/" in root + path else path in files


@pytest.mark.parametrize("module", MODULES)
def test_windows_link_to_their_page(module):
    page = f"Documentation/{module.removeprefix('DualGlow').lower()}-module.md"
    assert f'href="{OWN}{page}"' in text(f"{module}/{module}.py")


def test_every_page_is_in_the_index():
    index = text("Documentation/README.md")
    others = [name for name in _found("Documentation/*.md") if name != "Documentation/README.md"]
    missing = [name for name in others if f"]({PurePosixPath(name).name})" not in index]
    assert missing == []


# -------------------------------------------------------------------------------------------------------------- README


def test_readme_is_short():
    assert len(text("README.md").splitlines()) <= 130


def test_documentation_is_not_installed():
    files = [name for name in tree() if PurePosixPath(name).name in ("CMakeLists.txt", "pyproject.toml")]
    assert [name for name in files if "Documentation" in text(name)] == []


@pytest.mark.parametrize(("name", "title"), [("README.md", "Limits"), ("Documentation/method.md", None)])
def test_numbers_are_measured(name, title):
    """Each number with a decimal point stands in RESULTS.md or on a model's card too."""
    sources = [RESULTS, *(page for page in pages() if page.startswith("Resources/Models/"))]
    known = {number for source in sources for number in re.findall(r"\d+\.\d+", text(source))}
    found = set(re.findall(r"\d+\.\d+", text(name) if title is None else section(name, title)))
    assert found <= known, f"{name}: {', '.join(sorted(found - known))} is not in RESULTS.md."


# -------------------------------------------------------------------------------------------------------- command line


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = _parser()
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices


_SHOWN = re.compile(r"(-m DualGlowLib|\bdualglow|(?:python|--python-script) \S*train\.py(?: --)?) ([^`\n]+)")


def shown() -> list[tuple[str, list[str]]]:
    """Commands that pages show, with the page: after ``-m DualGlowLib``, ``dualglow`` or the script ``train.py``.

    Of a shell's variables, ``${x:+--option}`` stands for the option.
    """
    found = []
    for name in pages():
        for script, words in _SHOWN.findall(text(name).replace("\\\n", " ")):
            words = re.sub(r"\$\{\w+:\+([^}]+)\}", r"\1", words).partition(" &")[0]
            arguments = shlex.split(words, comments=True)
            if "train.py" in script:
                found.append((name, ["train", *arguments]))
            elif re.fullmatch("[a-z]+", arguments[0]):
                found.append((name, arguments))
    return found


def test_commands_on_pages_are_found():
    used = {arguments[0] for _, arguments in shown()}
    assert used == set(commands())


@pytest.mark.parametrize(("page", "arguments"), shown())
def test_commands_on_pages_can_be_run(page, arguments, capsys):
    """Parsed by the real parser, with every option written in full; words in capitals and variables are any value."""
    try:
        _parser().parse_args(["1" if re.fullmatch(r"[A-Z]+|\$\w+", word) else word for word in arguments])
    except SystemExit:
        pytest.fail(f"{page} shows {' '.join(arguments)}: {capsys.readouterr().err.splitlines()[-1]}")
    options = {option for action in commands()[arguments[0]]._actions for option in action.option_strings}
    assert {word.partition("=")[0] for word in arguments if word.startswith("--")} <= options


def default_of(action: argparse.Action) -> str:
    """How the page writes a default; empty for switches, and where there is none."""
    if action.default is None or isinstance(action.default, bool) or action.default == argparse.SUPPRESS:
        return ""
    values = action.default if isinstance(action.default, list | tuple) else [action.default]
    between = " " if action.nargs else ","  # several words, or one
    return f"`{between.join(f'{value:g}' if isinstance(value, float) else str(value) for value in values)}`"


@pytest.mark.parametrize("command", commands())
def test_every_option_is_described(command):
    """In the command's section, in a row with its default; or listed there as one that is like another command's."""
    here = section("Documentation/command-line.md", command)
    described = {row[0].strip("`").split()[0]: row[1] for row in rows(here) if row[0].startswith("`")}
    alike = [paragraph for paragraph in here.split("\n\n") if "are those of [" in paragraph]
    listed = set(re.findall(r"`(--[a-z-]+)`", "".join(alike)))
    actions = [action for action in commands()[command]._actions if "--help" not in action.option_strings]
    known = {(action.option_strings or [action.metavar])[0]: default_of(action) for action in actions}
    assert set(described) | listed == set(known)
    assert described == {name: default for name, default in known.items() if name in described}


@pytest.mark.parametrize("command", commands())
def test_every_option_has_help(command):
    assert [action.dest for action in commands()[command]._actions if not action.help] == []


def test_commands_are_declared_beside_what_runs_them():
    """With all of their options; the program itself has none but its version."""
    for name, command in commands().items():
        file = f"DualGlowSynthesis/{command.get_default('function').__module__.replace('.', '/')}.py"
        assert re.search(rf'add_command\(\s*commands, "{name}"', text(file)), f"{name} is not declared in {file}."
    assert re.findall(r"add_argument\(([^,]*)", text("DualGlowSynthesis/DualGlowLib/__main__.py")) == ['"--version"']


def test_every_command_is_listed():
    listed = {row[0] for row in rows(text("Documentation/command-line.md").partition("\n## ")[0])}
    assert {f"[`{command}`](#{command})" for command in commands()} <= listed


# ----------------------------------------------------------------------------- grids, presets, settings, scripts, words


def test_grids_are_those_of_the_library():
    def size(values) -> str:
        return "×".join(f"{value:g}" for value in values)

    found = rows(section("Documentation/cohorts-and-training.md", "Grids"))[1:]
    assert found == [[f"`{grid.name}`", size(grid.shape), size(grid.spacing)] for grid in GRIDS.values()]


def test_presets_are_those_of_the_library():
    found = [row[0].strip("`") for row in rows(section("Documentation/method.md", "Presets"))[1:]]
    assert found == list(PRESETS)


def test_settings_on_pages_are_accepted(tmp_path):
    blocks = [block for name in manual() for block in re.findall(r"^```json\n(.*?)^```$", text(name), re.M | re.S)]
    assert blocks
    for block in blocks:
        path = tmp_path / "settings.json"
        path.write_text(block, encoding="utf-8")
        _, rest = TrainingSettings.read(path)
        preset(rest["preset"], GRIDS["small"].shape).updated(rest["model"])
        assert json.loads(block)


def test_scripts_on_pages_are_bash():
    blocks = [block for name in manual() for block in re.findall(r"^```bash\n(.*?)^```$", text(name), re.M | re.S)]
    assert blocks
    for block in blocks:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_scripts_on_pages_are_python():
    blocks = [block for name in manual() for block in re.findall(r"^```python\n(.*?)^```$", text(name), re.M | re.S)]
    assert blocks
    for block in blocks:
        compile(block, "page", "exec")


def test_words_have_one_meaning_each():
    words = [row[0] for row in rows(section("CONTRIBUTING.md", "Words"))[1:]]
    assert len(words) > 20
    assert len(words) == len(set(words))


def test_every_key_of_provenance_is_described():
    from DualGlowLib.provenance import ORIGIN_TITLES, QUESTION_TITLES, Provenance

    page, keys = text("Documentation/files-and-provenance.md"), set(Provenance.__annotations__)
    assert {key for key in keys if f"`{key}`" not in page} == set()
    assert {*ORIGIN_TITLES, *QUESTION_TITLES} <= keys
