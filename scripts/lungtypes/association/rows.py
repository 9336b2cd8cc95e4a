"""Puts the clinical table and the clusters on the same subjects, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
    """One outcome of the models.

    Attributes
    ----------
    name, label, unit : its column, and how it is printed.
    family : the q values are corrected within it.
    type : ``continuous``; ``skewed`` (modelled as the logarithm of 1 + value, effects are ratios of geometric means of
        1 + value); ``binary``; ``ordinal``.
    levels : ordinal: from low to high. Binary: (no, yes), the second is the event. Empty: the sorted values.
    same_image : read from the CT that was clustered; it is tested, with a footnote that it is no independent outcome.
    """

    name: str
    label: str
    unit: str
    family: str
    type: Literal["continuous", "skewed", "binary", "ordinal"]
    levels: tuple = ()
    same_image: bool = False


@dataclass(frozen=True)
class Predictor:
    """What is set against the outcomes.

    Attributes
    ----------
    values : by subject (index: text); int clusters, or a float phenotype.
    kind : a phenotype enters the models as a number, in units of its standard deviation.
    name, label, unit : as printed.
    """

    values: pd.Series
    kind: Literal["cluster", "phenotype"]
    name: str = "cluster"
    label: str = "Cluster"
    unit: str = ""


@dataclass(frozen=True)
class AssociationPlan:
    """Which models are fitted, and how.

    Attributes
    ----------
    outcomes, covariates : what is modelled, and the columns of the base model.
    technical : columns of the scanner; they enter a sensitivity model only.
    comparator : column of an existing classification, its values taken as levels; ``None`` without one.
    standard_errors : of linear models. ``hc3`` holds when groups differ in spread; ``classical`` does not.
    margin : loss in R2 against the comparator that still counts as "not worse".
    min_group : smallest cluster, and smallest level of a covariate.
    n_bootstrap, cv_repeats : draws of the intervals; repeats of 10-fold cross-validation, 0 for none.
    seed : of both.
    """

    outcomes: tuple[Outcome, ...]
    covariates: tuple[str, ...]
    technical: tuple[str, ...]
    comparator: str | None
    standard_errors: Literal["hc3", "classical"]
    margin: float
    min_group: int
    n_bootstrap: int
    cv_repeats: int
    seed: int


def as_variables(variables: Iterable[Variable | Mapping]) -> list[Variable]:
    """The variables of the config as dataclasses."""
    return _read(variables, Variable, "type", ("continuous", "categorical"))


def as_outcomes(outcomes: Iterable[Outcome | Mapping]) -> list[Outcome]:
    """The outcomes of the config as dataclasses."""
    read = _read(outcomes, Outcome, "type", ("continuous", "skewed", "binary", "ordinal"))
    return [replace(outcome, levels=tuple(outcome.levels)) for outcome in read]


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
    if isinstance(clusters, pd.DataFrame):
        clusters = clusters.set_index("subject")["cluster"]
    table, series = _join(clinical, clusters, place="clusters")
    return table, series.astype(np.int64)


def join_predictor(clinical: pd.DataFrame, predictor: Predictor) -> tuple[pd.DataFrame, pd.Series]:
    """The subjects that the clinical table and the predictor have, sorted by their text.

    Returns
    -------
    (DataFrame, Series) : clinical values, and int clusters or a float phenotype, on one index. Subjects without a value
        of the predictor are left out.
    """
    if predictor.kind not in ("cluster", "phenotype"):
        raise InputError(f"predictor {predictor.name}: found kind {predictor.kind!r}, expected cluster or phenotype.")
    table, series = _join(clinical, predictor.values, place=predictor.name)
    order = series.index.sort_values()
    kind = np.int64 if predictor.kind == "cluster" else np.float64
    return table.loc[order], series.loc[order].astype(kind)


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


def _join(clinical: pd.DataFrame, series: pd.Series, *, place: str) -> tuple[pd.DataFrame, pd.Series]:
    table = clinical.set_index("subject") if "subject" in clinical else clinical
    table, series = table.set_axis(table.index.astype(str)), series.set_axis(series.index.astype(str))
    for where, index in (("clinical table", table.index), (place, series.index)):
        if not index.is_unique:
            twice = index[index.duplicated()][0]
            raise InputError(
                f"{where}: found subject {twice} more than once, expected each once. Remove all but one of its rows."
            )
    series = series.dropna()
    shared = series.index[series.index.isin(table.index)]
    return table.loc[shared], series.loc[shared]


def _read(items: Iterable, kind: type, choice: str, allowed: tuple[str, ...]) -> list:
    result = []
    for item in items:
        if isinstance(item, Mapping):
            fields = kind.__dataclass_fields__
            unknown = [key for key in item if key not in fields]
            if "name" not in item or unknown:
                raise InputError(
                    f"{kind.__name__.lower()}: found keys {', '.join(map(str, item))}, expected {', '.join(fields)}. "
                    "Correct the config."
                )
            defaults = {"label": item["name"], "unit": "", "family": "", "type": "continuous"}
            item = kind(**{**{k: v for k, v in defaults.items() if k in fields}, **item})
        if getattr(item, choice) not in allowed:
            raise InputError(
                f"{kind.__name__.lower()} {item.name}: found {choice} {getattr(item, choice)!r}, "
                f"expected {' or '.join(allowed)}. Correct the config."
            )
        result.append(item)
    return result
