"""Which model an outcome gets: separated data, odds that are not proportional, designs that cannot be fitted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lungtypes.association.comparison import comparison_table
from lungtypes.association.contrasts import contrasts_table, means_table
from lungtypes.association.diagnostics import diagnostics_table
from lungtypes.association.models import fit_outcomes, merged_levels
from lungtypes.association.ordinal import level_shares, proportional_odds, weighted_proportional_odds
from lungtypes.association.outcomes import outcomes_table
from lungtypes.association.rows import Predictor

from .conftest import PLAN, outcomes_of

TABLES = (outcomes_table, contrasts_table, means_table, diagnostics_table, comparison_table)


def test_separated_data_get_firths_likelihood_and_no_r2(cohort, two_clusters):
    clinical = cohort[0].assign(event=np.where((two_clusters.values.to_numpy() == 1) | (cohort[0].index % 3 > 0), 0, 1))
    plan = replace(PLAN, outcomes=outcomes_of(event="binary"))
    fits = fit_outcomes(clinical, two_clusters, plan)
    row = outcomes_table(fits, plan).iloc[0]
    assert (row["status"], row["model"], row["test"]) == ("ok", "logistic, Firth", "penalised likelihood ratio")
    counts = pd.crosstab(two_clusters.values.to_numpy(), clinical["event"].to_numpy())
    assert counts.loc[1, 1] == 0
    crude = contrasts_table(fits, plan).query("model_set == 'crude' and scale == 'odds ratio'").iloc[0]
    # saturated in one group variable, Firth's form adds a half to each cell (Heinze & Schemper 2002)
    by_hand = (counts.loc[2, 1] + 0.5) * (counts.loc[1, 0] + 0.5) / ((counts.loc[2, 0] + 0.5) * 0.5)
    assert crude["estimate"] == pytest.approx(by_hand) and np.isfinite(crude["ci_low"])
    assert np.isnan(row["r2_full"]) and np.isnan(row["gain_ci_low"]) and "Firth" in row["note"]
    assert comparison_table(fits, plan)["status"].iloc[0] == "not_fitted:separation"


def test_proportional_odds_stay_and_crossing_odds_become_multinomial():
    rng = np.random.default_rng(0)
    n = 600
    group = np.repeat([1, 2], n // 2)
    table = pd.DataFrame({"subject": [f"S{i}" for i in range(n)], "age": rng.normal(size=n)})
    table["shifted"] = np.digitize(0.8 * group + rng.logistic(size=n), [0, 1, 2])
    # cluster 1 sits in the middle, cluster 2 at both ends: no shift of odds describes that
    table["spread"] = np.where(
        group == 1, rng.choice(4, n, p=[0.1, 0.4, 0.4, 0.1]), rng.choice(4, n, p=[0.4, 0.1, 0.1, 0.4])
    )
    plan = replace(
        PLAN,
        outcomes=outcomes_of(shifted="ordinal", spread="ordinal"),
        covariates=("age",),
        technical=(),
        comparator=None,
    )
    fits = fit_outcomes(table, Predictor(pd.Series(group, index=table["subject"]), "cluster"), plan)
    found = outcomes_table(fits, plan).set_index("outcome")
    assert found["model"].to_dict() == {"shifted": "proportional odds", "spread": "multinomial"}
    assert fits[0].proportional_odds_p > 0.01 > fits[1].proportional_odds_p
    assert found.loc["spread", "p_value"] < 1e-10 and "multinomial" in found.loc["spread", "note"]
    assert found.loc["spread", "effect_name"] == "Cramer V"
    assert contrasts_table([fits[1]], plan)["estimate"].isna().all()
    means = means_table([fits[1]], plan).query("model_set == 'crude'")
    observed = table.groupby(group)["spread"].mean()
    np.testing.assert_allclose(means["mean"], observed, rtol=1e-6)  # the crude multinomial model is saturated


def test_all_tables_hold_together_for_every_predictor_and_status(cohort, clusters, two_clusters, phenotype):
    outcomes = outcomes_of(fvc="continuous", crp="skewed", event="binary", grade="ordinal", nothing="continuous")
    clinical = cohort[0].assign(nothing=1.0)
    for comparator, technical in (("scadding", ("scanner",)), (None, ())):
        plan = replace(PLAN, outcomes=outcomes, comparator=comparator, technical=technical, n_bootstrap=50)
        for predictor in (clusters, two_clusters, phenotype):
            fits = fit_outcomes(clinical, predictor, plan)
            for make in TABLES:
                table = make(fits, plan)
                numbers = table.loc[table["outcome"] == "nothing"].select_dtypes("number")
                assert numbers.drop(columns=["n", "n_missing", "margin"], errors="ignore").isna().all().all()
            assert [fit.status for fit in fits] == ["ok"] * 4 + ["not_fitted:constant_outcome"]


@pytest.mark.parametrize("labels", [[1] * 8, [1] * 7 + [2], [1, 2] * 4, list(range(1, 9))])
def test_eight_subjects_get_statuses_not_crashes(cohort, labels):
    few = cohort[0].iloc[10:18]
    predictor = Predictor(pd.Series(labels, index=few["subject"]), "cluster")
    outcomes = outcomes_of(fvc="continuous", crp="skewed", event="binary", grade="ordinal")
    plan = replace(PLAN, outcomes=outcomes, min_group=2)
    fits = fit_outcomes(few, predictor, plan)
    assert all(fit.status.startswith("not_fitted:") for fit in fits)
    for make in TABLES:
        assert make(fits, plan).get("status", pd.Series(dtype=str)).str.startswith("not_fitted:").all()


def test_a_column_name_is_never_evaluated(cohort, clusters, tmp_path):
    column = f"I(0*age + __import__('os').system('touch {tmp_path}/made'))"
    clinical = cohort[0].assign(**{column: cohort[0]["age"] ** 2})
    plan = replace(PLAN, outcomes=outcomes_of(fas="continuous"), covariates=("age", column))
    assert fit_outcomes(clinical, clusters, plan)[0].status == "ok"
    assert not (tmp_path / "made").exists()


def test_small_levels_join_their_lower_neighbour():
    codes = np.repeat([0, 1, 2, 3], [2, 10, 3, 10])
    np.testing.assert_array_equal(np.bincount(merged_levels(codes, 5)), [15, 10])
    np.testing.assert_array_equal(merged_levels(codes, 1), codes)


def test_weighted_fits_are_those_of_the_repeated_rows():
    rng = np.random.default_rng(0)
    x, codes = rng.normal(size=(80, 2)), rng.integers(0, 3, 80)
    counts = rng.integers(0, 4, (5, 80)).astype(float)
    parameters, logliks, converged = weighted_proportional_odds(x, codes, counts)
    assert converged.all()
    for weights, found, loglik in zip(counts, parameters, logliks, strict=True):
        rows = np.repeat(np.arange(80), weights.astype(int))
        alone = proportional_odds(np.column_stack([np.ones(len(rows)), x[rows]]), codes[rows])
        np.testing.assert_allclose(found, alone.parameters, atol=1e-6)
        assert loglik == pytest.approx(alone.loglik)


def test_shares_of_the_levels_sum_to_one():
    matrix = np.column_stack([np.ones(5), np.linspace(-2, 2, 5)])
    for ordered, parameters in ((True, [-1.0, 0.5, 2.0]), (False, [0.3, 1.0, -0.2, 0.4])):
        shares = level_shares(np.array(parameters), matrix, 3, ordered=ordered)
        assert shares.shape == (5, 3) and (shares > 0).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1)
