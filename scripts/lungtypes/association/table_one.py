"""Who is in which cluster: one description per variable, level and group (CLAM paper, Table 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.design import is_numeric
from lungtypes.association.group_tests import (
    GroupTest,
    LargestDifference,
    compare_means,
    compare_shares,
    smd_means,
    smd_shares,
)
from lungtypes.association.rows import Variable, as_variables, check_columns, join_clusters, level_text
from lungtypes.errors import InputError
from lungtypes.randomness import stream

OVERALL = "overall"
TABLE_ONE_COLUMNS = [
    "variable",
    "label",
    "level",
    "group",
    "n",
    "n_missing",
    "mean",
    "sd",
    "median",
    "q1",
    "q3",
    "count",
    "percent",
    "smd",
    "smd_pair",
    "test",
    "p_value",
]


def table_one(
    clinical: pd.DataFrame,
    clusters: pd.DataFrame | pd.Series,
    *,
    variables: Sequence[Variable | Mapping],
    variance: Literal["welch", "pooled"],
    yates: bool,
    n_permutations: int,
    min_group: int,
    seed: int,
) -> pd.DataFrame:
    """Means and shares overall and per cluster, with one test and one effect size per variable.

    Parameters
    ----------
    clinical, clusters : as in :func:`join_clusters`.
    variables : name, label, type ("continuous" or "categorical"), unit.
    variance : of the t test and the analysis of variance.
    yates : correct 2x2 tables. The paper's Table 2 is ``variance="pooled", yates=True``.
    n_permutations : for categorical tables with small expected counts; 0 switches this off.
    min_group : clusters with fewer values are shown, but not tested (never fewer than 2).
    seed : of the permutations.

    Returns
    -------
    DataFrame : columns ``TABLE_ONE_COLUMNS``; group is "overall" or the cluster number as text. n counts
        the values present, percent (0-100) is of them: missing is never a level. smd (of the pair of clusters that
        differs most, named in smd_pair), test and p_value stand once per variable, on its first "overall" row.
    """
    if variance not in ("welch", "pooled"):
        raise InputError(f"variance: found {variance!r}, expected 'welch' or 'pooled'.")
    table, labels = join_clusters(clinical, clusters)
    specs = as_variables(variables)
    check_columns(table, [spec.name for spec in specs], place="description table")
    codes = labels.to_numpy()
    rows: list[dict] = []
    for spec in specs:
        values = table[spec.name]
        if spec.type == "continuous":
            rows += _continuous(spec, values, codes, variance, min_group)
        else:
            rng = stream(seed, "table_one", spec.name)
            rows += _categorical(spec, values, codes, yates, n_permutations, min_group, rng)
    return pd.DataFrame(rows, columns=TABLE_ONE_COLUMNS)


def _continuous(
    spec: Variable, values: pd.Series, codes: NDArray, variance: Literal["welch", "pooled"], min_group: int
) -> list[dict]:
    if not is_numeric(values):
        if values.notna().any():
            first = values.dropna().iloc[0]
            raise InputError(
                f"clinical table, column {spec.name}: found {first!r}, expected numbers. "
                "Correct it, or set the type of this variable to categorical."
            )
        values = values.astype(np.float64)
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    present = ~np.isnan(numbers)
    tested = _tested(codes[present], min_group)
    groups = [numbers[present & (codes == cluster)] for cluster in tested]
    test = _untested(min_group) if len(groups) < 2 else compare_means(groups, variance=variance)
    rows = []
    for group, inside in _groups(codes):
        x = numbers[present & inside]
        row = _row(spec, "", group, len(x), int((inside & ~present).sum()))
        if len(x):
            q1, median, q3 = np.percentile(x, [25, 50, 75])
            sd = float(x.std(ddof=1)) if len(x) > 1 else np.nan
            row |= {
                "mean": float(x.mean()),
                "sd": sd,
                "median": float(median),
                "q1": float(q1),
                "q3": float(q3),
            }
        rows.append(row)
    rows[0] |= _verdict(test, smd_means(groups), tested, codes)
    return rows


def _categorical(
    spec: Variable,
    values: pd.Series,
    codes: NDArray,
    yates: bool,
    n_permutations: int,
    min_group: int,
    rng: np.random.Generator,
) -> list[dict]:
    present = values.notna().to_numpy()
    texts = np.array([level_text(v) if ok else "" for v, ok in zip(values, present, strict=True)], dtype=object)
    levels = _levels(values[present])
    tested = _tested(codes[present], min_group)
    counts = np.array(
        [[int((present & (texts == level) & (codes == c)).sum()) for c in tested] for level in levels]
    ).reshape(len(levels), len(tested))
    if len(tested) < 2:
        test = _untested(min_group)
    else:
        test = compare_shares(counts, yates=yates, n_permutations=n_permutations, rng=rng)
    rows = []
    for level in levels or [""]:
        for group, inside in _groups(codes):
            n = int((present & inside).sum())
            count = int((present & inside & (texts == level)).sum())
            row = _row(spec, level, group, n, int((inside & ~present).sum()))
            rows.append(row | {"count": count, "percent": 100 * count / n if n else np.nan})
    rows[0] |= _verdict(test, smd_shares(counts), tested, codes)
    return rows


def _groups(codes: NDArray) -> list[tuple[str, NDArray]]:
    everyone = (OVERALL, np.ones(len(codes), dtype=bool))
    return [everyone, *[(str(cluster), codes == cluster) for cluster in np.unique(codes).tolist()]]


def _levels(values: pd.Series) -> list[str]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [level_text(level) for level in values.cat.categories]
    distinct = values.unique().tolist()
    try:
        ordered = sorted(distinct)
    except TypeError:
        ordered = sorted(distinct, key=str)
    return list(dict.fromkeys(level_text(level) for level in ordered))


def _tested(codes: NDArray, min_group: int) -> list[int]:
    return [int(c) for c in np.unique(codes) if int((codes == c).sum()) >= max(min_group, 2)]


def _untested(min_group: int) -> GroupTest:
    return GroupTest(f"not tested: fewer than two clusters with {max(min_group, 2)} values", None)


def _verdict(test: GroupTest, smd: LargestDifference | None, tested: list[int], codes: NDArray) -> dict:
    left_out = len(np.unique(codes)) - len(tested)
    name = test.name
    if test.p_value is not None and left_out:
        name += f" (clusters {', '.join(map(str, tested))})"
    return {
        "smd": np.nan if smd is None else smd.value,
        "smd_pair": "" if smd is None else f"{tested[smd.first]} v {tested[smd.second]}",
        "test": name,
        "p_value": np.nan if test.p_value is None or np.isnan(test.p_value) else test.p_value,
    }


def _row(spec: Variable, level: str, group: str, n: int, n_missing: int) -> dict:
    row: dict = dict.fromkeys(TABLE_ONE_COLUMNS, np.nan)
    label = f"{spec.label} ({spec.unit})" if spec.unit else spec.label
    return row | {
        "variable": spec.name,
        "label": label,
        "level": level,
        "group": group,
        "n": n,
        "n_missing": n_missing,
        "smd_pair": "",
        "test": "",
    }
