"""The rows about agreement with a reference, and the table of clusters by reference level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.accuracy import (
    Interval,
    accuracy_interval,
    accuracy_level,
    adjusted_mutual_information,
    adjusted_rand,
    matched_accuracy,
    normalised_mutual_information,
    weighted_kappa,
)
from lungtypes.evaluation.agreement_bootstrap import bootstrap_intervals
from lungtypes.evaluation.metric_rows import NO_INTERVAL, metric_row
from lungtypes.randomness import stream

METRICS = (
    "accuracy",
    "accuracy_permuted_mean",
    "accuracy_permuted_p95",
    "accuracy_p",
    "majority_share",
    "nmi",
    "ami",
    "ari",
)
CONFUSION_COLUMNS = ["cluster", "reference", "n"]
NO_WIDTH = "no bootstrap interval: all resamples have one value, or too few have any"


def agreement_rows(
    subjects: pd.Index,
    clusters: NDArray,
    reference: pd.Series | None,
    *,
    name: str,
    n_permutations: int,
    n_bootstrap: int,
    seed: int,
) -> list[dict]:
    """Accuracy with Wilson interval and chance level, NMI, AMI, ARI, and the kappa of an ordered reference.

    subjects, clusters : (n,) names and labels. reference : by subject, ``None`` for none; subjects without it are
        left out. name : of the reference, for the notes.
    """
    if reference is None:
        return [metric_row(metric, None, 0, note="no reference") for metric in METRICS]
    aligned = _aligned(subjects, reference, name)
    known = aligned.notna().to_numpy()
    n = int(known.sum())
    if n == 0:
        return [metric_row(metric, None, 0, note=f"no subject has {name}") for metric in METRICS]
    labels, truth = clusters[known].tolist(), aligned[known].tolist()
    ordered = isinstance(aligned.dtype, pd.CategoricalDtype) and aligned.dtype.ordered
    order = list(aligned.cat.categories) if ordered else None
    level = accuracy_level(labels, truth, n_permutations=n_permutations, rng=stream(seed, "evaluate", "permutations"))
    limits = bootstrap_intervals(
        labels, truth, order=order, n_bootstrap=n_bootstrap, rng=stream(seed, "evaluate", "bootstrap")
    )
    found, draws = matched_accuracy(labels, truth), f"{n_permutations} permutations"
    rows = [
        metric_row("accuracy", found.accuracy, n, interval=_pair(accuracy_interval(labels, truth)),
                   note=f"against {name}; {_matches(found.mapping)}; Wilson interval"),
        metric_row("accuracy_permuted_mean", level.mean, n, note=draws),
        metric_row("accuracy_permuted_p95", level.p95, n, note=draws),
        metric_row("accuracy_p", level.p_value, n, note=draws),
        metric_row("majority_share", found.majority_share, n,
                   note="accuracy of one cluster for all; an accuracy below it says less than the commonest level"),
        _with_interval("nmi", normalised_mutual_information(labels, truth), n, limits, "not corrected for chance"),
        metric_row("ami", adjusted_mutual_information(labels, truth), n, note="corrected for chance"),
        _with_interval("ari", adjusted_rand(labels, truth), n, limits, "corrected for chance"),
    ]  # fmt: skip
    if order is not None:
        kappa = weighted_kappa(labels, truth, order=order)
        note = kappa.reason or "quadratic weights, after the matching"
        rows.append(_with_interval("weighted_kappa", kappa.value, n, limits, note))
    return rows


def confusion_table(subjects: Sequence[str], clusters: Sequence[int], reference: pd.Series | None) -> pd.DataFrame:
    """Scans by cluster and reference level, zeros included: columns cluster, reference, n; no rows without reference.

    Levels stand in the order of an ordered reference, else sorted. Subjects without a level are left out.
    """
    if reference is None:
        return pd.DataFrame(columns=CONFUSION_COLUMNS)
    aligned = _aligned(pd.Index(subjects), reference, "the reference")
    known = aligned.notna().to_numpy()
    if isinstance(aligned.dtype, pd.CategoricalDtype):
        levels = list(aligned.cat.categories)
    else:
        levels = sorted(set(aligned[known]), key=str)
    codes, levels_found = np.asarray(clusters)[known], aligned[known].astype(object).to_numpy()
    rows = [
        (int(cluster), level, int(((codes == cluster) & (levels_found == level)).sum()))
        for cluster in sorted(set(np.asarray(clusters).tolist()))
        for level in levels
    ]
    return pd.DataFrame(rows, columns=CONFUSION_COLUMNS)


def _aligned(subjects: pd.Index, reference: pd.Series, name: str) -> pd.Series:
    named = reference.set_axis(reference.index.astype(str))
    if not named.index.is_unique:
        twice = named.index[named.index.duplicated()][0]
        raise InputError(f"reference {name}: found subject {twice} more than once, expected each once.")
    return named.reindex(subjects)


def _with_interval(metric: str, value: float | None, n: int, limits: dict[str, Interval | None], note: str) -> dict:
    interval = limits[metric]
    if interval is None and value is not None:
        note = f"{note}; {NO_WIDTH}"
    return metric_row(metric, value, n, interval=_pair(interval) if value is not None else NO_INTERVAL, note=note)


def _pair(interval: Interval | None) -> tuple[float, float]:
    return NO_INTERVAL if interval is None else (interval.low, interval.high)


def _matches(mapping: dict) -> str:
    return ", ".join(f"cluster {cluster} = {level}" for cluster, level in mapping.items())
