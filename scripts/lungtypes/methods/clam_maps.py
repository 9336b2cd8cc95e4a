"""CLAM of every scan for its own cluster, group maps, and their summary (Ryan et al. 2020, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lungtypes.errors import InputError
from lungtypes.maps.channel_masking import ChannelMap, channel_confidence_map
from lungtypes.maps.group_maps import average_maps, balanced_population, describe_map, mean_ct
from lungtypes.methods.clam import soft_assignment
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.networks.cae import ConvolutionalAutoencoder
from lungtypes.provenance import whole_folder

if TYPE_CHECKING:
    from lungtypes.imaging.geometry import Volume
    from lungtypes.imaging.volume_files import Cohort


@dataclass(frozen=True)
class Explained:
    """maps: one per scan, in cohort order; clusters: 1..K, the cluster that each map explains; k: all clusters."""

    maps: tuple[ChannelMap, ...]
    clusters: NDArray[np.int64]
    k: int


def explain_assignments(
    fitted: tuple[ConvolutionalAutoencoder, dict, dict[str, NDArray]],
    array: NDArray[np.int16],
    clusters: NDArray[np.int64],
    *,
    chunk_channels: int,
    correct_shift: bool,
    device: str,
) -> Explained:
    """Map every scan of (N, Z, Y, X) for its assigned cluster (N,) in 1..K, as published (eq. 8-9).

    correct_shift puts maps of networks with stride-1 layers where the activations really lie.
    """
    model, settings, arrays = fitted
    model.to(device).eval()
    centroids = torch.from_numpy(arrays["centroids"]).to(device)
    intensity = Intensity(**settings["intensity"])
    offset = model.activation_offset if correct_shift else 0.0
    maps = []
    for scan, cluster in zip(array, clusters, strict=True):
        image = torch.from_numpy(intensity.normalise(np.asarray(scan)[None]))[None].to(device)  # (1, 1, Z, Y, X)

        def score(images: torch.Tensor, k: int = int(cluster) - 1) -> torch.Tensor:
            return soft_assignment(model.encode(images), centroids)[:, k]

        found = channel_confidence_map(
            image, activations=model.activations, score=score, chunk_channels=chunk_channels, offset=offset
        )
        maps.append(found)
    return Explained(tuple(maps), np.asarray(clusters), len(centroids))


def read_clusters(path: str | Path, subjects: Sequence[str]) -> NDArray[np.int64]:
    """Clusters (1..K) of assignment.tsv in the order of ``subjects``; raises InputError when they differ."""
    table = pd.read_csv(path, sep="\t", dtype={"subject": str}, keep_default_na=False)
    if table.subject.tolist() != list(subjects):
        raise InputError(
            f"assignment: found {len(table)} other subjects than the cohort's {len(subjects)}. Run clam again."
        )
    return table.cluster.to_numpy(np.int64)


def write_maps(
    maps_dir: Path, group_dir: Path, explained: Explained, *, cohort: Cohort, regions: dict[str, NDArray[np.bool_]]
) -> pd.DataFrame:
    """Write one NIfTI a subject, the group maps, and the mean CT of each cluster; return map_summary.

    Group maps: clam_cluster{k}_mean/sd, clam_population_subject_mean/sd, clam_population_balanced_mean;
    ct_mean_cluster{k}, ct_mean_population. Degenerate maps are left out of the means and counted; so are further
    scans of one person (split ``repeat``).
    """
    rows = []
    voxel_ml = cohort.grid.spacing_mm**3 / 1000
    for subject, cluster, found, scan in zip(
        cohort.subjects, explained.clusters, explained.maps, cohort.array, strict=True
    ):
        lungs = {name: mask & (scan != OUTSIDE) for name, mask in regions.items()}
        row = {"subject": subject, "cluster": int(cluster)}
        row |= describe_map(found.importance, scan.astype(np.float32), lungs, voxel_ml=voxel_ml)
        row |= {
            "alpha_mean": float(found.alpha.mean()),
            "alpha_cv": float(found.alpha.std() / max(found.alpha.mean(), 1e-12)),
            "uniform_correlation": found.uniform_correlation,
            "degenerate": int(found.degenerate),
        }
        rows.append(row)
    with whole_folder(maps_dir) as building:
        for subject, found in zip(cohort.subjects, explained.maps, strict=True):
            _write(cohort.grid.volume(found.importance.astype(np.float32)), building / f"{subject}.nii.gz")
    with whole_folder(group_dir) as building:
        _write_groups(building, explained, cohort)
    return pd.DataFrame(rows)


def _write_groups(folder: Path, explained: Explained, cohort: Cohort) -> None:
    counted = np.array([split != "repeat" for split in cohort.splits])
    good = np.array([not found.degenerate for found in explained.maps]) & counted
    means = []
    for k in range(1, explained.k + 1):
        members = np.flatnonzero((explained.clusters == k) & good)
        if members.size:
            group = average_maps([explained.maps[i].importance for i in members])
            means.append(group.mean)
            _write(cohort.grid.volume(group.mean), folder / f"clam_cluster{k}_mean.nii.gz")
            _write(cohort.grid.volume(group.sd), folder / f"clam_cluster{k}_sd.nii.gz")
        members = (explained.clusters == k) & counted
        if members.any():
            _write_mean_ct(folder, f"cluster{k}", cohort.array[members], cohort)
    if good.any():
        population = average_maps([explained.maps[i].importance for i in np.flatnonzero(good)])
        _write(cohort.grid.volume(population.mean), folder / "clam_population_subject_mean.nii.gz")
        _write(cohort.grid.volume(population.sd), folder / "clam_population_subject_sd.nii.gz")
        _write(cohort.grid.volume(balanced_population(means)), folder / "clam_population_balanced_mean.nii.gz")
    _write_mean_ct(folder, "population", cohort.array[counted], cohort)


def _write_mean_ct(folder: Path, name: str, array: NDArray[np.int16], cohort: Cohort) -> None:
    mean, count = mean_ct(array, OUTSIDE)
    _write(cohort.grid.volume(mean), folder / f"ct_mean_{name}.nii.gz")
    _write(cohort.grid.volume(count.astype(np.float32)), folder / f"ct_count_{name}.nii.gz")


def _write(volume: Volume, path: Path) -> None:
    from lungtypes.imaging.geometry import write_volume  # SimpleITK is needed here and not for the maps themselves

    write_volume(volume, path)
