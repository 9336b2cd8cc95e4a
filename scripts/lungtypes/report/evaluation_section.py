"""The section on whether clusters are real: agreement, validity by space, stability, memberships, confounders."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lungtypes.association.table_print import format_p
from lungtypes.report.blocks import (
    Block,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    interval,
    method_name,
    number,
)
from lungtypes.report.confounder_blocks import confounder_blocks
from lungtypes.report.evaluation_figures import plot_confusion
from lungtypes.report.results import Results
from lungtypes.report.style import draw_png

AGREEMENT = {
    "accuracy": "Accuracy, clusters matched one to one",
    "accuracy_permuted_mean": "Accuracy of shuffled labels, mean",
    "accuracy_permuted_p95": "Accuracy of shuffled labels, 95th percentile",
    "accuracy_p": "p of shuffled labels as accurate",
    "majority_share": "Share of the largest reference group",
    "ari": "Adjusted Rand index",
    "ami": "Adjusted mutual information",
    "nmi": "Normalised mutual information",
    "weighted_kappa": "Weighted kappa",
}
STABILITY = {
    "null_p": "p of one single group",
    "jaccard": "Mean Jaccard of resampled cohorts",
    "prediction_strength": "Prediction strength (0-1, high is good)",
    "prediction_strength_k": "K by prediction strength",
    "pac": "Ambiguous pairs of the consensus (PAC, low is good)",
    "pac_null_mean": "PAC of one Gaussian, mean",
    "pac_p": "p of one Gaussian as stable",
    "refit_ari_mean": "Adjusted Rand index of refits, all pairs",
    "refit_ari": "Adjusted Rand index of a refit",
    "refit_medoid": "Fit that the others agree with most",
    "refit_entropy": "Entropy of a scan's clusters over refits (bits)",
    "refit_unsure": "Scans of unsure cluster over refits",
}
MEMBERSHIPS = {
    "cluster_size": "Scans in the cluster",
    "n_clusters_used": "Clusters in use",
    "mean_max_q": "Mean membership of the assigned cluster",
    "share_unsure_q": "Share of scans with an unsure membership",
}
INDICES = ("silhouette", "share_below_0", "davies_bouldin", "calinski_harabasz")
SPACES = {
    "before": "Before clustering, its own k-means",
    "after_labels_in_before": "Before clustering, final clusters",
    "after": "After clustering",
    "held_out": "After clustering, held-out scans",
    "common": "Common space",
}
P_VALUES = ("null_p", "accuracy_p", "pac_p")
WHOLE_NUMBERS = ("cluster_size", "n_clusters_used", "prediction_strength_k", "refit_medoid", "refit_unsure")
PER_CLUSTER = "cluster_silhouette"
HEADER = ("Measure", "Cluster", "Value", "95 % CI", "n", "Note")


def evaluation_section(results: Results, method: str) -> Section:
    """Every metric in groups with interval and note, the confusion with a reference, and the audit of confounders."""
    anchor, title, short = f"{method}-evaluation", f"{method_name(method)}: are the clusters real?", "Evaluation"
    table = results.table(f"evaluation/{method}.tsv")
    if table is None:
        return Section(anchor, title, short, (Paragraph("No evaluation was found."),))
    blocks: list[Block] = _agreement(table, results.table(f"evaluation/{method}_confusion.tsv"), method)
    blocks += _validity(table)
    blocks += _group(_without_empty_refits(table), STABILITY, "Stability")
    blocks += _group(table, MEMBERSHIPS, "Memberships and sizes")
    named = {*AGREEMENT, *STABILITY, *MEMBERSHIPS, *INDICES, PER_CLUSTER}
    others = {name: name.replace("_", " ") for name in table["metric"] if name not in named}
    blocks += _group(table, others, "Other measures")
    blocks += confounder_blocks(results.table(f"evaluation/{method}_confounders.tsv"), method)
    return Section(anchor, title, short, tuple(blocks))


def _agreement(table: pd.DataFrame, confusion: pd.DataFrame | None, method: str) -> list[Block]:
    heading = "Agreement with the reference"
    own = table[table["metric"].isin(AGREEMENT)]
    if own["value"].isna().all():
        reasons = "; ".join(dict.fromkeys(note for note in own["note"] if note)) or "not measured"
        return [Heading(heading), Paragraph(f"No accuracy: {reasons}.", "note")]
    note = (
        "Clusters and reference groups are matched one to one: with fewer clusters than reference groups the accuracy "
        "cannot reach 1. Its interval keeps that matching; read it beside the accuracy of shuffled labels, which "
        "repeats it."
    )
    apart = table["space"] == "held_out"
    blocks = _group(table[~apart], AGREEMENT, heading) + _group(table[apart], AGREEMENT, f"{heading}, held-out scans")
    return [*blocks, Paragraph(note, "note"), *_confusion(confusion, method)]


def _confusion(table: pd.DataFrame | None, method: str) -> list[Block]:
    if table is None or table.empty:
        return []
    counts = table.pivot(index="cluster", columns="reference", values="n")
    counts = counts[list(dict.fromkeys(table["reference"]))]  # in the order of the file
    cells = "; ".join(
        f"cluster {cluster:.0f}: " + ", ".join(f"{n:.0f} {level}" for level, n in row.items() if n)
        for cluster, row in counts.iterrows()
    )

    def draw(figure: Figure) -> None:
        plot_confusion(figure.subplots(), counts, title=f"n = {counts.to_numpy().sum():.0f}")

    return [
        Picture(
            f"{method}_confusion",
            draw_png(draw, height=1.3 + 0.38 * len(counts), width=min(9.0, 2.6 + 1.1 * counts.shape[1])),
            f"Heat map of scans by cluster and reference group. {cells}.",
            "Scans by cluster (rows) and reference group (columns). Colour: share of the cluster.",
            table,
        )
    ]


def _validity(table: pd.DataFrame) -> list[Block]:
    own = table[table["metric"].isin(INDICES) & table["cluster"].isna()]
    rows = []
    for space in [*SPACES, *sorted(set(own["space"]) - set(SPACES))]:
        part = own[own["space"] == space].drop_duplicates("metric").set_index("metric")
        if part.empty:
            continue
        values = [number(part["value"].get(name), 0 if name == "calinski_harabasz" else 3) for name in INDICES]
        first = part.iloc[0]
        rows.append((SPACES.get(space, space), *values, number(first["n"], 0), first["note"]))
    if not rows:
        return []
    header = ("Space", "Silhouette", "Share below 0", "Davies-Bouldin", "Calinski-Harabasz", "n", "Note")
    note = (
        "Silhouette (-1 to 1) and Calinski-Harabasz: high is good; Davies-Bouldin: low is good. Share below 0: scans "
        "nearer to another cluster. Indices after clustering are circular, for the loss asks for them; held-out "
        "scans show how much of it lasts. Values of different spaces are not comparable; the common space belongs to "
        "no method, and methods may be compared there."
    )
    blocks: list[Block] = [Heading("Validity in each space"), Table("Indices by space", header, tuple(rows))]
    return [*blocks, Paragraph(note, "note"), *_cluster_silhouettes(table)]


def _cluster_silhouettes(table: pd.DataFrame) -> list[Block]:
    own = table[table["metric"].isin((PER_CLUSTER, "share_below_0")) & table["cluster"].notna()]
    if own.empty:
        return []
    spaces = [space for space in SPACES if (own["space"] == space).any()]
    cells = own.set_index(["cluster", "space", "metric"])["value"]
    rows = []
    for cluster in sorted(own["cluster"].unique()):
        pairs = [[cells.get((cluster, space, name)) for name in (PER_CLUSTER, "share_below_0")] for space in spaces]
        rows.append((f"{cluster:.0f}", *(f"{number(width)} ({number(below)})" for width, below in pairs)))
    header = ("Cluster", *(SPACES[space] for space in spaces))
    return [Table("Mean silhouette of each cluster (share of its scans below 0)", header, tuple(rows))]


def _without_empty_refits(table: pd.DataFrame) -> pd.DataFrame:
    """One row instead of five where there are no refits."""
    refits = table["metric"].str.startswith("refit_")
    if table.loc[refits, "value"].notna().any():
        return table
    return table[~refits | (table["metric"] == "refit_ari_mean")]


def _group(table: pd.DataFrame, names: dict[str, str], heading: str) -> list[Block]:
    rows = []
    for name, words in names.items():
        for r in table[table["metric"] == name].itertuples():
            value = format_p(r.value) if name in P_VALUES else number(r.value, 0 if name in WHOLE_NUMBERS else 3)
            cluster = "" if pd.isna(r.cluster) else f"{r.cluster:.0f}"
            rows.append((words, cluster, value, interval(r.ci_low, r.ci_high, 3), number(r.n, 0), r.note))
    return [Heading(heading), Table(heading, HEADER, tuple(rows))] if rows else []
