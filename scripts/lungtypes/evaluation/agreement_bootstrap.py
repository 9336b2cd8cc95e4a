"""Bootstrap intervals of NMI, ARI and weighted kappa: subjects resampled, all resamples in one array of tables.

Resampling n subjects with replacement is a multinomial draw from the table of clusters by classes (Efron 1979), so
no label is moved. Sources of the indices: Hubert & Arabie 1985 (ARI), Strehl & Ghosh 2002 (NMI), Cohen 1968 (kappa).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.accuracy import Interval, contingency, matched_ranks

LEAST_DEFINED = 0.9  # ours: share of resamples that need a value


def bootstrap_intervals(
    labels: Sequence,
    reference: Sequence,
    *,
    order: Sequence | None,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> dict[str, Interval | None]:
    """95 % percentile intervals of ``nmi``, ``ari`` and, with an ``order`` of the classes, ``weighted_kappa``.

    Parameters
    ----------
    labels, reference : (n,) hashables, without missing values.
    order : every class of the reference, from mild to severe; ``None`` for no kappa.
    n_bootstrap : resamples, at least 1.

    Returns
    -------
    dict : ``None`` in place of an interval without width (a perfect agreement is perfect in every resample) or
        with a value in fewer than nine of ten resamples. Mutual information is biased upwards in a finite sample,
        more so in a resample: near the chance level the interval of the NMI lies too high.
    """
    if n_bootstrap < 1:
        raise InputError(f"n_bootstrap: found {n_bootstrap}, expected 1 or more.")
    counts, _, classes = contingency(labels, reference)
    n = int(counts.sum())
    draws = rng.multinomial(n, counts.ravel() / n, size=n_bootstrap).reshape(n_bootstrap, *counts.shape)
    scores: dict[str, Callable[[NDArray], NDArray]] = {"nmi": nmi_of_tables, "ari": ari_of_tables}
    if order is not None:
        rank = {level: i for i, level in enumerate(order)}
        ranks = [rank[level] for level in classes]
        guesses = matched_ranks(counts, ranks)
        scores["weighted_kappa"] = lambda tables: kappa_of_tables(tables, guesses, ranks)
    return {name: _percentiles(score(draws)) for name, score in scores.items()}


def ari_of_tables(tables: NDArray) -> NDArray:
    """(B,) adjusted Rand index of (B, clusters, classes) counts."""
    pairs = _pairs(tables).sum(axis=(1, 2))
    rows, columns = _pairs(tables.sum(axis=2)).sum(axis=1), _pairs(tables.sum(axis=1)).sum(axis=1)
    expected = rows * columns / np.maximum(_pairs(tables.sum(axis=(1, 2))), 1)
    room = (rows + columns) / 2 - expected
    return np.where(room > 0, (pairs - expected) / np.where(room > 0, room, 1), 1.0)


def nmi_of_tables(tables: NDArray) -> NDArray:
    """(B,) mutual information over the arithmetic mean of the entropies, of (B, clusters, classes) counts."""
    share = tables / tables.sum(axis=(1, 2), keepdims=True)
    rows, columns = _entropy(share.sum(axis=2)), _entropy(share.sum(axis=1))
    information = rows + columns - _entropy(share.reshape(len(share), -1))
    mean = (rows + columns) / 2
    return np.where(mean > 1e-12, np.clip(information, 0, None) / np.where(mean > 1e-12, mean, 1), 1.0)


def kappa_of_tables(tables: NDArray, guesses: Sequence[int], ranks: Sequence[int]) -> NDArray:
    """(B,) quadratically weighted kappa; NaN where no disagreement is expected.

    tables : (B, clusters, classes). guesses : rank that stands for each cluster. ranks : of each class.
    """
    weights = (np.asarray(guesses)[:, None] - np.asarray(ranks)) ** 2  # (clusters, classes)
    n = tables.sum(axis=(1, 2))
    observed = (tables * weights).sum(axis=(1, 2)) / n
    margins = tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :]
    expected = (margins * weights).sum(axis=(1, 2)) / n**2
    return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), np.nan)


def _percentiles(values: NDArray) -> Interval | None:
    defined = values[np.isfinite(values)]
    if len(defined) < LEAST_DEFINED * len(values):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high)) if high - low > 1e-12 else None


def _pairs(counts: NDArray) -> NDArray:
    return counts * (counts - 1) / 2


def _entropy(share: NDArray) -> NDArray:
    return -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
