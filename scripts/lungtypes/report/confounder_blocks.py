"""The audit of confounders on the page: figure, table, and what it means."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungtypes.association.table_print import format_p
from lungtypes.evaluation.confounders import GOES_WITH, LARGE_EFFECT, PREDICTED, Q_LEVEL
from lungtypes.report.blocks import Block, Heading, Paragraph, Picture, Table, count_of, number
from lungtypes.report.evaluation_figures import plot_bars
from lungtypes.report.style import draw_png

HEADING = "Do clusters follow how the scans were made?"
HEADER = ("Variable", "n (missing)", "Test", "p", "q", "Effect", "Predictable", "Chance", "95th percentile", "p",
          "Verdict")  # fmt: skip
MEANING = (
    "Effect: bias-corrected Cram\u00e9r's V for levels, epsilon squared for numbers. Predictable: how well the "
    "variable can be read from the embedding before clustering, cross-validated (balanced accuracy for levels, "
    "R\u00b2 of the ranks for numbers), beside its chance level and the 95th percentile with scans permuted; one in "
    "twenty unrelated variables lies above that. Lung volume, sex and the quality of the registration may differ with "
    "the disease itself; scanner, kernel, slices and site should not."
)


def confounder_blocks(table: pd.DataFrame | None, method: str) -> list[Block]:
    """Heading, figure, table and reading aid; a sentence where nothing was audited."""
    if table is None or table.empty:
        return [Heading(HEADING), Paragraph("No audit of confounders was found.")]
    blocks: list[Block] = [Heading(HEADING)]
    tested = table[table["effect"].notna() | table["predictable"].notna()]
    flagged = tested[tested["flag"] != ""]
    names = "; ".join(f"{row.label} ({row.flag})" for row in flagged.itertuples())
    verdict = f"{len(flagged)} of {count_of(len(tested), 'variable')} flagged{': ' if names else ''}{names}."
    scanner = (flagged["family"] == "scanner").any()
    blocks.append(Paragraph(verdict, "warning" if scanner else ""))
    if not tested.empty:
        blocks.append(_picture(tested, method, verdict))
    rows = tuple(_row(row) for row in table.itertuples())
    return [*blocks, Table("Audit of confounders", HEADER, rows), Paragraph(MEANING, "note")]


def above_chance(table: pd.DataFrame, column: str) -> pd.Series:
    """A score as a share of the way from its chance level (0) to a perfect prediction (1)."""
    return (table[column] - table["chance"]) / (1 - table["chance"])


def _row(row: object) -> tuple[str, ...]:
    verdict = "; ".join(text for text in (row.flag, row.note) if text)
    return (
        row.label,
        f"{number(row.n, 0)} ({number(row.n_missing, 0)})",
        row.test,
        format_p(row.p_value),
        format_p(row.q_value),
        number(row.effect),
        number(row.predictable),
        number(row.chance),
        number(row.predictable_p95),
        format_p(row.predictable_p),
        verdict,
    )


def _picture(tested: pd.DataFrame, method: str, verdict: str) -> Picture:
    # epsilon squared is a squared measure: its root stands beside V
    numeric = tested["kind"] == "numeric"
    strength = tested["effect"].where(~numeric, np.sqrt(tested["effect"].clip(lower=0)))
    values, limits = above_chance(tested, "predictable"), above_chance(tested, "predictable_p95")
    panels = (
        (strength, pd.Series(LARGE_EFFECT, tested.index).where(strength.notna()), GOES_WITH, "q_value", "q",
         "difference between clusters\n(V, or root of epsilon\u00b2)", f"limit {LARGE_EFFECT} (with q < {Q_LEVEL})"),
        (values.clip(lower=0), limits, PREDICTED, "predictable_p", "p",
         "prediction from the embedding\n(0 chance, 1 perfect)", "95th percentile, scans permuted"),
    )  # fmt: skip

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=False)
        for ax, (shown, ticks, word, column, name, xlabel, limit_label) in zip(axes, panels, strict=True):
            plot_bars(
                ax,
                tested["label"].tolist(),
                shown.to_numpy(float),
                flagged=[word in flag for flag in tested["flag"]],
                texts=[_equals(name, p) for p in tested[column]],
                xlabel=xlabel,
                limits=ticks.to_numpy(float),
                limit_label=limit_label,
            )
        axes[1].set_yticklabels([" *" if PREDICTED in flag else "" for flag in tested["flag"]])

    return Picture(
        f"{method}_confounders",
        draw_png(draw, height=1.5 + 0.3 * len(tested)),
        f"Bars of {count_of(len(tested), 'variable')}: size of the difference between clusters, and how well the "
        f"embedding predicts each. {verdict}",
        "Left: size of the difference between clusters. Right: cross-validated prediction from the embedding before "
        "clustering; below chance is drawn as 0. Orange with a star: beyond the limit.",
        tested,
    )


def _equals(name: str, p: float) -> str:
    """ "p = 0.03", "p < 0.001", or nothing."""
    text = "" if pd.isna(p) else format_p(p)
    return f"{name} {text.replace('<', '< ')}" if text.startswith("<") else f"{name} = {text}" if text else ""
