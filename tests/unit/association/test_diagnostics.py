"""Diagnostics against statsmodels, and on data with a planted fault."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.stats.outliers_influence import variance_inflation_factor

from lungtypes.association.diagnostics import DIAGNOSTIC_COLUMNS, diagnostics_table, generalised_vif
from lungtypes.association.models import fit_outcomes

from .conftest import PLAN, outcomes_of


def table_of(clinical, predictor, **types):
    plan = replace(PLAN, outcomes=outcomes_of(**types))
    return diagnostics_table(fit_outcomes(clinical, predictor, plan), plan).set_index("outcome", drop=False)


def test_diagnostics_are_those_of_statsmodels(cohort, clusters):
    table = table_of(cohort[0], clusters, fvc="continuous", event="binary")
    assert list(table.columns) == DIAGNOSTIC_COLUMNS
    part = cohort[0].assign(p=cohort[1].to_numpy()).dropna(subset=["fvc"])
    x = pd.get_dummies(part[["age", "sex", "p"]], columns=["sex", "p"], drop_first=True)
    x = sm.add_constant(x.astype(float))
    full = sm.OLS(part["fvc"], x).fit()
    influence = full.get_influence()
    row = table.loc["fvc"]
    assert row["breusch_pagan_p"] == pytest.approx(het_breuschpagan(full.resid, x)[1])
    assert row["shapiro_p"] == pytest.approx(stats.shapiro(full.resid).pvalue)
    assert row["max_cooks_d"] == pytest.approx(influence.cooks_distance[0].max())
    assert row["n_influential"] == (influence.cooks_distance[0] > 4 / len(part)).sum()
    assert row["max_leverage"] == pytest.approx(influence.hat_matrix_diag.max())
    spread = full.resid.groupby(part["p"]).std(ddof=0)
    assert row["sd_ratio"] == pytest.approx(spread.max() / spread.min())
    assert row["breusch_pagan_p"] < 0.001  # the spread was planted to grow with the cluster
    assert np.isnan(table.loc["event", "max_cooks_d"]) and "linear models only" in table.loc["event", "note"]


def test_gvif_of_single_columns_is_the_vif_and_does_not_depend_on_coding():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, 200)
    age = rng.normal(size=200) + level
    dummies = np.column_stack([(level == k) * 1.0 for k in (1, 2)])
    matrix = np.column_stack([np.ones(200), age, rng.normal(size=200) + age])
    np.testing.assert_allclose(
        generalised_vif(matrix, [[1], [2]]), [variance_inflation_factor(matrix, k) for k in (1, 2)]
    )
    coded = np.column_stack([np.ones(200), age, dummies])
    other = np.column_stack([np.ones(200), age, dummies @ [[2.0, 1], [1, 3]]])
    np.testing.assert_allclose(generalised_vif(coded, [[1], [2, 3]]), generalised_vif(other, [[1], [2, 3]]))


def test_an_outlier_that_makes_the_effect_is_found(cohort, two_clusters):
    clinical = cohort[0].copy()
    place = int(np.flatnonzero(two_clusters.values.to_numpy() == 2)[0])
    clinical.loc[place, "fas"] = 4000.0
    row = table_of(clinical, two_clusters, fas="continuous").iloc[0]
    assert row["n_influential"] >= 1 and row["max_cooks_d"] > 0.5 and row["changed"] in ("size", "sign")
