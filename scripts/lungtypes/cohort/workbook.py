"""Reads the one worksheet of an XLSX file as text, and refuses what spreadsheets change behind the user's back."""

from __future__ import annotations

import datetime
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

from lungtypes.errors import InputError

MAX_UNPACKED_MB = 500  # an XLSX is a ZIP archive
DATES = (datetime.date, datetime.time, datetime.timedelta)
EXCEL_ERRORS = frozenset(
    [
        "#N/A",
        "#DIV/0!",
        "#REF!",
        "#NAME?",
        "#NULL!",
        "#NUM!",
        "#VALUE!",
        "#SPILL!",
        "#CALC!",
        "#FIELD!",
        "#BLOCKED!",
        "#GETTING_DATA",
    ]
)


def workbook_rows(path: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """The rows of the only worksheet with content as (row number, texts), the header first, and the cells' faults.

    Whole numbers become "3", not "3.0"; yes and no become "1" and "0".

    Raises
    ------
    InputError : broken, too large, empty, or several worksheets with content.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            megabytes = sum(item.file_size for item in archive.infolist()) / 1e6
            readable = megabytes <= MAX_UNPACKED_MB
            pages = [name for name in archive.namelist() if name.startswith("xl/worksheets/")] if readable else []
            calculated = any(mark in archive.read(name) for name in pages for mark in (b"<f>", b"<f "))
        sheets = _worksheets(path, data_only=True) if readable else {}
        formulas = _worksheets(path, data_only=False) if calculated else sheets
    except Exception as error:  # a broken file raises whatever the parsers of ZIP, XML and openpyxl raise
        raise InputError(
            f"{path}: found no readable workbook ({type(error).__name__}), expected XLSX without a password. "
            "Save it again as XLSX, or as CSV UTF-8."
        ) from error
    if not readable:
        raise InputError(f"{path}: found {megabytes:.1f} MB unpacked, expected at most {MAX_UNPACKED_MB}. Save as CSV.")
    filled = [name for name, rows in formulas.items() if rows]
    if not filled:
        raise InputError(f"{path}: found an empty file, expected the column names in line 1. Add them.")
    if len(filled) > 1:
        raise InputError(
            f"{path}: found {len(filled)} worksheets with content ({', '.join(filled)}), expected one. "
            "Move the others to files of their own."
        )
    values, written = sheets[filled[0]], formulas[filled[0]]
    header = [_cell_text(value) for value in values.get(1, ())]
    rows, faults = [(1, header)], []
    for number in sorted(written):
        cells = values.get(number, ())
        formula = written[number] if calculated else ()
        for place, reason in _cell_faults(cells, formula):
            name = header[place] if place < len(header) and header[place] else str(place + 1)
            faults.append(f"{path}, line {number}, column {name}: {reason}")
        if number > 1:
            rows.append((number, [_cell_text(value) for value in cells]))
    return rows, faults


def _worksheets(path: Path, *, data_only: bool) -> dict[str, dict[int, tuple]]:
    """Every worksheet's rows that hold something, by row number; data_only gives the results of formulas."""
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl tells of styles and extensions that do not concern the values
        book = openpyxl.load_workbook(path, read_only=True, data_only=data_only)
        try:
            found = {}
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # some programs write a wrong size; rows beyond it would be lost
                rows = enumerate(sheet.iter_rows(values_only=True), start=1)
                found[sheet.title] = {number: row for number, row in rows if any(v not in (None, "") for v in row)}
        finally:
            book.close()
    return found


def _cell_faults(cells: Sequence[object], formulas: Sequence[object]) -> list[tuple[int, str]]:
    """(place in the row, what is wrong) of the cells whose value is not what the user sees or means."""
    faults = []
    for place, value in enumerate(cells):
        if isinstance(value, DATES):
            remedy = "Spreadsheets turn values into dates: write it again in a column formatted as text."
            faults.append((place, f"found the date or time {value}, expected text or a number. {remedy}"))
        elif isinstance(value, str) and value in EXCEL_ERRORS:
            faults.append((place, f"found the error {value}, expected a value. Mend the formula, or empty the cell."))
    for place, formula in enumerate(formulas):
        if formula is not None and (place >= len(cells) or cells[place] is None):
            remedy = "Open and save the file in a spreadsheet program, or paste the values."
            faults.append((place, f"found the formula {formula!r} without its result, expected a value. {remedy}"))
    return faults


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()
