"""What a page is made of: findings, sections of paragraphs, tables, figures; and numbers as people read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
METHOD_NAMES = {
    "clam": "CLAM",
    "dcam": "dCAM",
    "dcam-encoder": "dCAM baseline (encoder)",
    "dcam-supervised": "dCAM network, supervised",
    "dram": "dRAM",
    "dram-cam": "dRAM baseline (classifier)",
    "dram-supervised": "dRAM network, supervised",
}


@dataclass(frozen=True)
class Paragraph:
    """Plain text; ``tone`` is note or warning for a marked one."""

    text: str
    tone: str = ""
    kind: str = "paragraph"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]
    kind: str = "bullets"


@dataclass(frozen=True)
class Table:
    """Cells as printed; the first column names its row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: str = "table"

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers and are set flush right."""
        number = re.compile(rf"^[{MINUS}{DASH}<]?[\d.]*( .*)?$")
        return tuple(all(number.match(row[i]) for row in self.rows) for i in range(len(self.header)))


@dataclass(frozen=True)
class Picture:
    """A PNG with its words, and the table of what it shows (written to data/{name}.tsv).

    of_persons : single persons can be seen in it, though ``data`` have no column of subjects. of_scans : it shows
    images of single scans.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    data: pd.DataFrame
    of_persons: bool = False
    of_scans: bool = False
    kind: str = "picture"


@dataclass(frozen=True)
class Fragment:
    """HTML made by ``association.table_html``, which escapes every text."""

    html: str
    caption: str
    kind: str = "fragment"


@dataclass(frozen=True)
class FlowStep:
    """One box of the flow: what stands in it and who leaves here."""

    name: str
    n: int
    leaving: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flow:
    """Participant flow from the sheet to the analysis."""

    steps: tuple[FlowStep, ...]
    kind: str = "flow"


@dataclass(frozen=True)
class Folded:
    """Preformatted text behind a summary."""

    summary: str
    text: str
    kind: str = "folded"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Viewer:
    """Volumes to slice and turn in the browser; the page works without it.

    data : what the first script reads, as JSON. scripts : all code that may run on the page, the first at once; a
    later one only when the first adds it, word for word.
    """

    data: Mapping[str, object]
    scripts: tuple[str, ...]
    caption: str
    kind: str = "viewer"


@dataclass(frozen=True)
class Link:
    """Words that lead to a file beside the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Links:
    """Links in a row."""

    items: tuple[Link, ...]
    kind: str = "links"


Block = Paragraph | Bullets | Table | Picture | Fragment | Flow | Folded | Heading | Viewer | Links


@dataclass(frozen=True)
class Section:
    """A chapter of the page; ``anchor`` is its address, ``short`` its name in the navigation."""

    anchor: str
    title: str
    short: str
    blocks: tuple[Block, ...] = field(default=())


Level = Literal["red", "amber", "finding"]
LEVEL_WORDS = {"red": "Red flag", "amber": "Caution", "finding": "Finding"}


@dataclass(frozen=True)
class Finding:
    """One sentence and how grave it is."""

    level: Level
    text: str

    @property
    def word(self) -> str:
        """The level in words: colour alone says nothing to some readers."""
        return LEVEL_WORDS[self.level]


def method_name(method: str) -> str:
    """A method's name for readers."""
    return METHOD_NAMES.get(method, method)


def number(value: object, digits: int = 2) -> str:
    """A number with fixed decimals and a true minus; a dash for none."""
    if value is None or value == "" or pd.isna(value):
        return DASH
    text = f"{float(value):.{digits}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", MINUS)


def interval(low: object, high: object, digits: int = 2) -> str:
    """ "low to high", or nothing when there is no interval."""
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def mean_sd(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation of the values present; a dash for none."""
    present = np.asarray(values, float)
    present = present[np.isfinite(present)]
    if present.size == 0:
        return DASH
    if present.size == 1:
        return number(present[0], digits)
    return f"{number(present.mean(), digits)} \N{PLUS-MINUS SIGN} {number(present.std(ddof=1), digits)}"


def count_of(n: int, noun: str) -> str:
    """ "1 scan", "2 scans"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
