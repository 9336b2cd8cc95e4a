"""Finds values of one clinical column that are not what they look like: no numbers, or codes for missing."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lungtypes.cohort.tables import lines_text

MISSING = frozenset({"", "NA", "NaN"})  # R writes NA
# never a level of a category, unlike "unknown" or "none"
MISSING_WORDS = frozenset({"n/a", "na", "nan", "null", "#n/a", ".", "-", "--", "?"})
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
COMMA_NUMBER = re.compile(r"[+-]?[\d.]*,[\d.,]*\d", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}", re.ASCII)  # what may stand before a separator of thousands
SENTINELS = frozenset({-9, -99, -999, -9999, -99999, -88, -888, -8888, -77, -777})
SENTINELS |= {99, 999, 9999, 99999, 888, 8888}
LEVEL_SENTINELS = frozenset({"-9", "-99", "-999", "-9999"})
FAR = 3.0  # a sentinel is this many times larger than any other value: 999 among CD4 counts of 1200 is a count

Cells = Sequence[tuple[int, str]]  # (line, value) of one column, without missing values


def number_faults(path: Path, name: str, cells: Cells) -> list[str]:
    """One fault for each kind of value that is no number; decimal commas, which fill whole columns, count as one."""
    faulty: dict[str, list[int]] = defaultdict(list)
    comma = ""
    for line, value in cells:
        if not NUMBER.fullmatch(value) or math.isinf(float(value)):
            if COMMA_NUMBER.fullmatch(value):
                value = comma = comma or value
            faulty[value].append(line)
    return [f"{path}, {lines_text(lines)}, column {name}: {_not_a_number(v)}" for v, lines in faulty.items()]


def _not_a_number(value: str) -> str:
    if COMMA_NUMBER.fullmatch(value):
        expected, remedy = "a decimal point and no separator of thousands", f"Write {_with_point(value)}."
    elif NUMBER.fullmatch(value) or INFINITE.fullmatch(value):
        expected, remedy = "a finite number", "Mend it, or leave it empty where the value is missing."
    elif value[0] in "<>≤≥":
        expected = "a number"
        remedy = "Write what your analysis plan gives to values beyond the limit of measurement, or leave it empty."
    else:
        expected, remedy = "a number alone", "Mend it, or leave it empty where the value is missing."
    return f"found {value!r}, expected {expected}. {remedy}"


def _with_point(value: str) -> str:
    """What a number with commas may mean: of two kinds of separators the last one is the decimal one."""
    if value.count(",") > 1:
        return value.replace(",", "")
    whole, decimals = value.split(",")
    if "." in decimals:
        return whole + decimals
    pointed = f"{whole.replace('.', '')}.{decimals}"
    thousands = len(decimals) == 3 and THOUSANDS.fullmatch(whole)
    return f"{whole}{decimals} or {pointed}" if thousands else pointed


def sentinel_faults(path: Path, name: str, cells: Cells) -> list[str]:
    """Codes for missing among numbers. Written with an exponent (9.9e1) such a value is taken as measured."""
    coded: dict[float, list[int]] = defaultdict(list)
    others = []
    for line, value in cells:
        if NUMBER.fullmatch(value):
            number = float(value)
            if number in SENTINELS and "e" not in value.lower():
                coded[number].append(line)
            else:
                others.append(number)
    low, high = min(others, default=0.0), max(others, default=0.0)
    far = FAR * max(abs(low), abs(high))
    return [
        f"{path}, {lines_text(lines)}, column {name}: found {number:g}, expected a measurement, not a code for missing "
        f"(other values: {f'{low:g} to {high:g}' if others else 'none'}). Leave it empty; if it was measured, write "
        f"{number / 10:g}e1."
        for number, lines in coded.items()
        if number < 0 <= low or abs(number) > far
    ]


def level_faults(path: Path, name: str, cells: Cells) -> list[str]:
    """Codes and words for missing among levels; -9 among numbers that may be negative is a level."""
    found: dict[str, list[int]] = defaultdict(list)
    for line, value in cells:
        found[value].append(line)
    others = [value for value in found if value not in LEVEL_SENTINELS]
    numbers = [float(value) for value in others if NUMBER.fullmatch(value)]
    coded = len(numbers) < len(others) or min(numbers, default=0.0) >= 0
    return [
        f"{path}, {lines_text(lines)}, column {name}: found {value!r}, expected a level, not a code for missing. "
        "Leave it empty where the value is missing."
        for value, lines in found.items()
        if value.lower() in MISSING_WORDS or (coded and value in LEVEL_SENTINELS)
    ]
