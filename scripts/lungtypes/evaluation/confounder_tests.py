"""Tests and effect sizes of clusters against one property of the scans: levels or numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, kruskal, random_table
from scipy.stats.contingency import expected_freq

from lungtypes.randomness import derive_seed

SMALL_EXPECTED = 5  # Cochran 1954: at most a fifth of the cells below
SMALL_SHARE = 0.2


@dataclass(frozen=True)
class Association:
    """A test of no association: its name, statistic, p value, and the effect size with its name."""

    test: str
    statistic: float
    p_value: float
    effect_name: str
    effect: float


def compare_levels(clusters: NDArray, levels: NDArray, *, n_permutations: int, seed: int) -> Association:
    """Pearson's chi-square, permuted where more than a fifth of the expected counts are below 5.

    clusters, levels : (n,) with at least two distinct values each. The permutation draws tables of the same margins.
    """
    _, rows = np.unique(clusters, return_inverse=True)
    _, columns = np.unique(levels, return_inverse=True)
    shape = rows.max() + 1, columns.max() + 1
    counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
    expected = expected_freq(counts)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    effect = bias_corrected_v(statistic, int(counts.sum()), shape)
    if (expected < SMALL_EXPECTED).mean() <= SMALL_SHARE:
        p_value = float(chi2.sf(statistic, (shape[0] - 1) * (shape[1] - 1)))
        return Association("chi-square", statistic, p_value, "Cram\u00e9r's V, bias-corrected", effect)
    draws = random_table(counts.sum(axis=1), counts.sum(axis=0)).rvs(
        size=n_permutations, random_state=derive_seed(seed, "confounders", "tables")
    )
    null = ((draws - expected) ** 2 / expected).sum(axis=(1, 2))
    p_value = (1 + int((null >= statistic * (1 - 1e-9)).sum())) / (1 + n_permutations)
    return Association("permutation chi-square", statistic, p_value, "Cram\u00e9r's V, bias-corrected", effect)


def compare_numbers(clusters: NDArray, values: NDArray) -> Association:
    """Kruskal-Wallis test with epsilon squared, H / (n - 1), 0-1 (Tomczak & Tomczak 2014).

    clusters, values : (n,) with at least two distinct values each.
    """
    found = kruskal(*[values[clusters == cluster] for cluster in np.unique(clusters)])
    effect = float(found.statistic) / (len(values) - 1)
    return Association("Kruskal-Wallis", float(found.statistic), float(found.pvalue), "epsilon squared", effect)


def bias_corrected_v(statistic: float, n: int, shape: tuple[int, int]) -> float:
    """Cram\u00e9r's V without its upward bias, 0-1 (Bergsma, J Korean Stat Soc 2013)."""
    rows, columns = shape
    phi2 = max(0.0, statistic / n - (rows - 1) * (columns - 1) / (n - 1))
    room = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(phi2 / room)) if room > 0 else 0.0
