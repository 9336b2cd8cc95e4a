"""Curves of the simulation study: accuracy by scenario, silhouettes before clustering, and the sweep of fitted K."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lungtypes.report.blocks import Picture
from lungtypes.report.simulation.claims import COLLAPSED
from lungtypes.report.simulation.k_claims import PAPER_BEFORE
from lungtypes.report.simulation.runs import FACTORS, PAPER, Named, Run, fits_table
from lungtypes.report.style import ACCENT, CLUSTER_COLOURS, NEUTRAL, draw_png

ROUTES = {
    "accuracy": ("CLAM", "o", CLUSTER_COLOURS[0]),
    "accuracy_kmeans": ("k-means before clustering", "s", CLUSTER_COLOURS[1]),
    "accuracy_densitometry": ("k-means on densitometry", "D", NEUTRAL),
}
OFFSETS = (-0.22, 0.0, 0.22)
SEED_STEP = 0.05


def accuracy_picture(runs: Sequence[Run]) -> Picture | None:
    """Accuracy at the true K: one dot a seed, for the network and for what is simpler."""
    shown = [run for run in runs if run.at_truth is not None and run.true_k > 1]
    if not shown:
        return None
    names = list(dict.fromkeys(run.scenario for run in shown))
    columns = ["scenario", "seed", "true_k", *ROUTES]
    table = pd.DataFrame([run.at_truth[columns] for run in shown]).reset_index(drop=True)

    def draw(figure: Figure) -> None:
        _plot_routes(figure.subplots(), table, names)

    lowest = table.loc[table["accuracy"].astype(float).idxmin()]
    alt = f"Accuracy at the true K of {len(names)} scenarios. Lowest of CLAM: {lowest['accuracy']:.3f} in "
    alt += f"{lowest['scenario']}, seed {lowest['seed']}."
    caption = (
        "Accuracy at the true K, one dot a seed. The line is the paper's value, given for its nine scenarios only. "
        "Data: fits.tsv."
    )
    return Picture("accuracy", draw_png(draw, height=3.4), alt, caption, table)


def silhouettes_picture(named: Named) -> Picture | None:
    """Silhouette before clustering over K, with the true K marked, for the nine scenarios."""
    if not any(name in named for name in PAPER):
        return None

    def plot(ax: Axes, name: str, runs: Sequence[Run]) -> None:
        for run in runs:
            for column, style, colour in (
                ("silhouette_kmeans", "-o", CLUSTER_COLOURS[0]),
                ("silhouette_sparse", "--s", CLUSTER_COLOURS[1]),
            ):
                label = column.replace("silhouette_kmeans", "k-means").replace("silhouette_sparse", "sparse k-means")
                label = label if run is runs[0] else None
                ax.plot(run.fits.index, run.fits[column], style, ms=3.5, lw=1.1, color=colour, label=label)
        ax.set_title(f"{name} (paper: K = {PAPER_BEFORE.get(name, int(name[-1]))})")

    png = _nine(named, plot, ylabel="silhouette")
    caption = (
        "Silhouette (-1 to 1) of the features before clustering, one line a seed; dashed red: the true K. In brackets "
        "what the paper's silhouette chose. Data: fits.tsv."
    )
    present = [run for name in PAPER for run in named.get(name, ())]
    alt = f"Silhouettes over the number of clusters in {len({run.scenario for run in present})} scenarios."
    table = fits_table(present)[["scenario", "seed", "true_k", "fitted_k", "silhouette_kmeans", "silhouette_sparse"]]
    return Picture("silhouettes_before", png, alt, caption, table)


def sweep_picture(named: Named) -> Picture | None:
    """Accuracy and largest share of one cluster over the fitted K, where more than one was fitted."""
    swept = {name: tuple(r for r in named.get(name, ()) if len(r.fitted) > 1) for name in PAPER}
    swept = {name: runs for name, runs in swept.items() if runs}
    if not swept:
        return None

    def plot(ax: Axes, name: str, runs: Sequence[Run]) -> None:
        for run in runs:
            fits = run.fits.loc[list(run.fitted)]
            for column, style, colour, word in (
                ("accuracy", "-o", CLUSTER_COLOURS[0], "accuracy"),
                ("largest_share", "--s", CLUSTER_COLOURS[1], "largest cluster's share"),
            ):
                label = word if run is runs[0] else None
                ax.plot(fits.index, fits[column], style, ms=3.5, lw=1.1, color=colour, label=label)
        ax.axhline(COLLAPSED, color=NEUTRAL, lw=0.8, ls=":")
        ax.set_ylim(0, 1.05)
        ax.set_title(name)

    caption = (
        "Accuracy, and share of the images in the largest cluster, over the fitted number of clusters; one line a "
        f"seed, dashed red: the true K; dotted: {COLLAPSED:g}, above which they have collapsed. Data: fits.tsv."
    )
    alt = f"Accuracy and largest share over the fitted K in {len(swept)} scenarios."
    table = fits_table([run for runs in swept.values() for run in runs])
    table = table[["scenario", "seed", "true_k", "fitted_k", "accuracy", "largest_share"]].dropna()
    return Picture("sweep", _nine(swept, plot, ylabel="share (0-1)"), alt, caption, table)


def _plot_routes(ax: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    papers = [i for i, name in enumerate(names) if name in PAPER]
    for (column, (label, marker, colour)), offset in zip(ROUTES.items(), OFFSETS, strict=True):
        for i, name in enumerate(names):
            values = table.loc[table["scenario"] == name, column].to_numpy(float)
            steps = (np.arange(len(values)) - (len(values) - 1) / 2) * min(SEED_STEP, 0.18 / len(values))
            style = {"ms": 4.5, "color": colour, "mec": "none", "alpha": 0.85}
            ax.plot(i + offset + steps, values, marker, label=label if i == 0 else None, **style)
    if papers:
        ax.hlines(1.0, papers[0] - 0.5, papers[-1] + 0.5, color=ACCENT, lw=1.2, ls="--", label="paper: 1.00", zorder=0)
    for i in range(1, len(names)):
        ax.axvline(i - 0.5, color="#E5E8EB", lw=0.8, zorder=0)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(min(0.2, np.nanmin(table[list(ROUTES)].to_numpy(float)) - 0.05), 1.04)
    ax.set_ylabel("accuracy at the true K")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, handletextpad=0.2)


def _nine(named: Mapping[str, Sequence[Run]], plot, *, ylabel: str) -> bytes:
    """A row for each factor, a column for each true K, one legend; what was not run stays empty."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(3, 3, sharex=True)
        for ax, name in zip(axes.flat, PAPER, strict=True):
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            if not named.get(name):
                ax.text(0.5, 0.5, f"{name}: not run", ha="center", color=NEUTRAL, transform=ax.transAxes)
                ax.set_yticks([])
                continue
            plot(ax, name, named[name])
            ax.axvline(int(name[-1]), color=ACCENT, ls="--", lw=1.1, zorder=0)
        for ax in axes[:, 0]:
            ax.set_ylabel(ylabel)
        for ax in axes[-1]:
            ax.set_xlabel("number of clusters K")
        first = next(ax for ax in axes.flat if ax.get_legend_handles_labels()[1])
        figure.legend(*first.get_legend_handles_labels(), loc="outside upper left", ncols=2)

    return draw_png(draw, height=1.9 * len(FACTORS) + 0.4)
