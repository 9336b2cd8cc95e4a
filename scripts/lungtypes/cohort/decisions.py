"""What a human decided about single scans, against or without the rules: ``config/decisions.tsv``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungtypes.cohort.tables import column_faults, nearest, read_table, word_fault
from lungtypes.errors import InputError

COLUMNS = ("subject", "stage", "decision", "by", "reason")
STAGES = ("ingest", "lungs", "resample", "register")
DECISIONS = ("accept", "exclude")


@dataclass(frozen=True)
class Decision:
    """One decision: accept a scan that a stage's gate refused, or exclude one that it let pass; by whom and why."""

    stage: str
    decision: str
    by: str
    reason: str


def read_decisions(
    path: str | Path, *, check: bool = True, subjects: Collection[str] = ()
) -> dict[tuple[str, str], Decision]:
    """Decisions by (subject, stage); no such file means no decisions.

    check : False for jobs of a running workflow. subjects : see :func:`decision_faults`.

    Raises
    ------
    InputError : names every fault of :func:`read_table` or :func:`decision_faults`.
    """
    if not str(path) or not Path(path).exists():
        return {}
    table = read_table(path)
    faults = decision_faults(path, table, subjects) if check else []
    if faults:
        raise InputError("\n".join(faults))
    return decisions_of(table)


def decisions_of(table: pd.DataFrame) -> dict[tuple[str, str], Decision]:
    """The rows of a table without faults as decisions by (subject, stage)."""
    rows = zip(*(table[name].tolist() for name in COLUMNS), strict=True)
    return {(subject, stage): Decision(stage, decision, by, reason) for subject, stage, decision, by, reason in rows}


def decision_faults(path: str | Path, table: pd.DataFrame, subjects: Collection[str]) -> list[str]:
    """Every fault of a table of decisions as :func:`read_table` gives it.

    subjects : ids of the sheet; empty when they are not known, then ids are not compared.
    """
    path = Path(path)
    faults = column_faults(path, list(table), required=COLUMNS)
    known = set(subjects)
    first: dict[tuple[str, str], int] = {}
    blank = [None] * len(table)  # a column that is missing was named above, once
    columns = (table[name].tolist() if name in table else blank for name in COLUMNS)
    for line, subject, stage, decision, by, reason in zip(table.index.tolist(), *columns, strict=True):
        place = f"{path}, line {line}, column"
        if subject is not None and (not subject or (known and subject not in known)):
            near = nearest(subject, known) if subject else None
            hint = f"Did you mean {near}?" if near else "Mend the id, or remove the row."
            faults.append(f"{place} subject: found {subject!r}, expected a subject of the sheet. {hint}")
        for name, value, allowed in (("stage", stage, STAGES), ("decision", decision, DECISIONS)):
            fault = word_fault(value, allowed)
            if fault:
                faults.append(f"{place} {name}: {fault}")
        for name, value, question in (("by", by, "who decided"), ("reason", reason, "why")):
            if value == "":
                faults.append(f"{place} {name}: found nothing, expected {question}. Fill it in.")
        if subject and stage and first.setdefault((subject, stage), line) != line:
            faults.append(
                f"{place} subject: found {subject!r} with stage {stage!r} again (line {first[subject, stage]}), "
                "expected one decision. Remove one row."
            )
    return faults
