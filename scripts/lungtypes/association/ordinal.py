"""Proportional odds and multinomial logistic models by Newton's method; two levels are logistic regression.

Proportional odds: McCullagh, J R Stat Soc B 1980. Its log-likelihood is concave, so Newton's steps with halving reach
its maximum. One function fits many sets of subject weights at once: the data, resamples of it, and training folds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

TOLERANCE = 1e-10  # of the Newton decrement, in log-likelihood
MAX_STEPS = 60
RIDGE = 1e-9  # on the information, for columns that a resample lacks; it does not move the maximum
BLOCK = 400_000  # numbers in one array of a block of weight sets


@dataclass(frozen=True)
class LikelihoodFit:
    """A model fitted by maximum likelihood.

    Attributes
    ----------
    parameters, covariance : (q,) and (q, q), inverse observed information.
    scores : (n, q) each subject's gradient of the log-likelihood, for robust errors.
    loglik, null_loglik : of the model, and of the shares of the levels alone.
    n_slopes : parameters that are no threshold or intercept.
    converged : False also under separation, where the maximum lies at infinity.
    """

    parameters: NDArray
    covariance: NDArray
    scores: NDArray
    loglik: float
    null_loglik: float
    n_slopes: int
    converged: bool

    @property
    def aic(self) -> float:
        """Akaike's criterion, thresholds or intercepts counted."""
        return 2 * len(self.parameters) - 2 * self.loglik

    @property
    def r2(self) -> float:
        """Adjusted McFadden R2: 1 - (log-likelihood - slopes) / null log-likelihood; 0 without slopes."""
        return 1 - (self.loglik - self.n_slopes) / self.null_loglik


def proportional_odds(matrix: NDArray, codes: NDArray) -> LikelihoodFit:
    """P(level <= j) = expit(threshold_j - x slopes).

    Parameters
    ----------
    matrix : (n, p), intercept first; it is left out, since the thresholds stand for it.
    codes : (n,) int, 0 to J - 1, every level present.

    Returns
    -------
    LikelihoodFit : parameters are J - 1 thresholds, then p - 1 slopes.
    """
    x = matrix[:, 1:]
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-300)
    z, n_levels = (x - mean) / scale, int(codes.max()) + 1
    weights = np.ones((1, len(codes)))
    parameters, logliks, converged = weighted_proportional_odds(z, codes, weights)
    terms = _terms(z, codes, parameters)
    upper, lower = _selectors(z, codes, n_levels)
    information = _information(terms, _products(upper, lower), weights)[0]
    scores = _scores(terms, upper, lower)[0]
    q, k = len(parameters[0]), n_levels - 1
    back = np.eye(q)  # from standardised columns to the given ones
    back[k:, k:] = np.diag(1 / scale)
    back[:k, k:] = mean / scale
    inverse = np.linalg.pinv(information)
    return LikelihoodFit(
        back @ parameters[0],
        back @ inverse @ back.T,
        scores @ np.linalg.inv(back),
        float(logliks[0]),
        null_loglik(codes),
        q - k,
        bool(converged[0]),
    )


def multinomial(matrix: NDArray, codes: NDArray) -> LikelihoodFit:
    """log(P(level j) / P(level 0)) = x coefficients_j, for j from 1.

    Parameters
    ----------
    matrix : (n, p), intercept first.
    codes : (n,) int, 0 to J - 1, every level present.

    Returns
    -------
    LikelihoodFit : parameters are p coefficients of level 1, then of level 2, and so on.
    """
    (n, p), n_levels = matrix.shape, int(codes.max()) + 1
    scale = np.maximum(np.sqrt((matrix**2).mean(axis=0)), 1e-300)
    x, k = matrix / scale, n_levels - 1
    observed = (codes[:, None] == np.arange(1, n_levels)).astype(np.float64)
    beta, step_size, loglik, converged = np.zeros(k * p), 1.0, -n * np.log(n_levels), False
    for _ in range(MAX_STEPS):
        shares = np.exp(_log_shares(x, beta, k))[:, 1:]
        gradient = ((observed - shares)[:, :, None] * x[:, None, :]).reshape(n, -1).sum(axis=0)
        curvature = shares[:, :, None] * (np.eye(k) - shares[:, None, :])  # (n, k, k)
        information = np.einsum("njl,np,nq->jplq", curvature, x, x, optimize=True).reshape(k * p, k * p)
        step = np.linalg.lstsq(information, gradient, rcond=1e-12)[0]
        converged = bool(gradient @ step < TOLERANCE)  # this last step is still taken
        for halving in range(20):
            step_size = 0.5**halving
            trial = beta + step_size * step
            value = float(_log_shares(x, trial, k)[np.arange(n), codes].sum())
            if value >= loglik:
                beta, loglik = trial, value
                break
        if converged:
            break
    loglik = float(_log_shares(x, beta, k)[np.arange(n), codes].sum())
    shares = np.exp(_log_shares(x, beta, k))[:, 1:]
    scores = ((observed - shares)[:, :, None] * x[:, None, :]).reshape(n, -1)
    back = np.tile(1 / scale, k)
    covariance = np.linalg.pinv(information) * np.outer(back, back)
    return LikelihoodFit(beta * back, covariance, scores / back, loglik, null_loglik(codes), k * (p - 1), converged)


def level_shares(parameters: NDArray, matrix: NDArray, n_levels: int, *, ordered: bool) -> NDArray:
    """(n, J) probability of each level, by proportional odds (``ordered``) or the multinomial model."""
    if not ordered:
        return np.exp(_log_shares(matrix, parameters, n_levels - 1))
    slope = matrix[:, 1:] @ parameters[n_levels - 1 :]
    below = expit(parameters[: n_levels - 1] - slope[:, None])
    return np.diff(np.column_stack([np.zeros(len(matrix)), below, np.ones(len(matrix))]), axis=1)


def null_loglik(codes: NDArray) -> float:
    """Log-likelihood of the levels' shares."""
    counts = np.bincount(codes)
    counts = counts[counts > 0]
    return float((counts * np.log(counts / counts.sum())).sum())


def weighted_proportional_odds(z: NDArray, codes: NDArray, weights: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """The model in each of B sets of subject weights.

    Parameters
    ----------
    z : (n, k) standardised columns, no intercept.
    codes : (n,) int, 0 to J - 1.
    weights : (B, n) how often each subject counts. Every level needs a positive weight in each set.

    Returns
    -------
    parameters (B, J - 1 + k), log-likelihoods (B,), converged (B,) bool.
    """
    rows = max(1, BLOCK // max(len(codes), 1))
    selectors = _selectors(z, codes, int(codes.max()) + 1)
    products = _products(*selectors)
    blocks = (weights[i : i + rows] for i in range(0, len(weights), rows))
    parts = [_newton(z, codes, block, selectors, products) for block in blocks]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def subject_loglik(z: NDArray, codes: NDArray, parameters: NDArray) -> NDArray:
    """(B, n) log of the probability of each subject's own level, by B sets of parameters."""
    return np.log(np.maximum(_terms(z, codes, parameters)[0], 1e-300))


def _newton(
    z: NDArray, codes: NDArray, weights: NDArray, selectors: tuple[NDArray, NDArray], products: tuple[NDArray, ...]
) -> tuple[NDArray, NDArray, NDArray]:
    n_levels = int(codes.max()) + 1
    held = np.stack([weights[:, codes == level].sum(axis=1) for level in range(n_levels)], axis=1)
    share = np.cumsum(held, axis=1)[:, :-1] / held.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        parameters = np.hstack([np.log(share) - np.log1p(-share), np.zeros((len(weights), z.shape[1]))])
    terms = _terms(z, codes, parameters)
    logliks = _loglik(terms, weights)
    open_sets, stuck = np.ones(len(weights), dtype=bool), np.zeros(len(weights), dtype=bool)
    for _ in range(MAX_STEPS):
        gradient = _gradient(terms, *selectors, weights)
        information = _information(terms, products, weights)
        diagonal = np.arange(information.shape[1])
        information[:, diagonal, diagonal] += RIDGE * weights.sum(axis=1)[:, None]
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        size = open_sets.astype(np.float64)
        open_sets = open_sets & (np.einsum("bq,bq->b", gradient, step) > TOLERANCE)  # closed after this last step
        for _halving in range(20):
            trial = parameters + size[:, None] * step
            trial_terms = _terms(z, codes, trial)
            trial_logliks = _loglik(trial_terms, weights)
            worse = ~(trial_logliks >= logliks - 1e-12 * np.abs(logliks))
            if not worse.any():
                break
            size[worse] /= 2
        if worse.any():
            trial = np.where(worse[:, None], parameters, trial)
            trial_terms = _terms(z, codes, trial)
            trial_logliks = _loglik(trial_terms, weights)
            stuck |= worse
            open_sets &= ~worse
        parameters, terms, logliks = trial, trial_terms, trial_logliks
        if not open_sets.any():
            break
    return parameters, logliks, ~open_sets & ~stuck


def _selectors(z: NDArray, codes: NDArray, n_levels: int) -> tuple[NDArray, NDArray]:
    """(n, q) derivatives of each subject's upper and lower limit by the parameters."""
    thresholds = np.arange(n_levels - 1)
    upper = (codes[:, None] == thresholds).astype(np.float64)
    lower = (codes[:, None] - 1 == thresholds).astype(np.float64)
    return np.hstack([upper, -z * (codes < n_levels - 1)[:, None]]), np.hstack([lower, -z * (codes > 0)[:, None]])


def _terms(z: NDArray, codes: NDArray, parameters: NDArray) -> tuple[NDArray, ...]:
    """Probability of the own level, and first and second derivatives of its logarithm by both limits; each (B, n)."""
    k = parameters.shape[1] - z.shape[1]
    slope = parameters[:, k:] @ z.T
    ends = np.full((len(parameters), 1), np.inf)
    limits = np.hstack([-ends, parameters[:, :k], ends])
    u, low = limits[:, codes + 1] - slope, limits[:, codes] - slope
    fu, fl = expit(u), expit(low)
    own = np.where(low > 0, expit(-low) - expit(-u), fu - fl)  # no loss of digits in the upper tail
    safe = np.where(own > 0, own, 1.0)
    du, dl = fu * expit(-u), fl * expit(-low)
    a, c = du / safe, dl / safe
    return own, a, c, a * (1 - 2 * fu) - a**2, -c * (1 - 2 * fl) - c**2, a * c


def _loglik(terms: tuple[NDArray, ...], weights: NDArray) -> NDArray:
    own = terms[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(own > 0, np.log(np.where(own > 0, own, 1.0)), -np.inf)
        return np.where(weights > 0, weights * logs, 0.0).sum(axis=1)


def _gradient(terms: tuple[NDArray, ...], upper: NDArray, lower: NDArray, weights: NDArray) -> NDArray:
    return (weights * terms[1]) @ upper - (weights * terms[2]) @ lower


def _scores(terms: tuple[NDArray, ...], upper: NDArray, lower: NDArray) -> NDArray:
    return terms[1][:, :, None] * upper - terms[2][:, :, None] * lower


def _products(upper: NDArray, lower: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """(n, q q) outer products of each subject's selectors, for the information in all sets of weights."""
    n, q = upper.shape
    mixed = np.einsum("ni,nj->nij", upper, lower)
    mixed = mixed + mixed.transpose(0, 2, 1)
    both = (np.einsum("ni,nj->nij", side, side) for side in (upper, lower))
    return (*(product.reshape(n, q * q) for product in both), mixed.reshape(n, q * q))


def _information(terms: tuple[NDArray, ...], products: tuple[NDArray, ...], weights: NDArray) -> NDArray:
    q = int(np.sqrt(products[0].shape[1]))
    curved = sum((weights * term) @ product for term, product in zip(terms[3:], products, strict=True))
    return -curved.reshape(-1, q, q)


def _log_shares(x: NDArray, beta: NDArray, k: int) -> NDArray:
    eta = np.column_stack([np.zeros(len(x)), x @ beta.reshape(k, -1).T])
    return eta - logsumexp(eta, axis=1, keepdims=True)
