"""What DeepCluster does between two epochs (Caron et al. 2018): reduced features, k-means, fair batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score

from lungtypes.evaluation.kmeans import KMeansFit, kmeans, kmeans_from

SMALLEST_SHARE = 1e-6  # of the first singular value; components below it are rounding
NUDGE = 1e-4  # by which two centroids of a split cluster part, as in the faiss library


@dataclass(frozen=True)
class Reduction:
    """Standardised features on principal components, each row of length 1.

    mean, scale : (d,) of the features. components : (r, d). spread : (r,) what the scores are divided by: 1, or their
    standard deviation when whitened.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    components: NDArray[np.float64]
    spread: NDArray[np.float64]

    def scores(self, features: NDArray) -> NDArray[np.float64]:
        """(n, d) -> (n, r), lengths kept."""
        return (features - self.mean) / self.scale @ self.components.T / self.spread

    def __call__(self, features: NDArray) -> NDArray[np.float64]:
        """(n, d) -> (n, r) with rows of length 1."""
        scores = self.scores(features)
        return scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-12)


def fit_reduction(features: NDArray, *, components: int, whiten: bool) -> Reduction:
    """Fix the reduction on the training scans (n, d).

    components : at most; never more than n - 1 or d, or than have any variance. A component's largest loading is
    positive, so that signs do not depend on the machine. Constant features stay at 0.
    """
    points = np.asarray(features, np.float64)
    mean, scale = points.mean(axis=0), points.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0)
    _, values, axes = np.linalg.svd((points - mean) / scale, full_matrices=False)
    wanted = min(components, len(points) - 1, points.shape[1])
    kept = axes[:wanted][values[:wanted] > SMALLEST_SHARE * max(values[0], 1e-300)]
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])
    kept = kept * signs[:, None]
    deviation = values[: len(kept)] / np.sqrt(max(len(points) - 1, 1))
    return Reduction(mean, scale, kept, deviation if whiten else np.ones(len(kept)))


def kmeans_reseeded(points: NDArray, k: int, *, n_init: int, seed: int) -> KMeansFit:
    """K-means in which no cluster is left empty as long as there are ``k`` scans.

    scikit-learn moves an empty cluster's centroid within a run; where points coincide it can still return fewer
    clusters. Then the largest is split: its centroid is nudged both ways and k-means goes on from there.
    """
    found = kmeans(points, k, n_init=n_init, seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(k):
        sizes = np.bincount(found.labels, minlength=k)
        if sizes.min() > 0:
            return found
        centres, largest = found.centres.copy(), int(sizes.argmax())
        step = NUDGE * rng.standard_normal(points.shape[1])
        centres[int(sizes.argmin())] = centres[largest] + step
        centres[largest] -= step
        found = kmeans_from(points, centres)
    labels = found.labels.copy()  # coinciding points: no centroid can part them
    for empty in np.flatnonzero(np.bincount(labels, minlength=k) == 0):
        members = np.flatnonzero(labels == np.bincount(labels, minlength=k).argmax())
        labels[members[: len(members) // 2]] = empty
    return KMeansFit(labels, found.centres, found.within)


def balanced_indices(labels: NDArray, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``n`` scans in random order, as many from each label that is used; a small cluster's scans come more often."""
    used = np.unique(labels)
    quota = -(-n // len(used))
    picks = []
    for label in used:
        members = np.flatnonzero(labels == label)
        picks.append(rng.choice(members, size=quota, replace=len(members) < quota))
    return rng.permutation(np.concatenate(picks))[:n]


def compare_labels(before: NDArray, after: NDArray, k: int) -> dict[str, float]:
    """Between two epochs: share of scans that changed cluster under the best matching of numbers, and NMI (0-1)."""
    table = confusion_matrix(before, after, labels=list(range(k)))
    kept = table[linear_sum_assignment(table, maximize=True)].sum()
    nmi = normalized_mutual_info_score(before, after, average_method="arithmetic")
    return {"labels_changed": 1 - float(kept) / len(before), "nmi_previous": float(nmi)}


def cluster_sizes(labels: NDArray, k: int) -> dict[str, float]:
    """Entropy of the sizes (1: all alike), share of the largest, number of clusters used."""
    shares = np.bincount(labels, minlength=k) / len(labels)
    used = shares[shares > 0]
    entropy = float(-(used * np.log(used)).sum() / np.log(k)) if k > 1 else 1.0
    return {"size_entropy": entropy, "largest_share": float(shares.max()), "n_clusters_used": len(used)}
