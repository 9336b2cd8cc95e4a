"""Agreement of clusters with a reference reading: matched accuracy and its chance level, NMI, AMI, ARI, kappa.

Matching by the Hungarian method (Kuhn 1955), as deep-clustering papers report accuracy.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    cohen_kappa_score,
    normalized_mutual_info_score,
)

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
    """What matching alone gives.

    Attributes
    ----------
    mean, p95 : mean and 95th percentile of the accuracy of permuted labels, 0-1.
    p_value : (1 + permutations at least as accurate as the data) / (1 + permutations).
    """

    mean: float
    p95: float
    p_value: float


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
    counts, cluster_names, class_names = contingency(labels, reference)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    n = int(counts.sum())
    return MatchedAccuracy(
        accuracy=float(counts[rows, columns].sum() / n),
        mapping={cluster_names[r]: class_names[c] for r, c in zip(rows, columns, strict=True)},
        n=n,
        majority_share=float(counts.sum(axis=0).max() / n),
    )


def accuracy_level(
    labels: Sequence, reference: Sequence, *, n_permutations: int, rng: np.random.Generator
) -> AccuracyLevel:
    """The chance level of :func:`matched_accuracy`: cluster labels permuted, matching redone each time."""
    if n_permutations < 1:
        raise InputError(f"n_permutations: found {n_permutations}, expected 1 or more.")
    clusters, classes, cluster_names, class_names = _codes(labels, reference)
    sizes = len(cluster_names), len(class_names)
    observed = _hits(_contingency(clusters, classes, *sizes))
    hits = np.array([_hits(_contingency(rng.permutation(clusters), classes, *sizes)) for _ in range(n_permutations)])
    shares = hits / len(clusters)
    p_value = (1 + int((hits >= observed).sum())) / (1 + n_permutations)
    return AccuracyLevel(float(shares.mean()), float(np.percentile(shares, 95)), p_value)


def accuracy_interval(labels: Sequence, reference: Sequence) -> Interval:
    """95 % Wilson score interval of the matched accuracy (Wilson, JASA 1927).

    With the matching of the whole sample kept, the hits are a binomial count. The bootstrap of such a count has no
    width at 0 or all hits; Wilson's interval has, and Brown, Cai & DasGupta (Stat Sci 2001) recommend it for small
    samples, since its mean coverage is close to 95 % where the exact interval of Clopper and Pearson covers more.
    The matching was chosen on the same subjects, which lifts accuracy and interval near the chance level: read
    them beside :func:`accuracy_level`, which repeats the matching.
    """
    found = matched_accuracy(labels, reference)
    limits = binomtest(round(found.accuracy * found.n), found.n).proportion_ci(method="wilson")
    return Interval(float(limits.low), float(limits.high))


def normalised_mutual_information(labels: Sequence, reference: Sequence) -> float:
    """Mutual information over the arithmetic mean of the entropies, 0-1; not corrected for chance."""
    clusters, classes, _, _ = _codes(labels, reference)
    return float(normalized_mutual_info_score(classes, clusters, average_method="arithmetic"))


def adjusted_mutual_information(labels: Sequence, reference: Sequence) -> float:
    """Mutual information corrected for chance: 0 expected by chance, 1 the same partition (Vinh et al., JMLR 2010)."""
    clusters, classes, _, _ = _codes(labels, reference)
    return float(adjusted_mutual_info_score(classes, clusters, average_method="arithmetic"))


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
    counts, cluster_names, class_names = contingency(labels, reference)
    unknown = sorted(str(level) for level in class_names if level not in set(order))
    if unknown:
        raise InputError(f"reference: found {', '.join(unknown)}, expected one of {list(order)}.")
    rank = {level: i for i, level in enumerate(order)}
    guess = dict(zip(cluster_names, matched_ranks(counts, [rank[level] for level in class_names]), strict=True))
    if len(class_names) < 2:
        return Index(None, "not defined: the reference has one class")
    if len(set(guess.values())) < 2:
        return Index(None, "not defined for one cluster")
    kappa = cohen_kappa_score(
        [rank[level] for level in reference],
        [guess[cluster] for cluster in labels],
        labels=list(range(len(order))),
        weights="quadratic",
    )
    return Index(float(kappa))


def matched_ranks(counts: NDArray, ranks: Sequence[int]) -> list[int]:
    """The rank that stands for each cluster: of its matched class, or of its commonest where none is left.

    counts : (clusters, classes). ranks : (classes,) from mild to severe.
    """
    guesses = [int(ranks[column]) for column in counts.argmax(axis=1)]
    for row, column in zip(*linear_sum_assignment(counts, maximize=True), strict=True):
        guesses[row] = int(ranks[column])
    return guesses


def contingency(labels: Sequence, reference: Sequence) -> tuple[NDArray, list, list]:
    """Counts (clusters, classes), the clusters and the classes, both sorted."""
    clusters, classes, cluster_names, class_names = _codes(labels, reference)
    return _contingency(clusters, classes, len(cluster_names), len(class_names)), cluster_names, class_names


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


def _hits(counts: NDArray) -> int:
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())
