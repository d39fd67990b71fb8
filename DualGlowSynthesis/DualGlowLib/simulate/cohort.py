"""A simulated cohort on disk: BIDS, with the truth beside it."""

from __future__ import annotations

import csv
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from io import StringIO
from pathlib import Path

import numpy as np
import torch

from ..atlas.regions import PONS, REGIONS
from ..atlas.template import REFERENCE
from ..cases.case import Case
from ..cases.layouts import read_cases
from ..cases.splits import Splits, write_splits
from ..errors import InputError
from ..files import TEMPORARY, json_text, remove_temporary, write_json, write_whole
from ..locks import only_one
from ..outputs import generated_by, kind_of_file, refuse_links
from ..processes import work_off
from ..volumes.grid import GRIDS, Grid
from ..volumes.scan import Scan
from ..volumes.writing import write_scan
from .anatomy import TEMPLATE_NAME, Anatomy, read_anatomies, template_anatomy, write_anatomies
from .case import SimulatedCase, draw_covariates, simulate_case
from .labels import find_pairs, load_anatomies
from .law import NOISE_FWHM, NOISE_SD, PSF_FWHM
from .shape import Covariates
from .uptake import DIAGNOSES, FACTORS
from .versions import USUAL, LawVersion, law_named

__all__ = ["case_seed", "simulate_cohort", "truth_file"]

Progress = Callable[[str, float], None]

_LOCK = "lock"  # in truth/
_MIX = ("prepared", "prepared", "deformed", "photograph")  # of every four cases of a mixed cohort
HEAD_FOLDS = 3  # that the heads of a mixed cohort are divided into


def case_seed(seed: int, index: int) -> int:
    """The seed of a cohort's case; cohorts of different seeds share no case."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)


def simulate_cohort(
    out: Path | str,
    cases: int,
    grid: Grid | str = "medium",
    seed: int = 0,
    anatomy: Path | str | Sequence[Path | str] | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    *,
    independent_anatomy: bool = False,
    law: str = USUAL.name,
    mixed: bool = False,
) -> Path:
    """Write a cohort of simulated T1/PET pairs whose conditional law is known.

    The folder is BIDS (``participants.tsv``, ``sub-0001/anat/sub-0001_T1w.nii.gz`` with its brain mask,
    ``sub-0001/pet/sub-0001_trc-18FFDG_pet.nii.gz`` in SUVR) plus ``truth/``: each PET's conditional mean and sd,
    ``regions.tsv`` (per case and region: conditional mean and sd, what was drawn, true age slope) and ``slopes.json``.
    All volumes lie on the grid; the T1 is as ``t1.prepare`` gives it.

    Cases that are complete are kept, so an interrupted run goes on where it stopped, and a larger ``cases`` extends a
    cohort. The same seed, grid and anatomies give the same voxels whatever ``jobs`` is. While a process works in the
    folder, others are refused.

    Args:
        out: the folder; made if it doesn't exist, else it must be empty or hold a simulated cohort. What in it was not
            written by DualGlow is not replaced.
        cases: how many.
        grid: a ``Grid`` or the name of one.
        seed: 0 or more.
        anatomy: folder (or folders) of real heads with MUSE labels, see ``labels.find_pairs``; cases are made from
            these and the MNI152 template, each as often. Without it, from the template alone.
        jobs: processes to work in. More than 1 starts new Python processes: a script that does so needs the usual
            ``if __name__ == "__main__"``.
        progress: called with a message and how much of the whole is done.
        law: name of the law that PETs are drawn from, see ``versions.LAWS``.
        mixed: half of the cases are heads of ``anatomy`` as ``prepare`` gives them, neither atrophied nor deformed, a
            quarter the same T1s deformed, a quarter photographs, all without the template; for models that are to see
            T1s as users have them. ``truth/folds.json`` then divides the heads into ``HEAD_FOLDS`` folds, so that none
            is on both sides. Needs an evened law.
        independent_anatomy: atrophy goes with an age and a diagnosis that are drawn for the anatomy alone. Those of the
            person then act on uptake only: the law of a PET given its anatomy and covariates is the same, but neither
            can stand for the other, as in a randomised trial, and the slopes of ``truth/`` are all that age does.

    Returns:
        The folder.

    Raises:
        InputError: if an argument or the folder can't be used, another process works there, or a process was killed;
            the other cases are kept.
    """
    out, report = Path(out), progress or (lambda message, fraction: None)
    grid = _grid(grid)
    if cases < 1:
        raise InputError(f"The number of cases must be at least 1, not {cases}.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, not {seed}.")
    version = law_named(law)
    heads = [name for name, _, _ in find_pairs(anatomy)] if anatomy is not None else []
    if mixed and not version.is_evened:
        raise InputError(f"A mixed cohort needs a law of evened heads, not {law}; choose the law field-1.")
    if mixed and len(heads) < HEAD_FOLDS:
        raise InputError(
            f"A mixed cohort needs {HEAD_FOLDS} labelled heads or more, not {len(heads)}; give an anatomy folder."
        )
    names = [f"sub-{i + 1:04d}" for i in range(cases)]
    _check_folder(out, names)
    settings = {
        "grid": grid.to_dict(),
        "seed": seed,
        "anatomies": heads if mixed else [TEMPLATE_NAME, *heads],
        "independent_anatomy": independent_anatomy,
        "law": version.name,
        "mixed": mixed,
    }
    with only_one(out / "truth" / _LOCK, f"simulating into {out}"):
        _begin(out, settings)
        _fill(out, grid, cases, seed, anatomy, jobs, report, independent_anatomy, version, mixed)
        if mixed:
            _divide(out, heads, seed)
    return out


def _fill(
    out: Path,
    grid: Grid,
    cases: int,
    seed: int,
    anatomy: Path | str | Sequence[Path | str] | None,
    jobs: int,
    report: Progress,
    independent_anatomy: bool,
    version: LawVersion,
    mixed: bool,
) -> None:
    """Make the cases that are missing, and the tables over all."""
    names = [f"sub-{i + 1:04d}" for i in range(cases)]
    seeds = {name: case_seed(seed, i) for i, name in enumerate(names) if not _is_complete(out, name)}
    body = _covariates_of_anatomy if independent_anatomy else lambda seed: None
    kinds = {name: _MIX[i % len(_MIX)] if mixed else "photograph" for i, name in enumerate(names)}
    missing = [_Job(out, grid, name, one, body(one), version, kinds[name]) for name, one in seeds.items()]
    anatomies = [] if mixed else [template_anatomy()]
    if missing and anatomy is not None:
        anatomies += load_anatomies(
            anatomy, lambda message, fraction: report(message, 0.1 * fraction), version, grid if mixed else None
        )
    done = cases - len(missing)
    start = 0.1 if anatomy is not None else 0.0
    with closing(_work(missing, anatomies, jobs)) as made:
        for name in made:
            done += 1
            report(name, start + (1 - start) * done / cases)
    _summarise(out, names)


def _divide(out: Path, heads: list[str], seed: int) -> None:
    """Write the folds of a mixed cohort: all cases of a head belong to one, whatever the number of cases."""
    order = np.random.default_rng(seed).permutation(len(heads)).tolist()
    fold = {heads[head]: place % HEAD_FOLDS for place, head in enumerate(order)}
    cases = read_cases(out)
    head = {case.subject: json.loads(truth_file(case, "law").read_text(encoding="utf-8"))["anatomy"] for case in cases}
    assignment = {subject: fold[name] for subject, name in head.items()}
    write_splits(Splits(tuple(cases), HEAD_FOLDS, assignment, head, seed), out / _FOLDS)


def _grid(grid: Grid | str) -> Grid:
    if isinstance(grid, Grid):
        return grid
    if grid not in GRIDS:
        raise InputError(f"There is no grid named {grid!r}; choose one of {', '.join(GRIDS)}.")
    return GRIDS[grid]


def _check_folder(out: Path, names: list[str]) -> None:
    """Make the folder, if nothing in it stands in the way of these cases."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder for the cohort.")
    there = (file for file in out.rglob("*") if not file.is_dir() and not TEMPORARY.fullmatch(file.name))
    if out.is_dir() and set(there) - {out / "truth" / _LOCK}:
        _settings_of(out)
        refuse_links(out)
        paths = [out / name for name in (_PARTICIPANTS, _REGIONS, _SLOPES, _FOLDS)]
        for name in names:
            if not _is_complete(out, name):
                volumes = [out / path for path in _volumes(name).values()]
                paths += [
                    _truth_file(out, name),
                    *volumes,
                    *(path.with_suffix("").with_suffix(".json") for path in volumes),
                ]
        for path in paths:
            if path.exists() and not kind_of_file(path):
                raise InputError(
                    f"{path} is damaged or was not written by DualGlow, which would replace it; move it away, or give "
                    "another folder."
                )
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{secrets.token_hex(6)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror or error}; choose another folder.") from None


def _settings_of(out: Path) -> dict:
    """What the cohort in the folder was made with.

    Raises:
        InputError: if there is none.
    """
    try:
        before = json.loads((out / "truth" / "cohort.json").read_text(encoding="utf-8"))
        if before.keys() >= {"grid", "seed", "anatomies", "model"}:
            return {"independent_anatomy": False, "law": USUAL.name, "mixed": False, **before}
    except (OSError, ValueError, AttributeError):
        pass
    raise InputError(f"{out} is not empty and holds no simulated cohort; choose another folder.")


def _begin(out: Path, settings: dict) -> None:
    """Write the cohort's settings, or check that a cohort that is to be continued has the same."""
    remove_temporary(out)
    path = out / "truth" / "cohort.json"
    if path.is_file():
        before = _settings_of(out)
        for key, value in settings.items():
            if before.get(key) != value:
                raise InputError(f"{out} holds a cohort with another {key}; give the same {key} or another folder.")
    else:
        model = {
            "psf_fwhm_mm": PSF_FWHM,
            "noise_sd": NOISE_SD,
            "noise_fwhm_mm": NOISE_FWHM,
            "factors": list(FACTORS),
            "reference_region": {"name": "pons", "centre_mm": PONS[0], "semi_axes_mm": PONS[1]},
        }
        write_json(path, {**settings, "model": model})
    from .. import __version__

    description = {
        "Name": "Simulated T1/FDG-PET cohort",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",  # of a raw PET, BIDS wants scanner, dose and times, of which there were none
        "License": "CC0",
        "GeneratedBy": [{"Name": "DualGlow", "Version": __version__, "Description": "python -m DualGlowLib simulate"}],
        "Simulated": True,
    }
    readme = (
        "Simulated by DualGlow; no person was scanned. truth/ holds the law that each PET was drawn from: conditional\n"
        "mean and sd per voxel and per region, and the effect of age. The law is DualGlow's own, not nature's.\n"
    )
    texts = {
        "dataset_description.json": json_text(description),
        "README": readme,
        ".bidsignore": "truth\n",  # as a name: the validator passes over patterns that end in a slash
    }
    for name, text in texts.items():
        if not (out / name).exists():  # a process may have been killed before it wrote them
            write_whole(out / name, text)


def _truth_file(out: Path, name: str) -> Path:
    return out / "truth" / f"{name}.json"


def _volumes(name: str) -> dict[str, str]:
    """Where a case's volumes lie in the cohort."""
    return {
        "t1": f"{name}/anat/{name}_T1w.nii.gz",
        "mask": f"{name}/anat/{name}_desc-brain_mask.nii.gz",
        "pet": f"{name}/pet/{name}_trc-18FFDG_pet.nii.gz",
        "mean": f"truth/{name}_mean.nii.gz",
        "sd": f"truth/{name}_sd.nii.gz",
    }


def truth_file(case: Case, what: str) -> Path | None:
    """A file of what the simulator knows about a case, in ``truth/`` of its cohort.

    Args:
        case: one whose T1 lies where the simulator writes it.
        what: ``"mean"`` or ``"sd"`` for the volume of the PET's law given the T1 and the covariates, SUVR, or ``"law"``
            for the JSON file with the means of regions and the person.

    Returns:
        Its path; None if there is none, as for every case that was not simulated.
    """
    for cohort in case.t1.absolute().parents[2:3]:  # a file near the root has fewer
        path = _truth_file(cohort, case.name) if what == "law" else cohort / _volumes(case.name)[what]
        if path.is_file():
            return path
    return None


def _is_complete(out: Path, name: str) -> bool:
    return _truth_file(out, name).is_file() and all((out / path).is_file() for path in _volumes(name).values())


def _covariates_of_anatomy(seed: int) -> Covariates:
    """Covariates for a case's anatomy alone, of the same law as those of persons and independent of them."""
    own = int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0] >> 1)
    return draw_covariates(torch.Generator().manual_seed(own))


@dataclass(frozen=True)
class _Job:
    """A case that is still to be made; ``body``: its anatomy's covariates if they are not the person's."""

    out: Path
    grid: Grid
    name: str
    seed: int
    body: Covariates | None = None
    version: LawVersion = USUAL
    kind: str = "photograph"
    anatomies: Path | None = None  # where another process finds them


def _work(todo: list[_Job], anatomies: list[Anatomy], processes: int) -> Iterator[str]:
    """Make the missing cases and yield the name of each when it is done.

    Raises:
        InputError: if a case can't be written; if processes were killed, after the other cases are made.
    """
    if processes <= 1 or len(todo) < 2:
        with _one_thread():
            for job in todo:
                _make_case(job, anatomies)
                yield job.name
        return
    made, killed = 0, []
    with tempfile.TemporaryDirectory(prefix="dualglow-") as folder:
        kept = Path(folder) / "anatomies.safetensors"
        write_anatomies(anatomies, kept)
        jobs = [replace(job, anatomies=kept) for job in todo]
        with closing(work_off(jobs, _in_a_process, min(processes, len(jobs)))) as outcomes:
            for index, outcome in outcomes:
                if "traceback" in outcome:
                    raise RuntimeError(outcome["traceback"])
                if outcome["status"] == "refused":
                    raise InputError(outcome["reasons"][0])
                job = jobs[index]
                if outcome["status"] == "made" or _is_complete(job.out, job.name):  # killed before it could say so
                    made += 1
                    yield job.name
                    continue
                killed.append(f"{job.name}: {outcome['reasons'][0]}")
                if not made and len(killed) == processes:
                    break  # whatever it is, the others will fare alike
    if killed:
        raise InputError(f"{len(todo) - made} of {len(todo)} cases were not made ({killed[0]}); start again.")


def _in_a_process(job: _Job, report: Progress) -> dict:
    try:
        _make_case(job, _loaded(job.anatomies))
    except InputError as error:
        return {"status": "refused", "reasons": [str(error)]}
    return {"status": "made"}


@lru_cache(maxsize=1)
def _loaded(kept: Path) -> list[Anatomy]:
    return read_anatomies(kept)


def _make_case(job: _Job, anatomies: list[Anatomy]) -> None:
    case = simulate_case(job.seed, anatomies, job.grid, anatomy_covariates=job.body, version=job.version, kind=job.kind)
    about = {} if job.body is None else {"anatomy_age": job.body.age, "anatomy_diagnosis": job.body.diagnosis}
    about |= {"law": job.version.name, "kind": job.kind}
    _write_case(job.out, job.name, case, about)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out alike to the last bit only if they are split alike, so a case is always computed in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write_case(out: Path, name: str, case: SimulatedCase, about: dict) -> None:
    made = {"Simulated": True, "Anatomy": case.anatomy, "Seed": case.seed, "SpatialReference": REFERENCE}
    t1 = {
        **made,
        "Description": "Simulated T1-weighted image without skull",
        "Modality": "MR",
        "SkullStripped": True,
        "IntensityScale": "white matter 1, fluid 0",
    }
    mask = {**made, "Description": "Brain mask of the simulated T1", "Type": "Brain"}
    pet = {
        **made,
        "Description": "Simulated FDG-PET in SUVR",
        "SkullStripped": False,
        "Modality": "PT",
        "TracerName": "FDG",
        "TracerRadionuclide": "F18",
        "Units": "SUVR",
        "ReferenceRegion": "pons",
        "ResolutionFWHM": PSF_FWHM,
    }
    sidecars = {"t1": t1, "mask": mask, "pet": pet}
    for image, path in _volumes(name).items():
        try:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out / path} can't be written: {error.strerror or error}.") from None
        data = getattr(case, image).cpu().numpy().astype(np.float32)
        scan = Scan(data, case.grid.affine, meta={"space": "MNI152"})
        write_scan(scan, out / path, "SIMULATED by DualGlow", sidecars.get(image))
    truth = {
        "GeneratedBy": generated_by("truth of a case"),
        "participant_id": name,
        **asdict(case.covariates),
        **about,
        "anatomy": case.anatomy,
        "seed": case.seed,
        "atrophy_index": round(case.atrophy, 4),
        "regions": [
            {k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in case.region_rows()
        ],
    }
    write_json(_truth_file(out, name), truth)  # last: a case that has it is complete


def _summarise(out: Path, names: list[str]) -> None:
    """The tables over all cases: participants, regions, slopes."""
    cases = [json.loads(_truth_file(out, name).read_text(encoding="utf-8")) for name in names]
    columns = ("participant_id", "age", "sex", "diagnosis", "anatomy", "seed")
    write_whole(out / _PARTICIPANTS, _table(columns, ([case[c] for c in columns] for case in cases)))
    if not (out / "participants.json").exists():
        write_json(out / "participants.json", _COLUMNS)
    columns = ("region", "mean", "sd", "slope", "relative_slope", "drawn")
    rows = ([case["participant_id"], *(row[c] for c in columns)] for case in cases for row in case["regions"])
    write_whole(out / _REGIONS, _table(("participant_id", *columns), rows))
    slopes = {}
    for index, region in enumerate(REGIONS):
        values = np.array([case["regions"][index]["relative_slope"] for case in cases])
        slopes[region] = {"mean": round(float(values.mean()), 6), "sd": round(float(values.std()), 6)}
    text = (
        "Change per decade of age of a region's mean SUVR at fixed anatomy, over that mean at 65 years; mean and sd "
        "over the cohort's cases. Each case's own is in regions.tsv."
    )
    about = {"GeneratedBy": generated_by("slopes"), "Description": text}
    write_json(out / _SLOPES, {**about, "relative_slope_per_decade": slopes})


_PARTICIPANTS, _REGIONS, _SLOPES = "participants.tsv", "truth/regions.tsv", "truth/slopes.json"
_FOLDS = "truth/folds.json"
_COLUMNS = {
    "age": {"Description": "Age", "Units": "years"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "diagnosis": {
        "Description": "Diagnosis",
        "Levels": dict(
            zip(DIAGNOSES, ("cognitively normal", "mild cognitive impairment", "Alzheimer's disease"), strict=True)
        ),
    },
    "anatomy": {"Description": "The head the case was made from"},
    "seed": {"Description": "Seed of the case's random numbers"},
}


def _table(columns: Sequence[str], rows: Iterator[list]) -> str:
    text = StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
