"""Reads the tables that people give us (TSV, CSV, XLSX) as text, line by line: nothing is guessed or converted."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from lungtypes.cohort.workbook import workbook_rows
from lungtypes.errors import InputError

SEPARATORS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
XLSX = ".xlsx"
MARKS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
STRAY = {".tsv": "tab", ".txt": "tab", ".csv": "comma", XLSX: "cell"}
MAX_MB = 50  # far beyond any table of subjects; spares the memory
SHOWN = 5  # lines or ids that a fault lists before it only counts


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table by its suffix: .tsv or .txt (tabs), .csv (commas), .xlsx (one worksheet).

    Returns
    -------
    DataFrame of text : stripped, a missing value is empty, blank lines are passed over. Its index ``line`` is the
        line in the file, the header being line 1 (in XLSX the row).

    Raises
    ------
    InputError : names every fault with its line: encoding, separator, quotes, column names, stray fields, dates and
        errors of Excel.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in STRAY:
        raise InputError(
            f"{path}: found suffix {suffix!r}, expected .tsv, .csv or .xlsx. Save the table as one of them."
        )
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: found {found}, expected a table. Mend the path.")
    megabytes = path.stat().st_size / 1e6
    if megabytes > MAX_MB:
        raise InputError(f"{path}: found {megabytes:.1f} MB, expected at most {MAX_MB}. Is it the right file?")
    rows, faults = workbook_rows(path) if suffix == XLSX else _text_rows(path, SEPARATORS[suffix])
    return _frame(path, rows, faults, STRAY[suffix])


def listed(items: Sequence[object]) -> str:
    """The first few items in words: ``a, b, c, d, e and 7 more``."""
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + more


def lines_text(lines: Sequence[int]) -> str:
    """``line 3``, or ``lines 3, 5``; at most five of them."""
    return f"line{'s' if len(lines) > 1 else ''} {listed(lines)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name`` without regard to case, or None when none is close."""
    lowered = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return lowered[near[0]] if near else None


def word_fault(value: str | None, allowed: Sequence[str]) -> str:
    """What is wrong with a word of a closed list, with the nearest one; empty for one of them, and for no column."""
    if value is None or value in allowed:
        return ""
    near = nearest(value, allowed)
    hint = f"Did you mean {near}?" if near else "Mend the value."
    return f"found {value!r}, expected {' or '.join(allowed)}. {hint}"


def column_faults(
    path: Path, header: Sequence[str], *, required: Sequence[str], optional: Sequence[str] = ()
) -> list[str]:
    """Faults of a header with a closed list of columns: missing ones, and unknown ones with the nearest known."""
    known = (*required, *optional)
    faults = [f"{path}, line 1: column {name} is missing. Add it." for name in required if name not in header]
    for name in header:
        if name not in known:
            near = nearest(name, known)
            hint = f"Did you mean {near}?" if near else f"Known: {', '.join(known)}."
            faults.append(f"{path}, line 1: found column {name!r}, which is not known. {hint}")
    return faults


def repeats(table: pd.DataFrame, column: str) -> list[tuple[int, str, int]]:
    """(line, value, first line) of every value that came before, without regard to case; empty ones are passed over."""
    first: dict[str, int] = {}
    found = []
    for line, value in zip(table.index.tolist(), table[column].tolist(), strict=True):
        key = value.casefold()
        if value and first.setdefault(key, line) != line:
            found.append((line, value, first[key]))
    return found


def _text_rows(path: Path, separator: str) -> tuple[list[tuple[int, list[str]]], list[str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: found no readable file ({error.strerror}), expected a table. Mend it.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: found text that is not UTF-8. Save as UTF-8.") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: found a NUL byte, expected text. Save as UTF-8.")
    if not text.strip():
        raise InputError(f"{path}: found an empty file, expected the column names in line 1. Add them.")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    _check_separator(path, lines[0], separator)
    rows, faults = [], []
    for number, line in enumerate(lines, start=1):
        try:
            # a reader for each line: what a quote leaves open on one line cannot swallow the lines after it
            fields = (
                next(csv.reader([line], delimiter=separator, strict=True)) if '"' in line else line.split(separator)
            )
        except csv.Error:
            faults.append(
                f"{path}, line {number}: found a quote that does not close at the end of its field, expected quotes in "
                "pairs and every field on one line. Mend the quotes."
            )
            fields = []
        rows.append((number, [field.strip() for field in fields]))
    if faults and not rows[0][1]:  # without a header nothing else can be told
        raise InputError("\n".join(faults))
    return rows, faults


def _check_separator(path: Path, header: str, separator: str) -> None:
    others = [mark for mark in MARKS if mark != separator and mark in header]
    if separator in header or not others:
        return
    found = max(others, key=header.count)
    remedy = {
        "\t": "Name the file .tsv, or save it as CSV.",
        ",": "Save as TSV, or name the file .csv.",
        ";": "They usually come with decimal commas: save as CSV UTF-8 with commas and decimal points, or as XLSX.",
    }[found]
    raise InputError(f"{path}, line 1: found {MARKS[found]}, expected {MARKS[separator]} between columns. {remedy}")


def _frame(path: Path, rows: list[tuple[int, list[str]]], faults: list[str], stray: str) -> pd.DataFrame:
    header = list(rows[0][1])
    while header and not header[-1]:  # spreadsheets often leave empty columns at the end
        header.pop()
    if not header:
        raise InputError("\n".join([f"{path}, line 1: found an empty line, expected the column names.", *faults]))
    for place, name in enumerate(header, start=1):
        if not name:
            faults.append(f"{path}, line 1, column {place}: found no name, expected one for every column. Add it.")
        elif header.index(name) + 1 == place and header.count(name) > 1:
            faults.append(f"{path}, line 1, column {name}: found the name {header.count(name)} times. Rename one.")
    width, lines, records = len(header), [], []
    for number, fields in rows[1:]:
        if len(fields) > width and any(fields[width:]):
            count = max(place for place, field in enumerate(fields, start=1) if field)
            faults.append(
                f"{path}, line {number}: found {count} fields, expected {width} as in line 1. Look for a stray {stray}."
            )
        if any(fields):
            lines.append(number)
            records.append((fields + [""] * (width - len(fields)))[:width])
    if faults:
        raise InputError("\n".join(faults))
    return pd.DataFrame(records, columns=header, index=pd.Index(lines, name="line", dtype="int64"), dtype=str)
