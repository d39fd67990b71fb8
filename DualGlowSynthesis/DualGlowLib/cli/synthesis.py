"""Commands that synthesize PETs for one T1."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import Console
from .protection import check

if TYPE_CHECKING:
    import numpy as np

    from ..synthesis.synthesizer import PatientEncoding, Synthesis, Synthesizer
    from ..volumes.scan import Scan

__all__ = ["sweep", "synthesize"]

_MAX_AGES = 60
_SAMPLES_OF_90 = 19  # of a central 90 % interval, see ``Distribution.interval``


def synthesize(arguments: argparse.Namespace, console: Console) -> int:
    path = _output_file(arguments)
    _check_files(arguments, [path])
    synthesizer, scan = _load(arguments, console, [arguments.age])
    patient = _encode(arguments, console, synthesizer, scan)
    result = _sample(arguments, synthesizer, patient, arguments.age)
    _write(result, path, console, arguments)
    if arguments.dicom:
        from ..volumes.dicom.export import export_dicom

        files = export_dicom(result.mean, arguments.t1, arguments.dicom, "", result.provenance, arguments.series)
        console.result(f"{len(files)} DICOM files in {arguments.dicom}", event="output", path=str(arguments.dicom))
    _finish(patient, console)
    return 0


def sweep(arguments: argparse.Namespace, console: Console) -> int:
    from ..pictures.drawing import write_png
    from ..pictures.montage import montage
    from ..volumes.marking import output_name

    ages = _ages(arguments.ages)
    folder = Path(arguments.output)
    paths = [folder / output_name(arguments.t1, f"syntheticAge{age:g}") for age in ages]
    picture = folder / "sweep.png"
    _check_files(arguments, paths, picture)
    synthesizer, scan = _load(arguments, console, ages)
    patient = _encode(arguments, console, synthesizer, scan)
    _make_folder(folder)
    means = []
    for number, (age, path) in enumerate(zip(ages, paths, strict=True)):
        result = _sample(arguments, synthesizer, patient, age)
        means.append(result.grid_mean)
        _write(result, path, console, arguments)
        console.progress("sampling", (number + 1) / len(ages))
    shown = montage(patient.prepared, means, [f"age {age:g}" for age in ages])
    write_png(shown, picture, force=arguments.force)
    console.result(f"picture: {picture}", event="output", path=str(picture))
    _finish(patient, console)
    return 0


def _ages(text: str) -> list[float]:
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--ages is {text!r}; give FROM:TO:STEP, e.g. 50:100:10.") from None
    if not (step > 0 and last >= first and all(map(math.isfinite, (first, last, step)))):
        raise InputError(f"--ages {text!r} holds no age; give FROM:TO:STEP with FROM ≤ TO and STEP > 0.")
    count = int((last - first) / step + 1e-9) + 1
    if count > _MAX_AGES:
        raise InputError(f"--ages {text!r} are {count} ages; take at most {_MAX_AGES}.")
    return [first + i * step for i in range(count)]


def _output_file(arguments: argparse.Namespace) -> Path:
    """The file to write; in a folder it gets a BIDS-derivative name."""
    from ..volumes.marking import output_name

    path = Path(arguments.output)
    if path.is_dir():
        return path / output_name(arguments.t1)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"The output {path} is no folder that exists, and does not end in .nii or .nii.gz.")
    return path


def _check_files(arguments: argparse.Namespace, pets: list[Path], picture: Path | None = None) -> None:
    """Refuse what must not be written, before anything is done.

    Args:
        arguments: of the command.
        pets: the mean PETs that it will write; their folder is made if a picture goes there too.
        picture: of a sweep.
    """
    from ..bundle.files import DEFAULT_BUNDLE
    from ..outputs import REGIONS, Output
    from ..pictures.drawing import picture_output
    from ..preparation.transforms import transform_output
    from ..resources import resource
    from ..volumes.dicom.export import check_export
    from ..volumes.marking import SYNTHETIC, SYNTHETIC_BELOW, SYNTHETIC_SD
    from ..volumes.writing import scan_outputs

    outputs: list[Output] = []
    for path in pets:
        outputs += scan_outputs(path, SYNTHETIC)
        if arguments.samples > 1 and any(arguments.temperature):
            outputs += scan_outputs(_beside(path, "Sd"), SYNTHETIC_SD)
        if arguments.below is not None:
            outputs += scan_outputs(_beside(path, "Below"), SYNTHETIC_BELOW)
        if arguments.regions:
            outputs.append(Output(_beside(path, "Regions", ".tsv"), REGIONS))
    if picture is not None:
        outputs = [replace(output, makes_folder=True) for output in [*outputs, picture_output(picture)]]
    if arguments.transform:
        outputs.append(transform_output(arguments.transform))
    if arguments.qc:
        outputs.append(picture_output(arguments.qc))
    model = arguments.bundle or resource("Models", DEFAULT_BUNDLE)
    inputs = [arguments.t1, arguments.mask, model, resource("Models", "brainmask"), resource("Template")]
    check(arguments, outputs, filter(None, inputs))
    if getattr(arguments, "dicom", None):
        series = Path(arguments.dicom)
        for output in outputs:
            if series.resolve() in output.path.resolve().parents:
                raise InputError(f"{output.path} would lie in {series}, but a DICOM series needs a folder of its own.")
        check_export(arguments.t1, series, arguments.series)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {folder} can't be made ({error.strerror}).") from error


def _load(arguments: argparse.Namespace, console: Console, ages: list[float | None]) -> tuple[Synthesizer, Scan]:
    """The model and the T1, after everything that can be wrong with the arguments was checked.

    What DICOM says of the patient's age and sex holds where the arguments say nothing.
    """
    from ..synthesis.synthesizer import Synthesizer
    from ..volumes.reading import read_scan

    synthesizer = Synthesizer.from_bundle(arguments.bundle, arguments.device)
    _check_covariates(arguments, console, synthesizer, ages)
    synthesizer.check(arguments.temperature, arguments.samples, arguments.antithetic)
    if arguments.below is not None and not arguments.below > 0:
        raise InputError(f"--below is {arguments.below:g}; give an SUVR above 0.")
    scan = read_scan(arguments.t1, arguments.series)
    known = {covariate.name: covariate for covariate in synthesizer.bundle.config.covariates}
    for name in ("age", "sex"):
        stated = scan.meta.get(name)
        if stated is None or name not in known or getattr(arguments, name, "") is not None:
            continue
        said = f"{name} {stated:g}" if name == "age" else f"{name} {stated}"
        try:
            known[name].is_trained(stated)
        except InputError as error:
            console.note(f"{said} of the DICOM header is not used: {error}")
        else:
            setattr(arguments, name, stated)
            console.note(f"{said} taken from the DICOM header; --{name} overrides it")
    return synthesizer, scan


def _check_covariates(
    arguments: argparse.Namespace, console: Console, synthesizer: Synthesizer, ages: list[float | None]
) -> None:
    for age in ages:
        values = {**vars(arguments), "age": age}
        for covariate in synthesizer.bundle.config.covariates:
            if not covariate.is_trained(values.get(covariate.name)):  # refuses what can't be used
                console.note(f"{covariate.name} {age:g} lies outside the training range; the model extrapolates")


def _encode(arguments: argparse.Namespace, console: Console, synthesizer: Synthesizer, scan: Scan) -> PatientEncoding:
    from ..preparation.transforms import write_transform
    from ..volumes.reading import read_scan

    mask = read_scan(arguments.mask) if arguments.mask else None
    patient = synthesizer.encode(scan, mask, console.progress)
    for reason in patient.prepared.verdict.reasons:
        console.note(f"look at this: {reason}")
    if arguments.transform:
        path = write_transform(patient.prepared, arguments.transform, arguments.force)
        console.result(str(path), event="output", path=str(path))
    if arguments.qc:
        from ..pictures.drawing import write_png
        from ..pictures.quality import t1_picture

        path = write_png(t1_picture(patient.prepared), arguments.qc, arguments.force)
        console.result(str(path), event="output", path=str(path))
    return patient


def _sample(
    arguments: argparse.Namespace, synthesizer: Synthesizer, patient: PatientEncoding, age: float | None
) -> Synthesis:
    return synthesizer.sample(
        patient,
        age=age,
        sex=arguments.sex,
        diagnosis=arguments.diagnosis,
        temperature=arguments.temperature,
        samples=arguments.samples,
        seed=arguments.seed,
        antithetic=arguments.antithetic,
        below=arguments.below,
        regions=_regions(synthesizer) if arguments.regions else None,
    )


def _regions(synthesizer: Synthesizer) -> np.ndarray:
    from ..atlas.regions import weights

    return weights(synthesizer.bundle.grid)


def _write(result: Synthesis, path: Path, console: Console, arguments: argparse.Namespace) -> None:
    from ..volumes.marking import SYNTHETIC, SYNTHETIC_BELOW, SYNTHETIC_SD
    from ..volumes.writing import write_scan

    force = arguments.force
    written = [write_scan(result.mean, path, SYNTHETIC, result.provenance, force)]
    if result.sd is not None:
        written.append(write_scan(result.sd, _beside(path, "Sd"), SYNTHETIC_SD, result.provenance, force))
    if result.below is not None:
        about = {**result.provenance, "Units": "share of samples", "BelowSUVR": arguments.below}
        written.append(write_scan(result.below, _beside(path, "Below"), SYNTHETIC_BELOW, about, force))
    if result.distribution.regions is not None:
        written.append(_write_regions(result, _beside(path, "Regions", ".tsv"), force))
    for item in written:
        console.result(str(item), event="output", path=str(item))


def _beside(path: Path, what: str, ending: str = "") -> Path:
    """Where more about a PET goes: another ``desc`` in a BIDS name, ``_sd`` or such at the end of any other."""
    own = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
    stem = path.name.removesuffix(own)
    if stem.endswith("_pet") and "_desc-" in stem and own == ".nii.gz":
        return path.with_name(stem.removesuffix("_pet") + f"{what}_pet" + (ending or own))
    return path.with_name(f"{stem}_{what.lower()}" + (ending or own))


def _write_regions(result: Synthesis, path: Path, force: bool) -> Path:
    """A table of the mean SUVR of each region over the samples; with their interval where there are enough of them.

    A region that the T1 doesn't show has no values (n/a, as in BIDS).
    """
    from ..atlas.regions import REGIONS
    from ..files import write_whole

    found = result.distribution
    columns = {"mean": found.regions.mean(0)}
    if found.samples > 1:
        columns["sd"] = found.regions.std(0, ddof=1)
    if found.samples >= _SAMPLES_OF_90:
        columns["low90"], columns["high90"] = found.interval(0.9)
    rows = zip(REGIONS, result.regions_known, *columns.values(), strict=True)
    lines = [
        ("region", *columns),
        *((name, *(f"{value:.4f}" if known else "n/a" for value in values)) for name, known, *values in rows),
    ]
    return write_whole(path, "".join("\t".join(line) + "\n" for line in lines), force)


def _finish(patient: PatientEncoding, console: Console) -> None:
    prepared = patient.prepared
    console.event(event="done", quality=prepared.quality, verdict=prepared.verdict.to_dict())
