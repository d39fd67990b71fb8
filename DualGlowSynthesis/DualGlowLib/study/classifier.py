"""Table 2: whether a classifier tells diagnoses apart on synthetic PETs as well as on acquired ones.

Support vector machines with Gaussian kernels (RBF) on region means, trained on all folds but one and tested on that
one, so that no subject is on both sides, neither of the classifier nor of the model that made its PET.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..cases.groups import read_groups
from ..cases.layouts import is_simulated
from ..errors import InputError
from ..spellings import number
from .methods import title_of
from .rates import Rates
from .results import Results, features
from .table import Cell, Part, Table

__all__ = ["GROUPINGS", "comparison_of", "table2"]

GROUPINGS = (("CN=CN,SMC,EMCI", "AD=MCI,LMCI,AD"), ("CN=CN", "AD=AD"))
"""The paper's two groups, and the extremes alone; the second of each counts as positive."""

_GRID = {"svc__C": [0.1, 1.0, 10.0], "svc__gamma": ["scale", 0.01, 0.1]}
_LEAST = 2  # subjects of each group on the training side
_HEADS = (
    "trained on → tested on", "subjects", "accuracy", "AUC", "FN of all", "FP of all", "FN of patients", "FP of others",
)  # fmt: skip


def comparison_of(texts: Sequence[str] | None) -> list[tuple[str, str]]:
    """Pairs of groups to tell apart, as texts of ``read_groups``: those given, else ``GROUPINGS``.

    Raises:
        InputError: for another number of groups than two.
    """
    if not texts:
        return list(GROUPINGS)
    if len(texts) != 2:
        raise InputError(f"--groups has {len(texts)} groups; table2 tells two apart, as in CN=CN,SMC AD=AD.")
    return [tuple(texts)]


def table2(results: Results, groups: Sequence[str] | None = None, seed: int = 0) -> Part:
    """Table 2 of every method.

    Args:
        results: of the study.
        groups: see ``comparison_of``.
        seed: of the inner folds that C and gamma are chosen by.

    Raises:
        InputError: if scikit-learn is missing.
    """
    _library()
    tables, notes = [], []
    for pair in comparison_of(groups):
        side = read_groups(pair)
        names = [text.partition("=")[0] for text in pair]
        title = f"{{{pair[0].partition('=')[2]}}} against {{{pair[1].partition('=')[2]}}}"
        for tuned, how in ((False, "C = 1, gamma = scale"), (True, "C and gamma by nested cross-validation")):
            rows, skipped = _rows(results, side, names, tuned, seed)
            if rows:
                tables.append(Table(f"{title}: {how}", _HEADS, rows))
        if skipped:
            notes.append(f"{title}: {skipped}.")
    notes += [
        "Support vector machines (RBF) on region means. Each is tested by one trained on the other folds.",
        "FN and FP of all are shares of all subjects, as the paper states them; the two last columns are the usual "
        "rates, of each group.",
        "PETs are synthesized without the diagnosis; otherwise a classifier would read it back.",
    ]
    return Part("Table 2: classifiers on synthetic PETs", tables, notes=notes)


def _rows(
    results: Results, side: Mapping[str, str], names: Sequence[str], tuned: bool, seed: int
) -> tuple[list[tuple[str, list[Cell]]], str]:
    rows = []
    longest = max(results.methods, key=lambda name: len(results.of(name)))
    people = _known(results.people(longest), side)
    truth = features(people, "truth") if people else None
    if not people or not _is_enough(people, side, names):
        return [], f"too few subjects of a group in the folds that are done (at least {_LEAST} to learn from)"
    given = "simulated PET" if is_simulated(results.study.source) else "acquired PET"
    sources = {f"{given} → {given}": (truth, truth), "T1 alone (grey matter)": (features(people, "t1"),) * 2}
    sources["age and sex alone"] = (_covariates(people),) * 2
    if all(row["law"] is not None for row in people):
        sources["best possible synthesis: the law's mean → itself"] = (features(people, "law"),) * 2
    for name, (learned, tested) in sources.items():
        rows.append((name, _scores(people, learned, tested, side, names, tuned, seed)))
    skipped = []
    for method in results.methods:
        own = _known(results.people(method), side)
        if not own or not _is_enough(own, side, names):
            skipped.append(method)
            continue
        real, synthetic = features(own, "truth"), features(own, "predicted")
        label = title_of(method)
        rows.append((f"{label} → {label}", _scores(own, synthetic, synthetic, side, names, tuned, seed)))
        rows.append((f"{given} → {label}", _scores(own, real, synthetic, side, names, tuned, seed)))
    return rows, f"too few folds of {', '.join(skipped)}" if skipped else ""


def _known(people: Sequence[dict], side: Mapping[str, str]) -> list[dict]:
    return [row for row in people if row["diagnosis"] in side]


def _is_enough(people: Sequence[dict], side: Mapping[str, str], names: Sequence[str]) -> bool:
    """Whether of each group enough subjects are left to learn from, whichever fold is tested on."""
    folds = {row["fold"] for row in people}
    if len(folds) < 2:
        return False
    for fold in folds:
        kept = [side[row["diagnosis"]] for row in people if row["fold"] != fold]
        if min(kept.count(name) for name in names) < _LEAST:
            return False
    return True


def _covariates(people: Sequence[dict]) -> np.ndarray:
    """Age, sex, and whether each is known."""
    ages = [number(str(row["age"])) for row in people]
    middle = float(np.median([age for age in ages if age is not None] or [0.0]))
    return np.array(
        [
            [middle if age is None else age, age is None, row["sex"] == "F", row["sex"] == "M"]
            for age, row in zip(ages, people, strict=True)
        ],
        np.float64,
    )


def _scores(
    people: Sequence[dict],
    learned: np.ndarray,
    tested: np.ndarray,
    side: Mapping[str, str],
    names: Sequence[str],
    tuned: bool,
    seed: int,
) -> list[Cell]:
    """Over all folds: every case is tested once, by a classifier that has not seen its subject."""
    from sklearn.metrics import roc_auc_score

    truth = np.array([side[row["diagnosis"]] == names[1] for row in people])
    subjects = np.array([row["subject"] for row in people])
    folds = np.array([row["fold"] for row in people])
    answers, margins = np.zeros(len(people), bool), np.zeros(len(people))
    for fold in sorted(set(folds)):
        train, test = folds != fold, folds == fold
        machine = _machine(truth[train], subjects[train], tuned, seed)
        machine.fit(learned[train], truth[train], **({"groups": subjects[train]} if _is_search(machine) else {}))
        answers[test] = machine.predict(tested[test])
        margins[test] = machine.decision_function(tested[test])
    rates = Rates.of(truth, answers)
    area = float(roc_auc_score(truth, margins)) if 0 < truth.sum() < len(truth) else None
    numbers = (rates.accuracy, area, *rates.of_all, *rates.of_group)
    return [Cell(rates.subjects, form="d"), *(Cell(value, None, rates.subjects) for value in numbers)]


def _machine(truth: np.ndarray, subjects: np.ndarray, tuned: bool, seed: int):
    """Standardised features, a Gaussian kernel; C and gamma chosen by inner folds of subjects where they may be."""
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = make_pipeline(StandardScaler(), SVC(kernel="rbf"))
    least = min(len(set(subjects[truth])), len(set(subjects[~truth])))
    if not tuned or least < 2:
        return machine
    inner = StratifiedGroupKFold(min(3, least), shuffle=True, random_state=seed)
    return GridSearchCV(machine, _GRID, cv=inner, scoring="balanced_accuracy")


def _is_search(machine: object) -> bool:
    return hasattr(machine, "param_grid")


def _library() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise InputError(
            "Table 2 needs the Python package scikit-learn; install it with: pip install scikit-learn"
        ) from None
