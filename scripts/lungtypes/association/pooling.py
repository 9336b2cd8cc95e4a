"""Rubin's rules: one estimate, interval and joint test from several completed data sets.

D1: Li, Raghunathan & Rubin, J Am Stat Assoc 86:1065-1073, 1991; its denominator degrees of freedom for a finite
sample: Reiter, Biometrika 94:502-508, 2007. One coefficient: Barnard & Rubin, Biometrika 86:948-955, 1999.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Pooled:
    """A joint test, pooled.

    Attributes
    ----------
    estimate : (k,) mean of the estimates.
    covariance : (k, k) total, within and between.
    f, df_num, df_den, p_value : D1 against its F reference.
    fraction_missing : share of the information that is missing, 0-1.
    """

    estimate: NDArray
    covariance: NDArray
    f: float
    df_num: int
    df_den: float
    p_value: float
    fraction_missing: float


def pool(estimates: NDArray, covariances: NDArray, *, df_complete: int) -> Pooled:
    """Pool k coefficients of m >= 2 fits.

    Parameters
    ----------
    estimates : (m, k).
    covariances : (m, k, k), positive definite.
    df_complete : residual degrees of freedom that the data would have if complete.
    """
    m, k = estimates.shape
    mean, within = estimates.mean(axis=0), covariances.mean(axis=0)
    between = np.atleast_2d(np.cov(estimates, rowvar=False))
    r = max(float((1 + 1 / m) * np.trace(np.linalg.solve(within, between)) / k), 0.0)
    total = (1 + r) * within
    f = float(mean @ np.linalg.solve(total, mean)) / k
    df = barnard_rubin(m, r, df_complete) if k == 1 else reiter(m, k, r, df_complete)
    return Pooled(mean, total, f, k, df, float(stats.f.sf(f, k, df)), (r + 2 / (df + 3)) / (r + 1) if r > 0 else 0.0)


def barnard_rubin(m: int, r: float, df_complete: int) -> float:
    """Degrees of freedom of one pooled coefficient; r: relative increase of its variance."""
    share = r / (1 + r)
    observed = (df_complete + 1) / (df_complete + 3) * df_complete * (1 - share)
    return observed if share == 0 else 1 / (share**2 / (m - 1) + 1 / observed)


def reiter(m: int, k: int, r: float, df_complete: int) -> float:
    """Denominator degrees of freedom of D1 in a finite sample (equations 1 and 2); needs k (m - 1) > 4."""
    t = k * (m - 1)
    a = r * t / (t - 2)
    v = (df_complete + 1) / (df_complete + 3) * df_complete
    c1, c2 = v - 2 * (1 + a), v - 4 * (1 + a)
    if t <= 4 or c2 <= 0:  # too few imputations or too few subjects for the expansion
        return 4.0
    terms = a**2 * c1 / ((1 + a) ** 2 * c2) + 8 * a**2 * c1 / ((1 + a) * c2**2) + 4 * a**2 / ((1 + a) * c2)
    terms += 4 * a**2 / (c2 * c1) + 16 * a**2 * c1 / c2**3 + 8 * a**2 / c2**2
    return 4 + 1 / (1 / c2 + terms / (t - 4))
