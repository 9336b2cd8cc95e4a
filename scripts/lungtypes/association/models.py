"""The four models of one outcome on one common set of rows: base, + cluster, + comparator, + both.

CLAM paper, section 5.3. Models on different rows are never compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.design import Design, build_design, is_numeric, rank_culprits
from lungtypes.association.least_squares import LeastSquares, least_squares
from lungtypes.association.rows import Outcome, check_columns

OK = "ok"
MIN_DISTINCT_VALUES = 3
MIN_RESIDUAL_DF = 10
MAX_CONDITION = 1e10  # of the correlations of the tested coefficients
MAX_LEVERAGE = 0.999  # beyond it HC3 divides by nearly 0


@dataclass(frozen=True)
class OutcomeRows:
    """The rows of one outcome and the parts of its models.

    Attributes
    ----------
    status : ``ok`` or ``not_fitted:<why>``.
    n, n_missing : subjects in the models; subjects with a cluster left out for a missing value.
    y : (n,) outcome, transformed.
    clusters : (n,) int.
    base, cluster, comparator : designs; the latter two with the intercept in column 0 too.
    note : what was collapsed, dropped or left out.
    """

    status: str
    n: int
    n_missing: int
    y: NDArray = field(default_factory=lambda: np.empty(0))
    clusters: NDArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    base: Design | None = None
    cluster: Design | None = None
    comparator: Design | None = None
    note: str = ""


@dataclass(frozen=True)
class Model:
    """A fitted model with the columns of its matrix that stand for cluster and comparator."""

    fit: LeastSquares
    matrix: NDArray
    cluster_columns: tuple[int, ...]
    comparator_columns: tuple[int, ...]


def outcome_rows(
    table: pd.DataFrame,
    clusters: pd.Series,
    outcome: Outcome,
    *,
    covariates: Sequence[str],
    comparator: str | None,
    min_group: int,
) -> OutcomeRows:
    """Rows complete in outcome, covariates and comparator, in clusters of at least ``min_group``.

    Parameters
    ----------
    table, clusters : as :func:`join_clusters` returns them.
    comparator : an existing classification, its values taken as levels; ``None`` if there is none.
    """
    needed = [outcome.name, *covariates, *([comparator] if comparator else [])]
    check_columns(table, needed, place=f"outcome {outcome.name}")
    complete = table[needed].notna().all(axis=1).to_numpy()
    n_missing = int((~complete).sum())
    values = table.loc[complete, outcome.name]
    if values.empty:
        return OutcomeRows("not_fitted:no_rows", 0, n_missing, note="no subject is complete")
    if not is_numeric(values):
        return OutcomeRows("not_fitted:not_numeric", len(values), n_missing, note="the outcome holds text")
    labels = clusters[complete].to_numpy()
    sizes = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    small = [c for c, size in sizes.items() if size < max(min_group, 2)]
    notes = [f"cluster {c} (n = {sizes[c]}) left out, below {max(min_group, 2)}" for c in small]
    kept = ~np.isin(labels, small)
    found = OutcomeRows(OK, int(kept.sum()), n_missing, note="; ".join(notes))
    if len(sizes) - len(small) < 2:
        why = f"fewer than two clusters with {max(min_group, 2)} complete subjects"
        return replace(found, status="not_fitted:one_cluster", note="; ".join([*notes, why]))
    y = values.to_numpy(dtype=np.float64)[kept]
    if not np.isfinite(y).all():
        return replace(found, status="not_fitted:not_finite")
    if outcome.transform == "log1p":
        if y.min() <= -1:
            return replace(found, status="not_fitted:log_of_negative", note="log1p needs values above -1")
        y = np.log1p(y)
    if len(np.unique(y)) < MIN_DISTINCT_VALUES:
        return replace(found, status="not_fitted:too_few_values", note=f"fewer than {MIN_DISTINCT_VALUES} values")
    part = table.loc[complete].loc[kept]
    base = build_design(part, columns=list(covariates), min_group=min_group)
    cluster_table = pd.DataFrame({"cluster": labels[kept]}, index=part.index)
    cluster = build_design(cluster_table, columns=["cluster"], min_group=1, categorical=["cluster"])
    other = None
    if comparator:
        other = build_design(part, columns=[comparator], min_group=min_group, categorical=[comparator])
    notes += [*base.notes, *(other.notes if other else ())]
    return replace(
        found,
        y=y,
        clusters=labels[kept],
        base=base,
        cluster=cluster,
        comparator=other,
        note="; ".join(notes),
    )


def fit_model(rows: OutcomeRows, *, with_cluster: bool, with_comparator: bool) -> Model | str:
    """One of the four models, or the status ``not_fitted:<why>`` of the guard that stopped it."""
    if rows.status != OK or rows.base is None or rows.cluster is None:
        return rows.status
    parts, names = [rows.base.matrix], list(rows.base.names)
    spans: dict[str, tuple[int, ...]] = {"cluster": (), "comparator": ()}
    for key, design, wanted in (
        ("cluster", rows.cluster, with_cluster),
        ("comparator", rows.comparator, with_comparator),
    ):
        if not wanted:
            continue
        if design is None or design.matrix.shape[1] < 2:
            return f"not_fitted:one_level_of_{key}"
        spans[key] = tuple(range(len(names), len(names) + design.matrix.shape[1] - 1))
        parts.append(design.matrix[:, 1:])
        names += design.names[1:]
    matrix = np.hstack(parts)
    n, p = matrix.shape
    if n - p < MIN_RESIDUAL_DF:
        return f"not_fitted:residual_df ({n} subjects for {p} columns)"
    culprits = rank_culprits(matrix, names)
    if culprits:
        return f"not_fitted:rank_deficient ({', '.join(culprits)})"
    fit = least_squares(matrix, rows.y)
    if fit.leverage.max() > MAX_LEVERAGE:
        return "not_fitted:leverage (one subject alone decides a coefficient)"
    if fit.sse <= 1e-20 * float((rows.y**2).sum()):
        return "not_fitted:perfect_fit"
    variances = np.diag(fit.covariance_hc3)
    if not variances.min() > 0:
        return "not_fitted:singular_errors"
    correlation = fit.covariance_hc3 / np.sqrt(np.outer(variances, variances))
    used = [*spans["cluster"], *spans["comparator"]]
    if used and np.linalg.cond(correlation[np.ix_(used, used)]) > MAX_CONDITION:
        return "not_fitted:singular_errors"
    return Model(fit, matrix, spans["cluster"], spans["comparator"])
