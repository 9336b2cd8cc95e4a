"""Figures of the clinical association: data and axes in, nothing read or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lungtypes.report.style import ACCENT, CLUSTER_COLOURS, NEUTRAL, cluster_colour, cluster_marker

JITTER = 0.3
NOTABLE_SMD = 0.1  # Austin, Stat Med 2009
FIT_STYLES = {  # column: label, marker, colour; black for what both together explain
    "r2_base": ("covariates", "|", NEUTRAL),
    "r2_cluster": ("+ cluster", "o", CLUSTER_COLOURS[0]),
    "r2_comparator": ("+ comparator", "s", CLUSTER_COLOURS[1]),
    "r2_both": ("+ both", "D", "#000000"),
}


def plot_effects(ax: Axes, rows: pd.DataFrame, *, xlabel: str) -> None:
    """Forest of standardised effects: adjusted (dots) above crude (grey squares), first row on top.

    rows : label, crude, crude_low, crude_high, adjusted, adjusted_low, adjusted_high, passed (filled when q < 0.05).
    """
    y = np.arange(len(rows))[::-1]
    for place, row in zip(y, rows.itertuples(), strict=True):
        ax.hlines(place - 0.16, row.crude_low, row.crude_high, color=NEUTRAL, lw=1.1)
        ax.plot([row.crude], [place - 0.16], "s", ms=4, color=NEUTRAL, mfc="white")
        colour = CLUSTER_COLOURS[0]
        ax.hlines(place + 0.14, row.adjusted_low, row.adjusted_high, color=colour, lw=1.8)
        ax.plot(
            [row.adjusted], [place + 0.14], "o", ms=6, color=colour, mfc=colour if row.passed else "white", zorder=3
        )
    ax.axvline(0, color="black", lw=0.8)
    ax.plot([], [], "o", ms=6, color=CLUSTER_COLOURS[0], label="adjusted, q < 0.05")
    ax.plot([], [], "o", ms=6, color=CLUSTER_COLOURS[0], mfc="white", label="adjusted, q \u2265 0.05")
    ax.plot([], [], "s", ms=4, color=NEUTRAL, mfc="white", label="crude")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    _rows_axis(ax, list(rows["label"]), xlabel)


def plot_dumbbells(fits: Axes, differences: Axes, rows: pd.DataFrame, *, predictor: str, comparator: str) -> None:
    """Adjusted R2 of the four models, and beside it the difference with its interval, on the same rows.

    rows : label, the columns of ``FIT_STYLES``, difference, ci_low, ci_high, margin.
    """
    y = np.arange(len(rows))[::-1]
    names = {"r2_cluster": f"+ {predictor}", "r2_comparator": f"+ {comparator}"}
    columns = list(FIT_STYLES)
    fits.hlines(y, rows[columns].min(axis=1), rows[columns].max(axis=1), color="#C9D0D6", lw=2.2, zorder=1)
    for column, (label, marker, colour) in FIT_STYLES.items():
        size = 9 if marker == "|" else 5
        filled = colour if column != "r2_both" else "white"
        fits.plot(rows[column], y, marker, ms=size, color=colour, mfc=filled, mew=1.6 if marker == "|" else 1.0,
                  label=names.get(column, label), zorder=3)  # fmt: skip
    fits.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=0.9, handletextpad=0.2)
    _rows_axis(fits, list(rows["label"]), "adjusted R\u00b2")
    differences.hlines(y, rows["ci_low"], rows["ci_high"], color=CLUSTER_COLOURS[0], lw=1.6)
    differences.plot(rows["difference"], y, "o", ms=5, color=CLUSTER_COLOURS[0])
    differences.axvline(0, color="black", lw=0.8)
    margin = float(rows["margin"].iloc[0])
    differences.axvline(-margin, color=ACCENT, ls="--", lw=1, label=f"margin {-margin:g}".replace("-", "\u2212"))
    differences.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _rows_axis(differences, [""] * len(rows), f"{predictor} less {comparator} (95 % CI)")


def plot_boxes(
    ax: Axes,
    groups: Mapping[str, NDArray],
    means: Mapping[str, tuple[float, float, float]],
    *,
    ylabel: str,
    title: str,
    numbers: Sequence[int],
) -> None:
    """Box and points in raw units for each named group; a black diamond at its adjusted mean (mean, low, high).

    numbers : of the groups, for their colours.
    """
    for i, ((name, values), group) in enumerate(zip(groups.items(), numbers, strict=True)):
        colour = cluster_colour(group)
        order = np.sort(values)
        # golden-ratio steps instead of random jitter: the same points at every run, evenly spread
        x = i + JITTER * (2 * ((np.arange(order.size) * 0.6180339887) % 1.0) - 1) * 0.8
        ax.plot(x, order, cluster_marker(group), ms=2.6, color=colour, alpha=0.55, mec="none", zorder=1)
        if order.size:
            ax.boxplot(
                [order],
                positions=[i],
                widths=0.62,
                showfliers=False,
                medianprops={"color": "black", "lw": 1.2},
                boxprops={"color": colour, "lw": 1.2},
                whiskerprops={"color": colour, "lw": 1.0},
                capprops={"color": colour, "lw": 1.0},
            )
        if name in means:
            mean, low, high = means[name]
            ax.errorbar(
                [i + 0.4], [mean], [[mean - low], [high - mean]], fmt="D", ms=3.6, color="black", capsize=2, lw=1
            )
    size = "n = {}" if len(groups) < 4 else "({})"  # longer ones would meet
    ax.set_xticks(range(len(groups)), [f"{name}\n{size.format(len(values))}" for name, values in groups.items()])
    ax.set_xlim(-0.6, len(groups) - 0.3)
    ax.set_ylabel(ylabel)
    ax.set_title(title)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5))


def plot_counts(ax: Axes, counts: pd.DataFrame, *, xlabel: str, ylabel: str) -> None:
    """Heat map of a table of counts: shade and second line are the percentage of the row."""
    percent = 100 * counts.div(counts.sum(axis=1).where(lambda s: s > 0), axis=0)
    ax.imshow(percent.to_numpy(float), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            share = percent.iloc[i, j]
            text = f"{counts.iloc[i, j]:.0f}" + ("" if np.isnan(share) else f"\n{share:.0f} %")
            ax.text(j, i, text, ha="center", va="center", color="white" if share > 55 else "black", fontsize=8.5)
    ax.set_xticks(range(counts.shape[1]), list(counts.columns))
    ax.set_yticks(range(counts.shape[0]), [f"{name} (n = {n:.0f})" for name, n in counts.sum(axis=1).items()])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def plot_balance(ax: Axes, labels: Sequence[str], smd: Sequence[float], *, xlabel: str) -> None:
    """Love plot: one dot per variable, filled above the customary limit of 0.1, which is drawn dashed."""
    y = np.arange(len(labels))[::-1]
    ax.hlines(y, 0, smd, color="#C9D0D6", lw=1.4)
    for place, value in zip(y, smd, strict=True):
        filled = CLUSTER_COLOURS[0] if value > NOTABLE_SMD else "white"
        ax.plot([value], [place], "o", ms=5.5, color=CLUSTER_COLOURS[0], mfc=filled)
    ax.axvline(NOTABLE_SMD, color=ACCENT, ls="--", lw=1, label=f"{NOTABLE_SMD:g}")
    ax.legend(loc="lower right", title="limit")
    _rows_axis(ax, list(labels), xlabel)
    ax.set_xlim(0, max(1.05 * float(np.max(smd)), 2 * NOTABLE_SMD))


def _rows_axis(ax: Axes, labels: Sequence[str], xlabel: str) -> None:
    ax.set_yticks(np.arange(len(labels))[::-1], labels)
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
