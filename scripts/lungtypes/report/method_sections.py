"""The sections about one clustering: training, number of clusters, embedding."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lungtypes.association.table_html import format_p
from lungtypes.report.blocks import (
    Block,
    Paragraph,
    Picture,
    Section,
    Table,
    method_name,
    number,
)
from lungtypes.report.figures import plot_criterion, plot_curve, plot_groups
from lungtypes.report.results import Results, clusters_of
from lungtypes.report.style import draw_png

CRITERIA = {
    "silhouette_kmeans": ("Silhouette, k-means", "silhouette (-1 to 1)"),
    "silhouette_sparse": ("Silhouette, sparse k-means", "silhouette (-1 to 1)"),
    "gap": ("Gap statistic", "gap"),
}
MOST_SCANNERS = 7
# phase, column of history.tsv, heading, unit
PANELS = {
    "clam": [
        ("pretrain", "reconstruction", "Pre-training: reconstruction", "squared error"),
        ("cluster", "reconstruction", "Clustering: reconstruction", "squared error"),
        ("cluster", "clustering", "Clustering: clustering loss", "KL divergence"),
        ("cluster", "total", "Clustering: total loss", "loss"),
        ("cluster", "labels_changed", "Clustering: labels changed", "share (0-1)"),
        ("cluster", "mean_max_q", "Clustering: largest membership", "mean (0-1)"),
    ],
    "dcam": [
        ("cluster", "loss", "Loss of the pseudo-labels", "cross-entropy (nats)"),
        ("cluster", "pseudo_accuracy", "Pseudo-labels told", "share (0-1)"),
        ("cluster", "nmi_previous", "Agreement with the epoch before", "NMI (0-1)"),
        ("cluster", "labels_changed", "Labels changed", "share (0-1)"),
        ("cluster", "size_entropy", "Evenness of cluster sizes", "entropy (0-1)"),
        ("supervised", "loss", "Loss of the reference labels", "cross-entropy (nats)"),
    ],
}


def training_section(results: Results, method: str) -> Section:
    """Every loss term per epoch of both phases."""
    anchor, title, short = f"{method}-training", f"{method_name(method)}: training", "Training"
    table = results.table(f"{method}/history.tsv")
    if table is None or table.empty:
        return Section(anchor, title, short, (Paragraph("No history of the training was found."),))
    table = table[table["kept"] == 1]  # epochs that the guard took back are left out
    panels = PANELS["clam" if method == "clam" else "dcam"]
    model = results.record(f"{method}/model.json")
    kept = model.get("pretrained") or {}
    n_held_out = kept.get("n_held_out", 0)

    def draw(figure: Figure) -> None:
        for ax, (phase, column, heading, label) in zip(figure.subplots(2, 3).flat, panels, strict=True):
            rows = table[table["phase"] == phase]
            ax.set_visible(len(rows) > 0)
            values = rows[column] if column in rows else rows["epoch"] * np.nan
            x, y = rows["epoch"].to_numpy(), values.to_numpy()
            plot_curve(ax, x, y, xlabel="epoch", ylabel=label, title=heading)
            if phase == "pretrain" and n_held_out:
                ax.plot(x, rows["held_out"], color="black", ls=":", lw=1.2, label="held out")
                ax.axvline(kept["kept_epoch"], color="grey", lw=0.8, label="kept")
                ax.legend()

    last = table.iloc[-1]
    lengths = table["phase"].value_counts(sort=False)
    epochs = " and ".join(f"{n} epochs of phase {phase}" for phase, n in lengths.items())
    shown = [(c, h) for phase, c, h, _ in panels if phase == last["phase"] and pd.notna(last.get(c))]
    figures = ", ".join(f"{heading.split(': ')[-1]} {number(last[column], 4)}" for column, heading in shown)
    alt = f"Curves over {epochs}. Last epoch: {figures}."
    events = model.get("events") or []
    text = "; ".join(map(str, events)) or "none"
    held_out = ""
    if n_held_out:
        held_out = f" Of pre-training, epoch {kept['kept_epoch']} was kept, "
        held_out += f"where the error of {n_held_out} scans that did not train was lowest."
        if kept["kept_epoch"] == lengths["pretrain"]:
            held_out += " It is the last one: with more epochs (clam.pretrain.epochs) that error may fall further."
    blocks = (
        Paragraph(f"Trained for {epochs}.{held_out} What the guard saw: {text}.", "warning" if events else ""),
        Picture(f"{method}_training", draw_png(draw, height=4.6), alt, "Loss terms and labels, epoch by epoch.", table),
    )
    return Section(anchor, title, short, blocks)


def k_section(results: Results, method: str) -> Section:
    """Every criterion for every K, the chosen one marked, and the test of K = 1."""
    anchor, title, short = f"{method}-k", f"{method_name(method)}: number of clusters", "K"
    table, choice = results.table(f"{method}/k_selection.tsv"), results.record(f"{method}/k_selection.json")
    if table is None or not choice:
        return Section(anchor, title, short, (Paragraph("No selection of K was found."),))
    k, p = int(choice["k"]), choice.get("null_p")
    curves = [c for c in dict.fromkeys(table["criterion"]) if table.loc[table["criterion"] == c, "value"].count() > 1]
    blocks: list[Block] = [Paragraph(f"{choice.get('reason', '')}.".replace("..", "."))]
    words = "not tested" if p is None or pd.isna(p) else f"p = {format_p(p)}".replace("= <", "< ")
    verdict = "" if words == "not tested" else "; rejected" if p <= 0.05 else "; NOT rejected"
    tone = "warning" if verdict.endswith("NOT rejected") else ""
    blocks.append(Paragraph(f"Test of one single group (K = 1, one Gaussian): {words}{verdict}.", tone))
    if curves:

        def draw(figure: Figure) -> None:
            columns = min(len(curves), 3)
            axes = figure.subplots(-(-len(curves) // columns), columns, squeeze=False).flat
            for ax in axes:
                ax.set_visible(False)
            for ax, name in zip(figure.axes, curves, strict=False):
                ax.set_visible(True)
                heading, label = CRITERIA.get(name, (name.replace("_", " "), "value"))
                plot_criterion(ax, table[table["criterion"] == name], chosen=k, title=heading, ylabel=label)

        best = {
            c: table[(table["criterion"] == c) & table["value"].notna()].nlargest(1, "value").iloc[0] for c in curves
        }
        peaks = "; ".join(f"{CRITERIA.get(c, (c,))[0]} largest at K = {row['k']:.0f}" for c, row in best.items())
        blocks.append(
            Picture(
                f"{method}_k_selection",
                draw_png(draw, height=2.8 * -(-len(curves) // 3)),
                f"Criteria over the number of clusters; K = {k} was chosen. {peaks}.",
                "On the embedding before the clustering phase. Bars: one standard error. Dashed: the K in use. "
                "The gap is compared by its one-standard-error rule, not by its maximum.",
                table,
            )
        )
    rest = table[~table["criterion"].isin(curves) & table["value"].notna()]
    rows = tuple((r.criterion.replace("_", " "), number(r.k, 0), number(r.value, 3), r.note) for r in rest.itertuples())
    if rows:
        blocks.append(Table("Tests beside the curves", ("Criterion", "K", "Value", "Note"), rows))
    return Section(anchor, title, short, tuple(blocks))


def embedding_section(results: Results, method: str) -> Section:
    """Principal components before and after clustering, by cluster and by scanner."""
    anchor, title, short = f"{method}-embedding", f"{method_name(method)}: embedding", "Embedding"
    table, assignment = results.table(f"{method}/embedding.tsv"), results.table(f"{method}/assignment.tsv")
    phases = [] if table is None else phases_of(table)
    if not phases:
        return Section(anchor, title, short, (Paragraph("No embedding was found."),))
    scanner = assignment["subject"].map(results.scanners()).fillna("not stated")
    common = scanner.value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:MOST_SCANNERS]
    labels = assignment[["subject", "cluster"]].assign(scanner=scanner.where(scanner.isin(common), "other"))
    shown = [*common, "other"] if (labels["scanner"] == "other").any() else list(common)
    points, shares = embedding_points(table, labels)
    clusters = clusters_of(assignment)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(phases), 2, squeeze=False)
        for line, phase in zip(axes, phases, strict=True):
            n = len(points[phase])
            for ax, column, groups, names in (
                (line[0], "cluster", clusters, [f"cluster {c}" for c in clusters]),
                (line[1], "scanner", shown, shown),
            ):
                heading = f"{phase} clustering, by {column} (n = {n})"
                style = {"column": column, "names": names, "title": heading, "explained_percent": shares[phase]}
                style["first_colour"] = 5 if column == "scanner" else 1  # other colours than the clusters'
                plot_groups(ax, points[phase], groups, **style)

    words = "; ".join(f"{p}: {shares[p][0]:.0f} and {shares[p][1]:.0f} % of the variance" for p in phases)
    picture = Picture(
        f"{method}_embedding",
        draw_png(draw, height=3.5 * len(phases)),
        f"Scatter plots of the first two principal components of the embedding ({words}), coloured by cluster and by "
        "scanner.",
        "Principal components are fitted for each row by themselves. Separation after clustering is what the loss asks "
        "for and proves nothing; look at the row before. Points that group by scanner are a warning.",
        pd.concat(points.values(), ignore_index=True),
    )
    return Section(anchor, title, short, (picture,))


def phases_of(embedding: pd.DataFrame) -> list[str]:
    """Which of before and after the clustering phase embedding.tsv holds."""
    return [phase for phase in ("before", "after") if (embedding["phase"] == phase).any()]


def embedding_points(
    embedding: pd.DataFrame, labels: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], dict[str, tuple[float, float]]]:
    """Each phase's pc1 and pc2 by subject beside the columns of ``labels``, and the percent of variance of both."""
    points, shares = {}, {}
    for phase in phases_of(embedding):
        part = embedding[embedding["phase"] == phase]
        z = part[[c for c in part if c.startswith("z_")]].to_numpy(float)
        scores, shares[phase] = principal_components(z)
        frame = pd.DataFrame({"subject": part["subject"].to_numpy(), "pc1": scores[:, 0], "pc2": scores[:, 1]})
        points[phase] = frame.merge(labels, on="subject").assign(phase=phase)
    return points, shares


def principal_components(z: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Scores (n, 2) and percent of variance of the first two components of (n, d); the largest loading is positive."""
    centred = z - z.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    sign = np.sign(vt[np.arange(len(s)), np.abs(vt).argmax(axis=1)])
    scores, total = u * s * np.where(sign == 0, 1, sign), max(float((s**2).sum()), 1e-12)
    scores = np.pad(scores, ((0, 0), (0, max(0, 2 - scores.shape[1]))))[:, :2]
    percent = np.pad(100 * s**2 / total, (0, 2))
    return scores, (float(percent[0]), float(percent[1]))
