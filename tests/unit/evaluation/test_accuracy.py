"""Agreement with a reference: hand sums, exhaustive matching, published intervals, scikit-learn as truth."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score, normalized_mutual_info_score

from lungtypes.errors import InputError
from lungtypes.evaluation.accuracy import (
    accuracy_interval,
    accuracy_level,
    adjusted_mutual_information,
    adjusted_rand,
    matched_accuracy,
    normalised_mutual_information,
    weighted_kappa,
)
from lungtypes.evaluation.agreement import CONFUSION_COLUMNS, NO_WIDTH, agreement_rows, confusion_table
from lungtypes.evaluation.agreement_bootstrap import (
    ari_of_tables,
    bootstrap_intervals,
    kappa_of_tables,
    nmi_of_tables,
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


@pytest.mark.parametrize(("offset", "significant"), [(0, True), (None, False)])
def test_permutation_p_is_smallest_for_perfect_labels_and_large_for_unrelated_ones(offset, significant):
    rng = np.random.default_rng(3)
    reference = np.repeat([0, 1, 2], 20)
    labels = (reference + 1) % 3 if offset == 0 else rng.permutation(reference)
    level = accuracy_level(labels, reference, n_permutations=199, rng=np.random.default_rng(0))
    assert (level.p_value == 1 / 200) == significant
    assert significant or level.p_value > 0.05


def test_one_cluster_is_as_accurate_as_each_of_its_permutations():
    level = accuracy_level([1] * 9, [0, 1, 2] * 3, n_permutations=20, rng=np.random.default_rng(0))
    assert (level.mean, level.p95, level.p_value) == pytest.approx((1 / 3, 1 / 3, 1))


# Newcombe, Stat Med 1998, table I, method 3 (score interval without continuity correction)
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (20, 20, 1 - 0.1611, 1.0), (28, 29, 1 - 0.1718, 1 - 0.0061)],
)
def test_interval_is_the_score_interval_of_the_literature_and_has_a_width_at_100_percent(hits, n, low, high):
    reference = ["a"] * hits + [f"other {i}" for i in range(n - hits)]
    found = accuracy_interval(["the one cluster"] * n, reference)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_the_same_partition_under_other_names_scores_one():
    labels, reference = [1, 1, 2, 2, 3], ["x", "x", "z", "z", "y"]
    assert normalised_mutual_information(labels, reference) == pytest.approx(1)
    assert adjusted_mutual_information(labels, reference) == pytest.approx(1)
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


def test_indices_of_tables_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    for _ in range(20):
        labels, reference = rng.integers(0, 4, 50), rng.integers(0, 3, 50)
        table = np.zeros((1, 4, 3))
        np.add.at(table[0], (labels, reference), 1)
        guesses = [0, 2, 1, 1]
        kappa = cohen_kappa_score(reference, np.array(guesses)[labels], labels=[0, 1, 2], weights="quadratic")
        assert ari_of_tables(table)[0] == pytest.approx(adjusted_rand_score(reference, labels))
        assert nmi_of_tables(table)[0] == pytest.approx(normalized_mutual_info_score(reference, labels))
        assert kappa_of_tables(table, guesses, [0, 1, 2])[0] == pytest.approx(kappa)


def test_bootstrap_interval_of_the_ari_covers_that_of_the_population():
    rng, cells = np.random.default_rng(5), np.array([[0.4, 0.1], [0.1, 0.4]])
    # ARI of an endless sample: pairs (shares squared) together against those expected from margins of one half
    truth = ((cells**2).sum() - 0.25) / (0.5 - 0.25)
    inside = 0
    for i in range(60):
        flat = rng.choice(4, size=100, p=cells.ravel())
        limits = bootstrap_intervals(flat // 2, flat % 2, order=None, n_bootstrap=200, rng=np.random.default_rng(i))[
            "ari"
        ]
        inside += limits.low <= truth <= limits.high
    assert inside >= 51  # 95 % of 60 is 57; fewer than 51 has probability below 0.1 %


def rows_of(reference, clusters, **more):
    names = [f"S{i}" for i in range(len(clusters))]
    rows = agreement_rows(
        pd.Index(names),
        np.array(clusters),
        pd.Series(reference, index=names),
        **({"name": "readers", "n_permutations": 99, "n_bootstrap": 99, "seed": 1} | more),
    )
    return {row["metric"]: row for row in rows}


def test_perfect_labels_under_other_ids_score_one_with_a_wilson_interval_and_no_bootstrap_interval():
    rows = rows_of(["x"] * 12 + ["y"] * 10 + ["z"] * 10, [3] * 12 + [1] * 10 + [2] * 10)
    assert [rows[name]["value"] for name in ("accuracy", "nmi", "ami", "ari")] == pytest.approx([1] * 4)
    # by hand: n / (n + z^2)
    assert rows["accuracy"]["ci_low"] == pytest.approx(32 / (32 + 1.959964**2)) and rows["accuracy"]["ci_high"] == 1
    assert np.isnan(rows["ari"]["ci_low"]) and NO_WIDTH in rows["ari"]["note"]
    assert rows["accuracy_p"]["value"] == 0.01


def test_kappa_of_an_ordered_reference_has_an_interval_around_it():
    rng = np.random.default_rng(6)
    grades = rng.integers(0, 3, 80)
    clusters = np.where(rng.random(80) < 0.7, grades, rng.integers(0, 3, 80)) + 1
    row = rows_of(pd.Categorical(grades, categories=[0, 1, 2], ordered=True), clusters)["weighted_kappa"]
    assert 0 < row["ci_low"] < row["value"] < row["ci_high"] < 1


def test_confusion_counts_every_pair_and_is_empty_without_a_reference():
    table = confusion_table(["a", "b", "c", "d"], [1, 1, 2, 2], pd.Series({"a": "x", "b": "y", "c": "y"}))
    assert table.to_numpy().tolist() == [[1, "x", 1], [1, "y", 1], [2, "x", 0], [2, "y", 1]]
    assert list(confusion_table(["a"], [1], None)) == CONFUSION_COLUMNS == list(table)
