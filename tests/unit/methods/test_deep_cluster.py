"""DeepCluster's steps between epochs against scikit-learn and hand sums."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize

from lungtypes.methods.deep_cluster import (
    balanced_indices,
    cluster_sizes,
    compare_labels,
    fit_reduction,
    kmeans_reseeded,
)


@pytest.mark.parametrize("whiten", [False, True])
def test_reduction_is_that_of_scikit_learn_up_to_signs(whiten):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8)) + 3
    found = fit_reduction(features, components=5, whiten=whiten)(features)
    scaled = StandardScaler().fit_transform(features)
    truth = normalize(PCA(n_components=5, whiten=whiten, svd_solver="full").fit_transform(scaled))
    np.testing.assert_allclose(np.abs(found), np.abs(truth), atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)


def test_fewer_scans_than_features_and_constant_features():
    features = np.random.default_rng(0).normal(size=(6, 20))
    features[:, 3] = 7.0
    reduction = fit_reduction(features, components=32, whiten=True)
    assert reduction.components.shape == (5, 20)  # n - 1
    assert np.isfinite(reduction(features)).all()
    np.testing.assert_allclose(reduction.components[:, 3], 0, atol=1e-12)


def test_signs_do_not_depend_on_the_order_of_the_scans():
    features = np.random.default_rng(1).normal(size=(40, 6))
    one = fit_reduction(features, components=4, whiten=False)
    two = fit_reduction(features[::-1], components=4, whiten=False)
    np.testing.assert_allclose(one.components, two.components, atol=1e-10)


@pytest.mark.parametrize("distinct", [1, 2, 40])
def test_no_cluster_is_left_empty(distinct):
    points = np.repeat(np.random.default_rng(0).normal(size=(distinct, 3)), 40 // distinct, axis=0)
    found = kmeans_reseeded(points, 4, n_init=3, seed=0)
    assert np.bincount(found.labels, minlength=4).min() > 0


def test_every_label_is_drawn_alike_often():
    labels = np.repeat([0, 2, 5], [90, 8, 2])  # 1, 3 and 4 are not used
    picks = balanced_indices(labels, 99, np.random.default_rng(0))
    assert np.bincount(labels[picks]).tolist() == [33, 0, 33, 0, 0, 33]
    drawn_once = picks[labels[picks] == 0]
    assert len(set(drawn_once.tolist())) == 33  # a large cluster without replacement


def test_renumbered_labels_have_not_changed():
    before, after = np.array([0, 0, 1, 1, 2, 2]), np.array([2, 2, 0, 0, 1, 1])
    assert compare_labels(before, after, 3) == {"labels_changed": 0.0, "nmi_previous": pytest.approx(1.0)}
    after[0] = 0
    assert compare_labels(before, after, 3)["labels_changed"] == pytest.approx(1 / 6)


def test_sizes():
    assert cluster_sizes(np.array([0, 0, 1, 1]), 2)["size_entropy"] == pytest.approx(1.0)
    found = cluster_sizes(np.array([0, 0, 0, 1]), 3)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) / np.log(3)
    assert found == {"size_entropy": pytest.approx(entropy), "largest_share": 0.75, "n_clusters_used": 2}
