"""Differences between clusters and adjusted means, against statsmodels and hand sums."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit
from statsmodels.stats.multitest import multipletests

from lungtypes.association.contrasts import CONTRAST_COLUMNS, MEAN_COLUMNS, contrasts_table, means_table
from lungtypes.association.models import fit_outcomes

from .conftest import PLAN, outcomes_of

ALL = outcomes_of(fvc="continuous", crp="skewed", event="binary", grade="ordinal")


@pytest.fixture(scope="module")
def plan():
    return replace(PLAN, outcomes=ALL)


@pytest.fixture(scope="module")
def fits(cohort, clusters, plan):
    return fit_outcomes(cohort[0], clusters, plan)


def matrix_of(clinical, clusters, name):
    part = clinical.set_index("subject").assign(p=clusters.values).dropna(subset=[name])
    x = pd.get_dummies(part[["age", "sex", "p"]], columns=["sex", "p"], drop_first=True).astype(float)
    return sm.add_constant(x), part[name]


def test_pairs_of_clusters_are_those_of_statsmodels_with_holm(cohort, clusters, fits, plan):
    table = contrasts_table(fits, plan)
    assert list(table.columns) == CONTRAST_COLUMNS
    x, y = matrix_of(cohort[0], clusters, "fvc")
    robust = sm.OLS(y, x).fit(cov_type="HC3", use_t=True)
    rows = table[(table["outcome"] == "fvc") & (table["model_set"] == "adjusted")].set_index("contrast")
    for name, weights in (("2 - 1", [1, 0]), ("3 - 1", [0, 1]), ("3 - 2", [-1, 1])):
        test = robust.t_test(np.array([0, 0, 0, *weights]))
        low, high = test.conf_int()[0]
        row = rows.loc[name]
        assert row["scale"] == "difference" and row["estimate"] == pytest.approx(float(test.effect[0]))
        assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))
        assert row["p_value"] == pytest.approx(float(test.pvalue))
    np.testing.assert_allclose(rows["p_holm"], multipletests(rows["p_value"], method="holm")[1])


def test_crude_difference_is_that_of_the_means_and_its_g_that_of_hedges(cohort, two_clusters, plan):
    table = contrasts_table(fit_outcomes(cohort[0], two_clusters, plan), plan)
    part = cohort[0].assign(p=two_clusters.values.to_numpy()).dropna(subset=["fvc"])
    a, b = part.loc[part["p"] == 2, "fvc"], part.loc[part["p"] == 1, "fvc"]
    row = table[(table["outcome"] == "fvc") & (table["model_set"] == "crude")].iloc[0]
    assert row["estimate"] == pytest.approx(a.mean() - b.mean())
    n = len(a) + len(b)
    pooled = np.sqrt(((len(a) - 1) * a.var() + (len(b) - 1) * b.var()) / (n - 2))
    assert row["standardised"] == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * (n - 2) - 1)))
    assert row["standardised_ci_low"] < row["standardised"] < row["standardised_ci_high"]


def test_skewed_outcomes_have_ratios_of_geometric_means(cohort, fits, plan):
    table = contrasts_table(fits, plan)
    row = table[(table["outcome"] == "crp") & (table["model_set"] == "crude")].set_index("contrast").loc["2 - 1"]
    logs = np.log1p(cohort[0]["crp"]).to_numpy()
    group = cohort[1].to_numpy()
    assert row["scale"] == "ratio of geometric means"
    assert row["estimate"] == pytest.approx(np.exp(logs[group == 2].mean() - logs[group == 1].mean()))


def test_crude_odds_ratio_and_risk_difference_are_those_of_the_two_by_two_table(cohort, two_clusters, plan):
    table = contrasts_table(fit_outcomes(cohort[0], two_clusters, plan), plan)
    counts = pd.crosstab(two_clusters.values.to_numpy(), cohort[0]["event"])
    (a, b), (c, d) = counts.loc[1, ["no", "yes"]], counts.loc[2, ["no", "yes"]]
    rows = table[(table["outcome"] == "event") & (table["model_set"] == "crude")].set_index("scale")
    log_odds, error = np.log(d * a / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    assert rows.loc["odds ratio", "estimate"] == pytest.approx(np.exp(log_odds))
    assert rows.loc["odds ratio", "ci_high"] == pytest.approx(np.exp(log_odds + 1.959964 * error), rel=1e-6)
    p, q = d / (c + d), b / (a + b)
    width = 1.959964 * np.sqrt(p * (1 - p) / (c + d) + q * (1 - q) / (a + b))
    assert rows.loc["risk difference", "estimate"] == pytest.approx(p - q)
    assert rows.loc["risk difference", "ci_low"] == pytest.approx(p - q - width, rel=1e-5)
    assert np.isnan(rows.loc["odds ratio", "standardised"])


def test_phenotypes_have_one_row_per_sd_and_no_means(cohort, phenotype, plan):
    fits = fit_outcomes(cohort[0], phenotype, plan)
    table = contrasts_table(fits, plan)
    assert set(table["contrast"]) == {"per SD"} and means_table(fits, plan).empty
    part = cohort[0].assign(p=phenotype.values.to_numpy()).dropna(subset=["fvc"])
    slope = np.polyfit(part["p"] / part["p"].std(), part["fvc"], 1)[0]
    row = table[(table["outcome"] == "fvc") & (table["model_set"] == "crude")].iloc[0]
    assert row["estimate"] == pytest.approx(slope)


def test_adjusted_means_are_predictions_with_everybody_in_one_cluster(cohort, clusters, fits, plan):
    means = means_table(fits, plan)
    assert list(means.columns) == MEAN_COLUMNS
    x, y = matrix_of(cohort[0], clusters, "fvc")
    robust = sm.OLS(y, x).fit(cov_type="HC3", use_t=True)
    for cluster in (1, 2, 3):
        row = means[(means[["outcome", "model_set", "cluster"]] == ["fvc", "adjusted", cluster]).all(axis=1)].iloc[0]
        everybody = x.assign(p_2=float(cluster == 2), p_3=float(cluster == 3))
        contrast = robust.t_test(everybody.mean().to_numpy())
        low, high = contrast.conf_int()[0]
        assert row["mean"] == pytest.approx(float(robust.predict(everybody).mean()))
        assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))
        assert row["n"] == (cohort[1].loc[clusters.values.index].iloc[5:] == cluster).sum()
    crp = means[means["outcome"] == "crp"]
    assert (crp["mean"] > 0).all() and crp["note"].str.contains("geometric").all()


def test_adjusted_risks_are_average_predictions(cohort, clusters, fits, plan):
    x, y = matrix_of(cohort[0], clusters, "event")
    model = sm.Logit((y == "yes").astype(float), x).fit(disp=0)
    means = means_table(fits, plan).query("outcome == 'event' and model_set == 'adjusted'").set_index("cluster")
    for cluster in (1, 2, 3):
        everybody = x.assign(p_2=float(cluster == 2), p_3=float(cluster == 3))
        risks = expit(everybody @ model.params)
        gradient = ((risks * (1 - risks)).to_numpy()[:, None] * everybody.to_numpy()).mean(axis=0)
        error = np.sqrt(gradient @ model.cov_params().to_numpy() @ gradient)
        row, risk = means.loc[cluster], risks.mean()
        assert row["mean"] == pytest.approx(risk) and row["note"] == "risk of yes"
        width = 1.959964 * error / (risk * (1 - risk))
        limits = expit(np.log(risk / (1 - risk)) + np.array([-width, width]))
        np.testing.assert_allclose([row["ci_low"], row["ci_high"]], limits, rtol=1e-5)


def test_crude_mean_levels_follow_the_observed_ones(cohort, fits, plan):
    means = means_table(fits, plan).query("outcome == 'grade' and model_set == 'crude'").set_index("cluster")
    observed = cohort[0]["grade"].groupby(cohort[1].to_numpy()).mean()
    np.testing.assert_allclose(means["mean"], observed, atol=0.12)  # proportional odds fit the shares, not exactly
    assert ((means["ci_low"] < means["mean"]) & (means["mean"] < means["ci_high"])).all()
    assert (means["ci_low"] > 0).all() and (means["ci_high"] < 3).all()
