"""Sparse k-means: clusters and the few features that make them (Witten & Tibshirani, JASA 2010).

Written from the paper, with the exact threshold instead of its bisection. Maximises
sum_j w_j a_j over labels and weights, where a_j is the between-cluster sum of squares of
standardised feature j, under ||w||_2 <= 1, ||w||_1 <= bound, w >= 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import check_embedding
from lungtypes.evaluation.kmeans import kmeans, kmeans_from
from lungtypes.randomness import derive_seed, stream

MAX_ROUNDS = 20
WEIGHTS_SETTLED = 1e-4  # relative change of the weights; Witten & Tibshirani 2010, section 3.1
N_BOUNDS = 8
SMALLEST_BOUND = 1.2  # first value of the grid in the authors' own program
CONSTANT_COLUMN = 1e-8  # standard deviation, as a share of the largest one


@dataclass(frozen=True)
class SparseKMeansFit:
    """Labels, weights and path of one sparse k-means.

    Attributes
    ----------
    labels : (n,) int, 0 to k-1.
    weights : (d,) >= 0; 0 for features that do not matter and for constant ones.
    bound : the limit on the sum of the weights.
    objective : weighted between-cluster sum of squares of the standardised features.
    path : the objective after each round; never falls.
    """

    labels: NDArray
    weights: NDArray
    bound: float
    objective: float
    path: tuple[float, ...]


@dataclass(frozen=True)
class BoundSelection:
    """The chosen bound, and the curve: columns bound, objective, gap, gap_sd, n_features, chosen."""

    fit: SparseKMeansFit
    bound: float
    table: pd.DataFrame


def standardise(embedding: NDArray) -> NDArray:
    """(n, d) with mean 0 and standard deviation 1 per column; a constant column becomes 0."""
    points = check_embedding(embedding)
    largest = float(np.abs(points).max())
    if largest > 0:
        points = points / largest  # keeps squares in range at any unit
    centred = points - points.mean(axis=0)
    sd = centred.std(axis=0)
    used = sd > max(CONSTANT_COLUMN * float(sd.max()), 1e-14)
    return np.where(used, centred / np.where(used, sd, 1.0), 0.0)


def sparse_kmeans(embedding: NDArray, k: int, *, bound: float, n_init: int, seed: int) -> SparseKMeansFit:
    """Sparse k-means at a given bound.

    Parameters
    ----------
    embedding : (n, d) float; columns are standardised here, so units do not matter.
    k : number of clusters, 2 to n-1.
    bound : limit on the sum of the weights, at least 1; sqrt(d) or more lets every feature in.
    n_init, seed : starts of the first k-means, on all features.
    """
    points = _checked(embedding, k)
    if not bound >= 1:
        raise InputError(f"bound: found {bound}, expected 1 or more (up to the root of the features).")
    return _alternate(points, _start(points, k, n_init=n_init, seed=seed), bound)


def choose_bound(embedding: NDArray, k: int, *, n_init: int, n_permutations: int, seed: int) -> BoundSelection:
    """The smallest bound whose gap over permuted features is within one SD of the largest gap.

    Each permutation shuffles every column on its own. Gap(s) = log O(s) - mean log O*(s).
    Eight bounds on a log grid, from 1.2 to the one beyond which nothing changes. Every bound
    starts from the same labels, so the result does not depend on the grid's other values.

    Parameters
    ----------
    embedding : (n, d) float.
    k : number of clusters, 2 to n-1.
    n_init, seed : as in :func:`sparse_kmeans`.
    n_permutations : permuted data sets, at least 2.
    """
    if n_permutations < 2:
        raise InputError(f"n_permutations: found {n_permutations}, expected 2 or more.")
    points = _checked(embedding, k)
    start = _start(points, k, n_init=n_init, seed=seed)
    bounds = _bounds(points, start)
    fits = [_alternate(points, start, bound) for bound in bounds]

    rng = stream(seed, "sparse_kmeans", "permutations")
    null = np.empty((n_permutations, len(bounds)))  # log O*
    for i in range(n_permutations):
        shuffled = rng.permuted(points, axis=0)
        first = _start(shuffled, k, n_init=n_init, seed=derive_seed(seed, "permutation", i))
        null[i] = [np.log(_alternate(shuffled, first, bound).objective) for bound in bounds]

    gap = np.log([fit.objective for fit in fits]) - null.mean(axis=0)
    sd = null.std(axis=0, ddof=1)
    best = int(np.argmax(gap))
    chosen = int(np.flatnonzero(gap >= gap[best] - sd[best])[0])
    table = pd.DataFrame(
        {
            "bound": bounds,
            "objective": [fit.objective for fit in fits],
            "gap": gap,
            "gap_sd": sd,
            "n_features": [int((fit.weights > 0).sum()) for fit in fits],
            "chosen": [i == chosen for i in range(len(bounds))],
        }
    )
    return BoundSelection(fits[chosen], float(bounds[chosen]), table)


def sparse_weights(between: NDArray, *, bound: float) -> NDArray:
    """The weights that maximise sum_j w_j a_j under both limits, in closed form.

    With a sorted from large to small and A, B the sums of the first m values and squares, the
    threshold is [A - s sqrt((m B - A^2) / (m - s^2))] / m for the one m whose value falls between
    a_(m+1) and a_m. More than s^2 equal features at the top leave no such m; the maximum is then
    reached by sharing the bound equally among them.

    Parameters
    ----------
    between : (d,) a_j >= 0, not all 0.
    bound : s >= 1.
    """
    a = np.asarray(between, dtype=np.float64) / np.max(between)
    if a.sum() <= bound * np.sqrt((a**2).sum()):
        return a / np.sqrt((a**2).sum())
    ranked = np.sort(a)[::-1]
    m = np.arange(1, len(a) + 1)
    total, squares = np.cumsum(ranked), np.cumsum(ranked**2)
    after = np.append(ranked[1:], 0.0)
    possible = m > bound**2
    root = np.sqrt(np.maximum(m * squares - total**2, 0.0) / np.where(possible, m - bound**2, 1.0))  # (d,)
    threshold = (total - bound * root) / m
    fitting = np.flatnonzero(possible & (after <= threshold) & (threshold < ranked * (1 - 1e-12)))
    if len(fitting) == 0:
        top = a >= 1 - 1e-9
        return np.where(top, bound / top.sum() if top.sum() > bound**2 else 1 / np.sqrt(top.sum()), 0.0)
    soft = np.maximum(a - threshold[fitting[0]], 0.0)
    return soft / np.sqrt((soft**2).sum())


def _checked(embedding: NDArray, k: int) -> NDArray:
    points = standardise(embedding)
    if not 2 <= k <= len(points) - 1:
        raise InputError(f"k: found {k}, expected 2 to {len(points) - 1} (subjects - 1).")
    if not points.any():
        raise InputError(
            "embedding: found the same values for every subject, expected some variation. "
            "The encoder has collapsed: see the log of its training."
        )
    return points


def _start(points: NDArray, k: int, *, n_init: int, seed: int) -> NDArray:
    return kmeans(points, k, n_init=n_init, seed=derive_seed(seed, "sparse_kmeans", k)).labels


def _bounds(points: NDArray, labels: NDArray) -> NDArray:
    between = _between(points, labels)
    largest = float(between.sum() / np.sqrt((between**2).sum()))
    if largest <= SMALLEST_BOUND:
        return np.array([max(largest, 1.0)])
    return np.geomspace(SMALLEST_BOUND, largest, N_BOUNDS)


def _alternate(points: NDArray, labels: NDArray, bound: float) -> SparseKMeansFit:
    weights = sparse_weights(_between(points, labels), bound=bound)
    path = [float(weights @ _between(points, labels))]
    for _ in range(MAX_ROUNDS):
        used = weights > 0
        scaled = points[:, used] * np.sqrt(weights[used])  # (n, used)
        moved = kmeans_from(scaled, _centres(scaled, labels)).labels
        between = _between(points, moved)
        new = sparse_weights(between, bound=bound)
        value = float(new @ between)
        if value < path[-1] * (1 - 1e-12):
            break  # an emptied cluster was filled again at a loss: the round before was better
        change = np.abs(new - weights).sum() / weights.sum()
        labels, weights = moved, new
        path.append(value)
        if change < WEIGHTS_SETTLED:
            break
    return SparseKMeansFit(labels, weights, float(bound), path[-1], tuple(path))


def _between(points: NDArray, labels: NDArray) -> NDArray:
    """(d,) between-cluster sum of squares of centred columns."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, labels, points)
    return (sums[counts > 0] ** 2 / counts[counts > 0, None]).sum(axis=0)


def _centres(points: NDArray, labels: NDArray) -> NDArray:
    return np.stack([points[labels == label].mean(axis=0) for label in np.unique(labels)])
