"""Whether the adjusted models may be trusted: spread, tails, influential subjects, collinearity.

Breusch & Pagan 1979 in Koenker's form; Cook 1977; Fox & Monette 1992 (generalised variance inflation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lungtypes.association.effects import outcome_effect
from lungtypes.association.joint_tests import joint_test
from lungtypes.association.least_squares import LeastSquares, least_squares
from lungtypes.association.models import OutcomeFits
from lungtypes.association.rows import AssociationPlan
from lungtypes.association.single_model import Model, fit_model

DIAGNOSTIC_COLUMNS = [
    "outcome",
    "label",
    "breusch_pagan_p",
    "shapiro_p",
    "max_cooks_d",
    "n_influential",
    "max_leverage",
    "max_gvif",
    "condition_number",
    "sd_ratio",
    "effect_without_influential",
    "changed",
    "proportional_odds_p",
    "note",
]
CHANGE = 0.20  # relative change of the effect that is flagged
SHAPIRO_LIMIT = 5000  # subjects beyond which its p value is not accurate (scipy)


def diagnostics_table(fits: Sequence[OutcomeFits], plan: AssociationPlan) -> pd.DataFrame:
    """One row per outcome, about its adjusted model.

    Returns
    -------
    DataFrame : columns ``DIAGNOSTIC_COLUMNS``. n_influential: Cook's distance above 4/n. max_gvif: the largest
        GVIF^(1/df) of covariates and predictor, on the scale of a variance inflation factor. condition_number: of the
        standardised columns. sd_ratio: largest by smallest residual SD of the clusters. effect_without_influential: on
        the scale of the table of outcomes; changed: "sign", "size" (by more than 20 %) or "". What holds for linear
        models only is NaN for others.
    """
    return pd.DataFrame([_row(one, plan) for one in fits], columns=DIAGNOSTIC_COLUMNS)


def breusch_pagan_p(matrix: NDArray, residuals: NDArray) -> float:
    """p of the hypothesis that the spread of the residuals does not follow the columns (studentised)."""
    n, p = matrix.shape
    if p < 2:
        return float("nan")
    fit = least_squares(matrix, residuals**2)
    total = float(((residuals**2 - (residuals**2).mean()) ** 2).sum())
    return float(stats.chi2.sf(n * (1 - fit.sse / total), p - 1))


def cooks_distance(fit: LeastSquares) -> NDArray:
    """(n,) how far each subject moves all fitted values."""
    variance = fit.sse / (fit.n - fit.p)
    return fit.residuals**2 * fit.leverage / (fit.p * variance * (1 - fit.leverage) ** 2)


def generalised_vif(matrix: NDArray, terms: Sequence[Sequence[int]]) -> NDArray:
    """GVIF^(1/df) of each term (its columns of ``matrix``; the intercept is column 0 and in no term)."""
    correlation = np.corrcoef(matrix[:, 1:], rowvar=False).reshape(matrix.shape[1] - 1, -1)
    values = []
    for term in terms:
        own = np.array(term) - 1
        rest = np.setdiff1d(np.arange(len(correlation)), own)
        logs = [np.linalg.slogdet(correlation[np.ix_(part, part)])[1] for part in (own, rest)]
        values.append(np.exp((sum(logs) - np.linalg.slogdet(correlation)[1]) / len(own)))
    return np.array(values)


def _row(fits: OutcomeFits, plan: AssociationPlan) -> dict:
    row: dict = dict.fromkeys(DIAGNOSTIC_COLUMNS, np.nan)
    row |= {"outcome": fits.outcome.name, "label": fits.outcome.label, "changed": "", "note": ""}
    if fits.status != "ok":
        return row | {"note": fits.status}
    model = fits.get("adjusted")
    row |= {"max_gvif": _max_gvif(model), "condition_number": _condition(model.matrix)}
    row["proportional_odds_p"] = fits.proportional_odds_p
    if model.kind != "linear":
        return row | {"note": f"{fits.model}: residuals are judged for linear models only"}
    fit = model.fit
    distance = cooks_distance(fit)
    influential = distance > 4 / fit.n
    notes = [] if fit.n <= SHAPIRO_LIMIT else [f"Shapiro-Wilk not made beyond {SHAPIRO_LIMIT} subjects"]
    row |= {
        "breusch_pagan_p": breusch_pagan_p(model.matrix, fit.residuals),
        "shapiro_p": float(stats.shapiro(fit.residuals).pvalue) if fit.n <= SHAPIRO_LIMIT else np.nan,
        "max_cooks_d": float(distance.max()),
        "n_influential": int(influential.sum()),
        "max_leverage": float(fit.leverage.max()),
    }
    if fits.predictor.kind == "cluster":
        spreads = [fit.residuals[fits.rows.predictor == c].std() for c in np.unique(fits.rows.predictor)]
        row["sd_ratio"] = float(max(spreads) / min(spreads)) if min(spreads) > 0 else np.nan
    effect, why = _effect_without(fits, ~influential, plan)
    row |= {"effect_without_influential": effect, "changed": _changed(_effect(fits), effect)}
    return row | {"note": "; ".join([*notes, *([why] if why else [])])}


def _effect_without(fits: OutcomeFits, kept: NDArray, plan: AssociationPlan) -> tuple[float, str]:
    rows = fits.rows
    values = rows.predictor[kept]
    if fits.predictor.kind == "cluster" and len(np.unique(values)) < len(np.unique(rows.predictor)):
        return np.nan, "without influential subjects a cluster is empty"
    parts = {name: replace(design, matrix=design.matrix[kept]) for name, design in rows.parts.items()}
    fewer = replace(rows, n=int(kept.sum()), y=rows.y[kept], predictor=values, parts=parts)
    models = {
        "base": fit_model(fewer, ("base",), "linear", standard_errors=plan.standard_errors),
        "adjusted": fit_model(fewer, ("base", "predictor"), "linear", standard_errors=plan.standard_errors),
    }
    failed = [model for model in models.values() if isinstance(model, str)]
    if failed:
        return np.nan, f"without influential subjects {failed[0]}"
    return _effect(replace(fits, rows=fewer, models=models)), ""


def _effect(fits: OutcomeFits) -> float:
    full = fits.get("adjusted")
    test = joint_test(full, fits.get("base"), full.predictor_columns, fits.rows, "classical")
    return outcome_effect(fits, test, test).value


def _changed(before: float, after: float) -> str:
    if not np.isfinite(after):
        return ""
    if before * after < 0:
        return "sign"
    return "size" if abs(after - before) > CHANGE * abs(before) else ""


def _max_gvif(model: Model) -> float:
    """Columns ``name=level`` of one factor are one term, and so are those of the predictor."""
    terms: dict[str, list[int]] = {}
    for column, name in enumerate(model.names):
        if column:
            terms.setdefault(name.rsplit("=", 1)[0], []).append(column)
    if len(terms) < 2:
        return float("nan")
    return float(generalised_vif(model.matrix, list(terms.values())).max())


def _condition(matrix: NDArray) -> float:
    if matrix.shape[1] < 2:
        return 1.0
    x = matrix[:, 1:]
    return float(np.linalg.cond((x - x.mean(axis=0)) / x.std(axis=0)))
