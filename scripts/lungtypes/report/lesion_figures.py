"""Figures of lesion maps: predicted against given, and scans with heat and mask. Nothing is read or computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lungtypes.report.slices import CT_SCALE, Cut, Scale, plot_slice
from lungtypes.report.style import ACCENT, CLUSTER_COLOURS, NEUTRAL

HEAT_SCALE = Scale("magma", 0.0, 1.0, "lesion map (0-1)")
MOST_OPAQUE = 0.75  # of the heat over the CT; weaker heat is more transparent
# split: colour, marker, filled; held-out scans stand out without colour, too
SPLIT_STYLES = {
    "train": (NEUTRAL, "o", False),
    "test": (CLUSTER_COLOURS[0], "D", True),
    "repeat": (CLUSTER_COLOURS[1], "^", False),
}
COLUMNS = ("CT", "lesion map over CT", "lesion mask (blue line)")


@dataclass(frozen=True)
class LesionSlice:
    """One scan at one cut: arrays (Z, Y, X) on one grid. ct in HU, heat 0-1; mask, and truth if known, bool."""

    title: str
    ct: NDArray
    heat: NDArray
    mask: NDArray
    cut: Cut
    spacing_mm: tuple[float, float, float]
    truth: NDArray | None = None


def plot_predicted(ax: Axes, rows: pd.DataFrame, *, names: dict[str, str]) -> None:
    """Predicted against given percentages (0-100), a point a region, on the line of equality; ``names`` of splits.

    rows : given, predicted, split.
    """
    top = max(float(rows[["given", "predicted"]].max().max()) * 1.05, 1.0)
    ax.plot([0, top], [0, top], color="black", lw=0.8, ls="--", label="equal")
    for split, part in _by_split(rows):
        colour, marker, filled = SPLIT_STYLES[split]
        face = colour if filled else "none"
        ax.plot(part["given"], part["predicted"], marker, ms=4, color=colour, mfc=face, alpha=0.8,
                label=f"{names[split]} (n = {len(part)})")  # fmt: skip
    ax.set_xlim(-0.03 * top, top)
    ax.set_ylim(-0.03 * top, top)
    ax.set_xlabel("given (% of the region)")
    ax.set_ylabel("predicted (% of the region)")
    ax.legend(loc="best")


def plot_graded(ax: Axes, rows: pd.DataFrame, *, edges: Sequence[float], names: dict[str, str]) -> None:
    """Predicted percentages of regions over their given grades; a grey box is what the grade allows.

    rows : given (the grade), predicted, split. edges : of the grades, in percent.
    """
    for grade, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        ax.add_patch(Rectangle((grade - 0.42, low), 0.84, high - low, color="#DDE3E8", lw=0))
    parts = _by_split(rows)
    for place, (split, part) in enumerate(parts):
        colour, marker, filled = SPLIT_STYLES[split]
        face = colour if filled else "none"
        # splits side by side, and golden-ratio steps within them instead of random jitter
        steps = (np.arange(len(part)) * 0.6180339887) % 1.0 - 0.5
        x = part["given"].to_numpy(float) + 0.7 * ((place + 0.5 + 0.8 * steps) / len(parts) - 0.5)
        ax.plot(x, part["predicted"], marker, ms=3.5, color=colour, mfc=face, alpha=0.8,
                label=f"{names[split]} (n = {len(part)})")  # fmt: skip
    bounds = [f"{g}\n{low:g}-{high:g} %" for g, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True))]
    ax.set_xticks(range(len(bounds)), bounds)
    ax.set_xlim(-0.6, len(bounds) - 0.4)
    ax.set_ylim(-2, 102)
    ax.set_xlabel("given grade")
    ax.set_ylabel("predicted (% of the region)")
    ax.legend(loc="upper left")


def plot_lesions(figure: Figure, scans: Sequence[LesionSlice]) -> None:
    """A row a scan, each at its own cut: CT, the heat over it, the border of the mask; a dashed line is the truth."""
    axes = figure.subplots(len(scans), len(COLUMNS), squeeze=False)
    cmap = matplotlib.colormaps[HEAT_SCALE.cmap]
    for line, scan in zip(axes, scans, strict=True):
        style = {"spacing_mm": scan.spacing_mm, "scale": CT_SCALE}
        for ax in line[:2]:
            plot_slice(ax, scan.ct, scan.cut, **style)
        heat = np.clip(scan.cut.of(scan.heat).astype(float), 0, 1)
        colours = cmap(HEAT_SCALE.norm()(heat))
        colours[..., 3] = MOST_OPAQUE * heat
        line[1].imshow(colours, aspect=scan.cut.aspect(scan.spacing_mm), interpolation="nearest")
        plot_slice(line[2], scan.ct, scan.cut, lungs=scan.mask, outline=True, **style)
        truth = np.zeros((1, 1), bool) if scan.truth is None else scan.cut.of(scan.truth) > 0
        if truth.any() and not truth.all():
            line[2].contour(truth.astype(float), levels=[0.5], colors=ACCENT, linewidths=0.9, linestyles="--")
        line[0].set_ylabel(scan.title, fontsize=8)
    for ax, title in zip(axes[0], COLUMNS, strict=True):
        ax.set_title(title)
    scale = ScalarMappable(HEAT_SCALE.norm(), cmap)
    figure.colorbar(scale, ax=axes, label=HEAT_SCALE.label, shrink=min(1.0, 1.6 / len(scans)), aspect=22, pad=0.01)


def _by_split(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(split, rows[rows["split"] == split]) for split in SPLIT_STYLES if (rows["split"] == split).any()]
