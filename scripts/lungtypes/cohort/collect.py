"""Gathers per-scan tables and figures into tables of the cohort; failed scans are left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lungtypes.cohort.status import read_status


def collect_tables(files: Mapping[str, str | Path], *, columns: Sequence[str]) -> pd.DataFrame:
    """Stack the tables of all subjects that have one; first column is the subject.

    columns : of each table. Where no subject has one (all scans came registered) they are all that is written.
    """
    parts = []
    for subject, path in files.items():
        if Path(path).exists():
            table = pd.read_csv(path, sep="\t", dtype={"series": str, "code": str, "reason": str})
            table.insert(0, "subject", subject)
            parts.append(table)
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=["subject", *columns])


def collect_json(folders: Mapping[str, str | Path], name: str) -> dict[str, dict]:
    """subject -> content of ``folder/name``, for the subjects that have it."""
    paths = {subject: Path(folder) / name for subject, folder in folders.items()}
    return {subject: json.loads(path.read_text()) for subject, path in paths.items() if path.exists()}


def lung_volumes(passed: Mapping[str, str | Path], lungs: Mapping[str, str | Path]) -> pd.DataFrame:
    """Right and left lung volume (mL) of the scans that passed: columns subject, right_ml, left_ml.

    passed : subject -> folder of the last stage that has to be passed; lungs : subject -> its lungs folder.
    """
    good = {s: lungs[s] for s, folder in passed.items() if read_status(folder).ok}
    checks = collect_json(good, "lungs.json")
    rows = [{"subject": s, "right_ml": c["right_ml"], "left_ml": c["left_ml"]} for s, c in checks.items()]
    return pd.DataFrame(rows, columns=["subject", "right_ml", "left_ml"])
