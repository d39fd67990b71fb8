"""Whether what is shown is what the window says: the choices that a result was not made with, in words."""

import json

from slicer.i18n import tr as _

from DualGlowLib.provenance import covariates_of
from DualGlowSlicerLib import volumes

from ..nodes import belonging, marks, results
from ..parameters import Choices

__all__ = ["disagreements", "elsewhere", "notePreparation", "otherSample", "otherSince"]

_PREPARATION = "DualGlow.Preparation"
_MASK = "DualGlow.MadeWithMask"


def notePreparation(outputVolume, preparation: str, maskVolume) -> None:
    """Write on a result what of the window provenance can't hold: how its MRI was prepared, and with which mask."""
    said = {"preparation": preparation, "masked": maskVolume is not None}
    outputVolume.SetAttribute(_PREPARATION, json.dumps(said))
    outputVolume.SetNodeReferenceID(_MASK, maskVolume.GetID() if maskVolume is not None else None)


def disagreements(outputVolume, choices: Choices, modelDigest: str, preparation: str, maskVolume) -> list[str]:
    """What a result was made with, where that isn't what is chosen now; empty where the two agree.

    Args:
        modelDigest: SHA-256 of the chosen model's configuration; "" if it isn't known.
    """
    about, question = volumes.provenanceOf(outputVolume), choices.question
    titles = {"Temperature": _("temperature {value}"), "Samples": _("{value} samples"), "Seed": _("seed {value}")}
    chosen = {"Temperature": question.temperature}
    if question.temperature > 0:  # without noise neither makes a difference
        chosen |= {"Samples": question.samples, "Seed": question.seed}
    pairs = [
        (f"{name} {_text(value)}", value, question.covariates.get(name)) for name, value in covariates_of(about).items()
    ]
    pairs += [
        (titles[key].format(value=_text(about[key])), about[key], value)
        for key, value in chosen.items()
        if key in about
    ]
    found = [
        _("{shown} (chosen: {chosen})").format(shown=text, chosen=_text(value))
        for text, shown, value in pairs
        if shown != value
    ]
    made = about.get("BundleSHA256")
    if made and modelDigest and made != modelDigest:
        found.append(_("the model {name} (another is chosen)").format(name=about.get("Bundle", "")))
    below = volumes.provenanceOf(results.resultOf(outputVolume, "below") or outputVolume).get("BelowSUVR")
    if None not in (below, question.below) and below != question.below:
        text = _("the threshold {shown} (chosen: {chosen})")
        found.append(text.format(shown=_text(below), chosen=_text(question.below)))
    said = json.loads(outputVolume.GetAttribute(_PREPARATION) or "{}")
    isMask = outputVolume.GetNodeReference(_MASK) is maskVolume
    if said and not (isMask and said == {"preparation": preparation, "masked": maskVolume is not None}):
        found.append(_("another brain mask or preparation"))
    return found


def elsewhere(outputVolume, shown: list) -> str:
    """What the views show, if that is neither the output nor a part of it; else "".

    Args:
        shown: the volumes made by DualGlow that the views show, see ``marks.shownIn``.
    """
    others = [node for node in shown if not _isPartOf(node, outputVolume)]
    return "; ".join(dict.fromkeys(", ".join(marks.describe(node).split("\n")[1:]) for node in others))


def otherSample(outputVolume, number: int) -> str:
    """Which sample of the output there is, if it isn't the chosen one; else "" (or there is none)."""
    node = results.resultOf(outputVolume, "sample")
    there = None if node is None else volumes.provenanceOf(node).get("SampleNumber")
    if there is None or there == number:
        return ""
    return _("{shown} (chosen: {chosen})").format(shown=_("sample {number}").format(number=there), chosen=number)


def otherSince(outputVolume, age: int) -> str:
    """The age since which there is a change of the output, if it isn't the chosen one; else "" (or there is none)."""
    node = results.resultOf(outputVolume, "change")
    there = None if node is None else volumes.provenanceOf(node).get("SinceAge")
    if there is None or there == age:
        return ""
    shown = _("the change since age {age}").format(age=_text(there))
    return _("{shown} (chosen: {chosen})").format(shown=shown, chosen=age)


def _isPartOf(node, outputVolume) -> bool:
    if outputVolume is None:
        return False
    if volumes.provenanceOf(node).get("Content") == "preview":
        return belonging.inputOf(node) is belonging.inputOf(outputVolume)
    return any(results.resultOf(outputVolume, kind) is node for kind in results.RESULTS)


def _text(value) -> str:
    if value is None:
        return _("unknown")
    return f"{value:g}" if isinstance(value, float | int) else str(value)
