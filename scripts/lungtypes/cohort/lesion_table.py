"""Reads the table of lesion percentages or visual grades, one row for a subject and a region, and checks it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.cohort.clinical_values import MISSING, NUMBER
from lungtypes.cohort.tables import column_faults, nearest, read_table
from lungtypes.errors import InputError

REQUIRED = ("subject", "region")
VALUES = ("percent", "grade")


def read_lesion_table(
    path: str | Path, *, subjects: Collection[str], regions: Sequence[str], n_grades: int
) -> pd.DataFrame:
    """The table as dRAM learns from it.

    Parameters
    ----------
    subjects : ids of the sheet; empty when they are not known, then they are not compared.
    regions : names that may occur (lobes, or zones of each lung). n_grades : grades are 0 to ``n_grades - 1``.

    Returns
    -------
    DataFrame : subject, region, percent (0-100), grade; one of the last two is NaN in each row. Sorted.

    Raises
    ------
    InputError : every fault of the file, see :func:`lesion_faults`.
    """
    table = read_table(path)
    faults = lesion_faults(path, table, subjects=subjects, regions=regions, n_grades=n_grades)
    if faults:
        raise InputError("\n".join(faults))
    columns = {name: table[name].tolist() for name in REQUIRED}
    for name in VALUES:
        values = table[name].tolist() if name in table else [""] * len(table)
        columns[name] = [np.nan if value in MISSING else float(value) for value in values]
    return pd.DataFrame(columns).sort_values(list(REQUIRED), ignore_index=True)


def lesion_faults(
    path: str | Path, table: pd.DataFrame, *, subjects: Collection[str], regions: Sequence[str], n_grades: int
) -> list[str]:
    """Every fault of a lesion table as :func:`lungtypes.cohort.tables.read_table` gives it.

    Subjects and regions may lack rows: what is not known is not learnt from. A row has a percentage or a grade.
    """
    path, header = Path(path), list(table)
    faults = column_faults(path, header, required=REQUIRED, optional=VALUES)
    if not set(VALUES) & set(header):
        faults.append(f"{path}, line 1: column percent is missing. Add it, or column grade.")
    if faults:
        return faults
    if table.empty:
        return [f"{path}: found no row, expected one for each subject and region that was read. Add them."]
    blank, first = [""] * len(table), {}
    columns = [table[name].tolist() if name in header else blank for name in (*REQUIRED, *VALUES)]
    for line, subject, region, percent, grade in zip(table.index.tolist(), *columns, strict=True):
        place = f"{path}, line {line}"
        faults += _name_faults(place, "subject", subject, subjects, "an id of the sheet")
        faults += _name_faults(place, "region", region, regions, "a region")
        faults += _value_faults(place, percent, grade, n_grades)
        before = first.setdefault((subject, region), line)
        if before != line and subject and region:
            faults.append(
                f"{place}, columns subject and region: found {subject!r} and {region!r} again (line {before}), "
                "expected one row each. Remove one row."
            )
    return faults


def _name_faults(place: str, column: str, name: str, known: Collection[str], what: str) -> list[str]:
    if not name:
        return [f"{place}, column {column}: found nothing, expected {what}. Fill it in."]
    if not known or name in known:
        return []
    near = nearest(name, known)
    listing = f"Known: {', '.join(known)}." if column == "region" else "Mend it, or remove the row."
    return [
        f"{place}, column {column}: found {name!r}, expected {what}. {f'Did you mean {near}?' if near else listing}"
    ]


def _value_faults(place: str, percent: str, grade: str, n_grades: int) -> list[str]:
    given = [value not in MISSING for value in (percent, grade)]
    if all(given):
        return [
            f"{place}, columns percent and grade: found {percent!r} and {grade!r}, expected one of them. Empty the "
            "other."
        ]
    if not any(given):
        return [
            f"{place}, columns percent and grade: found neither, expected one of them. Fill it in, or remove the row: "
            "a region without a row is passed over."
        ]
    if given[0]:
        inside = NUMBER.fullmatch(percent) and 0 <= float(percent) <= 100
        return [] if inside else [f"{place}, column percent: found {percent!r}, expected 0 to 100. Mend it."]
    whole = NUMBER.fullmatch(grade) and float(grade) in range(n_grades)
    if whole:
        return []
    return [f"{place}, column grade: found {grade!r}, expected a whole number, 0 to {n_grades - 1}. Mend it."]
