"""One tidy table of everything that is measured about a clustering: ``metrics.tsv``."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.accuracy import (
    accuracy_interval,
    accuracy_level,
    adjusted_rand,
    matched_accuracy,
    normalised_mutual_information,
    weighted_kappa,
)
from lungtypes.evaluation.indices import calinski_harabasz, davies_bouldin, silhouette
from lungtypes.evaluation.stability import cluster_jaccard
from lungtypes.randomness import derive_seed, stream

COLUMNS = ["metric", "space", "cluster", "value", "ci_low", "ci_high", "n", "note"]
PHASES = ("before", "after")
CIRCULAR = "optimised by the loss; circular"
INDICES = {
    "silhouette": silhouette,
    "davies_bouldin": davies_bouldin,
    "calinski_harabasz": calinski_harabasz,
}


def evaluate_clustering(
    assignment: pd.DataFrame,
    embedding: pd.DataFrame,
    *,
    reference: pd.Series | None,
    reference_name: str,
    n_permutations: int,
    n_bootstrap: int,
    null_p: float | None,
    seed: int,
) -> pd.DataFrame:
    """Agreement with a reference, cluster validity in both spaces, stability and sizes.

    Parameters
    ----------
    assignment : columns subject, cluster (int, 1..K), q_1..q_K (0-1), margin, split.
    embedding : columns subject, phase ("before" or "after" clustering), z_1..z_D.
    reference : index subject; ``None`` if there is none. Subjects without it are left out of the
        rows that need it. An ordered categorical also gets a weighted kappa.
    reference_name : for the notes.
    n_permutations, n_bootstrap, seed : chance level, intervals and stability.
    null_p : p value of a single Gaussian, from :func:`choose_k`; ``None`` if not tested.

    Returns
    -------
    DataFrame : metric, space ("", before, after), cluster ("" or its number as text), value,
        ci_low, ci_high, n (subjects), note. An empty value has its reason in ``note``.
    """
    subjects, clusters, memberships = _assignment(assignment)
    rows: list[dict] = []
    rows += _agreement(subjects, clusters, reference, reference_name, n_permutations, n_bootstrap, seed)
    for phase in PHASES:
        rows += _validity(_points(embedding, phase, subjects), clusters, phase)
    rows += _stability(_points(embedding, "before", subjects), clusters, n_bootstrap, seed)

    n, k = len(subjects), memberships.shape[1]
    for cluster in range(1, k + 1):
        size = int((clusters == cluster).sum())
        rows.append(_row("cluster_size", size, n, cluster=cluster, note="" if size else "empty cluster"))
    rows.append(
        _row(
            "null_p",
            null_p,
            n,
            space="before",
            note="test of one Gaussian" if null_p is not None else "not tested",
        )
    )
    rows.append(_row("mean_max_q", float(memberships.max(axis=1).mean()), n))
    used = len(np.unique(clusters))
    rows.append(_row("n_clusters_used", used, n, note="" if used == k else f"of {k} clusters"))
    return pd.DataFrame(rows, columns=COLUMNS)


def _assignment(assignment: pd.DataFrame) -> tuple[pd.Index, NDArray, NDArray]:
    missing = [name for name in ("subject", "cluster") if name not in assignment]
    memberships = [name for name in assignment if str(name).startswith("q_")]
    if missing or not memberships or assignment.empty:
        raise InputError(
            f"assignment: found columns {list(assignment.columns)} and {len(assignment)} rows, expected "
            "subject, cluster, q_1..q_K and at least one row."
        )
    subjects = pd.Index(assignment["subject"].astype(str))
    _check_unique(subjects, "assignment")
    clusters = assignment["cluster"].to_numpy(dtype=np.int64)
    if clusters.min() < 1 or clusters.max() > len(memberships):
        raise InputError(
            f"assignment, column cluster: found {clusters.min()} to {clusters.max()}, "
            f"expected 1 to {len(memberships)} (one column q_ for each cluster)."
        )
    return subjects, clusters, assignment[memberships].to_numpy(dtype=np.float64)


def _points(embedding: pd.DataFrame, phase: str, subjects: pd.Index) -> NDArray | None:
    part = embedding[embedding["phase"] == phase]
    if part.empty:
        return None
    names = pd.Index(part["subject"].astype(str))
    _check_unique(names, f"embedding {phase}")
    absent = subjects.difference(names)
    if len(absent):
        raise InputError(
            f"embedding {phase}: found no row for {len(absent)} assigned subject(s), first {absent[0]}, "
            "expected one for each. Run the embedding again."
        )
    dimensions = [name for name in part if str(name).startswith("z_")]
    return part.set_axis(names)[dimensions].loc[subjects].to_numpy(dtype=np.float64)  # (n, D)


def _check_unique(names: pd.Index, place: str) -> None:
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise InputError(f"{place}: found subject {twice} more than once, expected each once.")


def _agreement(
    subjects: pd.Index,
    clusters: NDArray,
    reference: pd.Series | None,
    name: str,
    n_permutations: int,
    n_bootstrap: int,
    seed: int,
) -> list[dict]:
    metrics = ["accuracy", "accuracy_permuted_mean", "accuracy_permuted_p95", "majority_share", "nmi", "ari"]
    if reference is None:
        return [_row(metric, None, 0, note="no reference") for metric in metrics]
    named = reference.set_axis(reference.index.astype(str))
    _check_unique(named.index, f"reference {name}")
    aligned = named.reindex(subjects)
    known = aligned.notna().to_numpy()
    n = int(known.sum())
    if n == 0:
        return [_row(metric, None, 0, note=f"no subject has {name}") for metric in metrics]
    labels, truth = clusters[known].tolist(), aligned[known].tolist()
    found = matched_accuracy(labels, truth)
    level = accuracy_level(labels, truth, n_permutations=n_permutations, rng=stream(seed, "evaluate", "permutations"))
    interval = accuracy_interval(labels, truth, n_bootstrap=n_bootstrap, rng=stream(seed, "evaluate", "bootstrap"))
    matches = ", ".join(f"cluster {cluster} = {level}" for cluster, level in found.mapping.items())
    rows = [
        _row(
            "accuracy",
            found.accuracy,
            n,
            interval=(interval.low, interval.high),
            note=f"against {name}; {matches}",
        ),
        _row("accuracy_permuted_mean", level.mean, n, note=f"{n_permutations} permutations"),
        _row("accuracy_permuted_p95", level.p95, n, note=f"{n_permutations} permutations"),
        _row("majority_share", found.majority_share, n, note="accuracy of one cluster for all"),
        _row("nmi", normalised_mutual_information(labels, truth), n, note="not corrected for chance"),
        _row("ari", adjusted_rand(labels, truth), n, note="corrected for chance"),
    ]
    if isinstance(aligned.dtype, pd.CategoricalDtype) and aligned.dtype.ordered:
        kappa = weighted_kappa(labels, truth, order=list(aligned.cat.categories))
        rows.append(_row("weighted_kappa", kappa.value, n, note=kappa.reason or "quadratic weights"))
    return rows


def _validity(points: NDArray | None, clusters: NDArray, phase: str) -> list[dict]:
    if points is None:
        return [_row(metric, None, 0, space=phase, note=f"no embedding {phase} clustering") for metric in INDICES]
    rows = []
    for metric, index in INDICES.items():
        found = index(points, clusters)
        note = found.reason or (CIRCULAR if phase == "after" else "")
        rows.append(_row(metric, found.value, len(clusters), space=phase, note=note))
    return rows


def _stability(points: NDArray | None, clusters: NDArray, n_bootstrap: int, seed: int) -> list[dict]:
    if points is None:
        return [_row("jaccard", None, 0, space="before", note="no embedding before clustering")]
    table = cluster_jaccard(points, clusters, n_bootstrap=n_bootstrap, seed=derive_seed(seed, "evaluate", "jaccard"))
    return [
        _row(
            "jaccard",
            None if np.isnan(line.jaccard) else float(line.jaccard),
            int((clusters == line.cluster).sum()),
            space="before",
            cluster=int(line.cluster),
            note=line.grade,
        )
        for line in table.itertuples()
    ]


def _row(
    metric: str,
    value: float | None,
    n: int,
    *,
    space: str = "",
    cluster: int | None = None,
    interval: tuple[float, float] = (np.nan, np.nan),
    note: str = "",
) -> dict:
    return {
        "metric": metric,
        "space": space,
        "cluster": "" if cluster is None else str(cluster),
        "value": np.nan if value is None else float(value),
        "ci_low": interval[0],
        "ci_high": interval[1],
        "n": n,
        "note": note,
    }
