"""The number of clusters: planted groups, no groups, and the sentence the user reads."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from lungtypes.errors import InputError
from lungtypes.evaluation.choose_k import COLUMNS, choose_k
from lungtypes.evaluation.gap import Gap, gap_choice, gap_statistic
from lungtypes.evaluation.indices import silhouette
from lungtypes.evaluation.null_test import (
    one_cluster_test,
    principal_scores,
    silhouette_test,
    single_gaussian_test,
)
from lungtypes.randomness import stream

FEW = {"n_init": 5, "n_null": 39, "n_permutations": 3, "seed": 4}


def groups(k, n, d, distance, seed=0):
    """n subjects in k groups whose centres are the corners of a simplex."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((k, d))
    centres[np.arange(k), np.arange(k)] = distance
    return rng.normal(size=(n, d)) + centres[np.arange(n) % k]


@pytest.mark.parametrize("rule", ["silhouette", "sparse_silhouette"])
def test_three_planted_groups_are_found_in_fewer_subjects_than_dimensions(rule):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(33, 40))
    points[:, :10] += 5 * rng.normal(size=(3, 10))[np.arange(33) % 3]
    found = choose_k(points, k_min=1, k_max=6, rule=rule, **FEW)
    assert found.k == 3
    assert found.null_p <= 0.05
    assert found.reason.startswith("K = 3: largest silhouette (")
    assert "a single Gaussian was rejected" in found.reason


def test_table_is_tidy_and_one_cluster_has_a_note():
    found = choose_k(groups(2, 20, 5, 8.0), k_min=2, k_max=4, rule="silhouette", **FEW)
    table = found.table
    assert list(table.columns) == COLUMNS
    one = table[(table["k"] == 1) & (table["criterion"] == "silhouette_kmeans")].iloc[0]
    assert np.isnan(one["value"]) and one["note"] == "not defined for one cluster"
    assert set(table.loc[table["chosen"], "k"]) == {found.k}
    assert table.loc[table["criterion"] == "null_p", "k"].tolist() == [1]
    assert table.loc[table["criterion"] == "gap", "k"].tolist() == [1, 2, 3, 4]


def test_silhouette_of_kmeans_is_that_of_scikit_learn():
    points = groups(2, 30, 3, 9.0)
    table = choose_k(points, k_min=2, k_max=2, rule="silhouette", **FEW).table
    labels = KMeans(2, n_init=10, random_state=0).fit_predict(points)
    row = table[(table["criterion"] == "silhouette_kmeans") & (table["k"] == 2)].iloc[0]
    assert row["value"] == pytest.approx(silhouette(points, labels).value)


def test_without_groups_one_cluster_is_chosen_where_allowed():
    points = np.random.default_rng(1).normal(size=(40, 6))
    found = choose_k(points, k_min=1, k_max=4, rule="silhouette", **FEW)
    assert found.k == 1 and "not rejected" in found.reason
    forced = choose_k(points, k_min=2, k_max=4, rule="silhouette", **FEW)
    assert forced.k >= 2 and "continuum" in forced.reason


def test_the_same_seed_gives_the_same_table():
    points = groups(3, 24, 30, 5.0)
    one = choose_k(points, k_min=2, k_max=4, rule="sparse_silhouette", **FEW)
    two = choose_k(points, k_min=2, k_max=4, rule="sparse_silhouette", **FEW)
    assert one.table.equals(two.table) and one.reason == two.reason


def test_more_clusters_than_subjects_less_one_are_refused():
    with pytest.raises(InputError, match="k_max: found 8, expected at most 7"):
        choose_k(np.random.default_rng(0).normal(size=(8, 3)), k_min=2, k_max=8, rule="silhouette", **FEW)


def test_eight_subjects_and_duplicates_do_not_crash():
    points = np.repeat(np.random.default_rng(0).normal(size=(4, 3)), 2, axis=0)
    assert 2 <= choose_k(points, k_min=2, k_max=7, rule="sparse_silhouette", **FEW).k <= 7


def test_null_test_keeps_its_level_with_more_dimensions_than_subjects():
    scale = np.linspace(3, 0.2, 30)
    p = [
        one_cluster_test(np.random.default_rng(i).normal(size=(16, 30)) * scale, n_null=19, seed=i).p_value
        for i in range(40)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.15  # 40 draws at 5 %: 6 or fewer


def test_combined_null_test_keeps_its_level_and_sees_three_groups():
    p = [
        single_gaussian_test(np.random.default_rng(i).normal(size=(16, 8)), ks=[2, 3], n_null=39, seed=i).p_value
        for i in range(30)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.17  # 30 draws at 5 %: 5 or fewer
    three = groups(3, 33, 40, 12.0)
    assert single_gaussian_test(three, ks=[2, 3, 4], n_null=39, seed=0).p_value <= 0.05


def test_null_test_ignores_units_and_rotation():
    points = groups(2, 30, 4, 4.0)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    one = one_cluster_test(points, n_null=19, seed=0)
    other = one_cluster_test(points @ turn * 1e-5 + 3, n_null=19, seed=0)
    assert other.statistic == pytest.approx(one.statistic, rel=1e-6)


def test_silhouette_test_tells_groups_from_one_gaussian():
    assert silhouette_test(groups(3, 30, 6, 9.0), 3, n_null=19, seed=0).p_value == 0.05
    assert silhouette_test(np.random.default_rng(0).normal(size=(30, 6)), 3, n_null=19, seed=0).p_value > 0.05


def test_gap_at_one_cluster_is_positive_for_separate_groups_and_rule_is_that_of_the_paper():
    gaps = gap_statistic(groups(3, 45, 3, 12.0), ks=[1, 2, 3, 4], n_null=10, seed=0)
    assert gap_choice(gaps) == 3
    assert gap_choice([Gap(1, 0.5, 0.1), Gap(2, 0.55, 0.1)]) == 1
    assert gap_choice([Gap(1, 0.3, 0.1), Gap(2, 0.55, 0.1)]) is None


def test_one_long_ellipse_is_one_gaussian():
    points = np.random.default_rng(2).normal(size=(50, 4)) * [12.0, 1.0, 1.0, 1.0]
    assert one_cluster_test(points, n_null=39, seed=0).p_value > 0.1


def test_gap_and_its_error_at_one_cluster_agree_with_the_sums_of_the_paper():
    points = np.random.default_rng(0).normal(size=(20, 1))
    found = gap_statistic(points, ks=[1], n_null=5, seed=3)[0]
    scores = principal_scores(points)
    rng = stream(3, "gap", "reference")
    boxes = [rng.uniform(scores.min(), scores.max(), size=(20, 1)) for _ in range(5)]
    logs = np.log([((box - box.mean()) ** 2).sum() for box in boxes])
    assert found.value == pytest.approx(logs.mean() - np.log((scores**2).sum()))
    assert found.standard_error == pytest.approx(logs.std() * np.sqrt(1 + 1 / 5))
