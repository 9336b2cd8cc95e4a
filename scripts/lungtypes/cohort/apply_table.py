"""Which files a user wants to have brought to the template or to a scan: ``config/apply.tsv``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungtypes.cohort.sheet import ID_PATTERN
from lungtypes.cohort.tables import column_faults, listed, nearest, read_table, word_fault

COLUMNS = ("name", "subject", "file", "kind", "to")
SPACES = ("template", "scan")
IMAGES, TABLES = (".nii", ".nii.gz", ".nrrd", ".mha"), (".tsv", ".csv")
SUFFIXES = {"image": IMAGES, "labels": IMAGES, "points": TABLES}  # by kind
EVERY = "*"  # every scan that is registered here
SUBJECT = "{subject}"


@dataclass(frozen=True)
class Application:
    """One file of one subject to bring to another space.

    name : of the result. file : path. kind : image, labels or points. to : template or scan.
    """

    name: str
    file: str
    kind: str
    to: str


def registered_here(sheet: pd.DataFrame) -> dict[str, bool]:
    """Subject -> whether we register its scan; a volume that came registered brought no transform."""
    given = sheet["registered"].tolist() if "registered" in sheet else [""] * len(sheet)
    return {subject: not volume for subject, volume in zip(sheet["subject"].tolist(), given, strict=True) if subject}


def read_applications(path: str | Path, scans: Mapping[str, bool]) -> dict[str, tuple[Application, ...]]:
    """What to apply, by subject, from a table that was checked before; no such file means nothing.

    scans : see :func:`registered_here`.
    """
    return applications_of(read_table(path), scans) if str(path) and Path(path).exists() else {}


def applications_of(table: pd.DataFrame, scans: Mapping[str, bool]) -> dict[str, tuple[Application, ...]]:
    """The rows of a table without faults, by subject; subjects without any are left out.

    Each subject's are sorted, so that moving rows about changes nothing.
    """
    found: dict[str, list[Application]] = {subject: [] for subject in scans}
    for name, wanted, file, kind, to in zip(*(table[column].tolist() for column in COLUMNS), strict=True):
        for subject in _subjects(wanted, scans):
            found[subject].append(Application(name, _path(file, subject), kind, to))
    in_order = {subject: sorted(items, key=lambda item: (item.to, item.name)) for subject, items in found.items()}
    return {subject: tuple(items) for subject, items in in_order.items() if items}


def apply_faults(path: str | Path, table: pd.DataFrame, scans: Mapping[str, bool], *, results: str) -> list[str]:
    """Every fault of a table of files to apply as :func:`read_table` gives it: columns, ids, words, files, repeats.

    scans : see :func:`registered_here`; empty when the sheet is not known, then ids are not compared.
    results : the results folder; a file in it may have to be made first, so it need not exist.
    """
    path = Path(path)
    faults = column_faults(path, list(table), required=COLUMNS)
    first: dict[tuple[str, str, str], int] = {}
    blank = [None] * len(table)  # a column that is missing was named above, once
    columns = (table[name].tolist() if name in table else blank for name in COLUMNS)
    for line, name, wanted, file, kind, to in zip(table.index.tolist(), *columns, strict=True):
        subjects = _subjects(wanted, scans) if wanted else []
        found = {
            "name": _name_fault(name),
            "subject": _subject_fault(wanted, scans),
            "file": _file_fault(file, kind) or _place_fault(file, wanted, to, subjects, results),
            "kind": word_fault(kind, list(SUFFIXES)),
            "to": word_fault(to, SPACES),
        }
        if name and to and not found["name"]:
            keys = {subject: (subject, to, name.casefold()) for subject in subjects}
            again = [subject for subject, key in keys.items() if first.setdefault(key, line) != line]
            if again:
                before = f"(line {first[keys[again[0]]]}) for {listed(again)} to the {to}"
                found["name"] = f"found {name!r} again {before}, expected each result once. Rename one."
        faults += [f"{path}, line {line}, column {column}: {text}" for column, text in found.items() if text]
    return faults


def _subjects(wanted: str, scans: Mapping[str, bool]) -> list[str]:
    return [subject for subject, ours in scans.items() if ours and wanted in (subject, EVERY)]


def _path(file: str, subject: str) -> str:
    return str(Path(file.replace(SUBJECT, subject)))


def _name_fault(name: str | None) -> str:
    if name is None or ID_PATTERN.fullmatch(name):
        return ""
    return f"found {name!r}, expected 1-64 letters, digits, _ or -, starting with a letter or digit. Rename it."


def _subject_fault(wanted: str | None, scans: Mapping[str, bool]) -> str:
    if wanted is None or (wanted and not scans):
        return ""
    if wanted == EVERY:
        found = "found '*', and every volume came registered, so there is no transform. Remove the row."
        return "" if any(scans.values()) else found
    if wanted not in scans:
        near = nearest(wanted, scans) if wanted else None
        hint = f"Did you mean {near}?" if near else "Mend the id, or remove the row."
        return f"found {wanted!r}, expected a subject of the sheet, or * for every scan. {hint}"
    if not scans[wanted]:
        return (
            f"found {wanted!r}, whose volume came registered, expected a scan that is registered here: there is no "
            "transform. Remove the row."
        )
    return ""


def _file_fault(file: str | None, kind: str | None) -> str:
    """What the text of the path tells."""
    if file is None:
        return ""
    if not file:
        return "found nothing, expected the path of a file. Fill it in."
    suffixes = SUFFIXES.get(kind, IMAGES + TABLES)
    if not file.lower().endswith(suffixes):
        expected = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}" + (f" for {kind}" if kind in SUFFIXES else "")
        return f"found {file!r}, expected {expected}. Save the file as one of them."
    if file.startswith("~"):
        return f"found {file!r}, expected a path without ~. Write the home folder out in full."
    rest = file.replace(SUBJECT, "")
    if "{" in rest or "}" in rest:
        return f"found braces in {file!r}, expected none but {SUBJECT}. Rename the file."
    return ""


def _place_fault(file: str | None, wanted: str | None, to: str | None, subjects: Sequence[str], results: str) -> str:
    """Whether the file is there for each of its subjects."""
    if not file:
        return ""
    if wanted == EVERY and to == "template" and SUBJECT not in file:
        return (
            f"found {file!r} for every scan, expected {SUBJECT} in it: a file lies in the space of one scan. Put "
            f"{SUBJECT} in, or name the subject."
        )
    if Path(os.path.abspath(file)).is_relative_to(os.path.abspath(results)):
        return ""
    missing = [path for path in dict.fromkeys(_path(file, s) for s in subjects) if not os.path.isfile(path)]
    if not missing:
        return ""
    what = "which is no file that can be read" if len(missing) == 1 else "which are no files that can be read"
    hint = "" if os.path.isabs(file) else " (a relative path counts from the folder where Snakemake runs)"
    return f"found {listed([repr(path) for path in missing])}, {what}{hint}. Mend the path."
