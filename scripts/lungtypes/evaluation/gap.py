"""Gap statistic: log within-cluster scatter against uniform data (Tibshirani, Walther & Hastie 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungtypes.evaluation.kmeans import kmeans
from lungtypes.evaluation.null_test import principal_scores
from lungtypes.randomness import derive_seed, stream

N_STARTS = 3  # the same for data and reference


@dataclass(frozen=True)
class Gap:
    """Gap at ``k`` clusters and its standard error s_k; ``None`` where the scatter is zero."""

    k: int
    value: float | None
    standard_error: float | None


def gap_statistic(embedding: NDArray, *, ks: Sequence[int], n_null: int, seed: int) -> list[Gap]:
    """The gap for each number of clusters.

    Parameters
    ----------
    embedding : (n, d) float, one row per subject.
    ks : numbers of clusters, each at most n.
    n_null : reference data sets, uniform in the box of the principal axes.
    seed : of the references and of the k-means starts.
    """
    scores = principal_scores(embedding)
    if scores.shape[1] == 0:
        return [Gap(k, None, None) for k in ks]
    rng = stream(seed, "gap", "reference")
    low, high = scores.min(axis=0), scores.max(axis=0)
    references = [rng.uniform(low, high, size=scores.shape) for _ in range(n_null)]
    smallest = 1e-12 * float((scores**2).sum())
    result = []
    for k in ks:
        within = _within(scores, k, derive_seed(seed, "gap", k, "data"))
        if within <= smallest:
            result.append(Gap(k, None, None))
            continue
        null = [_within(points, k, derive_seed(seed, "gap", k, i)) for i, points in enumerate(references)]
        logs = np.log(np.maximum(null, 1e-300))
        error = float(logs.std() * np.sqrt(1 + 1 / n_null))
        result.append(Gap(k, float(logs.mean() - np.log(within)), error))
    return result


def gap_choice(gaps: Sequence[Gap]) -> int | None:
    """Smallest k whose gap is at least the next one less its standard error; ``None`` if there is none."""
    for here, after in zip(gaps[:-1], gaps[1:], strict=True):
        if here.value is None or after.value is None or after.standard_error is None:
            return None
        if here.value >= after.value - after.standard_error:
            return here.k
    return None


def _within(points: NDArray, k: int, seed: int) -> float:
    if k == 1:
        return float(((points - points.mean(axis=0)) ** 2).sum())
    return kmeans(points, k, n_init=N_STARTS, seed=seed).within
