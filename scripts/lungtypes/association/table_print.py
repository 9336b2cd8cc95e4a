"""What a printed table is made of, and numbers as journals print them. HTML and LaTeX are made from this alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lungtypes.association.table_one import OVERALL

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SQUARED = "\N{SUPERSCRIPT TWO}"
DAGGER = "\N{DAGGER}"
NO_BREAK = "\N{NO-BREAK SPACE}"
CI = f"(95{NO_BREAK}%{NO_BREAK}CI)"


@dataclass(frozen=True)
class Line:
    """Cells as printed; an inset line belongs to the one above (a level, a contrast)."""

    cells: tuple[str, ...]
    inset: bool = False


@dataclass(frozen=True)
class Printed:
    """A table for print: plain texts, escaped by whoever renders it."""

    caption: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Wording:
    """How the predictor is called.

    Attributes
    ----------
    noun, nouns : "cluster", "the clusters"; or a phenotype's label in both.
    groups : printed name of each group but "overall"; "Cluster c" where it lacks one.
    """

    noun: str = "cluster"
    nouns: str = "the clusters"
    groups: Mapping[str, str] = field(default_factory=dict)

    def group(self, name: object) -> str:
        """The printed name of a group."""
        text = str(name)
        return "Overall" if text == OVERALL else self.groups.get(text, f"Cluster {text}")


CLUSTERS = Wording()


class Marks:
    """Letters for footnotes: the same text gets the same letter."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, text: object) -> str:
        """The letter of a text, after a space that does not break; nothing for none."""
        if not isinstance(text, str) or not text:
            return ""
        place = self.letters.setdefault(
            text, f"[{chr(ord('a') + len(self.letters) % 26) * (1 + len(self.letters) // 26)}]"
        )
        return f"{NO_BREAK}{place}"

    def notes(self) -> list[str]:
        """One footnote a letter."""
        return [f"{letter} {text}" for text, letter in self.letters.items()]


def format_p(p: float | None) -> str:
    """A p value for print: "<0.001", three decimals below 0.1, else two; a dash for none."""
    if p is None or pd.isna(p):
        return DASH
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def number(value: float, digits: int) -> str:
    """Fixed decimals and a true minus; a dash for none."""
    if pd.isna(value):
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def whole(value: float) -> str:
    """A count; a dash for none."""
    return DASH if pd.isna(value) else f"{int(value)}"


def estimate(value: float, low: float, high: float, digits: int | None = None) -> str:
    """ "1.2 (0.9 to 1.5)", the decimals following the width of the interval if ``digits`` is not given.

    A line may break before the interval only.
    """
    if pd.isna(value):
        return DASH
    width = abs(high - low)
    if digits is None:
        digits = int(np.clip(1 - np.floor(np.log10(width)), 0, 4)) if np.isfinite(width) and width > 0 else 2
    if pd.isna(low) or pd.isna(high):
        return number(value, digits)
    interval = f"({number(low, digits)} to {number(high, digits)})"
    return f"{number(value, digits)} {interval.replace(' ', NO_BREAK)}"


def with_unit(label: object, unit: object) -> str:
    """ "FEV1 (L)"."""
    return f"{label} ({unit})" if isinstance(unit, str) and unit else str(label)


def in_words(status: object) -> str:
    """ "not_fitted:one_cluster" as "not fitted: one cluster"."""
    return str(status).replace("_", " ").replace(":", ": ", 1)


def listed(names: list[str] | tuple[str, ...]) -> str:
    """ "a, b and c"; "none" for nothing."""
    names = list(names)
    return "none" if not names else names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
