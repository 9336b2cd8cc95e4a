"""The attrition table: one row a subject, how far it came, why not further, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lungtypes.cohort.gate import status_table
from lungtypes.cohort.reasons import remedy

COLUMNS = ("subject", "stage", "status", "code", "message", "remedy", "decisions")


def attrition_table(
    folders: Mapping[str, str | Path], side_branches: Mapping[str, str | Path] | None = None
) -> pd.DataFrame:
    """One row a subject with COLUMNS; n rows = n analysed + n excluded.

    folders : see :func:`lungtypes.cohort.gate.status_table`.
    side_branches : subject -> folder of a stage that no other stage needs (densitometry); its fault is reported
        and does not exclude the scan.
    """
    table = status_table(folders).set_index("subject", drop=False)
    side = status_table(side_branches or {}).set_index("subject", drop=False)
    for subject in side.index[side.status == "excluded"]:
        if table.loc[subject, "status"] == "analysed":
            table.loc[subject, ["stage", "code", "message"]] = side.loc[subject, ["stage", "code", "message"]]
    table["remedy"] = table["code"].map(remedy)
    return table.reset_index(drop=True)[list(COLUMNS)]
