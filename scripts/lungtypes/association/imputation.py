"""Multiple imputation of missing clinical values, as a sensitivity analysis of the complete cases.

Chained equations (van Buuren & Groothuis-Oudshoorn, J Stat Softw 45(3), 2011) run by scikit-learn's IterativeImputer.
Every value is drawn from a Bayesian linear regression on all other columns (Rubin 1987, p. 167): the cluster, the
covariates, the outcome, and the other outcomes of its block. Categories are dummies, and an imputed dummy stays the
number that was drawn: rounding it to a level would bias the models (Horton, Lipsitz & Parzen, Am Stat 57:229-232,
2003). The cluster is never imputed, and nothing of the images is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lungtypes.association.chained_equations import completed
from lungtypes.association.design import build_design, is_numeric, rank_culprits
from lungtypes.association.least_squares import least_squares
from lungtypes.association.models import MIN_RESIDUAL_DF
from lungtypes.association.outcome_rows import MIN_DISTINCT_VALUES, OK
from lungtypes.association.pooling import Pooled, pool
from lungtypes.association.rows import AssociationPlan, Outcome, Predictor, check_columns, join_predictor, level_text
from lungtypes.randomness import derive_seed

IMPUTED_COLUMNS = [
    "outcome",
    "label",
    "unit",
    "family",
    "type",
    "m",
    "n",
    "n_imputed",
    "status",
    "f",
    "df_num",
    "df_den",
    "p_value",
    "q_value",
    "p_complete_case",
    "fraction_missing_information",
    "estimate",
    "ci_low",
    "ci_high",
    "note",
]
COMPLETE = "not_imputed:nothing_missing"
LINEAR = ("continuous", "skewed")
MIN_IMPUTATIONS = 20
MAX_BLOCK = 13  # outcomes that are imputed together: each has at most 12 others as auxiliaries
SUBJECTS_PER_COLUMN = 5  # a block shrinks until the table has as many


@dataclass(frozen=True)
class Block:
    """Columns that are imputed together, standardised; NaN where a value is missing.

    Attributes
    ----------
    matrix : (n, p) float; first the predictor's columns, then the covariates', then one column an outcome.
    n_predictor, n_covariates : how many columns of each.
    outcomes : of the last columns, in order, with the centre and scale of each.
    """

    matrix: NDArray
    n_predictor: int
    n_covariates: int
    outcomes: tuple[Outcome, ...]
    scales: NDArray


def impute_outcomes(
    clinical: pd.DataFrame,
    predictor: Predictor,
    plan: AssociationPlan,
    *,
    m: int,
    p_complete_case: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """The adjusted model of each linear outcome with missing values imputed, pooled from m imputations.

    Parameters
    ----------
    clinical : one row per subject, with a column ``subject`` or the subject as index.
    predictor : cluster or phenotype. Subjects without one, and those in clusters below ``plan.min_group``, stay out.
    plan : outcomes, covariates, standard errors, seed.
    m : imputations; raised to the percentage of subjects with a missing outcome or covariate, and to 20.
    p_complete_case : p value of the complete cases by outcome, printed beside.

    Returns
    -------
    DataFrame : columns ``IMPUTED_COLUMNS``, one row an outcome. f, df_num, df_den and p_value are the test D1 of the
        predictor; q_value is Benjamini-Hochberg within the family. For two clusters and for a phenotype (per SD):
        estimate with 95 % limits, for skewed outcomes a ratio. n_imputed: subjects with a missing outcome or
        covariate. status is ``ok`` or ``not_imputed:<why>``; numbers are NaN then.
    """
    table, values = _joined(clinical, predictor, plan)
    names = [outcome.name for outcome in plan.outcomes]
    check_columns(table, [*names, *plan.covariates], place="imputation")
    rows = {outcome.name: _row(outcome, table, plan, p_complete_case or {}) for outcome in plan.outcomes}
    fixed = _predictor_columns(values, predictor)
    covariates, notes = _covariate_columns(table, plan)
    helpful = (OK, "auxiliary", COMPLETE)  # a complete outcome helps to impute the others
    usable = [o for o in plan.outcomes if rows[o.name]["status"] in helpful] if fixed.shape[1] else []
    for block in _blocks(table, fixed, covariates, usable):
        targets = [o for o in block.outcomes if rows[o.name]["status"] == OK]
        percent = max((100 * rows[o.name]["n_imputed"] / rows[o.name]["n"] for o in targets), default=0)
        drawn = max(m, MIN_IMPUTATIONS, math.ceil(percent))
        for name, result in _pool_block(block, targets, plan, drawn).items():
            rows[name] |= result
    for row in rows.values():
        if row["status"] == "auxiliary":
            row["status"] = f"not_imputed:{row['type']}_outcome"
        elif row["status"] == OK and np.isnan(row["p_value"]):
            row["status"] = "not_imputed:one_cluster" if not fixed.shape[1] else "not_imputed:too_few_subjects"
        elif row["status"] == OK:
            row["note"] = "; ".join(filter(None, [row["note"], *notes]))
    result = pd.DataFrame(rows.values(), columns=IMPUTED_COLUMNS)
    return result.assign(q_value=_q_within_family(result))


def _joined(clinical: pd.DataFrame, predictor: Predictor, plan: AssociationPlan) -> tuple[pd.DataFrame, pd.Series]:
    table, values = join_predictor(clinical, predictor)  # sorted by subject: the order of the rows decides no draw
    if predictor.kind == "cluster":
        kept = (values.map(values.value_counts()) >= max(plan.min_group, 2)).to_numpy()
        table, values = table.loc[kept], values.loc[kept]
    return table, values


def _row(outcome: Outcome, table: pd.DataFrame, plan: AssociationPlan, known: Mapping[str, float]) -> dict:
    row: dict = dict.fromkeys(IMPUTED_COLUMNS, np.nan)
    row |= {"outcome": outcome.name, "label": outcome.label, "unit": outcome.unit, "family": outcome.family}
    row |= {"type": outcome.type, "n": len(table), "note": "", "p_complete_case": known.get(outcome.name, np.nan)}
    present = table[outcome.name].notna()
    row["n_imputed"] = int((~present | table[list(plan.covariates)].isna().any(axis=1)).sum())
    numbers = _numbers(outcome, table[outcome.name])
    row["status"] = OK if outcome.type in LINEAR else "auxiliary"
    if not present.any():
        row["status"] = "not_imputed:no_rows"
    elif numbers is None:
        row["status"] = "not_imputed:not_numeric"
    elif not np.isfinite(numbers).any():
        row["status"] = "not_imputed:unknown_level"
    elif outcome.type in LINEAR and len(np.unique(numbers[np.isfinite(numbers)])) < MIN_DISTINCT_VALUES:
        row["status"] = "not_imputed:too_few_values"
    elif outcome.type in LINEAR and row["n_imputed"] == 0:
        row |= {"status": COMPLETE, "note": "the complete cases are everyone"}
    return row


def _numbers(outcome: Outcome, values: pd.Series) -> NDArray | None:
    """The outcome on the scale of its model, levels as 0, 1, ...; None for text or a log of a negative value."""
    if outcome.type in LINEAR:
        if not is_numeric(values):
            return None
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        if outcome.type == "skewed":
            return np.log1p(numbers) if np.nanmin(numbers, initial=0.0) > -1 else None
        return numbers
    texts = values.map(level_text, na_action="ignore")
    levels = [level_text(level) for level in (outcome.levels or sorted(values.dropna().unique(), key=_order))]
    return texts.map({level: i for i, level in enumerate(levels)}).to_numpy(np.float64)


def _order(value: object) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float | np.number) else (1, 0.0, str(value))


def _predictor_columns(values: pd.Series, predictor: Predictor) -> NDArray:
    numbers = values.to_numpy(np.float64)
    if len(np.unique(numbers)) < 2:
        return np.empty((len(numbers), 0))
    if predictor.kind == "phenotype":
        return ((numbers - numbers.mean()) / numbers.std(ddof=1))[:, None]
    return (numbers[:, None] == np.unique(numbers)[1:]).astype(np.float64)


def _covariate_columns(table: pd.DataFrame, plan: AssociationPlan) -> tuple[NDArray, list[str]]:
    """The covariates' columns of the design, NaN in the rows of a missing value; numbers are standardised."""
    blocks, notes = [np.empty((len(table), 0))], []
    for name in plan.covariates:
        known = table[name].notna().to_numpy()
        design = build_design(table.loc[known], columns=[name], min_group=plan.min_group)
        block = np.full((len(table), design.matrix.shape[1] - 1), np.nan)
        block[known] = design.matrix[:, 1:]
        if is_numeric(table[name]) and block.shape[1]:
            block = (block - np.nanmean(block)) / np.nanstd(block)
        blocks.append(block)
        notes += design.notes
    return np.hstack(blocks), notes


def _blocks(table: pd.DataFrame, fixed: NDArray, covariates: NDArray, outcomes: Sequence[Outcome]) -> Iterator[Block]:
    """Outcomes of one family stay together where they can."""
    room = len(table) // SUBJECTS_PER_COLUMN - fixed.shape[1] - covariates.shape[1]
    size = min(MAX_BLOCK, room)
    if size < 1:
        return
    families = list(dict.fromkeys(outcome.family for outcome in outcomes))
    ordered = sorted(outcomes, key=lambda outcome: families.index(outcome.family))
    for start in range(0, len(ordered), size):
        part = tuple(ordered[start : start + size])
        columns = np.stack([_numbers(outcome, table[outcome.name]) for outcome in part], axis=1)
        centre, scale = np.nanmean(columns, axis=0), np.nanstd(columns, axis=0)
        scale[scale == 0] = 1.0
        matrix = np.hstack([fixed, covariates, (columns - centre) / scale])
        yield Block(matrix, fixed.shape[1], covariates.shape[1], part, scale)


def _pool_block(block: Block, targets: Sequence[Outcome], plan: AssociationPlan, m: int) -> dict[str, dict]:
    if not targets or np.isnan(block.matrix).all(axis=0).any():
        return {}
    k, end = block.n_predictor, block.n_predictor + block.n_covariates
    n, p = len(block.matrix), 1 + end
    if n - p < MIN_RESIDUAL_DF:
        return {}
    seed = derive_seed(plan.seed, "impute", *[outcome.name for outcome in block.outcomes])
    fits: dict[str, list] = {outcome.name: [] for outcome in targets}
    for filled in completed(block.matrix, m=m, seed=seed):
        design = np.hstack([np.ones((n, 1)), filled[:, :end]])
        if rank_culprits(design, [str(i) for i in range(p)]):
            return {o.name: {"status": "not_imputed:rank_deficient"} for o in targets}
        for j, outcome in enumerate(block.outcomes):
            if outcome.name in fits:
                fit = least_squares(design, filled[:, end + j] * block.scales[j])
                classical = fit.sse / (n - p) * np.linalg.inv(design.T @ design)
                covariance = fit.covariance_hc3 if plan.standard_errors == "hc3" else classical
                fits[outcome.name].append((fit.beta[1 : 1 + k], covariance[1 : 1 + k, 1 : 1 + k]))
    results = {}
    for outcome in targets:
        estimates, covariances = map(np.array, zip(*fits[outcome.name], strict=True))
        if not np.isfinite(covariances).all():
            results[outcome.name] = {"status": "not_imputed:singular_errors"}
            continue
        results[outcome.name] = {"m": m, **_printed(pool(estimates, covariances, df_complete=n - p), outcome)}
    return results


def _printed(pooled: Pooled, outcome: Outcome) -> dict:
    row = {"f": pooled.f, "df_num": pooled.df_num, "df_den": pooled.df_den, "p_value": pooled.p_value}
    row["fraction_missing_information"] = pooled.fraction_missing
    if pooled.df_num > 1:
        return row
    half = float(stats.t.ppf(0.975, pooled.df_den)) * math.sqrt(float(pooled.covariance[0, 0]))
    limits = {
        name: float(pooled.estimate[0]) + d
        for name, d in zip(("estimate", "ci_low", "ci_high"), (0, -half, half), strict=True)
    }
    return row | {name: math.exp(x) if outcome.type == "skewed" else x for name, x in limits.items()}


def _q_within_family(table: pd.DataFrame) -> pd.Series:
    q = pd.Series(np.nan, index=table.index)
    for _, part in table[table["p_value"].notna()].groupby("family"):
        q.loc[part.index] = stats.false_discovery_control(part["p_value"].to_numpy(np.float64), method="bh")
    return q
