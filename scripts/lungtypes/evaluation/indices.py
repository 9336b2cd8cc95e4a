"""Silhouette, Davies-Bouldin and Calinski-Harabasz of a clustering, or the reason why there is none.

Sources: Rousseeuw 1987; Davies & Bouldin 1979; Calinski & Harabasz 1974.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_samples

from lungtypes.errors import InputError


@dataclass(frozen=True)
class Index:
    """One number, or ``None`` with the reason why it is not defined (never 0, never NaN).

    Attributes
    ----------
    value : the index, without unit; ``None`` where it is not defined.
    reason : why it is not defined; empty where it is.
    standard_error : of the mean over subjects; ``None`` where the index is no mean.
    """

    value: float | None
    reason: str = ""
    standard_error: float | None = None


def silhouette(embedding: NDArray, labels: Sequence | NDArray) -> Index:
    """Mean silhouette width, Euclidean distance; -1 to 1, higher is better separated.

    Parameters
    ----------
    embedding : (n, d) float, one row per subject.
    labels : (n,) hashable cluster labels.
    """
    return _guarded(embedding, labels, _silhouette)


def davies_bouldin(embedding: NDArray, labels: Sequence | NDArray) -> Index:
    """Davies-Bouldin index, 0 or more; lower is better. Arguments as in :func:`silhouette`."""
    return _guarded(embedding, labels, _davies_bouldin)


def calinski_harabasz(embedding: NDArray, labels: Sequence | NDArray) -> Index:
    """Ratio of between to within variance; higher is better. Arguments as in :func:`silhouette`."""
    return _guarded(embedding, labels, _calinski_harabasz)


def check_embedding(embedding: NDArray) -> NDArray:
    """The embedding as (n, d) float64, or an :class:`InputError` that says what is wrong."""
    points = np.asarray(embedding, dtype=np.float64)
    if points.ndim != 2 or 0 in points.shape:
        raise InputError(f"embedding: found shape {points.shape}, expected (subjects, dimensions).")
    if not np.isfinite(points).all():
        rows = np.flatnonzero(~np.isfinite(points).all(axis=1))
        raise InputError(
            f"embedding: found NaN or infinite values in {len(rows)} row(s), first row {rows[0]}, "
            "expected finite numbers. The training probably diverged: see its log."
        )
    return points


def _guarded(embedding: NDArray, labels: Sequence | NDArray, index: Callable[..., Index]) -> Index:
    points = check_embedding(embedding)
    n = len(points)
    if len(labels) != n:
        raise InputError(f"labels: found {len(labels)}, expected {n}, one for each row of the embedding.")
    levels: dict = {}
    codes = np.array([levels.setdefault(label, len(levels)) for label in labels])
    if len(levels) < 2:
        return Index(None, "not defined for one cluster")
    if len(levels) >= n:
        return Index(None, f"not defined for {len(levels)} clusters of {n} subjects")
    return index(points, codes)


def _silhouette(points: NDArray, codes: NDArray) -> Index:
    widths = silhouette_samples(points, codes)
    return Index(float(widths.mean()), "", float(widths.std(ddof=1) / np.sqrt(len(widths))))


def _davies_bouldin(points: NDArray, codes: NDArray) -> Index:
    centres = np.stack([points[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
    # scikit-learn leaves coincident centres out (or returns 0, its best value), which flatters the result
    if pdist(centres).min() <= 1e-12 * max(np.abs(points).max(), 1e-300):
        return Index(None, "not defined: two cluster centres coincide")
    return Index(float(davies_bouldin_score(points, codes)))


def _calinski_harabasz(points: NDArray, codes: NDArray) -> Index:
    within = sum(
        float(((points[codes == code] - points[codes == code].mean(axis=0)) ** 2).sum())
        for code in range(codes.max() + 1)
    )
    total = float(((points - points.mean(axis=0)) ** 2).sum())
    if within <= 1e-14 * total or total == 0.0:
        return Index(None, "not defined: no variation within the clusters")
    return Index(float(calinski_harabasz_score(points, codes)))


def medoid_of(points: NDArray[np.float64]) -> int:
    """Row of (n, d) points with the smallest sum of distances to the others; the first of several."""
    return int(cdist(points, points).sum(axis=1).argmin())
