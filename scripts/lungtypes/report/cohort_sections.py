"""The sections about the scans, before any clustering: flow, protocol, quality, template."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungtypes.report.blocks import (
    Block,
    Flow,
    FlowStep,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    count_of,
    method_name,
    number,
)
from lungtypes.report.figures import plot_curve, plot_strip
from lungtypes.report.findings import cramers_v, scanner_table
from lungtypes.report.results import Results, clusters_of
from lungtypes.report.slices import CT_SCALE, choose_cuts, plot_panels
from lungtypes.report.style import draw_png
from lungtypes.report.subject_pages import links_to_pages

STAGES = ("ingest", "lungs", "resample", "register", "volumes")
STAGE_NAMES = {
    "ingest": "Scans in the sheet",
    "lungs": "With a usable series",
    "resample": "With plausible lungs",
    "register": "On the isotropic grid",
    "volumes": "Registered to the template",
}
PAPER_ITERATIONS = 9  # of the template in Ryan et al. 2022
WORST = 6
REGISTRATION_FIGURES = (
    "dice_right",
    "dice_left",
    "hd95_right_mm",
    "hd95_left_mm",
    "folded_percent",
    "inverse_mm",
    "hu_correlation",
)
PICTURES = 4


def flow_section(results: Results) -> Section:
    """Who came in, who left where, who was analysed; the counts add up by construction.

    A run that stopped before the registration has the table of its screening instead.
    """
    title = "Participant flow"
    table = results.table("cohort/attrition.tsv")
    last = "Analysed"
    if table is None:
        table, last = results.table("cohort/screening.tsv"), "Left"
    if table is None:
        return Section("flow", title, "Flow", (Paragraph("No attrition table was found."),))
    excluded = table[table["status"] != "analysed"]
    stages = [s for s in STAGES if s != "volumes" or s in set(excluded["stage"])]
    stages += [s for s in dict.fromkeys(excluded["stage"]) if s not in STAGES]
    steps, left = [], len(table)
    for stage in stages:
        codes = excluded.loc[excluded["stage"] == stage, "code"].value_counts(sort=False)
        leaving = tuple(f"{size} excluded: {code or 'no code'}" for code, size in codes.items())
        steps.append(FlowStep(STAGE_NAMES.get(stage, f"Before {stage}"), left, leaving))
        left -= int(codes.sum())
    steps.append(FlowStep(last, left))
    total = f"{count_of(len(table), 'scan')} in = {left} {last.lower()} + {len(excluded)} excluded."
    blocks: list[Block] = [Flow(tuple(steps)), Paragraph(total)]
    if len(excluded):
        columns = ["subject", "stage", "code", "message", "remedy"]
        rows = tuple(map(tuple, excluded.reindex(columns=columns, fill_value="").to_numpy()))
        header = ("Subject", "Stage", "Code", "Message", "What to do")
        blocks.append(Table(f"Excluded scans (n = {len(excluded)})", header, rows))
    decided = table[table["decisions"] != ""]
    if len(decided):
        rows = tuple(map(tuple, decided[["subject", "status", "decisions"]].to_numpy()))
        blocks.append(Table(f"Decided by humans (n = {len(decided)})", ("Subject", "Status", "Decision"), rows))
    review = results.table("cohort/review.tsv")
    if review is not None and len(review):
        rows = tuple(map(tuple, review[["subject", "stage", "decision", "reason"]].to_numpy()))
        header = ("Subject", "Stage", "Proposed", "Reason")
        blocks.append(Table(f"Proposed for a look, cohort/review.tsv (n = {len(review)})", header, rows))
    return Section("flow", title, "Flow", tuple(blocks))


def protocol_section(results: Results) -> Section:
    """How the scans were made, and whether clusters go with scanners."""
    title = "Input protocol and scanner balance"
    series = results.table("ingest/series.tsv")
    blocks: list[Block] = []
    if series is not None and series.empty:
        blocks.append(Paragraph("All scans came registered, so that nothing is known of scanners and kernels.", "note"))
    elif series is not None:
        chosen = series[series["verdict"] == "chosen"]
        keys = ["manufacturer", "model", "kernel", "kernel_class", "thickness_mm"]
        counts = chosen.groupby(keys, dropna=False).size().sort_values(ascending=False, kind="stable")
        rows = tuple(
            (f"{maker} {model}".strip() or "not stated", kernel or "not stated", kind, number(mm, 1), str(size))
            for (maker, model, kernel, kind, mm), size in counts.items()
        )
        caption = f"Chosen series (n = {len(chosen)} of {len(series)} series seen)"
        blocks.append(Table(caption, ("Scanner", "Kernel", "Kernel class", "Slice thickness (mm)", "Scans"), rows))
    for method in results.methods():
        counts = scanner_table(results, method)
        clusters = list(counts.columns)
        sizes = counts.sum()
        header = ("Scanner", *[f"Cluster {c} (n = {sizes[c]})" for c in clusters], "All")
        rows = tuple(
            (str(name), *[str(line[c]) for c in clusters], str(line.sum())) for name, line in counts.iterrows()
        )
        total = ("All", *[str(sizes[c]) for c in clusters], str(sizes.sum()))
        blocks.append(Table(f"Scans by scanner and {method_name(method)} cluster", header, (*rows, total)))
        v = cramers_v(counts)
        words = "one scanner or one cluster only, nothing to compare" if v is None else f"Cram\u00e9r's V = {number(v)}"
        blocks.append(Paragraph(f"Association of scanner and cluster: {words} (0 none, 1 complete)."))
    return Section("protocol", title, "Protocol", tuple(blocks) or (Paragraph("No table of series was found."),))


def quality_section(results: Results, config: Mapping[str, object]) -> Section:
    """Registration quality of every analysed scan, and lung volume and density by cluster."""
    attrition = results.table("cohort/attrition.tsv")
    subjects = [] if attrition is None else attrition.loc[attrition["status"] == "analysed", "subject"].tolist()
    rows = [{"subject": s, **results.record(f"registered/{s}/registration.json")} for s in subjects]
    table = pd.DataFrame([row for row in rows if len(row) > 1])
    blocks: list[Block] = []
    blocks += _picture_blocks(results)
    if len(table):
        blocks += _registration_blocks(table, config.get("register", {}).get("checks", {}))
    for method in results.methods():
        blocks += _density_blocks(results, method)
    return Section("quality", "Quality of the scans", "Quality", tuple(blocks) or (Paragraph("Nothing to show."),))


def _picture_blocks(results: Results) -> list[Block]:
    """The pictures of the scans that most need a look, failed ones first; all are on the pages of single scans."""
    attrition, review = results.table("cohort/attrition.tsv"), results.table("cohort/review.tsv")
    if attrition is None:
        return []
    drawn = [s for s in attrition["subject"] if (results.folder / f"quality/{s}/lungs.png").exists()]
    proposed = [] if review is None else review["subject"].tolist()
    failed = set(attrition.loc[attrition["status"] != "analysed", "subject"])
    first = [s for s in drawn if s in failed] + [s for s in proposed if s in drawn and s not in failed]
    shown = list(dict.fromkeys([*first, *drawn]))[:PICTURES]
    blocks: list[Block] = [Heading("Lungs")] if drawn else []
    for subject in shown:
        folder = results.folder / f"quality/{subject}"
        data = results.table(f"quality/{subject}/slices.tsv")
        blocks.append(
            Picture(
                f"quality_{subject}",
                (folder / "lungs.png").read_bytes(),
                f"Scan {subject}: axial, coronal and sagittal slices with the border of the lungs, histogram of HU and "
                "area of each slice.",
                f"{subject}. Lung window; blue: border of the lungs. Patient's right is on the left of the image.",
                pd.DataFrame({"subject": [subject]}) if data is None else data.assign(subject=subject),
                of_scans=True,
            )
        )
    return blocks


def pages_section(results: Results) -> Section | None:
    """Links to the pages of single scans: excluded ones first, then by the first method's clusters; None without."""
    table, methods = results.table("cohort/attrition.tsv"), results.methods()
    if table is None or table.empty:
        return None
    groups = {"Excluded": table.loc[table["status"] != "analysed", "subject"]}
    analysed = table.loc[table["status"] == "analysed", "subject"]
    if methods:
        assignment = results.table(f"{methods[0]}/assignment.tsv").set_index("subject")["cluster"]
        cluster = analysed.map(assignment)
        groups |= {f"{method_name(methods[0])}, cluster {number(c, 0)}": part for c, part in analysed.groupby(cluster)}
        analysed = analysed[cluster.isna()]
    groups["Analysed"] = analysed
    blocks: list[Block] = [
        Paragraph(
            "Every scan has a page of its own beside this one: what became of it, its quality, its clusters and maps."
        )
    ]
    for name, subjects in groups.items():
        if len(subjects):
            blocks += [Heading(f"{name} (n = {len(subjects)})"), links_to_pages(list(subjects))]
    return Section("scans", "Single scans", "Scans", tuple(blocks))


def _registration_blocks(table: pd.DataFrame, checks: Mapping[str, Mapping[str, object]]) -> list[Block]:
    table = table.reindex(columns=["subject", *REGISTRATION_FIGURES, "attempt"]).astype({"subject": str})
    table[list(REGISTRATION_FIGURES)] = table[list(REGISTRATION_FIGURES)].astype(float)
    panels = (
        ("lung overlap (Dice, 0-1)", {"right": "dice_right", "left": "dice_left"}, "dice", 0),
        ("surface distance (HD95, mm)", {"right": "hd95_right_mm", "left": "hd95_left_mm"}, "hd95_mm", 1),
        ("folded voxels (%)", {"lungs": "folded_percent"}, "folded_percent", 1),
        ("there and back (mm)", {"lungs": "inverse_mm"}, "inverse_mm", 1),
        ("HU correlation", {"lungs": "hu_correlation"}, "hu_correlation", 0),
    )

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), width_ratios=(2, 2, 1, 1, 1))
        for ax, (label, columns, check, end) in zip(axes, panels, strict=True):
            fail = checks.get(check, {}).get("fail")
            values = {k: table[c].to_numpy(float) for k, c in columns.items()}
            plot_strip(ax, values, ylabel=label, limit=fail[end] if fail else None)
        figure.suptitle(f"Registration to the template (n = {len(table)})", fontsize=10)

    worst_dice = table[["dice_right", "dice_left"]].min(axis=1)
    far = table[["hd95_right_mm", "hd95_left_mm"]].max(axis=1)
    ranks = pd.concat([worst_dice, table["hu_correlation"], -far, -table["folded_percent"]], axis=1).rank()
    worst = table.loc[ranks.mean(axis=1).sort_values(kind="stable").index[:WORST]]
    again = table.loc[~table["attempt"].isin(["configured", "given"]), "subject"].dropna().tolist()
    tried = f" {len(again)} needed a further attempt: {', '.join(again)}." if again else ""
    medians = (
        f"median Dice right {number(table['dice_right'].median(), 3)}, left {number(table['dice_left'].median(), 3)}"
    )
    return [
        Heading("Registration"),
        Picture(
            "registration_quality",
            draw_png(draw, height=3.0),
            f"Strip plots of {len(table)} scans: {medians}, largest HD95 {number(far.max(), 1)} mm, largest share of "
            f"folded voxels {number(table['folded_percent'].max(), 4)} %, median HU correlation "
            f"{number(table['hu_correlation'].median())}.{tried}",
            f"One dot is one scan, the bar is the median; dashed: worse than this excludes the scan.{tried}",
            table,
        ),
        Table(
            f"The {len(worst)} worst registrations, by the mean rank of Dice, HD95, folding and HU correlation",
            ("Subject", "Dice right", "Dice left", "HD95 (mm)", "Folded (%)", "HU correlation", "Settings"),
            tuple(
                (r.subject, number(r.dice_right, 3), number(r.dice_left, 3), number(far[r.Index], 1),
                 number(r.folded_percent, 3), number(r.hu_correlation, 2), str(r.attempt))
                for r in worst.itertuples()
            ),
        ),
    ]  # fmt: skip


def _density_blocks(results: Results, method: str) -> list[Block]:
    table, assignment = results.table("densitometry.tsv"), results.table(f"{method}/assignment.tsv")
    if table is None or table.empty:  # empty where all scans came registered
        return []
    both = table[table["region"] == "lungs"][["subject", "volume_ml", "mean_hu"]]
    both = assignment[["subject", "cluster"]].merge(both, on="subject", how="left")
    clusters = clusters_of(assignment)
    n = {c: int((both["cluster"] == c).sum()) for c in clusters}

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2)
        for ax, column, factor, label in zip(
            axes, ("volume_ml", "mean_hu"), (1e-3, 1.0), ("lung volume (L)", "mean lung density (HU)"), strict=True
        ):
            parts = {f"cluster {c}\nn = {n[c]}": both.loc[both["cluster"] == c, column] * factor for c in clusters}
            plot_strip(ax, {k: v.to_numpy(float) for k, v in parts.items()}, ylabel=label, clusters=clusters)

    medians = both.groupby("cluster")[["volume_ml", "mean_hu"]].median()
    words = "; ".join(
        f"cluster {c}: median {number(row.volume_ml / 1000)} L, {number(row.mean_hu, 0)} HU"
        for c, row in medians.iterrows()
    )
    return [
        Heading(f"Lung volume and density by {method_name(method)} cluster"),
        Picture(
            f"{method}_densitometry",
            draw_png(draw, height=3.2),
            f"Strip plots of lung volume and mean lung density by cluster. {words}.",
            "Measured on the scan itself, before registration. Clusters are numbered from light to dense lungs.",
            both,
        ),
    ]


def template_section(results: Results, config: Mapping[str, object]) -> Section:
    """The study template and how it came to rest."""
    blocks: list[Block] = []
    table, image = results.table("template/convergence.tsv"), results.volume("template/template.nii.gz")
    limits = config.get("template", {})
    if table is not None and "net_update_mm" not in table:  # a frozen template of an earlier version
        table = table.assign(net_update_mm=table["mean_update_mm"])
    if table is not None and len(table):
        blocks += _convergence_blocks(table, limits)
    elif limits.get("image"):
        blocks.append(Paragraph("The template was brought along (template.image); none was built from these scans."))
    if limits.get("frozen"):
        blocks.append(Paragraph("The template is frozen: scans added since it was built were registered to it."))
    if image is not None:
        lungs = results.lungs_on(image)
        cuts = choose_cuts(lungs)
        drawn = results.table("template/sample.tsv")
        built = drawn is not None and not limits.get("image")
        n = "" if not built else f", mean of n = {int(drawn.drawn.astype(int).sum())}"

        def draw(figure: Figure) -> None:
            style = {"spacing_mm": image.spacing_mm, "scale": CT_SCALE, "lungs": lungs, "outline": True}
            plot_panels(figure, {f"template{n}": image.array}, cuts, **style)

        data = pd.DataFrame([{"plane": c.plane, "slice_index": c.index, "fraction": c.fraction} for c in cuts])
        data["lung_area_mm2"] = [
            float((c.of(lungs) > 0).sum() * np.prod(image.spacing_mm) / image.spacing_mm[c.plane == "coronal"])
            for c in cuts
        ]
        blocks.append(
            Picture(
                "template_slices",
                draw_png(draw, height=2.5),
                "Three axial slices and one coronal slice of the study template with the border of its lung mask; "
                "R and L mark the patient's right (left of the image) and left.",
                "The study template in the lung window (-1350 to 150 HU) with its lung mask (blue line). Axial slices "
                "are seen from the feet: the patient's right is on the left of the image.",
                data,
            )
        )
    return Section("template", "Study template", "Template", tuple(blocks) or (Paragraph("No template was found."),))


def _convergence_blocks(table: pd.DataFrame, limits: Mapping[str, float]) -> list[Block]:
    panels = (
        ("dice", "Dice with previous template", limits.get("min_dice")),
        ("net_update_mm", "net update (mm)", limits.get("max_update_mm")),
        ("volume_change_percent", "change of lung volume (%)", limits.get("max_volume_percent")),
    )
    shown = table[table["dice"].notna()]
    last, done = table.iloc[-1], table["converged"].iloc[-1].lower() in ("true", "1")

    def draw(figure: Figure) -> None:
        for ax, (column, label, limit) in zip(figure.subplots(1, 3), panels, strict=True):
            values = shown[column].abs() if column == "volume_change_percent" else shown[column]
            plot_curve(ax, shown["iteration"], values, xlabel="iteration", ylabel=label, limit=limit)
            ax.margins(0.15)

    state = "converged" if done else "had not converged"
    text = (
        f"The template {state} after {number(last['iteration'], 0)} iterations (at most "
        f"{limits.get('max_iterations', 'not stated')} allowed); the CLAM paper's took {PAPER_ITERATIONS}."
    )
    picture = Picture(
        "template_convergence",
        draw_png(draw, height=2.6),
        f"Dice, net update in mm and change of lung volume in percent over {len(shown)} iterations. {text}",
        "Each iteration against the one before; the template has converged when all three limits (dashed) hold. Net "
        "update: the update less the one before, since one that comes again has not moved anything.",
        table,
    )
    return [Paragraph(text), picture] if len(shown) else [Paragraph(text)]
