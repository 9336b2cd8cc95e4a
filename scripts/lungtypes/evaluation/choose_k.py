"""Chooses the number of clusters on the embedding before clustering (CLAM paper, section 5.2).

The paper takes the largest mean silhouette of sparse k-means. Shown beside it: the silhouette of
plain k-means, the gap statistic, and a test of one Gaussian, because no silhouette can say K = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.gap import gap_choice, gap_statistic
from lungtypes.evaluation.indices import Index, check_embedding, silhouette
from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.evaluation.null_test import NullTest, silhouette_test, single_gaussian_test
from lungtypes.evaluation.sparse_kmeans import choose_bound, standardise
from lungtypes.randomness import derive_seed

Rule = Literal["silhouette", "sparse_silhouette"]
COLUMNS = ["k", "criterion", "value", "standard_error", "chosen", "note"]
NULL_LEVEL = 0.05  # a single Gaussian is called rejected at or below this p value
ONE_CLUSTER = "not defined for one cluster"


def structure_flag(null_p: float) -> str:
    """What every table of clusters carries in its column ``flag``: nothing, or that there may be one group only."""
    return "" if null_p <= NULL_LEVEL else f"one group not rejected (p = {null_p:.2g})"


@dataclass(frozen=True)
class KSelection:
    """The chosen number of clusters and how it was found.

    Attributes
    ----------
    k : number of clusters.
    rule : ``silhouette`` or ``sparse_silhouette``.
    reason : a sentence for the report.
    null_p : p value of a single Gaussian.
    table : columns k, criterion, value, standard_error, chosen, note. ``chosen`` marks the rows of
        the chosen K; an empty value has its reason in ``note``.
    """

    k: int
    rule: str
    reason: str
    null_p: float
    table: pd.DataFrame


def choose_k(
    embedding: NDArray,
    *,
    k_min: int,
    k_max: int,
    rule: Rule,
    n_init: int,
    n_null: int,
    n_permutations: int,
    seed: int,
) -> KSelection:
    """The number of clusters with the largest silhouette; ties go to the smaller number.

    Parameters
    ----------
    embedding : (n, d) float, one row per subject, before the clustering phase.
    k_min, k_max : numbers to compare, 1 <= k_min <= k_max <= n-1. K = 1 is chosen only where
        k_min is 1 and a single Gaussian is not rejected at 0.05.
    rule : which silhouette decides.
    n_init : k-means starts.
    n_null : Gaussian and uniform data sets for the null test and the gap.
    n_permutations : permuted data sets for the bound of sparse k-means.
    seed : every draw comes from it.
    """
    points = check_embedding(embedding)
    _check(points, k_min=k_min, k_max=k_max, rule=rule, n_init=n_init)
    ks = list(range(max(k_min, 2), k_max + 1))
    with one_thread():
        null = single_gaussian_test(points, ks=ks, n_null=n_null, seed=derive_seed(seed, "choose_k", "null"))
        plain = {k: _plain(points, k, n_init, seed) for k in ks}
        sparse = {k: _sparse(points, k, n_init, n_permutations, seed) for k in ks}
        gaps = gap_statistic(points, ks=[1, *ks], n_null=n_null, seed=derive_seed(seed, "choose_k", "gap"))
        deciding = sparse if rule == "sparse_silhouette" else plain
        k, reason = _decide(deciding, null, k_min=k_min, k_max=k_max, rule=rule)
        shape = (
            silhouette_test(points, k, n_null=n_null, seed=derive_seed(seed, "choose_k", "shape")) if k >= 2 else None
        )

    rows = [_row(1, "null_p", null.p_value, None, null.reason or f"test of one Gaussian by the {null.name}")]
    for criterion, indices in (("silhouette_kmeans", plain), ("silhouette_sparse", sparse)):
        rows.append(_row(1, criterion, None, None, ONE_CLUSTER))
        best = _best(indices)
        for number, index in indices.items():
            note = index.reason or ("largest of this criterion" if number == best else "")
            rows.append(_row(number, criterion, index.value, index.standard_error, note))
    elbow = gap_choice(gaps)
    for gap in gaps:
        note = "not defined: no scatter within the clusters" if gap.value is None else ""
        note = "chosen by the gap's one-standard-error rule" if gap.k == elbow else note
        rows.append(_row(gap.k, "gap", gap.value, gap.standard_error, note))
    if shape is not None:
        note = shape.reason or f"test of one Gaussian by the {shape.name}"
        rows.append(_row(k, "null_p_silhouette", shape.p_value, None, note))
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.assign(chosen=table["k"] == k)
    return KSelection(k, rule, reason, null.p_value, table)


def _check(points: NDArray, *, k_min: int, k_max: int, rule: str, n_init: int) -> None:
    n = len(points)
    faults = []
    if k_max > n - 1:
        faults.append(f"k_max: found {k_max}, expected at most {n - 1} (subjects - 1). Lower k_max, or add subjects.")
    if not 1 <= k_min <= k_max:
        faults.append(f"k_min: found {k_min}, expected 1 to k_max ({k_max}).")
    if rule not in get_args(Rule):
        faults.append(f"rule: found {rule!r}, expected one of {', '.join(get_args(Rule))}.")
    if n_init < 1:
        faults.append(f"n_init: found {n_init}, expected 1 or more.")
    if np.ptp(points, axis=0).max() == 0:
        faults.append(
            "embedding: found the same values for every subject, expected some variation. "
            "The encoder has collapsed: see the log of its training."
        )
    if faults:
        raise InputError("\n".join(faults))


def _plain(points: NDArray, k: int, n_init: int, seed: int) -> Index:
    labels = kmeans(points, k, n_init=n_init, seed=derive_seed(seed, "choose_k", "kmeans", k)).labels
    return silhouette(points, labels)


def _sparse(points: NDArray, k: int, n_init: int, n_permutations: int, seed: int) -> Index:
    fit = choose_bound(
        points,
        k,
        n_init=n_init,
        n_permutations=n_permutations,
        seed=derive_seed(seed, "choose_k", "sparse", k),
    ).fit
    used = fit.weights > 0
    return silhouette(standardise(points)[:, used] * np.sqrt(fit.weights[used]), fit.labels)


def _best(indices: dict[int, Index]) -> int | None:
    defined = {k: round(index.value, 12) for k, index in indices.items() if index.value is not None}
    return min(defined, key=lambda k: (-defined[k], k)) if defined else None


def _decide(indices: dict[int, Index], null: NullTest, *, k_min: int, k_max: int, rule: str) -> tuple[int, str]:
    rejected = null.p_value <= NULL_LEVEL
    p = f"p = {null.p_value:.2g}"
    if k_max == 1:
        return 1, "K = 1: the only number allowed by k_min and k_max"
    if k_min == 1 and not rejected:
        return 1, f"K = 1: a single Gaussian was not rejected ({p}), so nothing speaks for discrete groups"
    best = _best(indices)
    if best is None:
        return max(k_min, 2), f"K = {max(k_min, 2)}: no silhouette is defined, so the smallest number is taken"
    kind = "sparse k-means" if rule == "sparse_silhouette" else "k-means"
    end = (
        f"a single Gaussian was rejected ({p})"
        if rejected
        else f"but a single Gaussian was not rejected ({p}): read the clusters as parts of a continuum"
    )
    span = _span(list(indices))
    return best, (
        f"K = {best}: largest silhouette ({indices[best].value:.2f}) of {kind} on the embedding "
        f"before clustering, {span}; {end}"
    )


def _span(ks: Sequence[int]) -> str:
    return f"K = {ks[0]}-{ks[-1]}" if len(ks) > 1 else f"the only K compared ({ks[0]})"


def _row(k: int, criterion: str, value: float | None, error: float | None, note: str) -> dict:
    return {
        "k": k,
        "criterion": criterion,
        "value": np.nan if value is None else value,
        "standard_error": np.nan if error is None else error,
        "chosen": False,
        "note": note,
    }
