"""One model of an outcome: its columns, its fit, and the guards before it.

Linear, logistic (maximum likelihood or Firth's form), proportional odds or multinomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lungtypes.association.design import rank_culprits
from lungtypes.association.least_squares import LeastSquares, least_squares
from lungtypes.association.logistic import FirthFit, firth, logistic
from lungtypes.association.ordinal import LikelihoodFit, multinomial, proportional_odds
from lungtypes.association.outcome_rows import OutcomeRows

Kind = Literal["linear", "logistic", "firth", "proportional odds", "multinomial"]
MIN_RESIDUAL_DF = 10
MAX_CONDITION = 1e10  # of the correlations of the tested coefficients
MAX_LEVERAGE = 0.999  # beyond it HC3 divides by nearly 0
MAX_COEFFICIENT = 10.0  # log odds per level or SD; beyond it the data are separated


@dataclass(frozen=True)
class Model:
    """One fitted model.

    Attributes
    ----------
    kind : which model.
    matrix, names : (n, p) columns, the intercept first, and their names.
    predictor_columns, comparator_columns : those of ``matrix``.
    parameters, covariance : (q,) and (q, q). Linear and logistic: one for each column. Proportional odds: thresholds,
        then slopes. Multinomial: the columns for level 1, level 2, and so on. The covariance of linear models is that
        of ``standard_errors``, of likelihood models the inverse observed information.
    r2, aic, loglik : adjusted R2, or adjusted McFadden R2; NaN for Firth's form, whose likelihood is penalised.
    residual_df : subjects less parameters.
    fit : the fit itself.
    """

    kind: Kind
    matrix: NDArray
    names: tuple[str, ...]
    predictor_columns: tuple[int, ...]
    comparator_columns: tuple[int, ...]
    parameters: NDArray
    covariance: NDArray
    r2: float
    aic: float
    loglik: float
    residual_df: int
    fit: LeastSquares | LikelihoodFit | FirthFit

    def places(self, columns: Sequence[int]) -> list[int]:
        """Where the coefficients of ``columns`` (not the intercept's) stand among the parameters."""
        p = self.matrix.shape[1]
        if self.kind == "proportional odds":
            return [len(self.parameters) - p + column for column in columns]
        if self.kind == "multinomial":
            return [level * p + column for level in range(len(self.parameters) // p) for column in columns]
        return list(columns)


def fit_model(rows: OutcomeRows, parts: Sequence[str], kind: Kind, *, standard_errors: str) -> Model | str:
    """One model from the named parts, or the status of the guard that stopped it."""
    matrices, names = [rows.parts["base"].matrix[:, :1]], ["intercept"]
    spans: dict[str, tuple[int, ...]] = {}
    for part in parts:
        design = rows.parts.get(part)
        if design is None or (design.matrix.shape[1] < 2 and part != "base"):
            return f"not_fitted:one_level_of_{part}"
        spans[part] = tuple(range(len(names), len(names) + design.matrix.shape[1] - 1))
        matrices.append(design.matrix[:, 1:])
        names += design.names[1:]
    matrix = np.hstack(matrices)
    n, p = matrix.shape
    n_parameters = {"proportional odds": p + len(rows.levels) - 2, "multinomial": p * (len(rows.levels) - 1)}
    residual_df = n - n_parameters.get(kind, p)
    if residual_df < MIN_RESIDUAL_DF:
        return f"not_fitted:residual_df ({n} subjects for {n - residual_df} columns)"
    culprits = rank_culprits(matrix, names)
    if culprits:
        return f"not_fitted:rank_deficient ({', '.join(culprits)})"
    tested = (spans.get("predictor", ()), spans.get("comparator", ()))
    if kind == "linear":
        return _linear(rows.y, matrix, tuple(names), tested, residual_df, standard_errors)
    return _likelihood(rows.y, matrix, tuple(names), tested, residual_df, kind)


def _linear(
    y: NDArray, matrix: NDArray, names: tuple[str, ...], tested: tuple, residual_df: int, standard_errors: str
) -> Model | str:
    fit = least_squares(matrix, y)
    if fit.leverage.max() > MAX_LEVERAGE:
        return "not_fitted:leverage (one subject alone decides a coefficient)"
    if fit.sse <= 1e-20 * float((y**2).sum()):
        return "not_fitted:perfect_fit"
    covariance = fit.covariance_hc3 if standard_errors == "hc3" else fit.covariance_classical
    variances = np.diag(covariance)
    if not variances.min() > 0:
        return "not_fitted:singular_errors"
    correlation = covariance / np.sqrt(np.outer(variances, variances))
    used = [*tested[0], *tested[1]]
    if used and np.linalg.cond(correlation[np.ix_(used, used)]) > MAX_CONDITION:
        return "not_fitted:singular_errors"
    loglik = matrix.shape[1] - fit.aic / 2
    return Model("linear", matrix, names, *tested, fit.beta, covariance, fit.adj_r2, fit.aic, loglik, residual_df, fit)


def _likelihood(
    codes: NDArray, matrix: NDArray, names: tuple[str, ...], tested: tuple, residual_df: int, kind: Kind
) -> Model | str:
    nan = float("nan")
    if kind == "firth":
        penalised = firth(matrix, codes)
        if not penalised.converged:
            return "not_fitted:not_converged"
        parts = (penalised.beta, penalised.covariance, nan, nan, nan)
        return Model(kind, matrix, names, *tested, *parts, residual_df, penalised)
    make = {"logistic": logistic, "proportional odds": proportional_odds, "multinomial": multinomial}[kind]
    fit = make(matrix, codes)
    model = Model(
        kind, matrix, names, *tested, fit.parameters, fit.covariance, fit.r2, fit.aic, fit.loglik, residual_df, fit
    )
    columns = range(1, matrix.shape[1])
    spread = np.array([1.0 if np.isin(matrix[:, j], (0.0, 1.0)).all() else matrix[:, j].std() for j in columns])
    repeats = len(model.places(columns)) // max(len(columns), 1)
    slopes = np.abs(fit.parameters[model.places(columns)]) * np.tile(spread, repeats)
    if not fit.converged or (slopes > MAX_COEFFICIENT).any():
        return "not_fitted:separation"
    return model
