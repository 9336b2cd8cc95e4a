"""Completed copies of a matrix with missing values, by chained equations with proper Bayesian draws.

Chained equations: van Buuren & Groothuis-Oudshoorn, J Stat Softw 45(3), 2011, run by scikit-learn's IterativeImputer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer

from lungtypes.randomness import derive_seed

CYCLES = 10
RIDGE = 1e-5  # of the diagonal, as mice has it: dummies of a category may add up to a constant


def completed(matrix: NDArray, *, m: int, seed: int) -> Iterator[NDArray]:
    """m completed copies of a matrix (n, p) with NaN where a value is missing."""
    cycles = CYCLES if np.isnan(matrix).any(axis=0).sum() > 1 else 1  # one incomplete column has nothing to wait for
    for i in range(m):
        own = derive_seed(seed, i)
        imputer = IterativeImputer(
            PosteriorDraw(SharedStream(own)),
            sample_posterior=True,
            max_iter=cycles,
            skip_complete=True,
            random_state=own,
        )
        yield imputer.fit_transform(matrix)


class PosteriorDraw(RegressorMixin, BaseEstimator):
    """Bayesian linear regression that draws its coefficients and residual SD once a fit (Rubin 1987, p. 167).

    scikit-learn's BayesianRidge adds the coefficients' uncertainty to each row by itself; one draw for all rows keeps
    the rows' errors together, without which the variance between imputations is too small.
    """

    def __init__(self, source: SharedStream | None = None) -> None:
        self.source = source

    def fit(self, X: NDArray, y: NDArray) -> PosteriorDraw:  # noqa: N803 (scikit-learn's name)
        """Draw from the posterior given X (n, p) and y (n,)."""
        rng = self.source.rng
        n, p = X.shape
        self.centre_ = X.mean(axis=0)
        centred, rest = X - self.centre_, y - y.mean()
        gram = centred.T @ centred
        gram[np.diag_indices(p)] += RIDGE * np.maximum(np.diag(gram), 1e-12)
        factor = np.linalg.cholesky(gram)
        beta = np.linalg.solve(gram, centred.T @ rest)
        residuals = rest - centred @ beta
        self.sd_ = float(np.sqrt(residuals @ residuals / rng.chisquare(max(n - p - 1, 1))))
        self.coef_ = beta + self.sd_ * np.linalg.solve(factor.T, rng.standard_normal(p))
        self.intercept_ = float(y.mean() + self.sd_ / np.sqrt(n) * rng.standard_normal())
        return self

    def predict(self, X: NDArray, return_std: bool = False) -> NDArray | tuple[NDArray, NDArray]:  # noqa: N803
        """Mean of each row under the drawn coefficients, and the drawn SD."""
        mean = self.intercept_ + (X - self.centre_) @ self.coef_
        return (mean, np.full(len(X), self.sd_)) if return_std else mean


class SharedStream:
    """A random generator that copies of an estimator share: scikit-learn clones it for each column."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __deepcopy__(self, memo: dict) -> SharedStream:
        return self
