"""Cross-validation and bootstrap against refits one by one; effects and power against statsmodels' power functions."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.linear_model import LinearRegression
from statsmodels.stats.power import FTestPowerF2, TTestIndPower

from lungtypes.association.effects import detectable_difference
from lungtypes.association.least_squares import resampled_adj_r2, stratified_counts
from lungtypes.association.models import fit_outcomes
from lungtypes.association.outcomes import outcomes_table
from lungtypes.association.resampling import bootstrap_counts, cross_validated_r2, gain_interval, held_out
from lungtypes.association.rows import Predictor

from .conftest import PLAN, outcomes_of


@pytest.fixture(scope="module")
def plan():
    return replace(PLAN, outcomes=outcomes_of(fvc="continuous", event="binary", grade="ordinal"))


@pytest.fixture(scope="module")
def fits(cohort, clusters, plan):
    return {fit.outcome.name: fit for fit in fit_outcomes(cohort[0], clusters, plan)}


def test_resampled_r2_is_that_of_a_refit_on_the_repeated_rows():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(40), rng.normal(2020, 2, 40), rng.integers(0, 2, 40)])
    y = x[:, 2] + rng.normal(size=40)
    picks = rng.integers(0, 40, 40)
    counts = np.bincount(picks, minlength=40)[None].astype(float)
    truth = sm.OLS(y[picks], x[picks]).fit().rsquared_adj
    assert resampled_adj_r2(x, y, counts)[0] == pytest.approx(truth)


def test_subjects_are_drawn_within_clusters():
    strata = np.repeat([1, 2], [10, 30])
    counts = stratified_counts(strata, 50, np.random.default_rng(0))
    assert (counts[:, :10].sum(axis=1) == 10).all() and (counts[:, 10:].sum(axis=1) == 30).all()


def test_linear_cross_validation_is_that_of_scikit_learn(fits, plan):
    fit = fits["fvc"]
    model, y = fit.get("adjusted"), fit.rows.y
    scores = []
    for fold in held_out(y, fit, plan):
        assert np.bincount(fold).min() >= len(y) // 10
        predicted, mean = np.empty(len(y)), np.empty(len(y))
        for k in range(10):
            inside = fold == k
            fitted = LinearRegression().fit(model.matrix[~inside], y[~inside])
            predicted[inside], mean[inside] = fitted.predict(model.matrix[inside]), y[~inside].mean()
        scores.append(1 - ((y - predicted) ** 2).sum() / ((y - mean) ** 2).sum())
    assert cross_validated_r2(fit, ["adjusted"], plan)[0]["adjusted"] == pytest.approx(np.mean(scores))


def test_logistic_cross_validation_is_the_held_out_deviance_of_statsmodels(fits, plan):
    fit = fits["event"]
    model, y = fit.get("adjusted"), fit.rows.y
    scores = []
    for fold in held_out(y, fit, plan):
        own = null = 0.0
        for k in range(10):
            inside = fold == k
            p = sm.Logit(y[~inside], model.matrix[~inside]).fit(disp=0).predict(model.matrix[inside])
            own += stats.bernoulli.logpmf(y[inside], p).sum()
            null += stats.bernoulli.logpmf(y[inside], y[~inside].mean()).sum()
        scores.append(1 - own / null)
    assert cross_validated_r2(fit, ["adjusted"], plan)[0]["adjusted"] == pytest.approx(np.mean(scores), rel=1e-6)


def test_interval_of_the_gain_of_a_logistic_model_is_that_of_refits(fits, plan):
    few = replace(plan, n_bootstrap=60)
    fit = fits["event"]
    y, draws = fit.rows.y, []
    for counts in bootstrap_counts(fit, few):
        rows = np.repeat(np.arange(len(y)), counts.astype(int))
        found = []
        for name in ("base", "adjusted"):
            x = fit.get(name).matrix[rows]
            result = sm.Logit(y[rows], x).fit(disp=0)
            found.append(1 - (result.llf - (x.shape[1] - 1)) / result.llnull)
        draws.append(found[1] - found[0])
    gain = fit.get("adjusted").r2 - fit.get("base").r2
    expected = np.percentile(np.array(draws) - np.mean(draws) + gain, [2.5, 97.5])
    low, high, why = gain_interval(fit, "base", "adjusted", few)
    assert why == ""
    np.testing.assert_allclose([low, high], expected, rtol=1e-5)


def test_no_folds_and_no_draws_leave_empty_values(fits, plan):
    assert np.isnan(cross_validated_r2(fits["fvc"], ["base"], replace(plan, cv_repeats=0))[0]["base"])
    low, high, why = gain_interval(fits["fvc"], "base", "adjusted", replace(plan, n_bootstrap=1))
    assert np.isnan(low) and np.isnan(high) and "too few resamples" in why


def test_126_against_175_patients_detect_a_third_of_an_sd():
    found = detectable_difference(126, 175, 299)
    truth = TTestIndPower().solve_power(nobs1=126, ratio=175 / 126, alpha=0.05, power=0.8)
    assert 0.32 <= found <= 0.33 and found == pytest.approx(truth, rel=1e-3)


def test_detectable_f2_of_three_clusters_is_that_of_statsmodels(cohort, clusters, plan):
    only = replace(plan, outcomes=outcomes_of(fas="continuous"))
    row = outcomes_table(fit_outcomes(cohort[0], clusters, only), only).iloc[0]
    f2 = FTestPowerF2().solve_power(None, df_num=2, df_denom=row["df_den"], alpha=0.05, power=0.8, ncc=1)
    assert row["effect_name"] == "Cohen f2" and row["minimum_detectable"] == pytest.approx(f2, rel=1e-3)


def test_the_detectable_odds_ratio_is_found_in_four_of_five_simulated_studies():
    rng = np.random.default_rng(0)
    n, cut = 300, 0.5
    group = np.repeat([0, 1], [126, 174])
    z = stats.norm.isf(0.025) + stats.norm.ppf(0.8)
    ratio = np.exp(z / np.sqrt(n * (126 * 174 / n**2) * cut * (1 - cut)))
    found = 0
    for _ in range(300):
        p = 1 / (1 + np.exp(-np.log(ratio) * (group - group.mean())))
        y = rng.random(n) < p
        found += (
            stats.chi2_contingency([[y[group == g].sum(), (~y[group == g]).sum()] for g in (0, 1)], False).pvalue < 0.05
        )
    assert 0.73 < found / 300 < 0.87


def test_intervals_of_hedges_g_hold_the_true_effect():
    """Coverage of the interval of g over 400 studies with a true effect of 0.5: 95 %, give or take."""
    rng = np.random.default_rng(3)
    names = [f"S{i:03d}" for i in range(100)]
    group = pd.Series(np.repeat([1, 2], 50), index=names)
    plan = replace(PLAN, covariates=(), technical=(), comparator=None, n_bootstrap=1, cv_repeats=0)
    plan = replace(plan, outcomes=outcomes_of(**{f"y{i}": "continuous" for i in range(400)}))
    data = pd.DataFrame(rng.normal(size=(100, 400)) + 0.5 * (group.to_numpy() == 2)[:, None], index=names)
    data.columns = [f"y{i}" for i in range(400)]
    table = outcomes_table(fit_outcomes(data, Predictor(group, "cluster"), plan), plan)
    covered = ((table["effect_ci_low"] < 0.5) & (table["effect_ci_high"] > 0.5)).mean()
    assert 0.92 < covered < 0.98 and abs(table["effect"].mean() - 0.5) < 0.03
