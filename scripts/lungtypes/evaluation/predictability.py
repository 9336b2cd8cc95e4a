"""Can a property of the scans be read from the embedding? Cross-validated prediction against permuted subjects.

Levels by linear discriminant analysis with equal priors (Fisher 1936; the pooled covariance is that of all scans, so
that it stays the same under permutation; with two levels both give one rule), numbers by least squares on ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lungtypes.errors import InputError
from lungtypes.evaluation.null_test import principal_scores
from lungtypes.randomness import stream

FOLDS = 5
SCANS_PER_COMPONENT = 10  # Harrell's rule of thumb for a linear model; more components than that predict noise


@dataclass(frozen=True)
class Predictability:
    """How well the embedding predicts, and what it reaches by chance.

    Attributes
    ----------
    value : cross-validated balanced accuracy (levels) or R2 (numbers; below 0 is worse than the mean).
    chance : 1 / levels, or 0.
    p95 : 95th percentile with subjects permuted.
    p_value : (1 + permutations at least as good) / (1 + permutations).
    reason : why there is none; empty where there is one.
    """

    value: float | None
    chance: float | None
    p95: float | None
    p_value: float | None
    reason: str = ""


def predict_levels(points: NDArray, levels: NDArray, *, n_permutations: int, seed: int) -> Predictability:
    """Balanced accuracy of the levels from the embedding, over stratified folds.

    Parameters
    ----------
    points : (n, d) float. levels : (n,) of two or more distinct values, without missing ones.
    n_permutations : of the subjects' points against levels and folds, at least 1.
    seed : of folds and permutations.
    """
    names, codes, counts = np.unique(np.asarray(levels), return_inverse=True, return_counts=True)
    space = _space(points, len(codes), n_permutations)
    folds = int(min(FOLDS, counts.min()))
    if len(names) < 2 or folds < 2 or space is None:
        return Predictability(None, None, None, None, "not predicted: too few scans in a level")
    rng = stream(seed, "predictability", "levels")
    fold = np.empty(len(codes), np.int64)
    for code in range(len(names)):
        members = rng.permutation(np.flatnonzero(codes == code))
        fold[members] = (np.arange(len(members)) + code) % folds
    train = (codes == np.arange(len(names))[:, None]) & (fold != np.arange(folds)[:, None, None])  # (folds, levels, n)
    averaging = (train / train.sum(axis=2, keepdims=True)).reshape(-1, len(codes))
    everyone = np.arange(len(codes))

    def score(rows: NDArray) -> float:
        means = averaging @ rows  # (folds x levels, r)
        nearness = rows @ means.T - (means**2).sum(axis=1) / 2
        guess = nearness.reshape(len(codes), folds, -1)[everyone, fold].argmax(axis=1)
        return float((np.bincount(codes[guess == codes], minlength=len(names)) / counts).mean())

    null = np.array([score(space[rng.permutation(len(space))]) for _ in range(n_permutations)])
    return _against_chance(score(space), null, 1 / len(names))


def predict_number(points: NDArray, values: NDArray, *, n_permutations: int, seed: int) -> Predictability:
    """R2 of the ranks of a number from the embedding, over random folds; arguments as :func:`predict_levels`.

    values : (n,) float, without missing ones. Ranks, so that a few extreme scans do not decide.
    """
    ranks = rankdata(np.asarray(values, dtype=np.float64))
    space = _space(points, len(ranks), n_permutations)
    if space is None or np.ptp(ranks) == 0:
        return Predictability(None, None, None, None, "not predicted: too few scans")
    rng = stream(seed, "predictability", "numbers")
    fold = rng.permutation(np.arange(len(ranks)) % FOLDS)
    # the folds do not depend on the ranks, so all permuted ones are predicted at once
    drawn = np.column_stack([ranks, *(rng.permutation(ranks) for _ in range(n_permutations))])  # (n, 1 + permutations)
    design = np.column_stack([np.ones(len(space)), space])
    left, null = np.zeros(drawn.shape[1]), np.zeros(drawn.shape[1])
    for f in range(FOLDS):
        inside, outside = fold != f, fold == f
        predicted = design[outside] @ (np.linalg.pinv(design[inside]) @ drawn[inside])
        left += ((drawn[outside] - predicted) ** 2).sum(axis=0)
        null += ((drawn[outside] - drawn[inside].mean(axis=0)) ** 2).sum(axis=0)
    scores = 1 - left / null
    return _against_chance(float(scores[0]), scores[1:], 0.0)


def _against_chance(observed: float, null: NDArray, chance: float) -> Predictability:
    p_value = (1 + int((null >= observed - 1e-12).sum())) / (1 + len(null))
    return Predictability(observed, chance, float(np.percentile(null, 95)), p_value)


def _space(points: NDArray, n: int, n_permutations: int) -> NDArray | None:
    """(n, r) principal components with variance 1, or ``None`` for too few scans; labels are not looked at."""
    if n_permutations < 1:
        raise InputError(f"n_permutations: found {n_permutations}, expected 1 or more.")
    if len(points) != n:
        raise InputError(f"points: found {len(points)} rows, expected {n}, one for each value.")
    if n < 2 * FOLDS:
        return None
    scores = principal_scores(points)[:, : max(n // SCANS_PER_COMPONENT, 1)]
    return scores / scores.std(axis=0) if scores.shape[1] else None
