"""Audit: do clusters, or the embedding they come from, follow how the scans were made rather than the lungs?

Two questions for each property: does it differ between the clusters (test and effect size), and can it be read from
the embedding before clustering (cross-validated, against permuted subjects)? The second finds what a partition hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from lungtypes.errors import InputError
from lungtypes.evaluation.confounder_tests import compare_levels, compare_numbers
from lungtypes.evaluation.kmeans import one_thread
from lungtypes.evaluation.predictability import Predictability, predict_levels, predict_number
from lungtypes.randomness import derive_seed

COLUMNS = [
    "variable", "label", "family", "kind", "n", "n_missing", "test", "statistic", "p_value", "q_value", "effect_name",
    "effect", "predictable", "chance", "predictable_p95", "predictable_p", "predictable_q", "note", "flag",
]  # fmt: skip
Q_LEVEL = 0.05
LARGE_EFFECT = 0.3  # Cohen 1988: a medium correlation; for epsilon squared its square
GOES_WITH = "goes with the clusters"
PREDICTED = "the embedding predicts it"
OTHER = "other"


@dataclass(frozen=True)
class Variable:
    """One property of the scans.

    Attributes
    ----------
    name, label : column and words.
    family : ``scanner`` (how the scan was made), ``registration`` (how well it was brought to the template) or
        ``person`` (may be disease as well).
    kind : ``categorical`` (text) or ``numeric`` (float).
    values : by subject; empty text and NaN are missing.
    """

    name: str
    label: str
    family: Literal["scanner", "registration", "person"]
    kind: Literal["categorical", "numeric"]
    values: pd.Series


def audit_confounders(
    clusters: pd.Series,
    points: NDArray | None,
    variables: Sequence[Variable],
    *,
    min_level: int,
    n_permutations: int,
    seed: int,
) -> pd.DataFrame:
    """One row for each variable, in the given order.

    Parameters
    ----------
    clusters : by subject (index text), int.
    points : (n, d) the subjects' embedding before clustering, in the order of ``clusters``; ``None`` for none.
    variables : what to look at; a variable that is absent, constant or rare gets a row with the reason.
    min_level : levels with fewer scans are joined as "other"; that one is left out if it has fewer, too.
    n_permutations, seed : of the chi-square of sparse tables and of the predictions.

    Returns
    -------
    DataFrame of COLUMNS : p and q of no difference between clusters; effect (bias-corrected Cram\u00e9r's V or epsilon
        squared); predictable (balanced accuracy or R2), its chance level, 95th percentile and p under permutation.
        q values are Benjamini and Hochberg's over this table. ``flag`` : ``goes with the clusters`` for q < 0.05 with
        V above 0.3 or epsilon squared above 0.09, ``the embedding predicts it`` above the 95th percentile, both, or
        empty.
    """
    if min_level < 2:
        raise InputError(f"min_level: found {min_level}, expected 2 or more.")
    if points is not None and len(points) != len(clusters):
        raise InputError(f"points: found {len(points)} rows, expected {len(clusters)}, one for each subject.")
    with one_thread():
        rows = [
            _audited(variable, clusters, points, min_level, n_permutations, derive_seed(seed, "audit", variable.name))
            for variable in variables
        ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for p, q in (("p_value", "q_value"), ("predictable_p", "predictable_q")):
        table[q] = _benjamini_hochberg(table[p].to_numpy(float))
    table["flag"] = [_flag(row) for row in table.itertuples()]
    return table


def _audited(
    variable: Variable, clusters: pd.Series, points: NDArray | None, min_level: int, n_permutations: int, seed: int
) -> dict:
    values = variable.values.reindex(clusters.index)
    known = (values.notna() & (values != "")).to_numpy()
    row = dict.fromkeys(COLUMNS, np.nan) | {name: "" for name in ("test", "effect_name", "flag")}
    row |= {name: getattr(variable, name) for name in ("label", "family", "kind")} | {"variable": variable.name}
    row |= {"n": int(known.sum()), "n_missing": int((~known).sum())}
    if not known.any():
        return row | {"note": "not known of any scan"}
    found, notes = values[known], []
    if variable.kind == "categorical":
        found, notes = _joined(found.astype(str), min_level)
    if found.nunique() < 2:
        same = "the same in all scans" if values[known].nunique() < 2 else "one level left"
        return row | {"n": len(found), "note": "; ".join([f"not tested: {same}", *notes])}
    kept = known & clusters.index.isin(found.index)
    own, cells = clusters[kept].to_numpy(), found.to_numpy(float if variable.kind == "numeric" else str)
    row["n"] = len(cells)
    draws = {"n_permutations": n_permutations, "seed": seed}
    if len(np.unique(own)) < 2:
        notes.append("not tested: one cluster")
    else:
        test = compare_numbers(own, cells) if variable.kind == "numeric" else compare_levels(own, cells, **draws)
        row |= {name: getattr(test, name) for name in ("test", "statistic", "p_value", "effect_name", "effect")}
    if points is None:
        predicted = Predictability(None, None, None, None, "not predicted: no embedding before clustering")
    else:
        predict = predict_number if variable.kind == "numeric" else predict_levels
        predicted = predict(points[kept], cells, **draws)
    numbers = {
        "predictable": predicted.value,
        "chance": predicted.chance,
        "predictable_p95": predicted.p95,
        "predictable_p": predicted.p_value,
    }
    row |= {name: np.nan if value is None else value for name, value in numbers.items()}
    return row | {"note": "; ".join([*notes, *([predicted.reason] if predicted.reason else [])])}


def _joined(levels: pd.Series, min_level: int) -> tuple[pd.Series, list[str]]:
    """Levels with the rare ones joined as "other", or left out where they are too few together; and what was done."""
    sizes = levels.value_counts()
    rare = levels.isin(sizes.index[sizes < min_level])
    n_rare = int((sizes < min_level).sum())
    if not n_rare:
        return levels, []
    words = f"{n_rare} level{'s' if n_rare > 1 else ''} of fewer than {min_level} scans"
    if rare.sum() < min_level:
        return levels[~rare], [f"{words} left out ({int(rare.sum())} scans)"]
    return levels.where(~rare, OTHER), [f"{words} joined as {OTHER!r}" if n_rare > 1 else f"{words} called {OTHER!r}"]


def _benjamini_hochberg(p_values: NDArray) -> NDArray:
    adjusted, tested = np.full(len(p_values), np.nan), np.isfinite(p_values)
    if tested.any():
        adjusted[tested] = false_discovery_control(p_values[tested], method="bh")
    return adjusted


def _flag(row: object) -> str:
    limit = LARGE_EFFECT if row.kind == "categorical" else LARGE_EFFECT**2
    words = [GOES_WITH] if row.q_value < Q_LEVEL and row.effect > limit else []
    return "; ".join([*words, *([PREDICTED] if row.predictable > row.predictable_p95 else [])])
