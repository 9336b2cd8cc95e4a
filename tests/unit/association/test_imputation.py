"""Multiple imputation: pooling against published formulas and statsmodels, planted truth, false positives under MAR."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.imputation.mice import MICEData

from lungtypes.association.chained_equations import completed
from lungtypes.association.check_print import print_imputed
from lungtypes.association.imputation import IMPUTED_COLUMNS, impute_outcomes
from lungtypes.association.pooling import barnard_rubin, pool, reiter
from lungtypes.association.rows import AssociationPlan, Outcome, Predictor


def plan_of(names, covariates=("age",), **changes):
    outcomes = tuple(Outcome(name, name.upper(), "u", "all", changes.get("type", "continuous")) for name in names)
    return AssociationPlan(
        outcomes=outcomes,
        covariates=tuple(covariates),
        technical=(),
        comparator=None,
        standard_errors=changes.get("standard_errors", "hc3"),
        margin=0.02,
        min_group=5,
        n_bootstrap=10,
        cv_repeats=0,
        seed=changes.get("seed", 1),
    )


def cohort(seed, n=120, effect=0.0):
    """y is MAR: missing more often for high z, which goes with y, and in cluster 2."""
    rng = np.random.default_rng(seed)
    clusters = np.where(rng.random(n) < 0.4, 1, 2)
    age = rng.normal(50, 9, n)
    z = rng.normal(size=n) + 0.5 * (clusters == 2)
    y = 0.03 * age + z - 0.5 * (clusters == 2) + rng.normal(size=n) + effect * (clusters == 2)
    gone = rng.random(n) < 1 / (1 + np.exp(1.2 - z - 0.5 * (clusters == 2)))
    table = pd.DataFrame({"age": age, "z": z, "y": np.where(gone, np.nan, y)}, index=[f"S{i:03d}" for i in range(n)])
    table.attrs["before"] = y
    return table, Predictor(pd.Series(clusters, index=table.index), "cluster")


def test_one_coefficient_is_pooled_by_rubins_rules():
    b, v = np.array([1.0, 1.4, 0.9, 1.1]), np.array([0.04, 0.05, 0.06, 0.05])
    found = pool(b[:, None], v[:, None, None], df_complete=100)
    total = v.mean() + 1.25 * b.var(ddof=1)  # Rubin 1987: within + (1 + 1/m) between
    assert found.estimate[0] == pytest.approx(1.1)
    assert found.covariance[0, 0] == pytest.approx(total)
    assert found.f == pytest.approx(1.1**2 / total)
    share = 1.25 * b.var(ddof=1) / total
    old, observed = 3 / share**2, 101 / 103 * 100 * (1 - share)  # Barnard & Rubin 1999, equations 3 and 4
    assert found.df_den == pytest.approx(1 / (1 / old + 1 / observed))
    assert found.p_value == pytest.approx(2 * stats.t.sf(np.sqrt(found.f), found.df_den))


def test_joint_test_of_two_coefficients_follows_li_raghunathan_and_rubin():
    rng = np.random.default_rng(0)
    b = rng.normal([1, 0.5], 0.2, (20, 2))
    u = np.array([[0.10, 0.03], [0.03, 0.08]])
    found = pool(b, np.repeat(u[None], 20, axis=0), df_complete=10**7)
    r = 1.05 * np.trace(np.cov(b.T) @ np.linalg.inv(u)) / 2
    d1 = b.mean(axis=0) @ np.linalg.inv(u) @ b.mean(axis=0) / (2 * (1 + r))
    assert (found.f, found.df_num) == (pytest.approx(d1), 2)
    t = 2 * 19
    # their df hold for an endless sample, and Reiter's come near them there
    assert found.df_den == pytest.approx(4 + (t - 4) * (1 + (1 - 2 / t) / r) ** 2, rel=0.15)


def test_degrees_of_freedom_shrink_with_the_sample_and_with_what_is_missing():
    assert barnard_rubin(20, 0.0, 50) == pytest.approx(51 / 53 * 50)
    many, few = reiter(20, 3, 0.3, 300), reiter(20, 3, 0.3, 40)
    assert few < 40 and few < many < 300 and reiter(20, 3, 1.0, 300) < many


def test_draws_have_the_spread_of_the_regression_not_its_mean():
    rng = np.random.default_rng(0)
    x = rng.normal(size=4000)
    y = 2 * x + rng.normal(0, 3, 4000)
    gone = rng.random(4000) < 0.3
    matrix = np.column_stack([x, np.where(gone, np.nan, y)])
    filled = next(completed(matrix, m=1, seed=1))
    assert np.array_equal(filled[~gone], matrix[~gone])
    residual = filled[gone, 1] - 2 * x[gone]
    assert residual.std() == pytest.approx(3, rel=0.06) and residual.mean() == pytest.approx(0, abs=0.25)


def test_same_seed_same_numbers_whatever_the_order_of_the_rows():
    table, predictor = cohort(0)
    plan = plan_of(["y", "z"])
    first = impute_outcomes(table, predictor, plan, m=20)
    again = impute_outcomes(table.sample(frac=1, random_state=3), predictor, plan, m=20)
    pd.testing.assert_frame_equal(first, again)
    other = impute_outcomes(table, predictor, plan_of(["y", "z"], seed=2), m=20)
    assert other["f"].iloc[0] != first["f"].iloc[0]


def test_bias_of_the_complete_cases_is_mended_as_in_statsmodels_mice():
    estimates, deleted, theirs, whole = [], [], [], []
    for seed in range(12):
        table, predictor = cohort(seed, n=400, effect=0.5)
        row = impute_outcomes(table, predictor, plan_of(["y", "z"]), m=20).iloc[0]
        estimates.append(row["estimate"])
        second = (predictor.values == 2).astype(float).rename("second")
        kept, before = table["y"].notna(), table.attrs.pop("before")
        design = sm.add_constant(pd.concat([table[["age"]], second], axis=1))
        whole.append(sm.OLS(before, design).fit().params["second"])
        deleted.append(sm.OLS(table.loc[kept, "y"], design[kept]).fit().params["second"])
        np.random.seed(seed)  # statsmodels draws from the global stream
        data = MICEData(pd.concat([table, second], axis=1), k_pmm=10)
        draws = []
        for _ in range(10):
            data.update_all()
            draws.append(sm.OLS(data.data["y"], design.set_axis(data.data.index)).fit().params["second"])
        theirs.append(np.mean(draws))
    # what the same people show when nothing is deleted
    assert np.mean(estimates) == pytest.approx(np.mean(whole), abs=0.05)
    assert np.mean(estimates) == pytest.approx(np.mean(theirs), abs=0.05)
    assert abs(np.mean(deleted) - np.mean(whole)) > 2 * abs(np.mean(estimates) - np.mean(whole))


def test_false_positives_stay_near_five_percent_under_mar():
    n_sets, hits = 120, 0
    for seed in range(n_sets):
        table, predictor = cohort(1000 + seed, n=100)
        row = impute_outcomes(table, predictor, plan_of(["y", "z"]), m=20).iloc[0]
        assert row["status"] == "ok" and row["fraction_missing_information"] > 0.05
        hits += row["p_value"] < 0.05
    # a single imputation, or draws without the coefficients' uncertainty, rejects far more often
    assert stats.binomtest(hits, n_sets, 0.05, alternative="greater").pvalue > 0.005


def test_three_clusters_have_a_joint_test_and_no_single_estimate():
    table, _ = cohort(0, n=150)
    values = pd.Series(np.tile([1, 2, 3], 50), index=table.index)
    row = impute_outcomes(table, Predictor(values, "cluster"), plan_of(["y", "z"]), m=20).iloc[0]
    assert row["status"] == "ok" and row["df_num"] == 2 and 0 <= row["p_value"] <= 1
    assert np.isnan(row["estimate"])


def test_phenotype_is_per_standard_deviation_and_skewed_outcomes_are_ratios():
    rng = np.random.default_rng(0)
    n = 300
    x = rng.normal(40, 8, n)
    table = pd.DataFrame({"age": rng.normal(50, 9, n), "crp": np.expm1(2 + 0.3 * (x - 40) / 8 + rng.normal(0, 0.3, n))})
    table.loc[rng.random(n) < 0.2, "crp"] = np.nan
    table.index = [f"S{i:03d}" for i in range(n)]
    predictor = Predictor(pd.Series(x, index=table.index), "phenotype", name="axis", label="axis")
    row = impute_outcomes(table, predictor, plan_of(["crp"], type="skewed"), m=20).iloc[0]
    assert row["estimate"] == pytest.approx(np.exp(0.3), rel=0.05)
    assert row["ci_low"] < row["estimate"] < row["ci_high"]


def test_imputations_rise_with_the_share_that_is_missing():
    table, predictor = cohort(0)
    table.loc[table.index[:50], "age"] = np.nan
    row = impute_outcomes(table, predictor, plan_of(["y"]), m=5).iloc[0]
    assert row["m"] == int(np.ceil(100 * table[["age", "y"]].isna().any(axis=1).mean())) > 20


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda t: t.assign(y=np.nan), "not_imputed:no_rows"),
        (lambda t: t.assign(y="text"), "not_imputed:not_numeric"),
        (lambda t: t.assign(y=t["y"].where(t["y"].isna(), 1.0)), "not_imputed:too_few_values"),
        (lambda t: t.assign(y=t["z"]), "not_imputed:nothing_missing"),
        (lambda t: t.assign(y=t["y"].where(t["y"].isna(), t.index.str[-1] > "4")), "not_imputed:binary_outcome"),
        (lambda t: t.iloc[:14], "not_imputed:too_few_subjects"),
        (lambda t: t.assign(twin=t["age"]), "not_imputed:rank_deficient"),
    ],
)
def test_what_cannot_be_imputed_has_a_reason(change, status):
    table, predictor = cohort(0)
    table = change(table)
    kind = "binary" if "binary" in status else "continuous"
    covariates = ("age", "twin") if "twin" in table else ("age",)
    found = impute_outcomes(table, predictor, plan_of(["y"], covariates, type=kind), m=20, p_complete_case={"y": 0.3})
    assert list(found.columns) == IMPUTED_COLUMNS
    row = found.iloc[0]
    assert row["status"] == status and row["p_complete_case"] == 0.3
    assert found[["m", "f", "p_value", "estimate", "q_value"]].isna().all().all()


def test_an_outcome_with_unknown_levels_leaves_the_others_their_imputation():
    table, predictor = cohort(0)
    table["stage"] = np.where(np.arange(len(table)) % 2, "mild", "severe")
    plain = plan_of(["y"])
    graded = Outcome("stage", "Stage", "", "f", "ordinal", levels=("low", "high"))
    found = impute_outcomes(table, predictor, replace(plain, outcomes=(*plain.outcomes, graded)), m=20)
    assert found.set_index("outcome")["status"].to_dict() == {"y": "ok", "stage": "not_imputed:unknown_level"}


def test_categories_and_clusters_are_never_imputed_as_levels_of_persons():
    table, predictor = cohort(0)
    table["race"] = np.where(np.arange(len(table)) % 3 == 0, "a", "b")
    table.loc[table.index[:10], "race"] = np.nan
    unknown = predictor.values.astype(float)
    unknown.iloc[:7] = np.nan
    row = impute_outcomes(table, Predictor(unknown, "cluster"), plan_of(["y"], ("age", "race")), m=20).iloc[0]
    assert row["status"] == "ok" and row["n"] == len(table) - 7


def test_caption_says_from_how_many_imputations():
    table, predictor = cohort(0)
    found = impute_outcomes(table, predictor, plan_of(["y", "z"]), m=20)
    printed = print_imputed(found)
    assert f"pooled from {int(found['m'].iloc[0])} imputations" in printed.caption
