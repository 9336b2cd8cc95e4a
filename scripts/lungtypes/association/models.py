"""Every model of an outcome on one common set of rows (CLAM paper, section 5.3; first the base, then + cluster).

Linear models for continuous outcomes, logistic for binary ones (Firth's form if the data are separated), proportional
odds for ordinal ones (multinomial if the odds are clearly not proportional).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lungtypes.association.ordinal import multinomial, proportional_odds
from lungtypes.association.outcome_rows import OK, OutcomeRows, outcome_rows
from lungtypes.association.rows import AssociationPlan, Outcome, Predictor, join_predictor
from lungtypes.association.single_model import MIN_RESIDUAL_DF, Kind, Model, fit_model

PROPORTIONAL_P = 0.01  # below it the odds are taken as not proportional
SETS = {
    "null": (),
    "crude": ("predictor",),
    "base": ("base",),
    "adjusted": ("base", "predictor"),
    "technical_base": ("base", "technical"),
    "technical": ("base", "technical", "predictor"),
    "comparator": ("base", "comparator"),
    "both": ("base", "comparator", "predictor"),
}
MAIN = ("null", "crude", "base", "adjusted")
NAMES = {"logistic": "logistic", "firth": "logistic, Firth"}


@dataclass(frozen=True, eq=False)
class OutcomeFits:
    """All models of one outcome; a model that was not fitted is its status ``not_fitted:<why>``.

    Attributes
    ----------
    outcome, predictor : what was set against what.
    status : ``ok`` when null, crude, base and adjusted were fitted.
    model : "linear", "linear, log1p", "logistic", "logistic, Firth", "proportional odds" or "multinomial".
    rows : the common rows.
    models : by the names of ``SETS``; technical and comparator only if the plan has them.
    proportional_odds_p : likelihood ratio against the multinomial model; NaN for other outcomes.
    note : what a reader must know.
    """

    outcome: Outcome
    predictor: Predictor
    status: str
    model: str
    rows: OutcomeRows
    models: dict[str, Model | str]
    proportional_odds_p: float
    note: str

    def get(self, name: str) -> Model | None:
        """The fitted model of that name, or None."""
        model = self.models.get(name)
        return model if isinstance(model, Model) else None


def fit_outcomes(clinical: pd.DataFrame, predictor: Predictor, plan: AssociationPlan) -> list[OutcomeFits]:
    """Every model of every outcome of the plan.

    Parameters
    ----------
    clinical : one row per subject; the subject is the column ``subject``, or else the index.
    predictor : clusters or a phenotype by subject; subjects that lack a clinical row are left out.

    Raises
    ------
    InputError : a column of the plan is not in the table, or a subject stands twice.
    """
    table, values = join_predictor(clinical, predictor)
    return [_fit_outcome(table, values, predictor, outcome, plan) for outcome in plan.outcomes]


def merged_levels(codes: NDArray, smallest: int) -> NDArray:
    """Codes in which levels of fewer than ``smallest`` subjects are joined with the level below (the lowest: above)."""
    codes = codes.copy()
    while len(np.unique(codes)) > 2:
        levels, counts = np.unique(codes, return_counts=True)
        if counts.min() >= smallest:
            break
        place = int(np.argmin(counts))
        codes[codes == levels[place]] = levels[place - 1] if place else levels[1]
    return np.unique(codes, return_inverse=True)[1]


def _fit_outcome(
    table: pd.DataFrame, values: pd.Series, predictor: Predictor, outcome: Outcome, plan: AssociationPlan
) -> OutcomeFits:
    rows = outcome_rows(table, values, predictor, outcome, plan)
    kind: Kind = {"binary": "logistic", "ordinal": "proportional odds"}.get(outcome.type, "linear")
    name = NAMES.get(kind, kind) + (", log1p" if outcome.type == "skewed" else "")
    empty = OutcomeFits(outcome, predictor, rows.status, name, rows, {}, float("nan"), rows.note)
    if rows.status != OK:
        return empty
    notes, odds_p = [rows.note], float("nan")
    models = _fit_sets(rows, kind, plan)
    if kind == "logistic" and _separated(rows, models):
        kind = "firth"
        models = _fit_sets(rows, kind, plan)
        notes.append("separated data: Firth's penalised likelihood; R2 and AIC are undefined")
    if kind == "proportional odds" and isinstance(models["adjusted"], Model):
        odds_p, why = _proportional_odds_p(rows, models["adjusted"].matrix, plan.min_group)
        notes.append(why)
        if odds_p < PROPORTIONAL_P:
            joined = merged_levels(rows.y, plan.min_group)
            fewer = _joined_texts(rows.levels, rows.y, joined)
            other = _fit_sets(replace(rows, y=joined, levels=fewer), "multinomial", plan)
            if all(isinstance(other[key], Model) for key in MAIN):
                models, kind, rows = other, "multinomial", replace(rows, y=joined, levels=fewer)
                notes.append(f"odds not proportional (p = {odds_p:.2g}): multinomial model of {', '.join(fewer)}")
            else:
                notes.append(f"odds not proportional (p = {odds_p:.2g}), and no multinomial model could be fitted")
    if plan.technical and isinstance(models.get("technical"), str):
        notes.append(f"model with {', '.join(plan.technical)} {models['technical']}")
    failed = [str(models[key]) for key in reversed(MAIN) if isinstance(models[key], str)]
    name = NAMES.get(kind, kind) + (", log1p" if outcome.type == "skewed" else "")
    note = "; ".join(dict.fromkeys(filter(None, notes)))
    return replace(
        empty,
        status=failed[0] if failed else OK,
        model=name,
        rows=rows,
        models=models,
        proportional_odds_p=odds_p,
        note=note,
    )


def _fit_sets(rows: OutcomeRows, kind: Kind, plan: AssociationPlan) -> dict[str, Model | str]:
    wanted = [
        name
        for name, parts in SETS.items()
        if ("technical" not in parts or plan.technical) and ("comparator" not in parts or plan.comparator)
    ]
    models = {name: fit_model(rows, SETS[name], kind, standard_errors=plan.standard_errors) for name in wanted}
    if kind == "firth":
        return models | {name: "not_fitted:separation" for name in ("comparator", "both") if name in wanted}
    return models


def _separated(rows: OutcomeRows, models: dict[str, Model | str]) -> bool:
    """Whether the main models are separated, or a level of cluster or covariate has only one value of the outcome."""
    if any(models[name] == "not_fitted:separation" for name in MAIN):
        return True
    adjusted = models["adjusted"]
    return isinstance(adjusted, Model) and _empty_cell(adjusted.matrix, rows.y)


def _empty_cell(matrix: NDArray, codes: NDArray) -> bool:
    for column in matrix[:, 1:].T:
        if np.isin(column, (0.0, 1.0)).all():
            counts = [(codes[column == side] == code).sum() for side in (0, 1) for code in (0, 1)]
            if min(counts) == 0:
                return True
    return False


def _proportional_odds_p(rows: OutcomeRows, matrix: NDArray, min_group: int) -> tuple[float, str]:
    """Likelihood ratio of proportional odds against the multinomial model, levels below ``min_group`` joined."""
    codes = merged_levels(rows.y, min_group)
    n_levels, p = int(codes.max()) + 1, matrix.shape[1]
    if n_levels == 2:
        return float("nan"), "two levels: odds are proportional by definition"
    if len(codes) - p * (n_levels - 1) < MIN_RESIDUAL_DF:
        return float("nan"), "proportional odds not checked: too few subjects for the multinomial model"
    small, large = proportional_odds(matrix, codes), multinomial(matrix, codes)
    if not (small.converged and large.converged):
        return float("nan"), "proportional odds not checked: the multinomial model did not converge"
    statistic = max(0.0, 2 * (large.loglik - small.loglik))
    return float(stats.chi2.sf(statistic, (n_levels - 2) * (p - 1))), ""


def _joined_texts(levels: tuple[str, ...], codes: NDArray, joined: NDArray) -> tuple[str, ...]:
    groups: dict[int, list[str]] = {}
    for code, text in enumerate(levels):
        groups.setdefault(int(joined[codes == code][0]), []).append(text)
    return tuple("/".join(groups[code]) for code in sorted(groups))
