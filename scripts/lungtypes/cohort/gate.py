"""Who may go on: statuses of the cohort in one table, and the stop when too many failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from lungtypes.cohort.status import EXCLUDED_BY_HUMAN, Status, read_status
from lungtypes.errors import InputError

SHOWN = 30  # failed scans in an error's text; the table has them all


def status_table(folders: Mapping[str, str | Path]) -> pd.DataFrame:
    """How far each subject came: subject, stage, status (analysed or excluded), code, message, decisions.

    folders : subject -> folder of the last stage that it has to pass; a failed one holds where and why it failed.
    """
    return pd.DataFrame(
        [_row(subject, read_status(folder)) for subject, folder in folders.items()],
        columns=["subject", "stage", "status", "code", "message", "decisions"],
    )


def check_failures(table: pd.DataFrame, *, max_failed_fraction: float, place: str) -> None:
    """Raise InputError with the list when a larger share failed than allowed, or fewer than three scans are left.

    Scans that a human excluded did not fail. place : the table of the results that says what to do about each.
    """
    failed = table[(table.status == "excluded") & (table.code != EXCLUDED_BY_HUMAN)]
    left = int((table.status == "analysed").sum())
    listed = "; ".join(f"{r.subject} ({r.stage}, {r.code})" for r in failed.head(SHOWN).itertuples())
    listed += f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    if len(failed) > max_failed_fraction * len(table):
        raise InputError(
            f"cohort: found {len(failed)} of {len(table)} scans failed, expected at most "
            f"{100 * max_failed_fraction:g} % (max_failed_fraction). Failed: {listed}. "
            f"See {place}; docs/your-cohort.md says what to do about each code. Mend the scans, or raise the limit."
        )
    if left < 3:
        raise InputError(
            f"cohort: found {left} usable scans of {len(table)}, expected at least 3. Failed: {listed}. See {place}."
        )


def analysed_subjects(table: pd.DataFrame) -> list[str]:
    """Subjects that reached the end, in the order of the sheet."""
    return table.loc[table.status == "analysed", "subject"].astype(str).tolist()


def _row(subject: str, status: Status) -> tuple[str, ...]:
    decisions = "; ".join(f"{d['stage']}: {d['decision']} by {d['by']} ({d['reason']})" for d in status.decisions)
    verdict = "analysed" if status.ok else "excluded"
    return subject, status.stage, verdict, status.code, status.message, decisions
