"""Do the clusters explain more than an existing classification? (CLAM paper, section 5.3: Scadding)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungtypes.association.least_squares import (
    resampled_adj_r2,
    shifted_interval,
    stratified_counts,
    wald_hc3,
)
from lungtypes.association.models import OK, Model, OutcomeRows, fit_model, outcome_rows
from lungtypes.association.rows import Outcome, as_outcomes, join_clusters
from lungtypes.randomness import stream

COMPARISON_COLUMNS = [
    "outcome",
    "label",
    "unit",
    "family",
    "comparator",
    "n",
    "n_missing",
    "status",
    "adj_r2_base",
    "adj_r2_cluster",
    "adj_r2_comparator",
    "adj_r2_both",
    "difference",
    "ci_low",
    "ci_high",
    "p_cluster_given_comparator",
    "p_comparator_given_cluster",
    "aic_cluster",
    "aic_comparator",
    "aic_difference",
    "verdict",
    "note",
]


def compare_with_classification(
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
    """One row per outcome: four models on the same rows, and a verdict from an interval.

    Arguments as in :func:`associate_outcomes`; the comparator's values are taken as levels.

    Returns
    -------
    DataFrame : columns ``COMPARISON_COLUMNS``. ``difference`` is adjusted R2 with clusters less
        adjusted R2 with the comparator, ``ci_low`` and ``ci_high`` its bootstrap 95 % interval
        (whole subjects, within clusters). The p values are HC3 Wald tests in the model with both.
        ``aic_difference`` is cluster less comparator: negative favours the clusters.
        Without the comparator's column: no rows.
    """
    table, labels = join_clusters(clinical, clusters)
    if comparator is None or comparator not in table.columns:
        return pd.DataFrame(columns=COMPARISON_COLUMNS)
    rows = []
    for outcome in as_outcomes(outcomes):
        common = outcome_rows(table, labels, outcome, covariates=covariates, comparator=comparator, min_group=min_group)
        rows.append(_compare(outcome, common, comparator, n_bootstrap, seed))
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def verdict(ci_low: float, ci_high: float) -> str:
    """What an interval of the difference allows to say."""
    if ci_low > 0:
        return "cluster explains more"
    if ci_high < 0:
        return "comparator explains more"
    return "not shown"


def _compare(outcome: Outcome, common: OutcomeRows, comparator: str, n_bootstrap: int, seed: int) -> dict:
    row: dict = dict.fromkeys(COMPARISON_COLUMNS, np.nan)
    row |= {
        "outcome": outcome.name,
        "label": outcome.label,
        "unit": outcome.unit,
        "family": outcome.family,
        "comparator": comparator,
        "n": common.n,
        "n_missing": common.n_missing,
        "note": common.note,
        "verdict": "",
    }
    models: dict[str, Model] = {}
    for name, with_cluster, with_comparator in (
        ("base", False, False),
        ("cluster", True, False),
        ("comparator", False, True),
        ("both", True, True),
    ):
        model = fit_model(common, with_cluster=with_cluster, with_comparator=with_comparator)
        if isinstance(model, str):
            return row | {"status": model}
        models[name] = model
    difference = models["cluster"].fit.adj_r2 - models["comparator"].fit.adj_r2
    counts = stratified_counts(common.clusters, n_bootstrap, stream(seed, "compare", outcome.name))
    draws = resampled_adj_r2(models["cluster"].matrix, common.y, counts) - resampled_adj_r2(
        models["comparator"].matrix, common.y, counts
    )
    low, high = shifted_interval(draws, difference)
    both = models["both"]
    return row | {
        "status": OK,
        **{f"adj_r2_{name}": model.fit.adj_r2 for name, model in models.items()},
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "p_cluster_given_comparator": wald_hc3(both.fit, both.cluster_columns).p_value,
        "p_comparator_given_cluster": wald_hc3(both.fit, both.comparator_columns).p_value,
        "aic_cluster": models["cluster"].fit.aic,
        "aic_comparator": models["comparator"].fit.aic,
        "aic_difference": models["cluster"].fit.aic - models["comparator"].fit.aic,
        "verdict": verdict(low, high),
    }
