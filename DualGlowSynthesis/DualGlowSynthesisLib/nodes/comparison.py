"""An acquired PET beside what the model expects of this MRI: difference, z-map, numbers, and their meaning in words."""

from typing import Any, NamedTuple

import numpy as np
from slicer.i18n import tr as _

from DualGlowLib.worker.replies import Compared
from DualGlowSlicerLib import volumes

from . import belonging, display
from .companions import companion, companionOf
from .results import updateTable

__all__ = ["ComparisonNodes", "summaryOf", "textFor", "writeComparison"]

DIFFERENCE_WINDOW = 0.5
"""SUVR: differences from minus to plus this are told apart by colour."""

Z_WINDOW = 5.0
"""Standard deviations; likewise."""

TRANSPARENT = 0.2
"""Share of a window, around 0, that is not drawn: 0.1 SUVR, and one standard deviation."""

_SAMPLES_OF_90 = 19  # with fewer, more than one PET in ten of the model's own ranks first or last among the others
_UNUSUAL = 5.0  # per cent at either end


class ComparisonNodes(NamedTuple):
    """All on the T1's lattice: the acquired ``pet`` in SUVR, its ``difference`` from the predicted mean, and ``z``,
    that over the predicted SD. ``table``: metrics and regions.
    """

    pet: Any
    difference: Any
    z: Any
    table: Any


def writeComparison(inputVolume, petVolume, found: Compared, isOwned: bool = False) -> ComparisonNodes:
    """Write a comparison into the scene, into the same nodes as the input's last one.

    Args:
        inputVolume: the T1.
        petVolume: the acquired PET as it was given.
        found: with arrays on the input's lattice, indexed i, j, k.
        isOwned: whether the arrays' memory may become the nodes', see ``volumes.imageOf``.

    Raises:
        ValueError: if an array lies on another lattice; the scene is as it was.
    """
    shape = inputVolume.GetImageData().GetDimensions()
    if any(array.shape != shape for array in (found.pet, found.difference, found.z)):
        raise ValueError(f"The comparison does not lie on the lattice of {inputVolume.GetName()}.")
    name = belonging.patientTitle(inputVolume)
    pet = _volume(inputVolume, "RealPet", _("{name} acquired PET (SUVR)").format(name=name), found.pet, isOwned)
    pet.SetAttribute("DualGlow.ResampledFrom", petVolume.GetName())
    pet.SetNodeReferenceID("DualGlow.ResampledFrom", petVolume.GetID())
    if pet.GetDisplayNode() is None:
        display.styleUptake(pet)
    about = {**found.provenance, "RealPet": petVolume.GetName()}
    title, units = _("{name} acquired minus synthetic").format(name=name), {"Content": "difference", "Units": "SUVR"}
    difference = _map(
        inputVolume, "Difference", title, found.difference, DIFFERENCE_WINDOW, {**about, **units}, isOwned
    )
    title, units = _("{name} acquired PET z-map").format(name=name), {"Content": "z", "Units": "standard deviations"}
    z = _map(inputVolume, "Z", title, found.z, Z_WINDOW, {**about, **units}, isOwned)
    table = companion(
        inputVolume, "ComparisonTable", "vtkMRMLTableNode", _("{name} acquired PET compared").format(name=name)
    )
    updateTable(table, _titles(), _metricRows(found) + _regionRows(found))
    volumes.markSynthetic(table, {**about, "Content": "comparison"})
    belonging.claim(table, inputVolume)
    table.SetAttribute("DualGlow.Summary", summaryOf(found))
    return ComparisonNodes(pet, difference, z, table)


def summaryOf(found: Compared) -> str:
    """One line for the window: whether the PET fits the MRI, by which number, and what that number can't say."""
    parts = []
    if found.verdict["status"] != "good":
        text = _("Look at the registration of the PET first, it is {status} ({reasons}).")
        parts.append(text.format(status=found.verdict["status"], reasons="; ".join(found.verdict["reasons"])))
    parts.append(_verdictText(found.percentile, found.provenance["Samples"]))
    parts.append(
        _("The model is its own yardstick: where its spread is a little off, acquired PETs fall near 0 or 100.")
    )
    return " ".join(parts)


def textFor(inputVolume) -> str:
    """What the window says of the input's comparison: of which PET, at which age, and its summary; "" without one."""
    table = None if inputVolume is None else companionOf(inputVolume, "ComparisonTable")
    if table is None:
        return ""
    about = volumes.provenanceOf(table)
    age = about.get("Age")
    said = _("age unknown") if age is None else _("age {age}").format(age=f"{age:g}")
    text = _("{pet} ({age}): {summary}")
    return text.format(pet=about.get("RealPet", ""), age=said, summary=table.GetAttribute("DualGlow.Summary") or "")


def _verdictText(percentile: float, samples: int) -> str:
    """``samples``: how many PETs of the model's own the real one was ranked among."""
    least = 50 / (samples + 1)  # the percentile of one less likely than all
    count, isFirst, isLast = round(percentile), percentile <= 1.01 * least, percentile >= 100 - 1.01 * least
    if samples < _SAMPLES_OF_90 and (isFirst or isLast):
        text = _("Undecided: only {samples} PETs were drawn to rank it among; take {least} or more.")
    elif percentile < _UNUSUAL:
        text = _("Unusual: it fits less well than {others} of 100 PETs that the model draws for this person.")
        if isFirst:
            text = _("Unusual: it fits less well than all {samples} PETs that the model draws for this person.")
    elif percentile > 100 - _UNUSUAL:
        text = _(
            "Unusual: it fits better than {count} of 100 PETs that the model draws for this person, as an image does "
            "that is too smooth."
        )
    else:
        text = _("It fits as well as {count} of 100 PETs that the model draws for this person.")
    return text.format(count=count, others=100 - count, samples=samples, least=_SAMPLES_OF_90)


def _volume(inputVolume, role: str, name: str, array: np.ndarray, isOwned: bool):
    node = companion(inputVolume, role, "vtkMRMLScalarVolumeNode", name)
    volumes.updateVolumeFromArray(node, array, inputVolume, isOwned)
    belonging.claim(node, inputVolume)
    return node


def _map(inputVolume, role: str, name: str, array: np.ndarray, window: float, provenance: dict, isOwned: bool):
    """Difference or z: where it is not known, it is 0 and so not drawn."""
    array = array if isOwned else array.copy(order="K")
    array[~np.isfinite(array)] = 0
    node = _volume(inputVolume, role, name, array, isOwned=True)
    volumes.markSynthetic(node, provenance)
    if node.GetDisplayNode() is None:
        colors = display.divergingColors("DualGlowDiverging", _("DualGlow blue white red"), TRANSPARENT)
        display.styleMap(node, colors.GetID(), window)
    return node


def _titles() -> list[str]:
    return [_("Quantity"), _("Acquired PET"), _("Predicted"), _("5 %"), _("95 %"), _("z")]


def _metricRows(found: Compared) -> list[list]:
    """In the brain; in the column of the acquired PET."""
    metrics = found.metrics
    named = [
        (_("Mean absolute error (SUVR)"), metrics.get("mae")),
        (_("PSNR (dB)"), metrics.get("psnr")),
        (_("SSIM"), metrics.get("ssim")),
        (_("Correlation"), metrics.get("correlation")),
        (_("Bits per dimension"), found.bits_per_dim),
        (_("Of 100 PETs drawn, fits better than"), found.percentile),
    ]
    return [[title, value, None, None, None, None] for title, value in named if value is not None]


def _regionRows(found: Compared) -> list[list]:
    keys = ("real", "mean", "low", "high", "z")
    return [[row["region"].replace("_", " "), *(row.get(key) for key in keys)] for row in found.regions]
