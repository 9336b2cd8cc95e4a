"""Puts the clinical table and the clusters on the same subjects, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from lungtypes.errors import InputError


@dataclass(frozen=True)
class Variable:
    """One variable of the description table: its column, printed label, type and unit."""

    name: str
    label: str
    type: Literal["continuous", "categorical"]
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """One outcome: its column, printed label, unit, family (for the q values) and transformation."""

    name: str
    label: str
    unit: str
    family: str
    transform: Literal["none", "log1p"]


def as_variables(variables: Iterable[Variable | Mapping]) -> list[Variable]:
    """The variables of the config as dataclasses."""
    return _read(variables, Variable, "type", ("continuous", "categorical"))


def as_outcomes(outcomes: Iterable[Outcome | Mapping]) -> list[Outcome]:
    """The outcomes of the config as dataclasses."""
    return _read(outcomes, Outcome, "transform", ("none", "log1p"))


def join_clusters(clinical: pd.DataFrame, clusters: pd.DataFrame | pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """The subjects that both tables have, in the order of the clusters.

    Parameters
    ----------
    clinical : one row per subject; the subject is the column ``subject``, or else the index.
    clusters : Series of int by subject, or a DataFrame with columns subject and cluster.

    Returns
    -------
    (DataFrame, Series) : clinical values and int clusters, on one index of subjects as text.
    """
    table = clinical.set_index("subject") if "subject" in clinical else clinical
    if isinstance(clusters, pd.DataFrame):
        series = clusters.set_index("subject")["cluster"]
    else:
        series = clusters
    table, series = table.set_axis(table.index.astype(str)), series.set_axis(series.index.astype(str))
    for place, index in (("clinical table", table.index), ("clusters", series.index)):
        if not index.is_unique:
            twice = index[index.duplicated()][0]
            raise InputError(f"{place}: found subject {twice} more than once, expected each once.")
    series = series.dropna()
    shared = series.index[series.index.isin(table.index)]
    return table.loc[shared], series.loc[shared].astype(np.int64)


def check_columns(table: pd.DataFrame, names: Iterable[str], *, place: str) -> None:
    """Raises one :class:`InputError` that lists every column that the table lacks."""
    absent = [name for name in names if name not in table.columns]
    if absent:
        raise InputError(
            f"{place}: found no column {', '.join(map(str, absent))} in the clinical table, expected one of "
            f"{', '.join(map(str, table.columns))}. Correct the name in the config."
        )


def level_text(value: object) -> str:
    """A level as printed: 1.0 and 1 are the same level "1"."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _read(items: Iterable, kind: type, choice: str, allowed: tuple[str, ...]) -> list:
    result = []
    for item in items:
        if isinstance(item, Mapping):
            fields = kind.__dataclass_fields__
            unknown = [key for key in item if key not in fields]
            if "name" not in item or unknown:
                raise InputError(
                    f"{kind.__name__.lower()}: found keys {', '.join(map(str, item))}, expected {', '.join(fields)}."
                )
            defaults = {"label": item["name"], "unit": "", "family": "", "transform": "none"}
            item = kind(**{**{k: v for k, v in defaults.items() if k in fields}, **item})
        if getattr(item, choice) not in allowed:
            raise InputError(
                f"{kind.__name__.lower()} {item.name}: found {choice} {getattr(item, choice)!r}, "
                f"expected {' or '.join(allowed)}."
            )
        result.append(item)
    return result
