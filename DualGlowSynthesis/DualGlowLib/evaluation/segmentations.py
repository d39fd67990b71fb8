"""Regions of each case's own: a label map in the space of its T1, as of FreeSurfer or a BIDS ``dseg``."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..atlas.label_maps import check_table, name_labels, read_labels, read_names
from ..cases.case import Case
from ..errors import InputError
from ..preparation.transforms import read_warped
from ..volumes.grid import Grid
from ..volumes.resampling import resample

__all__ = ["Segmentations", "is_pattern", "missing_text", "read_segmentations"]

_NAMED = 5  # cases in a note

_PLACES = ("{case}", "{subject}", "{session}")


def is_pattern(path: Path | str) -> bool:
    """Whether a name stands for a label map of each case: it has ``{case}``, ``{subject}`` or ``{session}``."""
    return any(place in str(path) for place in _PLACES)


@dataclass(frozen=True)
class Segmentations:
    """A label map for each case, in the space of the T1 that its prepared one was made from.

    Attributes:
        pattern: name of the files, with ``{case}``, ``{subject}`` and ``{session}`` in place of a case's own; may have
            wildcards, which must find one file.
        grid: that the cases lie on.
        labels: names of the regions by label, in the order of the tables.
    """

    pattern: str
    grid: Grid
    labels: Mapping[int, str]

    @property
    def names(self) -> list[str]:
        return list(self.labels.values())

    def weights(self, case: Case) -> np.ndarray:
        """Of a case's regions.

        Returns:
            float32 ``(regions, *grid.shape)``; each sums to 1 over voxels, and is NaN for a region without a voxel.

        Raises:
            InputError: if the case's label map is missing or can't be used, or has none of the regions on the grid.
        """
        found = self.on_grid(case)
        weights = np.full((len(self.labels), *found.shape), np.nan, np.float32)
        for place, label in enumerate(self.labels):
            voxels = found == label
            if count := np.count_nonzero(voxels):
                weights[place] = voxels / count
        if not np.isfinite(weights).any():
            raise InputError(f"{self._file(case)} has no label on the grid; give the one in the space of the T1.")
        return weights

    def on_grid(self, case: Case) -> np.ndarray:
        """The label at each voxel of the grid, by nearest label through the case's own transform.

        Raises:
            InputError: if the label map or the transform is missing or can't be used.
        """
        scan, _ = read_labels(self._file(case))
        to_template, warp = _way(case)
        affine = to_template @ scan.affine
        return np.rint(resample(scan.data, affine, self.grid.shape, self.grid.affine, order=0, warp=warp)).astype(int)

    def _file(self, case: Case) -> Path:
        parts = {"case": case.name, "subject": case.subject, "session": case.session}
        text = self.pattern
        for name, value in parts.items():
            text = text.replace(f"{{{name}}}", glob.escape(value) if glob.has_magic(text) else value)
        found = sorted(glob.glob(text)) if glob.has_magic(text) else [text]
        if len(found) != 1:
            raise InputError(f"{text} finds {len(found)} label maps for {case.name}, not 1; give another pattern.")
        return Path(found[0])


def read_segmentations(
    pattern: str,
    cases: Sequence[Case],
    grid: Grid,
    table: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Segmentations, dict[str, list[str]]]:
    """Look which regions the label maps of cases have.

    Args:
        pattern: see ``Segmentations``.
        cases: that lie on ``grid``.
        grid: the model's.
        table: names of the labels, see ``atlas.label_maps.read_names``.
        progress: called with the number of cases done and the number to do.

    Returns:
        The regions that a case has at least, and for each that others lack, the names of these. A case whose label map
        can't be used is none of them: whoever asks for its weights is told.

    Raises:
        InputError: if no case's label map can be used, or a table can't be read or names none of the labels.
    """
    named = {} if table is None else read_names(table)
    whole = Segmentations(pattern, grid, {})
    there: dict[str, set[int]] = {}
    problems: list[InputError] = []
    for done, case in enumerate(cases):
        if progress:
            progress(done, len(cases))
        try:
            there[case.name] = {int(label) for label in np.unique(whole.on_grid(case)) if label}
        except InputError as error:
            problems.append(error)
    labels = sorted(set().union(*there.values()))
    if not labels:
        raise problems[0] if problems else InputError(f"The label maps {pattern} have no label on the grid.")
    check_table(table, named, pattern, labels)
    names = name_labels(labels, named)
    lacking = {name: [case for case, own in there.items() if label not in own] for label, name in names.items()}
    return Segmentations(pattern, grid, names), {name: own for name, own in lacking.items() if own}


def missing_text(lacking: Mapping[str, Sequence[str]], cases: int) -> str:
    """Which regions cases lack, a sentence.

    >>> missing_text({"amygdala_L": ["sub-01"]}, 12)
    'regions without a voxel in some of the 12 cases: amygdala_L (sub-01)'
    """
    told = [
        f"{name} ({', '.join(own[:_NAMED])}{f' and {len(own) - _NAMED} more' if len(own) > _NAMED else ''})"
        for name, own in lacking.items()
    ]
    return f"regions without a voxel in some of the {cases} cases: {', '.join(told)}"


def _way(case: Case) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """From the space of the T1 to the template, see ``read_warped``; the identity where the T1 was made on the grid.

    Raises:
        InputError: if the T1 was brought to the grid and its transform is missing.
    """
    stem, _, space = case.t1.name.partition("_space-")
    if not space:
        return np.eye(4), None
    found = sorted(case.t1.parent.glob(f"{glob.escape(stem)}_from-T1w_to-*_mode-image_xfm.*"))
    found = [path for path in found if path.suffix.lower() in (".tfm", ".h5")]
    if len(found) != 1:
        raise InputError(
            f"{case.t1.parent} holds {len(found)} transforms {stem}_from-T1w_to-…_xfm, not 1; "
            f"prepare {case.name} again."
        )
    return read_warped(found[0])
