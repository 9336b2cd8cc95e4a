"""The attrition table: one row a subject, how far it came, and why not further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lungtypes.cohort.status import read_status
from lungtypes.errors import InputError

COLUMNS = ("subject", "stage", "status", "code", "message")


def attrition_table(folders: Mapping[str, Sequence[str | Path]], *, max_failed_fraction: float) -> pd.DataFrame:
    """Collect each subject's statuses in the order of the stages.

    Parameters
    ----------
    folders : subject -> its stage folders, first stage first.
    max_failed_fraction : the cohort stops when a larger share of the subjects failed.

    Returns
    -------
    DataFrame with COLUMNS; status is ``analysed`` or ``excluded``; n rows = n analysed + n excluded.

    Raises
    ------
    InputError : too many subjects failed; lists them.
    """
    rows = []
    for subject, stages in folders.items():
        statuses = [read_status(folder) for folder in stages]
        bad = next((s for s in statuses if not s.ok), None)
        last = bad or statuses[-1]
        verdict = "analysed" if bad is None else "excluded"
        rows.append(dict(zip(COLUMNS, (subject, last.stage, verdict, last.code, last.message), strict=True)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    excluded = table[table.status == "excluded"]
    if len(excluded) > max_failed_fraction * len(table):
        listed = "; ".join(f"{r.subject} ({r.stage}, {r.code})" for r in excluded.itertuples())
        raise InputError(
            f"cohort: found {len(excluded)} of {len(table)} scans failed, expected at most "
            f"{100 * max_failed_fraction:g} % (max_failed_fraction). Failed: {listed}."
        )
    return table


def analysed_subjects(attrition: pd.DataFrame) -> list[str]:
    """Subjects that reached the end, in the order of the sheet."""
    return attrition.loc[attrition.status == "analysed", "subject"].astype(str).tolist()


def read_analysed(path: str | Path) -> list[str]:
    """:func:`analysed_subjects` of the attrition table at ``path``."""
    return analysed_subjects(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False))
