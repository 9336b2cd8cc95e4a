"""Every further map of a fitted model as files, and the tables that say which map is to be trusted."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lungtypes.evaluation.indices import medoid_of
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.maps.attribution import log_odds, n_windows, occlusion_map
from lungtypes.maps.faithfulness import (
    control_maps,
    insertion_deletion,
    paired_interval,
    rank_correlation,
    recommended,
)
from lungtypes.maps.localisation import localise
from lungtypes.methods.clam_maps import ClamExplainer, explain_with
from lungtypes.methods.dcam_maps import DcamExplainer
from lungtypes.methods.dcam_stages import load_dcam
from lungtypes.methods.intensity import Intensity
from lungtypes.methods.map_groups import COLUMNS, MapGroups, ToTemplate
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
    from lungtypes.imaging.lesion_masks import LesionsOn
    from lungtypes.imaging.volume_files import Cohort
    from lungtypes.imaging.volumes import CohortGrid

logger = logging.getLogger(__name__)

OCCLUSION = "occlusion"
CONTROLS = ("uniform", "random_weights", "wrong_cluster", "brightness", "departure")
FAITHFULNESS = ("subject", "cluster", "map", "kind", "insertion", "deletion", "gain", "log_odds", "log_odds_reference")
SUMMARY = ("map", "passes", "recommended", "control", "n", "gain", "control_gain", "difference", "ci_low", "ci_high")
SUMMARY += ("better",)
LOCALISATION = ("subject", "cluster", "map", "kind", "energy", "pointing", "voxel_auc", "lesion_share")
LOCALISATION_SUMMARY = ("map", "pointing", "voxel_auc", "lesion_share", "control", "n", "energy", "control_energy")
LOCALISATION_SUMMARY += ("difference", "ci_low", "ci_high", "better")
RANDOMISATION = ("subject", "cluster", "map", "layer", "correlation")


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

    def path_on(self, grid: CohortGrid) -> Way:
        """The path's settings in voxels of a grid."""
        return Way(int(self.path["points"]), self.path["smooth_mm"] / grid.spacing_mm)

    def windows_on(self, grid: CohortGrid) -> dict[str, int]:
        """Window and stride in voxels of a grid."""
        return {name: max(1, round(self.occlusion[f"{name}_mm"] / grid.spacing_mm)) for name in ("window", "stride")}


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
    lesions: LesionsOn,
    reference: str,
    flag: str,
) -> None:
    """Write the maps of each kind, their group maps, and the tables on how faithful they are, into ``folder``.

    Parameters
    ----------
    scans : what the model was trained on; template : the same scans in template space, where group maps lie.
    assignment : assignment.tsv in the order of ``scans``. embedding : (N, r) after training, for the medoids.
    lungs : template lungs on the grid of ``template``. weights : (N, H) of the published maps where they are stored.
    to_template : brings a map there; None where it is there already. lesions : the user's masks, where there are any.
    reference : what the maps are compared with.

    Files: maps/{kind}/{subject}.nii.gz of -1 to 1 in the scan's space; further_group_maps/{kind}_cluster{k}_mean
    and so on; maps/occlusion of the medoids; faithfulness.tsv, faithfulness_summary.tsv, map_randomisation.tsv;
    localisation.tsv and localisation_summary.tsv of all scans with a lesion mask.
    With one cluster there is nothing to tell apart: folders and tables are empty.
    """
    several = explainer.k > 1
    kinds = list(plan.kinds) if several else []
    clusters = assignment["cluster"].to_numpy(np.int64) - 1
    q = assignment.filter(regex=r"^q_\d+$").to_numpy(np.float64)
    grids, shape = scans.grids or (scans.grid,) * len(scans.subjects), scans.array.shape[1:]
    chosen = chosen_scans(clusters, embedding, scans.splits, plan) if several else {}
    groups = {
        kind: MapGroups(kind, explainer.k, tuple(template.grid.shape), keep_degenerate=False, balanced=True)
        for kind in kinds
    }
    rows, located, randomised, dearest = [], [], [], 0
    with ExitStack() as stack:
        places = {
            name: stack.enter_context(whole_folder(folder / "maps" / name)) for name in sorted({*plan.kinds, OCCLUSION})
        }
        group_maps = stack.enter_context(whole_folder(folder / "further_group_maps"))
        for row, subject in enumerate(scans.subjects) if several else ():
            scan, cluster, way = explainer.scan(scans.array[row]), int(clusters[row]), plan.path_on(grids[row])
            other = runner_up(q[row], cluster)
            own = explainer.weights(scan, cluster) if weights is None else torch.tensor(weights[row]).to(scan.image)
            maps = further_maps(scan, own, cluster, other, kinds, way)
            for kind, raw in maps.items():
                shown = scaled_two_sided(explainer.on_grid(raw, shape))
                grids[row].write_image(places[kind] / f"{subject}.nii.gz", shown)
                if to_template:
                    shown = to_template(subject, shown, grids[row])
                groups[kind].add(cluster + 1, shown, repeat=scans.splits[row] == "repeat")
            rank, lesion = chosen.get(row, math.inf), lesions(subject, grids[row])
            examined = rank < plan.faithfulness["scans"]
            if rank < plan.occlusion["scans"]:
                maps[OCCLUSION], passes = _occlusion(explainer, scan, cluster, plan.windows_on(grids[row]))
                dearest = max(dearest, passes)
                shown = scaled_two_sided(explainer.on_grid(maps[OCCLUSION], shape))
                grids[row].write_image(places[OCCLUSION] / f"{subject}.nii.gz", shown)
            if not examined and lesion is None:
                continue
            about = {"subject": subject, "cluster": cluster + 1}
            maps = {explainer.name: explainer.published(scan, cluster, own), **maps}
            controls = _controls(explainer, scan, other, stream(plan.seed, "maps", subject, "controls"))
            if examined:
                gains = _gains(explainer, scan, maps, controls, cluster, plan, subject)
                rows += [{**about, **entry} for entry in gains]
            if examined and rank == 0:
                again = _randomised(explainer, scans.array[row], scan, maps, cluster, other, kinds, way, plan.seed)
                randomised += [{**about, **entry} for entry in again]
            if lesion is not None:
                inside = np.asarray(scans.array[row]) != OUTSIDE
                for name, values in {**maps, **controls}.items():
                    entry = {**about, "map": name, "kind": "control" if name in controls else "map"}
                    located.append(entry | localise(explainer.on_grid(values, shape), lesion, inside))
        tables = [group.write(group_maps, template.grid, lungs) for group in groups.values()]
    table = pd.DataFrame(rows, columns=list(FAITHFULNESS))
    costs = {kind: passes_of(kind, explainer, int(plan.path["points"])) for kind in (explainer.name, *kinds)}
    summary = summarise(table, {**costs, OCCLUSION: dearest}, explainer.name, stream(plan.seed, "maps", "intervals"))
    write_table(folder / "faithfulness.tsv", table.assign(reference=reference, flag=flag))
    write_table(folder / "faithfulness_summary.tsv", summary.assign(reference=reference, flag=flag))
    places = pd.DataFrame(located, columns=list(LOCALISATION))
    repeats = [subject for subject, split in zip(scans.subjects, scans.splits, strict=True) if split == "repeat"]
    persons = places[~places["subject"].isin(repeats)]
    found = summarise_localisation(persons, stream(plan.seed, "maps", "localisation"))
    write_table(folder / "localisation.tsv", places.assign(reference=reference, flag=flag))
    write_table(folder / "localisation_summary.tsv", found.assign(reference=reference, flag=flag))
    layers = pd.DataFrame(randomised, columns=list(RANDOMISATION))
    write_table(folder / "map_randomisation.tsv", layers.assign(flag=flag))
    group_table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    write_table(folder / "further_group_maps.tsv", group_table.assign(flag=flag))
    logger.info(
        "maps: %s of %d scans; %d scans examined, %d with lesion masks",
        ", ".join(kinds) or "none",
        len(scans.subjects),
        table["subject"].nunique(),
        places["subject"].nunique(),
    )


def _occlusion(
    explainer: Explainer, scan: Scan, cluster: int, windows: Mapping[str, int]
) -> tuple[NDArray[np.float32], int]:
    """The map of one scan, not scaled, and the passes that it took."""
    inside = torch.from_numpy(scan.inside).to(scan.image.device)
    ends, score = (scan.image, scan.reference), log_odds(cluster)
    found = occlusion_map(scan.view, *ends, inside, score, **windows, chunk=explainer.chunk)
    return found, n_windows(inside, **windows) + 1


def _controls(explainer: Explainer, scan: Scan, other: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """What a map of the scan has to be better than, on the grid of the image."""
    with torch.no_grad():
        channels, size = scan.view.activations(scan.image), tuple(scan.image.shape[2:])

    def upsampled(small: torch.Tensor) -> NDArray[np.float32]:
        return scan.view.upsampled(small, size)

    wrong = explainer.published(scan, other, explainer.weights(scan, other))
    return {**control_maps(scan.image, scan.reference, channels, upsampled, rng=rng), "wrong_cluster": wrong}


def _gains(
    explainer: Explainer,
    scan: Scan,
    maps: Mapping[str, NDArray[np.float32]],
    controls: Mapping[str, NDArray[np.float32]],
    cluster: int,
    plan: Plan,
    subject: str,
) -> list[dict[str, object]]:
    """Insertion and deletion of each map of one scan, and of its controls."""
    score = log_odds(cluster)

    def score_of(images: torch.Tensor) -> torch.Tensor:
        return score(scan.view.log_q_of(images))

    with torch.no_grad():
        ends = {"log_odds": float(score_of(scan.image)), "log_odds_reference": float(score_of(scan.reference))}
    rows = []
    for name, values in {**maps, **controls}.items():
        found = insertion_deletion(
            values,
            scan.image,
            scan.reference,
            scan.inside,
            score_of,
            steps=plan.faithfulness["steps"],
            chunk=explainer.chunk,
            rng=stream(plan.seed, "maps", subject, "ties"),
        )
        entry = {"map": name, "kind": "control" if name in controls else "map"}
        rows.append({**entry, "insertion": found.insertion, "deletion": found.deletion, "gain": found.gain, **ends})
    return rows


def _randomised(
    explainer: Explainer,
    hu: NDArray[np.int16],
    scan: Scan,
    maps: Mapping[str, NDArray[np.float32]],
    cluster: int,
    other: int,
    kinds: Sequence[str],
    way: Way,
    seed: int,
) -> list[dict[str, object]]:
    """How far each map of one scan stays the same when layers are drawn anew."""
    rows = []
    for layer, drawn in explainer.randomised(derive_seed(seed, "maps", "layers")):
        seen = drawn.scan(hu)
        weights = drawn.weights(seen, cluster)
        again = {drawn.name: drawn.published(seen, cluster, weights)}
        again |= further_maps(seen, weights, cluster, other, kinds, way)
        for name, values in again.items():
            correlation = rank_correlation(maps[name], values, scan.inside)
            rows.append({"map": name, "layer": layer, "correlation": correlation})
    return rows


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
        medoid = members[medoid_of(embedding[members])]
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
    rows = against_controls(table, "gain", rng)
    about = [{"passes": costs[row["map"]], "recommended": int(row["map"] == best)} for row in rows]
    return pd.DataFrame([row | more for row, more in zip(rows, about, strict=True)], columns=list(SUMMARY))


def summarise_localisation(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One row a map and control: mean energy in the lesions, as :func:`summarise` does for the gain.

    Scans without a lesion in the lungs say nothing and are left out; pointing, voxel_auc and lesion_share are the means
    of the map over all others.
    """
    told = table.dropna(subset=["energy"])
    means = told.groupby("map")[["pointing", "voxel_auc", "lesion_share"]].mean()
    rows = [row | means.loc[row["map"]].to_dict() for row in against_controls(told, "energy", rng)]
    return pd.DataFrame(rows, columns=list(LOCALISATION_SUMMARY))


def against_controls(table: pd.DataFrame, measure: str, rng: np.random.Generator) -> list[dict[str, object]]:
    """Each map of a table with one row a scan and map beside each control, over the scans that have both."""
    wide = table.pivot_table(index="subject", columns="map", values=measure)
    rows = []
    for kind in dict.fromkeys(table.loc[table["kind"] == "map", "map"]):
        for control in CONTROLS:
            both = wide.reindex(columns=[kind, control]).dropna()
            gap, low, high = paired_interval(both[kind].to_numpy(), both[control].to_numpy(), rng=rng)
            means = {measure: both[kind].mean(), f"control_{measure}": both[control].mean()}
            about = {"map": kind, "control": control, "n": len(both), **means}
            rows.append(about | {"difference": gap, "ci_low": low, "ci_high": high, "better": int(low > 0)})
    return rows
