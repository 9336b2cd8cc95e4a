"""Gathers per-scan tables and figures into tables of the cohort; failed scans are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lungtypes.cohort.status import read_status


def collect_tables(folders: Mapping[str, str | Path], name: str) -> pd.DataFrame:
    """Stack ``folder/name`` of every subject whose folder has one; first column is the subject."""
    parts = []
    for subject, folder in folders.items():
        path = Path(folder) / name
        if path.exists():
            table = pd.read_csv(path, sep="\t", dtype={"series": str, "code": str, "reason": str})
            table.insert(0, "subject", subject)
            parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["subject"])


def failed_scans(folders: Mapping[str, str | Path]) -> str:
    """``S1 (lungs, SEG-NONE); ...`` for the scans whose folder says failed; empty when none did."""
    statuses = [read_status(folder) for folder in folders.values()]
    return "; ".join(f"{s.subject} ({s.stage}, {s.code})" for s in statuses if not s.ok)


def lung_volumes(folders: Mapping[str, str | Path]) -> pd.DataFrame:
    """Right and left lung volume (mL) of the scans that passed: columns subject, right_ml, left_ml.

    folders : subject -> its resampled folder; the figures lie in lungs/{subject}/lungs.json beside it.
    """
    rows = []
    for subject, folder in folders.items():
        if read_status(folder).ok:
            checks = json.loads((Path(folder).parent.parent / "lungs" / subject / "lungs.json").read_text())
            rows.append({"subject": subject, "right_ml": checks["right_ml"], "left_ml": checks["left_ml"]})
    return pd.DataFrame(rows, columns=["subject", "right_ml", "left_ml"])
