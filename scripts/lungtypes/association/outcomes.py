"""Clusters against clinical outcomes by linear models with HC3 errors (CLAM paper, section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lungtypes.association.least_squares import (
    nested_f,
    resampled_adj_r2,
    shifted_interval,
    stratified_counts,
    wald_hc3,
)
from lungtypes.association.models import OK, OutcomeRows, fit_model, outcome_rows
from lungtypes.association.rows import Outcome, as_outcomes, join_clusters
from lungtypes.randomness import stream

OUTCOME_COLUMNS = [
    "outcome",
    "label",
    "unit",
    "family",
    "transform",
    "contrast",
    "n",
    "n_missing",
    "status",
    "partial_r2",
    "adj_r2_base",
    "adj_r2_cluster",
    "adj_r2_gain",
    "gain_ci_low",
    "gain_ci_high",
    "f_hc3",
    "df_num",
    "df_den",
    "p_hc3",
    "p_f",
    "q_value",
    "aic_base",
    "aic_cluster",
    "note",
]
MEAN_COLUMNS = ["outcome", "label", "unit", "cluster", "n", "mean", "ci_low", "ci_high", "note"]


def associate_outcomes(
    clinical: pd.DataFrame,
    clusters: pd.DataFrame | pd.Series,
    *,
    outcomes: Sequence[Outcome | Mapping],
    covariates: Sequence[str],
    comparator: str | None,
    min_group: int,
    n_bootstrap: int,
    seed: int,
) -> pd.DataFrame:
    """One row per outcome: what the clusters explain beyond the covariates.

    Parameters
    ----------
    clinical, clusters : as in :func:`join_clusters`.
    outcomes : name, label, unit, family, transform ("none" or "log1p").
    covariates : columns of the base model.
    comparator : an existing classification; it takes part in the common set of rows only, so that
        these numbers match :func:`compare_with_classification`. ``None`` or an absent column: ignored.
    min_group : smallest cluster and smallest level of a covariate.
    n_bootstrap, seed : interval of the gain in adjusted R2, resampled within clusters.

    Returns
    -------
    DataFrame : columns ``OUTCOME_COLUMNS``. ``p_hc3`` is the joint Wald test of the clusters, ``p_f``
        the classical F test, ``q_value`` Benjamini-Hochberg of ``p_hc3`` within the family.
        Numbers are NaN where ``status`` is not ``ok``.
    """
    table, labels = join_clusters(clinical, clusters)
    comparator = comparator if comparator in table.columns else None
    rows = []
    for outcome in as_outcomes(outcomes):
        common = outcome_rows(table, labels, outcome, covariates=covariates, comparator=comparator, min_group=min_group)
        rows.append(_associate(outcome, common, n_bootstrap, seed))
    result = pd.DataFrame(rows, columns=OUTCOME_COLUMNS)
    return result.assign(q_value=_q_within_family(result))


def adjusted_means(
    clinical: pd.DataFrame,
    clusters: pd.DataFrame | pd.Series,
    *,
    outcomes: Sequence[Outcome | Mapping],
    covariates: Sequence[str],
    comparator: str | None,
    min_group: int,
) -> pd.DataFrame:
    """Mean of each outcome if all subjects were in one cluster, covariates kept (marginal standardisation).

    Arguments as in :func:`associate_outcomes`. 95 % limits from HC3 and Student's t. For "log1p"
    outcomes the values are back-transformed: geometric means of 1 + outcome, less 1.

    Returns
    -------
    DataFrame : outcome, label, unit, cluster (int), n, mean, ci_low, ci_high, note; no rows for
        outcomes that were not fitted.
    """
    table, labels = join_clusters(clinical, clusters)
    comparator = comparator if comparator in table.columns else None
    rows = []
    for outcome in as_outcomes(outcomes):
        common = outcome_rows(table, labels, outcome, covariates=covariates, comparator=comparator, min_group=min_group)
        rows += _means(outcome, common)
    return pd.DataFrame(rows, columns=MEAN_COLUMNS)


def _associate(outcome: Outcome, common: OutcomeRows, n_bootstrap: int, seed: int) -> dict:
    row: dict = dict.fromkeys(OUTCOME_COLUMNS, np.nan)
    row |= {
        "outcome": outcome.name,
        "label": outcome.label,
        "unit": outcome.unit,
        "family": outcome.family,
        "transform": outcome.transform,
        "contrast": "cluster given covariates",
        "n": common.n,
        "n_missing": common.n_missing,
        "note": common.note,
    }
    base = fit_model(common, with_cluster=False, with_comparator=False)
    full = fit_model(common, with_cluster=True, with_comparator=False)
    if isinstance(base, str) or isinstance(full, str):
        return row | {"status": full if isinstance(full, str) else base}
    robust = wald_hc3(full.fit, full.cluster_columns)
    gain = full.fit.adj_r2 - base.fit.adj_r2
    counts = stratified_counts(common.clusters, n_bootstrap, stream(seed, "associate", outcome.name))
    draws = resampled_adj_r2(full.matrix, common.y, counts) - resampled_adj_r2(base.matrix, common.y, counts)
    low, high = shifted_interval(draws, gain)
    return row | {
        "status": OK,
        "partial_r2": (base.fit.sse - full.fit.sse) / base.fit.sse,
        "adj_r2_base": base.fit.adj_r2,
        "adj_r2_cluster": full.fit.adj_r2,
        "adj_r2_gain": gain,
        "gain_ci_low": low,
        "gain_ci_high": high,
        "f_hc3": robust.f,
        "df_num": robust.df_num,
        "df_den": robust.df_den,
        "p_hc3": robust.p_value,
        "p_f": nested_f(base.fit, full.fit).p_value,
        "aic_base": base.fit.aic,
        "aic_cluster": full.fit.aic,
    }


def _q_within_family(table: pd.DataFrame) -> pd.Series:
    q = pd.Series(np.nan, index=table.index)
    for _, part in table[table["p_hc3"].notna()].groupby("family"):
        p = part["p_hc3"].to_numpy(dtype=np.float64)
        q.loc[part.index] = stats.false_discovery_control(p, method="bh")
    return q


def _means(outcome: Outcome, common: OutcomeRows) -> list[dict]:
    model = fit_model(common, with_cluster=True, with_comparator=False)
    if isinstance(model, str) or common.cluster is None:
        return []
    width = float(stats.t.ppf(0.975, model.fit.n - model.fit.p))
    back = np.expm1 if outcome.transform == "log1p" else (lambda value: value)
    note = "geometric mean of 1 + outcome, less 1" if outcome.transform == "log1p" else ""
    rows = []
    for cluster in np.unique(common.clusters):
        contrast = model.matrix.mean(axis=0)
        first = int(np.flatnonzero(common.clusters == cluster)[0])
        chosen = list(model.cluster_columns)
        contrast[chosen] = model.matrix[first, chosen]
        mean = float(contrast @ model.fit.beta)
        error = float(np.sqrt(contrast @ model.fit.covariance_hc3 @ contrast))
        rows.append(
            {
                "outcome": outcome.name,
                "label": outcome.label,
                "unit": outcome.unit,
                "cluster": int(cluster),
                "n": int((common.clusters == cluster).sum()),
                "mean": float(back(mean)),
                "ci_low": float(back(mean - width * error)),
                "ci_high": float(back(mean + width * error)),
                "note": note,
            }
        )
    return rows
