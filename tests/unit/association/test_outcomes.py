"""Clusters and outcomes: statsmodels as independent truth, guards, the comparator."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests

from lungtypes.association.comparison import COMPARISON_COLUMNS, compare_with_classification, verdict
from lungtypes.association.least_squares import least_squares, resampled_adj_r2, wald_hc3
from lungtypes.association.outcomes import (
    MEAN_COLUMNS,
    OUTCOME_COLUMNS,
    adjusted_means,
    associate_outcomes,
)
from lungtypes.association.table_html import adjusted_means_html, comparison_html, outcomes_html
from lungtypes.errors import InputError

DRAWS = {"n_bootstrap": 200, "seed": 0}
MODEL = {"covariates": ["age", "sex"], "comparator": None, "min_group": 5}


def outcome(name, transform="none"):
    return {"name": name, "label": name.upper(), "unit": "L", "family": "pft", "transform": transform}


OUTCOMES = [outcome("fvc"), outcome("crp", "log1p"), outcome("fas")]


@pytest.fixture(scope="module")
def cohort():
    """120 subjects, three clusters; fvc depends on cluster, crp on stage, fas on nothing."""
    rng = np.random.default_rng(0)
    n = 120
    cluster = rng.integers(1, 4, n)
    clinical = pd.DataFrame(
        {
            "subject": [f"S{i:03d}" for i in range(n)],
            "age": rng.normal(55, 9, n),
            "sex": rng.choice(["f", "m"], n),
            "scadding": rng.integers(0, 3, n),
        }
    )
    clinical["fvc"] = 3 + 0.02 * clinical["age"] + 1.5 * cluster + rng.normal(size=n) * cluster
    clinical["crp"] = np.exp(clinical["scadding"] + rng.normal(size=n))
    clinical["fas"] = rng.normal(20, 5, n)
    clinical.loc[:4, "fvc"] = np.nan
    return clinical, pd.DataFrame({"subject": clinical["subject"], "cluster": cluster})


def reference_fit(clinical, clusters, name, transform=lambda y: y):
    """The model with clusters by statsmodels, from its own design matrix."""
    table = clinical.merge(clusters, on="subject").dropna(subset=[name])
    x = pd.get_dummies(table[["age", "sex", "cluster"]], columns=["sex", "cluster"], drop_first=True)
    x = sm.add_constant(x.astype(float))
    y = transform(table[name])
    base = sm.OLS(y, x[["const", "age", "sex_m"]]).fit()
    return base, sm.OLS(y, x).fit(), table


def test_every_number_is_that_of_statsmodels(cohort):
    clinical, clusters = cohort
    table = associate_outcomes(clinical, clusters, outcomes=OUTCOMES, **MODEL, **DRAWS).set_index("outcome")
    assert (table["status"] == "ok").all()
    for name, transform in (("fvc", lambda y: y), ("crp", np.log1p)):
        base, full, _ = reference_fit(clinical, clusters, name, transform)
        robust = sm.OLS(full.model.endog, full.model.exog).fit(cov_type="HC3", use_t=True)
        wald = robust.f_test(np.eye(5)[3:])
        row = table.loc[name]
        assert row["adj_r2_base"] == pytest.approx(base.rsquared_adj)
        assert row["adj_r2_cluster"] == pytest.approx(full.rsquared_adj)
        assert row["partial_r2"] == pytest.approx((base.ssr - full.ssr) / base.ssr)
        assert row["aic_base"] == pytest.approx(base.aic)
        assert row["aic_cluster"] == pytest.approx(full.aic)
        assert row["p_f"] == pytest.approx(full.compare_f_test(base)[1])
        assert row["f_hc3"] == pytest.approx(float(wald.fvalue))
        assert row["p_hc3"] == pytest.approx(float(wald.pvalue))
        assert row["gain_ci_low"] < row["adj_r2_gain"] < row["gain_ci_high"]
    assert (table.loc["fvc", "n"], table.loc["fvc", "n_missing"]) == (115, 5)


def test_hc3_agrees_with_the_hand_sum():
    y, group = np.array([0.0, 2, 4, 10, 12, 20]), np.array([0.0, 0, 0, 1, 1, 1])
    fit = least_squares(np.column_stack([np.ones(6), group]), y)
    # leverage 1/3: residuals / (2/3); variance of a mean = sum of their squares / 9
    inflated = np.array([-2, 0, 2, -4, -2, 6]) * 1.5
    variance = (inflated[:3] ** 2).sum() / 9 + (inflated[3:] ** 2).sum() / 9
    assert wald_hc3(fit, [1]).f == pytest.approx(12.0**2 / variance)


def test_q_values_are_benjamini_hochberg_within_each_family(cohort):
    clinical, clusters = cohort
    outcomes = [*OUTCOMES, outcome("age") | {"family": "other"}]
    table = associate_outcomes(
        clinical, clusters, outcomes=outcomes, covariates=["sex"], comparator=None, min_group=5, **DRAWS
    )
    family = table[table["family"] == "pft"]
    np.testing.assert_allclose(family["q_value"], multipletests(family["p_hc3"], method="fdr_bh")[1])
    p = np.sort(family["p_hc3"])  # by hand: p * m / rank, made monotone from the largest
    hand = [min(p[0] * 3, p[1] * 1.5, p[2]), min(p[1] * 1.5, p[2]), p[2]]
    np.testing.assert_allclose(np.sort(family["q_value"]), hand)
    alone = table[table["family"] == "other"].iloc[0]
    assert alone["q_value"] == alone["p_hc3"]


def test_adjusted_means_are_predictions_with_everybody_in_one_cluster(cohort):
    clinical, clusters = cohort
    means = adjusted_means(clinical, clusters, outcomes=OUTCOMES, **MODEL)
    assert list(means.columns) == MEAN_COLUMNS
    _, full, table = reference_fit(clinical, clusters, "fvc")
    x = pd.DataFrame(full.model.exog, columns=full.model.exog_names)
    for cluster in (1, 2, 3):
        row = means[(means["outcome"] == "fvc") & (means["cluster"] == cluster)].iloc[0]
        everybody = x.assign(cluster_2=float(cluster == 2), cluster_3=float(cluster == 3))
        assert row["mean"] == pytest.approx(float(full.predict(everybody).mean()))
        assert row["n"] == (table["cluster"] == cluster).sum()
        contrast = full.get_robustcov_results("HC3", use_t=True).t_test(everybody.mean().to_numpy())
        low, high = contrast.conf_int()[0]
        assert (row["ci_low"], row["ci_high"]) == (pytest.approx(low), pytest.approx(high))
    crp = means[means["outcome"] == "crp"]
    assert (crp["mean"] > 0).all() and crp["note"].str.contains("geometric").all()


def test_shuffling_and_renaming_do_not_matter(cohort):
    clinical, clusters = cohort
    one = associate_outcomes(clinical, clusters, outcomes=OUTCOMES, **MODEL, **DRAWS)
    renamed = clusters.assign(cluster=clusters["cluster"].map({1: 3, 2: 1, 3: 2}))
    other = associate_outcomes(clinical.sample(frac=1, random_state=1), renamed, outcomes=OUTCOMES, **MODEL, **DRAWS)
    for column in ("partial_r2", "f_hc3", "p_hc3", "q_value", "aic_cluster"):
        np.testing.assert_allclose(one[column], other[column], rtol=1e-8)


def test_resampled_r2_is_that_of_a_refit_on_the_repeated_rows():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(40), rng.normal(2020, 2, 40), rng.integers(0, 2, 40)])
    y = x[:, 2] + rng.normal(size=40)
    picks = rng.integers(0, 40, 40)
    counts = np.bincount(picks, minlength=40)[None].astype(float)
    truth = sm.OLS(y[picks], x[picks]).fit().rsquared_adj
    assert resampled_adj_r2(x, y, counts)[0] == pytest.approx(truth)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"fvc": np.nan}, "not_fitted:no_rows"),
        ({"fvc": 3.0}, "not_fitted:too_few_values"),
        ({"fvc": "high"}, "not_fitted:not_numeric"),
        ({"fvc": lambda t: -5 - t["age"]}, "not_fitted:log_of_negative"),
    ],
)
def test_outcomes_that_cannot_be_fitted_say_why(cohort, change, status):
    clinical, clusters = cohort
    table = associate_outcomes(
        clinical.assign(**change), clusters, outcomes=[outcome("fvc", "log1p")], **MODEL, **DRAWS
    )
    assert table["status"].iloc[0] == status
    assert table[["partial_r2", "p_hc3", "q_value"]].isna().all().all()
    assert status in outcomes_html(table)


def test_duplicated_covariate_is_named(cohort):
    clinical, clusters = cohort
    twice = clinical.assign(months=clinical["age"] * 12)
    options = MODEL | {"covariates": ["age", "months"]}
    table = associate_outcomes(twice, clusters, outcomes=OUTCOMES, **options, **DRAWS)
    assert (table["status"] == "not_fitted:rank_deficient (months)").all()


@pytest.mark.parametrize("labels", [[1] * 8, [1] * 7 + [2], [1, 2] * 4, list(range(1, 9))])
def test_eight_subjects_get_statuses_not_crashes(cohort, labels):
    clinical, _ = cohort
    few = clinical.iloc[10:18]
    clusters = pd.Series(labels, index=few["subject"])
    options = MODEL | {"comparator": "scadding", "min_group": 2}
    table = associate_outcomes(few, clusters, outcomes=OUTCOMES, **options, **DRAWS)
    assert table["status"].str.startswith("not_fitted:").all()
    assert adjusted_means(few, clusters, outcomes=OUTCOMES, **options).empty
    compared = compare_with_classification(few, clusters, outcomes=OUTCOMES, **options, **DRAWS)
    assert compared["status"].str.startswith("not_fitted:").all()
    assert comparison_html(compared)


def test_a_cluster_of_one_is_left_out_and_noted(cohort):
    clinical, clusters = cohort
    lonely = clusters.copy()
    lonely.loc[50, "cluster"] = 4
    table = associate_outcomes(clinical, lonely, outcomes=OUTCOMES, **MODEL, **DRAWS)
    assert (table["status"] == "ok").all()
    assert table["note"].str.contains(r"cluster 4 \(n = 1\) left out").all()


def test_comparator_that_drives_the_outcome_wins_and_noise_shows_nothing(cohort):
    clinical, clusters = cohort
    options = MODEL | {"comparator": "scadding"}
    table = compare_with_classification(clinical, clusters, outcomes=OUTCOMES, **options, **DRAWS)
    assert list(table.columns) == COMPARISON_COLUMNS
    found = table.set_index("outcome")["verdict"].to_dict()
    assert found == {"fvc": "cluster explains more", "crp": "comparator explains more", "fas": "not shown"}
    rows = table.set_index("outcome")
    assert rows.loc["crp", "p_comparator_given_cluster"] < 0.001 < rows.loc["crp", "p_cluster_given_comparator"]
    assert rows.loc["crp", "aic_difference"] > 0
    base = associate_outcomes(clinical, clusters, outcomes=OUTCOMES, **options, **DRAWS)
    np.testing.assert_allclose(table["adj_r2_cluster"], base["adj_r2_cluster"])


def test_without_comparator_the_comparison_is_empty_with_its_columns(cohort):
    clinical, clusters = cohort
    options = MODEL | {"comparator": "fleischner"}
    table = compare_with_classification(clinical, clusters, outcomes=OUTCOMES, **options, **DRAWS)
    assert table.empty and list(table.columns) == COMPARISON_COLUMNS
    assert len(associate_outcomes(clinical, clusters, outcomes=OUTCOMES, **options, **DRAWS)) == 3


def test_verdict_needs_the_whole_interval_on_one_side():
    assert verdict(0.01, 0.2) == "cluster explains more"
    assert verdict(-0.2, -0.01) == "comparator explains more"
    assert verdict(-0.01, 0.2) == verdict(float("nan"), float("nan")) == "not shown"


def test_tables_print_as_html_with_footnotes_and_escaped_labels(cohort):
    clinical, clusters = cohort
    spec = [outcome("fvc") | {"label": "<b>FVC</b>"}]
    table = associate_outcomes(clinical, clusters, outcomes=spec, **MODEL, **DRAWS)
    assert list(table.columns) == OUTCOME_COLUMNS
    html = outcomes_html(table) + adjusted_means_html(adjusted_means(clinical, clusters, outcomes=spec, **MODEL))
    assert "<b>" not in html and "HC3" in html and "Benjamini-Hochberg" in html


def test_unknown_outcome_is_refused_by_name(cohort):
    clinical, clusters = cohort
    with pytest.raises(InputError, match="found no column dlco"):
        associate_outcomes(clinical, clusters, outcomes=[outcome("dlco")], **MODEL, **DRAWS)
