"""The table of outcomes: statsmodels as independent truth, q values, rows, guards."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.stats.multitest import multipletests

from lungtypes.association.least_squares import least_squares, wald_hc3
from lungtypes.association.models import fit_outcomes
from lungtypes.association.outcomes import OUTCOME_COLUMNS, outcomes_table
from lungtypes.association.rows import Predictor
from lungtypes.errors import InputError

from .conftest import PLAN, outcomes_of

ALL = outcomes_of(fvc="continuous", crp="skewed", fas="continuous", event="binary", grade="ordinal")


def table_of(clinical, predictor, outcomes=ALL, **changes):
    plan = replace(PLAN, outcomes=outcomes, **changes)
    return outcomes_table(fit_outcomes(clinical, predictor, plan), plan).set_index("outcome", drop=False)


@pytest.fixture(scope="module")
def table(cohort, clusters):
    return table_of(cohort[0], clusters)


def columns_of(clinical, predictor, name, *, phenotype=False):
    """Matrix of base and full model, and the outcome, made by pandas."""
    part = clinical.set_index("subject").assign(p=predictor.values).dropna(subset=[name])
    base = pd.get_dummies(part[["age", "sex"]], drop_first=True).astype(float)
    own = part[["p"]] / part["p"].std() if phenotype else pd.get_dummies(part["p"], drop_first=True, prefix="p")
    return sm.add_constant(base), sm.add_constant(base).join(own.astype(float)), part[name]


@pytest.mark.parametrize(("name", "change"), [("fvc", lambda y: y), ("crp", np.log1p)])
def test_linear_rows_are_those_of_statsmodels(cohort, clusters, table, name, change):
    small, large, y = columns_of(cohort[0], clusters, name)
    base, full = sm.OLS(change(y), small).fit(), sm.OLS(change(y), large).fit()
    robust = sm.OLS(change(y), large).fit(cov_type="HC3", use_t=True).f_test(np.eye(5)[3:])
    row = table.loc[name]
    assert row["status"] == "ok" and row["test"] == "Wald F, HC3" and row["r2_kind"] == "adjusted R2"
    assert row["statistic"] == pytest.approx(float(robust.fvalue))
    assert row["p_value"] == pytest.approx(float(robust.pvalue))
    assert row["p_classical"] == pytest.approx(full.compare_f_test(base)[1])
    assert (row["r2_base"], row["r2_full"]) == (pytest.approx(base.rsquared_adj), pytest.approx(full.rsquared_adj))
    assert (row["aic_base"], row["aic_full"]) == (pytest.approx(base.aic), pytest.approx(full.aic))
    partial = (base.ssr - full.ssr) / base.ssr
    assert row["partial_r2"] == pytest.approx(partial)
    f = full.compare_f_test(base)[0]
    assert row["partial_omega2"] == pytest.approx(max(0.0, 2 * (f - 1) / (2 * (f - 1) + len(y))))
    assert row["effect_name"] == "Cohen f2" and row["effect"] == pytest.approx(partial / (1 - partial))
    assert row["gain_ci_low"] < row["r2_gain"] < row["gain_ci_high"]


def test_binary_rows_are_those_of_statsmodels(cohort, clusters, table):
    small, large, y = columns_of(cohort[0], clusters, "event")
    codes = (y == "yes").astype(float)
    base, full = sm.Logit(codes, small).fit(disp=0), sm.Logit(codes, large).fit(disp=0)
    row = table.loc["event"]
    assert (row["model"], row["test"], row["df_num"]) == ("logistic", "likelihood ratio", 2)
    assert row["statistic"] == pytest.approx(2 * (full.llf - base.llf))
    assert row["r2_full"] == pytest.approx(1 - (full.llf - 4) / full.llnull)
    assert row["aic_full"] == pytest.approx(full.aic)
    robust = sm.Logit(codes, large).fit(disp=0, cov_type="HC0").wald_test(np.eye(5)[3:], scalar=True)
    assert f"robust Wald p = {float(robust.pvalue):.3g}" in row["note"]
    assert np.isnan(row["partial_r2"]) and row["gain_ci_low"] < row["r2_gain"] < row["gain_ci_high"]


def test_ordinal_rows_are_those_of_statsmodels(cohort, clusters, table):
    small, large, y = columns_of(cohort[0], clusters, "grade")
    fits = [
        OrderedModel(y.to_numpy(), x.drop(columns="const").to_numpy(), distr="logit").fit(
            method="bfgs", disp=0, gtol=1e-9
        )
        for x in (small, large)
    ]
    row = table.loc["grade"]
    assert row["model"] == "proportional odds" and row["status"] == "ok"
    assert row["statistic"] == pytest.approx(2 * (fits[1].llf - fits[0].llf), rel=1e-6)
    assert row["aic_full"] == pytest.approx(fits[1].aic, rel=1e-9)
    assert row["r2_full"] == pytest.approx(1 - (fits[1].llf - 4) / fits[1].llnull, rel=1e-6)


def test_odds_ratio_of_two_clusters_and_per_sd_of_a_phenotype(cohort, two_clusters, phenotype):
    for predictor, number in ((two_clusters, False), (phenotype, True)):
        _, large, y = columns_of(cohort[0], predictor, "event", phenotype=number)
        full = sm.Logit((y == "yes").astype(float), large).fit(disp=0)
        row = table_of(cohort[0], predictor).loc["event"]
        low, high = np.exp(full.conf_int().iloc[-1])
        assert row["effect_name"] == "odds ratio" and row["effect"] == pytest.approx(np.exp(full.params.iloc[-1]))
        assert (row["effect_ci_low"], row["effect_ci_high"]) == (pytest.approx(low), pytest.approx(high))


def test_classical_errors_give_the_plain_f(cohort, clusters, table):
    plain = table_of(cohort[0], clusters, standard_errors="classical")
    assert plain.loc["fvc", "test"] == "F"
    assert plain.loc["fvc", "p_value"] == plain.loc["fvc", "p_classical"] == table.loc["fvc", "p_classical"]


def test_crude_and_technical_models_use_the_same_rows(cohort, clusters, table):
    clinical = cohort[0].copy()
    clinical.loc[10:29, "scanner"] = None  # in the scanner's column alone
    fewer = table_of(clinical, clusters)
    assert (fewer.loc["fas", "n"], fewer.loc["fas", "n_missing"]) == (220, 20)
    kept = clinical.dropna(subset=["scanner"])
    group = cohort[1].loc[kept["subject"]].to_numpy()
    crude = sm.OLS(kept["fas"].to_numpy(), pd.get_dummies(group).to_numpy(dtype=float))
    wald = crude.fit(cov_type="HC3", use_t=True).f_test(np.array([[1, -1, 0], [0, 1, -1]]))
    assert fewer.loc["fas", "p_crude"] == pytest.approx(float(wald.pvalue))
    scanners = pd.get_dummies(kept[["age", "sex", "scanner"]], drop_first=True).assign(c2=group == 2, c3=group == 3)
    technical = sm.OLS(kept["fas"].to_numpy(), sm.add_constant(scanners.to_numpy(dtype=float)))
    wald = technical.fit(cov_type="HC3", use_t=True).f_test(np.eye(7)[5:])
    assert fewer.loc["fas", "p_technical"] == pytest.approx(float(wald.pvalue))
    assert np.isnan(table_of(cohort[0], clusters, technical=()).loc["fas", "p_technical"])


def test_hc3_agrees_with_the_hand_sum():
    y, group = np.array([0.0, 2, 4, 10, 12, 20]), np.array([0.0, 0, 0, 1, 1, 1])
    fit = least_squares(np.column_stack([np.ones(6), group]), y)
    # leverage 1/3: residuals / (2/3); variance of a mean = sum of their squares / 9
    inflated = np.array([-2, 0, 2, -4, -2, 6]) * 1.5
    variance = (inflated[:3] ** 2).sum() / 9 + (inflated[3:] ** 2).sum() / 9
    assert wald_hc3(fit, [1]).f == pytest.approx(12.0**2 / variance)


def test_q_values_are_benjamini_hochberg_within_each_family(cohort, clusters):
    outcomes = outcomes_of(fvc="continuous", crp="skewed", fas="continuous", age="continuous")
    outcomes = (*outcomes[:3], replace(outcomes[3], family="other"))
    found = table_of(cohort[0], clusters, outcomes, covariates=("sex",))
    family = found[found["family"] == "pft"]
    np.testing.assert_allclose(family["q_value"], multipletests(family["p_value"], method="fdr_bh")[1])
    p = np.sort(family["p_value"])  # by hand: p * m / rank, made monotone from the largest
    hand = [min(p[0] * 3, p[1] * 1.5, p[2]), min(p[1] * 1.5, p[2]), p[2]]
    np.testing.assert_allclose(np.sort(family["q_value"]), hand)
    assert found.loc["age", "q_value"] == found.loc["age", "p_value"]


def test_order_of_rows_never_and_names_of_clusters_hardly_matter(cohort, clusters, table):
    shuffled = table_of(cohort[0].sample(frac=1, random_state=1), clusters)
    pd.testing.assert_frame_equal(table, shuffled)
    renamed = table_of(cohort[0], Predictor(cohort[1].map({1: 3, 2: 1, 3: 2}), "cluster"))
    for column in ("partial_r2", "statistic", "p_value", "q_value", "aic_full", "p_technical", "cv_r2_full"):
        np.testing.assert_allclose(table[column], renamed[column], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"fvc": np.nan}, "not_fitted:no_rows"),
        ({"fvc": 3.0}, "not_fitted:constant_outcome"),
        ({"fvc": lambda t: (t["age"] > 55) * 1.0}, "not_fitted:too_few_values"),
        ({"fvc": "high"}, "not_fitted:not_numeric"),
        ({"fvc": lambda t: -5 - t["age"]}, "not_fitted:log_of_negative"),
        ({"fvc": lambda t: t["age"].where(t.index != 9, np.inf)}, "not_fitted:not_finite"),
    ],
)
def test_outcomes_that_cannot_be_fitted_say_why(cohort, clusters, change, status):
    found = table_of(cohort[0].assign(**change), clusters, outcomes_of(fvc="skewed"))
    assert list(found.columns) == OUTCOME_COLUMNS and found["status"].iloc[0] == status
    assert found[["partial_r2", "p_value", "q_value", "effect", "minimum_detectable"]].isna().all().all()


@pytest.mark.parametrize(
    ("values", "kind", "status"),
    [
        (["yes"], {"type": "binary"}, "not_fitted:constant_outcome"),
        (["a", "b", "c"], {"type": "binary"}, "not_fitted:not_binary (3 levels)"),
        (["no", "yes", "perhaps"], {"type": "binary", "levels": ["no", "yes"]}, "not_fitted:unknown_level (perhaps)"),
        ([0, 1, 7], {"type": "ordinal", "levels": [0, 1, 2]}, "not_fitted:unknown_level (7)"),
    ],
)
def test_levels_that_do_not_fit_say_why(cohort, clusters, values, kind, status):
    clinical = cohort[0].assign(event=np.resize(values, 240))
    assert table_of(clinical, clusters, outcomes_of(event=kind))["status"].iloc[0] == status


def test_the_second_level_is_the_event(cohort, two_clusters):
    rising = table_of(cohort[0], two_clusters, outcomes_of(event={"type": "binary", "levels": ["no", "yes"]}))
    falling = table_of(cohort[0], two_clusters, outcomes_of(event={"type": "binary", "levels": ["yes", "no"]}))
    assert rising["effect"].iloc[0] == pytest.approx(1 / falling["effect"].iloc[0]) and rising["effect"].iloc[0] > 1


def test_duplicated_covariate_is_named(cohort, clusters):
    twice = cohort[0].assign(months=cohort[0]["age"] * 12)
    found = table_of(twice, clusters, covariates=("age", "months"))
    assert (found["status"] == "not_fitted:rank_deficient (months)").all()


def test_a_cluster_of_one_is_left_out_and_noted(cohort):
    lonely = cohort[1].copy()
    lonely.iloc[50] = 4
    found = table_of(cohort[0], Predictor(lonely, "cluster"))
    assert (found["status"] == "ok").all()
    assert found["note"].str.contains(r"cluster 4 \(n = 1\) left out").all()


def test_a_scanner_of_one_subject_is_collapsed_not_fitted_alone(cohort, clusters, table):
    clinical = cohort[0].copy()
    clinical.loc[20, "scanner"] = "D"
    found = table_of(clinical, clusters)
    assert found["note"].str.contains("scanner: ").all() and found["p_technical"].notna().all()


def test_constant_phenotype_is_refused_with_a_status(cohort):
    flat = Predictor(cohort[1] * 0.0 + 7, "phenotype", "mld")
    assert (table_of(cohort[0], flat)["status"] == "not_fitted:constant_predictor").all()


def test_unknown_columns_and_kinds_are_refused_by_name(cohort, clusters):
    with pytest.raises(InputError, match="found no column dlco"):
        table_of(cohort[0], clusters, outcomes_of(dlco="continuous"))
    with pytest.raises(InputError, match="expected cluster or phenotype"):
        table_of(cohort[0], Predictor(cohort[1], "label"))
    with pytest.raises(InputError, match="expected continuous or skewed or binary or ordinal"):
        outcomes_of(fvc="none")
    with pytest.raises(InputError, match="found keys"):
        outcomes_of(fvc={"transform": "log1p"})
