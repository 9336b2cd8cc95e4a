"""Cluster validity indices: hand sums and scikit-learn as truth."""

import numpy as np
import pytest
from sklearn import metrics

from lungtypes.errors import InputError
from lungtypes.evaluation.indices import calinski_harabasz, davies_bouldin, silhouette

INDICES = [silhouette, davies_bouldin, calinski_harabasz]


def test_silhouette_of_four_points_agrees_with_the_hand_sum():
    # points 0, 1 | 4, 5: a = 1; b = 4.5 for the outer, 3.5 for the inner points
    found = silhouette(np.array([[0.0], [1.0], [4.0], [5.0]]), ["a", "a", "b", "b"])
    assert found.value == pytest.approx((2 * (3.5 / 4.5) + 2 * (2.5 / 3.5)) / 4)


def test_values_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    assert silhouette(points, labels).value == pytest.approx(metrics.silhouette_score(points, labels))
    assert davies_bouldin(points, labels).value == pytest.approx(metrics.davies_bouldin_score(points, labels))
    expected = metrics.calinski_harabasz_score(points, labels)
    assert calinski_harabasz(points, labels).value == pytest.approx(expected)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("labels", [[1, 1, 1, 1], [1, 2, 3, 4]])
def test_one_cluster_and_one_subject_per_cluster_are_undefined(index, labels):
    found = index(np.random.default_rng(0).normal(size=(4, 2)), labels)
    assert found.value is None and "not defined" in found.reason


def test_coincident_centres_are_undefined_not_perfect():
    points = np.array([[-1.0], [1.0], [-2.0], [2.0]])
    assert davies_bouldin(points, [1, 1, 2, 2]).value is None


def test_points_without_scatter_have_no_calinski_harabasz():
    assert calinski_harabasz(np.array([[0.0], [0.0], [1.0], [1.0]]), [1, 1, 2, 2]).value is None


def test_infinite_embedding_is_refused():
    with pytest.raises(InputError, match="NaN or infinite"):
        silhouette(np.array([[0.0], [np.inf], [1.0]]), [1, 1, 2])
