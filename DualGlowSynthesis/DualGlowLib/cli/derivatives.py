"""Where ``synthesize`` and ``sweep`` put a PET that they name themselves: a BIDS derivative, or a folder as it is."""

from __future__ import annotations

from pathlib import Path

from .. import __version__
from ..files import description_of, json_text, make_folder, write_whole

__all__ = ["begin_derivative", "pet_place", "sidecar_keys"]

_DESCRIPTION, _NAME = "dataset_description.json", "DualGlow synthetic FDG-PET"
_README = """Synthetic FDG-PETs made from T1-weighted MRIs by DualGlow; no PET was acquired. For research only, not for
diagnosis or treatment. How each was made is said in the JSON file beside it.
"""
_IGNORED = "records\nlogs\n*.png\n*.h5\n*.tfm\n*_regions.tsv\n"  # BIDS has no place yet for these


def pet_place(folder: Path, name: str) -> Path:
    """Where a PET with a BIDS name goes.

    A folder that is new, empty or a BIDS derivative already gets ``sub-*/[ses-*/]pet/``; in one that holds other
    things, in ``pet`` itself, and in a folder within a BIDS dataset, the PET lies as it is.
    """
    if description_of(folder).get("DatasetType") != "derivative" and not _may_become_one(folder):
        return folder / name
    found = dict(part.split("-", 1) for part in name.split("_") if "-" in part)
    session = [f"ses-{found['ses']}"] if "ses" in found else []
    return folder.joinpath(f"sub-{found['sub']}", *session, "pet", name)


def begin_derivative(folder: Path, pet: Path) -> None:
    """Make the folders of a PET; a derivative that DualGlow begins or began gets the files at its top that it lacks."""
    about = description_of(folder)
    if folder != pet.parent and (about.get("DatasetType") != "derivative" or about.get("Name") == _NAME):
        make_folder(folder)
        maker = {"Name": "DualGlow", "Version": __version__, "Description": "python -m DualGlowLib synthesize"}
        description = {
            "Name": _NAME,
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [maker],
            "Synthetic": True,
        }
        # The description first: should this be cut off, the next run knows the folder again.
        for name, text in ((_DESCRIPTION, json_text(description)), ("README", _README), (".bidsignore", _IGNORED)):
            if not (folder / name).exists():
                write_whole(folder / name, text)
    make_folder(pet.parent)


def sidecar_keys(t1: Path) -> dict[str, object]:
    """What BIDS wants in the sidecar of a PET on a T1's voxels: the T1's place in its dataset, if it has one."""
    subject = next((place for place in t1.absolute().parents if place.name.startswith("sub-")), None)
    place = t1.absolute().relative_to(subject.parent).as_posix() if subject else "orig"
    return {"SkullStripped": True, "SpatialReference": place}


def _may_become_one(folder: Path) -> bool:
    folder = folder.absolute()
    if folder.is_file() or folder.name == "pet" or (folder.is_dir() and any(folder.iterdir())):
        return False
    is_within = any((place / _DESCRIPTION).is_file() for place in folder.parents)
    return not is_within or folder.parent.name == "derivatives"  # where the derivatives of a dataset lie
