"""Validity of clusters in named spaces: the same index means different things in each.

An index in the space that the clustering loss shaped is circular, and indices of different spaces are not comparable;
so each row names its space, and one space belongs to no method.

- ``before``: k-means of the embedding before the clustering phase, what K was chosen by.
- ``after_labels_in_before``: the final clusters in that embedding.
- ``after``: the final clusters in the embedding that the loss shaped; circular.
- ``held_out``: the same for scans of split ``test``, which the loss never saw.
- ``common``: the final clusters in a space that no method was trained in; the one to compare methods by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import calinski_harabasz, davies_bouldin, silhouette
from lungtypes.evaluation.kmeans import kmeans, one_thread
from lungtypes.evaluation.metric_rows import index_row, metric_row
from lungtypes.randomness import derive_seed

SPACES = ("before", "after_labels_in_before", "after", "held_out", "common")
CIRCULAR = "optimised by the loss; circular"
N_STARTS = 20
INDICES = {
    "silhouette": silhouette,
    "davies_bouldin": davies_bouldin,
    "calinski_harabasz": calinski_harabasz,
}


@dataclass(frozen=True)
class Space:
    """Scans in one space: points (n, d) and labels (n,), or no points and the reason; ``note`` for each row."""

    name: str
    points: NDArray | None
    labels: NDArray
    note: str = ""
    reason: str = ""


def named_spaces(
    subjects: pd.Index,
    clusters: NDArray,
    held_out: NDArray,
    embedding: pd.DataFrame,
    common: pd.DataFrame | None,
    *,
    k: int,
    seed: int,
) -> tuple[Space, ...]:
    """Every space of SPACES, in that order.

    Parameters
    ----------
    subjects, clusters : (n,) names and final labels. held_out : (n,) bool, scans of split ``test``.
    embedding : columns subject, phase ("before" or "after" clustering), z_1..z_D.
    common : columns subject, c_1..c_D, or ``None``.
    k : clusters of k-means in ``before``. seed : of its starts.
    """
    before, after = (phase_points(embedding, phase, subjects) for phase in ("before", "after"))
    absent = {phase: f"no embedding {phase} clustering" for phase in ("before", "after")}
    own, note = clusters, f"k-means of this space, K = {k}"
    if before is not None and 1 <= k <= len(before):
        with one_thread():
            own = kmeans(before, k, n_init=N_STARTS, seed=derive_seed(seed, "evaluate", "before")).labels
    shared = None if common is None else _coordinates(common, "c_", subjects, "common space")
    seen = after[held_out] if after is not None and held_out.any() else None
    nobody = "no scan is held out (split test)"
    return (
        Space("before", before, own, note, absent["before"]),
        Space("after_labels_in_before", before, clusters, "final clusters", absent["before"]),
        Space("after", after, clusters, CIRCULAR, absent["after"]),
        Space("held_out", seen, clusters[held_out], "scans that the loss never saw, in the space that it shaped",
              absent["after"] if after is None else nobody),
        Space("common", shared, clusters, "of no method: comparable between methods", "no common space"),
    )  # fmt: skip


def space_rows(space: Space) -> list[dict]:
    """The three indices, and the silhouette and share below 0 of all scans and of each final cluster."""
    names = (*INDICES, "share_below_0")
    if space.points is None:
        return [metric_row(name, None, 0, space=space.name, note=space.reason) for name in names]
    n = len(space.labels)
    found = {name: index(space.points, space.labels) for name, index in INDICES.items()}
    rows = [index_row(name, index, n, space=space.name, note=space.note) for name, index in found.items()]
    if found["silhouette"].value is None:
        return [*rows, metric_row("share_below_0", None, n, space=space.name, note=found["silhouette"].reason)]
    widths = silhouette_samples(space.points, space.labels)
    nearer = "scans that lie nearer to another cluster"
    rows.append(metric_row("share_below_0", float((widths < 0).mean()), n, space=space.name, note=nearer))
    if space.name != "before":  # its clusters are not those of the method
        for cluster in np.unique(space.labels).tolist():
            own = widths[space.labels == cluster]
            where = {"space": space.name, "cluster": cluster}
            rows.append(metric_row("cluster_silhouette", float(own.mean()), len(own), **where, note=space.note))
            rows.append(metric_row("share_below_0", float((own < 0).mean()), len(own), **where, note=nearer))
    return rows


def phase_points(embedding: pd.DataFrame, phase: str, subjects: pd.Index) -> NDArray | None:
    """(n, D) coordinates of the subjects in one phase of the embedding, or ``None`` where it has no row."""
    part = embedding[embedding["phase"] == phase]
    return None if part.empty else _coordinates(part, "z_", subjects, f"embedding {phase}")


def check_unique(names: pd.Index, place: str) -> None:
    """An :class:`InputError` if a subject stands there more than once."""
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        raise InputError(f"{place}: found subject {twice} more than once, expected each once.")


def _coordinates(table: pd.DataFrame, prefix: str, subjects: pd.Index, place: str) -> NDArray:
    names = pd.Index(table["subject"].astype(str))
    check_unique(names, place)
    absent = subjects.difference(names)
    if len(absent):
        raise InputError(
            f"{place}: found no row for {len(absent)} assigned subject(s), first {absent[0]}, "
            "expected one for each. Run it again."
        )
    dimensions = [name for name in table if str(name).startswith(prefix)]
    return table.set_axis(names)[dimensions].loc[subjects].to_numpy(dtype=np.float64)
