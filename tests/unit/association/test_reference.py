"""Fits against numbers that R (or NIST, or Stata) computed and others published; R is not run here.

tests/fixtures/reference_models.json says for each set with which call it was made and where it was published. The
tolerance is 1e-6, or the digits that were printed where those are fewer, and each comparison says so.
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from statsmodels.datasets import anes96, longley

from lungtypes.association.least_squares import least_squares, nested_f, wald_hc3
from lungtypes.association.logistic import firth, firth_interval, firth_test
from lungtypes.association.ordinal import multinomial, proportional_odds

REFERENCE = json.loads((Path(__file__).parents[2] / "fixtures/reference_models.json").read_text())
EXACT = 1e-6


def rows_of(name):
    return np.array(REFERENCE[name]["rows"], dtype=float)


@pytest.fixture(scope="module")
def kidney():
    """Sum-coded two-way layout: matrix, log outcome, columns of each term."""
    reference = REFERENCE["hc3_joint_f"]
    days, duration, weight = np.delete(rows_of("hc3_joint_f"), reference["dropped"], axis=0).T
    d = np.where(duration == 1, 1.0, -1.0)
    w = np.column_stack([(weight == level) * 1.0 - (weight == 3) for level in (1, 2)])
    matrix = np.column_stack([np.ones(len(d)), d, w, d[:, None] * w])
    return matrix, np.log(days + 1), {"duration": [1], "weight": [2, 3], "duration:weight": [4, 5]}


def test_hc3_wald_f_is_that_of_r_car(kidney):
    matrix, y, terms = kidney
    fit = least_squares(matrix, y)
    for term, expected in REFERENCE["hc3_joint_f"]["tests"].items():
        found = wald_hc3(fit, terms[term])
        assert (found.df_num, found.df_den) == (expected["df"], REFERENCE["hc3_joint_f"]["residual_df"])
        assert found.f == pytest.approx(expected["f"], rel=EXACT)
        assert found.p_value == pytest.approx(expected["p"], rel=EXACT)


def test_classical_f_is_that_of_r_car(kidney):
    matrix, y, terms = kidney
    full = least_squares(matrix, y)
    for term, expected in REFERENCE["classical_f"]["tests"].items():
        found = nested_f(least_squares(np.delete(matrix, terms[term], axis=1), y), full)
        assert found.f == pytest.approx(expected["f"], rel=EXACT)
        assert found.p_value == pytest.approx(expected["p"], rel=EXACT)


def test_longley_is_as_certified_by_nist():
    data, expected = longley.load(), REFERENCE["longley"]
    matrix = np.column_stack([np.ones(16), data.exog.to_numpy()])
    fit = least_squares(matrix, data.endog.to_numpy())
    last = [*range(1, 7), 0]
    np.testing.assert_allclose(fit.beta[last], expected["beta_intercept_last"], rtol=EXACT)
    errors = np.sqrt(np.diag(fit.covariance_classical))[last]
    np.testing.assert_allclose(errors, expected["se_intercept_last"], rtol=EXACT)
    robust = np.sqrt(np.diag(fit.covariance_hc3))[last]
    np.testing.assert_allclose(robust, expected["hc3_se_intercept_last"], rtol=1e-4)  # five digits printed
    assert fit.sse == pytest.approx(expected["sse"], rel=EXACT)
    assert fit.adj_r2 == pytest.approx(expected["adj_r2"], abs=5e-9)
    assert fit.aic == pytest.approx(expected["aic"], abs=5e-5)


def test_proportional_odds_of_mass_housing_are_those_of_r_clm():
    expected = REFERENCE["housing"]
    cells = np.array(list(product(range(2), range(4), range(3), range(3))))
    contact, kind, influence, codes = np.repeat(cells, expected["counts"], axis=0).T
    dummies = [influence == 1, influence == 2, kind == 1, kind == 2, kind == 3, contact == 1]
    fit = proportional_odds(np.column_stack([np.ones(len(codes)), *dummies]).astype(float), codes)
    errors = np.sqrt(np.diag(fit.covariance))
    assert fit.converged
    np.testing.assert_allclose(fit.parameters[2:], expected["slopes"], rtol=EXACT)
    np.testing.assert_allclose(fit.parameters[:2], expected["thresholds"], rtol=EXACT)
    np.testing.assert_allclose(errors[2:], expected["se_slopes"], rtol=EXACT)
    np.testing.assert_allclose(errors[:2], expected["se_thresholds"], rtol=EXACT)
    found = (fit.loglik, fit.null_loglik, fit.aic)
    np.testing.assert_allclose(found, [expected[key] for key in ("loglik", "null_loglik", "aic")], rtol=1e-9)


def test_proportional_odds_of_five_levels_are_those_of_r_clm():
    expected = REFERENCE["wine"]
    codes = np.array(expected["rating"]) - 1
    matrix = np.column_stack([np.ones(72), np.tile(expected["warm"], 9), np.tile(expected["contact"], 9)])
    fit = proportional_odds(matrix, codes)
    np.testing.assert_allclose(fit.parameters, [*expected["thresholds"], *expected["slopes"]], rtol=EXACT)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance))[4:], expected["se_slopes"], rtol=EXACT)
    assert fit.loglik == pytest.approx(expected["loglik"], rel=1e-9)


def test_multinomial_is_that_of_stata_and_r_nnet():
    data, expected = anes96.load(), REFERENCE["multinomial"]
    matrix = np.column_stack([np.ones(len(data.endog)), data.exog.to_numpy()])
    fit = multinomial(matrix, data.endog.to_numpy().astype(int))
    assert fit.loglik == pytest.approx(expected["loglik"], rel=EXACT)
    assert fit.null_loglik == pytest.approx(expected["null_loglik"], rel=EXACT)
    last = [1, 2, 3, 4, 5, 0]
    np.testing.assert_allclose(fit.parameters[:6][last], expected["level_1_intercept_last"], rtol=EXACT, atol=1e-8)
    errors = np.sqrt(np.diag(fit.covariance))[:6][last]
    np.testing.assert_allclose(errors, expected["level_1_se_intercept_last"], rtol=EXACT)


def test_firth_coefficients_limits_and_tests_are_those_of_r_logistf():
    expected, table = REFERENCE["logistf_sex2"], rows_of("logistf_sex2").astype(int)
    data = np.repeat(table[:, :-1], table[:, -1], axis=0)
    matrix, codes = np.column_stack([np.ones(len(data)), data[:, 1:]]), data[:, 0]
    assert (len(codes), codes.sum()) == (239, 130)
    fit = firth(matrix, codes)
    assert fit.converged
    np.testing.assert_allclose(fit.beta, expected["beta"], rtol=EXACT)
    for column in range(1, 7):
        limits = firth_interval(matrix, codes, column)
        np.testing.assert_allclose(limits, expected["limits"][column], rtol=EXACT)
        statistic, _ = firth_test(matrix, codes, [column])
        assert statistic == pytest.approx(expected["chi2"][column], abs=0.005)  # two decimals printed


def test_firth_stays_finite_where_the_data_are_separated():
    expected, data = REFERENCE["logistf_endometrial"], rows_of("logistf_endometrial")
    matrix, codes = np.column_stack([np.ones(len(data)), data[:, :3]]), data[:, 3].astype(int)
    assert (codes[data[:, 0] == 1] == 1).all()  # nv: events only
    np.testing.assert_allclose(firth(matrix, codes).beta, expected["beta"], rtol=EXACT)
    np.testing.assert_allclose(firth_interval(matrix, codes, 1), expected["limits"][1], rtol=EXACT)
