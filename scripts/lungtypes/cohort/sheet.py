"""Reads the sample sheet and checks it as a whole: all errors at once, each with line, column and hint."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from lungtypes.cohort.tables import column_faults, lines_text, read_table, repeats
from lungtypes.errors import InputError

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
RESERVED = {"na", "nan", "null", "none", "n-a"}  # read as missing values by statistics software
REQUIRED = ("subject",)
SOURCES = ("path", "registered")  # one of them in each row
OPTIONAL = (*SOURCES, "person", "primary", "series", "lungs", "lobes", "lesions", "site", "sex", "control", "split")
FILES = (*SOURCES, "lungs", "lobes", "lesions")
CODES = {"split": ("test", "train"), "control": ("0", "1"), "primary": ("0", "1")}
# 2.1: the first of several stacks in series 2; 2.1.1: of its repeats
SERIES_NUMBER = re.compile(r"[0-9]+(\.[1-9][0-9]*){0,2}")

Columns = Mapping[str, Sequence[str]]
Fault = tuple[int, str]  # line (to sort by) and text


def read_sheet(path: str | Path, *, check: bool = True) -> pd.DataFrame:
    """Read the sample sheet; every value is text, a missing one is empty.

    check : False for jobs of a running workflow, whose sheet was checked when it began.

    Raises
    ------
    InputError : names every fault of :func:`read_table` or :func:`sheet_faults`.
    """
    table = read_table(path)
    faults = sheet_faults(path, table) if check else []
    if faults:
        raise InputError("\n".join(faults))
    return table.reset_index(drop=True)


def sheet_faults(path: str | Path, table: pd.DataFrame) -> list[str]:
    """Every fault of a sheet as :func:`read_table` gives it: columns, ids, scans, persons, paths, codes."""
    path, header = Path(path), list(table)
    faults = column_faults(path, header, required=REQUIRED, optional=OPTIONAL)
    if not set(SOURCES) & set(header):
        faults.append(f"{path}, line 1: column path is missing. Add it, or column registered.")
    if "primary" in header and "person" not in header:
        faults.append(f"{path}, line 1: found column primary without column person. Add person, or remove primary.")
    blank = [""] * len(table)
    columns = {name: table[name].tolist() if name in header else blank for name in (*REQUIRED, *OPTIONAL)}
    lines = table.index.tolist()
    found: list[Fault] = []
    if "subject" in header:
        found += _id_faults(path, lines, table)
    if set(SOURCES) & set(header):
        found += _source_faults(path, lines, columns)
    found += _value_faults(path, lines, columns)
    if "person" in header:
        found += _person_faults(path, lines, columns)
    return faults + [text for _, text in sorted(found, key=lambda fault: fault[0])]


def splits(sheet: pd.DataFrame) -> dict[str, str]:
    """Each subject's part: ``train`` (learnt from), ``test`` (held out), ``repeat`` (a further scan of a person).

    A scan is a repeat when another scan of its person is marked primary and it is not, whatever its split.
    """
    blank = [""] * len(sheet)
    names = ("subject", "person", "primary", "split")
    rows = list(zip(*(sheet[name].tolist() if name in sheet else blank for name in names), strict=True))
    led = {person for _, person, primary, _ in rows if person and primary == "1"}
    return {
        subject: "repeat" if person in led and primary != "1" else "test" if split == "test" else "train"
        for subject, person, primary, split in rows
    }


def _id_faults(path: Path, lines: Sequence[int], table: pd.DataFrame) -> Iterator[Fault]:
    for line, subject in zip(lines, table["subject"].tolist(), strict=True):
        place = f"{path}, line {line}, column subject: found {subject!r}"
        if not ID_PATTERN.fullmatch(subject):
            expected = "1-64 letters, digits, _ or -, starting with a letter or digit"
            yield line, f"{place}, expected {expected}. Rename it."
        elif subject.casefold() in RESERVED:
            yield line, f"{place}, which means missing in tables. Rename it."
    for line, subject, first in repeats(table, "subject"):
        where = f"{path}, line {line}, column subject"
        yield line, f"{where}: found {subject!r} again (line {first}), expected each id once. Rename one."


def _source_faults(path: Path, lines: Sequence[int], columns: Columns) -> Iterator[Fault]:
    """Each row names one scan, and no scan is named twice."""
    seen: dict[tuple[str, str, str], int] = {}
    names = ("path", "registered", "series", "lobes", "lesions")
    for line, scan, registered, series, lobes, lesions in zip(lines, *(columns[name] for name in names), strict=True):
        place = f"{path}, line {line}, column"
        if bool(scan) == bool(registered):
            found = "a value beside column path" if scan else "nothing, and nothing in column registered"
            remedy = "Give path for a scan, registered for a volume that lies in template space already."
            yield line, f"{place} {'registered' if scan else 'path'}: found {found}, expected one of both. {remedy}"
        for name, value in (("series", series), ("lobes", lobes), ("lesions", lesions)):
            if registered and value:
                yield line, f"{place} {name}: found {value!r} beside a registered volume, expected nothing. Empty it."
        wanted = series.lstrip("0")
        for name, value, detail in (("path", scan, wanted), ("registered", registered, "")):
            key = (name, os.path.normpath(value), detail)
            if value and seen.setdefault(key, line) != line:
                again = f"{value!r}{f' with series {detail}' if detail else ''} again (line {seen[key]})"
                remedy = "Remove one row, or mend the path or the series."
                yield line, f"{place} {name}: found {again}, expected each scan once. {remedy}"


def _value_faults(path: Path, lines: Sequence[int], columns: Columns) -> Iterator[Fault]:
    """Paths, codes and numbers, each by itself."""
    checks = {name: _path_fault for name in FILES} | {
        name: partial(_code_fault, codes) for name, codes in CODES.items()
    }
    checks["series"] = _series_fault
    for name, check in checks.items():
        for line, value in zip(lines, columns[name], strict=True):
            reason = check(value) if value else ""
            if reason:
                yield line, f"{path}, line {line}, column {name}: {reason}"


def _code_fault(allowed: Sequence[str], value: str) -> str:
    return "" if value in allowed else f"found {value!r}, expected {' or '.join(allowed)}, or empty. Mend it."


def _series_fault(value: str) -> str:
    known = SERIES_NUMBER.fullmatch(value)
    return "" if known else f"found {value!r}, expected a series number as in ingest/series.tsv, or empty. Mend it."


def _path_fault(value: str) -> str:
    if "{" in value or "}" in value:
        return f"found braces in {value!r}, expected none. Rename the folder."
    if value.startswith("~"):
        return f"found {value!r}, expected a path without ~. Write the home folder out in full."
    if os.path.exists(value):
        return ""
    hint = "" if os.path.isabs(value) else " (a relative path counts from the folder where Snakemake runs)"
    return f"found {value!r}, which does not exist or cannot be read{hint}. Mend the path."


def _person_faults(path: Path, lines: Sequence[int], columns: Columns) -> Iterator[Fault]:
    """Of several scans of one person exactly one is primary: otherwise one person would count several times."""
    scans: dict[str, list[int]] = defaultdict(list)
    marked: dict[str, list[int]] = defaultdict(list)
    for line, person, primary in zip(lines, columns["person"], columns["primary"], strict=True):
        if person:
            scans[person].append(line)
            if primary == "1":
                marked[person].append(line)
    for person, own in scans.items():
        chosen = marked.get(person, [])
        expected = "expected primary = 1 in one of them"
        if len(own) > 1 and not chosen:
            found = f"found {len(own)} scans of person {person} and none marked"
            yield own[0], f"{path}, {lines_text(own)}, column person: {found}, {expected}. Mark the scan to learn from."
        elif len(chosen) > 1:
            found = f"found {len(chosen)} scans of person {person} marked"
            yield chosen[0], f"{path}, {lines_text(chosen)}, column primary: {found}, {expected}. Set the others to 0."
