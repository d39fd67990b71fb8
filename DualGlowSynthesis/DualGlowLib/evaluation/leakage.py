"""Leakage: how much of each covariate can still be read off the MRI's latents of a trained model, against chance.

The paper's conditional mode wants the codes z'_m of the MRI below the top to be free of the covariates. That the
discriminators of the training fail says little: the flow was trained against these very networks. Here fresh probes
are fitted to the latents of cases, and tested on other cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..model import Covariate, DualGlow, columns, encode_covariates

if TYPE_CHECKING:
    from ..training.data import Cohort

__all__ = ["leakage", "leakage_table", "probe"]

_RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
_CELLS = 8  # sides of the coarse lattice that latents are averaged over; on one of 4 atrophy is lost


def leakage(
    model: DualGlow,
    cohort: Cohort,
    covariates: Sequence[Covariate] | None = None,
    permutations: int = 200,
    folds: int = 5,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Probe every level of the MRI's latents for every covariate.

    Of each subject the first case counts. Features are averages of each latent channel and of its square over a coarse
    lattice; the probe is ``probe``'s.

    Args:
        model: a trained model.
        cohort: best cases that it was not trained on, and some hundreds: what an MRI tells of age by its shape alone is
            hardly found among fewer. The row of the image says what there was to find.
        covariates: which; by default the model's own.
        permutations: of the covariate among subjects, for the null distribution.
        folds: of the cross-validation, over subjects.
        seed: of folds and permutations.
        progress: called with the number of levels done and the number to do.

    Returns:
        ``cases``, ``permutations``, ``folds`` and ``levels``: for ``"image"`` (the MRI itself), ``"1"`` (finest) to
        ``"k"`` (top) and ``"below top"`` (all of z'_m together), by covariate, what ``probe`` returns.

    Raises:
        InputError: if the cohort has fewer than 4 subjects a fold, or there is no covariate to look for.
    """
    covariates = model.config.covariates if covariates is None else tuple(covariates)
    if not covariates:
        raise InputError("There is no covariate to look for; name some that the cases have.")
    first = list({case.subject: i for i, case in reversed(list(enumerate(cohort.cases)))}.values())[::-1]
    if len(first) < 4 * folds:
        raise InputError(f"{len(first)} subjects are too few for a leakage report; give at least {4 * folds}.")
    codes = encode_covariates(covariates, [cohort.cases[i].attributes for i in first]).double()
    features = _features(model, cohort, first)
    sources = {"image": features[0], **{str(level): blocks for level, blocks in enumerate(features[1:], 1)}}
    sources["below top"] = [block for blocks in features[1:-1] for block in blocks]
    levels: dict[str, dict] = {}
    for done, (level, parts) in enumerate(sources.items(), 1):
        levels[level] = {}
        for covariate, place in zip(covariates, columns(covariates), strict=True):
            target = codes[:, place]
            known = target[:, 1] > 0 if covariate.kind == "numeric" else target.sum(1) > 0
            if int(known.sum()) >= 4 * folds:
                found = [x[known] for x in parts]
                levels[level][covariate.name] = probe(found, target[known], covariate, permutations, folds, seed)
        if progress:
            progress(done, len(sources))
    return {"cases": len(first), "permutations": permutations, "folds": folds, "levels": levels}


@torch.no_grad()
def _features(model: DualGlow, cohort: Cohort, indices: Sequence[int]) -> list[list[Tensor]]:
    """Of the image and of each level's latent two blocks, averages and averages of squares, ``(cases, n)``, float64."""
    device = next(model.parameters()).device
    rows: list[list[Tensor]] = []
    for index in indices:
        mri = cohort.batch([index]).mri.to(device) - 0.5
        rows.append([])
        for z in (mri, *model.mri_flow(mri)[0]):
            cells = [min(_CELLS, side) for side in z.shape[2:]]
            pool = F.adaptive_avg_pool3d if z.dim() == 5 else F.adaptive_avg_pool2d
            rows[-1] += [pool(x, cells).flatten().double().cpu() for x in (z, z.square())]
    blocks = [torch.stack(block) for block in zip(*rows, strict=True)]
    return [blocks[i : i + 2] for i in range(0, len(blocks), 2)]


def _kernel(features: Sequence[Tensor]) -> Tensor:
    """Similarity of cases, ``(n, n)``: half linear, half Gaussian, each block of features counting alike.

    Linear for what lies plainly there, Gaussian for what only several features together tell. Features of a block keep
    their scales: those that hardly vary are mostly noise.
    """
    total: Tensor | float = 0.0
    for x in features:
        x = x - x.mean(0)
        linear = x @ x.T / x.square().sum(1).mean().clamp_min(1e-12)
        size = linear.diagonal()
        apart = (size[:, None] + size[None] - 2 * linear).clamp_min(0)
        total = total + linear + torch.exp(-apart / apart.median().clamp_min(1e-9))
    return total / (2 * len(features))


def _predict(kernel: Tensor, targets: Tensor, folds: Tensor) -> tuple[Tensor, Tensor]:
    """Kernel ridge predictions of every column of ``targets`` ``(n, m)`` for the cases of the fold left out.

    Two parts, to be added: what the features say, and the mean of the training cases. The second is lower where the
    fold left out is above average, and would make ranks across folds worse than chance.

    The ridge of each column and fold is the one with the least leave-one-out error among the fold's own training
    cases, which has a closed form; so a thousand columns cost little more than one.
    """
    out, means = torch.empty_like(targets), torch.empty_like(targets)
    for fold in range(int(folds.max()) + 1):
        train, test = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        mean = targets[train].mean(0)
        y = targets[train] - mean
        inner = kernel[train][:, train]
        # Centred on the training cases, so that a constant is neither needed nor penalised.
        middle, total = inner.mean(0), inner.mean()
        values, vectors = torch.linalg.eigh(inner - middle[:, None] - middle + total)
        constant = values < 1e-9 * values[-1]
        across = kernel[test][:, train]
        across = across - across.mean(1, keepdim=True) - middle + total
        rotated = vectors.T @ y
        best, kept = None, None
        for ridge in _RIDGES:
            weight = torch.where(constant, 0, 1 / (values.clamp_min(0) + ridge * values.mean()))
            alpha = vectors @ (weight[:, None] * rotated)
            error = (alpha / (vectors.square() @ weight)[:, None]).square().mean(0)
            predicted = across @ alpha
            if best is None:
                best, kept = error, predicted
            else:
                kept = torch.where(error < best, predicted, kept)
                best = torch.minimum(error, best)
        out[test], means[test] = kept, mean
    return out, means


def _area_under_curve(scores: Tensor, truth: Tensor) -> Tensor:
    """Of each column of ``scores`` ``(n, m)`` for the cases where the same column of ``truth`` is 1; without ties."""
    ranks = scores.argsort(0).argsort(0).double() + 1
    positive = truth.sum(0)
    return ((ranks * truth).sum(0) - positive * (positive + 1) / 2) / (positive * (len(truth) - positive))


def probe(
    features: Sequence[Tensor],
    target: Tensor,
    covariate: Covariate,
    permutations: int = 200,
    folds: int = 5,
    seed: int = 0,
) -> dict:
    """How well ``covariate`` is predicted from features by cross-validated kernel ridge regression, and by chance.

    Args:
        features: one or more blocks ``(n, …)``, float64.
        target: ``(n, size)``, the covariate's columns of ``encode_covariates``, known for every case.
        covariate: what it is.
        permutations, folds, seed: see ``leakage``.

    Returns:
        For a numeric one ``r2`` (of the predictions for cases left out; 0 or below: nothing), ``mae`` in its own unit
        and ``mae_of_mean`` of predicting the mean; for a categorical one ``balanced_accuracy`` (chance: ``chance``)
        and ``auc`` (one against the others, averaged over categories). ``null_95``: of r2 or auc, what chance
        exceeds in 5 % of the permutations; ``p``: share of the permutations at least as good, with the true order
        counted as one of them.
    """
    n = len(target)
    generator = torch.Generator().manual_seed(seed)
    order = [torch.arange(n)] + [torch.randperm(n, generator=generator) for _ in range(permutations)]
    fold = torch.arange(n)[torch.randperm(n, generator=generator)] % folds
    values = target[:, :1] if covariate.kind == "numeric" else target[:, target.sum(0) > 0]
    size = values.shape[1]
    truth = torch.cat([values[index] for index in order], 1)  # column p·size + c: category c of permutation p
    explained, mean = _predict(_kernel(features), truth, fold)
    if covariate.kind == "numeric":
        predicted = explained + mean
        error = (truth - predicted).square().sum(0)
        score = 1 - error / (truth - truth.mean(0)).square().sum(0)
        unit = covariate.sd
        result = {
            "r2": float(score[0]),
            "mae": unit * float((truth - predicted)[:, 0].abs().mean()),
            "mae_of_mean": unit * float((truth - truth.mean(0))[:, 0].abs().mean()),
        }
    elif size < 2:
        return {}
    else:
        score = _area_under_curve(explained, truth).reshape(-1, size).mean(1)
        hit = F.one_hot((explained / mean)[:, :size].argmax(1), size) * values  # every category as likely beforehand
        result = {
            "balanced_accuracy": float((hit.sum(0) / values.sum(0)).mean()),
            "chance": 1 / size,
            "auc": float(score[0]),
        }
    null = score[1:]
    return {
        **result,
        "null_95": float(null.quantile(0.95)) if len(null) else None,
        "p": (1 + int((null >= score[0]).sum())) / (1 + permutations),
    }


def leakage_table(result: dict) -> str:
    """``leakage``'s result as a Markdown table."""
    lines = ["| level of the MRI | covariate | readable | chance exceeds in 5 % | p |", "|---|---|---|---|---|"]
    for level, found in result["levels"].items():
        for name, row in found.items():
            if "r2" in row:
                text = f"R² {row['r2']:.3f}, error {row['mae']:.3g} (mean {row['mae_of_mean']:.3g})"
                null = f"R² {row['null_95']:.3f}"
            elif row:
                text = f"AUC {row['auc']:.3f}, balanced accuracy {row['balanced_accuracy']:.3f} ({row['chance']:.3f})"
                null = f"AUC {row['null_95']:.3f}"
            else:
                continue
            lines.append(f"| {level} | {name} | {text} | {null} | {row['p']:.3f} |")
    what = f"{result['cases']} subjects, {result['folds']}-fold, {result['permutations']} permutations; level 1 is the"
    return "\n".join([*lines, "", f"{what} finest, the highest the top."])
