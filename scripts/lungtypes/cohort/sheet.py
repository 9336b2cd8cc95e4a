"""Reads the sample sheet and checks it as a whole: all errors at once, each with line, column and hint."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pandas as pd

from lungtypes.errors import InputError

ID_PATTERN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
RESERVED = {"na", "nan", "null", "none", "n-a"}  # read as missing values by statistics software
REQUIRED = ("subject", "path")
OPTIONAL = ("person", "primary", "series", "lungs", "lobes", "site", "sex", "control", "split")


def read_sheet(path: str | Path) -> pd.DataFrame:
    """Read ``subjects.tsv``; every value is text, a missing one is empty.

    Raises
    ------
    InputError : names every fault: separator, columns, ids, duplicates (also by case), paths, codes.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: found no such file, expected the sample sheet. See config/README.md.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found text that is not UTF-8. Save the sheet as UTF-8 (tab-separated).") from error
    header = [name.strip() for name in lines[0].rstrip("\t").split("\t")] if lines else []
    if len(header) < 2 and lines and any(mark in lines[0] for mark in ",;"):
        raise InputError(f"{path}, line 1: found commas or semicolons, expected tabs between columns. Save as TSV.")
    faults = _column_faults(path, header)
    if faults:
        raise InputError("\n".join(faults))
    fields = [[field.strip() for field in line.split("\t")] for line in lines]
    faults = [
        f"{path}, line {number}: found {len(row)} fields, expected {len(header)} as in line 1. Look for a stray tab."
        for number, row in enumerate(fields, start=1)
        if len(row) > len(header) and any(row[len(header) :])
    ]
    if faults:
        raise InputError("\n".join(faults))
    rows = {number: row + [""] * len(header) for number, row in enumerate(fields[1:], start=2) if any(row)}
    sheet = pd.DataFrame([row[: len(header)] for row in rows.values()], columns=header, index=list(rows), dtype=str)
    faults = _row_faults(path, sheet)
    if faults:
        raise InputError("\n".join(faults))
    return sheet.reset_index(drop=True)


def _column_faults(path: Path, header: list[str]) -> list[str]:
    faults = [f"{path}, line 1: column {name} is missing. Add it." for name in REQUIRED if name not in header]
    for name in header:
        if name not in REQUIRED + OPTIONAL:
            near = difflib.get_close_matches(name, REQUIRED + OPTIONAL, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(REQUIRED + OPTIONAL)}."
            faults.append(f"{path}, line 1: found column {name!r}, which is not known. {hint}")
    return faults


def _row_faults(path: Path, sheet: pd.DataFrame) -> list[str]:
    faults, seen = [], {}
    for index, row in sheet.iterrows():
        line, subject = int(index), row["subject"]
        if not ID_PATTERN.match(subject):
            faults.append(
                f"{path}, line {line}, column subject: found {subject!r}, expected 1-64 letters, digits, _ or -, "
                "starting with a letter or digit."
            )
        elif subject.casefold() in RESERVED:
            faults.append(f"{path}, line {line}, column subject: found {subject!r}, which means missing in tables.")
        elif subject.casefold() in seen:
            faults.append(
                f"{path}, line {line}, column subject: found {subject!r} again (line {seen[subject.casefold()]})."
            )
        seen.setdefault(subject.casefold(), line)
        for name in ("path", "lungs", "lobes"):
            value = row.get(name, "")
            if "{" in value or "}" in value:
                faults.append(f"{path}, line {line}, column {name}: found braces in {value!r}. Rename the folder.")
            if (name == "path" or value) and not (value and Path(value).exists()):
                faults.append(
                    f"{path}, line {line}, column {name}: found {value!r}, which does not exist. Mend the path."
                )
        for name, allowed in (
            ("split", {"", "train", "test"}),
            ("control", {"", "0", "1"}),
            ("primary", {"", "0", "1"}),
        ):
            if row.get(name, "") not in allowed:
                expected = " or ".join(sorted(allowed - {""}))
                faults.append(
                    f"{path}, line {line}, column {name}: found {row[name]!r}, expected {expected}, or empty."
                )
    return faults
