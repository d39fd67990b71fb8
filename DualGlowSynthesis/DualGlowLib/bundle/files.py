"""A bundle's files, read without torch: what the model is, and whether it is whole."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError
from ..files import hash_file
from ..preparation.settings import Preparation
from ..resources import resource
from ..sealed import CHECKSUMS, is_sealed, parse_json
from .licences import check_licence

__all__ = [
    "CARD",
    "CONFIG",
    "DEFAULT_BUNDLE",
    "FORMAT",
    "LICENCES",
    "WEIGHTS",
    "check_numbers",
    "check_weights",
    "counts_text",
    "covariates_of",
    "describe",
    "licence_of",
    "method_of",
    "preparation_of",
    "read_config",
    "reading",
    "shipped_bundles",
]

DEFAULT_BUNDLE = "simulated-fdg-medium"
"""Name of the bundle that ships with DualGlow."""

FORMAT = 1
"""The only one that there has been so far."""

CONFIG, WEIGHTS, CARD = "config.json", "weights.safetensors", "README.md"

_MOST_BYTES = 1 << 24  # of a configuration; ours have 10,000

LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What a value that is missing or of the wrong kind in the configuration raises becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged or no DualGlow configuration ({error}); get the model again.") from error


def _fault(folder: Path) -> str:
    """Why a folder without configuration has none, and what to give in its place."""
    if not folder.exists():
        return "it does not exist; check the name"
    if zipfile.is_zipfile(folder):
        unpack = f"python -m zipfile -e {folder.name} {folder.stem}"
        return f"it is a zip file; unpack it ({unpack}) and give the folder that is then in {folder.stem}"
    if folder.is_file():
        return f"it is a file; give the folder that holds {CONFIG}"
    if (folder / "bundle" / CONFIG).is_file():
        return f"it is the folder of a run; give {folder / 'bundle'}"
    if inside := sorted(folder.glob(f"*/{CONFIG}")):
        return f"it has no {CONFIG}; give the folder in it that has one, {inside[0].parent}"
    return f"it has no {CONFIG}; give the folder bundle that training wrote"


def read_config(folder: Path | str) -> dict:
    """The configuration of the bundle in ``folder``, with all that every bundle has.

    Raises:
        InputError: if the folder is no bundle, its configuration is damaged (so its checksum, which those of the first
            DualGlow lack), or of a newer format.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder} is no DualGlow model: {_fault(folder)}.")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path} is larger than any configuration of DualGlow; get the model again.")
    with reading(path):
        values = parse_json(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise InputError(f"{folder} has format {values['format']}; this DualGlow reads {FORMAT}: update DualGlow.")
        is_sealed(values, CONFIG)
        _ = values["name"], values["model"]["shape"], values[CHECKSUMS][WEIGHTS]
        if unknown := set(values[CHECKSUMS]) - {WEIGHTS, CONFIG}:
            raise ValueError(f"it states the checksum of {min(unknown)}")
        check_numbers(values)
    return values


def check_numbers(values: Mapping) -> None:
    """The scales and the grid of a configuration can be what they are to be.

    Raises:
        ValueError: if not.
    """
    for image in ("t1", "pet"):
        scale = values["intensities"][image]["scale"]
        if not 0 < float(scale) < math.inf:
            raise ValueError(f"the scale of its {image.upper()} is {scale}")
    grid = values["grid"]
    shape, spacing, centre = grid["shape"], grid["spacing"], grid["centre"]
    if not (len(shape) in (2, 3) and all(isinstance(side, int) and 0 < side <= 4096 for side in shape)):
        raise ValueError(f"the shape of its grid is {shape}")
    if not all(0 < size < math.inf for size in spacing) or not all(map(math.isfinite, centre)):
        raise ValueError(f"the voxels of its grid measure {spacing}, about {centre}")


def method_of(values: Mapping) -> str:
    """The name of the baseline that a configuration describes; empty for DUAL-GLOW."""
    return str(values["model"].get("method", ""))


def preparation_of(training: Mapping, where: str) -> Preparation:
    """How the scans that a model learned from were prepared, from what its configuration says of its training.

    Raises:
        InputError: if that can't be; it names ``where``.
    """
    return Preparation.from_dict(training.get("preparation", {}), where)


def check_weights(folder: Path | str, values: dict) -> Path:
    """The weights' file, after its checksum was found to be the one that the configuration states.

    Raises:
        InputError: if it is missing or damaged.
    """
    weights = Path(folder) / WEIGHTS
    if not weights.is_file():
        raise InputError(f"{weights} is missing; get the model again.")
    if hash_file(weights) != values[CHECKSUMS][WEIGHTS]:
        raise InputError(f"{weights} does not have the checksum that {CONFIG} states; get the model again.")
    return weights


def describe(folder: Path | str) -> dict:
    """What a user should know of a model before using it; JSON can hold it all.

    Returns:
        ``name``, ``sha256`` (of the configuration), ``simulated``, ``licence`` (a name such as ``"Apache-2.0"``, a
        licence's text, or empty if none is stated), ``card`` (Markdown, without the header for hubs),
        ``grid`` (``name``, ``shape``, ``affine``: voxels to MNI152 RAS+ millimetres), ``reference`` and ``resolution``
        (of its SUVR, in millimetres, see ``Preparation``), ``training``, and ``covariates``: each with ``name``,
        ``kind`` and ``range`` (lowest and highest of the training cases, or None) or ``values``, and
        ``groups`` where some values count as others.

    Raises:
        InputError: as ``read_config``, and for a model of photos. The weights are not read.
    """
    from ..volumes.grid import Grid

    folder = Path(folder)
    values = read_config(folder)
    card = folder / CARD
    with reading(folder / CONFIG):
        grid, training = Grid.from_dict(values["grid"]), values.get("training", {})
        if len(grid.shape) != 3:
            raise InputError(f"{folder} is a model of two-dimensional images; choose one of brains.")
        preparation = preparation_of(training, str(folder / CONFIG))
        return {
            "name": str(values["name"]),
            "sha256": hash_file(folder / CONFIG),
            "simulated": bool(training.get("simulated", False)),
            "licence": licence_of(folder, values),
            "card": _page(card.read_text(encoding="utf-8-sig", errors="replace")) if card.is_file() else "",
            "grid": {"name": grid.name, "shape": list(grid.shape), "affine": grid.affine.tolist()},
            "reference": preparation.reference,
            "resolution": preparation.resolution,
            "training": training,
            "covariates": covariates_of(values),
        }


def shipped_bundles() -> list[Path]:
    """Folders of the bundles that come with DualGlow, the default first."""
    folders = sorted(path.parent for path in resource("Models").glob(f"*/{CONFIG}"))
    return sorted(folders, key=lambda folder: folder.name != DEFAULT_BUNDLE)


def _page(card: str) -> str:
    """A card without the header in YAML that model hubs read."""
    return re.sub(r"\A---\n.*?\n---\n\s*", "", card, flags=re.DOTALL)


def covariates_of(values: Mapping) -> list[dict]:
    """What ``describe`` says of a configuration's covariates."""
    return [_covariate(one) for one in values["model"].get("covariates", [])]


def _covariate(values: dict) -> dict:
    found = {"name": str(values["name"]), "kind": str(values["kind"])}
    if found["kind"] == "categorical":
        groups = {"groups": dict(values["groups"])} if values.get("groups") else {}
        return {**found, "values": list(map(str, values["values"])), **groups}
    known = "minimum" in values and "maximum" in values
    return {**found, "range": [float(values["minimum"]), float(values["maximum"])] if known else None}


def licence_of(folder: Path, values: Mapping) -> str:
    """A name, or the whole text; empty if neither the configuration, a file beside it nor the card states one."""
    stated = values.get("licence") or values.get("training", {}).get("licence")
    if stated:
        return str(stated)
    for name in LICENCES:
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8", errors="replace").strip()
    return _in_card(folder / CARD)


def _in_card(card: Path) -> str:
    """The licence in the header that hubs read, if it names one."""
    text = card.read_text(encoding="utf-8-sig", errors="replace") if card.is_file() else ""
    header = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    found = re.search(r'^license: *"?([A-Za-z0-9.+-]+)"? *$', header[0], re.MULTILINE) if header else None
    with suppress(InputError):  # "other" too
        return check_licence(found[1]) if found else ""
    return ""


def counts_text(of: Mapping) -> str:
    """How many ``cases`` of how many ``subjects``, in words."""
    words = ((of.get(f"{word}s", 0), word) for word in ("case", "subject"))
    return " of ".join(f"{count} {word}" + "s" * (count != 1) for count, word in words)
