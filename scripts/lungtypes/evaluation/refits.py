"""Do fits from other seeds give the same clusters? Agreement over refits of the whole method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from lungtypes.errors import InputError
from lungtypes.evaluation.metric_rows import metric_row

NO_REFITS = "no refits: evaluate.seeds is 0"
UNSURE_BITS = 0.5  # ours: about one run in nine disagrees


def refit_rows(subjects: pd.Index, clusters: NDArray, refits: Sequence[pd.DataFrame]) -> list[dict]:
    """The rows of the agreement between the main fit and its refits.

    Parameters
    ----------
    subjects, clusters : (n,) names and labels of the main fit.
    refits : columns subject and cluster; each holds every subject, further ones are passed over.

    Returns
    -------
    rows : refit_ari_mean (all pairs of fits, the main one among them), refit_ari (main with each), refit_medoid
        (the fit with the largest mean ARI with the others, 0 is the main one), refit_entropy (mean over subjects,
        bits) and refit_unsure (subjects above 0.5 bit).
    """
    n = len(subjects)
    if not refits:
        names = ("refit_ari_mean", "refit_ari", "refit_medoid", "refit_entropy", "refit_unsure")
        return [metric_row(name, None, n, note=NO_REFITS) for name in names]
    labels = np.stack([np.asarray(clusters), *[_labels(subjects, table, i) for i, table in enumerate(refits, 1)]])
    agreement = pairwise_ari(labels)
    runs = len(labels)
    others = agreement.sum(axis=1) - 1  # (runs,), without each with itself
    medoid = int(np.argmax(others.round(12)))  # ties go to the main fit, then to the first
    entropy = assignment_entropy(labels)
    note = f"{len(refits)} refit{'s' if len(refits) > 1 else ''} from other seeds"
    return [
        metric_row("refit_ari_mean", float(others.sum() / (runs * (runs - 1))), n, note=f"{note}; all pairs of fits"),
        *[metric_row("refit_ari", agreement[0, i], n, note=f"main fit with refit {i}") for i in range(1, runs)],
        metric_row("refit_medoid", medoid, n, note=f"{_fit_name(medoid)}: mean ARI with the others "
                   f"{others[medoid] / (runs - 1):.3f}, of the main fit {others[0] / (runs - 1):.3f}"),
        metric_row("refit_entropy", float(entropy.mean()), n, note=f"{note}; bits, 0: each scan always alike"),
        metric_row("refit_unsure", int((entropy > UNSURE_BITS).sum()), n,
                   note=f"scans with an assignment entropy above {UNSURE_BITS} bit"),
    ]  # fmt: skip


def pairwise_ari(labels: NDArray) -> NDArray:
    """(runs, runs) adjusted Rand index of each pair of rows of (runs, n) labels; 1 on the diagonal."""
    runs = len(labels)
    found = np.eye(runs)
    for i in range(runs):
        for j in range(i):
            found[i, j] = found[j, i] = adjusted_rand_score(labels[i], labels[j])
    return found


def assignment_entropy(labels: NDArray) -> NDArray:
    """(n,) Shannon entropy in bits of each subject's clusters over the runs.

    labels : (runs, n) int. The clusters of each run are matched to those of the first one to one (Hungarian method);
        a cluster left over counts as one more of its own, the same for all runs in order.
    """
    main = np.unique(labels[0])
    matched = np.stack([np.searchsorted(main, labels[0]), *[_matched(row, labels[0], main) for row in labels[1:]]])
    counts = np.stack([(matched == label).sum(axis=0) for label in range(matched.max() + 1)])  # (clusters, n)
    share = counts / len(labels)
    return -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=0)


def _matched(row: NDArray, first: NDArray, main: NDArray) -> NDArray:
    """Labels of one run as positions of their matched clusters of the first run; leftovers behind them."""
    own = np.unique(row)
    counts = np.array([[((row == o) & (first == m)).sum() for m in main] for o in own])
    position = {own[i]: j for i, j in zip(*linear_sum_assignment(counts, maximize=True), strict=True)}
    left_over = [label for label in own if label not in position]
    position |= {label: len(main) + i for i, label in enumerate(left_over)}
    return np.array([position[label] for label in row])


def _labels(subjects: pd.Index, table: pd.DataFrame, number: int) -> NDArray:
    missing = [name for name in ("subject", "cluster") if name not in table]
    if missing:
        raise InputError(f"refit {number}: found no column {missing[0]}, expected subject and cluster. Run it again.")
    names = pd.Index(table["subject"].astype(str))
    absent = subjects.difference(names)
    if len(absent) or not names.is_unique:
        found = f"no row for {absent[0]}" if len(absent) else "a subject more than once"
        raise InputError(
            f"refit {number}: found {found}, expected each of the main fit's {len(subjects)} subjects once. "
            "It belongs to another cohort: delete the file and run again."
        )
    return table["cluster"].set_axis(names).loc[subjects].to_numpy(dtype=np.int64)


def _fit_name(number: int) -> str:
    return "the main fit" if number == 0 else f"refit {number}"
