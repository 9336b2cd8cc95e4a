"""How a lesion mask and predicted percentages agree with the truth: Dice, volumes, errors by grade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Overlap:
    """dice in 0-1, NaN with the reason in ``note`` where neither mask has a voxel; volumes in mL."""

    dice: float
    found_ml: float
    truth_ml: float
    note: str


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_], *, voxel_ml: float) -> Overlap:
    """Dice coefficient and volumes of two masks (Z, Y, X). Raises ValueError for different shapes."""
    if found.shape != truth.shape:
        raise ValueError(f"masks: found shapes {found.shape} and {truth.shape}, expected the same.")
    found, truth = found.astype(bool), truth.astype(bool)
    sizes = int(found.sum()), int(truth.sum())
    volumes = {"found_ml": sizes[0] * voxel_ml, "truth_ml": sizes[1] * voxel_ml}
    if not any(sizes):
        return Overlap(np.nan, **volumes, note="no lesion, and none found")
    return Overlap(2 * int((found & truth).sum()) / sum(sizes), **volumes, note="")


def dice_by_kind(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, SD and median Dice for all subjects, for those with lesions, and for each kind of lesion.

    scores : a row a subject with ``kind``, ``dice`` and ``truth_ml``; a Dice of NaN is left out, and counted as
        undefined. Without lesions in truth Dice is 0 or undefined, whatever the size of what was found.

    Returns
    -------
    DataFrame : kind (``all`` and ``with lesions`` first), n, undefined, mean, sd, median; NaN where nothing is defined.
    """
    groups = [("all", scores), ("with lesions", scores[scores["truth_ml"] > 0]), *scores.groupby("kind", sort=True)]
    rows = []
    for kind, group in groups:
        values = group["dice"].dropna()
        about = {"kind": kind, "n": len(values), "undefined": len(group) - len(values)}
        rows.append(about | {"mean": values.mean(), "sd": values.std(), "median": values.median()})
    return pd.DataFrame(rows)


def percentage_errors(given: NDArray, predicted: NDArray, grades: NDArray[np.int64]) -> pd.DataFrame:
    """Errors of predicted percentages (n,) of regions, for all and for each grade (n,); NaN pairs are left out.

    Returns
    -------
    DataFrame : grade (``all`` first), n, mean_absolute_error, bias (predicted - given), correlation (Pearson; NaN
        where one of both does not vary), in percentage points.
    """
    error = np.asarray(predicted, float) - np.asarray(given, float)
    known = np.isfinite(error)
    rows = []
    for grade in ("all", *np.unique(np.asarray(grades)[known]).tolist()):
        chosen = known if grade == "all" else known & (np.asarray(grades) == grade)
        values, pair = error[chosen], (np.asarray(given, float)[chosen], np.asarray(predicted, float)[chosen])
        varies = len(values) > 1 and all(np.ptp(v) > 0 for v in pair)
        rows.append(
            {
                "grade": str(grade),
                "n": len(values),
                "mean_absolute_error": float(np.abs(values).mean()) if len(values) else np.nan,
                "bias": float(values.mean()) if len(values) else np.nan,
                "correlation": float(np.corrcoef(*pair)[0, 1]) if varies else np.nan,
            }
        )
    return pd.DataFrame(rows)
