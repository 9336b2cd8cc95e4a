"""Design matrices from named columns: no formula strings, because those would run as code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.rows import check_columns, level_text
from lungtypes.errors import InputError

OTHER = "other"
RANK_TOLERANCE = 1e-8  # share of a column's length that the columns before it do not explain


@dataclass(frozen=True)
class Design:
    """Columns of a linear model.

    Attributes
    ----------
    matrix : (n, p) float; the first column is the intercept.
    names : p column names; a dummy is ``variable=level``.
    notes : what was dropped or collapsed, in sentences.
    """

    matrix: NDArray
    names: tuple[str, ...]
    notes: tuple[str, ...]


def build_design(
    table: pd.DataFrame, *, columns: Sequence[str], min_group: int, categorical: Sequence[str] = ()
) -> Design:
    """Intercept, numeric columns as they are, text and categorical columns as dummies.

    The most frequent level is the reference. Levels with fewer than ``min_group`` subjects are
    collapsed into "other", together with the next smallest until "other" is large enough.

    Parameters
    ----------
    table : one row per subject, complete in ``columns``.
    columns : exact column names.
    min_group : smallest level that keeps its own dummy; 1 keeps all.
    categorical : those of ``columns`` that are levels although they are numbers.
    """
    check_columns(table, columns, place="design")
    blocks, names, notes = [np.ones((len(table), 1))], ["intercept"], []
    for column in columns:
        values = table[column]
        if values.isna().any():
            raise InputError(
                f"design, column {column}: found {int(values.isna().sum())} missing value(s), expected "
                "none. Take the rows that are complete in all columns first."
            )
        if column in categorical or not is_numeric(values):
            block, levels, note = _dummies(values, min_group)
            new = [f"{column}={level}" for level in levels]
        else:
            numbers = values.to_numpy(dtype=np.float64)
            block, new, note = numbers[:, None], [column], ""
            if np.ptp(numbers) == 0 if len(numbers) else True:
                block, new, note = block[:, :0], [], "constant, left out"
        blocks.append(block)
        names += new
        notes += [f"{column}: {note}"] if note else []
    return Design(np.hstack(blocks), tuple(names), tuple(notes))


def rank_culprits(matrix: NDArray, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns that the columns before them already determine; empty for full rank.

    Parameters
    ----------
    matrix : (n, p) float, intercept first.
    names : p names.
    """
    basis = np.empty((len(matrix), 0))
    culprits = []
    for j, name in enumerate(names):
        column = matrix[:, j] if j == 0 else matrix[:, j] - matrix[:, j].mean()
        length = np.linalg.norm(column)
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)  # twice is enough against rounding
        if length == 0 or np.linalg.norm(rest) <= RANK_TOLERANCE * length:
            culprits.append(name)
        else:
            basis = np.hstack([basis, (rest / np.linalg.norm(rest))[:, None]])
    return tuple(culprits)


def is_numeric(values: pd.Series) -> bool:
    """Whether a column enters a model as a number (yes/no columns do, as 1 and 0)."""
    return pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)


def _dummies(values: pd.Series, min_group: int) -> tuple[NDArray, list[str], str]:
    texts = values.map(level_text).astype(str).to_numpy(dtype=object)
    counts = _counts(texts)
    small = [level for level, count in counts if count < min_group]
    note = ""
    if small:
        merged = list(small)
        for level, _ in reversed(counts):  # smallest first
            if sum(count for name, count in counts if name in merged) >= min_group:
                break
            if level not in merged:
                merged.append(level)
        texts = np.array([OTHER if text in merged else text for text in texts], dtype=object)
        note = f"{', '.join(sorted(merged))} collapsed into {OTHER!r}"
        counts = _counts(texts)
    if len(counts) < 2:
        return np.empty((len(texts), 0)), [], "; ".join(filter(None, [note, "one level, left out"]))
    levels = [level for level, _ in counts[1:]]  # the first, most frequent, is the reference
    return np.stack([texts == level for level in levels], axis=1).astype(np.float64), levels, note


def _counts(texts: NDArray) -> list[tuple[str, int]]:
    levels, counts = np.unique(texts.astype(str), return_counts=True)
    return sorted(zip(levels.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
