"""Do the clusters explain more than an existing classification? (CLAM paper, section 5.3: Scadding)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lungtypes.association.joint_tests import joint_test
from lungtypes.association.models import OutcomeFits
from lungtypes.association.outcomes import r2_kind
from lungtypes.association.resampling import cross_validated_r2, gain_interval
from lungtypes.association.rows import AssociationPlan

COMPARISON_COLUMNS = [
    "outcome",
    "label",
    "unit",
    "family",
    "comparator",
    "n",
    "n_missing",
    "status",
    "r2_kind",
    "r2_base",
    "r2_cluster",
    "r2_comparator",
    "r2_both",
    "difference",
    "ci_low",
    "ci_high",
    "margin",
    "cv_r2_cluster",
    "cv_r2_comparator",
    "p_cluster_given_comparator",
    "p_comparator_given_cluster",
    "aic_cluster",
    "aic_comparator",
    "aic_difference",
    "aic_both",
    "verdict",
    "note",
]
NEEDED = {"base": "base", "cluster": "adjusted", "comparator": "comparator", "both": "both"}


def comparison_table(fits: Sequence[OutcomeFits], plan: AssociationPlan) -> pd.DataFrame:
    """One row per outcome: four models on the same rows, and a verdict from an interval; no rows without a comparator.

    Returns
    -------
    DataFrame : columns ``COMPARISON_COLUMNS``. "cluster" stands for the predictor, a phenotype too. The models that
        hold it and the comparator are not nested: ``difference`` is R2 with the predictor less R2 with the comparator,
        ci_low and ci_high its bootstrap 95 % interval (whole subjects, within clusters). The two p values are nested
        tests against the model with both. aic_difference: cluster less comparator, negative favours the cluster.
        verdict: see :func:`verdict`; empty without an interval.
    """
    if plan.comparator is None:
        return pd.DataFrame(columns=COMPARISON_COLUMNS)
    return pd.DataFrame([_row(one, plan) for one in fits], columns=COMPARISON_COLUMNS)


def verdict(ci_low: float, ci_high: float, margin: float, *, name: str = "cluster") -> str:
    """What the interval of the difference in R2 allows to say; the first that holds.

    "cluster explains more": the whole interval is above 0. "not worse": it is above -margin. "comparator explains
    more": it is below 0. Else "not shown". Without an interval: "".
    """
    if np.isnan(ci_low) or np.isnan(ci_high):
        return ""
    if ci_low > 0:
        return f"{name} explains more"
    if ci_low > -margin:
        return "not worse"
    return "comparator explains more" if ci_high < 0 else "not shown"


def _row(fits: OutcomeFits, plan: AssociationPlan) -> dict:
    row: dict = dict.fromkeys(COMPARISON_COLUMNS, np.nan)
    row |= {
        "outcome": fits.outcome.name,
        "label": fits.outcome.label,
        "unit": fits.outcome.unit,
        "family": fits.outcome.family,
        "comparator": plan.comparator,
        "n": fits.rows.n,
        "n_missing": fits.rows.n_missing,
        "status": fits.status,
        "r2_kind": r2_kind(fits),
        "margin": plan.margin,
        "verdict": "",
        "note": fits.note,
    }
    if fits.status != "ok":
        return row
    models = {name: fits.get(key) for name, key in NEEDED.items()}
    failed = [str(fits.models[NEEDED[name]]) for name, model in models.items() if model is None]
    if failed:
        return row | {"status": failed[0]}
    low, high, why_no_interval = gain_interval(fits, "comparator", "adjusted", plan)
    validated, why_no_validation = cross_validated_r2(fits, ["adjusted", "comparator"], plan)
    both, errors = models["both"], plan.standard_errors
    given_comparator = joint_test(both, models["comparator"], both.predictor_columns, fits.rows, errors)
    given_cluster = joint_test(both, models["cluster"], both.comparator_columns, fits.rows, errors)
    return row | {
        **{f"r2_{name}": model.r2 for name, model in models.items()},
        "difference": models["cluster"].r2 - models["comparator"].r2,
        "ci_low": low,
        "ci_high": high,
        "cv_r2_cluster": validated["adjusted"],
        "cv_r2_comparator": validated["comparator"],
        "p_cluster_given_comparator": given_comparator.p_value,
        "p_comparator_given_cluster": given_cluster.p_value,
        "aic_cluster": models["cluster"].aic,
        "aic_comparator": models["comparator"].aic,
        "aic_difference": models["cluster"].aic - models["comparator"].aic,
        "aic_both": both.aic,
        "verdict": verdict(low, high, plan.margin, name=fits.predictor.kind),
        "note": "; ".join(filter(None, [fits.note, why_no_interval, why_no_validation])),
    }
