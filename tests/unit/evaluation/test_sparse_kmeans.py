"""Sparse k-means: a general optimiser as truth for the weights, planted features, R, invariances."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import adjusted_rand_score

from lungtypes.errors import InputError
from lungtypes.evaluation.sparse_kmeans import choose_bound, sparse_kmeans, sparse_weights


@pytest.fixture(scope="module")
def planted():
    """(90, 40), three groups in the first five columns."""
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1, 2], 30)
    points = rng.normal(size=(90, 40))
    points[:, :5] += np.array([-2.5, 0.0, 2.5])[truth][:, None]
    return points, truth


@pytest.mark.parametrize("bound", [1.0, 1.3, 2.0, 3.0, 5.0])
def test_weights_keep_both_limits_and_reach_the_optimum_of_slsqp(bound):
    a = np.random.default_rng(1).gamma(1.0, size=8)
    weights = sparse_weights(a, bound=bound)
    assert weights.min() >= 0
    assert weights.sum() <= bound * (1 + 1e-10)
    assert np.sqrt((weights**2).sum()) <= 1 + 1e-10
    other = minimize(
        lambda w: -w @ a,
        np.full(8, 0.1),
        jac=lambda w: -a,
        bounds=[(0, 1)] * 8,
        constraints=[
            {"type": "ineq", "fun": lambda w: 1 - w @ w},
            {"type": "ineq", "fun": lambda w: bound - w.sum()},
        ],
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert weights @ a == pytest.approx(-other.fun, rel=1e-6)


def test_a_bound_that_binds_is_met_exactly():
    a = np.random.default_rng(2).gamma(1.0, size=50)
    for bound in (1.2, 2.0, 4.0):
        assert sparse_weights(a, bound=bound).sum() == pytest.approx(bound, rel=1e-10)


def test_equal_features_share_the_bound():
    weights = sparse_weights(np.array([2.0, 2.0, 2.0, 2.0, 1.0]), bound=1.5)
    np.testing.assert_allclose(weights, [0.375, 0.375, 0.375, 0.375, 0.0])


def test_informative_features_and_groups_are_found(planted):
    points, truth = planted
    found = choose_bound(points, 3, n_init=10, n_permutations=5, seed=0)
    assert set(np.argsort(-found.fit.weights)[:5]) == set(range(5))
    assert found.fit.weights[:5].sum() > 0.8 * found.fit.weights.sum()
    assert adjusted_rand_score(truth, found.fit.labels) > 0.9
    assert found.table["chosen"].sum() == 1


@pytest.mark.parametrize("number", [0, 1])
def test_labels_and_weights_are_those_of_r_sparcl(number):
    """R stops its bisection early, so its weights pass the bound by up to 3e-5."""
    made = json.loads((Path(__file__).parents[2] / "fixtures/sparcl.json").read_text())
    there = made["fits"][number]
    here = sparse_kmeans(np.array(made["data"]), 3, bound=there["wbound"], n_init=20, seed=1)
    assert adjusted_rand_score(there["Cs"], here.labels) == 1.0
    np.testing.assert_allclose(here.weights, there["ws"], atol=5e-5)
    assert here.objective == pytest.approx(there["objective"], rel=1e-6)


def test_units_do_not_matter(planted):
    points, _ = planted
    one = sparse_kmeans(points, 3, bound=2.0, n_init=5, seed=0)
    for scale in (1e-6, 1e6):
        other = sparse_kmeans(points * scale + 7 * scale, 3, bound=2.0, n_init=5, seed=0)
        np.testing.assert_allclose(other.weights, one.weights, atol=1e-8)
        assert other.weights.sum() == pytest.approx(2.0)


def test_objective_never_falls_and_bound_is_kept(planted):
    points, _ = planted
    for bound in (1.2, 2.0, 4.0, 7.0):
        found = sparse_kmeans(points, 4, bound=bound, n_init=3, seed=1)
        assert (np.diff(found.path) >= -1e-9).all()
        assert found.weights.sum() <= bound * (1 + 1e-10)


def test_order_of_columns_and_rows_does_not_matter(planted):
    points, _ = planted
    rng = np.random.default_rng(0)
    one = sparse_kmeans(points, 3, bound=2.0, n_init=20, seed=0)
    columns = rng.permutation(points.shape[1])
    turned = sparse_kmeans(points[:, columns], 3, bound=2.0, n_init=20, seed=0)
    np.testing.assert_allclose(turned.weights, one.weights[columns], atol=1e-8)
    rows = rng.permutation(len(points))
    shuffled = sparse_kmeans(points[rows], 3, bound=2.0, n_init=20, seed=0)
    assert adjusted_rand_score(one.labels[rows], shuffled.labels) == 1


def test_constant_columns_get_no_weight(planted):
    points, _ = planted
    constant = np.hstack([points, np.full((90, 2), 1e7)])
    found = sparse_kmeans(constant, 3, bound=7.0, n_init=3, seed=0)
    assert (found.weights[-2:] == 0).all()


def test_collapsed_embedding_is_refused():
    with pytest.raises(InputError, match="collapsed"):
        sparse_kmeans(np.ones((10, 3)), 2, bound=1.5, n_init=2, seed=0)
