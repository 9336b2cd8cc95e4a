"""Figures 7 to 9 of the CLAM paper (Ryan et al. 2020) with this cohort: axial slices from the top of the lung down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lungtypes.report.blocks import Block, Heading, Paragraph, Picture, Section
from lungtypes.report.profile_sections import POPULATIONS, chosen_members, cropped_to, group_counts, population_map
from lungtypes.report.results import Results, clusters_of
from lungtypes.report.slices import MAP_SCALE, Cut, Scale, choose_cuts, plot_panels, plot_slice
from lungtypes.report.style import draw_png

LUNG_SCALE = Scale("viridis", -950.0, -450.0, "CT density (HU)", masked=True)  # healthy lung is blue, disease yellow
SLICES = (0.85, 0.7, 0.55, 0.4, 0.25)  # of lung height, from the base
FIGURE_10 = (
    "Figure 10, the associations with lung function and questionnaires, is in the section on clinical association: "
    "its layout is not known from the text of the paper."
)


def paper_figures_section(results: Results, config: Mapping[str, object]) -> Section:
    """Mean CT (7a), mean CLAM (7b), and three random members of each cluster with CT (8) and CLAM (9)."""
    assignment = results.table("clam/assignment.tsv")
    clusters = [c for c in clusters_of(assignment) if (assignment["cluster"] == c).any()]
    sizes = {c: int((assignment["cluster"] == c).sum()) for c in clusters}
    counts = (group_counts(results, "clam", sizes, column) for column in ("n", "n_maps"))
    scans, mapped = ({f"cluster {c}": n for c, n in found.items()} for found in counts)
    population = population_map(config, "clam")
    densities = {"all": "ct_mean_population", **{f"cluster {c}": f"ct_mean_cluster{c}" for c in clusters}}
    maps = {"all": f"clam_population_{population}_mean", **{f"cluster {c}": f"clam_cluster{c}_mean" for c in clusters}}
    blocks = _mean_figure(results, densities, LUNG_SCALE, "7a", "mean CT", scans)
    blocks += _mean_figure(results, maps, MAP_SCALE, "7b", "mean CLAM", mapped, note=POPULATIONS.get(population, ""))
    blocks += _member_figure(results, assignment, int(config.get("seed", 1)))
    blocks = [Heading("CLAM paper, figures 7 to 10"), *blocks, Paragraph(FIGURE_10, "note")]
    return Section("clam-paper-figures", "CLAM: the paper's figures with this cohort", "Paper's figures", tuple(blocks))


def _mean_figure(
    results: Results,
    files: Mapping[str, str],
    scale: Scale,
    number: str,
    what: str,
    sizes: Mapping[str, int],
    *,
    note: str = "",
) -> list[Block]:
    volumes = {name: results.volume(f"clam/group_maps/{file}.nii.gz") for name, file in files.items()}
    volumes = {name: volume for name, volume in volumes.items() if volume is not None}
    if not volumes:
        return []
    grid = next(iter(volumes.values()))
    lungs = grid.with_array(results.lungs_on(grid))
    lungs, *images = cropped_to(lungs, [lungs, *volumes.values()])
    cuts = _axial(lungs.array)
    arrays = {name: image.array for name, image in zip(volumes, images, strict=True)}

    def draw(figure: Figure) -> None:
        plot_panels(figure, arrays, cuts, spacing_mm=lungs.spacing_mm, scale=scale, lungs=lungs.array)

    counts = ", ".join(f"{name} n = {n}" for name, n in sizes.items())
    caption = (
        f"Figure {number} of the paper redone: {what} of all scans and by cluster ({counts}), axial slices from the "
    )
    caption += f"top of the lung (left) to the bottom, radiological convention. {note}"
    rows = [
        {"figure": number, "group": name, "fraction": cut.fraction, "lung_mean": _lung_mean(array, lungs.array, cut)}
        for name, array in arrays.items()
        for cut in cuts
    ]
    data = pd.DataFrame(rows)
    means = ", ".join(
        f"{name} {value:.2f}" for name, value in data.groupby("group", sort=False)["lung_mean"].mean().items()
    )
    alt = f"{what} on five axial slices, one row for all scans and for each cluster. Mean inside the lungs: {means}."
    png = draw_png(draw, height=0.4 + 1.2 * len(arrays))
    return [Picture(f"clam_figure_{number}", png, alt, caption.strip(), data)]


def _member_figure(results: Results, assignment: pd.DataFrame, seed: int) -> list[Block]:
    chosen = chosen_members(results, "clam", assignment, seed, medoids=False)
    rows: list[tuple[str, list[_Panel]]] = []
    for member in chosen.itertuples():
        panels = []
        for file, scale in (
            (f"registered/{member.subject}/ct.nii.gz", LUNG_SCALE),
            (f"clam/maps/clam/{member.subject}.nii.gz", MAP_SCALE),
        ):
            volume = results.volume(file)
            if volume is None:
                break
            lungs = volume.with_array(results.lungs_on(volume))
            image, lungs = cropped_to(lungs, [volume, lungs])
            cuts = _axial(lungs.array)
            panels += [_Panel(image.array, lungs.array, cut, image.spacing_mm, scale) for cut in cuts]
        if len(panels) == 2 * len(SLICES):
            rows.append((f"cluster {member.cluster}\n{member.subject}", panels))
    if not rows:
        return []
    caption = (
        f"Figures 8 and 9 of the paper redone: up to three members of each cluster drawn at random (seed {seed}), CT "
        "on the left and CLAM of the same slices right, top of the lung first. Each map has its own scale of 0-1."
    )
    alt = f"Axial slices of {len(rows)} scans, CT beside the CLAM map: {', '.join(chosen['subject'])}."
    png = draw_png(lambda figure: _draw_members(figure, rows), height=0.4 + 0.85 * len(rows), width=11.0)
    return [Picture("clam_figures_8_9", png, alt, caption, chosen, of_scans=True)]


@dataclass(frozen=True)
class _Panel:
    """One slice of one image with its own grid and scale."""

    array: NDArray
    lungs: NDArray
    cut: Cut
    spacing_mm: tuple[float, float, float]
    scale: Scale


def _draw_members(figure: Figure, rows: Sequence[tuple[str, Sequence[_Panel]]]) -> None:
    columns = len(rows[0][1])
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, panels) in zip(axes, rows, strict=True):
        images = [
            plot_slice(ax, p.array, p.cut, spacing_mm=p.spacing_mm, scale=p.scale, lungs=p.lungs)
            for ax, p in zip(line, panels, strict=True)
        ]
        line[0].set_ylabel(name, fontsize=8)
    for ax, panel in zip(axes[0], rows[0][1], strict=True):
        ax.set_title(f"{100 * panel.cut.fraction:.0f} %", fontsize=8)
    half = columns // 2
    for image, part, panel in (
        (images[0], axes[:, :half], rows[0][1][0]),
        (images[-1], axes[:, half:], rows[0][1][-1]),
    ):
        figure.colorbar(image, ax=part, label=panel.scale.label, location="bottom", shrink=0.6, aspect=30, pad=0.01)


def _axial(lungs: NDArray) -> tuple[Cut, ...]:
    return tuple(cut for cut in choose_cuts(lungs, axial=SLICES) if cut.plane == "axial")


def _lung_mean(array: NDArray, lungs: NDArray, cut: Cut) -> float:
    values = cut.of(array)[cut.of(lungs) > 0]
    return float(values.mean()) if values.size else float("nan")
