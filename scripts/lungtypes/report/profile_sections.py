"""What each cluster looks like: mean CT and mean map on the same slices, what the maps cover, and single members."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lungtypes.evaluation.indices import medoid_of
from lungtypes.imaging.geometry import Volume, bounding_box, crop
from lungtypes.randomness import stream
from lungtypes.report.blocks import Block, Heading, Paragraph, Picture, Section, Table, mean_sd, method_name, number
from lungtypes.report.results import Results, clusters_of
from lungtypes.report.slices import CT_SCALE, MAP_SCALE, Cut, Scale, choose_cuts, plot_members, plot_panels
from lungtypes.report.style import draw_png

SUMMARY = {
    "active_ml": ("Activated volume (mL)", 0),
    "active_percent": ("Activated (% of the lungs)", 1),
    "active_mean_hu": ("Mean density there (HU)", 0),
    "inactive_mean_hu": ("Mean density elsewhere (HU)", 0),
    "share_right": ("Right (%)", 1),
    "share_left": ("Left (%)", 1),
    "share_upper": ("Upper zone (%)", 1),
    "share_middle": ("Middle zone (%)", 1),
    "share_lower": ("Lower zone (%)", 1),
    "uniform_correlation": ("Correlation with equal weights", 3),
}
MARGIN_MM = 8.0  # of the pictures around the lungs
N_RANDOM = 3
MEMBER_FRACTION = 0.4  # of lung height: below the carina, where the lungs are widest
POPULATIONS = {
    "subject": "All: the mean over scans, each of which counts the same.",
    "balanced": "All: the mean of the clusters' maps, each of which counts the same, whatever the cluster's size.",
}
SCALINGS = {
    "clam": "Each scan's map is scaled to 0-1 by itself before averaging.",
    "dcam": "Maps of all scans have one scale: 1 is the 99.5th percentile of the training lungs' positive values.",
}


def profile_section(results: Results, method: str, config: Mapping[str, object]) -> Section:
    """Mean CT, mean map, their differences from the population, and the table of what the maps cover."""
    assignment = results.table(f"{method}/assignment.tsv")
    clusters = clusters_of(assignment)
    sizes = {c: int((assignment["cluster"] == c).sum()) for c in clusters}
    summary = results.table(f"{method}/map_summary.tsv")
    blocks: list[Block] = []
    empty = [str(c) for c, n in sizes.items() if n == 0]
    if empty:
        blocks.append(Paragraph(f"Without members, and so without pictures: cluster {', '.join(empty)}.", "warning"))
    blocks += _ct_blocks(results, method, group_counts(results, method, sizes, "n"))
    blocks += _map_blocks(
        results, method, group_counts(results, method, sizes, "n_maps"), population_map(config, method)
    )
    if summary is not None and len(summary):
        shares = _with_shares(summary, results.table(f"{method}/map_regions.tsv"))
        blocks += [Heading("What the maps cover"), _summary_table(shares, clusters)]
        blocks.append(
            Paragraph(
                "Mean \u00b1 SD over scans, degenerate maps left out. Activated: importance above 0.5 (ours; the paper "
                "states no threshold), inside the lungs. Shares: of the importance inside the lungs; an even map gives "
                "each zone a third. Equal weights: the map if every channel counted the same; a correlation near 1 "
                "means that the weights say little.",
                "note",
            )
        )
    blocks += _member_blocks(results, method, assignment, int(config.get("seed", 1)))
    if not blocks:
        blocks = [Paragraph("No group maps were found.")]
    return Section(f"{method}-profiles", f"{method_name(method)}: cluster profiles", "Profiles", tuple(blocks))


def group_counts(results: Results, method: str, sizes: Mapping[int, int], column: str) -> dict[int, int]:
    """Scans behind each cluster's mean CT (``n``) or mean map (``n_maps``); the cluster's size where no table says."""
    table = results.table(f"{method}/group_maps.tsv")
    if table is None:
        return dict(sizes)
    counts = table.set_index("group")[column]
    return {c: int(counts.get(f"{method}_cluster{c}", n)) for c, n in sizes.items()}


def population_map(config: Mapping[str, object], method: str) -> str:
    """Which population map is shown, as ``clam.map.population`` says."""
    section = config.get(method)
    section = section.get("map") if isinstance(section, Mapping) else None
    return str(section.get("population", "subject")) if isinstance(section, Mapping) else "subject"


def _with_shares(summary: pd.DataFrame, regions: pd.DataFrame | None) -> pd.DataFrame:
    """The rows of map_summary.tsv with the share of each region beside them."""
    if regions is None:
        return summary
    shares = regions.pivot(index="subject", columns="region", values="share").add_prefix("share_")
    return summary.join(shares, on="subject")


def _ct_blocks(results: Results, method: str, sizes: Mapping[int, int]) -> list[Block]:
    folder = f"{method}/group_maps"
    files = {f"cluster {c}\nn = {n}": f"{folder}/ct_mean_cluster{c}.nii.gz" for c, n in sizes.items()}
    population = f"{folder}/ct_mean_population.nii.gz"
    what = "mean CT density"
    blocks = panel_blocks(
        results, {f"all\nn = {sum(sizes.values())}": population, **files}, f"{method}_mean_ct", CT_SCALE, what
    )
    if len(sizes) > 1:
        scale = Scale("PuOr_r", -200.0, 200.0, "difference (HU)", centred=True, masked=True)
        blocks += panel_blocks(results, files, f"{method}_ct_difference", scale, what, less=population)
    return [Heading("Mean CT"), *blocks] if blocks else []


def _map_blocks(results: Results, method: str, counts: Mapping[int, int], population: str) -> list[Block]:
    start = f"{method}/group_maps/{method}"
    files = {f"cluster {c}\nn = {n}": f"{start}_cluster{c}_mean.nii.gz" for c, n in counts.items()}
    everyone = f"{start}_population_{population}_mean.nii.gz"
    scaling = "" if population not in POPULATIONS else SCALINGS["clam" if method == "clam" else "dcam"]
    what, note = f"mean {method_name(method)} importance", f"{POPULATIONS.get(population, '')} {scaling}".strip()
    name = f"all\nn = {sum(counts.values())}"
    blocks = panel_blocks(results, {name: everyone, **files}, f"{method}_mean_map", MAP_SCALE, what, note=note)
    if len(counts) > 1:
        scale = Scale("PuOr_r", -0.3, 0.3, "difference of importance", centred=True, masked=True)
        note = note.replace("All:", "Population:")
        blocks += panel_blocks(results, files, f"{method}_map_difference", scale, what, less=everyone, note=note)
    return [Heading(f"Mean {method_name(method)} map"), *blocks] if blocks else []


def panel_blocks(
    results: Results,
    files: Mapping[str, str],
    name: str,
    scale: Scale,
    what: str,
    *,
    less: str | None = None,
    note: str = "",
) -> list[Block]:
    """One picture of all files that exist, cropped to the lungs; ``less`` is subtracted from each; note : captions."""
    volumes = {label: results.volume(file) for label, file in files.items()}
    volumes = {label: volume for label, volume in volumes.items() if volume is not None}
    base = None if less is None else results.volume(less)
    if not volumes or (less is not None and base is None):
        return []
    grid = next(iter(volumes.values()))
    lungs = grid.with_array(results.lungs_on(grid))
    lungs, *images = cropped_to(lungs, [lungs, *volumes.values(), *([] if base is None else [base])])
    subtracted = 0.0 if base is None else images.pop().array
    arrays = {label: image.array - subtracted for label, image in zip(volumes, images, strict=True)}
    cuts = choose_cuts(lungs.array)

    def draw(figure: Figure) -> None:
        style = {"spacing_mm": lungs.spacing_mm, "scale": scale, "lungs": lungs.array}
        plot_panels(figure, arrays, cuts, outline=not scale.masked, **style)

    rows = [
        {
            "group": label.split("\n")[0],
            "n": int(label.split("= ")[1]),
            "file": files[label],
            "less": less or "",
            "plane": cut.plane,
            "fraction": cut.fraction,
            "lung_mean": _mean_inside(array, lungs.array, cut),
        }
        for label, array in arrays.items()
        for cut in cuts
    ]
    data = pd.DataFrame(rows)
    means = data.groupby("group", sort=False)["lung_mean"].mean()
    digits = 0 if "HU" in scale.label else 2
    words = ", ".join(f"{group} {number(value, digits)}" for group, value in means.items())
    shown = f"{what} minus the population's" if less else what
    alt = f"{shown[0].upper()}{shown[1:]} on three axial slices and one coronal slice. Mean inside the lungs on these "
    alt += f"slices: {words}. R and L mark the patient's right (left of the image) and left."
    digits, unit = (0, " HU") if "HU" in scale.label else (1, "")
    limits = f"{number(scale.low, digits)} to {number(scale.high, digits)}{unit}"
    caption = f"{shown[0].upper()}{shown[1:]}, template space, same slices and same scale ({limits}) in every row."
    if less:
        caption += " White: as in the population. A difference has no test here: small groups differ by chance."
    elif scale.masked:
        caption += " Grey: outside the lungs."
    else:
        caption += " Blue line: lungs of the template; flat dark grey: no lung there in any scan."
    caption += f" {note}" if note else ""
    return [Picture(name, draw_png(draw, height=0.35 + 1.75 * len(arrays)), alt, caption, data)]


def cropped_to(lungs: Volume, volumes: list[Volume]) -> list[Volume]:
    """The volumes (one grid) cut to the box of the lungs; whole without lungs."""
    if not lungs.array.any():
        return volumes
    box = bounding_box(lungs.array > 0, lungs.spacing_mm, MARGIN_MM)
    return [crop(volume, box) for volume in volumes]


def _mean_inside(array: NDArray, lungs: NDArray, cut: Cut) -> float:
    values = cut.of(array)[cut.of(lungs) > 0]
    return float(values.mean()) if values.size else float("nan")


def _summary_table(summary: pd.DataFrame, clusters: tuple[int, ...]) -> Table:
    columns = {name: words for name, words in SUMMARY.items() if name in summary}
    rows = []
    for group in (*clusters, None):
        part = summary if group is None else summary[summary["cluster"] == group]
        name = "All" if group is None else f"Cluster {group}"
        factors = [100.0 if c.startswith("share_") else 1.0 for c in columns]
        cells = [mean_sd(part[c] * f, d) for (c, (_, d)), f in zip(columns.items(), factors, strict=True)]
        rows.append((name, str(len(part)), *cells))
    header = ("Cluster", "n", *[words for words, _ in columns.values()])
    return Table("Activated volume, its density, and where the importance lies", header, tuple(rows))


def chosen_members(
    results: Results, method: str, assignment: pd.DataFrame, seed: int, *, medoids: bool
) -> pd.DataFrame:
    """Up to three random members of each cluster, ``medoids``: after its medoid. Columns cluster, role, subject.

    The medoid has the smallest sum of distances to its cluster in the embedding that was clustered. Further scans of
    one person (split ``repeat``) are no members of their own.
    """
    assignment = assignment[assignment["split"] != "repeat"]
    embedding = results.table(f"{method}/embedding.tsv") if medoids else None
    rows = []
    for cluster in clusters_of(assignment):
        members = assignment.loc[assignment["cluster"] == cluster, "subject"].tolist()
        if not members:
            continue
        medoid = None
        if embedding is not None:
            phase = "after" if (embedding["phase"] == "after").any() else "before"
            part = embedding[(embedding["phase"] == phase) & embedding["subject"].isin(members)]
            z = part[[c for c in part if c.startswith("z_")]].to_numpy(float)
            if len(z):
                medoid = part["subject"].iloc[medoid_of(z)]
                rows.append({"cluster": cluster, "role": "medoid", "subject": medoid})
        others = sorted(set(members) - {medoid})
        rng = stream(seed, "report", "members", method, cluster)
        picks = rng.choice(len(others), size=min(N_RANDOM, len(others)), replace=False) if others else []
        rows += [{"cluster": cluster, "role": "random", "subject": others[i]} for i in picks]
    return pd.DataFrame(rows, columns=["cluster", "role", "subject"])


def _member_blocks(results: Results, method: str, assignment: pd.DataFrame, seed: int) -> list[Block]:
    chosen = chosen_members(results, method, assignment, seed, medoids=True)
    scans: dict[str, list[tuple[str, NDArray]]] = {}
    lungs = None
    for row in chosen.itertuples():
        image = results.volume(f"registered/{row.subject}/ct.nii.gz")
        if image is None:
            continue
        if lungs is None:
            lungs = image.with_array(results.lungs_on(image))
        (cut_image,) = cropped_to(lungs, [image])
        title = f"{row.subject}, {row.role}"
        scans.setdefault(f"cluster {row.cluster}", []).append((title, cut_image.array))
    if lungs is None:
        return []
    (small,) = cropped_to(lungs, [lungs])
    cuts = choose_cuts(small.array, axial=(MEMBER_FRACTION,))

    def draw(figure: Figure) -> None:
        plot_members(figure, scans, cuts, spacing_mm=small.spacing_mm, lungs=small.array)

    names = "; ".join(
        f"cluster {c}: {', '.join(f'{r.subject} ({r.role})' for r in part.itertuples())}"
        for c, part in chosen.groupby("cluster", sort=False)
    )
    n = sum(len(part) for part in scans.values())
    caption = (
        f"n = {n} scans in template space, lung window (-1350 to 150 HU): the medoid (the most central scan in the "
        f"embedding) and up to {N_RANDOM} members drawn at random (seed {seed}), not picked by eye. Blue line: lungs "
        "of the template."
    )
    alt = f"Axial and coronal slices of single scans. {names}. R and L mark the patient's right and left."
    height = 0.2 + 1.35 * len(scans)
    return [
        Heading("Members"),
        Picture(f"{method}_members", draw_png(draw, height=height, width=10.5), alt, caption, chosen, of_scans=True),
    ]
