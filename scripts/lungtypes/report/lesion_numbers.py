"""How predicted lesion percentages go with the given ones: against what a guess without any scan would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungtypes.report.results import Results

SPLITS = {"test": "held out", "train": "training", "repeat": "further scan of a person"}
FEWEST = 3  # regions: with fewer nothing is judged


@dataclass(frozen=True)
class Agreement:
    """Regions of the held-out scans, or of the training scans where of no held-out one anything is given.

    scans : "held-out" or "training". n, r2, mean_absolute_error : of exact percentages; r2 is 1 - squared errors /
    squared deviations from the mean of the given ones, so that 0 is what this mean alone reaches. n_graded, inside,
    commonest : of grades alone; the share of predictions within the grade's bounds, and the share of the commonest
    grade, which one prediction for all reaches. NaN where fewer than 3 regions, or like ones, say nothing.
    """

    scans: str
    n: int
    r2: float
    mean_absolute_error: float
    n_graded: int
    inside: float
    commonest: float

    @property
    def no_better(self) -> bool:
        """Whether a guess without any scan is as good."""
        if np.isfinite(self.r2):
            return self.r2 <= 0
        return bool(np.isfinite(self.commonest)) and self.inside <= self.commonest


def region_rows(results: Results, method: str) -> pd.DataFrame:
    """percentages.tsv with each scan's split beside it; empty without the file."""
    table, scans = results.table(f"{method}/percentages.tsv"), results.table(f"{method}/phenotype.tsv")
    if table is None or scans is None:
        return pd.DataFrame(columns=["subject", "region", "given", "given_kind", "predicted", "error", "split"])
    return table.merge(scans[["subject", "split"]], on="subject", how="left")


def agreement(rows: pd.DataFrame) -> Agreement | None:
    """The agreement of :func:`region_rows`; None where nothing is given of any scan that counts."""
    given = rows[rows["given"].notna() & rows["predicted"].notna()]
    for split, name in (("test", "held-out"), ("train", "training")):
        part = given[given["split"] == split]
        if len(part):
            return _agreement(part, name)
    return None


def _agreement(part: pd.DataFrame, scans: str) -> Agreement:
    exact, graded = (part[part["given_kind"] == kind] for kind in ("percent", "grade"))
    error = (exact["predicted"] - exact["given"]).to_numpy(float)
    spread = float(((exact["given"] - exact["given"].mean()) ** 2).sum())
    judged = len(exact) >= FEWEST and spread > 0
    several = len(graded) >= FEWEST and graded["given"].nunique() > 1
    return Agreement(
        scans=scans,
        n=len(exact),
        r2=1 - float((error**2).sum()) / spread if judged else np.nan,
        mean_absolute_error=float(np.abs(error).mean()) if len(exact) else np.nan,
        n_graded=len(graded),
        inside=float((graded["error"] == 0).mean()) if len(graded) else np.nan,
        commonest=float(graded["given"].value_counts(normalize=True).max()) if several else np.nan,
    )
