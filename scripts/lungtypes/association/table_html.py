"""The tidy association tables as HTML for print: every text escaped, every test named in a footnote."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def table_one_html(table: pd.DataFrame) -> str:
    """The table of :func:`table_one`: one line per variable or level, one column per group."""
    groups = list(dict.fromkeys(table["group"].astype(str)))
    sizes = {g: int((part["n"] + part["n_missing"]).max()) for g, part in table.groupby("group")}
    header = ["", *[f"{_group_name(g)} (n = {sizes[g]})" for g in groups], "SMD", "p"]
    marks: dict[str, str] = {}
    lines: list[list[str]] = []
    for _, part in table.groupby("variable", sort=False):
        first = part.iloc[0]
        categorical = part["count"].notna().any()
        missing = int(part.loc[part["group"] == "overall", "n_missing"].iloc[0])
        label = f"{first['label']}, {'n (%)' if categorical else 'mean (SD)'}"
        label += f"; {missing} missing" if missing else ""
        tail = [_number(first["smd"], 2), format_p(first["p_value"]) + _mark(marks, first["test"])]
        if not categorical:
            lines.append([label, *[_mean_sd(part[part["group"] == g].iloc[0]) for g in groups], *tail])
            continue
        lines.append([label, *[""] * len(groups), *tail])
        for level, rows in part.groupby("level", sort=False):
            cells = [_count(rows[rows["group"] == g].iloc[0]) for g in groups]
            lines.append([f"\N{EM SPACE}{level}", *cells, "", ""])
    notes = [f"{mark} {name}" for name, mark in marks.items()]
    notes.append("Percentages are of the values present. SMD: largest standardised difference between clusters.")
    return _html(header, lines, notes)


def outcomes_html(table: pd.DataFrame) -> str:
    """The table of :func:`associate_outcomes`: one line per outcome."""
    header = ["Outcome", "n", "Adj. R\N{SUPERSCRIPT TWO} base", "+ cluster", "Gain (95 % CI)", "p", "q"]
    lines, notes = [], []
    for _, row in table.iterrows():
        name = _outcome_name(row)
        if row["status"] != "ok":
            lines.append([name, str(row["n"]), str(row["status"]), "", "", "", ""])
            continue
        lines.append(
            [
                name,
                str(row["n"]),
                _number(row["adj_r2_base"], 3),
                _number(row["adj_r2_cluster"], 3),
                _interval(row["adj_r2_gain"], row["gain_ci_low"], row["gain_ci_high"], 3),
                format_p(row["p_hc3"]),
                format_p(row["q_value"]),
            ]
        )
        if row["transform"] == "log1p":
            notes.append(f"{row['label']}: logarithm of 1 + value.")
    sizes = table[table["status"] == "ok"].groupby("family").size()
    families = ", ".join(f"{family or 'all'}: {size}" for family, size in sizes.items())
    notes.insert(0, "p: joint Wald test of the clusters, HC3 standard errors. CI: bootstrap.")
    notes.insert(1, f"q: Benjamini-Hochberg within family ({families or 'no outcome fitted'}).")
    return _html(header, lines, notes)


def adjusted_means_html(table: pd.DataFrame) -> str:
    """The table of :func:`adjusted_means`: one line per outcome, one column per cluster."""
    clusters = sorted(table["cluster"].unique().tolist())
    lines = []
    for _, part in table.groupby("outcome", sort=False):
        cells = []
        for cluster in clusters:
            row = part[part["cluster"] == cluster]
            if row.empty:
                cells.append(DASH)
            else:
                line = row.iloc[0]
                cells.append(_significant_interval(line["mean"], line["ci_low"], line["ci_high"]))
        lines.append([_outcome_name(part.iloc[0]), *cells])
    notes = ["Adjusted mean (95 % CI, HC3), covariates as in the whole cohort."]
    if table["note"].astype(bool).any():
        notes.append("Outcomes on the log1p scale: geometric mean of 1 + outcome, less 1.")
    return _html(["Outcome", *[f"Cluster {cluster}" for cluster in clusters]], lines, notes)


def comparison_html(table: pd.DataFrame) -> str:
    """The table of :func:`compare_with_classification`: one line per outcome."""
    header = ["Outcome", "n", "Base", "+ cluster", "+ comparator", "+ both", "Difference (95 % CI)"]
    header += ["p cluster | comparator", "p comparator | cluster", "Verdict"]
    lines = []
    for _, row in table.iterrows():
        if row["status"] != "ok":
            lines.append([_outcome_name(row), str(row["n"]), str(row["status"]), *[""] * 7])
            continue
        fits = [_number(row[f"adj_r2_{m}"], 3) for m in ("base", "cluster", "comparator", "both")]
        lines.append(
            [
                _outcome_name(row),
                str(row["n"]),
                *fits,
                _interval(row["difference"], row["ci_low"], row["ci_high"], 3),
                format_p(row["p_cluster_given_comparator"]),
                format_p(row["p_comparator_given_cluster"]),
                str(row["verdict"]),
            ]
        )
    notes = [
        "Adjusted R\N{SUPERSCRIPT TWO} of four models on the same subjects.",
        "Difference: cluster less comparator.",
    ]
    notes.append("p: Wald tests in the model with both, HC3 standard errors. CI: bootstrap of subjects.")
    if len(table):
        notes.append(f"Comparator: {table['comparator'].iloc[0]}.")
    return _html(header, lines, notes)


def format_p(p: float | None) -> str:
    """A p value for print: "<0.001", three decimals below 0.1, else two; a dash for none."""
    if p is None or pd.isna(p):
        return DASH
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def _html(header: Sequence[str], lines: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        f'<tr><th scope="row">{escape(line[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines
    )
    foot = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f'<table class="association">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n'
        f'<div class="footnotes">{foot}</div>\n'
    )


def _mark(marks: dict[str, str], name: object) -> str:
    text = "" if pd.isna(name) else str(name)
    if not text:
        return ""
    if text not in marks:
        position = len(marks)
        letter = chr(ord("a") + position % 26) * (1 + position // 26)
        marks[text] = f"[{letter}]"
    return f" {marks[text]}"


def _group_name(group: str) -> str:
    return "Overall" if group == "overall" else f"Cluster {group}"


def _outcome_name(row: pd.Series) -> str:
    unit = "" if pd.isna(row["unit"]) else str(row["unit"])
    return f"{row['label']} ({unit})" if unit else str(row["label"])


def _mean_sd(row: pd.Series) -> str:
    if pd.isna(row["mean"]):
        return DASH
    return f"{_number(row['mean'], 2)} ({_number(row['sd'], 2)})"


def _count(row: pd.Series) -> str:
    if pd.isna(row["percent"]):
        return DASH
    return f"{int(row['count'])} ({row['percent']:.1f} %)"


def _interval(value: float, low: float, high: float, digits: int) -> str:
    return f"{_number(value, digits)} ({_number(low, digits)} to {_number(high, digits)})"


def _significant_interval(value: float, low: float, high: float) -> str:
    width = abs(high - low)
    digits = int(np.clip(1 - np.floor(np.log10(width)), 0, 4)) if np.isfinite(width) and width > 0 else 2
    return _interval(value, low, high, digits)


def _number(value: float, digits: int) -> str:
    if pd.isna(value):
        return DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)
