"""Proposals for config/decisions.tsv: scans that a human should look at, in that file's own columns.

A gate that a human may overrule is proposed as ``accept``; a scan that passed with warnings, or whose registration
stands out from the cohort's, as ``exclude``. ``by`` is empty: a copied row is refused until somebody signs it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from lungtypes.cohort.overrule import ACCEPTABLE

COLUMNS = ("subject", "stage", "decision", "by", "reason")
OUTLIER_SCORE = 3.5  # modified z score, Iglewicz & Hoaglin 1993
MIN_COHORT = 8  # fewer scans have no distribution to stand out from
LOWER_IS_WORSE = {"dice_right": "overlap of the right lung", "dice_left": "overlap of the left lung"}


def review_table(
    attrition: pd.DataFrame,
    *,
    lungs: Mapping[str, Mapping[str, object]],
    registration: Mapping[str, Mapping[str, float]],
    decided: Collection[tuple[str, str]],
) -> pd.DataFrame:
    """Proposals with COLUMNS, failed scans first.

    Parameters
    ----------
    attrition : see :func:`lungtypes.cohort.attrition.attrition_table`.
    lungs : subject -> lungs.json of scans that have one (key ``warnings``: list of texts).
    registration : subject -> registration.json of scans that have one (dice_right, dice_left: 0-1).
    decided : (subject, stage) pairs that stand in decisions.tsv already; nothing is proposed for them.
    """
    failed = attrition[(attrition.status == "excluded") & attrition.code.isin(list(ACCEPTABLE))]
    rows = [(r.subject, r.stage, "accept", "", f"{r.code}: {r.message}") for r in failed.itertuples()]
    for subject in attrition.subject[attrition.status == "analysed"]:
        warnings = lungs.get(subject, {}).get("warnings", [])
        if warnings:
            rows.append((subject, "lungs", "exclude", "", "; ".join(warnings)))
    outliers = _outliers(registration)
    rows += [(subject, "register", "exclude", "", "; ".join(reasons)) for subject, reasons in outliers.items()]
    return pd.DataFrame([row for row in rows if row[:2] not in decided], columns=list(COLUMNS))


def _outliers(registration: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Subjects whose registration lies more than OUTLIER_SCORE below the cohort's median."""
    found: dict[str, list[str]] = {}
    if len(registration) < MIN_COHORT:
        return found
    for name, words in LOWER_IS_WORSE.items():
        values = pd.Series({s: figures[name] for s, figures in registration.items()}, dtype=float)
        median = values.median()
        spread = float(np.median(np.abs(values - median)))
        score = 0.6745 * (values - median) / max(spread, 1e-3)
        for subject in values.index[score < -OUTLIER_SCORE]:
            text = f"{words} with the template {values[subject]:.3f}, cohort's median {median:.3f}"
            found.setdefault(subject, []).append(text)
    return found
