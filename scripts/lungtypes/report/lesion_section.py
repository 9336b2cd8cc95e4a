"""The section about one method of lesion maps (dRAM): training, percentages, burden, pictures, Dice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungtypes.report.blocks import Block, Heading, Paragraph, Picture, Section, Table, count_of, method_name, number
from lungtypes.report.figures import plot_curve, plot_strip
from lungtypes.report.lesion_figures import plot_graded, plot_predicted
from lungtypes.report.lesion_findings import agreement_words
from lungtypes.report.lesion_numbers import SPLITS, agreement, region_rows
from lungtypes.report.lesion_pictures import lesion_pictures
from lungtypes.report.results import Results, without_paths
from lungtypes.report.style import ACCENT, draw_png

WHAT = {
    "dram": "A U-Net gives each voxel of a lobe (or lung zone) a value of 0-1, whose mean over the region was trained "
    "to be the given percentage, or to lie within the given grade. Where the lesions are was never shown to it: the "
    "map follows from how much there is.",
    "dram-cam": "The baseline: the way down of the same U-Net was trained to tell whether a region has lesions (or "
    "their grade), and its class activation map is taken for the lesions. It never learnt how much there is.",
    "dram-supervised": "The same U-Net, trained on the given lesion masks of the training scans. It shows what the "
    "network can do when it is told where the lesions are.",
}
RULES = {"otsu": "above Otsu's threshold of the scan's own map", "half": "above 0.5"}
# column of history.tsv, heading, unit
PANELS = (
    ("loss", "Total loss", "loss"),
    ("regression", "Interval regression", "squared share, weighted"),
    ("refinement", "Refinement of the map", "cross-entropy (nats)"),
    ("accuracy", "Classes told in training", "share (0-1)"),
    ("share_mean", "Share of lesion", "mean of the regions (0-1)"),
)
PUBLISHED = {  # Xie et al. 2021, Dice in percent of 90 held-out subjects with COVID-19
    "dram": ("dRAM", 70.2),
    "dram-cam": ("CAM baseline", 48.6),
    "dram-supervised": ("nnU-Net, fully supervised", 77.1),
}
PUBLISHED_N = 90


def lesion_section(results: Results, method: str, config: Mapping[str, object]) -> Section:
    """Everything of one method but its association; ``config`` says how the lesion mask was made."""
    rows = region_rows(results, method)
    blocks: list[Block] = [Paragraph(WHAT[method]), Paragraph(_mask_words(method, config), "note")]
    blocks += _scan_blocks(results, method)
    blocks += _training_blocks(results, method)
    blocks += _percentage_blocks(results, method, rows)
    blocks += _burden_blocks(results, method)
    blocks += lesion_pictures(results, method)
    blocks += _dice_blocks(results, method)
    return Section(f"{method}-lesions", f"{method_name(method)}: lesions", "Lesions", tuple(blocks))


def _mask_words(method: str, config: Mapping[str, object]) -> str:
    mask = config.get("dram", {}).get("mask", {})
    if method == "dram-supervised":
        return f"Lesion mask: voxels {RULES['half']}."
    source = " of the refined map" if method == "dram" and mask.get("source") == "refined" else ""
    rule = RULES.get(mask.get("rule"), "by the rule of the config")
    return (
        f"Lesion mask: voxels{source} {rule} that are also denser than lung (above 0.75 of Otsu's threshold of the "
        "region); none in a region that is predicted free of lesions."
    )


def _scan_blocks(results: Results, method: str) -> list[Block]:
    """How many scans with lobes, with zones, and those that have neither."""
    table, cohort = results.table(f"{method}/phenotype.tsv"), results.record("cohort/regions.json")
    labelling = pd.Series(cohort.get("labelling", []), dtype=str).value_counts()
    kinds = [f"{labelling[kind]} by {kind}" for kind in ("lobes", "zones") if kind in labelling]
    splits = [f"{n} {SPLITS.get(split, split)}" for split, n in table["split"].value_counts(sort=False).items()]
    text = f"{count_of(len(table), 'scan')}: {', '.join(splits)}" + (f"; read {', '.join(kinds)}" if kinds else "")
    blocks: list[Block] = [Paragraph(f"{text}. Each in its own space: scans that left at the registration count here.")]
    absent = table[table["burden_percent"].isna()]
    if len(absent):
        named = ", ".join(f"{r.subject} ({r.flag or 'no value'})" for r in absent.itertuples())
        blocks.append(Paragraph(f"Without a value: {named}. See their lobe or lung masks.", "warning"))
    refused = results.record("cohort/regions_lesions.json").get("refused")
    if refused:
        named = "; ".join(f"{subject} ({without_paths(reason)})" for subject, reason in refused.items())
        blocks.append(Paragraph(f"Lesion masks that were refused and not used: {named}.", "warning"))
    return blocks


def _training_blocks(results: Results, method: str) -> list[Block]:
    table = results.table(f"{method}/history.tsv")
    if table is None or table.empty:
        return [Heading("Training"), Paragraph("No history of the training was found.")]
    kept = table[table["kept"] == 1]  # epochs that the guard took back are left out
    model = results.record(f"{method}/model.json")
    events = model.get("events") or []
    saw = f"What the guard saw: {'; '.join(map(str, events)) or 'none'}."
    if kept.empty:
        return [
            Heading("Training"),
            Paragraph(f"The guard took every epoch back: nothing was learnt. {saw}", "warning"),
        ]
    panels = [panel for panel in PANELS if panel[0] in kept and kept[panel[0]].notna().any()]
    back = kept.loc[kept["attempt"].diff() > 0, "epoch"]  # the first good epoch after each of them

    def draw(figure: Figure) -> None:
        for ax, (column, heading, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            x = kept["epoch"].to_numpy()
            plot_curve(ax, x, kept[column].to_numpy(), xlabel="epoch", ylabel=label, title=heading)
            if column == "share_mean":
                ax.plot(x, kept["given_mean"], color="black", ls=":", lw=1.2, label="given")
                ax.legend(loc="best")
            for epoch in back:
                ax.axvline(epoch, color=ACCENT, ls="--", lw=1)

    text = f"Trained for {len(kept)} epochs on {model.get('train_regions', 'an unknown number of')} regions. "
    text += saw
    last = kept.iloc[-1]
    figures = ", ".join(f"{heading} {number(last[column], 4)}" for column, heading, _ in panels)
    caption = "Means over the drawn regions, epoch by epoch; every grade is drawn alike often."
    if any(column == "share_mean" for column, *_ in panels):
        caption += " Dotted: the middle of the given grades."
    if len(back):
        caption += " Dashed: here the guard took epochs back and lowered the rate."
    alt = f"Curves over {len(kept)} epochs. Last epoch: {figures}."
    return [
        Heading("Training"),
        Paragraph(text, "warning" if events else ""),
        Picture(f"{method}_training", draw_png(draw, height=2.5), alt, caption, table),
    ]


def _percentage_blocks(results: Results, method: str, rows: pd.DataFrame) -> list[Block]:
    if rows.empty:
        return [Heading("Predicted and given percentages"), Paragraph("No predicted percentages were found.")]
    given = rows[rows["given"].notna() & rows["predicted"].notna()]
    kinds = {kind: given[given["given_kind"] == kind] for kind in ("percent", "grade")}
    counts = (
        f"{len(rows)} regions: {len(kinds['percent'])} with a given percentage, {len(kinds['grade'])} with a grade "
        f"alone, {len(rows) - len(given)} of which nothing is given."
    )
    blocks: list[Block] = [Heading("Predicted and given percentages"), Paragraph(counts)]
    judged = agreement(rows)
    if judged is None:
        return [*blocks, Paragraph("Of no scan a percentage is given to compare the predicted ones with.", "warning")]
    words = f"Beside the given ones: {agreement_words(judged)}."
    if judged.scans == "training":
        words += " Training scans flatter; hold some out (split test in the sheet) to know."
    words += " R\u00b2 is 0 for the mean of the given percentages, and below it for worse."
    blocks.append(Paragraph(words, "warning" if judged.no_better else ""))
    shown = [kind for kind, part in kinds.items() if len(part)]
    edges = results.record(f"{method}/model.json").get("edges", [0, 1, 5, 25, 50, 75, 100])

    def draw(figure: Figure) -> None:
        for ax, kind in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            if kind == "percent":
                plot_predicted(ax, kinds[kind], names=SPLITS)
            else:
                plot_graded(ax, kinds[kind], edges=edges, names=SPLITS)

    caption = f"One point is one region (n = {len(given)}); held-out scans are filled diamonds."
    caption += " Grey boxes: the bounds of the grades." if "grade" in shown else ""
    data = given[["subject", "split", "region", "given", "given_kind", "predicted", "error"]]
    alt = f"Predicted against given lesion percentages. {agreement_words(judged)}."
    png = draw_png(draw, height=3.8, width=4.8 * len(shown))
    blocks.append(Picture(f"{method}_percentages", png, alt, caption, data))
    return [*blocks, *_error_table(results, method, edges)]


def _error_table(results: Results, method: str, edges: list[float]) -> list[Block]:
    table = results.table(f"evaluation/{method}_percentages.tsv")
    if table is None or table.empty:
        return []
    rows = tuple(
        (SPLITS.get(r.split, r.split).capitalize(), _given_words(r.given_kind, r.grade, edges), number(r.n, 0),
         number(r.mean_absolute_error, 1), number(r.bias, 1), number(r.correlation, 2))
        for r in table.itertuples()
    )  # fmt: skip
    header = ("Scans", "Given", "Regions", "Mean absolute error", "Bias", "Correlation")
    note = "Of a grade alone the error is the distance to its bounds: 0 inside them."
    caption = "Errors of the percentages (percentage points), by what was given"
    noted = [Paragraph(note, "note")] if (table["given_kind"] == "grade").any() else []
    return [Table(caption, header, rows), *noted]


def _given_words(kind: str, grade: str, edges: list[float]) -> str:
    """ "Percentage of 5 to 25"; "Grade 2 alone (5 to 25 %)"; "Percentages, all"."""
    if not grade.isdigit() or int(grade) + 1 >= len(edges):
        return f"{'Percentages' if kind == 'percent' else 'Grades alone'}, {grade}"
    low, high = edges[int(grade)], edges[int(grade) + 1]
    return f"Percentage of {low:g} to {high:g}" if kind == "percent" else f"Grade {grade} alone ({low:g} to {high:g} %)"


def _burden_blocks(results: Results, method: str) -> list[Block]:
    table = results.table(f"{method}/phenotype.tsv")
    known = table[table["burden_percent"].notna()]
    if known.empty:
        return []
    parts = {split: known[known["split"] == split] for split in SPLITS if (known["split"] == split).any()}

    def draw(figure: Figure) -> None:
        columns = (
            ("burden_percent", "burden (% of the regions)"),
            ("burden_ml", "burden (mL)"),
            ("segmented_ml", "lesion mask (mL)"),
        )
        for ax, (column, label) in zip(figure.subplots(1, 3), columns, strict=True):
            groups = {f"{SPLITS[s]}\nn = {len(p)}": p[column].to_numpy(float) for s, p in parts.items()}
            plot_strip(ax, groups, ylabel=label)

    words = "; ".join(
        f"{SPLITS[split]}: median {number(part['burden_percent'].median(), 1)} % "
        f"({number(part['burden_percent'].min(), 1)} to {number(part['burden_percent'].max(), 1)} %)"
        for split, part in parts.items()
    )
    return [
        Heading("Burden"),
        Picture(
            f"{method}_burden",
            draw_png(draw, height=2.9),
            f"Strip plots of the burden of {len(known)} scans. {words}.",
            "One dot is one scan, the bar is the median. Burden: predicted percentage of each region times its volume, "
            "summed. The mask is made by a threshold and need not have the same volume.",
            table,
        ),
    ]


def _dice_blocks(results: Results, method: str) -> list[Block]:
    table = results.table(f"evaluation/{method}_dice.tsv")
    if table is None or table.empty:
        return []
    rows = [
        (SPLITS[split].capitalize(), *_dice_row(table[table["split"] == split]["dice"]))
        for split in SPLITS
        if (table["split"] == split).any()
    ]
    name, percent = PUBLISHED[method]
    published = (f"Published, {name}: other data", str(PUBLISHED_N), "", number(percent, 1), "", "")
    header = ("Scans", "n", "Undefined", "Mean", "SD", "Median")
    listed = ", ".join(f"{number(value, 1)} ({name})" for name, value in PUBLISHED.values())
    note = (
        f"Dice as published by Xie et al. 2021 on {PUBLISHED_N} subjects with COVID-19: {listed}. Those are other "
        "scans, lesions and readers: set this run's methods beside each other, not beside these. Undefined: no lesion "
        "in the given mask, and none found."
    )
    caption = "Dice (%) of the lesion mask with the given one"
    return [Heading("Agreement with lesion masks"), Table(caption, header, (*rows, published)), Paragraph(note, "note")]


def _dice_row(dice: pd.Series) -> tuple[str, ...]:
    known = 100 * dice.dropna()
    spread = known.std(ddof=1) if len(known) > 1 else np.nan
    cells = (known.mean(), spread, known.median())
    return (str(len(known)), str(len(dice) - len(known)), *(number(value, 1) for value in cells))
