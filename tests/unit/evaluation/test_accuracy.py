"""Agreement with a reference: hand sums, exhaustive matching, scikit-learn as truth."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lungtypes.errors import InputError
from lungtypes.evaluation.accuracy import (
    accuracy_interval,
    accuracy_level,
    adjusted_rand,
    matched_accuracy,
    normalised_mutual_information,
    weighted_kappa,
)


def test_accuracy_of_six_subjects_agrees_with_the_hand_sum():
    # cluster 1: a a b; cluster 2: b b a -> 1 = a, 2 = b, 4 of 6 right
    found = matched_accuracy([1, 1, 1, 2, 2, 2], ["a", "a", "b", "b", "b", "a"])
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.mapping == {1: "a", 2: "b"}
    assert (found.n, found.majority_share) == (6, 0.5)


def test_matching_agrees_with_trying_every_permutation():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, reference = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        best = max(np.mean(np.array(order)[labels] == reference) for order in permutations(range(4)))
        assert matched_accuracy(labels, reference).accuracy == pytest.approx(best)


def test_renaming_clusters_and_shuffling_subjects_change_nothing():
    rng = np.random.default_rng(1)
    labels, reference = rng.integers(0, 3, 40), rng.integers(0, 3, 40)
    order = rng.permutation(40)
    renamed = [f"c{label}" for label in labels[order]]
    assert matched_accuracy(renamed, reference[order]).accuracy == matched_accuracy(labels, reference).accuracy


def test_more_clusters_than_classes_and_the_reverse_are_matched_one_to_one():
    assert matched_accuracy([1, 2, 3, 4], ["a", "a", "b", "b"]).accuracy == 0.5
    assert matched_accuracy([1, 1, 1, 1], ["a", "a", "b", "c"]).accuracy == 0.5


def test_permuted_level_is_above_a_quarter_and_reproducible():
    rng = np.random.default_rng(2)
    labels, reference = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    one = accuracy_level(labels, reference, n_permutations=100, rng=np.random.default_rng(5))
    assert 0.25 < one.mean < one.p95 < 0.6
    assert one == accuracy_level(labels, reference, n_permutations=100, rng=np.random.default_rng(5))


def test_interval_has_the_binomial_width_around_the_estimate():
    labels = np.repeat([0, 1], 100)
    reference = labels.copy()
    reference[:20] = 1
    reference[100:120] = 0
    found = accuracy_interval(labels, reference, n_bootstrap=2000, rng=np.random.default_rng(0))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 200)
    assert found.low == pytest.approx(0.8 - half, abs=0.01)
    assert found.high == pytest.approx(0.8 + half, abs=0.01)


def test_the_same_partition_under_other_names_scores_one():
    labels, reference = [1, 1, 2, 2, 3], ["x", "x", "z", "z", "y"]
    assert normalised_mutual_information(labels, reference) == pytest.approx(1)
    assert adjusted_rand(labels, reference) == pytest.approx(1)


def test_kappa_is_that_of_scikit_learn_after_matching():
    labels, reference = [1, 1, 1, 2, 2, 2, 3, 3], [0, 0, 1, 1, 1, 2, 2, 2]
    truth = cohen_kappa_score(reference, [0, 0, 0, 1, 1, 1, 2, 2], weights="quadratic")
    assert weighted_kappa(labels, reference, order=[0, 1, 2]).value == pytest.approx(truth)


def test_kappa_of_one_cluster_is_undefined_not_zero():
    found = weighted_kappa([1, 1, 1], [0, 1, 2], order=[0, 1, 2])
    assert found.value is None and "one cluster" in found.reason


def test_missing_reference_is_refused_with_its_number():
    with pytest.raises(InputError, match=r"reference: found 1 missing"):
        matched_accuracy([1, 2], ["a", None])
