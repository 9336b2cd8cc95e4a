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

SPARSE_EXPECTED = 5.0  # Cochran's rule: at most 20 % of the expected counts below 5
SPARSE_SHARE = 0.2


@dataclass(frozen=True)
class GroupTest:
    """Name of a test and its p value; ``None`` where it was not made, and the name says why."""

    name: str
    p_value: float | None


@dataclass(frozen=True)
class LargestDifference:
    """The largest absolute standardised difference over all pairs of groups, and the places of that pair."""

    value: float
    first: int
    second: int


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
    from statsmodels.stats.oneway import anova_oneway  # only here: networks' packages import this module's other tests

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


def smd_means(groups: Sequence[NDArray]) -> LargestDifference | None:
    """Standardised mean difference of the two groups that differ most; ``None`` if undefined.

    Groups with fewer than two values are passed over; pairs without variation, too.
    """
    found = []
    for i, j in combinations([i for i, group in enumerate(groups) if len(group) >= 2], 2):
        a, b = groups[i], groups[j]
        sd = np.sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
        if sd > 0:
            found.append(LargestDifference(abs(float(a.mean() - b.mean())) / float(sd), i, j))
    return max(found, key=lambda pair: pair.value, default=None)


def smd_shares(counts: NDArray) -> LargestDifference | None:
    """Standardised difference of level shares of the two groups that differ most; counts (levels, groups)."""
    found = []
    for i, j in combinations(np.flatnonzero(counts.sum(axis=0) > 0).tolist(), 2):
        pair = counts[:, [i, j]]
        pair = pair[pair.sum(axis=1) > 0]
        if len(pair) < 2:
            continue
        shares = pair / pair.sum(axis=0)
        difference = (shares[:, 0] - shares[:, 1])[1:]  # one level is determined by the others
        covariance = sum(np.diag(p[1:]) - np.outer(p[1:], p[1:]) for p in shares.T) / 2
        if np.linalg.matrix_rank(covariance) == len(difference):
            value = float(np.sqrt(difference @ np.linalg.solve(covariance, difference)))
            found.append(LargestDifference(value, i, j))
    return max(found, key=lambda pair: pair.value, default=None)


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
