"""Reads the table of lesion percentages and visual grades, one row for a subject and a region, and checks it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.cohort.clinical_values import MISSING, NUMBER
from lungtypes.cohort.tables import column_faults, nearest, read_table
from lungtypes.errors import InputError

REQUIRED = ("subject", "region")
VALUES = ("percent", "grade")
FEWEST = 3  # percentages: with fewer it is not judged whether they are shares


def read_lesion_table(
    path: str | Path, *, subjects: Collection[str], regions: Sequence[str], edges: Sequence[float]
) -> pd.DataFrame:
    """The table as dRAM learns from it.

    Parameters
    ----------
    subjects : ids of the sheet; empty when they are not known, then they are not compared.
    regions : names that may occur (lobes, and zones of each lung); case, blanks, hyphens and underscores are alike.
    edges : of the grades in percent; grade g reaches from ``edges[g]`` to ``edges[g + 1]``.

    Returns
    -------
    DataFrame : subject, region, percent (0-100), grade; of the last two NaN where the row does not say. Sorted.

    Raises
    ------
    InputError : every fault of the file, see :func:`lesion_faults`.
    """
    table = read_table(path)
    faults = lesion_faults(path, table, subjects=subjects, regions=regions, edges=edges)
    if faults:
        raise InputError("\n".join(faults))
    columns = {"subject": table["subject"].tolist(), "region": [region_name(text) for text in table["region"].tolist()]}
    for name in VALUES:
        values = table[name].tolist() if name in table else [""] * len(table)
        columns[name] = [np.nan if value in MISSING else float(value) for value in values]
    return pd.DataFrame(columns).sort_values(list(REQUIRED), ignore_index=True)


def region_name(text: str) -> str:
    """A region as we write it: ``Right-upper`` is right_upper."""
    return re.sub(r"[\s_-]+", "_", text.strip().casefold())


def lesion_faults(
    path: str | Path,
    table: pd.DataFrame,
    *,
    subjects: Collection[str],
    regions: Sequence[str],
    edges: Sequence[float],
) -> list[str]:
    """Every fault of a lesion table as :func:`lungtypes.cohort.tables.read_table` gives it.

    Subjects and regions may lack rows: what is not known is not learnt from. A row has a percentage, a grade, or a
    percentage within the bounds of its grade, both of them included.
    """
    path, header = Path(path), list(table)
    faults = column_faults(path, header, required=REQUIRED, optional=VALUES)
    if not set(VALUES) & set(header):
        faults.append(f"{path}, line 1: column percent is missing. Add it, or column grade.")
    if faults:
        return faults
    if table.empty:
        return [f"{path}: found no row, expected one for each subject and region that was read. Add them."]
    first = {}
    for line, (subject, region, percent, grade) in zip(table.index.tolist(), _rows(table), strict=True):
        place = f"{path}, line {line}"
        faults += _name_faults(place, "subject", subject, subject, subjects, "an id of the sheet")
        faults += _name_faults(place, "region", region, region_name(region), regions, "a region")
        faults += _value_faults(place, percent, grade, edges)
        before = first.setdefault((subject, region_name(region)), line)
        if before != line and subject and region:
            faults.append(
                f"{place}, columns subject and region: found {subject!r} and {region!r} again (line {before}), "
                "expected one row each. Remove one row."
            )
    return faults or _share_faults(path, table)


def rows_checksum(path: str | Path, subjects: Collection[str]) -> str:
    """SHA-256 of what a table without faults says of ``subjects``, whatever the order of its rows and columns."""
    rows = [(subject, region_name(region), *values) for subject, region, *values in _rows(read_table(path))]
    return hashlib.sha256(json.dumps(sorted(row for row in rows if row[0] in subjects)).encode()).hexdigest()


def n_unused(table: pd.DataFrame, regions_of: Mapping[str, Collection[str]]) -> int:
    """Rows about regions that their scans do not have, such as lobes of a scan with zones."""
    return sum(region_name(region) not in regions_of.get(subject, ()) for subject, region, *_ in _rows(table))


def coverage_faults(
    path: str | Path,
    table: pd.DataFrame,
    *,
    regions_of: Mapping[str, Collection[str]],
    masked: Collection[str],
    methods: Collection[str],
) -> list[str]:
    """What a table without faults leaves the methods without: rows of regions that the training scans have.

    regions_of : names of each training scan's regions. masked : scans with a lesion mask.
    """
    known = {subject for subject, region, *_ in _rows(table) if region_name(region) in regions_of.get(subject, ())}
    if methods and not known:
        return [
            f"{path}: found no row about a region of a training scan, expected many: lobes (right_upper) of scans with "
            "a lobe mask (column lobes of the sheet, or template.lobes), zones of each lung (right_upper_zone) of the "
            "others. Add rows, or lobe masks."
        ]
    if "dram-supervised" in methods and not known & set(masked):
        return [
            "config, dram.methods: found dram-supervised, and no training scan with a lesion mask and a row in "
            f"{path}, expected some. Name the masks in column lesions of the sheet, or take dram-supervised out."
        ]
    return []


def _rows(table: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """subject, region, percent and grade of each row as they stand; empty where a column is absent."""
    blank = [""] * len(table)
    columns = (table[name].tolist() if name in table else blank for name in (*REQUIRED, *VALUES))
    return list(zip(*columns, strict=True))


def _share_faults(path: Path, table: pd.DataFrame) -> list[str]:
    """Shares of 0-1 that were taken for percentages; whole numbers alone may well be percentages of 0 and 1."""
    values = [float(percent) for _, _, percent, _ in _rows(table) if percent not in MISSING]
    if len(values) < FEWEST or not 0 < max(values) <= 1 or all(value.is_integer() for value in values):
        return []
    return [
        f"{path}, column percent: found nothing above {max(values):g}, expected percentages, 0 to 100. Multiply shares "
        "by 100."
    ]


def _name_faults(place: str, column: str, found: str, name: str, known: Collection[str], what: str) -> list[str]:
    if not found:
        return [f"{place}, column {column}: found nothing, expected {what}. Fill it in."]
    if not known or name in known:
        return []
    near = nearest(name, known)
    listing = f"Known: {', '.join(known)}." if column == "region" else "Mend it, or remove the row."
    return [
        f"{place}, column {column}: found {found!r}, expected {what}. {f'Did you mean {near}?' if near else listing}"
    ]


def _value_faults(place: str, percent: str, grade: str, edges: Sequence[float]) -> list[str]:
    n_grades = len(edges) - 1
    given = [value not in MISSING for value in (percent, grade)]
    if not any(given):
        return [
            f"{place}, columns percent and grade: found neither, expected one of them. Fill it in, or remove the row: "
            "a region without a row is passed over."
        ]
    faults = []
    if given[0] and not (NUMBER.fullmatch(percent) and 0 <= float(percent) <= 100):
        faults.append(f"{place}, column percent: found {percent!r}, expected 0 to 100. Mend it.")
    if given[1] and not (NUMBER.fullmatch(grade) and float(grade) in range(n_grades)):
        faults.append(f"{place}, column grade: found {grade!r}, expected a whole number, 0 to {n_grades - 1}. Mend it.")
    if faults or not all(given):
        return faults
    low, high = edges[int(float(grade))], edges[int(float(grade)) + 1]
    if low <= float(percent) <= high:
        return []
    return [
        f"{place}, columns percent and grade: found {percent!r} and {grade!r}, expected {low:g} to {high:g} percent "
        f"for grade {grade} (dram.edges). Mend one of them, or empty it."
    ]
