"""Heat map of clusters by reference, and bars of the confounder audit: data and axes in, nothing read or computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lungtypes.report.style import ACCENT, CLUSTER_COLOURS, NEUTRAL


def plot_confusion(ax: Axes, counts: pd.DataFrame, *, title: str) -> None:
    """Counts of scans by cluster (index) and reference level (columns); the colour is the share of the row."""
    numbers = counts.to_numpy(float)
    share = numbers / np.maximum(numbers.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), n in np.ndenumerate(numbers):
        colour = "white" if share[row, column] > 0.6 else "black"
        ax.text(column, row, f"{n:.0f}", ha="center", va="center", color=colour)
    ax.set_xticks(range(counts.shape[1]), [str(name) for name in counts.columns], rotation=20, ha="right")
    ax.set_yticks(range(len(counts)), [f"cluster {cluster:.0f}" for cluster in counts.index])
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_title(title)


def plot_bars(
    ax: Axes,
    labels: Sequence[str],
    values: Sequence[float],
    *,
    flagged: Sequence[bool],
    texts: Sequence[str],
    xlabel: str,
    limits: Sequence[float],
    limit_label: str,
) -> None:
    """Horizontal bars, first label on top, each with its own limit as a tick and a text at its end.

    values, limits : 0-1, NaN for none. flagged : bars in the colour of warnings; their labels end in a star, so that
    no reader depends on the colour.
    """
    y = np.arange(len(labels))[::-1]
    shown = np.nan_to_num(np.asarray(values, float))
    colours = [ACCENT if flag else CLUSTER_COLOURS[0] for flag in flagged]
    ax.barh(y, shown, height=0.62, color=colours)
    ax.plot(limits, y, "|", color="black", ms=13, mew=1.6, label=limit_label)
    ends = np.nanmax([shown, np.nan_to_num(np.asarray(limits, float)), np.zeros(len(shown))], axis=0)
    for row, end, text in zip(y, ends, texts, strict=True):
        ax.text(end + 0.02, row, text, va="center", fontsize=7.5, color=NEUTRAL)
    ax.axvline(0, color=NEUTRAL, lw=0.8)
    ax.set_yticks(y, [f"{label} *" if flag else label for label, flag in zip(labels, flagged, strict=True)])
    ax.set_ylim(-0.6, len(labels) - 0.4)
    ax.set_xlim(min(-0.02, float(shown.min()) - 0.05), 1.25)
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.set_xlabel(xlabel)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
