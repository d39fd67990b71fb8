"""Commands that synthesize PETs for one T1."""

from __future__ import annotations

import argparse
import math
import reprlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..synthesis.question import MAX_AGES, Question
from .console import Console
from .derivatives import begin_derivative, pet_place, sidecar_keys
from .options import add_command, add_device, add_scheduler
from .protection import check

if TYPE_CHECKING:
    from ..preparation.t1 import Prepared
    from ..synthesis.session import Session
    from ..synthesis.synthesizer import Synthesis
    from ..volumes.scan import Scan

__all__ = [
    "add_commands",
    "asked",
    "check_files",
    "note_single",
    "note_values",
    "open_session",
    "prepare",
    "read",
    "refuse_another",
    "sweep",
    "synthesize",
    "write",
]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Declare ``synthesize`` and ``sweep``."""
    command = add_command(commands, "synthesize", synthesize, "synthesize the FDG-PET of a T1", force=True)
    _add_t1(command)
    command.add_argument("--output", required=True, metavar="PET.nii.gz", help="file, or folder that exists")
    command.add_argument("--age", type=float, help="years; if left out what DICOM says, else unknown")
    command.add_argument("--dicom", metavar="DIR", help="also write a derived DICOM series (the T1 must be DICOM)")
    text = "T1 is a directory of cases, --output the folder for the PETs of all; covariates are those of its tables"
    command.add_argument("--cohort", action="store_true", help=text)
    command.add_argument("--layout", help="of a cohort: bids, petprep, caps, adni, flat or plain (default: its looks)")
    command.add_argument("--jobs", type=int, help="processes for a cohort, each with one thread (default: 1)")
    add_scheduler(command)
    _add_question(command)

    text = "synthesize the FDG-PET of a T1 at several ages, and draw them"
    command = add_command(commands, "sweep", sweep, text, force=True)
    _add_t1(command)
    command.add_argument("--output", required=True, metavar="DIR", help="folder; made if it doesn't exist")
    command.add_argument("--ages", required=True, metavar="FROM:TO:STEP", help="e.g. 50:100:10, TO included")
    _add_question(command)


def _add_t1(command: argparse.ArgumentParser) -> None:
    command.add_argument("t1", metavar="T1", help="T1-weighted MRI of a head: a file, or a folder of DICOM files")
    text = "which series of a DICOM folder: its number, UID or part of its description"
    command.add_argument("--series", help=text)


def _add_question(command: argparse.ArgumentParser) -> None:
    """What both commands take, but the age; and what they write besides PETs."""
    command.add_argument("--sex", help="F or M; if left out what DICOM says, else unknown")
    text = "one that the model knows, or a part of one, e.g. CN, EMCI, AD; unknown if left out"
    command.add_argument("--diagnosis", help=text)
    command.add_argument("--covariate", action="append", metavar="NAME=VALUE", help="any other that the model knows")
    command.add_argument(
        "--temperature", type=_temperatures, default=[0.0], metavar="T[,T…]",
        help="factor on the latent noise, 0: the mode; or one for each level, the finest first",
    )  # fmt: skip
    command.add_argument("--samples", type=int, default=1, metavar="K", help="mean (and _sd) of K samples")
    command.add_argument("--antithetic", action="store_true", help="take samples in pairs of opposite noise")
    command.add_argument("--below", type=float, metavar="SUVR", help="also write the share of samples below this")
    command.add_argument(
        "--regions", action="store_true", help="also write region means, of several samples with intervals"
    )
    command.add_argument("--seed", type=int, default=0, help="of the noise: same seed, same images")
    command.add_argument("--mask", metavar="FILE", help="brain mask in the T1's space (default: found)")
    command.add_argument("--transform", metavar="FILE", help="also write the affine to the template (.h5 or .tfm)")
    command.add_argument("--qc", metavar="FILE.png", help="also draw the preparation for checking")
    command.add_argument("--bundle", metavar="DIR", help="trained model (default: the one that ships with DualGlow)")
    add_device(command)


def _temperatures(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, or numbers separated by commas, not {text!r}") from None


def synthesize(arguments: argparse.Namespace, console: Console) -> int:
    if not arguments.cohort and Path(arguments.t1).suffix.lower() in (".png", ".jpg", ".jpeg"):
        return _photo(arguments, console)
    if arguments.cohort:
        from .cohort_synthesis import synthesize_cohort

        return synthesize_cohort(arguments, console)
    for name in ("layout", "jobs", "scheduler"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} is for the T1s of a cohort; give --cohort too, or leave it out.")
    path = _output_file(arguments)
    question = asked(arguments)
    check_files(arguments, question, [path])
    session = open_session(arguments, console)
    session.check(question)
    note_single(question, console)
    scan, question = read(arguments, console, session, question)
    note_values(session, question, console)
    if Path(arguments.output).is_dir():
        refuse_another(scan, [path], arguments.force)
    prepared = prepare(arguments, console, session, scan)
    result = session.sample(question, console.progress)
    if Path(arguments.output).is_dir():
        begin_derivative(Path(arguments.output), path)
    write(result, question, path, console, arguments)
    if arguments.dicom:
        from ..volumes.dicom.export import export_dicom

        files = export_dicom(result.mean, arguments.t1, arguments.dicom, "", result.provenance, arguments.series)
        console.result(f"{len(files)} DICOM files in {arguments.dicom}", event="output", path=str(arguments.dicom))
    _finish(prepared, console)
    return 0


def _photo(arguments: argparse.Namespace, console: Console) -> int:
    """A photo from a sketch or a cartoon, by a model in two dimensions."""
    from ..devices import choose_device
    from ..pictures.drawing import picture_output, write_png
    from ..training.photo_runs import photo_of

    if arguments.bundle is None:
        raise InputError(f"{arguments.t1} is a picture; give a model of photos with --bundle, or a T1.")
    for name in ("age", "sex", "diagnosis", "covariate", "below", "dicom"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} is for the T1 of a head, and {arguments.t1} is a picture; leave it out.")
    if arguments.samples > 1 or len(arguments.temperature) > 1:
        raise InputError("A picture gives one photo at one temperature; leave out --samples, or further temperatures.")
    check(arguments, [picture_output(arguments.output)], [arguments.t1, arguments.bundle])
    device = choose_device(arguments.device)
    photo = photo_of(arguments.bundle, arguments.t1, arguments.temperature[0], arguments.seed, device)
    path = write_png(photo, arguments.output, arguments.force)
    console.result(str(path), event="output", path=str(path))
    return 0


def sweep(arguments: argparse.Namespace, console: Console) -> int:
    from ..pictures.drawing import write_png
    from ..volumes.marking import output_name

    ages = _ages(arguments.ages)
    folder = Path(arguments.output)
    paths = {age: pet_place(folder, output_name(arguments.t1, f"syntheticAge{age:g}")) for age in ages}
    picture = pet_place(folder, output_name(arguments.t1, "syntheticSweep").removesuffix("_pet.nii.gz") + ".png")
    question = asked(arguments)
    check_files(arguments, question, list(paths.values()), picture)
    session = open_session(arguments, console)
    session.check_sweep(question, ages)
    note_single(question, console)
    scan, question = read(arguments, console, session, question)
    for one in session.check_sweep(question, ages):
        note_values(session, one, console)
    refuse_another(scan, paths.values(), arguments.force)
    prepared = prepare(arguments, console, session, scan)
    begin_derivative(folder, paths[ages[0]])

    def step(age: float, made: Synthesis) -> None:
        write(made, question, paths[age], console, arguments)

    shown = session.sweep(question, ages, step, console.progress)
    write_png(shown, picture, force=arguments.force)
    console.result(f"picture: {picture}", event="output", path=str(picture))
    _finish(prepared, console)
    return 0


def asked(arguments: argparse.Namespace) -> Question:
    """What the arguments ask.

    Raises:
        InputError: for a value that can't be.
    """
    covariates = {name: getattr(arguments, name, None) for name in ("age", "sex", "diagnosis")}
    for text in arguments.covariate or []:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and name and value):  # as of a shell's variable that isn't set
            raise InputError(f"--covariate is {reprlib.repr(text)}; give NAME=VALUE, e.g. education=12.")
        if name == "age" and not hasattr(arguments, "age"):
            raise InputError(f"--covariate gives the age {reprlib.repr(value)}; a sweep takes its ages from --ages.")
        if covariates.get(name) is not None:
            raise InputError(f"{reprlib.repr(name)} is given twice; give it once.")
        covariates[name] = value
    return Question(
        covariates, tuple(arguments.temperature), arguments.samples, arguments.seed, arguments.below,
        antithetic=arguments.antithetic,
    )  # fmt: skip


def _ages(text: str) -> list[float]:
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--ages is {text!r}; give FROM:TO:STEP, e.g. 50:100:10.") from None
    if not (step > 0 and last >= first and all(map(math.isfinite, (first, last, step)))):
        raise InputError(f"--ages {text!r} holds no age; give FROM:TO:STEP with FROM ≤ TO and STEP > 0.")
    count = int((last - first) / step + 1e-9) + 1
    if count > MAX_AGES:  # before a list of them is made
        raise InputError(f"--ages {text!r} are {count} ages; take at most {MAX_AGES}.")
    return [first + i * step for i in range(count)]


def _output_file(arguments: argparse.Namespace) -> Path:
    """The file to write; in a folder it gets a BIDS-derivative name and place."""
    from ..volumes.marking import output_name

    path = Path(arguments.output)
    if path.is_dir():
        return pet_place(path, output_name(arguments.t1))
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(
            f"The output {path} is no folder that exists, and does not end in .nii or .nii.gz; "
            "end the name so, or make the folder first."
        )
    return path


def check_files(
    arguments: argparse.Namespace, question: Question, pets: list[Path], picture: Path | None = None
) -> None:
    """Refuse what must not be written, before anything is done.

    Args:
        arguments: of the command; ``t1`` is None for those of a cohort.
        question: what they ask.
        pets: the mean PETs that it will write; their folder is made if it is in the one that was given.
        picture: of a sweep.
    """
    from ..bundle.files import DEFAULT_BUNDLE
    from ..outputs import REGIONS, Output
    from ..preparation.transforms import transform_output
    from ..resources import resource
    from ..volumes.marking import SYNTHETIC, SYNTHETIC_BELOW, SYNTHETIC_SD
    from ..volumes.writing import scan_outputs

    outputs: list[Output] = []
    for path in pets:
        outputs += scan_outputs(path, SYNTHETIC)
        if question.drawn > 1:
            outputs += scan_outputs(_beside(path, "Sd"), SYNTHETIC_SD)
        if arguments.below is not None:
            outputs += scan_outputs(_beside(path, "Below"), SYNTHETIC_BELOW)
        if arguments.regions:
            outputs.append(Output(_regions_beside(path), REGIONS))
    if picture is not None or arguments.qc:
        from ..pictures.drawing import picture_output
    if picture is not None:
        outputs.append(picture_output(picture))
    if picture is not None or arguments.t1 is None or Path(arguments.output).is_dir():
        outputs = [replace(output, makes_folder=True) for output in outputs]
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
        from ..volumes.dicom.export import check_export

        check_export(arguments.t1, series, arguments.series)


def refuse_another(scan: Scan, paths: Iterable[Path], force: bool) -> None:
    """Refuse to replace the PET of another T1 that comes to the same name.

    Raises:
        InputError: naming both.
    """
    from ..outputs import other_source
    from ..synthesis.synthesizer import voxels_sha256

    for path in () if force else paths:
        if source := other_source(path, voxels_sha256(scan)):
            raise InputError(
                f"{path} holds the PET of another T1 ({source}); give another --output, or --force to replace it."
            )


def open_session(arguments: argparse.Namespace, console: Console) -> Session:
    from ..baselines.saved import open_method
    from ..synthesis.session import Session

    session = Session(notice=console.note, load=open_method)
    session.open(arguments.bundle, arguments.device)
    return session


def read(
    arguments: argparse.Namespace, console: Console, session: Session, question: Question
) -> tuple[Scan, Question]:
    """The T1; what DICOM says of the patient's age and sex holds where the arguments say nothing."""
    from ..volumes.reading import read_scan

    scan = read_scan(arguments.t1, arguments.series)
    if scan.meta.get("chosen_from"):
        console.note(f"{arguments.t1} holds {scan.meta['chosen_from']}; --series takes another")
    known = {one["name"] for one in session.describe()["covariates"]}
    for name in ("age", "sex"):
        stated = scan.meta.get(name)
        is_swept = name == "age" and not hasattr(arguments, "age")
        if stated is None or name not in known or name in question.covariates or is_swept:
            continue
        said = f"{name} {stated:g}" if name == "age" else f"{name} {stated}"
        more = question.at(**{name: stated})
        try:
            session.check(more)
        except InputError as error:
            console.note(f"{said} of the DICOM header is not used: {error}")
        else:
            question = more
            console.note(f"{said} taken from the DICOM header; --{name} overrides it")
    return scan, question


def note_single(question: Question, console: Console) -> None:
    if question.drawn < question.samples:
        console.note(
            f"at temperature 0 all {question.samples} samples are the same image, so one is made, without a spread; "
            "--temperature 1 draws from the model's distribution"
        )


def note_values(session: Session, question: Question, console: Console) -> None:
    for name in session.untrained(question):
        value = question.covariates[name]
        console.note(f"{name} {value} lies outside the training range; the model extrapolates")
    for name, (stated, category) in session.merged(question).items():
        console.note(f"{name} {stated} counts as {category} for this model")


def prepare(arguments: argparse.Namespace, console: Console, session: Session, scan: Scan) -> Prepared:
    from ..preparation.transforms import write_transform
    from ..volumes.reading import read_scan

    mask = read_scan(arguments.mask) if arguments.mask else None
    patient, _ = session.prepare(scan, mask, progress=console.progress)
    for reason in patient.prepared.verdict.reasons:
        console.note(f"look at this: {reason}")
    if arguments.transform:
        path = write_transform(patient.prepared, arguments.transform, arguments.force)
        console.result(str(path), event="output", path=str(path))
    if arguments.qc:
        from ..pictures.drawing import write_png

        path = write_png(patient.picture, arguments.qc, arguments.force)
        console.result(str(path), event="output", path=str(path))
    return patient.prepared


def write(result: Synthesis, question: Question, path: Path, console: Console, arguments: argparse.Namespace) -> None:
    from ..volumes.marking import SYNTHETIC, SYNTHETIC_BELOW, SYNTHETIC_SD
    from ..volumes.writing import write_scan

    force = arguments.force
    about = {**result.provenance, **sidecar_keys(Path(arguments.t1))}
    written = [write_scan(result.mean, path, SYNTHETIC, about, force)]
    if result.sd is not None:
        written.append(write_scan(result.sd, _beside(path, "Sd"), SYNTHETIC_SD, about, force))
    if result.below is not None:
        about |= {"Units": "share of samples", "BelowSUVR": question.below}
        written.append(write_scan(result.below, _beside(path, "Below"), SYNTHETIC_BELOW, about, force))
    if arguments.regions:
        written.append(_write_regions(result.regions, _regions_beside(path), force))
    for item in written:
        console.result(str(item), event="output", path=str(item))


def _beside(path: Path, what: str) -> Path:
    """Where another image goes: another ``desc`` in a BIDS name, ``_sd`` or such at the end of any other."""
    own = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
    stem = path.name.removesuffix(own)
    if _is_bids(path):
        return path.with_name(stem.removesuffix("_pet") + f"{what}_pet{own}")
    return path.with_name(f"{stem}_{what.lower()}{own}")


def _regions_beside(path: Path) -> Path:
    """Where the table of regions goes: in a BIDS name, ``regions`` in the place of ``pet``."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    return path.with_name((stem.removesuffix("_pet") if _is_bids(path) else stem) + "_regions.tsv")


def _is_bids(path: Path) -> bool:
    return "_desc-" in path.name and path.name.endswith("_pet.nii.gz")


def _write_regions(rows: list[dict], path: Path, force: bool) -> Path:
    """A table of the mean SUVR of each region over the samples, with its 90 % interval where there are several.

    Of a calibrated model it also has the interval for all regions at once.

    A region that the T1 doesn't show has no values (n/a, as in BIDS).
    """
    from ..files import write_whole

    titles = {"region": "region", "mean": "mean", "sd": "sd", "low": "low90", "high": "high90"}
    titles |= {"low_all": "low90_all", "high_all": "high90_all"}
    shown = [key for key in titles if any(row[key] is not None for row in rows)]
    lines = [[titles[key] for key in shown]]
    lines += [[row["region"], *("n/a" if row[key] is None else f"{row[key]:.4f}" for key in shown[1:])] for row in rows]
    return write_whole(path, "".join("\t".join(line) + "\n" for line in lines), force)


def _finish(prepared: Prepared, console: Console) -> None:
    console.event(event="done", quality=prepared.quality, verdict=prepared.verdict.to_dict())
