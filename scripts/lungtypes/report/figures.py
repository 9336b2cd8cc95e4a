"""Curves, strips and scatter plots of the report: data and axes in, nothing read or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lungtypes.report.style import ACCENT, CLUSTER_COLOURS, NEUTRAL, cluster_colour, cluster_marker

JITTER = 0.16


def plot_strip(
    ax: Axes,
    groups: Mapping[str, NDArray],
    *,
    ylabel: str,
    limit: float | None = None,
    clusters: Sequence[int] | None = None,
) -> None:
    """One dot a scan for each named group, a bar at the median; ``limit`` is drawn dashed.

    clusters : the cluster of each group, for its colour; grey without.
    """
    for i, (_, values) in enumerate(groups.items()):
        found = np.sort(np.asarray(values, float))
        found = found[np.isfinite(found)]
        # a fixed pattern instead of random jitter: neighbours in value never overlap
        x = i + JITTER * np.array([-1, 0.4, -0.3, 1, 0, -0.7, 0.7])[np.arange(found.size) % 7]
        colour = NEUTRAL if clusters is None else cluster_colour(clusters[i])
        marker = "o" if clusters is None else cluster_marker(clusters[i])
        ax.plot(x, found, marker, ms=4, color=colour, alpha=0.75, mec="none")
        if found.size:
            ax.hlines(np.median(found), i - 0.28, i + 0.28, color="black", lw=1.6)
    if limit is not None:
        ax.axhline(limit, color=ACCENT, ls="--", lw=1, label=f"limit {limit:g}")
        ax.legend(loc="best")
    if limit and not any(np.nan_to_num(np.asarray(values, float)).any() for values in groups.values()):
        ax.set_ylim(-0.1 * limit, 1.3 * limit)  # all zero: the limit gives the scale
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set_xlim(-0.6, len(groups) - 0.4)
    ax.set_ylabel(ylabel)
    ax.ticklabel_format(axis="y", useOffset=False)


def plot_curve(
    ax: Axes,
    x: Sequence[float],
    y: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    limit: float | None = None,
    title: str = "",
) -> None:
    """A line with points for few values; ``limit`` is drawn dashed."""
    if not np.nan_to_num(np.asarray(y, float)).any():
        ax.set_ylim(-0.02, 1.0)  # all zero: no invented scale around it
    ax.set_title(title)
    ax.plot(x, y, "-o" if len(x) < 30 else "-", ms=4, color=CLUSTER_COLOURS[0])
    if limit is not None:
        ax.axhline(limit, color=ACCENT, ls="--", lw=1, label=f"limit {limit:g}")
        ax.legend(loc="best")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.ticklabel_format(axis="y", useOffset=False)


def plot_criterion(ax: Axes, rows: pd.DataFrame, *, chosen: int, title: str, ylabel: str) -> None:
    """One criterion over K with its standard error; ``chosen`` marks the K in use."""
    rows = rows[rows["value"].notna()].sort_values("k")
    error = rows["standard_error"].fillna(0.0)
    ax.errorbar(rows["k"], rows["value"], yerr=error, fmt="-o", ms=4, capsize=2, color=CLUSTER_COLOURS[0])
    ax.axvline(chosen, color=ACCENT, ls="--", lw=1.2)
    ax.annotate(f"K = {chosen}", (chosen, 1.0), (3, -2), xycoords=("data", "axes fraction"), color=ACCENT, va="top",
                textcoords="offset points")  # fmt: skip
    ax.set_title(title)
    ax.set_xlabel("number of clusters K")
    ax.set_ylabel(ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.08, y=0.15)


def plot_groups(
    ax: Axes,
    points: pd.DataFrame,
    groups: Sequence[object],
    *,
    column: str,
    names: Sequence[str],
    explained_percent: tuple[float, float],
    title: str,
    first_colour: int = 1,
) -> None:
    """Scatter of pc1 and pc2, one colour and marker for each of ``groups`` in ``column``."""
    for i, (group, name) in enumerate(zip(groups, names, strict=True), start=first_colour):
        part = points[points[column] == group]
        ax.scatter(
            part["pc1"],
            part["pc2"],
            s=22,
            color=cluster_colour(i),
            marker=cluster_marker(i),
            alpha=0.8,
            linewidths=0,
            label=f"{name} (n = {len(part)})",
        )
    ax.set_xlabel(f"principal component 1 ({explained_percent[0]:.0f} % of variance)")
    ax.set_ylabel(f"principal component 2 ({explained_percent[1]:.0f} %)")
    ax.set_title(title)
    ax.legend(loc="best", handletextpad=0.2)
