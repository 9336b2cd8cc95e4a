"""One picture of a scan for human eyes: three planes with the lungs' border, HU histogram, area of each slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, require_same_grid
from lungtypes.provenance import write_table
from lungtypes.report.slices import CT_SCALE, Cut, plot_slice
from lungtypes.report.style import CLUSTER_COLOURS, draw_png

SIDES = {1: "right", 2: "left"}
SIDE_COLOURS = dict(zip(SIDES.values(), CLUSTER_COLOURS, strict=False))
BINS_HU = np.arange(-1024, 201, 24)
AXIAL = (0.8, 0.5, 0.2)  # of the lungs' height, from the base
MAX_PIXELS = 256  # in plane; a picture shows no more


def write_scan_quality(folder: Path, scan: Volume, lungs: Volume | None, *, title: str) -> None:
    """Write lungs.png, slices.tsv and histogram.tsv into ``folder``.

    Parameters
    ----------
    scan : HU, index axes along LPS. lungs : 1 right, 2 left on the same grid; None where none were accepted:
        the picture shows the scan alone, and there are no tables.

    Raises
    ------
    GeometryError : the grids differ.
    """
    if lungs is not None:
        require_same_grid(scan, lungs, "scan and lungs")
        write_table(folder / "slices.tsv", area_by_slice(lungs))
        write_table(folder / "histogram.tsv", hu_histogram(scan.array, lungs.array))
    (folder / "lungs.png").write_bytes(draw_scan(scan, lungs, title=title))


def area_by_slice(lungs: Volume) -> pd.DataFrame:
    """Area of each lung in each axial slice: columns slice (from the feet), right_mm2, left_mm2."""
    pixel = lungs.spacing_mm[1] * lungs.spacing_mm[2]
    areas = {f"{name}_mm2": (lungs.array == side).sum(axis=(1, 2)) * pixel for side, name in SIDES.items()}
    return pd.DataFrame({"slice": np.arange(len(lungs.array)), **areas})


def hu_histogram(hu: NDArray, lungs: NDArray[np.uint8]) -> pd.DataFrame:
    """Share of each lung's voxels per bin of 24 HU: columns hu (lower edge), right_percent, left_percent."""
    columns = {}
    for side, name in SIDES.items():
        values = np.clip(hu[lungs == side], BINS_HU[0], BINS_HU[-1] - 1)
        columns[f"{name}_percent"] = 100 * np.histogram(values, BINS_HU)[0] / max(values.size, 1)
    return pd.DataFrame({"hu": BINS_HU[:-1], **columns})


def draw_scan(scan: Volume, lungs: Volume | None, *, title: str) -> bytes:
    """The picture as PNG: three axial slices, one coronal and one sagittal of each lung; below them the curves."""
    labels = np.zeros(scan.array.shape, np.uint8) if lungs is None else lungs.array
    step = max(1, int(np.ceil(max(scan.array.shape[1:]) / MAX_PIXELS)))
    spacing = (scan.spacing_mm[0], scan.spacing_mm[1] * step, scan.spacing_mm[2] * step)
    cuts = _cuts(labels)

    def draw(figure: Figure) -> None:
        parts = [figure] if lungs is None else figure.subfigures(2, 1, height_ratios=[1.25, 1])
        parts[0].suptitle(title, fontsize=10)
        for ax, cut in zip(parts[0].subplots(1, len(cuts)), cuts, strict=True):
            small = Cut(cut.plane, cut.index // (1 if cut.plane == "axial" else step), cut.fraction)
            style = {"spacing_mm": spacing, "scale": CT_SCALE, "outline": True}
            plot_slice(ax, scan.array[:, ::step, ::step], small, lungs=labels[:, ::step, ::step], **style)
            ax.set_title(cut.plane, fontsize=8)
        if lungs is not None:
            left, right = parts[1].subplots(1, 2)
            _plot_histogram(left, hu_histogram(scan.array, labels))
            _plot_areas(right, area_by_slice(lungs))

    return draw_png(draw, height=2.0 if lungs is None else 3.7)


def _cuts(labels: NDArray[np.uint8]) -> list[Cut]:
    """Slices at fixed places within the lungs, or within the scan where there are none."""
    whole = [(0, n - 1) for n in labels.shape]
    extent = [_extent(labels > 0, axis) or whole[axis] for axis in range(3)]

    def at(axis: int, fraction: float, span: tuple[int, int] | None = None) -> int:
        first, last = span or extent[axis]
        return int(round(first + fraction * (last - first)))

    cuts = [Cut("axial", at(0, f), f) for f in AXIAL] + [Cut("coronal", at(1, 0.5), 0.5)]
    for side, fallback in ((1, 0.25), (2, 0.75)):
        span = _extent(labels == side, 2)
        cuts.append(Cut("sagittal", at(2, 0.5, span) if span else at(2, fallback), 0.5))
    return cuts


def _extent(mask: NDArray[np.bool_], axis: int) -> tuple[int, int] | None:
    line = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
    return (int(line[0]), int(line[-1])) if line.size else None


def _plot_histogram(ax, table: pd.DataFrame) -> None:
    for name in SIDES.values():
        ax.step(table.hu, table[f"{name}_percent"], where="post", color=SIDE_COLOURS[name], label=name)
    ax.set_xlabel("CT density in the lungs (HU)")
    ax.set_ylabel("voxels (%)")
    ax.legend()


def _plot_areas(ax, table: pd.DataFrame) -> None:
    for name in SIDES.values():
        ax.plot(table.slice, table[f"{name}_mm2"] / 100, color=SIDE_COLOURS[name], label=name)
    ax.set_xlabel("axial slice, from the feet")
    ax.set_ylabel("area (cm\u00b2)")
    ax.legend()
