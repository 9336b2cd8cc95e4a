"""How a lesion mask and predicted percentages agree with the truth: Dice, volumes, errors by grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ERROR_COLUMNS = ("grade", "n", "mean_absolute_error", "bias", "correlation")


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


def percentage_table(percentages: pd.DataFrame, splits: Mapping[str, str], *, edges: Sequence[float]) -> pd.DataFrame:
    """Errors of a method's percentages by split, and by what was given of the regions.

    Parameters
    ----------
    percentages : a row a region with subject, given, given_kind (percent or grade), predicted, error (of a grade the
        distance to its bounds); rows of which nothing was given are left out. splits : of the subjects. edges : of the
        grades in percent.

    Returns
    -------
    DataFrame : split, given_kind, then as :func:`percentage_errors`. Exact percentages and grades stand apart, since
        an error of a grade is 0 all over its range; it has no correlation either.
    """
    parts = [pd.DataFrame(columns=["split", "given_kind", *ERROR_COLUMNS])]
    known = percentages[percentages["given_kind"].isin(["percent", "grade"])]
    for (split, kind), rows in known.groupby([known["subject"].map(splits), "given_kind"], sort=False):
        given, predicted = rows["given"].to_numpy(float), rows["predicted"].to_numpy(float)
        if kind == "percent":
            errors = percentage_errors(given, predicted, grade_of(given, edges))
        else:
            nearest = predicted - rows["error"].to_numpy(float)
            errors = percentage_errors(nearest, predicted, given.astype(np.int64)).assign(correlation=np.nan)
        parts.append(errors.assign(split=split, given_kind=kind)[parts[0].columns])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def grade_of(percents: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.int64]:
    """The grade (n,) of percentages (n,): 0 below ``edges[1]``, and so on; an edge belongs to the grade above it."""
    return np.searchsorted(np.asarray(edges[1:-1], float), percents, side="right").astype(np.int64)


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
