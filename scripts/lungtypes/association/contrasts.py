"""Differences between clusters, crude, adjusted, and adjusted for the scanner too; and adjusted means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from lungtypes.association.effects import difference, pair_direction, standardised
from lungtypes.association.models import OutcomeFits
from lungtypes.association.ordinal import level_shares
from lungtypes.association.rows import AssociationPlan
from lungtypes.association.single_model import Model

CONTRAST_COLUMNS = [
    "outcome",
    "label",
    "unit",
    "family",
    "model_set",
    "contrast",
    "scale",
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "standardised",
    "standardised_ci_low",
    "standardised_ci_high",
    "note",
]
MEAN_COLUMNS = ["outcome", "label", "unit", "model_set", "cluster", "n", "mean", "ci_low", "ci_high", "note"]
MODEL_SETS = ("crude", "adjusted", "technical")
STEP = 1e-5  # relative, of the numerical derivatives of the marginal means
Z = float(stats.norm.ppf(0.975))


def contrasts_table(fits: Sequence[OutcomeFits], plan: AssociationPlan) -> pd.DataFrame:
    """Every pair of clusters (higher less lower number), or the phenotype per SD, in each set of models.

    Returns
    -------
    DataFrame : columns ``CONTRAST_COLUMNS``. Estimates in the outcome's unit, as ratio of geometric means of 1 + value,
        or as odds ratios; binary outcomes have a row of the risk difference too (marginal, 0-1). p_holm: Holm's
        correction over the pairs of one outcome, model set and scale. standardised: in residual SDs of that model.
    """
    rows = []
    for one in fits:
        for name in MODEL_SETS:
            model = one.get(name)
            if one.status == "ok" and model is not None:
                rows += _holm([_contrast(one, name, model, pair) for pair in _pairs(one)])
                if model.kind in ("logistic", "firth") and one.predictor.kind == "cluster":
                    rows += _holm([_risk_difference(one, name, model, pair) for pair in _pairs(one)])
    return pd.DataFrame(rows, columns=CONTRAST_COLUMNS)


def means_table(fits: Sequence[OutcomeFits], plan: AssociationPlan) -> pd.DataFrame:
    """What each outcome would be on average if all subjects were in one cluster, covariates kept.

    Returns
    -------
    DataFrame : columns ``MEAN_COLUMNS``. mean: in the outcome's unit; skewed: geometric mean of 1 + value, less 1;
        binary: risk of the event (0-1); ordinal: mean number of the level, the lowest being 0. 95 % limits by Student's
        t (linear) or the delta method. Phenotypes and outcomes without models have no rows.
    """
    rows = []
    for one in fits:
        if one.status != "ok" or one.predictor.kind == "phenotype":
            continue
        for name in MODEL_SETS:
            model = one.get(name)
            if model is not None:
                rows += [_mean(one, name, model, int(cluster)) for cluster in np.unique(one.rows.predictor)]
    return pd.DataFrame(rows, columns=MEAN_COLUMNS)


def _pairs(fits: OutcomeFits) -> list[tuple[int, int] | None]:
    if fits.predictor.kind == "phenotype":
        return [None]
    return [(int(high), int(low)) for low, high in combinations(np.unique(fits.rows.predictor), 2)]


def _contrast(fits: OutcomeFits, name: str, model: Model, pair: tuple[int, int] | None) -> dict:
    row = _contrast_row(fits, name, pair)
    row["scale"] = {"linear": "difference", "proportional odds": "common odds ratio"}.get(model.kind, "odds ratio")
    if model.kind == "multinomial":
        return row | {"note": "multinomial model: no single odds ratio; see the adjusted means"}
    if pair is None:
        direction = np.zeros(model.matrix.shape[1])
        direction[list(model.predictor_columns)] = 1.0
    else:
        direction = pair_direction(fits, model, *pair)
    found = difference(model, direction, fits.rows.y)
    values = (found.value, found.ci_low, found.ci_high)
    row["p_value"] = found.p_value
    if model.kind == "linear":
        shown = standardised(model, found)
        row |= dict(zip(("standardised", "standardised_ci_low", "standardised_ci_high"), shown, strict=True))
    if fits.outcome.type == "skewed":
        row |= {"scale": "ratio of geometric means", "note": "of 1 + value"}
    if row["scale"] != "difference":
        values = tuple(float(np.exp(value)) for value in values)
    if model.kind == "firth":
        row["note"] = "profile penalised likelihood"
    return row | dict(zip(("estimate", "ci_low", "ci_high"), values, strict=True))


def _risk_difference(fits: OutcomeFits, name: str, model: Model, pair: tuple[int, int]) -> dict:
    high, low = (_in_cluster(fits, model, cluster) for cluster in pair)
    value, gradient = _with_gradient(model, lambda b: float(expit(high @ b).mean() - expit(low @ b).mean()))
    error = float(np.sqrt(gradient @ model.covariance @ gradient))
    return _contrast_row(fits, name, pair) | {
        "scale": "risk difference",
        "estimate": value,
        "ci_low": value - Z * error,
        "ci_high": value + Z * error,
        "p_value": float(2 * stats.norm.sf(abs(value) / error)),
        "note": "marginal, delta method",
    }


def _mean(fits: OutcomeFits, name: str, model: Model, cluster: int) -> dict:
    matrix = _in_cluster(fits, model, cluster)
    if model.kind == "linear":
        contrast = matrix.mean(axis=0)
        value = float(contrast @ model.parameters)
        width = float(stats.t.ppf(0.975, model.residual_df)) * float(np.sqrt(contrast @ model.covariance @ contrast))
        values, note = (value, value - width, value + width), ""
        if fits.outcome.type == "skewed":
            values, note = tuple(float(np.expm1(v)) for v in values), "geometric mean of 1 + outcome, less 1"
    else:
        values, note = _likelihood_mean(fits, model, matrix)
    return {
        "outcome": fits.outcome.name,
        "label": fits.outcome.label,
        "unit": fits.outcome.unit,
        "model_set": name,
        "cluster": cluster,
        "n": int((fits.rows.predictor == cluster).sum()),
        **dict(zip(("mean", "ci_low", "ci_high"), values, strict=True)),
        "note": note,
    }


def _likelihood_mean(fits: OutcomeFits, model: Model, matrix: NDArray) -> tuple[tuple[float, float, float], str]:
    """Marginal mean of the level's number; limits on the scale of the logit, so that they stay within the levels."""
    levels, binary = fits.rows.levels, model.kind in ("logistic", "firth")
    top, ordered = len(levels) - 1, model.kind == "proportional odds"

    def mean(parameters: NDArray) -> float:
        if binary:
            return float(expit(matrix @ parameters).mean())
        return float((level_shares(parameters, matrix, top + 1, ordered=ordered) @ np.arange(top + 1)).mean())

    value, gradient = _with_gradient(model, mean)
    error = float(np.sqrt(gradient @ model.covariance @ gradient))
    share = value / top
    width = Z * error / top / (share * (1 - share))
    low, high = expit(logit(share) - width), expit(logit(share) + width)
    numbered = ", ".join(f"{code} = {text}" for code, text in enumerate(levels))
    note = f"risk of {levels[1]}" if binary else f"mean number of the level ({numbered})"
    return (value, float(top * low), float(top * high)), note


def _with_gradient(model: Model, function: Callable[[NDArray], float]) -> tuple[float, NDArray]:
    """A function of the parameters at their estimate, and its central differences in steps of their errors."""
    at, errors = model.parameters, np.sqrt(np.diag(model.covariance))
    gradient = np.empty(len(at))
    for place, error in enumerate(errors):
        step = np.zeros(len(at))
        step[place] = max(error, 1e-8) * STEP
        gradient[place] = (function(at + step) - function(at - step)) / (2 * step[place])
    return function(at), gradient


def _in_cluster(fits: OutcomeFits, model: Model, cluster: int) -> NDArray:
    """The model's matrix with all subjects in one cluster."""
    matrix, chosen = model.matrix.copy(), list(model.predictor_columns)
    matrix[:, chosen] = model.matrix[int(np.flatnonzero(fits.rows.predictor == cluster)[0]), chosen]
    return matrix


def _contrast_row(fits: OutcomeFits, name: str, pair: tuple[int, int] | None) -> dict:
    row: dict = dict.fromkeys(CONTRAST_COLUMNS, np.nan)
    return row | {
        "outcome": fits.outcome.name,
        "label": fits.outcome.label,
        "unit": fits.outcome.unit,
        "family": fits.outcome.family,
        "model_set": name,
        "contrast": "per SD" if pair is None else f"{pair[0]} - {pair[1]}",
        "note": "",
    }


def _holm(rows: list[dict]) -> list[dict]:
    """The same rows with Holm's correction (Scand J Stat 1979) over those that were tested."""
    tested = sorted((row for row in rows if np.isfinite(row["p_value"])), key=lambda row: row["p_value"])
    largest = 0.0
    for place, row in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - place) * row["p_value"]))
        row["p_holm"] = largest
    return rows
