"""Proposals for config/decisions.tsv: scans that a human should look at, in that file's own columns.

A gate that a human may overrule is proposed as ``accept``; a scan that passed with warnings, or whose lungs or
registration stand out from the cohort's, as ``exclude``. ``by`` is empty: a copied row is refused until somebody
signs it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from lungtypes.cohort.overrule import ACCEPTABLE

COLUMNS = ("subject", "stage", "decision", "by", "reason")
OUTLIER_SCORE = 3.5  # modified z score, Iglewicz & Hoaglin 1993
MIN_COHORT = 8  # fewer scans have no distribution to stand out from
# figure in registration.json: (words, least spread)
LOWER_IS_WORSE = {
    "dice_right": ("overlap of the right lung", 1e-3),
    "dice_left": ("overlap of the left lung", 1e-3),
    "hu_correlation": ("correlation of lung HU", 0.01),
}
# check in lungs.json: (words, number, on a log scale, least spread); a cohort of equal lungs has no outliers
LUNG_NUMBERS = {
    "total_ml": ("lung volume", "{:.0f} mL", True, 0.02),
    "side_ratio": ("right/left volume ratio", "{:.2f}", True, 0.02),
    "mean_hu": ("mean lung density", "{:.0f} HU", False, 3.0),
}


def review_table(
    attrition: pd.DataFrame,
    *,
    lungs: Mapping[str, Mapping[str, object]],
    registration: Mapping[str, Mapping[str, object]],
    decided: Collection[tuple[str, str]],
) -> pd.DataFrame:
    """Proposals with COLUMNS, failed scans first.

    Parameters
    ----------
    attrition : see :func:`lungtypes.cohort.attrition.attrition_table`.
    lungs : subject -> lungs.json of scans that have one (keys ``warnings``: list of texts; ``checks``: name -> value).
    registration : subject -> registration.json of scans that have one (LOWER_IS_WORSE, and ``warnings``).
    decided : (subject, stage) pairs that stand in decisions.tsv already; nothing is proposed for them.
    """
    failed = attrition[(attrition.status == "excluded") & (attrition.code.map(ACCEPTABLE) == attrition.stage)]
    rows = [(r.subject, r.stage, "accept", "", f"{r.code}: {r.message}") for r in failed.itertuples()]
    analysed = {s: lungs[s] for s in attrition.subject[attrition.status == "analysed"] if s in lungs}
    unusual = _unusual_lungs(analysed)
    for subject, content in analysed.items():
        reasons = [*content.get("warnings", []), *unusual.get(subject, [])]
        if reasons:
            rows.append((subject, "lungs", "exclude", "", "; ".join(reasons)))
    outliers = _outliers(registration)
    for subject, content in registration.items():
        reasons = [*content.get("warnings", []), *outliers.get(subject, [])]
        if reasons:
            rows.append((subject, "register", "exclude", "", "; ".join(reasons)))
    return pd.DataFrame([row for row in rows if row[:2] not in decided], columns=list(COLUMNS))


def _outliers(registration: Mapping[str, Mapping[str, object]]) -> dict[str, list[str]]:
    """Subjects whose registration lies more than OUTLIER_SCORE below the cohort's median."""
    found: dict[str, list[str]] = {}
    if len(registration) < MIN_COHORT:
        return found
    for name, (words, least_spread) in LOWER_IS_WORSE.items():
        values = pd.Series({s: figures[name] for s, figures in registration.items()}, dtype=float).dropna()
        score = robust_z(values, least_spread=least_spread)
        for subject in values.index[score < -OUTLIER_SCORE]:
            text = f"{words} with the template {values[subject]:.3f}, cohort's median {values.median():.3f}"
            found.setdefault(subject, []).append(text)
    return found


def _unusual_lungs(lungs: Mapping[str, Mapping[str, object]]) -> dict[str, list[str]]:
    """Subjects with a number of LUNG_NUMBERS more than OUTLIER_SCORE from the cohort's median, either way."""
    found: dict[str, list[str]] = {}
    for name, (words, number, logarithmic, least_spread) in LUNG_NUMBERS.items():
        values = {s: content["checks"][name]["value"] for s, content in lungs.items() if "checks" in content}
        values = pd.Series(values, dtype=float).dropna()
        if len(values) < MIN_COHORT:
            continue
        score = robust_z(np.log(values) if logarithmic else values, least_spread=least_spread)
        for subject in values.index[score.abs() > OUTLIER_SCORE]:
            text = f"{words} {number.format(values[subject])}, cohort's median {number.format(values.median())}"
            found.setdefault(subject, []).append(text)
    return found


def robust_z(values: pd.Series, *, least_spread: float) -> pd.Series:
    """Modified z score: 0.6745 (x - median) / MAD, with a MAD of at least ``least_spread``."""
    away = values - values.median()
    return 0.6745 * away / max(float(away.abs().median()), least_spread)
