"""Clusters against an existing classification."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from lungtypes.association.comparison import COMPARISON_COLUMNS, comparison_table, verdict
from lungtypes.association.models import fit_outcomes
from lungtypes.association.outcomes import outcomes_table

from .conftest import PLAN, outcomes_of

ALL = outcomes_of(fvc="continuous", crp="skewed", fas="continuous", event="binary", grade="ordinal")


def table_of(clinical, predictor, outcomes=ALL, **changes):
    plan = replace(PLAN, outcomes=outcomes, **changes)
    return comparison_table(fit_outcomes(clinical, predictor, plan), plan)


def test_what_drives_the_outcome_wins_and_noise_shows_nothing(cohort, clusters):
    table = table_of(cohort[0], clusters).set_index("outcome", drop=False)
    assert list(table.columns) == COMPARISON_COLUMNS
    verdicts = table["verdict"].to_dict()
    assert verdicts["fvc"] == verdicts["event"] == "cluster explains more"
    assert verdicts["crp"] == "comparator explains more" and verdicts["fas"] in ("not shown", "not worse")
    assert table.loc["crp", "p_comparator_given_cluster"] < 0.001 < table.loc["crp", "p_cluster_given_comparator"]
    assert table.loc["crp", "aic_difference"] > 0 > table.loc["fvc", "aic_difference"]
    assert table.loc["fvc", "cv_r2_cluster"] > table.loc["fvc", "cv_r2_comparator"]


def test_the_four_models_are_those_of_statsmodels_on_the_same_rows(cohort, clusters):
    clinical = cohort[0].copy()
    clinical.loc[30:39, "scadding"] = np.nan
    row = table_of(clinical, clusters, outcomes_of(fas="continuous")).iloc[0]
    part = clinical.assign(p=cohort[1].to_numpy()).dropna(subset=["scadding"])
    x = sm.add_constant(
        pd.get_dummies(part[["age", "sex", "p", "scadding"]], columns=["sex", "p", "scadding"], drop_first=True).astype(
            float
        )
    )
    own = {"base": [], "cluster": ["p_2", "p_3"], "comparator": ["scadding_1.0", "scadding_2.0"]}
    own["both"] = own["cluster"] + own["comparator"]
    fits = {name: sm.OLS(part["fas"], x[["const", "age", "sex_m", *columns]]).fit() for name, columns in own.items()}
    assert (row["n"], row["n_missing"]) == (230, 10)
    for name, fit in fits.items():
        assert row[f"r2_{name}"] == pytest.approx(fit.rsquared_adj)
    assert row["aic_both"] == pytest.approx(fits["both"].aic)
    robust = fits["both"].get_robustcov_results("HC3", use_t=True)
    for column, places in (("p_cluster_given_comparator", [3, 4]), ("p_comparator_given_cluster", [5, 6])):
        assert row[column] == pytest.approx(float(robust.f_test(np.eye(7)[places]).pvalue))


def test_the_cluster_model_is_that_of_the_table_of_outcomes(cohort, clusters):
    plan = replace(PLAN, outcomes=ALL)
    fits = fit_outcomes(cohort[0], clusters, plan)
    compared, found = comparison_table(fits, plan), outcomes_table(fits, plan)
    np.testing.assert_array_equal(compared["r2_cluster"], found["r2_full"])
    np.testing.assert_array_equal(compared["cv_r2_cluster"], found["cv_r2_full"])


def test_a_phenotype_is_compared_too(cohort, phenotype):
    table = table_of(cohort[0], phenotype).set_index("outcome")
    assert table.loc["fvc", "verdict"] == "phenotype explains more"
    assert table.loc["fvc", "p_cluster_given_comparator"] < 0.001


def test_a_copy_of_the_comparator_cannot_be_told_from_it(cohort, clusters):
    clinical = cohort[0].assign(scadding=cohort[1].to_numpy())
    row = table_of(clinical, clusters, outcomes_of(fas="continuous")).iloc[0]
    assert row["status"].startswith("not_fitted:rank_deficient") and np.isnan(row["difference"])


def test_without_comparator_the_comparison_is_empty_with_its_columns(cohort, clusters):
    table = table_of(cohort[0], clusters, comparator=None)
    assert table.empty and list(table.columns) == COMPARISON_COLUMNS


def test_verdict_is_about_the_whole_interval():
    assert verdict(0.01, 0.2, 0.02) == "cluster explains more"
    assert verdict(-0.01, 0.2, 0.02) == "not worse"
    assert verdict(-0.2, -0.01, 0.02) == "comparator explains more"
    assert verdict(-0.1, 0.2, 0.02) == "not shown"
    assert verdict(-0.01, 0.2, 0.0) == "not shown"
    assert verdict(float("nan"), float("nan"), 0.02) == ""
    assert verdict(0.01, 0.2, 0.02, name="phenotype") == "phenotype explains more"
