"""Is there more than one cluster? K-means of the data against k-means of one Gaussian (SigClust idea).

Source: Liu, Hayes, Nobel & Marron, JASA 2008. The null covariance has the eigenvalues of the
sample covariance. In fewer subjects than dimensions these are too spread out, which makes the
null data look more clustered: the test then loses power, but keeps its level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import check_embedding, silhouette
from lungtypes.evaluation.kmeans import kmeans
from lungtypes.randomness import derive_seed, stream

N_STARTS = 5  # the same for data and null, so that neither is searched harder


@dataclass(frozen=True)
class NullTest:
    """Result of a test against one Gaussian.

    Attributes
    ----------
    name : which statistic.
    statistic : its value in the data; ``None`` where it is not defined.
    p_value : 0-1, (1 + null draws at least as extreme) / (1 + draws); 1 where nothing can be said.
    n_null : Gaussian data sets drawn.
    reason : why there is no statistic; empty where there is one.
    """

    name: str
    statistic: float | None
    p_value: float
    n_null: int
    reason: str = ""


def one_cluster_test(embedding: NDArray, *, n_null: int, seed: int) -> NullTest:
    """p value of "one Gaussian cluster" by the 2-means cluster index (within / total sum of squares).

    Parameters
    ----------
    embedding : (n, d) float, one row per subject; d may exceed n.
    n_null : Gaussian data sets, at least 19 for a p value of 0.05.
    seed : of the draws and of the k-means starts.
    """
    scores = _principal(embedding, n_null)
    name = "2-means cluster index"
    if len(scores) < 4 or scores.shape[1] == 0:
        return NullTest(name, None, 1.0, n_null, "too few distinct subjects to tell")
    observed = _cluster_index(scores, derive_seed(seed, "null", "data"))
    draws = gaussians(scores, n_null, seed)
    null = [_cluster_index(draw, derive_seed(seed, "null", i)) for i, draw in enumerate(draws)]
    extreme = int(np.sum(np.array(null) <= observed))
    return NullTest(name, observed, (1 + extreme) / (1 + n_null), n_null)


def single_gaussian_test(embedding: NDArray, *, ks: Sequence[int], n_null: int, seed: int) -> NullTest:
    """p value of one Gaussian by two statistics at once, whichever speaks louder.

    The 2-means cluster index misses three or more distant groups in few subjects: a cut into two
    leaves most of their scatter. So the largest k-means silhouette over ``ks`` is looked at too.
    Both are ranked among the same null draws, and the smaller rank of the data is compared with the
    smaller rank of each draw: exact for the choice between them (Westfall & Young 1993).

    Parameters
    ----------
    embedding : (n, d) float, one row per subject.
    ks : numbers of clusters for the silhouette, 2 to n-1; empty: the cluster index alone.
    n_null, seed : as in :func:`one_cluster_test`; at least 39 draws for a p value of 0.05, since
        each statistic may have its own most extreme draw.
    """
    alone = one_cluster_test(embedding, n_null=n_null, seed=seed)
    if alone.statistic is None or not ks:
        return alone
    scores = principal_scores(embedding)
    sets = [scores, *gaussians(scores, n_null, seed)]  # the data first
    index = [_cluster_index(points, derive_seed(seed, "single", i)) for i, points in enumerate(sets)]
    widest = []
    for i, points in enumerate(sets):
        found = [_silhouette(points, k, derive_seed(seed, "single", i, k)) for k in ks]
        widest.append(max((value for value in found if value is not None), default=-1.0))
    # rank 1 is the most extreme; ties get the less extreme rank
    ranks = np.stack([rankdata(index, method="max"), rankdata(-np.array(widest), method="max")])
    smaller = ranks.min(axis=0)  # (1 + n_null,)
    p_value = float((smaller <= smaller[0]).mean())
    span = f"{min(ks)}-{max(ks)}" if len(ks) > 1 else f"{ks[0]}"
    name = f"2-means cluster index and the largest k-means silhouette, K = {span}"
    return NullTest(name, alone.statistic, p_value, n_null)


def silhouette_test(embedding: NDArray, k: int, *, n_null: int, seed: int) -> NullTest:
    """p value of the k-means silhouette at ``k`` clusters under one Gaussian; arguments as above."""
    scores = _principal(embedding, n_null)
    name = f"k-means silhouette at K = {k}"
    if not 2 <= k < len(scores) or scores.shape[1] == 0:
        return NullTest(name, None, 1.0, n_null, "not defined for this number of clusters")
    observed = _silhouette(scores, k, derive_seed(seed, "null_silhouette", "data"))
    if observed is None:
        return NullTest(name, None, 1.0, n_null, "silhouette not defined")
    draws = gaussians(scores, n_null, derive_seed(seed, "null_silhouette"))
    null = [_silhouette(draw, k, derive_seed(seed, "null_silhouette", i)) for i, draw in enumerate(draws)]
    extreme = sum(value is not None and value >= observed for value in null)
    return NullTest(name, observed, (1 + extreme) / (1 + n_null), n_null)


def principal_scores(embedding: NDArray) -> NDArray:
    """(n, r) centred data on its r principal axes of non-zero variance, r <= min(n - 1, d)."""
    points = check_embedding(embedding)
    largest = float(np.abs(points).max())
    centred = points / largest if largest > 0 else points
    centred = centred - centred.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    used = values > max(1e-8 * float(values[0]), 1e-14)
    return left[:, used] * values[used]


def gaussians(scores: NDArray, n_null: int, seed: int) -> list[NDArray]:
    """``n_null`` draws (n, r) of one Gaussian with the sample covariance of ``scores`` (n, r) on principal axes."""
    sd = scores.std(axis=0, ddof=1)  # roots of the eigenvalues of the sample covariance
    rng = stream(seed, "null", "gaussian")
    return [rng.standard_normal(scores.shape) * sd for _ in range(n_null)]


def _principal(embedding: NDArray, n_null: int) -> NDArray:
    if n_null < 1:
        raise InputError(f"n_null: found {n_null}, expected 1 or more.")
    return principal_scores(embedding)


def _cluster_index(points: NDArray, seed: int) -> float:
    centred = points - points.mean(axis=0)
    return kmeans(centred, 2, n_init=N_STARTS, seed=seed).within / float((centred**2).sum())


def _silhouette(points: NDArray, k: int, seed: int) -> float | None:
    return silhouette(points, kmeans(points, k, n_init=N_STARTS, seed=seed).labels).value
