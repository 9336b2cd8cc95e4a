"""Tests and effect sizes between groups for the description table: Welch, pooled, chi-square, SMD.

SMD for categories: Yang & Dalton, SAS Global Forum 2012. Tests named as in the CLAM paper, Table 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

SPARSE_EXPECTED = 5.0  # Cochran's rule: at most 20 % of the expected counts below 5
SPARSE_SHARE = 0.2


@dataclass(frozen=True)
class GroupTest:
    """Name of a test and its p value; ``None`` where it was not made, and the name says why."""

    name: str
    p_value: float | None


def compare_means(groups: Sequence[NDArray], *, variance: Literal["welch", "pooled"]) -> GroupTest:
    """Two groups: t test; more: one-way analysis of variance. Each group (n,) with n >= 2."""
    if sum(float(np.var(group)) for group in groups) == 0:
        return GroupTest("not tested: no variation within the groups", None)
    if variance == "welch" and any(np.var(group) == 0 for group in groups):
        return GroupTest("not tested: no variation in one group", None)
    if len(groups) == 2:
        p = float(stats.ttest_ind(groups[0], groups[1], equal_var=variance == "pooled").pvalue)
        return GroupTest(f"{'pooled' if variance == 'pooled' else 'Welch'} t test", p)
    if variance == "pooled":
        return GroupTest("analysis of variance", float(stats.f_oneway(*groups).pvalue))
    return GroupTest("Welch analysis of variance", float(anova_oneway(list(groups), use_var="unequal").pvalue))


def compare_shares(counts: NDArray, *, yates: bool, n_permutations: int, rng: np.random.Generator) -> GroupTest:
    """Chi-square test of a table (levels, groups) of counts.

    A 2x2 table is corrected after Yates if ``yates``. If more than 20 % of the expected counts are
    below 5 and ``n_permutations`` > 0, subjects are permuted between groups instead.
    """
    table = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(table.shape, default=0) < 2:
        return GroupTest("not tested: one level", None)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    sparse = float((expected < SPARSE_EXPECTED).mean()) > SPARSE_SHARE
    if sparse and n_permutations > 0:
        return GroupTest(f"permutation chi-square ({n_permutations} draws)", _permuted_p(table, n_permutations, rng))
    corrected = yates and table.shape == (2, 2)
    p = float(stats.chi2_contingency(table, correction=corrected).pvalue)
    name = "chi-square test with Yates correction" if corrected else "chi-square test"
    return GroupTest(name + (", sparse table" if sparse else ""), p)


def smd_means(groups: Sequence[NDArray]) -> float | None:
    """Largest absolute standardised mean difference over all pairs of groups; ``None`` if undefined."""
    values = []
    for a, b in combinations([group for group in groups if len(group) >= 2], 2):
        sd = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
        if sd > 0:
            values.append(abs(float(a.mean() - b.mean())) / float(sd))
    return max(values) if values else None


def smd_shares(counts: NDArray) -> float | None:
    """Largest standardised difference of level shares over all pairs; counts (levels, groups)."""
    values = []
    for i, j in combinations(np.flatnonzero(counts.sum(axis=0) > 0), 2):
        pair = counts[:, [i, j]]
        pair = pair[pair.sum(axis=1) > 0]
        if len(pair) < 2:
            continue
        shares = pair / pair.sum(axis=0)
        difference = (shares[:, 0] - shares[:, 1])[1:]  # one level is determined by the others
        covariance = sum(np.diag(p[1:]) - np.outer(p[1:], p[1:]) for p in shares.T) / 2
        if np.linalg.matrix_rank(covariance) == len(difference):
            values.append(float(np.sqrt(difference @ np.linalg.solve(covariance, difference))))
    return max(values) if values else None


def _permuted_p(table: NDArray, n_permutations: int, rng: np.random.Generator) -> float:
    levels = np.repeat(np.arange(table.shape[0]), table.sum(axis=1).astype(int))
    groups = np.concatenate([np.repeat(np.arange(table.shape[1]), row.astype(int)) for row in table])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    observed = float(((table - expected) ** 2 / expected).sum())
    extreme = 0
    for _ in range(n_permutations):
        flat = np.bincount(levels * table.shape[1] + rng.permutation(groups), minlength=table.size)
        drawn = flat.reshape(table.shape)
        extreme += float(((drawn - expected) ** 2 / expected).sum()) >= observed * (1 - 1e-12)
    return (1 + extreme) / (1 + n_permutations)
