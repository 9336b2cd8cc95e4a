"""Standardised effects with intervals, and the smallest effect that a study of this size would have found.

Hedges & Olkin 1985 (g); Cohen 1988 (f2); Steiger, Psychol Methods 2004 (intervals by noncentral distributions);
Whitehead, Stat Med 1993, and Hsieh et al., Stat Med 1998 (precision of ordinal and binary outcomes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from lungtypes.association.joint_tests import JointTest
from lungtypes.association.logistic import firth_interval, firth_test
from lungtypes.association.models import OutcomeFits
from lungtypes.association.single_model import Model

POWER = 0.80
ALPHA = 0.05
HIGHEST = 1e5  # noncentrality beyond which the search stops
NAN = float("nan")


@dataclass(frozen=True)
class Effect:
    """A standardised effect: name, value, 95 % limits, and the smallest one found with 80 % power at 5 %."""

    name: str
    value: float
    ci_low: float
    ci_high: float
    minimum_detectable: float


@dataclass(frozen=True)
class Difference:
    """A combination of coefficients with its 95 % limits and p value, on the scale of the coefficients."""

    value: float
    ci_low: float
    ci_high: float
    p_value: float
    error: float


def outcome_effect(fits: OutcomeFits, test: JointTest, classical: JointTest) -> Effect:
    """The effect of the predictor in the adjusted model.

    Two clusters, linear: "Hedges g", the adjusted difference (higher less lower number) in residual SDs. More clusters:
    "Cohen f2". Phenotype: "standardised slope", residual SDs of the outcome per SD of the phenotype. Binary: "odds
    ratio", ordinal: "common odds ratio", of two clusters or per SD. Else "Cramer V" from the likelihood ratio.
    """
    model = fits.get("adjusted")
    pair = fits.predictor.kind == "phenotype" or len(np.unique(fits.rows.predictor)) == 2
    name = _name(model.kind, pair, fits.predictor.kind)
    detectable = _detectable(fits, model, name)
    if name in ("Hedges g", "standardised slope"):
        found = difference(model, _direction(fits, model), fits.rows.y)
        return Effect(name, *standardised(model, found), detectable)
    if name == "Cohen f2":
        df = classical.df_num + classical.df_den + 1
        low, high = _noncentral_limits(
            lambda shift: stats.ncf.sf(classical.statistic, classical.df_num, classical.df_den, shift)
        )
        value = classical.statistic * classical.df_num / classical.df_den
        return Effect(name, value, low / df, high / df, detectable)
    if name == "Cramer V":
        low, high = _noncentral_limits(lambda shift: stats.ncx2.sf(test.statistic, test.df_num, shift))
        size = fits.rows.n * _cramer_factor(fits)
        return Effect(name, *(float(np.sqrt(v / size)) for v in (test.statistic, low, high)), detectable)
    found = difference(model, _direction(fits, model), fits.rows.y)
    return Effect(name, *(float(np.exp(v)) for v in (found.value, found.ci_low, found.ci_high)), detectable)


def difference(model: Model, direction: NDArray, codes: NDArray) -> Difference:
    """The combination ``direction`` (p,) of the coefficients of the matrix's columns.

    Linear: Student's t. Likelihood models: normal. Firth's form: profile penalised likelihood, after the columns were
    recombined so that the wanted combination is one coefficient.
    """
    columns = np.flatnonzero(direction)
    if model.kind == "firth":
        matrix, column = _recombined(model.matrix, direction)
        value = float(direction @ model.parameters)
        low, high = firth_interval(matrix, codes, column)
        error = float(np.sqrt(direction @ model.covariance @ direction))
        return Difference(value, low, high, firth_test(matrix, codes, [column])[1], error)
    places = model.places(columns)
    weights = direction[columns]
    value = float(weights @ model.parameters[places])
    error = float(np.sqrt(weights @ model.covariance[np.ix_(places, places)] @ weights))
    if model.kind == "linear":
        width, p = stats.t.ppf(0.975, model.residual_df), 2 * stats.t.sf(abs(value) / error, model.residual_df)
    else:
        width, p = stats.norm.ppf(0.975), 2 * stats.norm.sf(abs(value) / error)
    return Difference(value, value - width * error, value + width * error, float(p), error)


def standardised(model: Model, found: Difference) -> tuple[float, float, float]:
    """A difference of a linear model in residual SDs, with the correction for few subjects, and its 95 % limits."""
    df = model.residual_df
    sd = float(np.sqrt(model.fit.sse / df))
    correction = 1 - 3 / (4 * df - 1)
    value, error = found.value / sd, found.error / sd
    width = float(stats.t.ppf(0.975, df)) * float(np.sqrt(error**2 + value**2 / (2 * df)))
    return correction * value, correction * (value - width), correction * (value + width)


def pair_direction(fits: OutcomeFits, model: Model, high: int, low: int) -> NDArray:
    """(p,) what cluster ``high`` has and cluster ``low`` has not, among the columns of the matrix."""
    direction = np.zeros(model.matrix.shape[1])
    chosen = list(model.predictor_columns)
    for cluster, sign in ((high, 1.0), (low, -1.0)):
        first = int(np.flatnonzero(fits.rows.predictor == cluster)[0])
        direction[chosen] += sign * model.matrix[first, chosen]
    return direction


def detectable_difference(n_first: int, n_second: int, residual_df: int) -> float:
    """Smallest difference of two groups in residual SDs that a two-sided t test finds (80 % power, 5 %)."""
    return _detectable_t(np.sqrt(n_first * n_second / (n_first + n_second)), residual_df)


def _direction(fits: OutcomeFits, model: Model) -> NDArray:
    if fits.predictor.kind == "phenotype":
        direction = np.zeros(model.matrix.shape[1])
        direction[list(model.predictor_columns)] = 1.0
        return direction
    low, high = np.unique(fits.rows.predictor)
    return pair_direction(fits, model, high, low)


def _name(kind: str, pair: bool, predictor: str) -> str:
    if kind == "linear":
        return "standardised slope" if predictor == "phenotype" else "Hedges g" if pair else "Cohen f2"
    if not pair or kind == "multinomial":
        return "Cramer V"
    return "common odds ratio" if kind == "proportional odds" else "odds ratio"


def _detectable(fits: OutcomeFits, model: Model, name: str) -> float:
    n, df = fits.rows.n, model.residual_df
    phenotype = fits.predictor.kind == "phenotype"
    sizes = [n, n] if phenotype else np.unique(fits.rows.predictor, return_counts=True)[1]
    if name == "standardised slope":
        return _detectable_t(np.sqrt(n - 1), df)
    if name == "Hedges g":
        return detectable_difference(int(sizes[0]), int(sizes[1]), df)
    k = len(model.places(model.predictor_columns))
    if name == "Cohen f2":
        critical = stats.f.isf(ALPHA, k, df)
        shift = _shift_for_power(lambda s: stats.ncf.sf(critical, k, df, s))
        return shift / (k + df + 1)
    if name == "Cramer V":
        critical = stats.chi2.isf(ALPHA, k)
        shift = _shift_for_power(lambda s: stats.ncx2.sf(critical, k, s))
        return float(np.sqrt(shift / (n * _cramer_factor(fits))))
    shares = np.bincount(fits.rows.y.astype(np.int64)) / n
    spread = 1.0 if phenotype else float(sizes[0] * sizes[1]) / n**2
    information = n * spread * (1 - float((shares**3).sum())) / 3  # of two levels: n spread p (1 - p)
    z = stats.norm.isf(ALPHA / 2) + stats.norm.ppf(POWER)
    return float(np.exp(z / np.sqrt(information)))


def _cramer_factor(fits: OutcomeFits) -> int:
    if fits.predictor.kind == "phenotype":
        return 1
    return min(len(np.unique(fits.rows.predictor)), len(fits.rows.levels)) - 1


def _detectable_t(scale: float, df: int) -> float:
    critical = stats.t.isf(ALPHA / 2, df)

    def power(shift: float) -> float:
        return float(stats.nct.sf(critical, df, shift))

    shift = _shift_for_power(power, highest=100.0)
    return float(shift / scale)


def _shift_for_power(power: Callable[[float], float], highest: float = HIGHEST) -> float:
    return float(optimize.brentq(lambda shift: power(shift) - POWER, 1e-9, _bracket(power, POWER, highest)))


def _noncentral_limits(upper_tail: Callable[[float], float]) -> tuple[float, float]:
    """95 % limits of a noncentrality, from the upper tail of the statistic as a function of it."""
    limits = []
    for tail in (0.025, 0.975):
        if upper_tail(1e-9) >= tail:
            limits.append(0.0)
            continue
        high = _bracket(upper_tail, tail, HIGHEST)
        limits.append(float(optimize.brentq(lambda s, tail=tail: upper_tail(s) - tail, 1e-9, high)))
    return limits[0], limits[1]


def _bracket(rising: Callable[[float], float], target: float, highest: float) -> float:
    end = 1.0
    while end < highest and rising(end) < target:
        end *= 2
    return end


def _recombined(matrix: NDArray, direction: NDArray) -> tuple[NDArray, int]:
    """The same model in columns of which one has ``direction`` @ beta as its coefficient, and which one."""
    column = int(np.flatnonzero(direction)[0])
    change = np.eye(matrix.shape[1])
    change[column] = direction  # new coefficients = change @ beta
    return matrix @ np.linalg.inv(change), column
