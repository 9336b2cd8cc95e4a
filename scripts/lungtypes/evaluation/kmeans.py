"""K-means with explicit starts and seed: the one door to scikit-learn's KMeans (Lloyd 1982)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

MAX_ROUNDS = 300


@dataclass(frozen=True)
class KMeansFit:
    """Labels (n,) int from 0, centres (k, d), and the within-cluster sum of squares."""

    labels: NDArray
    centres: NDArray
    within: float


def kmeans(points: NDArray, k: int, *, n_init: int, seed: int) -> KMeansFit:
    """The best of ``n_init`` k-means++ starts.

    Parameters
    ----------
    points : (n, d) float, finite; n >= k.
    k : number of clusters. Fewer are used where fewer distinct points exist.
    n_init : number of starts.
    seed : of these starts.
    """
    return _fit(points, KMeans(k, init="k-means++", n_init=n_init, max_iter=MAX_ROUNDS, random_state=seed))


def kmeans_from(points: NDArray, centres: NDArray) -> KMeansFit:
    """K-means continued from given centres (k, d); draws nothing."""
    return _fit(points, KMeans(len(centres), init=centres, n_init=1, max_iter=MAX_ROUNDS, random_state=0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Numeric libraries on one thread, so that sums are added in the same order on every machine."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    with threadpool_limits(limits=1):
        yield


def _fit(points: NDArray, model: KMeans) -> KMeansFit:
    with warnings.catch_warnings():
        # fewer distinct points than clusters: the caller sees it in the labels
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.ascontiguousarray(points))
    return KMeansFit(model.labels_.astype(np.int64), model.cluster_centers_, float(model.inertia_))
