"""Stability of each cluster: bootstrap Jaccard similarity (Hennig, Comput Stat Data Anal 2007)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import check_embedding
from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.randomness import derive_seed, stream

COLUMNS = ["cluster", "jaccard", "grade"]
N_STARTS = 5
# Lower limits of the grades, as in the manual of fpc::clusterboot
GRADES = ((0.85, "highly stable"), (0.75, "stable"), (0.6, "doubtful"), (0.0, "unstable"))


def cluster_jaccard(embedding: NDArray, labels: Sequence | NDArray, *, n_bootstrap: int, seed: int) -> pd.DataFrame:
    """How well k-means of resampled subjects finds each given cluster again.

    Parameters
    ----------
    embedding : (n, d) float, one row per subject.
    labels : (n,) the given clusters, int.
    n_bootstrap : resamples, at least 1.
    seed : of resamples and starts.

    Returns
    -------
    DataFrame : cluster (as given), jaccard (0-1, mean of the best match per resample; NaN for one
        cluster), grade (unstable < 0.6 <= doubtful < 0.75 <= stable < 0.85 <= highly stable).
    """
    points, given = check_embedding(embedding), np.asarray(labels)
    if len(given) != len(points):
        raise InputError(f"labels: found {len(given)}, expected {len(points)}, one for each subject.")
    if n_bootstrap < 1:
        raise InputError(f"n_bootstrap: found {n_bootstrap}, expected 1 or more.")
    clusters = np.unique(given)
    sums, times = np.zeros(len(clusters)), np.zeros(len(clusters))
    rng = stream(seed, "jaccard", "resample")
    with one_thread():
        for i in range(n_bootstrap if len(clusters) > 1 else 0):
            picks = rng.integers(0, len(points), size=len(points))
            if len(np.unique(picks)) < len(clusters):
                continue
            found = kmeans(points[picks], len(clusters), n_init=N_STARTS, seed=derive_seed(seed, "jaccard", i)).labels
            drawn, first = np.unique(picks, return_index=True)  # each subject once
            for j, cluster in enumerate(clusters):
                inside = given[drawn] == cluster
                if inside.any():
                    sums[j] += _best_match(inside, found[first])
                    times[j] += 1
    values = np.where(times > 0, sums / np.maximum(times, 1), np.nan)
    return pd.DataFrame(
        {
            "cluster": clusters.tolist(),
            "jaccard": values,
            "grade": [stability_grade(value) for value in values],
        },
        columns=COLUMNS,
    )


def stability_grade(jaccard: float) -> str:
    """The word for a mean Jaccard similarity of 0-1; "not defined" for NaN."""
    if np.isnan(jaccard):
        return "not defined"
    return next(word for limit, word in GRADES if jaccard >= limit)


def _best_match(inside: NDArray, found: NDArray) -> float:
    return max(
        float((inside & (found == label)).sum() / (inside | (found == label)).sum()) for label in np.unique(found)
    )
