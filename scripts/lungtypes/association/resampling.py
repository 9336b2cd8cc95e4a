"""Adjusted R2 in bootstrap samples, and cross-validated R2, of several models on the same draws and folds."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lungtypes.association.least_squares import resampled_adj_r2, shifted_interval, stratified_counts
from lungtypes.association.models import OutcomeFits
from lungtypes.association.ordinal import subject_loglik, weighted_proportional_odds
from lungtypes.association.rows import AssociationPlan
from lungtypes.association.single_model import Model
from lungtypes.randomness import stream

N_FOLDS = 10
RESAMPLED = ("base", "adjusted", "comparator")
MAX_LOST = 0.05  # share of draws without a value from which an interval is withheld
RELATIVE_EIGENVALUE = 1e-9  # of a training fold's cross products; below it a direction is not in the fold

_KEPT: WeakKeyDictionary[OutcomeFits, tuple[AssociationPlan, dict[str, NDArray]]] = WeakKeyDictionary()


def gain_interval(fits: OutcomeFits, small: str, large: str, plan: AssociationPlan) -> tuple[float, float, str]:
    """95 % bootstrap interval of R2 of model ``large`` less that of ``small``, and why there is none.

    Whole subjects are drawn, within clusters. All intervals of an outcome use the same draws.
    """
    nan = float("nan")
    models = [fits.get(small), fits.get(large)]
    if any(model is None for model in models):
        return nan, nan, ""
    if models[0].kind in ("firth", "multinomial"):
        return nan, nan, f"no interval of the gain: not made for the model {fits.model}"
    draws = _draws(fits, plan)
    gains = draws[large] - draws[small]
    lost = float(np.mean(~np.isfinite(gains)))
    if lost > MAX_LOST:
        return nan, nan, f"no interval of the gain: {lost:.0%} of the resamples allow no fit"
    low, high = shifted_interval(gains, models[1].r2 - models[0].r2)
    return low, high, "no interval of the gain: too few resamples" if np.isnan(low) else ""


def bootstrap_counts(fits: OutcomeFits, plan: AssociationPlan) -> NDArray:
    """(n_bootstrap, n) how often each subject is drawn, within clusters; a phenotype has no strata."""
    values = fits.rows.predictor
    strata = values if fits.predictor.kind == "cluster" else np.zeros(len(values), dtype=np.int64)
    return stratified_counts(strata, plan.n_bootstrap, stream(plan.seed, "associate", fits.outcome.name))


def cross_validated_r2(fits: OutcomeFits, names: Sequence[str], plan: AssociationPlan) -> tuple[dict[str, float], str]:
    """R2 on held-out subjects, by model; 10 folds, ``cv_repeats`` times, the same folds for all models.

    Linear: 1 - squared errors / squared deviations from the training mean. Binary and ordinal: the share of the null
    deviance that is explained out of fold. Negative where a model predicts worse than the mean.

    Returns
    -------
    values (NaN where undefined), and the reason, or "".
    """
    nan = dict.fromkeys(names, float("nan"))
    models = {name: fits.get(name) for name in names}
    if not plan.cv_repeats or fits.status != "ok":
        return nan, ""
    kind = fits.get("adjusted").kind
    if kind in ("firth", "multinomial"):
        return nan, f"no cross-validation: not made for the model {fits.model}"
    y = fits.rows.y
    if kind != "linear" and np.bincount(y).min() < 2:
        return nan, "no cross-validation: a level with one subject"
    held = held_out(y, fits, plan)
    score = _linear_score if kind == "linear" else _likelihood_score
    return {name: float("nan") if model is None else score(model, y, held) for name, model in models.items()}, ""


def held_out(y: NDArray, fits: OutcomeFits, plan: AssociationPlan) -> NDArray:
    """(cv_repeats, n) fold of each subject, 0-9; levels of a binary or ordinal outcome are spread over the folds."""
    rng = stream(plan.seed, "folds", fits.outcome.name)
    folds = np.empty((plan.cv_repeats, len(y)), dtype=np.int64)
    strata = y if fits.rows.levels else np.zeros(len(y))
    for repeat in range(plan.cv_repeats):
        shuffled = rng.permutation(len(y))
        order = shuffled[np.argsort(strata[shuffled], kind="stable")]
        folds[repeat, order] = np.arange(len(y)) % N_FOLDS
    return folds


def _draws(fits: OutcomeFits, plan: AssociationPlan) -> dict[str, NDArray]:
    """(n_bootstrap,) R2 of each model in ``RESAMPLED``; kept, since two tables need those of the adjusted model."""
    kept = _KEPT.get(fits)
    if kept is None or kept[0] != plan:
        counts = bootstrap_counts(fits, plan)
        models = {name: fits.get(name) for name in RESAMPLED}
        draws = {name: _resampled_r2(model, fits.rows.y, counts) for name, model in models.items() if model}
        kept = _KEPT[fits] = (plan, draws)
    return kept[1]


def _resampled_r2(model: Model, y: NDArray, counts: NDArray) -> NDArray:
    if model.kind == "linear":
        return resampled_adj_r2(model.matrix, y, counts)
    n_levels = int(y.max()) + 1
    held = np.stack([counts[:, y == level].sum(axis=1) for level in range(n_levels)], axis=1)
    usable = (held > 0).all(axis=1)
    share = held / held.sum(axis=1, keepdims=True)
    result = np.full(len(counts), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        null = (held * np.log(share)).sum(axis=1)
    _, logliks, converged = weighted_proportional_odds(_standardised(model.matrix), y, counts[usable])
    values = 1 - (logliks - (model.matrix.shape[1] - 1)) / null[usable]
    result[usable] = np.where(converged, values, np.nan)
    return result


def _standardised(matrix: NDArray) -> NDArray:
    x = matrix[:, 1:]
    return (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-300)


def _linear_score(model: Model, y: NDArray, folds: NDArray) -> float:
    x = np.column_stack([np.ones(len(y)), _standardised(model.matrix)])
    n, p = x.shape
    gram, moment = np.einsum("ni,nj->nij", x, x).reshape(n, p * p), x * (y - y.mean())[:, None]
    scores = []
    for fold in folds:
        inside = (fold[None, :] == np.arange(N_FOLDS)[:, None]).astype(np.float64)
        training = (gram.sum(axis=0) - inside @ gram).reshape(-1, p, p)
        right = moment.sum(axis=0) - inside @ moment
        inverse = np.linalg.pinv(training, rcond=RELATIVE_EIGENVALUE, hermitian=True)
        beta = np.einsum("fij,fj->fi", inverse, right)
        predicted = np.einsum("np,np->n", x, beta[fold]) + y.mean()
        size = n - inside.sum(axis=1)
        means = (y.sum() - inside @ y) / size
        scores.append(1 - ((y - predicted) ** 2).sum() / ((y - means[fold]) ** 2).sum())
    return float(np.mean(scores))


def _likelihood_score(model: Model, y: NDArray, folds: NDArray) -> float:
    z, n_levels, scores = _standardised(model.matrix), int(y.max()) + 1, []
    for fold in folds:
        training = (fold[None, :] != np.arange(N_FOLDS)[:, None]).astype(np.float64)
        parameters, _, converged = weighted_proportional_odds(z, y, training)
        if not converged.all():
            return float("nan")
        place = np.arange(len(y))
        own = subject_loglik(z, y, parameters)[fold, place].sum()
        held = np.stack([training[:, y == level].sum(axis=1) for level in range(n_levels)], axis=1)
        null = np.log(held / held.sum(axis=1, keepdims=True))[fold, y].sum()
        scores.append(1 - own / null)
    return float(np.mean(scores))
