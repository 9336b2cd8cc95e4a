"""Figures 2 to 6 of the CLAM paper redone from the simulation study, and the maps of the further scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.report.blocks import Picture
from lungtypes.report.figures import plot_groups
from lungtypes.report.method_sections import principal_components
from lungtypes.report.simulation.runs import EXTRA, FACTORS, Named, Run
from lungtypes.report.slices import MAP_SCALE, OUTSIDE_GREY, Scale
from lungtypes.report.style import draw_png

SLICE_SCALE = Scale("gray", -1050.0, -250.0, "CT density (HU)", masked=True)
OUTLINE = "#56B4E9"
OUTSIDE_BLUE = "#DCE6F1"  # no grey of a slice
MARGIN_PX = 2  # around the lung's box
BARS_MM = (50.0, 20.0, 10.0, 5.0)  # the longest that fits
VIEW = "Patient's right lung, axial, front on top"
CLUSTERS = range(1, 6)
PANEL_INCHES = 1.43


@dataclass(frozen=True)
class Panel:
    """One image (Y, X) in its lung; disc : the planted lesion's outline."""

    values: NDArray
    lung: NDArray[np.bool_]
    disc: NDArray[np.bool_] | None = None
    title: str = ""


def examples_picture(named: Named, *, spacing_mm: float) -> Picture | None:
    """Figure 2: one image of each true cluster, for each factor with five clusters."""
    rows = {}
    for factor, run in _five(named).items():
        hu, lung, discs = (run.array(name) for name in ("hu", "lung", "discs"))
        rows[factor] = [Panel(hu[i], lung, discs[i]) for i in _examples(run)]
    if not rows:
        return None
    caption = (
        "Figure 2 of the paper: simulated slices, one of each true cluster, where the intensity, the location or the "
        f"size of the lesion varies. Blue: outline of the planted disc. {VIEW}; pale blue is no lung."
    )
    alt = f"Slices of the lung in HU for {', '.join(rows)}, five true clusters each, the lesion outlined."
    png = _grid_png(rows, _clusters("true cluster"), scale=SLICE_SCALE, spacing_mm=spacing_mm)
    return Picture("figure2_examples", png, alt, caption, _shown(named, rows))


def features_picture(runs: Sequence[Run]) -> Picture | None:
    """Figure 3: principal components of the features before clustering, and after it with each K, for location-3."""
    if not runs:
        return None
    run = runs[0]
    classes = run.images["true_cluster"].to_numpy()
    phases = {"before clustering": run.array("before")}
    phases |= {f"after, K = {k}" + (" (true)" if k == run.true_k else ""): run.array(f"after_{k}") for k in run.fitted}
    frames, shares = {}, {}
    for name, features in phases.items():
        scores, shares[name] = principal_components(features.astype(np.float64))
        frames[name] = pd.DataFrame({"pc1": scores[:, 0], "pc2": scores[:, 1], "true": classes})
    groups = sorted(set(classes.tolist()))
    columns = min(len(phases), 4)
    lines = -(-len(phases) // columns)

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        for ax in axes[len(phases) :]:
            ax.set_visible(False)
        for ax, (name, frame) in zip(axes, frames.items(), strict=False):
            names = [f"true cluster {c}" for c in groups]
            style = {"column": "true", "names": names, "title": name, "explained_percent": shares[name]}
            plot_groups(ax, frame, groups, **style)
            ax.set_xlabel(f"component 1 ({shares[name][0]:.0f} %)")
            ax.set_ylabel(f"component 2 ({shares[name][1]:.0f} %)")
            if ax is not axes[0]:
                ax.get_legend().remove()

    missing = "" if len(run.fitted) > 1 else " Only the true K was fitted."
    caption = (
        f"Figure 3 of the paper: first two principal components of the features (share of the variance) of "
        f"{run.scenario}, n = {len(classes)}, seed {run.seed}, coloured by true cluster; fitted anew for each panel. "
        f"After the clustering phase the features form the number of groups that was asked for.{missing}"
    )
    alt = f"Scatter plots of the features of {run.scenario}: {', '.join(phases)}."
    height = 0.4 + 2.4 * lines
    table = pd.concat([frame.assign(phase=name) for name, frame in frames.items()], ignore_index=True)
    return Picture("figure3_features", draw_png(draw, height=height), alt, caption, table)


def population_picture(named: Named, *, spacing_mm: float) -> Picture | None:
    """Figure 4: the average image in HU and the average map, for each factor with five clusters."""
    images, maps = {}, {}
    for factor, run in _five(named).items():
        lung, outline = run.array("lung"), np.logical_or.reduce(list(run.true_discs().values()))
        images[factor] = Panel(run.array("hu").mean(axis=0), lung, outline)
        maps[factor] = Panel(run.population_map(), lung, outline)
    if not images:
        return None
    tops = {factor: float(panel.values[panel.lung].max()) for factor, panel in maps.items()}

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, len(images), squeeze=False)
        image = _draw_row(upper, list(images.values()), "average image", scale=SLICE_SCALE, spacing_mm=spacing_mm)
        figure.colorbar(image, ax=upper, label=SLICE_SCALE.label, aspect=20, pad=0.01)
        _draw_row(lower, [], "average CLAM", scale=MAP_SCALE, spacing_mm=spacing_mm)
        for ax, (factor, panel) in zip(lower, maps.items(), strict=True):
            scale = Scale(MAP_SCALE.cmap, 0.0, tops[factor] or 1.0, "mean importance", masked=True)
            image = plot_lung(ax, panel, scale=scale)
            figure.colorbar(image, ax=ax, label=scale.label, location="bottom", aspect=18, pad=0.02, shrink=0.85)
        for ax, factor in zip(upper, images, strict=True):
            ax.set_title(factor)

    caption = (
        "Figure 4 of the paper: average of all images and of all maps, five true clusters. Mean over images; the "
        "paper's formula differs by a constant. Each map has its own scale, which ends at its largest value. "
        f"Blue: outlines of the planted discs. {VIEW}."
    )
    alt = "Average image and average activation map; largest mean importance: "
    alt += ", ".join(f"{factor} {top:.2f}" for factor, top in tops.items()) + "."
    png = draw_png(draw, height=6.0, width=1.5 + 1.7 * len(images))
    return Picture("figure4_population", png, alt, caption, _shown(named, images))


def cluster_maps_picture(named: Named, *, spacing_mm: float) -> Picture | None:
    """Figure 5: the average map of each cluster, for each factor with five clusters."""
    rows = {factor: _cluster_panels(run) for factor, run in _five(named).items()}
    if not rows:
        return None
    caption = (
        "Figure 5 of the paper: average map of the images assigned to each cluster; clusters carry the number of the "
        "true cluster that they match. A map of 1 everywhere means: the same pixel leads in every image. Blue: outline "
        f"of that true cluster's disc. {VIEW}."
    )
    alt = f"Average activation maps of five clusters each, for {', '.join(rows)}, with the planted discs outlined."
    png = _grid_png(rows, _clusters("cluster"), scale=MAP_SCALE, spacing_mm=spacing_mm)
    return Picture("figure5_cluster_maps", png, alt, caption, _shown(named, rows))


def single_maps_picture(named: Named, *, spacing_mm: float) -> Picture | None:
    """Figure 6: the maps of the images of figure 2."""
    rows = {}
    for factor, run in _five(named).items():
        maps, lung, discs = (run.array(name) for name in ("importance", "lung", "discs"))
        found = run.images["cluster"].to_numpy()
        chosen = _examples(run)
        titles = ["" if found[i] == c else f"in cluster {found[i]}" for c, i in zip(CLUSTERS, chosen, strict=False)]
        rows[factor] = [Panel(maps[i], lung, discs[i], title) for i, title in zip(chosen, titles, strict=True)]
    if not rows:
        return None
    caption = (
        "Figure 6 of the paper: maps of the single images of figure 2, each for the cluster that it was assigned to, "
        f"each scaled to 0-1 by itself. Blue: outline of the planted disc. {VIEW}."
    )
    alt = f"Activation maps of single images for {', '.join(rows)}, five true clusters each."
    png = _grid_png(rows, _clusters("true cluster"), scale=MAP_SCALE, spacing_mm=spacing_mm)
    return Picture("figure6_single_maps", png, alt, caption, _shown(named, rows))


def extra_maps_picture(named: Named, *, spacing_mm: float) -> Picture | None:
    """The average map of each cluster in the scenarios that the paper leaves out."""
    rows = {name: _cluster_panels(named[name][0]) for name in EXTRA if name in named}
    if not rows:
        return None
    width = max(len(panels) for panels in rows.values())
    caption = (
        "Average map of each cluster in the scenarios that the paper leaves out, as in figure 5; where nothing was "
        "planted, for the number of clusters that was chosen."
    )
    alt = f"Average activation maps of the clusters of {', '.join(rows)}."
    names = [f"cluster {c}" for c in range(1, width + 1)]
    png = _grid_png(rows, names, scale=MAP_SCALE, spacing_mm=spacing_mm)
    return Picture("extra_cluster_maps", png, alt, caption, _shown(named, rows))


def _five(named: Named) -> dict[str, Run]:
    """The first seed of each factor's scenario with five clusters."""
    return {factor: named[f"{factor}-5"][0] for factor in FACTORS if f"{factor}-5" in named}


def _clusters(noun: str) -> list[str]:
    return [f"{noun} {c}" for c in CLUSTERS]


def _examples(run: Run) -> list[int]:
    """Index of one image of each true cluster: the first that is in the right cluster, or else the first."""
    indices = []
    for c in sorted(run.images["true_cluster"].unique()):
        members = (run.images["true_cluster"] == c).to_numpy()
        right = members & (run.images["cluster"] == c).to_numpy()
        indices.append(int(np.flatnonzero(right if right.any() else members)[0]))
    return indices


def _cluster_panels(run: Run) -> list[Panel | None]:
    """A panel for each true cluster, None where no image was assigned to it; then those that match none."""
    maps, lung, discs = run.cluster_maps(), run.array("lung"), run.true_discs()
    sizes = run.images["cluster"].value_counts()
    if run.true_k == 1:
        return [Panel(values, lung, title=f"n = {sizes[c]}") for c, values in maps.items()]
    return [Panel(maps[c], lung, disc, f"n = {sizes[c]}") if c in maps else None for c, disc in discs.items()]


def _shown(named: Named, rows: Mapping[str, object]) -> pd.DataFrame:
    names = [name if name in named else f"{name}-5" for name in rows]
    return pd.DataFrame({"scenario": names, "seed": [named[name][0].seed for name in names]})


def _grid_png(
    rows: Mapping[str, Sequence[Panel | None]], columns: Sequence[str], *, scale: Scale, spacing_mm: float
) -> bytes:
    first = next(panel for panels in rows.values() for panel in panels if panel is not None)
    height, width = first.lung[_box(first.lung)].shape
    inches = PANEL_INCHES * 5 / max(len(columns), 5)
    row = min(inches * height / width, 2.6) + 0.28

    def draw(figure: Figure) -> None:
        _draw_grid(figure, rows, columns, scale=scale, spacing_mm=spacing_mm)

    return draw_png(draw, height=0.3 + row * len(rows))


def _draw_grid(
    figure: Figure,
    rows: Mapping[str, Sequence[Panel | None]],
    columns: Sequence[str],
    *,
    scale: Scale,
    spacing_mm: float,
) -> None:
    """A row for each name, one colour bar for all, a length bar in the first panel of each row."""
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    image = None
    for line, (name, panels) in zip(axes, rows.items(), strict=True):
        image = _draw_row(line, panels, name, scale=scale, spacing_mm=spacing_mm) or image
    for ax, name in zip(axes[0], columns, strict=True):
        ax.set_title(", ".join(text for text in (name, ax.get_title()) if text), fontsize=8.5)
    figure.colorbar(image, ax=axes, label=scale.label, shrink=min(1.0, 2.0 / len(rows)), aspect=25, pad=0.01)


def _draw_row(
    line: Sequence[Axes], panels: Sequence[Panel | None], name: str, *, scale: Scale, spacing_mm: float
) -> AxesImage | None:
    """Fill one row of axes; None where it has no image at all."""
    image = None
    for ax in line:
        _bare(ax)
    for ax, panel in zip(line, panels, strict=False):  # what is left over stays empty
        if panel is None:
            ax.text(0.5, 0.5, "no image", ha="center", va="center", transform=ax.transAxes)
            continue
        image = plot_lung(ax, panel, scale=scale)
    line[0].set_ylabel(name)
    if panels and panels[0] is not None:
        _length_bar(line[0], panels[0], spacing_mm)
    return image


def plot_lung(ax: Axes, panel: Panel, *, scale: Scale) -> AxesImage:
    """The lung's box of one image, grey where no lung is, the disc in a thin line."""
    box = _box(panel.lung)
    values = np.where(panel.lung & (panel.values != OUTSIDE), panel.values, np.nan)[box]
    cmap = matplotlib.colormaps[scale.cmap].with_extremes(bad=OUTSIDE_BLUE if scale.cmap == "gray" else OUTSIDE_GREY)
    image = ax.imshow(values, cmap=cmap, norm=scale.norm(), interpolation="nearest")
    disc = np.zeros((1, 1), bool) if panel.disc is None else panel.disc[box]
    if disc.any() and not disc.all():
        ax.contour(disc.astype(float), levels=[0.5], colors=OUTLINE, linewidths=0.9)
    ax.set_title(panel.title, fontsize=8)
    return image


def _box(lung: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
    (top, bottom), (left, right) = ((line[0], line[-1] + 1) for line in (rows, columns))
    return (
        slice(max(0, int(top) - MARGIN_PX), int(bottom) + MARGIN_PX),
        slice(max(0, int(left) - MARGIN_PX), int(right) + MARGIN_PX),
    )


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _length_bar(ax: Axes, panel: Panel, spacing_mm: float) -> None:
    height, width = panel.lung[_box(panel.lung)].shape
    fitting = [length for length in BARS_MM if length < 0.6 * width * spacing_mm]
    length = fitting[0] if fitting else BARS_MM[-1]
    x, y = 0.5, height - 2.0
    halo = [withStroke(linewidth=3.2, foreground="white")]
    ax.plot([x, x + length / spacing_mm], [y, y], color="black", lw=2, path_effects=halo, solid_capstyle="butt")
    ax.text(x, y - 0.8, f"{length:g} mm", fontsize=7, va="bottom", path_effects=halo)
