"""Who lacks which value: missingness by cluster, and whether those without a value are other people.

STROBE items 12 and 14 ask for it. A missing value is counted here and is never a level of a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.design import is_numeric
from lungtypes.association.group_tests import GroupTest, compare_shares, smd_means, smd_shares
from lungtypes.association.rows import check_columns, join_clusters, level_text
from lungtypes.association.table_one import OVERALL
from lungtypes.randomness import stream

MISSING_COLUMNS = [
    "variable",
    "label",
    "group",
    "n",
    "n_missing",
    "percent",
    "test",
    "p_value",
    "smd",
    "smd_covariate",
    "note",
]
MIN_COMPARED = 5  # subjects on both sides of a standardised difference


def missing_table(
    clinical: pd.DataFrame,
    clusters: pd.DataFrame | pd.Series,
    columns: Mapping[str, str],
    *,
    covariates: Sequence[str],
    n_permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Missing values of each variable, overall and by cluster.

    Parameters
    ----------
    clinical, clusters : as in :func:`join_clusters`.
    columns : label of each column that is looked at.
    covariates : columns in which subjects with and without the value are compared.
    n_permutations, seed : of the test, where expected counts are small.

    Returns
    -------
    DataFrame : columns ``MISSING_COLUMNS``. n: subjects of the group, percent (0-100) of them. Once per variable, on
        its "overall" row: the test of missing against cluster, and the largest standardised difference between the
        subjects without and with the value, with the covariate that shows it; ``note`` says why one is empty.
    """
    table, labels = join_clusters(clinical, clusters)
    check_columns(table, [*columns, *covariates], place="missing values")
    codes, rows = labels.to_numpy(), []
    groups = [(OVERALL, np.ones(len(codes), bool)), *((str(c), codes == c) for c in np.unique(codes).tolist())]
    for name, label in columns.items():
        absent = table[name].isna().to_numpy()
        first = len(rows)
        for group, inside in groups:
            n, n_missing = int(inside.sum()), int((inside & absent).sum())
            row: dict = dict.fromkeys(MISSING_COLUMNS, np.nan)
            row |= {"variable": name, "label": label, "group": group, "n": n, "n_missing": n_missing}
            row |= {"percent": 100 * n_missing / n if n else np.nan, "test": "", "smd_covariate": "", "note": ""}
            rows.append(row)
        rows[first] |= _test(absent, codes, n_permutations, stream(seed, "missing", name))
        rows[first] |= _who(table, absent, [c for c in covariates if c != name])
    return pd.DataFrame(rows, columns=MISSING_COLUMNS)


def _test(absent: NDArray, codes: NDArray, n_permutations: int, rng: np.random.Generator) -> dict:
    if not absent.any() or absent.all():
        test = GroupTest(f"not tested: {'nothing' if not absent.any() else 'everything'} is missing", None)
    else:
        counts = np.array([[int((absent[codes == c] == side).sum()) for c in np.unique(codes)] for side in (0, 1)])
        test = compare_shares(counts, yates=False, n_permutations=n_permutations, rng=rng)
        if test.p_value is None:
            test = GroupTest("not tested: fewer than two clusters", None)
    return {"test": test.name, "p_value": np.nan if test.p_value is None else test.p_value}


def _who(table: pd.DataFrame, absent: NDArray, covariates: Sequence[str]) -> dict:
    """The covariate in which subjects without the value differ most from those with it."""
    if not absent.any():
        return {}
    if min(int(absent.sum()), int((~absent).sum())) < MIN_COMPARED:
        return {"note": f"fewer than {MIN_COMPARED} subjects with or without the value: not compared"}
    found = {name: value for name in covariates if (value := _difference(table[name], absent)) is not None}
    if not found:
        return {"note": "no covariate in which to compare"}
    name = max(found, key=lambda key: (found[key], key))
    return {"smd": found[name], "smd_covariate": name}


def _difference(values: pd.Series, absent: NDArray) -> float | None:
    known = values.notna().to_numpy()
    sides = [values[known & absent], values[known & ~absent]]
    if min(map(len, sides)) < MIN_COMPARED:
        return None
    if is_numeric(values):
        found = smd_means([side.to_numpy(np.float64) for side in sides])
    else:
        texts = [side.map(level_text) for side in sides]
        levels = sorted(set(pd.concat(texts)))
        found = smd_shares(np.array([[int((text == level).sum()) for text in texts] for level in levels]))
    return None if found is None else found.value
