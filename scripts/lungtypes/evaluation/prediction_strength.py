"""Prediction strength: do clusters of one half of the scans tell those of the other half?

Source: Tibshirani & Walther, J Comput Graph Stat 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import check_embedding
from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.evaluation.null_test import principal_scores
from lungtypes.randomness import derive_seed, stream

N_STARTS = 3
THRESHOLD = 0.8  # Tibshirani & Walther: 0.8 to 0.9


@dataclass(frozen=True)
class PredictionStrength:
    """Mean over splits at ``k`` clusters, 0-1, and the standard deviation; ``None`` with a reason if undefined."""

    k: int
    value: float | None
    sd: float | None
    reason: str = ""


def prediction_strength(
    embedding: NDArray, *, ks: Sequence[int], n_splits: int, seed: int
) -> tuple[PredictionStrength, ...]:
    """The prediction strength for each number of clusters.

    In each split both halves are clustered by k-means. The scans of one half are also given to the nearest centre of
    the other; the strength is the share of a cluster's pairs that stay together, in the cluster that fares worst,
    and each half plays each part once. A cluster of one scan has no pair and is passed over. K = 1 has strength 1.

    Parameters
    ----------
    embedding : (n, d) float, one row per subject.
    ks : numbers of clusters, 1 or more; more than a half holds are not defined.
    n_splits : random halves, at least 1.
    seed : of the halves and the k-means starts.
    """
    if n_splits < 1:
        raise InputError(f"n_splits: found {n_splits}, expected 1 or more.")
    if min(ks, default=1) < 1:
        raise InputError(f"ks: found {min(ks)}, expected 1 or more.")
    points = principal_scores(check_embedding(embedding))
    orders = [stream(seed, "prediction_strength", i).permutation(len(points)) for i in range(n_splits)]
    with one_thread():
        return tuple(_strength(points, k, orders, seed) for k in ks)


def strongest_k(strengths: Sequence[PredictionStrength], *, threshold: float = THRESHOLD) -> int:
    """The largest number of clusters whose mean strength reaches the threshold; 1 if none does."""
    return max((s.k for s in strengths if s.value is not None and s.value >= threshold), default=1)


def _strength(points: NDArray, k: int, orders: Sequence[NDArray], seed: int) -> PredictionStrength:
    if k == 1:
        return PredictionStrength(1, 1.0, 0.0)
    half = len(points) // 2
    if points.shape[1] == 0 or half <= k:
        return PredictionStrength(k, None, None, f"not defined: {half} scans in a half for {k} clusters")
    values = []
    for i, order in enumerate(orders):
        parts = points[order[:half]], points[order[half:]]
        fits = [
            kmeans(part, k, n_init=N_STARTS, seed=derive_seed(seed, "prediction_strength", k, i, j))
            for j, part in enumerate(parts)
        ]
        values += [_worst_cluster(parts[j], fits[j].labels, fits[1 - j].centres) for j in (0, 1)]
    return PredictionStrength(k, float(np.mean(values)), float(np.std(values)))


def _worst_cluster(test: NDArray, labels: NDArray, centres: NDArray) -> float:
    """Smallest share, over the test clusters, of pairs that the other half's centres leave together."""
    distances = (centres**2).sum(axis=1) - 2 * test @ centres.T  # (n, k), without the test's own length
    k = len(centres)
    counts = np.bincount(labels * k + distances.argmin(axis=1), minlength=k * k).reshape(k, k)
    sizes = counts.sum(axis=1)
    kept = (counts * (counts - 1)).sum(axis=1)[sizes > 1]
    return float((kept / (sizes * (sizes - 1))[sizes > 1]).min(initial=1.0))
