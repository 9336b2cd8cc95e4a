"""Prediction strength, consensus and refits against planted truth and hand sums."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from lungtypes.errors import InputError
from lungtypes.evaluation.consensus import ambiguous_share, consensus_matrix, consensus_test
from lungtypes.evaluation.null_test import gaussians, principal_scores
from lungtypes.evaluation.prediction_strength import _worst_cluster, prediction_strength, strongest_k
from lungtypes.evaluation.refits import assignment_entropy, pairwise_ari, refit_rows


def groups(k, n, distance, seed=0, dimensions=8):
    """n points in k Gaussians whose centres lie ``distance`` along an axis each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    return rng.standard_normal((n, dimensions)) + distance * np.eye(k, dimensions)[labels], labels


@pytest.mark.parametrize("seed", range(5))
def test_prediction_strength_chooses_one_for_a_single_gaussian(seed):
    points = np.random.default_rng(seed).standard_normal((120, 6))
    assert strongest_k(prediction_strength(points, ks=[1, 2, 3], n_splits=10, seed=seed)) == 1


@pytest.mark.parametrize("k", [2, 3, 4])
def test_prediction_strength_finds_the_number_of_distant_groups(k):
    points, _ = groups(k, 160, distance=12)
    found = prediction_strength(points, ks=[1, 2, 3, 4, 5], n_splits=10, seed=1)
    assert strongest_k(found) == k
    assert found[k - 1].value == pytest.approx(1, abs=0.02)


def test_strength_of_a_split_is_the_share_of_kept_pairs_of_the_worst_cluster():
    # cluster 0: four points, three nearer to one centre: 3 of 6 pairs stay; cluster 1: 2 points, 1 of 1
    test = np.array([[0.0], [0.1], [0.2], [9.0], [10.0], [10.1]])
    assert _worst_cluster(test, np.array([0, 0, 0, 0, 1, 1]), np.array([[0.0], [10.0]])) == pytest.approx(3 / 6)
    assert _worst_cluster(test, np.array([0, 0, 0, 1, 1, 1]), np.array([[0.0], [10.0]])) == 1


def test_more_clusters_than_a_half_holds_have_a_reason():
    one, many = prediction_strength(np.eye(8), ks=[1, 4], n_splits=2, seed=0)
    assert one.value == 1 and many.value is None and "4 scans in a half" in many.reason


def test_distant_groups_leave_no_ambiguous_pair_and_one_gaussian_is_like_its_null():
    points, labels = groups(3, 90, distance=15)
    found = consensus_test(points, 3, n_resamples=30, n_null=19, seed=0)
    assert found.pac == pytest.approx(0, abs=0.01) and found.p_value == 0.05 and found.null_mean > 0.2
    cloud = np.random.default_rng(1).standard_normal((90, 8))
    single = consensus_test(cloud, 3, n_resamples=30, n_null=19, seed=0)
    assert single.pac > 0.2 and single.p_value > 0.05


def test_pac_of_a_consensus_of_zeros_and_ones_is_zero_and_of_a_hand_made_one_its_count():
    drawn = np.full((4, 4), 10.0)
    together = np.kron(np.eye(2), np.full((2, 2), 10.0))
    assert ambiguous_share(together, drawn) == 0
    together[0, 2] = together[2, 0] = 5  # one of six pairs
    together[1, 3] = together[3, 1] = 1  # exactly 0.1 is not ambiguous
    assert ambiguous_share(together, drawn) == pytest.approx(1 / 6)


def test_consensus_counts_pairs_of_each_subsample():
    points, labels = groups(2, 20, distance=30)
    together, drawn = consensus_matrix(points, 2, n_resamples=25, seed=0)
    assert np.diag(drawn).sum() == 25 * 16 and (together == together.T).all()
    same = labels[:, None] == labels
    assert (together[same] == drawn[same]).all() and (together[~same] == 0).all()


def test_null_draws_have_the_covariance_of_the_data():
    points, _ = groups(2, 200, distance=6)
    scores = principal_scores(points)
    drawn = np.concatenate(gaussians(scores, 50, seed=0))
    assert np.cov(drawn.T) == pytest.approx(np.cov(scores.T), abs=0.05 * np.cov(scores.T).max())


def test_consensus_of_one_cluster_is_not_defined():
    assert consensus_test(np.eye(9), 1, n_resamples=2, n_null=1, seed=0).reason == "not defined for one cluster"


def refit(clusters, names="abcdefgh"):
    return pd.DataFrame({"subject": list(names), "cluster": clusters})


MAIN = [1, 1, 1, 1, 2, 2, 2, 2]


def rows_of(refits):
    rows = refit_rows(pd.Index(list("abcdefgh")), np.array(MAIN), refits)
    table = pd.DataFrame(rows)
    return table, table.groupby("metric", sort=False)["value"].first()


def test_refits_with_renamed_clusters_and_other_row_order_agree_fully():
    table, first = rows_of([refit([2, 2, 2, 2, 1, 1, 1, 1]), refit(MAIN).iloc[::-1]])
    assert (first["refit_ari_mean"], first["refit_entropy"], first["refit_unsure"]) == (1, 0, 0)
    assert first["refit_medoid"] == 0 and (table["metric"] == "refit_ari").sum() == 2


def test_one_scan_that_moves_in_one_of_two_refits_has_the_entropy_of_one_in_three():
    _, first = rows_of([refit(MAIN), refit([1, 1, 1, 2, 2, 2, 2, 2])])
    assert first["refit_entropy"] == pytest.approx(entropy([2 / 3, 1 / 3], base=2) / 8)
    assert first["refit_unsure"] == 1


def test_medoid_is_the_fit_that_the_others_agree_with():
    other = [1, 2, 1, 2, 1, 2, 1, 2]
    table, first = rows_of([refit(other), refit(other), refit(other)])
    assert first["refit_medoid"] == 1
    assert "refit 1" in table.loc[table["metric"] == "refit_medoid", "note"].iloc[0]


def test_refit_with_more_clusters_keeps_the_leftover_as_its_own():
    labels = np.array([MAIN, [1, 1, 3, 3, 2, 2, 2, 2]])
    found = assignment_entropy(labels)
    assert found[2:4].tolist() == [1, 1] or found[:2].tolist() == [1, 1]
    assert found.sum() == 2
    assert pairwise_ari(labels)[0, 1] < 1


def test_refit_of_another_cohort_is_refused():
    with pytest.raises(InputError, match="refit 2: found no row for h"):
        rows_of([refit(MAIN), refit(MAIN[:7], "abcdefg")])
