"""The tables about persons and images for print: characteristics, missing values, image quantities."""

from __future__ import annotations

import pandas as pd

from lungtypes.association.table_print import (
    CLUSTERS,
    DASH,
    SQUARED,
    Line,
    Marks,
    Printed,
    Wording,
    format_p,
    number,
    whole,
    with_unit,
)

DOUBLE_DIPPING = (
    "No p values, on purpose: {nouns} were made from these images. Tested on the data that made them, groups differ "
    "even where there is one group only (double dipping)."
)


def print_table_one(table: pd.DataFrame, wording: Wording = CLUSTERS) -> Printed:
    """The table of :func:`table_one`: one line per variable, level and missing values; one column per group."""
    groups = list(dict.fromkeys(table["group"].astype(str)))
    sizes = {g: int((part["n"] + part["n_missing"]).max()) for g, part in table.groupby("group")}
    header = ("", *[f"{wording.group(g)} (n = {sizes[g]})" for g in groups], "SMD", "p")
    marks, lines = Marks(), []
    for _, part in table.groupby("variable", sort=False):
        first = part.iloc[0]
        tail = [_smd(first, len(groups)), format_p(first["p_value"]) + marks.mark(first["test"])]
        by_group = {g: part[part["group"] == g].iloc[0] for g in groups}
        counted = {g: _own_n(by_group[g], sizes[g]) for g in groups}
        if first["level"] == "" and not part["count"].notna().any():
            cells = [_mean_sd(by_group[g]) + (f"; {counted[g]}" if counted[g] else "") for g in groups]
            lines.append(Line((f"{first['label']}, mean (SD)", *cells, *tail)))
        else:
            lines.append(Line((f"{first['label']}, n (%)", *counted.values(), *tail)))
            for level, rows in part.groupby("level", sort=False):
                cells = [_count(rows[rows["group"] == g].iloc[0]) for g in groups]
                lines.append(Line((str(level), *cells, "", ""), inset=True))
        if any(by_group[g]["n_missing"] for g in groups):
            missing = [whole(by_group[g]["n_missing"]) for g in groups]
            lines.append(Line(("missing, n", *missing, "", ""), inset=True))
    notes = [
        *marks.notes(),
        "Means and percentages are of the values present; n stands beside them where it is not the group's. Missing "
        "values are shown and never tested.",
        "SMD: standardised mean difference"
        + (
            f", of the two {'clusters' if wording.noun == 'cluster' else 'groups'} that differ most (named). "
            if len(groups) > 3
            else ". "
        )
        + f"{DASH}: not defined.",
    ]
    return Printed(f"Characteristics by {wording.noun}", header, tuple(lines), tuple(notes))


def print_missing(table: pd.DataFrame, wording: Wording = CLUSTERS) -> Printed:
    """The table of :func:`missing_table`: one line per variable; those without missing values in one last line."""
    groups = list(dict.fromkeys(table["group"].astype(str)))
    sizes = {g: int(part["n"].max()) for g, part in table.groupby("group")}
    header = ("Variable, missing", *[f"{wording.group(g)} (n = {sizes[g]})" for g in groups], "p", "SMD, in")
    marks, lines, complete = Marks(), [], []
    for _, part in table.groupby("variable", sort=False):
        first = part.iloc[0]
        if first["n_missing"] == 0:
            complete.append(str(first["label"]))
            continue
        cells = [_missing(part[part["group"] == g].iloc[0]) for g in groups]
        smd = f"{number(first['smd'], 2)}, {first['smd_covariate']}" if pd.notna(first["smd"]) else DASH
        p = format_p(first["p_value"]) + marks.mark(first["test"])
        lines.append(Line((str(first["label"]), *cells, p, smd + marks.mark(first["note"]))))
    notes = [
        *marks.notes(),
        f"n (%) of all subjects of the group. p: of missing against {wording.noun}. SMD: largest standardised "
        "difference between subjects without and with the value, and the covariate that shows it.",
        f"Nothing is missing in: {', '.join(complete) or 'no variable'}.",
    ]
    return Printed(f"Missing values by {wording.noun}", header, tuple(lines), tuple(notes))


def print_descriptive(table: pd.DataFrame, wording: Wording = CLUSTERS) -> Printed:
    """The table of :func:`describe_image_quantities`: one line per quantity."""
    groups = list(dict.fromkeys(table["group"].astype(str)))
    sizes = {g: int(part["n"].max()) for g, part in table.groupby("group")}
    header = (
        "Mean (SD)",
        *[f"{wording.group(g)} (n = {sizes[g]})" for g in groups],
        f"\N{GREEK SMALL LETTER ETA}{SQUARED}",
        "SMD",
    )
    marks, lines = Marks(), []
    for _, part in table.groupby("quantity", sort=False):
        first, cells = part.iloc[0], []
        for g in groups:
            row = part[part["group"] == g].iloc[0]
            own = f"; n = {int(row['n'])}" if 0 < row["n"] < sizes[g] else ""
            cells.append(_mean_sd(row) + own)
        note = "" if pd.notna(first["smd"]) and len(groups) <= 3 else first["note"]
        effects = [number(first["eta2"], 2), number(first["smd"], 2) + marks.mark(note)]
        lines.append(Line((with_unit(first["label"], first["unit"]), *cells, *effects)))
    notes = [
        DOUBLE_DIPPING.format(nouns=wording.nouns),
        *marks.notes(),
        f"\N{GREEK SMALL LETTER ETA}{SQUARED}: share of the variance between groups. SMD: largest standardised mean "
        "difference.",
    ]
    return Printed("Image quantities, described only", header, tuple(lines), tuple(notes))


def _own_n(row: pd.Series, size: int) -> str:
    return f"n = {int(row['n'])}" if row["n_missing"] and row["n"] != size else ""


def _smd(row: pd.Series, n_columns: int) -> str:
    """With more than two groups (three columns with the overall one) the pair is named."""
    pair = f" ({row['smd_pair']})" if n_columns > 3 and row["smd_pair"] and pd.notna(row["smd"]) else ""
    return number(row["smd"], 2) + pair


def _mean_sd(row: pd.Series) -> str:
    return DASH if pd.isna(row["mean"]) else f"{number(row['mean'], 2)} ({number(row['sd'], 2)})"


def _count(row: pd.Series) -> str:
    return DASH if pd.isna(row["percent"]) else f"{int(row['count'])} ({row['percent']:.1f} %)"


def _missing(row: pd.Series) -> str:
    return DASH if pd.isna(row["percent"]) else f"{int(row['n_missing'])} ({row['percent']:.1f} %)"
