"""Ordinary least squares with the quantities that the association tables print.

HC3: MacKinnon & White, J Econometrics 1985; Long & Ervin, Am Stat 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class LeastSquares:
    """A fitted linear model.

    Attributes
    ----------
    beta : (p,) coefficients.
    sse : sum of squared residuals.
    n, p : subjects and columns, intercept included.
    adj_r2 : adjusted R2, at most 1, may be negative.
    aic : Gaussian log-likelihood, p parameters (as statsmodels counts).
    covariance_hc3 : (p, p) of beta; not finite where a leverage is 1.
    covariance_classical : (p, p) of beta, one variance for all subjects.
    leverage : (n,) 0-1.
    residuals : (n,).
    """

    beta: NDArray
    sse: float
    n: int
    p: int
    adj_r2: float
    aic: float
    covariance_hc3: NDArray
    covariance_classical: NDArray
    leverage: NDArray
    residuals: NDArray


@dataclass(frozen=True)
class FTest:
    """An F statistic with its degrees of freedom and p value."""

    f: float
    df_num: int
    df_den: int
    p_value: float


def least_squares(matrix: NDArray, y: NDArray) -> LeastSquares:
    """Fits y (n,) on a matrix (n, p) of full rank, intercept first, n > p."""
    n, p = matrix.shape
    q, r = np.linalg.qr(matrix)
    beta = np.linalg.solve(r, q.T @ y)
    residuals = y - matrix @ beta
    leverage = np.minimum((q**2).sum(axis=1), 1.0)
    sse, sst = float(residuals @ residuals), float(((y - y.mean()) ** 2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.linalg.solve(r, q.T) * (residuals / (1 - leverage))  # (p, n)
        aic = n * (np.log(2 * np.pi * sse / n) + 1) + 2 * p
    adj_r2 = 1 - (sse / (n - p)) / (sst / (n - 1))
    root = np.linalg.inv(r)
    classical = root @ root.T * (sse / (n - p))
    return LeastSquares(beta, sse, n, p, float(adj_r2), float(aic), half @ half.T, classical, leverage, residuals)


def wald_hc3(fit: LeastSquares, columns: Sequence[int]) -> FTest:
    """Joint test that the coefficients of ``columns`` are 0, HC3 covariance, F reference."""
    chosen = np.array(columns, dtype=np.int64)
    f = wald(fit.beta[chosen], fit.covariance_hc3[np.ix_(chosen, chosen)]) / len(chosen)
    return FTest(f, len(chosen), fit.n - fit.p, float(stats.f.sf(f, len(chosen), fit.n - fit.p)))


def wald(coefficients: NDArray, covariance: NDArray) -> float:
    """The Wald statistic of (k,) coefficients with their covariance (k, k)."""
    return float(coefficients @ np.linalg.solve(covariance, coefficients))


def nested_f(small: LeastSquares, large: LeastSquares) -> FTest:
    """Classical F test of two nested models on the same rows."""
    df_num, df_den = large.p - small.p, large.n - large.p
    f = ((small.sse - large.sse) / df_num) / (large.sse / df_den)
    return FTest(float(f), df_num, df_den, float(stats.f.sf(f, df_num, df_den)))


def resampled_adj_r2(matrix: NDArray, y: NDArray, counts: NDArray) -> NDArray:
    """Adjusted R2 in resamples, without refitting one by one.

    Parameters
    ----------
    matrix, y : (n, p) and (n,), as in :func:`least_squares`.
    counts : (B, n) how often each subject was drawn.

    Returns
    -------
    (B,) : NaN where the resampled outcome is constant. A column that vanishes costs no df.
    """
    rest = matrix[:, 1:] - matrix[:, 1:].mean(axis=0)
    rest = rest / np.maximum(np.sqrt((rest**2).mean(axis=0)), 1e-300)
    x = np.hstack([matrix[:, :1], rest])  # same column space, well scaled
    centred = y - y.mean()
    p = x.shape[1]
    i, j = np.triu_indices(p)
    gram = np.empty((len(counts), p, p))
    gram[:, i, j] = gram[:, j, i] = counts @ (x[:, i] * x[:, j])
    moment = counts @ (x * centred[:, None])  # (B, p)
    squares = counts @ centred**2
    drawn = counts.sum(axis=1)
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-9 * values[:, -1:]
    projected = np.einsum("bij,bi->bj", vectors, moment)
    explained = (np.where(kept, projected**2 / np.where(kept, values, 1.0), 0.0)).sum(axis=1)
    sse = np.maximum(squares - explained, 0.0)
    sst = squares - (counts @ centred) ** 2 / drawn
    df = drawn - kept.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        adjusted = 1 - (sse / df) / (sst / (drawn - 1))
    return np.where((df > 0) & (sst > 1e-12 * np.maximum(squares, 1e-300)), adjusted, np.nan)


def shifted_interval(draws: NDArray, estimate: float) -> tuple[float, float]:
    """95 % percentile interval, shifted so that the draws' mean meets the estimate.

    Resampling with replacement lifts R2 more for models with more columns, even adjusted R2;
    unshifted percentiles would favour the classification with more levels.
    """
    usable = draws[np.isfinite(draws)]
    if len(usable) < 20:
        return float("nan"), float("nan")
    low, high = np.percentile(usable - (usable.mean() - estimate), [2.5, 97.5])
    return float(low), float(high)


def stratified_counts(strata: NDArray, n_bootstrap: int, rng: np.random.Generator) -> NDArray:
    """(n_bootstrap, n) draws of each subject, resampled within each stratum."""
    counts = np.zeros((n_bootstrap, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        share = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), share, size=n_bootstrap)
    return counts
