"""The table of outcomes: what the clusters, or a phenotype, explain beyond the base model (CLAM paper, section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lungtypes.association.effects import outcome_effect
from lungtypes.association.joint_tests import JointTest, joint_test, robust_wald_p
from lungtypes.association.models import OutcomeFits
from lungtypes.association.resampling import cross_validated_r2, gain_interval
from lungtypes.association.rows import AssociationPlan

OUTCOME_COLUMNS = [
    "outcome",
    "label",
    "unit",
    "family",
    "type",
    "same_image",
    "model",
    "predictor",
    "n",
    "n_missing",
    "status",
    "test",
    "statistic",
    "df_num",
    "df_den",
    "p_crude",
    "p_value",
    "p_classical",
    "p_technical",
    "q_value",
    "partial_r2",
    "partial_omega2",
    "r2_kind",
    "r2_base",
    "r2_full",
    "r2_gain",
    "gain_ci_low",
    "gain_ci_high",
    "cv_r2_base",
    "cv_r2_full",
    "aic_base",
    "aic_full",
    "effect_name",
    "effect",
    "effect_ci_low",
    "effect_ci_high",
    "minimum_detectable",
    "note",
]
LINEAR_R2 = "adjusted R2"
LIKELIHOOD_R2 = "adjusted McFadden R2"


def outcomes_table(fits: Sequence[OutcomeFits], plan: AssociationPlan) -> pd.DataFrame:
    """One row per outcome.

    Returns
    -------
    DataFrame : columns ``OUTCOME_COLUMNS``, numbers NaN where ``status`` is not ``ok``.

        - p_value: joint test of the predictor in the adjusted model, named in ``test``. Linear models: Wald F with HC3
          errors, or F if the plan says classical; others: likelihood ratio. p_crude and p_technical: the same without
          covariates, and with the scanner's columns too. p_classical: plain F; of likelihood models it is p_value, and
          the note has a robust Wald test beside it.
        - q_value: Benjamini-Hochberg of p_value within the family.
        - partial_r2, partial_omega2: of linear models. r2_*: see ``r2_kind``; gain_ci: bootstrap of subjects.
        - cv_r2_*: repeated 10-fold cross-validation. aic_*: of base and adjusted model.
        - effect: as ``effect_name`` says; minimum_detectable: on its scale, found with 80 % power at 5 %.
    """
    result = pd.DataFrame([_row(one, plan) for one in fits], columns=OUTCOME_COLUMNS)
    return result.assign(q_value=q_within_family(result["p_value"], result["family"]))


def q_within_family(p_values: pd.Series, families: pd.Series) -> pd.Series:
    """Benjamini-Hochberg q values within each family, over the p values that are there."""
    q = pd.Series(np.nan, index=p_values.index)
    for _, part in p_values[p_values.notna()].groupby(families):
        q.loc[part.index] = stats.false_discovery_control(part.to_numpy(dtype=np.float64), method="bh")
    return q


def r2_kind(fits: OutcomeFits) -> str:
    """Which R2 the models of an outcome have."""
    return LINEAR_R2 if fits.model.startswith("linear") else LIKELIHOOD_R2


def _row(fits: OutcomeFits, plan: AssociationPlan) -> dict:
    row: dict = dict.fromkeys(OUTCOME_COLUMNS, np.nan)
    row |= {
        "outcome": fits.outcome.name,
        "label": fits.outcome.label,
        "unit": fits.outcome.unit,
        "family": fits.outcome.family,
        "type": fits.outcome.type,
        "same_image": fits.outcome.same_image,
        "model": fits.model,
        "predictor": fits.predictor.label,
        "n": fits.rows.n,
        "n_missing": fits.rows.n_missing,
        "status": fits.status,
        "test": "",
        "r2_kind": r2_kind(fits),
        "effect_name": "",
        "note": fits.note,
    }
    if fits.status != "ok":
        return row
    base, full, linear = fits.get("base"), fits.get("adjusted"), fits.model.startswith("linear")
    test = _tested(fits, "adjusted", "base", plan)
    classical = joint_test(full, base, full.predictor_columns, fits.rows, "classical")
    low, high, why_no_interval = gain_interval(fits, "base", "adjusted", plan)
    validated, why_no_validation = cross_validated_r2(fits, ["base", "adjusted"], plan)
    effect = outcome_effect(fits, test, classical)
    notes = [fits.note, why_no_interval, why_no_validation]
    if full.kind in ("logistic", "proportional odds", "multinomial"):
        notes.append(f"robust Wald p = {robust_wald_p(full, full.predictor_columns):.3g}")
    row |= {
        "test": test.name,
        "statistic": test.statistic,
        "df_num": test.df_num,
        "df_den": test.df_den,
        "p_crude": _tested(fits, "crude", "null", plan).p_value,
        "p_value": test.p_value,
        "p_classical": classical.p_value,
        "p_technical": _tested(fits, "technical", "technical_base", plan).p_value,
        "r2_base": base.r2,
        "r2_full": full.r2,
        "r2_gain": full.r2 - base.r2,
        "gain_ci_low": low,
        "gain_ci_high": high,
        "cv_r2_base": validated["base"],
        "cv_r2_full": validated["adjusted"],
        "aic_base": base.aic,
        "aic_full": full.aic,
        "effect_name": effect.name,
        "effect": effect.value,
        "effect_ci_low": effect.ci_low,
        "effect_ci_high": effect.ci_high,
        "minimum_detectable": effect.minimum_detectable,
        "note": "; ".join(filter(None, notes)),
    }
    if linear:
        surplus = (classical.statistic - 1) * classical.df_num
        row["partial_r2"] = (base.fit.sse - full.fit.sse) / base.fit.sse
        row["partial_omega2"] = max(0.0, surplus / (surplus + fits.rows.n))
    return row


def _tested(fits: OutcomeFits, full: str, reduced: str, plan: AssociationPlan) -> JointTest:
    model = fits.get(full)
    columns = model.predictor_columns if model else ()
    return joint_test(model, fits.get(reduced), columns, fits.rows, plan.standard_errors)
