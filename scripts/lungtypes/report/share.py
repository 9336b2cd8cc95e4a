"""The report for other eyes: nothing of a single scan, and no count below five or one that gives such a count away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.association.description_print import print_missing, print_table_one
from lungtypes.association.table_html import to_html
from lungtypes.report.association_tables import association_table
from lungtypes.report.blocks import (
    Block,
    Bullets,
    Finding,
    Flow,
    FlowStep,
    Folded,
    Fragment,
    Heading,
    Links,
    Paragraph,
    Picture,
    Section,
    Table,
    Viewer,
    method_name,
)
from lungtypes.report.results import Results

FEWEST = 5
WITHHELD = f"< {FEWEST}"
HIDDEN = "withheld"  # not small itself, but a small count would follow from it
OF_PERSONS = ("subject", "patient")
SMALL_N = re.compile(rf"\bn = [1-{FEWEST - 1}]\b")
SMALL_NUMBER = re.compile(rf"\b[1-{FEWEST - 1}] (scan|subject|person|patient)s?\b")
SMALL_LOSS = re.compile(rf"\b[1-{FEWEST - 1}] excluded\b")  # beside the numbers before and after
NOT_SHARED = f"A cluster of this method has fewer than {FEWEST} scans: the method is not part of this version."
COUNT_HEADER = re.compile(r"^(n|scans|regions|all|count|missing)$|\(n = \d+\)$", re.IGNORECASE)
OF_ALL = (
    "Outcomes",
    "Adjusted means",
    "All contrasts",
    "Beside the existing classification",
)  # fragments that may stay
SIZES = "Scans in the cluster"  # of the table of evaluation, where they are values and not a column
NOTE = (
    "A version to be shared: pages and pictures of single scans, every table and figure by subject, and pictures of "
    f"groups of fewer than {FEWEST} are left out. Counts below {FEWEST} read \u201c{WITHHELD}\u201d, and counts that "
    f"would give them away \u201c{HIDDEN}\u201d. Group maps and means of few persons may still resemble them: ask "
    "whoever answers for the data."
)


def shared_sections(sections: Iterable[Section], results: Results) -> tuple[Section, ...]:
    """The sections without what is about fewer than five persons; a section of which nothing is left is not there.

    A method with a cluster of fewer than five is left out whole: the other clusters and the total give its size away.
    """
    few = methods_of_few(results)
    shared = [
        Section(f"{m}-withheld", f"{method_name(m)}: withheld", "Withheld", (Paragraph(NOT_SHARED, "note"),))
        for m in few
    ]
    kept = []
    for section in sections:
        if any(section.anchor.startswith(f"{method}-") for method in few):
            continue
        blocks = [part for block in section.blocks for part in _shared(block, section, results)]
        gone = any(isinstance(block, Links | Viewer) and block not in blocks for block in section.blocks)
        blocks = _without_bare_headings([block for block in blocks if not _names(block, few)])
        if blocks and not gone:
            kept.append(replace(section, blocks=tuple(blocks)))
    return (*kept, *shared)


def shared_findings(findings: Sequence[Finding], results: Results) -> tuple[Finding, ...]:
    """The findings that name no subject, no small number of persons and no method that is left out."""
    subjects, few = results.subjects(), methods_of_few(results)
    named = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, subjects)) or '(?!)'})(?![\w-])")
    told = [f for f in findings if not named.search(f.text) and not SMALL_LOSS.search(f.text)]
    told = [f for f in told if not any(method_name(method) in f.text for method in few)]
    return tuple(replace(f, text=_masked(f.text)) for f in told)


def methods_of_few(results: Results) -> tuple[str, ...]:
    """The clustering methods with a cluster of one to four scans."""
    counts = {m: results.table(f"{m}/assignment.tsv")["cluster"].value_counts() for m in results.methods()}
    return tuple(method for method, sizes in counts.items() if sizes.min() < FEWEST)


def _names(block: Block, methods: Sequence[str]) -> bool:
    """Whether a table or text outside of a method's own sections is about its clusters."""
    words = {Table: "caption", Paragraph: "text", Heading: "text", Picture: "caption"}.get(type(block))
    return words is not None and any(method_name(method) in getattr(block, words) for method in methods)


def _shared(block: Block, section: Section, results: Results) -> list[Block]:
    """What stands for a block on the shared page: itself, a part of it, or nothing."""
    if isinstance(block, Links):
        return []
    if isinstance(block, Picture):
        return (
            []
            if block.of_persons or is_of_few(block.data)
            else [replace(block, alt=_masked(block.alt), caption=_masked(block.caption))]
        )
    if isinstance(block, Viewer):
        return [] if methods_of_few(results) else [block]
    if isinstance(block, Table):
        return [] if block.header[0].lower() in OF_PERSONS else [_shared_table(block)]
    if isinstance(block, Flow):
        return [_shared_flow(block)]
    if isinstance(block, Fragment):
        return _shared_fragment(block, section, results)
    if isinstance(block, Paragraph) and SMALL_LOSS.search(block.text):
        return []
    if isinstance(block, Paragraph | Heading | Folded):
        return [replace(block, text=_masked(block.text))]
    if isinstance(block, Bullets):
        return [replace(block, items=tuple(map(_masked, block.items)))]
    raise TypeError(
        f"shared report: found a block of kind {block.kind!r}, which has no rule of what of it may be seen."
    )


def is_of_few(data: pd.DataFrame) -> bool:
    """Whether the data of a figure are by subject, or of a group or count of one to four."""
    columns = {str(name).lower(): name for name in data}
    if any(name in columns for name in OF_PERSONS):
        return True
    counts = [pd.to_numeric(data[columns[name]], errors="coerce") for name in ("n", "count") if name in columns]
    return any(bool(((part > 0) & (part < FEWEST)).any()) for part in counts)


def withheld(counts: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which cells of a table of counts (NaN: no count) are below five, and which others must go with them.

    Totals are cells like others. A line or column with one withheld cell gives it away by subtraction, so that its
    smallest other count goes, too, until no line has just one (primary and complementary suppression).
    """
    small = (counts > 0) & (counts < FEWEST)
    gone = small.copy()
    changed = True
    while changed:
        changed = False
        for values, mask in [*zip(counts, gone, strict=True), *zip(counts.T, gone.T, strict=True)]:
            others = np.where(~mask & (values > 0), values, np.inf)  # NaN compares false
            if mask.sum() == 1 and np.isfinite(others).any():
                mask[others.argmin()] = True  # a view: the table itself changes
                changed = True
    return small, gone & ~small


def _shared_table(table: Table) -> Table:
    columns = [i for i, name in enumerate(table.header) if i and COUNT_HEADER.search(name)]
    cells = [list(map(_masked, row)) for row in table.rows if row[0] != SIZES]
    if columns and cells:
        counts = np.array([[float(row[i]) if row[i].isdigit() else np.nan for i in columns] for row in cells])
        small, more = withheld(counts)
        for line, row in enumerate(cells):
            for place, i in enumerate(columns):
                row[i] = WITHHELD if small[line, place] else HIDDEN if more[line, place] else row[i]
    header = tuple(map(_masked, table.header))
    return Table(_masked(table.caption), header, tuple(map(tuple, cells)))


def _shared_flow(flow: Flow) -> Flow:
    """The first and last number, and reasons without numbers; the last alone where fewer than five have left."""
    first, last = flow.steps[0], flow.steps[-1]
    reasons = [text.split(": ", 1)[-1] for step in flow.steps for text in step.leaving]
    if last.n < FEWEST:
        return Flow((FlowStep(f"Fewer than {FEWEST} analysed", 0),)) if last.n else flow
    if 0 < first.n - last.n < FEWEST:
        return Flow((replace(last, leaving=(f"fewer than {FEWEST} excluded before",)),))
    left = (f"{first.n - last.n} excluded: {', '.join(dict.fromkeys(reasons))}",) if reasons else ()
    return Flow((FlowStep(first.name, first.n, left), last))


def _shared_fragment(block: Fragment, section: Section, results: Results) -> list[Block]:
    """Tables of characteristics and missing values are printed anew from their numbers; others are masked."""
    folder = f"association/{section.anchor.removesuffix('-association')}"
    printed = {"Characteristics": ("table_one", print_table_one), "Missing values": ("missing", print_missing)}
    if block.caption in OF_ALL:
        return [replace(block, html=_masked(block.html))]
    if block.caption not in printed:
        return []
    name, to_print = printed[block.caption]
    table = association_table(results, folder, name)
    if table.empty:
        return []
    html = _masked(to_html(to_print(protected(table)), flag=str(table["flag"].iloc[0]) if "flag" in table else ""))
    note = f"A dash among counts: fewer than {FEWEST} persons, or a count that would give such a one away."
    return [replace(block, html=html), Paragraph(note, "note")]


def protected(table: pd.DataFrame) -> pd.DataFrame:
    """table_one.tsv or missing.tsv with small counts, and those that give them away, taken out: they print as dashes.

    Of a variable the levels are the lines and the groups, with all, the columns. Continuous values of a group of fewer
    than five are taken out, too.
    """
    table = table.copy()
    counted = "count" if "count" in table else "n_missing"
    for _, part in table.groupby("variable", sort=False):
        lines = part["level"] if "level" in part else pd.Series("", index=part.index)
        wide = pd.DataFrame({"line": lines, "group": part["group"], "count": part[counted], "row": part.index})
        counts = wide.pivot(index="line", columns="group", values="count")
        small, more = withheld(counts.to_numpy(float))
        rows = wide.pivot(index="line", columns="group", values="row").to_numpy()[small | more]
        table.loc[rows, [counted, "percent"]] = np.nan
    if "mean" in table:
        few = (table["n"] > 0) & (table["n"] < FEWEST)
        table.loc[few, ["mean", "sd", "median", "q1", "q3"]] = np.nan
        table.loc[(table["n_missing"] > 0) & (table["n_missing"] < FEWEST), "n_missing"] = 0
    return table


def _masked(text: str) -> str:
    text = SMALL_N.sub(f"n < {FEWEST}", text)
    return SMALL_NUMBER.sub(rf"fewer than {FEWEST} \1s", text)


def _without_bare_headings(blocks: Sequence[Block]) -> list[Block]:
    """Headings that no block follows are gone with what stood below them."""
    kept: list[Block] = []
    for block in reversed(blocks):
        if not isinstance(block, Heading) or (kept and not isinstance(kept[-1], Heading)):
            kept.append(block)
    return kept[::-1]
