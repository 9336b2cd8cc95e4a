"""Agreement of clusters with a reference reading: matched accuracy, its chance level, NMI, ARI, kappa.

Matching by the Hungarian method (Kuhn 1955), as deep-clustering papers report accuracy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score, normalized_mutual_info_score

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import Index


@dataclass(frozen=True)
class MatchedAccuracy:
    """Share of subjects in the class that their cluster is matched to.

    Attributes
    ----------
    accuracy : 0-1.
    mapping : cluster label -> reference class, one to one; clusters beyond the classes are absent.
    n : subjects.
    majority_share : 0-1, the accuracy of one cluster that holds everybody.
    """

    accuracy: float
    mapping: dict[Hashable, Hashable]
    n: int
    majority_share: float


@dataclass(frozen=True)
class AccuracyLevel:
    """What matching alone gives: mean and 95th percentile of the accuracy of permuted labels, 0-1."""

    mean: float
    p95: float


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def matched_accuracy(labels: Sequence, reference: Sequence) -> MatchedAccuracy:
    """Accuracy under the best one-to-one matching of clusters and classes; unequal numbers are allowed.

    Parameters
    ----------
    labels, reference : (n,) hashables, without missing values.
    """
    clusters, classes, cluster_names, class_names = _codes(labels, reference)
    counts = _contingency(clusters, classes, len(cluster_names), len(class_names))
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return MatchedAccuracy(
        accuracy=float(counts[rows, columns].sum() / len(clusters)),
        mapping={cluster_names[r]: class_names[c] for r, c in zip(rows, columns, strict=True)},
        n=len(clusters),
        majority_share=float(counts.sum(axis=0).max() / len(clusters)),
    )


def accuracy_level(
    labels: Sequence, reference: Sequence, *, n_permutations: int, rng: np.random.Generator
) -> AccuracyLevel:
    """The chance level of :func:`matched_accuracy`: cluster labels permuted, matching redone each time."""
    _check_draws(n_permutations, "n_permutations")
    clusters, classes, cluster_names, class_names = _codes(labels, reference)
    scores = np.empty(n_permutations)
    for i in range(n_permutations):
        shuffled = rng.permutation(clusters)
        counts = _contingency(shuffled, classes, len(cluster_names), len(class_names))
        scores[i] = counts[linear_sum_assignment(counts, maximize=True)].sum() / len(clusters)
    return AccuracyLevel(float(scores.mean()), float(np.percentile(scores, 95)))


def accuracy_interval(labels: Sequence, reference: Sequence, *, n_bootstrap: int, rng: np.random.Generator) -> Interval:
    """95 % percentile interval of the accuracy over resampled subjects.

    The matching of the whole sample is kept: redone in each resample, it would lift every
    bootstrap accuracy, and near the chance level the interval would miss the estimate itself.
    """
    _check_draws(n_bootstrap, "n_bootstrap")
    found = matched_accuracy(labels, reference)
    absent = object()
    hits = np.array([found.mapping.get(c, absent) == r for c, r in zip(list(labels), list(reference), strict=True)])
    picks = rng.integers(0, found.n, size=(n_bootstrap, found.n))
    low, high = np.percentile(hits[picks].mean(axis=1), [2.5, 97.5])
    return Interval(float(low), float(high))


def normalised_mutual_information(labels: Sequence, reference: Sequence) -> float:
    """Mutual information over the arithmetic mean of the entropies, 0-1; not corrected for chance."""
    clusters, classes, _, _ = _codes(labels, reference)
    return float(normalized_mutual_info_score(classes, clusters, average_method="arithmetic"))


def adjusted_rand(labels: Sequence, reference: Sequence) -> float:
    """Rand index corrected for chance: 0 expected by chance, 1 the same partition."""
    clusters, classes, _, _ = _codes(labels, reference)
    return float(adjusted_rand_score(classes, clusters))


def weighted_kappa(labels: Sequence, reference: Sequence, *, order: Sequence[Hashable]) -> Index:
    """Quadratically weighted kappa of matched clusters with an ordinal reference.

    Parameters
    ----------
    labels, reference : (n,) hashables, without missing values.
    order : every class of the reference, from mild to severe. Only meaningful for ordinal classes.

    A cluster left over by the matching (more clusters than classes) counts as its commonest class.
    """
    found = matched_accuracy(labels, reference)
    rank = {level: i for i, level in enumerate(order)}
    unknown = sorted({str(level) for level in reference if level not in rank})
    if unknown:
        raise InputError(f"reference: found {', '.join(unknown)}, expected one of {list(order)}.")
    truth = np.array([rank[level] for level in reference])
    guess = np.empty_like(truth)
    keys = list(labels)
    for cluster in set(keys):
        members = np.array([key == cluster for key in keys])
        commonest = int(np.bincount(truth[members]).argmax())
        guess[members] = rank[found.mapping[cluster]] if cluster in found.mapping else commonest
    if len(set(truth.tolist())) < 2:
        return Index(None, "not defined: the reference has one class")
    if len(set(guess.tolist())) < 2:
        return Index(None, "not defined for one cluster")
    kappa = cohen_kappa_score(truth, guess, labels=list(range(len(order))), weights="quadratic")
    return Index(float(kappa))


def _codes(labels: Sequence, reference: Sequence) -> tuple[NDArray, NDArray, list, list]:
    left, right = list(labels), list(reference)
    if len(left) != len(right) or not left:
        raise InputError(
            f"labels and reference: found {len(left)} and {len(right)} values, expected the same number, "
            "at least 1. Keep only subjects that have both."
        )
    for name, values in (("labels", left), ("reference", right)):
        missing = sum(bool(pd.isna(value)) for value in values)
        if missing:
            raise InputError(f"{name}: found {missing} missing value(s), expected none. Drop these subjects first.")
    left_names, right_names = _levels(left), _levels(right)
    left_rank = {name: i for i, name in enumerate(left_names)}
    right_rank = {name: i for i, name in enumerate(right_names)}
    return (
        np.array([left_rank[value] for value in left]),
        np.array([right_rank[value] for value in right]),
        left_names,
        right_names,
    )


def _levels(values: list) -> list:
    # sorted, so that ties of the matching do not depend on the order of the rows
    distinct = set(values)
    try:
        return sorted(distinct)
    except TypeError:
        return sorted(distinct, key=lambda value: (type(value).__name__, str(value)))


def _contingency(clusters: NDArray, classes: NDArray, n_clusters: int, n_classes: int) -> NDArray:
    flat = np.bincount(clusters * n_classes + classes, minlength=n_clusters * n_classes)
    return flat.reshape(n_clusters, n_classes)  # (clusters, classes)


def _check_draws(number: int, name: str) -> None:
    if number < 1:
        raise InputError(f"{name}: found {number}, expected 1 or more.")
