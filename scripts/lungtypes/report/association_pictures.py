"""From association tables to the report's pictures, each with its words and its data."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungtypes.association.outcome_print import main_contrasts
from lungtypes.association.predictor_files import THIRDS
from lungtypes.report.association_figures import plot_balance, plot_boxes, plot_counts, plot_dumbbells, plot_effects
from lungtypes.report.association_tables import association_table
from lungtypes.report.blocks import Block, Heading, Picture, interval, number
from lungtypes.report.figures import plot_groups
from lungtypes.report.method_sections import embedding_points
from lungtypes.report.results import Results
from lungtypes.report.style import draw_png

ALPHA = 0.05
CLUSTER = "cluster"
BOXES_PER_LINE = 4
MOST_LEVELS = 12
MOST_LONG_NAMES = 2


def balance_picture(results: Results, folder: str, prefix: str) -> list[Block]:
    """Standardised differences of table one, largest on top."""
    table = association_table(results, folder, "table_one")
    if table.empty or not table["smd"].notna().any():
        return []
    overall = table[table["group"] == "overall"]
    n = int((overall["n"] + overall["n_missing"]).max())
    rows = table[table["smd"].notna()].sort_values("smd", ascending=False, kind="stable")
    rows = rows[["variable", "label", "smd", "smd_pair"]]
    several = table["group"].nunique() > 3

    def draw(figure: Figure) -> None:
        xlabel = "standardised mean difference" + (", of the two groups that differ most" if several else "")
        names = [f"{row.label} ({row.smd_pair})" if several else row.label for row in rows.itertuples()]
        plot_balance(figure.subplots(), names, rows["smd"].to_numpy(), xlabel=xlabel)

    top = rows.iloc[0]
    alt = f"Love plot of {len(rows)} characteristics. Largest difference: {top['label']}, {number(top['smd'])}."
    caption = f"Balance of the characteristics (n = {n}). Filled: above 0.1, the customary limit of balance."
    return [Picture(f"{prefix}_balance", draw_png(draw, height=1.0 + 0.24 * len(rows)), alt, caption, rows)]


def effect_picture(results: Results, folder: str, prefix: str) -> list[Block]:
    """Forest of standardised contrasts, crude and adjusted; more than two clusters against the largest."""
    outcomes = association_table(results, folder, "outcomes")
    contrasts = association_table(results, folder, "contrasts")
    if outcomes.empty or contrasts.empty:
        return []
    rows = effect_rows(outcomes, contrasts, _largest(results, folder))
    if rows.empty:
        return []
    pairs = rows["contrast"].nunique()
    n = outcomes.loc[outcomes["outcome"].isin(rows["outcome"]), "n"]

    def draw(figure: Figure) -> None:
        plot_effects(figure.subplots(), rows, xlabel="standardised difference (residual SD; 95 % CI)")

    top = rows.loc[rows["adjusted"].abs().idxmax()]
    alt = f"Forest plot of {rows['outcome'].nunique()} outcomes, crude and adjusted. Largest adjusted effect: "
    alt += f"{top['label']}, {number(top['adjusted'])} (95 % CI {interval(top['adjusted_low'], top['adjusted_high'])})."
    what = f"contrast {rows['contrast'].iloc[0]}" if pairs == 1 else "contrasts with the largest cluster"
    caption = (
        f"Standardised effects, {what}".replace(" - ", " \u2212 ") + f" (n = {n.min():.0f} to {n.max():.0f}). Filled: "
        f"q < {ALPHA} of the joint test. Outcomes on the odds scale stand in the table only."
    )
    height = 1.1 + 0.3 * len(rows)
    return [Heading("Effects"), Picture(f"{prefix}_effects", draw_png(draw, height=height), alt, caption, rows)]


def effect_rows(outcomes: pd.DataFrame, contrasts: pd.DataFrame, reference: int | None) -> pd.DataFrame:
    """One row per outcome and contrast: crude and adjusted standardised effects with limits, and q < 0.05."""
    passed = outcomes.set_index("outcome")["q_value"] < ALPHA
    rows = []
    for outcome, part in contrasts.groupby("outcome", sort=False):
        part = main_contrasts(part, reference)
        for contrast, pair in part.groupby("contrast", sort=False):
            sets = pair.set_index("model_set")
            if "adjusted" not in sets.index or pd.isna(sets.loc["adjusted", "standardised"]):
                continue
            name = str(pair["label"].iloc[0] or outcome)
            several = part["contrast"].nunique() > 1
            row = {"outcome": outcome, "contrast": contrast, "passed": bool(passed.get(outcome, False))}
            row["label"] = f"{name}, {contrast}".replace(" - ", " \u2212 ") if several else name
            for model in ("crude", "adjusted"):
                known = sets.loc[model] if model in sets.index else {}
                row[model] = known.get("standardised", np.nan)
                row[f"{model}_low"] = known.get("standardised_ci_low", np.nan)
                row[f"{model}_high"] = known.get("standardised_ci_high", np.nan)
            rows.append(row)
    return pd.DataFrame(rows)


def box_pictures(results: Results, folder: str, prefix: str) -> list[Block]:
    """Raw values by group with adjusted means, one panel an outcome."""
    points = association_table(results, folder, "points")
    if points.empty:
        return []
    means = association_table(results, folder, "adjusted_means")
    means = means[means["model_set"] == "adjusted"] if len(means) else means
    found = sorted(points["group"].unique(), key=int)
    names = _group_names(results, folder, found, short=len(found) > MOST_LONG_NAMES)
    predictor = _predictor_name(results, folder)
    axis = CLUSTER if predictor == CLUSTER else f"third of {predictor}"
    outcomes = [part for _, part in points.groupby("outcome", sort=False)]
    lines = -(-len(outcomes) // BOXES_PER_LINE)

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(lines, BOXES_PER_LINE, squeeze=False).flat)
        for ax in axes[len(outcomes) :]:
            ax.set_visible(False)
        for ax, part in zip(axes, outcomes, strict=False):
            first = part.iloc[0]
            groups = {name: part.loc[part["group"] == g, "value"].to_numpy() for g, name in names.items()}
            adjusted = _means_of(means, first["outcome"], names) if _on_its_scale(results, folder, first) else {}
            numbers = [int(group) for group in names]
            plot_boxes(ax, groups, adjusted, ylabel=first["unit"] or "value", title=first["label"], numbers=numbers)
            ax.title.set_fontsize(8.5)
            if len(found) > MOST_LONG_NAMES:
                ax.set_xlabel(axis)

    counts = [len(part) for part in outcomes]
    alt = f"Box plots of {len(outcomes)} outcomes for {len(names)} groups; the numbers stand in the tables."
    caption = f"Values as measured (n = {min(counts)} to {max(counts)}), box: quartiles."
    caption += " In parentheses: n of the cluster." if len(names) > 3 else ""
    caption += " Black diamond: adjusted mean with 95 % CI of the complete cases." if len(means) else ""
    png = draw_png(draw, height=0.3 + 2.3 * lines)
    picture = Picture(f"{prefix}_boxes", png, alt, caption, points, of_persons=True)
    return [Heading("Outcomes as measured"), picture]


def dumbbell_picture(results: Results, folder: str, prefix: str) -> list[Block]:
    """Adjusted R2 of the four models and the difference, for outcomes that could be compared."""
    table = association_table(results, folder, "comparison")
    rows = table[(table["status"] == "ok") & table["difference"].notna()] if len(table) else table
    if rows.empty:
        return []
    rows = rows.assign(label=[f"{row.label} (n = {row.n:.0f})" for row in rows.itertuples()])
    predictor, comparator = _predictor_name(results, folder), _comparator_label(results, folder, rows)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, width_ratios=[1.5, 1])
        plot_dumbbells(axes[0], axes[1], rows, predictor=predictor, comparator=comparator)

    top = rows.loc[rows["difference"].idxmax()]
    alt = f"Adjusted R\u00b2 of four models for {len(rows)} outcomes. Largest difference in favour of {predictor}: "
    alt += f"{top['label']}, {number(top['difference'])} (95 % CI {interval(top['ci_low'], top['ci_high'])})."
    caption = (
        f"What {predictor} and {comparator} explain beyond the covariates, on the same subjects. Right: difference in "
        "adjusted R\u00b2; all right of 0: explains more, all right of the margin: not worse."
    )
    data = rows[["outcome", "label", "r2_base", "r2_cluster", "r2_comparator", "r2_both", "difference", "ci_low"]]
    data = data.assign(ci_high=rows["ci_high"], margin=rows["margin"])
    height = 1.2 + 0.27 * len(rows)
    return [Picture(f"{prefix}_comparison", draw_png(draw, height=height), alt, caption, data)]


def counts_picture(results: Results, folder: str, prefix: str) -> list[Block]:
    """Heat map of groups by levels of the comparator."""
    table = association_table(results, folder, "comparator_counts")
    if table.empty or table["level"].nunique() > MOST_LEVELS:
        return []
    names = _group_names(results, folder, sorted(table["group"].unique(), key=int))
    counts = table.pivot(index="group", columns="level", values="count").reindex(list(names))
    counts = counts[list(dict.fromkeys(table["level"]))].rename(index=names)
    label = table["label"].iloc[0]

    def draw(figure: Figure) -> None:
        plot_counts(figure.subplots(), counts, xlabel=label, ylabel="")

    alt = f"Counts of {len(counts)} groups by {counts.shape[1]} levels of {label}."
    caption = f"Counts by {label} (n = {counts.to_numpy().sum():.0f}); percentages and shade: of the row."
    height = 0.9 + 0.55 * len(counts)
    return [Picture(f"{prefix}_comparator", draw_png(draw, height=height, width=7.0), alt, caption, table)]


def embedding_picture(results: Results, method: str) -> list[Block]:
    """The embedding before and after clustering in the colours of the existing classification."""
    levels = association_table(results, f"association/{method}", "comparator_levels")
    embedding = results.table(f"{method}/embedding.tsv")
    if embedding is None or levels.empty or levels["level"].nunique() > MOST_LEVELS:
        return []
    label = levels["label"].iloc[0]
    counts = association_table(results, f"association/{method}", "comparator_counts")
    names = [level for level in dict.fromkeys(counts["level"]) if level in set(levels["level"])]
    points, shares = embedding_points(embedding, levels[["subject", "level"]])

    def draw(figure: Figure) -> None:
        for ax, (phase, part) in zip(figure.subplots(1, len(points), squeeze=False)[0], points.items(), strict=True):
            heading = f"{phase} clustering, by {label} (n = {len(part)})"
            style = {"column": "level", "names": names, "title": heading, "explained_percent": shares[phase]}
            plot_groups(ax, part, names, **style, first_colour=2)

    alt = f"Scatter plots of the first two principal components, coloured by {label} ({len(names)} levels)."
    caption = (
        f"Does the embedding order the scans by {label} (n = {len(levels)})? The clustering never saw it. Principal "
        "components as in the section on the embedding; subjects without a value are left out."
    )
    data = pd.concat(points.values(), ignore_index=True)
    return [Picture(f"{method}_embedding_by_level", draw_png(draw, height=3.5), alt, caption, data)]


def _largest(results: Results, folder: str) -> int | None:
    """The largest group; None for fewer than three."""
    table = association_table(results, folder, "table_one")
    if table.empty:
        return None
    sizes = (table["n"] + table["n_missing"])[table["group"] != "overall"].groupby(table["group"]).max()
    return int(min(sizes[sizes == sizes.max()].index, key=int)) if len(sizes) > 2 else None


def _predictor_name(results: Results, folder: str) -> str:
    names = association_table(results, folder, "outcomes").get("predictor")
    name = str(names.iloc[0]) if names is not None and len(names) else CLUSTER
    return CLUSTER if name.lower() == CLUSTER else name


def _comparator_label(results: Results, folder: str, rows: pd.DataFrame) -> str:
    counts = association_table(results, folder, "comparator_counts")
    return str(counts["label"].iloc[0] if len(counts) else rows["comparator"].iloc[0])


def _group_names(results: Results, folder: str, groups: list[str], *, short: bool = False) -> dict[str, str]:
    if _predictor_name(results, folder) != CLUSTER:
        return {group: THIRDS[group].removesuffix(" third" if short else "").lower() for group in groups}
    return {group: group if short else f"cluster {group}" for group in groups}


def _on_its_scale(results: Results, folder: str, first: pd.Series) -> bool:
    """Adjusted means of binary and ordinal outcomes are risks and level numbers, not the raw unit."""
    outcomes = association_table(results, folder, "outcomes").set_index("outcome")
    return first["outcome"] in outcomes.index and outcomes.loc[first["outcome"], "type"] in ("continuous", "skewed")


def _means_of(means: pd.DataFrame, outcome: str, names: dict[str, str]) -> dict[str, tuple[float, float, float]]:
    if means.empty:
        return {}
    rows = means[(means["outcome"] == outcome) & means["mean"].notna()]
    return {names[str(int(row.cluster))]: (row.mean, row.ci_low, row.ci_high) for row in rows.itertuples(index=False)}
