"""One tidy table of everything that is measured about a clustering: ``evaluation/{method}.tsv``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.evaluation.agreement import agreement_rows
from lungtypes.evaluation.consensus import consensus_test
from lungtypes.evaluation.metric_rows import COLUMNS, metric_row
from lungtypes.evaluation.prediction_strength import THRESHOLD, prediction_strength, strongest_k
from lungtypes.evaluation.refits import refit_rows
from lungtypes.evaluation.spaces import check_unique, named_spaces, phase_points, space_rows
from lungtypes.evaluation.stability import cluster_jaccard
from lungtypes.randomness import derive_seed

HELD_OUT = "test"  # the split
UNSURE_Q = 0.6  # ours: a largest membership below it
SMALLEST = (5, 0.02)  # scans, share: a cluster below the larger of both is called small
NO_EMBEDDING = "no embedding before clustering"


def evaluate_clustering(
    assignment: pd.DataFrame,
    embedding: pd.DataFrame,
    *,
    reference: pd.Series | None,
    reference_name: str,
    common: pd.DataFrame | None,
    refits: Sequence[pd.DataFrame],
    n_permutations: int,
    n_bootstrap: int,
    n_resamples: int,
    n_null: int,
    null_p: float | None,
    seed: int,
    learnt: bool = False,
) -> pd.DataFrame:
    """Agreement with a reference, cluster validity in every space, stability, memberships and sizes.

    Parameters
    ----------
    assignment : columns subject, cluster (int, 1..K), q_1..q_K (0-1), and split (train or test). Scans of both
        splits count in every row but those of the space ``held_out``, which the agreement also has.
    embedding : columns subject, phase ("before" or "after" clustering), z_1..z_D.
    reference : index subject; ``None`` if there is none. Subjects without it are left out of the
        rows that need it. An ordered categorical also gets a weighted kappa.
    reference_name : for the notes. learnt : the method was trained on the reference; its agreement is then told of
        held-out scans alone, where these have labels.
    common : columns subject, c_1..c_D: a space that no method optimised; ``None`` for none.
    refits : assignments (subject, cluster) of fits from other seeds.
    n_permutations, n_bootstrap : chance level and intervals of the agreement, and cluster_jaccard.
    n_resamples : halves of the prediction strength, subsamples of the consensus.
    n_null : Gaussian data sets for the consensus.
    null_p : p value of a single Gaussian, from :func:`choose_k`; ``None`` if not tested.
    seed : of every draw.

    Returns
    -------
    DataFrame : metric, space ("" or one of ``spaces.SPACES``), cluster ("" or its number as text), value,
        ci_low, ci_high, n (subjects), note. An empty value has its reason in ``note``.
    """
    subjects, clusters, memberships = _assignment(assignment)
    k = memberships.shape[1]
    held_out = (assignment["split"] == HELD_OUT).to_numpy() if "split" in assignment else np.zeros(len(subjects), bool)
    before = phase_points(embedding, "before", subjects)
    rows = []
    draws = {"n_permutations": n_permutations, "n_bootstrap": n_bootstrap, "seed": seed}
    for space, counted, name in _judged(subjects, held_out, reference, reference_name, learnt=learnt):
        found = agreement_rows(subjects[counted], clusters[counted], reference, name=name, **draws)
        rows += [row | {"space": space} for row in found]
    for space in named_spaces(subjects, clusters, held_out, embedding, common, k=k, seed=seed):
        rows += space_rows(space)
    rows.append(
        metric_row(
            "null_p",
            null_p,
            len(subjects),
            space="before",
            note="test of one Gaussian" if null_p is not None else "not tested",
        )
    )
    rows += _jaccard(before, clusters, n_bootstrap, seed)
    rows += _strength(before, k, n_resamples, seed)
    rows += _consensus(before, k, n_resamples, n_null, seed)
    rows += refit_rows(subjects, clusters, refits)
    rows += _memberships(clusters, memberships)
    return pd.DataFrame(rows, columns=COLUMNS)


def _judged(
    subjects: pd.Index, held_out: NDArray[np.bool_], reference: pd.Series | None, name: str, *, learnt: bool
) -> list[tuple[str, NDArray[np.bool_], str]]:
    """Of whom the agreement is told: (space, scans, name of the reference); never of labels that were learnt by heart
    where there are others."""
    known = held_out & subjects.isin(reference.index.astype(str)) if reference is not None else held_out & False
    groups = [("held_out", held_out, f"{name} of held-out scans")] if known.any() else []
    if learnt and groups:
        return groups
    everyone = np.ones(len(subjects), bool)
    return [("", everyone, f"{name}, which it learnt from these scans" if learnt else name), *groups]


def _assignment(assignment: pd.DataFrame) -> tuple[pd.Index, NDArray, NDArray]:
    missing = [name for name in ("subject", "cluster") if name not in assignment]
    memberships = [name for name in assignment if str(name).startswith("q_")]
    if missing or not memberships or assignment.empty:
        raise InputError(
            f"assignment: found columns {list(assignment.columns)} and {len(assignment)} rows, expected "
            "subject, cluster, q_1..q_K and at least one row. Run the clustering again."
        )
    subjects = pd.Index(assignment["subject"].astype(str))
    check_unique(subjects, "assignment")
    clusters = assignment["cluster"].to_numpy(dtype=np.int64)
    if clusters.min() < 1 or clusters.max() > len(memberships):
        raise InputError(
            f"assignment, column cluster: found {clusters.min()} to {clusters.max()}, "
            f"expected 1 to {len(memberships)} (one column q_ for each cluster). Run the clustering again."
        )
    return subjects, clusters, assignment[memberships].to_numpy(dtype=np.float64)


def _jaccard(points: NDArray | None, clusters: NDArray, n_bootstrap: int, seed: int) -> list[dict]:
    if points is None:
        return [metric_row("jaccard", None, 0, space="before", note=NO_EMBEDDING)]
    table = cluster_jaccard(points, clusters, n_bootstrap=n_bootstrap, seed=derive_seed(seed, "evaluate", "jaccard"))
    return [
        metric_row("jaccard", line.jaccard, int((clusters == line.cluster).sum()), space="before",
                   cluster=int(line.cluster), note=line.grade)
        for line in table.itertuples()
    ]  # fmt: skip


def _strength(points: NDArray | None, k: int, n_splits: int, seed: int) -> list[dict]:
    if points is None:
        return [metric_row("prediction_strength", None, 0, space="before", note=NO_EMBEDDING)]
    ks = sorted({1, max(k - 1, 1), k, k + 1})  # K and its neighbours: all other numbers would cost as much again
    found = prediction_strength(points, ks=ks, n_splits=n_splits, seed=derive_seed(seed, "evaluate", "strength"))
    n = len(points)
    rows = [
        metric_row("prediction_strength", s.value, n, space="before",
                   note=f"K = {s.k}: " + (s.reason or f"{n_splits} random halves, SD {s.sd:.2f}"))
        for s in found if s.k > 1
    ]  # fmt: skip
    note = f"largest of K = {', '.join(map(str, ks))} with a prediction strength of {THRESHOLD} or more"
    return [*rows, metric_row("prediction_strength_k", strongest_k(found), n, space="before", note=note)]


def _consensus(points: NDArray | None, k: int, n_resamples: int, n_null: int, seed: int) -> list[dict]:
    names = ("pac", "pac_null_mean", "pac_p")
    if points is None:
        return [metric_row(name, None, 0, space="before", note=NO_EMBEDDING) for name in names]
    found = consensus_test(
        points, k, n_resamples=n_resamples, n_null=n_null, seed=derive_seed(seed, "evaluate", "consensus")
    )
    values = dict(zip(names, (found.pac, found.null_mean, found.p_value), strict=True))
    notes = {
        "pac": f"{n_resamples} subsamples of 80 %, K = {k}",
        "pac_null_mean": f"{n_null} Gaussian data sets of the same covariance",
        "pac_p": "that one Gaussian is as stable",
    }
    return [
        metric_row(name, values[name], len(points), space="before", note=found.reason or notes[name]) for name in names
    ]


def _memberships(clusters: NDArray, memberships: NDArray) -> list[dict]:
    n, k = memberships.shape
    limit = max(SMALLEST[0], SMALLEST[1] * n)
    largest = memberships.max(axis=1)
    rows = []
    for cluster in range(1, k + 1):
        size = int((clusters == cluster).sum())
        small = f"small: fewer than {limit:g} scans" if size < limit else ""
        rows.append(metric_row("cluster_size", size, n, cluster=cluster, note=small if size else "empty cluster"))
    used = len(np.unique(clusters))
    return [
        *rows,
        metric_row("n_clusters_used", used, n, note="" if used == k else f"of {k} clusters"),
        metric_row("mean_max_q", float(largest.mean()), n),
        metric_row(
            "share_unsure_q", float((largest < UNSURE_Q).mean()), n, note=f"largest membership below {UNSURE_Q}"
        ),
    ]
