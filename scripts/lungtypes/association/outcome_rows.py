"""The one set of rows on which every model of an outcome is fitted, and the parts of those models.

Models on different rows are never compared: a test between them would answer no question.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.design import Design, build_design, is_numeric
from lungtypes.association.rows import AssociationPlan, Outcome, Predictor, check_columns, level_text

OK = "ok"
MIN_DISTINCT_VALUES = 3


@dataclass(frozen=True)
class OutcomeRows:
    """The rows of one outcome and the parts of its models.

    Attributes
    ----------
    status : ``ok`` or ``not_fitted:<why>``.
    n, n_missing : subjects in the models; subjects with a value of the predictor left out for a missing value.
    y : (n,) outcome; skewed: log(1 + value); binary and ordinal: number of the level, from 0.
    levels : of a binary or ordinal outcome, as printed, in the order of the codes.
    predictor : (n,) int clusters, or the phenotype in SDs from its mean.
    parts : designs called base, predictor, technical and comparator, each with the intercept in column 0.
    note : what was collapsed, dropped or left out.
    """

    status: str
    n: int
    n_missing: int
    y: NDArray = field(default_factory=lambda: np.empty(0))
    levels: tuple[str, ...] = ()
    predictor: NDArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    parts: dict[str, Design] = field(default_factory=dict)
    note: str = ""


def outcome_rows(
    table: pd.DataFrame, values: pd.Series, predictor: Predictor, outcome: Outcome, plan: AssociationPlan
) -> OutcomeRows:
    """Rows complete in outcome, predictor and every column of every model, in clusters of at least ``min_group``.

    table, values : as :func:`lungtypes.association.rows.join_predictor` returns them.
    """
    technical = [name for name in plan.technical if name not in plan.covariates]
    needed = [outcome.name, *plan.covariates, *technical, *([plan.comparator] if plan.comparator else [])]
    check_columns(table, needed, place=f"outcome {outcome.name}")
    complete = table[needed].notna().all(axis=1).to_numpy()
    n_missing = int((~complete).sum())
    chosen = values[complete].to_numpy()
    found = OutcomeRows(OK, len(chosen), n_missing)
    if not len(chosen):
        return replace(found, status="not_fitted:no_rows", note="no subject is complete")
    kept, notes, status = _usable(chosen, predictor, plan.min_group)
    found = replace(found, n=int(kept.sum()), note="; ".join(notes))
    if status:
        return replace(found, status=status)
    part = table.loc[complete].loc[kept]
    y, levels, why, note = _outcome_values(part[outcome.name], outcome)
    if why:
        return replace(found, status=f"not_fitted:{why}", note="; ".join(filter(None, [*notes, note])))
    chosen = chosen[kept]
    if predictor.kind == "phenotype":
        chosen = (chosen - chosen.mean()) / chosen.std(ddof=1)
    own = pd.DataFrame({predictor.name: chosen}, index=part.index)
    levels_of = [predictor.name] if predictor.kind == "cluster" else []
    parts = {
        "base": build_design(part, columns=list(plan.covariates), min_group=plan.min_group),
        "predictor": build_design(own, columns=[predictor.name], min_group=1, categorical=levels_of),
    }
    if technical:
        parts["technical"] = build_design(part, columns=technical, min_group=plan.min_group)
    if plan.comparator:
        one = [plan.comparator]
        parts["comparator"] = build_design(part, columns=one, min_group=plan.min_group, categorical=one)
    notes += [note] if note else []
    notes += [text for design in parts.values() for text in design.notes]
    return replace(found, y=y, levels=levels, predictor=chosen, parts=parts, note="; ".join(dict.fromkeys(notes)))


def _usable(chosen: NDArray, predictor: Predictor, min_group: int) -> tuple[NDArray, list[str], str]:
    """Which subjects the predictor allows, notes, and a status where it allows no model."""
    if predictor.kind == "phenotype":
        finite = bool(np.isfinite(chosen).all())
        constant = not finite or float(np.ptp(chosen)) <= 1e-12 * max(1.0, float(np.abs(chosen).max()))
        why = "" if finite else "not_fitted:not_finite"
        return np.ones(len(chosen), dtype=bool), [], why or ("not_fitted:constant_predictor" if constant else "")
    limit = max(min_group, 2)
    sizes = {int(c): int((chosen == c).sum()) for c in np.unique(chosen)}
    small = [c for c, size in sizes.items() if size < limit]
    notes = [f"cluster {c} (n = {sizes[c]}) left out, below {limit}" for c in small]
    if len(sizes) - len(small) < 2:
        notes.append(f"fewer than two clusters with {limit} complete subjects")
        return ~np.isin(chosen, small), notes, "not_fitted:one_cluster"
    return ~np.isin(chosen, small), notes, ""


def _outcome_values(values: pd.Series, outcome: Outcome) -> tuple[NDArray, tuple[str, ...], str, str]:
    """Numbers or codes, level texts, why they allow no model (or ""), note."""
    none = np.empty(0)
    if outcome.type in ("binary", "ordinal"):
        return _codes(values, outcome)
    if not is_numeric(values):
        return none, (), "not_numeric", "the outcome holds text"
    y = values.to_numpy(dtype=np.float64)
    if not np.isfinite(y).all():
        return none, (), "not_finite", ""
    if len(np.unique(y)) == 1:
        return none, (), "constant_outcome", "all values are the same"
    if outcome.type == "skewed":
        if y.min() <= -1:
            return none, (), "log_of_negative", "the logarithm of 1 + value needs values above -1"
        y = np.log1p(y)
    if len(np.unique(y)) < MIN_DISTINCT_VALUES:
        return none, (), "too_few_values", f"fewer than {MIN_DISTINCT_VALUES} values"
    return y, (), "", ""


def _codes(values: pd.Series, outcome: Outcome) -> tuple[NDArray, tuple[str, ...], str, str]:
    texts = values.map(level_text).astype(str)
    distinct, note = sorted(values.unique().tolist(), key=lambda v: (isinstance(v, str), v)), ""
    order = list(dict.fromkeys(level_text(level) for level in (outcome.levels or distinct)))
    unknown = sorted(set(texts) - set(order))
    if unknown:
        why = f"unknown_level ({', '.join(unknown)})"
        return np.empty(0), (), why, f"expected {', '.join(order)}"
    present = [level for level in order if (texts == level).any()]
    if len(present) == 1:
        return np.empty(0), (), "constant_outcome", "all values are the same"
    if outcome.type == "binary" and len(order) > 2:
        return np.empty(0), (), f"not_binary ({len(order)} levels)", "a binary outcome has two levels"
    if outcome.type == "ordinal":
        note = f"no subject at level {', '.join(level for level in order if level not in present)}"
        note = note if len(present) < len(order) else ""
        if not outcome.levels and any(isinstance(value, str) for value in distinct):
            note = "; ".join(filter(None, [f"levels in the order of their names: {' < '.join(order)}", note]))
    codes = texts.map({level: code for code, level in enumerate(present)}).to_numpy(dtype=np.int64)
    return codes, tuple(present), "", note
