"""The command about bundles: what one is, whether it is whole, and how it is handed on."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InputError
from .console import Console
from .options import add_command

__all__ = ["add_commands", "bundle"]

_OPTIONS = {
    "inspect": (),
    "verify": (),
    "export": ("output",),
    "publish": ("output", "licence", "evaluation"),
}
"""What each action takes besides the bundle."""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``bundle``."""
    command = add_command(commands, "bundle", bundle, "say what a trained model is, check it, or hand it on")
    text = "inspect (what it is), verify (whether it is whole), export (one zip file) or publish (a folder to offer)"
    command.add_argument("action", metavar="ACTION", choices=tuple(_OPTIONS), help=text)
    command.add_argument("bundle", metavar="BUNDLE", help="the trained model, such as run/bundle")
    text = "of export the zip file, of publish a new or empty folder"
    command.add_argument("--output", metavar="PATH", help=text)
    text = "of publish: SPDX identifier such as CC-BY-4.0, or LicenseRef-NAME (default: what the model states)"
    command.add_argument("--licence", metavar="ID", help=text)
    text = "of publish: a report that evaluate wrote, whose numbers go into the card"
    command.add_argument("--evaluation", metavar="REPORT.json", help=text)


def bundle(arguments: argparse.Namespace, console: Console) -> int:
    action, taken = arguments.action, _OPTIONS[arguments.action]
    for name in ("output", "licence", "evaluation"):
        if getattr(arguments, name) is not None and name not in taken:
            raise InputError(f"bundle {action} takes no --{name}; leave it out.")
    if "output" in taken and arguments.output is None:
        raise InputError(f"bundle {action} needs --output: where to write to.")
    return {"inspect": _inspect, "verify": _verify, "export": _export, "publish": _publish}[action](arguments, console)


def _inspect(arguments: argparse.Namespace, console: Console) -> int:
    from ..bundle.inspection import inspect_bundle, text_of

    about = inspect_bundle(arguments.bundle)
    console.result(text_of(about), event="done", **about)
    return 0


def _verify(arguments: argparse.Namespace, console: Console) -> int:
    from ..baselines.saved import verify_any

    found = verify_any(arguments.bundle)
    errors = [found[key] for key in ("t1_error", "pet_error") if key in found]  # of flows
    sound = f"its flows are exact to {max(errors):.1g} of the range of its images" if errors else "its PET is finite"
    text = f"{arguments.bundle} is whole ({found['name']}, {found['sha256']}); {sound}."
    console.result(text, event="done", **found)
    return 0


def _export(arguments: argparse.Namespace, console: Console) -> int:
    from ..bundle.archive import export_bundle

    digest = export_bundle(arguments.bundle, arguments.output)
    console.result(f"{digest}  {arguments.output}", event="done", path=arguments.output, sha256=digest)
    return 0


def _publish(arguments: argparse.Namespace, console: Console) -> int:
    from ..baselines.saved import load_any, verify_any
    from ..bundle.publishing import SUMS, publish_bundle

    sums = publish_bundle(
        arguments.bundle, arguments.output, arguments.licence or "", arguments.evaluation, load_any, verify_any
    )
    text = f"{Path(arguments.output) / SUMS} has the checksums; see Documentation/bundles.md for how to offer it."
    lines = [*(f"{value}  {name}" for name, value in sums.items()), text]
    console.result("\n".join(lines), event="done", path=arguments.output, files=sums)
    return 0
