"""Logistic regression, and Firth's penalised form for separated data.

Firth, Biometrika 1993; Heinze & Schemper, Stat Med 2002 (penalised likelihood ratio test and profile limits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import expit

from lungtypes.association.ordinal import LikelihoodFit, proportional_odds

MAX_STEPS = 200
TOLERANCE = 1e-10  # largest change of a standardised coefficient
MAX_STEP = 2.0
SEARCH = 60.0  # profile limits farther out than this, in log odds per SD or level, count as infinite


@dataclass(frozen=True)
class FirthFit:
    """A penalised logistic model: (p,) coefficients, (p, p) covariance, penalised log-likelihood."""

    beta: NDArray
    covariance: NDArray
    penalised_loglik: float
    converged: bool


def logistic(matrix: NDArray, codes: NDArray) -> LikelihoodFit:
    """Maximum likelihood; matrix (n, p), intercept first; codes (n,) 0 or 1, both present."""
    fit = proportional_odds(matrix, codes)  # its threshold is the intercept with the sign turned
    sign = np.ones(len(fit.parameters))
    sign[0] = -1
    return replace(
        fit,
        parameters=fit.parameters * sign,
        covariance=fit.covariance * np.outer(sign, sign),
        scores=fit.scores * sign,
    )


def firth(matrix: NDArray, codes: NDArray, *, fixed: dict[int, float] | None = None) -> FirthFit:
    """Maximum of the log-likelihood plus half the log determinant of the information.

    fixed : coefficients held at a value; the penalty is that of the whole matrix, as the penalised test needs it.
    """
    scale = np.sqrt((matrix**2).mean(axis=0))
    x, p = matrix / scale, matrix.shape[1]
    beta = np.zeros(p)
    for column, value in (fixed or {}).items():
        beta[column] = value * scale[column]
    free = np.array([j for j in range(p) if j not in (fixed or {})], dtype=np.int64)
    value, covariance = _penalised(x, codes, beta)
    converged = len(free) == 0
    for _ in range(MAX_STEPS):
        if converged:
            break
        mu = expit(x @ beta)
        w = mu * (1 - mu)
        leverage = w * np.einsum("ni,ij,nj->n", x, covariance, x, optimize=True)
        score = x.T @ (codes - mu + leverage * (0.5 - mu))
        information = (x * w[:, None]).T @ x
        step = np.zeros(p)
        step[free] = np.linalg.lstsq(information[np.ix_(free, free)], score[free], rcond=None)[0]
        step *= min(1.0, MAX_STEP / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < TOLERANCE:
            converged = True
            break
        for _halving in range(30):
            trial, trial_covariance = _penalised(x, codes, beta + step)
            if trial >= value - 1e-12 * abs(value):
                break
            step /= 2
        beta, value, covariance = beta + step, trial, trial_covariance
    return FirthFit(beta / scale, covariance / np.outer(scale, scale), value, converged)


def firth_test(matrix: NDArray, codes: NDArray, columns: Sequence[int]) -> tuple[float, float]:
    """Penalised likelihood ratio that the coefficients of ``columns`` are 0: statistic and p value."""
    free = firth(matrix, codes)
    held = firth(matrix, codes, fixed=dict.fromkeys(columns, 0.0))
    if not (free.converged and held.converged):
        return float("nan"), float("nan")
    statistic = max(0.0, 2 * (free.penalised_loglik - held.penalised_loglik))
    return statistic, float(stats.chi2.sf(statistic, len(columns)))


def firth_interval(matrix: NDArray, codes: NDArray, column: int) -> tuple[float, float]:
    """95 % profile limits of one coefficient; NaN where the profile does not cross its limit."""
    free = firth(matrix, codes)
    centre = float(free.beta[column])
    cut = float(stats.chi2.ppf(0.95, 1)) / 2
    error = float(np.sqrt(free.covariance[column, column]))

    def gap(value: float) -> float:
        return free.penalised_loglik - firth(matrix, codes, fixed={column: value}).penalised_loglik - cut

    ends = []
    for side in (-1, 1):
        reach = 2 * error
        while reach < SEARCH * error and gap(centre + side * reach) < 0:
            reach *= 1.6
        far = centre + side * reach
        ends.append(float(optimize.brentq(gap, centre, far, xtol=1e-9)) if gap(far) > 0 else float("nan"))
    return ends[0], ends[1]


def _penalised(x: NDArray, codes: NDArray, beta: NDArray) -> tuple[float, NDArray]:
    eta = x @ beta
    mu = expit(eta)
    information = (x * (mu * (1 - mu))[:, None]).T @ x
    sign, logdet = np.linalg.slogdet(information)
    loglik = float((codes * eta - np.logaddexp(0, eta)).sum())
    if sign <= 0:
        return -np.inf, np.linalg.pinv(information)
    return loglik + logdet / 2, np.linalg.inv(information)
