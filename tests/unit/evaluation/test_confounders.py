"""The audit of confounders: planted ones are found, absent ones are not, effect sizes agree with other programs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import chi2_contingency, kruskal, kstest
from scipy.stats.contingency import association
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict

from lungtypes.errors import InputError
from lungtypes.evaluation.audit_files import audit_stage, gather_variables
from lungtypes.evaluation.confounder_tests import bias_corrected_v, compare_levels, compare_numbers
from lungtypes.evaluation.confounders import COLUMNS, GOES_WITH, PREDICTED, Variable, audit_confounders
from lungtypes.evaluation.predictability import predict_levels, predict_number

SCHEMA = Path(__file__).parents[3] / "workflow/schemas/tables/confounders.yaml"
DRAWS = {"min_level": 5, "n_permutations": 99, "seed": 0}


def cohort(n=120, seed=0):
    """Names, clusters of two, and an embedding that knows the clusters only."""
    rng = np.random.default_rng(seed)
    names = [f"S{i:03d}" for i in range(n)]
    clusters = pd.Series(rng.integers(1, 3, n), index=names)
    points = rng.standard_normal((n, 10))
    points[:, 0] += 3 * clusters.to_numpy()
    return names, clusters, points, rng


def levels(name, values, names, family="scanner"):
    return Variable(name, name.title(), family, "categorical", pd.Series(values, index=names, dtype=object))


def numbers(name, values, names, family="scanner"):
    return Variable(name, name.title(), family, "numeric", pd.Series(values, index=names, dtype=float))


def audited(clusters, points, *variables, **more):
    return audit_confounders(clusters, points, variables, **DRAWS | more).set_index("variable")


def test_planted_confounder_is_found_in_clusters_and_embedding_and_an_absent_one_is_not():
    names, clusters, points, rng = cohort()
    follows = np.where(rng.random(120) < 0.9, clusters, 3 - clusters)
    hidden = rng.permutation(np.repeat(["soft", "sharp"], 60))
    points[:, 1] += 2.5 * (hidden == "sharp")  # in the embedding, not in the clusters
    thickness = np.where(clusters == 1, 1.0, 5.0) + 0.3 * rng.standard_normal(120)
    found = audited(
        clusters,
        points,
        levels("scanner", [f"model {i}" for i in follows], names),
        levels("kernel", hidden, names),
        numbers("thickness_mm", thickness, names),
        levels("site", rng.permutation(np.repeat(["A", "B", "C"], 40)), names),
    )
    assert list(found.reset_index()) == COLUMNS
    assert found.loc["scanner", "flag"] == f"{GOES_WITH}; {PREDICTED}"
    assert found.loc["kernel", "flag"] == PREDICTED
    assert found.loc["thickness_mm", "flag"] == f"{GOES_WITH}; {PREDICTED}"
    assert found.loc["site", "flag"] == ""
    assert found.loc["scanner", "effect"] > 0.6 and found.loc["kernel", "predictable"] > 0.8
    assert found.loc["site", "chance"] == pytest.approx(1 / 3) and found.loc["thickness_mm", "chance"] == 0


def test_unrelated_variables_are_seldom_flagged():
    flagged = {"test": 0, "levels": 0, "numbers": 0}
    for seed in range(40):
        names, clusters, points, rng = cohort(60, seed)
        found = audited(
            clusters,
            points,
            levels("kernel", rng.choice(["a", "b", "c"], 60), names),
            numbers("thickness_mm", rng.gamma(2, size=60), names),
            n_permutations=39,
            seed=seed,
        )
        flagged["test"] += (found["q_value"] < 0.05).any()
        flagged["levels"] += PREDICTED in found.loc["kernel", "flag"]
        flagged["numbers"] += PREDICTED in found.loc["thickness_mm", "flag"]
    assert max(flagged.values()) <= 7  # 5 % of 40 is 2; more than 7 has probability 0.1 %


def test_p_values_of_predictions_are_uniform_where_nothing_can_be_predicted():
    rng = np.random.default_rng(0)
    found = [
        predict(rng.standard_normal((40, 5)), draw(), n_permutations=49, seed=i).p_value
        for i in range(40)
        for predict, draw in (
            (predict_levels, lambda: np.repeat(["a", "b"], [28, 12])),
            (predict_number, lambda: rng.standard_normal(40)),
        )
    ]
    assert kstest(found, "uniform").pvalue > 0.001


def test_balanced_accuracy_is_that_of_linear_discriminant_analysis():
    rng = np.random.default_rng(1)
    truth = np.repeat(["a", "b", "c"], [90, 60, 30])
    points = rng.standard_normal((180, 6)) @ rng.standard_normal((6, 6))
    points[truth == "b", 0] += 3
    points[truth == "c", 1] += 3
    found = predict_levels(points, truth, n_permutations=19, seed=0)
    model = LinearDiscriminantAnalysis(priors=[1 / 3] * 3)
    scores = [
        balanced_accuracy_score(
            truth, cross_val_predict(model, points, truth, cv=StratifiedKFold(5, shuffle=True, random_state=i))
        )
        for i in range(5)
    ]
    assert found.value == pytest.approx(np.mean(scores), abs=0.03)
    assert found.chance == pytest.approx(1 / 3) and found.p_value == 0.05 and found.p95 < 0.5


def test_r2_is_that_of_least_squares_on_ranks():
    rng = np.random.default_rng(2)
    points = rng.standard_normal((150, 4))
    values = np.exp(points[:, 0] + 0.7 * rng.standard_normal(150))
    found = predict_number(points, values, n_permutations=19, seed=0)
    ranks = pd.Series(values).rank().to_numpy()
    scores = [
        r2_score(ranks, cross_val_predict(LinearRegression(), points, ranks, cv=KFold(5, shuffle=True, random_state=i)))
        for i in range(5)
    ]
    assert found.value == pytest.approx(np.mean(scores), abs=0.03)
    assert found.chance == 0 and found.p_value == 0.05 and found.p95 < 0.1


def test_test_of_a_full_table_is_pearsons_and_of_a_sparse_one_is_permuted():
    rng = np.random.default_rng(3)
    clusters, scanners = rng.integers(1, 4, 90), rng.choice(["a", "b"], 90)
    full = compare_levels(clusters, scanners, n_permutations=99, seed=0)
    truth = chi2_contingency(pd.crosstab(clusters, scanners), correction=False)
    assert full.test == "chi-square"
    assert (full.statistic, full.p_value) == pytest.approx((truth.statistic, truth.pvalue))
    # 3 and 1 of 4: the permutation distribution is Fisher's, both tails as extreme: 34 of 70 tables
    sparse = compare_levels(np.repeat([1, 2], 4), np.array(list("aaabbbba")), n_permutations=20000, seed=0)
    assert sparse.test == "permutation chi-square" and sparse.p_value == pytest.approx(34 / 70, abs=0.015)


def test_corrected_v_is_one_for_a_bijection_and_near_zero_where_plain_v_is_not():
    same = np.repeat([1, 2, 3], 20)
    assert compare_levels(same, same, n_permutations=9, seed=0).effect == pytest.approx(1)
    rng = np.random.default_rng(4)
    plain, corrected = [], []
    for _ in range(30):
        table = pd.crosstab(rng.integers(0, 4, 40), rng.integers(0, 5, 40)).to_numpy()
        plain.append(association(table, method="cramer"))
        corrected.append(bias_corrected_v(chi2_contingency(table, correction=False).statistic, 40, table.shape))
    assert np.mean(plain) > 0.25 and np.mean(corrected) < 0.12
    # by hand: n = 21, 2 x 2, chi-square 5.25: phi2 = 0.25 - 1/20 = 0.2, room = 2 - 1/20 - 1 = 0.95
    assert bias_corrected_v(5.25, 21, (2, 2)) == pytest.approx((0.2 / 0.95) ** 0.5)


def test_epsilon_squared_is_h_over_n_minus_one():
    rng = np.random.default_rng(5)
    clusters, values = np.repeat([1, 2, 3], 10), rng.standard_normal(30)
    found = compare_numbers(clusters, values)
    truth = kruskal(values[:10], values[10:20], values[20:])
    assert (found.statistic, found.p_value) == pytest.approx((truth.statistic, truth.pvalue))
    assert found.effect == pytest.approx(truth.statistic / 29)


def test_absent_constant_and_rare_values_have_a_reason():
    names, clusters, points, _ = cohort(40)
    found = audited(
        clusters,
        points,
        levels("manufacturer", [""] * 40, names),
        levels("kvp", ["120"] * 40, names),
        numbers("gap_mm", [1.0] * 40, names),
        levels("kernel", ["a"] * 20 + ["b"] * 14 + ["c"] * 3 + ["d"] * 3, names),
        levels("site", ["a"] * 20 + ["b"] * 15 + ["c"] * 2 + [""] * 3, names),
        levels("contrast", ["1"] * 38 + ["0"] * 2, names),
    )
    notes = found["note"]
    assert notes["manufacturer"] == "not known of any scan" and found.loc["manufacturer", "n_missing"] == 40
    assert notes["kvp"] == notes["gap_mm"] == "not tested: the same in all scans"
    assert notes["kernel"] == "2 levels of fewer than 5 scans joined as 'other'" and found.loc["kernel", "n"] == 40
    assert notes["site"] == "1 level of fewer than 5 scans left out (2 scans)"
    assert (found.loc["site", "n"], found.loc["site", "n_missing"]) == (35, 3)
    assert notes["contrast"].startswith("not tested: one level left; 1 level of fewer than 5")
    assert found.loc[["manufacturer", "kvp", "contrast"], ["p_value", "effect", "predictable"]].isna().all(axis=None)
    tested = found["p_value"].notna()
    assert (found.loc[tested, "q_value"] >= found.loc[tested, "p_value"]).all()


def test_one_cluster_is_not_tested_but_its_embedding_is_read():
    names, clusters, points, _ = cohort(40)
    row = audited(clusters * 0 + 1, points, levels("sex", ["F", "M"] * 20, names, "person")).loc["sex"]
    assert row["note"] == "not tested: one cluster" and np.isnan(row["p_value"]) and row["predictable"] > 0


def test_without_an_embedding_nothing_is_predicted():
    names, clusters, _, _ = cohort(40)
    row = audited(clusters, None, levels("sex", ["F", "M"] * 20, names)).loc["sex"]
    assert "no embedding" in row["note"] and np.isnan(row["predictable"]) and np.isfinite(row["p_value"])


def test_order_of_subjects_in_the_tables_and_a_second_run_change_nothing():
    names, clusters, points, rng = cohort(40)
    variable = levels("kernel", rng.choice(["a", "b"], 40), names)
    again = Variable("kernel", "Kernel", "scanner", "categorical", variable.values.iloc[::-1])
    pd.testing.assert_frame_equal(audited(clusters, points, variable), audited(clusters, points, again))


def test_points_of_other_scans_are_refused():
    _, clusters, points, _ = cohort(40)
    with pytest.raises(InputError, match="points: found 39 rows, expected 40"):
        audited(clusters, points[1:])


@pytest.fixture
def study(tmp_path):
    """Tables as the stages leave them: 24 scans, one of them a repeat, one that came registered."""
    names = [f"S{i:02d}" for i in range(24)]
    assignment = pd.DataFrame({"subject": names, "cluster": [1, 2] * 12, "q_1": 0.5, "q_2": 0.5})
    assignment = assignment.assign(split=["train"] * 20 + ["test"] * 3 + ["repeat"], flag="")
    rng = np.random.default_rng(0)
    z = pd.DataFrame(rng.standard_normal((24, 3)), columns=["z_1", "z_2", "z_3"])
    series = pd.DataFrame(
        {"subject": names[1:], "series": "2", "manufacturer": "GE", "model": ["one", "two", "one"] + ["two"] * 20}
    )
    series = series.assign(kernel="", kernel_class="soft", kvp=["120", "120.0"] + ["100"] * 21, thickness_mm="1.25")
    series = series.assign(gap_mm="1", contrast="0", verdict="chosen")
    rejected = series.iloc[:5].assign(model="scout", verdict="rejected")
    density = pd.DataFrame({"subject": names, "region": "lungs", "volume_ml": rng.normal(5000, 500, 24)})
    for name, table in {
        "assignment": assignment,
        "embedding": z.assign(subject=names, phase="before"),
        "series": pd.concat([rejected, series]),
        "densitometry": pd.concat([density, density.assign(region="right", volume_ml=1.0)]),
    }.items():
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    for i, name in enumerate(names):
        folder = tmp_path / "registered" / name
        folder.mkdir(parents=True)
        figures = {"dice_right": 0.97 + i / 1000, "dice_left": 0.96, "hd95_right_mm": 1.0 + i, "hd95_left_mm": None}
        (folder / "registration.json").write_text(json.dumps(figures))
    clinical = pd.DataFrame({"subject": names, "sex": ["F", "M", "NA"] * 8, "age": 50})
    clinical.to_csv(tmp_path / "clinical.tsv", sep="\t", index=False)
    sheet = {name: {"site": "A" if i % 2 else "B", "sex": ""} for i, name in enumerate(names)}
    return tmp_path, {
        "series": tmp_path / "series.tsv",
        "densitometry": tmp_path / "densitometry.tsv",
        "registered": {name: tmp_path / "registered" / name for name in names},
        "sheet": sheet,
        "clinical": tmp_path / "clinical.tsv",
    }


def test_variables_are_gathered_from_where_the_stages_leave_them(study):
    _, places = study
    found = {variable.name: variable for variable in gather_variables(**places)}
    assert found["scanner"].values["S01"] == "GE one" and "S00" not in found["scanner"].values
    assert found["kvp"].values[["S01", "S02", "S03"]].tolist() == ["120", "120", "100"]
    assert found["thickness_mm"].values["S05"] == 1.25
    assert found["site"].values[["S00", "S01"]].tolist() == ["B", "A"]
    assert found["sex"].values[["S00", "S01"]].tolist() == ["F", "M"] and "S02" not in found["sex"].values
    assert found["lung_volume_ml"].values["S00"] > 1000
    assert found["dice"].values["S23"] == 0.96 and found["hd95_mm"].values.isna().all()
    assert found["hu_correlation"].values.isna().all()


def test_stage_writes_the_columns_of_its_schema_without_repeats(study):
    folder, places = study
    audit_stage(
        assignment=folder / "assignment.tsv",
        embedding=folder / "embedding.tsv",
        table=folder / "out.tsv",
        **places,
        **DRAWS,
    )
    table = pd.read_csv(folder / "out.tsv", sep="\t", keep_default_na=False).set_index("variable")
    assert list(table.reset_index()) == list(yaml.safe_load(SCHEMA.read_text())["columns"])
    # the sites go with the clusters; 23 scans without the repeat, one of them without a series
    assert table.loc["site", "flag"].startswith(GOES_WITH) and table.loc["site", "n"] == 23
    assert table.loc["scanner", "n_missing"] == 1 and table.loc["hd95_mm", "note"] == "not known of any scan"


def test_what_is_predicted_was_not_learnt_from():
    rng = np.random.default_rng(6)
    accuracy, r2 = [], []
    for i in range(20):
        points = rng.standard_normal((80, 8))  # resubstitution of noise: accuracy about 0.64, R2 about 0.1
        labels = np.repeat(["a", "b"], 40)
        accuracy.append(predict_levels(points, labels, n_permutations=1, seed=i).value)
        r2.append(predict_number(points, rng.standard_normal(80), n_permutations=1, seed=i).value)
    assert np.mean(accuracy) < 0.56 and np.mean(r2) < 0
