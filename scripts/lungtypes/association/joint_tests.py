"""The joint test of some coefficients of a model, by the kind of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from lungtypes.association.least_squares import nested_f, wald, wald_hc3
from lungtypes.association.logistic import firth_test
from lungtypes.association.outcome_rows import OutcomeRows
from lungtypes.association.single_model import Model

NAN = float("nan")


@dataclass(frozen=True)
class JointTest:
    """A statistic, its degrees of freedom (df_den NaN for chi-square), its p value and its name."""

    name: str
    statistic: float
    df_num: float
    df_den: float
    p_value: float


NOT_TESTED = JointTest("", NAN, NAN, NAN, NAN)


def joint_test(
    full: Model | None,
    reduced: Model | None,
    columns: Sequence[int],
    rows: OutcomeRows,
    standard_errors: Literal["hc3", "classical"],
) -> JointTest:
    """That the coefficients of ``columns`` of ``full`` are 0; ``reduced`` is the model without them, on the same rows.

    Linear: Wald F with HC3 covariance, or the F test of nested models (``classical``). Likelihood models: likelihood
    ratio, Firth's form its penalised likelihood ratio. Untested, with NaN, where one of the models is None.
    """
    if full is None:
        return NOT_TESTED
    if full.kind == "linear" and standard_errors == "hc3":
        found = wald_hc3(full.fit, columns)
        return JointTest("Wald F, HC3", found.f, found.df_num, found.df_den, found.p_value)
    if full.kind == "firth":
        statistic, p = firth_test(full.matrix, rows.y, columns)
        return JointTest("penalised likelihood ratio", statistic, len(columns), NAN, p)
    if reduced is None:
        return NOT_TESTED
    if full.kind == "linear":
        found = nested_f(reduced.fit, full.fit)
        return JointTest("F", found.f, found.df_num, found.df_den, found.p_value)
    statistic = max(0.0, 2 * (full.loglik - reduced.loglik))
    df = len(full.parameters) - len(reduced.parameters)
    return JointTest("likelihood ratio", statistic, df, NAN, float(stats.chi2.sf(statistic, df)))


def robust_wald_p(model: Model, columns: Sequence[int]) -> float:
    """p of the Wald test with the sandwich covariance of a likelihood model (HC0: no correction for few subjects)."""
    chosen = model.places(columns)
    meat = model.fit.scores.T @ model.fit.scores
    robust = (model.covariance @ meat @ model.covariance)[np.ix_(chosen, chosen)]
    return float(stats.chi2.sf(wald(model.parameters[chosen], robust), len(chosen)))
