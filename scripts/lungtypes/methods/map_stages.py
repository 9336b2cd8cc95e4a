"""Every further map of a fitted model as files, and the tables that say which map is to be trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from lungtypes.maps.attribution import log_odds, n_windows, occlusion_map
from lungtypes.maps.faithfulness import (
    control_maps,
    insertion_deletion,
    paired_interval,
    rank_correlation,
    recommended,
)
from lungtypes.methods.clam_maps import ClamExplainer, explain_with
from lungtypes.methods.dcam_maps import DcamExplainer
from lungtypes.methods.dcam_stages import load_dcam
from lungtypes.methods.intensity import Intensity
from lungtypes.methods.map_groups import COLUMNS, MapGroups
from lungtypes.methods.map_kinds import (
    Explainer,
    Scan,
    Way,
    further_maps,
    mean_lung,
    mean_scan,
    passes_of,
    runner_up,
    scaled_two_sided,
)
from lungtypes.methods.model_files import load_autoencoder
from lungtypes.provenance import whole_folder, write_table
from lungtypes.randomness import derive_seed, stream

if TYPE_CHECKING:
    from lungtypes.imaging.volume_files import Cohort
    from lungtypes.imaging.volumes import CohortGrid

logger = logging.getLogger(__name__)

OCCLUSION = "occlusion"
CONTROLS = ("uniform", "random_weights", "wrong_cluster", "brightness", "departure")
FAITHFULNESS = ("subject", "cluster", "map", "kind", "insertion", "deletion", "gain", "log_odds", "log_odds_reference")
SUMMARY = ("map", "passes", "recommended", "control", "n", "gain", "control_gain", "difference", "ci_low", "ci_high")
SUMMARY += ("better",)
RANDOMISATION = ("subject", "cluster", "map", "layer", "correlation")

ToTemplate = Callable[[str, NDArray[np.float32], "CohortGrid"], NDArray[np.float32]]


@dataclass(frozen=True)
class Plan:
    """What to make. kinds : of every scan. path : points, smooth_mm. occlusion : scans (of each cluster), window_mm,
    stride_mm. faithfulness : scans (of each cluster), steps of each curve.
    """

    kinds: tuple[str, ...]
    path: Mapping[str, float]
    occlusion: Mapping[str, float]
    faithfulness: Mapping[str, int]
    seed: int

    def path_on(self, spacing_mm: float) -> Way:
        """The path's settings on a grid of that spacing."""
        return Way(int(self.path["points"]), self.path["smooth_mm"] / spacing_mm)


def compare_stage(
    folder: Path,
    explainer: Explainer,
    scans: Cohort,
    template: Cohort,
    assignment: pd.DataFrame,
    embedding: NDArray[np.float64],
    lungs: NDArray[np.bool_],
    plan: Plan,
    *,
    weights: NDArray[np.float32] | None,
    to_template: ToTemplate | None,
    reference: str,
    flag: str,
) -> None:
    """Write the maps of each kind, their group maps, and the tables on how faithful they are, into ``folder``.

    Parameters
    ----------
    scans : what the model was trained on; template : the same scans in template space, where group maps lie.
    assignment : assignment.tsv in the order of ``scans``. embedding : (N, r) after training, for the medoids.
    lungs : template lungs on the grid of ``template``. weights : (N, H) of the published maps where they are stored.
    to_template : brings a map there; None where it is there already. reference : what the maps are compared with.

    Files: maps/{kind}/{subject}.nii.gz of -1 to 1 in the scan's space; further_group_maps/{kind}_cluster{k}_mean
    and so on; maps/occlusion of the medoids; faithfulness.tsv, faithfulness_summary.tsv, map_randomisation.tsv.
    With one cluster there is nothing to tell apart: folders and tables are empty.
    """
    kinds = list(plan.kinds) if explainer.k > 1 else []
    clusters = assignment["cluster"].to_numpy(np.int64) - 1
    q = assignment.filter(regex=r"^q_\d+$").to_numpy(np.float64)
    grids = scans.grids or (scans.grid,) * len(scans.subjects)
    names = sorted({*plan.kinds, OCCLUSION})
    with ExitStack() as stack:
        places = {name: stack.enter_context(whole_folder(folder / "maps" / name)) for name in names}
        group_maps = stack.enter_context(whole_folder(folder / "further_group_maps"))
        tables = []
        groups = {
            kind: MapGroups(kind, explainer.k, tuple(template.grid.shape), keep_degenerate=False, balanced=True)
            for kind in kinds
        }
        for row, subject in enumerate(scans.subjects) if kinds else ():
            scan, cluster = explainer.scan(scans.array[row]), int(clusters[row])
            own = explainer.weights(scan, cluster) if weights is None else torch.tensor(weights[row])
            way = plan.path_on(grids[row].spacing_mm)
            found = further_maps(scan, own.to(scan.image), cluster, runner_up(q[row], cluster), kinds, way)
            for kind, raw in found.items():
                shown = scaled_two_sided(explainer.on_grid(raw, scans.array.shape[1:]))
                grids[row].write_image(places[kind] / f"{subject}.nii.gz", shown)
                if to_template:
                    shown = to_template(subject, shown, grids[row])
                groups[kind].add(cluster + 1, shown, repeat=scans.splits[row] == "repeat")
        for group in groups.values():
            tables.append(group.write(group_maps, template.grid, lungs))
        chosen = chosen_scans(clusters, embedding, scans.splits, plan) if kinds else {}
        rows, randomised = [], []
        for row, rank in chosen.items():
            about = {"subject": scans.subjects[row], "cluster": int(clusters[row]) + 1}
            examined = _examine(explainer, scans, row, rank, int(clusters[row]), q[row], kinds, plan, grids[row])
            if examined.occlusion is not None:
                raw = explainer.on_grid(examined.occlusion, scans.array.shape[1:])
                grids[row].write_image(places[OCCLUSION] / f"{scans.subjects[row]}.nii.gz", scaled_two_sided(raw))
            rows += [{**about, **entry} for entry in examined.rows]
            randomised += [{**about, **entry} for entry in examined.randomised]
    table = pd.DataFrame(rows, columns=list(FAITHFULNESS))
    costs = {kind: passes_of(kind, explainer, plan.path_on(1)) for kind in (explainer.name, *kinds)}
    costs[OCCLUSION] = max((entry.get("passes", 0) for entry in rows), default=0)
    summary = summarise(table, costs, explainer.name, stream(plan.seed, "maps", "intervals"))
    write_table(folder / "faithfulness.tsv", table.assign(reference=reference, flag=flag))
    write_table(folder / "faithfulness_summary.tsv", summary.assign(reference=reference, flag=flag))
    write_table(folder / "map_randomisation.tsv", pd.DataFrame(randomised, columns=list(RANDOMISATION)))
    group_table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    write_table(folder / "further_group_maps.tsv", group_table.assign(flag=flag))
    logger.info("maps: %s of %d scans; %d scans examined", ", ".join(kinds) or "none", len(scans.subjects), len(chosen))


@dataclass(frozen=True)
class _Examined:
    rows: list[dict[str, object]]
    randomised: list[dict[str, object]]
    occlusion: NDArray[np.float32] | None


def _examine(
    explainer: Explainer,
    scans: Cohort,
    row: int,
    rank: int,
    cluster: int,
    q: NDArray[np.float64],
    kinds: Sequence[str],
    plan: Plan,
    grid: CohortGrid,
) -> _Examined:
    """One scan; ``rank`` 0 is the cluster's medoid, on which layers are drawn anew, too."""
    scan, subject = explainer.scan(scans.array[row]), scans.subjects[row]
    score, other = log_odds(cluster), runner_up(q, cluster)
    way = plan.path_on(grid.spacing_mm)
    maps = _maps_of(explainer, scan, cluster, other, kinds, way)
    entries = {name: {"kind": "map"} for name in maps}
    occluded = None
    if rank < plan.occlusion["scans"]:
        windows = {name: max(1, round(plan.occlusion[f"{name}_mm"] / grid.spacing_mm)) for name in ("window", "stride")}
        inside = torch.from_numpy(scan.inside).to(scan.image.device)
        occluded = occlusion_map(scan.view, scan.image, scan.reference, inside, score, **windows, chunk=explainer.chunk)
        maps[OCCLUSION] = occluded
        entries[OCCLUSION] = {"kind": "map", "passes": n_windows(inside, **windows) + 1}
    with torch.no_grad():
        channels = scan.view.activations(scan.image)
        size = tuple(scan.image.shape[2:])
        ends = [float(score(scan.view.log_q_of(image))) for image in (scan.image, scan.reference)]
    rng = stream(plan.seed, "maps", subject, "controls")
    controls = control_maps(
        scan.image, scan.reference, channels, lambda small: scan.view.upsampled(small, size), rng=rng
    )
    wrong = explainer.weights(scan, other)
    controls["wrong_cluster"] = explainer.published(scan, other, wrong)
    maps |= controls
    rows = []
    for name, values in maps.items():
        found = insertion_deletion(
            values,
            scan.image,
            scan.reference,
            scan.inside,
            lambda images: score(scan.view.log_q_of(images)),
            steps=plan.faithfulness["steps"],
            chunk=explainer.chunk,
            rng=stream(plan.seed, "maps", subject, "ties"),
        )
        entry = {"map": name, "kind": "control", **entries.get(name, {})}
        entry |= {"insertion": found.insertion, "deletion": found.deletion, "gain": found.gain}
        rows.append(entry | {"log_odds": ends[0], "log_odds_reference": ends[1]})
    randomised = []
    if rank == 0:
        for layer, drawn in explainer.randomised(derive_seed(plan.seed, "maps", "layers")):
            again = _maps_of(drawn, drawn.scan(scans.array[row]), cluster, other, kinds, way)
            for name, values in again.items():
                correlation = rank_correlation(maps[name], values, scan.inside)
                randomised.append({"map": name, "layer": layer, "correlation": correlation})
    return _Examined(rows, randomised, occluded)


def _maps_of(
    explainer: Explainer, scan: Scan, cluster: int, other: int, kinds: Sequence[str], way: Way
) -> dict[str, NDArray[np.float32]]:
    """The published map and the further ones, none of them scaled."""
    weights = explainer.weights(scan, cluster)
    published = {explainer.name: explainer.published(scan, cluster, weights)}
    return published | further_maps(scan, weights, cluster, other, kinds, way)


def explainer_of(
    method: str,
    folder: Path,
    hu: NDArray[np.int16],
    rows: NDArray[np.int64],
    *,
    device: str,
    chunk: int,
    correct_shift: bool,
) -> tuple[Explainer, str]:
    """The model of ``folder`` ready to explain, with the mean of the scans ``rows`` of ``hu`` for reference; its flag.

    chunk, correct_shift : of CLAM's published map.
    """
    if method == "clam":
        model, settings, arrays = load_autoencoder(folder)
        explained = explain_with(model, settings, arrays, device=device)
        reference = mean_scan(hu, rows, explained.intensity)
        return ClamExplainer(explained, reference, chunk, correct_shift), settings["flag"]
    model, settings = load_dcam(folder, device)
    intensity, box = Intensity(**settings["intensity"]), tuple(map(tuple, settings["box"]))
    return DcamExplainer(model, intensity, box, mean_lung(hu, rows, intensity), device, method), settings["flag"]


def chosen_scans(
    clusters: NDArray[np.int64], embedding: NDArray[np.float64], splits: Sequence[str], plan: Plan
) -> dict[int, int]:
    """Rows to look at more closely, each with its rank in its cluster: 0 is the medoid, the others are drawn.

    The medoid is the training scan with the smallest sum of distances to its cluster's training scans.
    """
    rng, chosen = stream(plan.seed, "maps", "scans"), {}
    wanted = int(max(plan.faithfulness["scans"], plan.occlusion["scans"]))
    train = np.array([split == "train" for split in splits])
    for cluster in np.unique(clusters):
        members = np.flatnonzero((clusters == cluster) & train)
        if not len(members) or not wanted:
            continue
        medoid = members[cdist(embedding[members], embedding[members]).sum(axis=1).argmin()]
        others = rng.permutation(members[members != medoid])[: wanted - 1]
        chosen |= {int(row): rank for rank, row in enumerate([medoid, *others])}
    return chosen


def summarise(table: pd.DataFrame, costs: Mapping[str, int], published: str, rng: np.random.Generator) -> pd.DataFrame:
    """One row a map and control: mean gains over the scans that have both, their difference and its 95 % interval.

    better : the interval lies above 0. recommended : the map with the largest gain of those that cost at most twice
    the published one. Maps that not all scans have (occlusion) are never recommended.
    """
    wide = table.pivot_table(index="subject", columns="map", values="gain")
    kinds = list(dict.fromkeys(table.loc[table["kind"] == "map", "map"]))
    complete = {kind: float(wide[kind].mean()) for kind in kinds if wide[kind].notna().all()}
    best = recommended(complete, costs, published) if complete else ""
    rows = []
    for kind in kinds:
        for control in CONTROLS:
            both = wide[[kind, control]].dropna()
            gap, low, high = paired_interval(both[kind].to_numpy(), both[control].to_numpy(), rng=rng)
            about = {"map": kind, "passes": costs[kind], "recommended": int(kind == best), "control": control}
            about |= {"n": len(both), "gain": both[kind].mean(), "control_gain": both[control].mean()}
            rows.append(about | {"difference": gap, "ci_low": low, "ci_high": high, "better": int(low > 0)})
    return pd.DataFrame(rows, columns=list(SUMMARY))
