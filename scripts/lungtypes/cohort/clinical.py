"""Reads the clinical table as the statistics need it, and checks it against the config and the sheet."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.cohort.clinical_values import MISSING, NUMBER, Cells, level_faults, number_faults, sentinel_faults
from lungtypes.cohort.tables import lines_text, listed, nearest, read_table, repeats
from lungtypes.errors import InputError

MISSPELT = 0.85  # likeness of two column names from which they are taken for one
MOSTLY = 0.5  # share of numbers from which a covariate that the config gives no type is taken for a number


def read_clinical(path: str | Path, associate: Mapping[str, object]) -> pd.DataFrame:
    """The clinical table as the statistics read it; without a file or rows, only an empty column subject.

    associate : that section of the config; its outcomes and continuous variables are numbers.

    Returns
    -------
    DataFrame : subject is text. Declared numbers are float; other columns are float when all their values are numbers,
        else text. Missing ("", NA, NaN) is NaN.

    Raises
    ------
    InputError : no column subject, or a declared number that is none.
    """
    table = read_table(path) if is_given(path) else pd.DataFrame()
    if table.empty:
        return pd.DataFrame({"subject": pd.Series(dtype=str)})
    kinds = _kinds(associate)
    faults, columns = _subject_column(Path(path), list(table)), {}
    for name in table:
        values, cells = table[name].tolist(), _cells(table, name)
        plain = all(NUMBER.fullmatch(value) for _, value in cells)
        if name == "subject":
            columns[name] = values
        elif kinds.get(name) == "number" and not plain:
            faults += number_faults(Path(path), name, cells)
        elif plain:
            columns[name] = [np.nan if value in MISSING else float(value) for value in values]
        else:
            columns[name] = [np.nan if value in MISSING else value for value in values]
    if faults:
        raise InputError("\n".join(faults))
    return pd.DataFrame(columns)


def clinical_faults(
    path: str | Path,
    table: pd.DataFrame,
    subjects: Sequence[str],
    associate: Mapping[str, object],
    *,
    repeat_subjects: Collection[str] = (),
) -> list[str]:
    """Every fault of a clinical table as :func:`read_table` gives it: columns, subjects, numbers, codes for missing.

    Parameters
    ----------
    subjects : those expected to have a row; empty when they are not known, then they are not compared.
    associate : that section of the config.
    repeat_subjects : subjects of the sheet that may have a row and need none.
    """
    path = Path(path)
    header, kinds = list(table), _kinds(associate)
    faults = _subject_column(path, header) + _misspelt(path, header, list(kinds))
    if "subject" in header:
        faults += _subject_faults(path, table)
        if len(table) and subjects and associate.get("unmatched", "error") == "error":
            faults += _unmatched(path, table, subjects, repeat_subjects)
    levels = {o["name"]: o["levels"] for o in associate["outcomes"] if o.get("levels")}
    for name in (name for name in header if name in levels):
        cells, known = _cells(table, name), {_level(level) for level in levels[name]}
        words = f"the outcome's levels ({', '.join(map(str, levels[name]))}). Mend the cell, or associate.outcomes."
        faults += _unlisted(path, name, [cell for cell in cells if _level(cell[1]) not in known], words)
    for name in (name for name in header if name in kinds):
        cells = _cells(table, name)
        n_numbers = sum(1 for _, value in cells if NUMBER.fullmatch(value))
        if kinds[name] == "number" or (kinds[name] == "either" and n_numbers > MOSTLY * len(cells)):
            faults += number_faults(path, name, cells)
            faults += sentinel_faults(path, name, cells)
        else:
            faults += level_faults(path, name, cells)
    return faults


def reference_faults(
    path: str | Path,
    column: str,
    subjects: Collection[str],
    *,
    order: Sequence[str] = (),
    learners: Collection[str] = (),
) -> list[str]:
    """Every fault of ``evaluate.reference_table`` (path, or empty) with ``evaluate.reference_column``.

    subjects : ids of the sheet; empty when they are not known, then they are not compared. order : the labels from mild
    to severe, if they have one. learners : ids of the scans that a method learns their labels of, which must have one.
    """
    if not str(path) and not column:
        return []
    if not str(path) or not column:
        empty, given = ("column", "table") if str(path) else ("table", "column")
        return [
            f"config, evaluate.reference_{empty}: is empty beside evaluate.reference_{given}, expected both or "
            "neither. Fill in or empty one."
        ]
    try:
        table = read_table(path)
    except InputError as error:
        return str(error).splitlines()
    path, header = Path(path), list(table)
    faults = _subject_column(path, header)
    if column not in header:
        near = nearest(column, header)
        hint = f"Did you mean {near}?" if near else f"There are: {', '.join(header)}."
        faults.append(f"{path}, line 1: column {column} is missing, the config's evaluate.reference_column. {hint}")
    if "subject" in header:
        faults += _subject_faults(path, table)
        if subjects and not set(subjects) & set(table["subject"]):
            faults.append(
                f"{path}, column subject: found no subject of the sheet, expected the same ids. Mend the ids."
            )
    if column in header and not faults:
        cells = _cells(table, column)
        words = f"{', '.join(order)} of the config's evaluate.reference_order. Mend either."
        unlisted = _unlisted(path, column, [cell for cell in cells if order and cell[1] not in order], words)
        faults += level_faults(path, column, cells) or unlisted
        faults += _learner_faults(path, column, table, learners)
    return faults


def _unlisted(path: Path, name: str, cells: Cells, words: str) -> list[str]:
    """One fault for each value of the cells that no list has; words : what is expected, and the remedy."""
    lines: dict[str, list[int]] = {}
    for line, value in cells:
        lines.setdefault(value, []).append(line)
    return [
        f"{path}, {lines_text(found)}, column {name}: found {value!r}, expected one of {words}"
        for value, found in lines.items()
    ]


def _level(value: object) -> str:
    """1.0 and 1 are one level; YAML reads yes and no as truth values."""
    text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
    return f"{float(text):g}" if NUMBER.fullmatch(text) else text


def _learner_faults(path: Path, column: str, table: pd.DataFrame, learners: Collection[str]) -> list[str]:
    labels = {s: v for s, v in zip(table["subject"], table[column], strict=True) if v not in MISSING}
    absent = [subject for subject in learners if subject not in labels]
    if absent:
        return [
            f"{path}, column {column}: found no label for {len(absent)} training scans, first {', '.join(absent[:5])}, "
            "from which dcam-supervised learns. Give them one, set their split to test, or take dcam-supervised out of "
            "dcam.methods."
        ]
    classes = sorted({labels[subject] for subject in learners})
    if len(classes) == 1:
        return [f"{path}, column {column}: found one label ({classes[0]}) in all training scans, expected two or more."]
    return []


def external_faults(associate: Mapping[str, object]) -> list[str]:
    """Every fault of another cohort's two files (``associate.external``): one without the other, columns, subjects."""
    external = associate["external"]
    given = {key: path for key, path in external.items() if path}
    if len(given) == 1:
        (here,), (lacking,) = given, set(external) - set(given)
        return [
            f"config, associate.external.{lacking}: is empty beside associate.external.{here}, expected both or "
            "neither. Fill in or empty one."
        ]
    tables, faults = {}, []
    for key, path in given.items():
        try:
            tables[key] = read_table(path)
        except InputError as error:
            faults += str(error).splitlines()
    subjects: list[str] = []
    if "assignment" in tables:
        path, table = Path(given["assignment"]), tables["assignment"]
        faults += _subject_column(path, list(table))
        if "cluster" not in table and len(table.columns) != 2:
            faults.append(f"{path}, line 1: column cluster is missing. There are: {', '.join(table)}.")
        if "subject" in table:
            faults += _subject_faults(path, table)
            subjects = table["subject"].tolist()
        faults += [
            f"{path}, line {line}, column cluster: found {value!r}, expected a whole number. Number the clusters."
            for line, value in (_cells(table, "cluster") if "cluster" in table else ())
            if not (NUMBER.fullmatch(value) and float(value).is_integer())
        ]
    if "clinical" in tables:
        faults += clinical_faults(given["clinical"], tables["clinical"], subjects, associate)
    return faults


def is_given(path: str | Path) -> bool:
    """Whether there is a clinical table: a path to something that exists."""
    return bool(str(path)) and Path(path).exists()


def _kinds(associate: Mapping[str, object]) -> dict[str, str]:
    """Each column that the config names: a ``number``, ``levels``, or ``either`` (a column without a type)."""
    kinds = dict.fromkeys(associate["covariates"], "either")
    kinds |= dict.fromkeys(associate["technical"], "either")
    if associate["comparator"]:
        kinds[associate["comparator"]] = "levels"
    types = {"continuous": "number", "categorical": "levels"}
    kinds |= {variable["name"]: types[variable["type"]] for variable in associate["table_one"]}
    graded = {outcome["name"] for outcome in associate["outcomes"] if outcome["type"] in ("binary", "ordinal")}
    # a grade that table_one describes by its mean must be a number, whatever the models take it for
    kinds = dict.fromkeys(sorted(graded), "levels") | kinds
    return kinds | {outcome["name"]: "number" for outcome in associate["outcomes"] if outcome["name"] not in graded}


def _cells(table: pd.DataFrame, name: str) -> Cells:
    cells = zip(table.index.tolist(), table[name].tolist(), strict=True)
    return [(line, value) for line, value in cells if value not in MISSING]


def _subject_column(path: Path, header: Sequence[str]) -> list[str]:
    if "subject" in header:
        return []
    near = nearest("subject", header)
    return [f"{path}, line 1: column subject is missing. {f'Rename column {near!r}.' if near else 'Add it.'}"]


def _misspelt(path: Path, header: Sequence[str], named: Sequence[str]) -> list[str]:
    lacking = [name for name in named if name not in header]
    faults = []
    for column in header:
        if column in named or column == "subject":
            continue
        alike = {n: difflib.SequenceMatcher(None, column.lower(), n.lower()).ratio() for n in lacking}
        near = max(alike, key=alike.get, default="")
        if near and alike[near] >= MISSPELT:
            faults.append(
                f"{path}, line 1: found column {column!r}, expected {near!r} as in section associate of the config. "
                f"Rename the column, or write {column!r} in the config."
            )
    return faults


def _subject_faults(path: Path, table: pd.DataFrame) -> list[str]:
    empty = [line for line, subject in zip(table.index.tolist(), table["subject"].tolist(), strict=True) if not subject]
    faults = [f"{path}, line {line}, column subject: found nothing, expected an id. Fill it in." for line in empty]
    return faults + [
        f"{path}, line {line}, column subject: found {subject!r} again (line {first}), expected one row a subject. "
        "Remove one row."
        for line, subject, first in repeats(table, "subject")
    ]


def _unmatched(path: Path, table: pd.DataFrame, subjects: Sequence[str], others: Collection[str]) -> list[str]:
    present, known = set(table["subject"]), {*subjects, *others, ""}
    rowless = [subject for subject in subjects if subject not in present]
    rows = zip(table.index.tolist(), table["subject"].tolist(), strict=True)
    strangers = [(line, subject) for line, subject in rows if subject not in known]
    faults = []
    if rowless:
        faults.append(
            f"{path}: found no row for {len(rowless)} of {len(subjects)} subjects of the sheet ({listed(rowless)}), "
            "expected one each. Add the rows (values may be empty), or set associate.unmatched: allow."
        )
    if strangers:
        lines, ids = zip(*strangers, strict=True)
        plain = {subject.casefold().lstrip("0"): subject for subject in rowless}  # spreadsheets turn 001 into 1
        pairs = [(i, plain[key]) for i in ids if (key := i.casefold().lstrip("0")) in plain]
        hint = f" Is {pairs[0][0]!r} the sheet's {pairs[0][1]!r}?" if pairs else ""
        faults.append(
            f"{path}, {lines_text(lines)}, column subject: found {len(ids)} ids that the sheet lacks ({listed(ids)}), "
            f"expected ids of the sheet.{hint} Mend the ids, remove the rows, or set associate.unmatched: allow."
        )
    return faults
