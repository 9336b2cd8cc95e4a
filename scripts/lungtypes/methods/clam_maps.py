"""CLAM of every scan for its own cluster, group maps, and their tables (Ryan et al. 2020, section 3).

Scans go through one at a time: a map is written at once, and running sums keep what the group maps need of it.
"""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.maps.attribution import View
from lungtypes.maps.channel_masking import (
    ChannelMap,
    channel_confidence_map,
    importance_from_sum,
    weighted_sum,
)
from lungtypes.maps.map_parts import MapParts, write_parts
from lungtypes.maps.official_map import official_raw, official_sum
from lungtypes.methods.clam import log_assignment, soft_assignment
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.methods.map_groups import (
    MapGroups,
    MapTables,
    describe_scan,
    with_zones_of_each_lung,
    write_mean_ct,
)
from lungtypes.methods.map_kinds import Scan
from lungtypes.methods.training import autocast
from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras
from lungtypes.provenance import whole_folder

if TYPE_CHECKING:
    from lungtypes.imaging.volume_files import Cohort

logger = logging.getLogger(__name__)

PUBLISHED, OFFICIAL = "clam", "clam-official"


@dataclass(frozen=True)
class Explained:
    """A fitted model on its device, and all that a map needs of it."""

    model: ConvolutionalAutoencoder
    centroids: Tensor  # (K, latent)
    scale: float
    intensity: Intensity
    device: str
    precision: str = "float32"  # of the convolutions under masks: bfloat16 on a CUDA device

    def image(self, scan: NDArray[np.int16]) -> Tensor:
        """Network input (1, 1, *size) of one scan in HU, OUTSIDE where no lung is."""
        return torch.from_numpy(self.intensity.normalise(np.asarray(scan)[None]))[None].to(self.device)

    def score(self, cluster: int) -> Callable[[Tensor], Tensor]:
        """Images -> (n,) probability of ``cluster`` (1..K); embedding and kernel in float32 at any precision."""

        def probability(images: Tensor) -> Tensor:
            with autocast(self.device, self.precision):
                channels = self.model.activations(images)
            z = self.model.embedding(channels.float().flatten(1))
            return soft_assignment(z, self.centroids, self.scale)[:, cluster - 1]

        return probability


@dataclass(frozen=True)
class ClamExplainer:
    """CLAM for the maps beside its own (:class:`lungtypes.methods.map_kinds.Explainer`).

    reference : mean network input (*size). chunk : masked images at once. correct_shift : as for :func:`write_maps`.
    """

    explained: Explained
    reference: NDArray[np.float32]
    chunk: int
    correct_shift: bool
    name: str = PUBLISHED

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.explained.centroids)

    @property
    def passes(self) -> int:
        """One a channel and one for the channels themselves."""
        return self.explained.model.convolutions[-1].out_channels + 1

    def scan(self, hu: NDArray[np.int16]) -> Scan:
        """The scan, the reference, and the lungs."""
        reference = torch.from_numpy(self.reference)[None, None].to(self.explained.device)
        return Scan(self.explained.image(hu), reference, np.asarray(hu) != OUTSIDE, self._view())

    def weights(self, scan: Scan, cluster: int) -> Tensor:
        """alpha (H,) of eq. 8."""
        return torch.from_numpy(self._map(scan, cluster).alpha).to(scan.image)

    def published(self, scan: Scan, cluster: int, weights: Tensor) -> NDArray[np.float32]:
        """Equation 9 before it is scaled."""
        with torch.inference_mode():
            total = weighted_sum(scan.view.activations(scan.image), weights).cpu().numpy()
        return importance_from_sum(total, tuple(scan.image.shape[2:]), scan.view.offset, norm="none")

    def on_grid(self, values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The network sees the whole grid."""
        return values

    def randomised(self, seed: int) -> Iterator[tuple[str, ClamExplainer]]:
        """From the embedding layer down to the first convolution."""
        model = copy.deepcopy(self.explained.model)
        fresh = copy.deepcopy(model).cpu()
        initialise_like_keras(fresh, seed=seed)
        convolutions = [(f"convolution_{i + 1}", f"convolutions.{i}") for i in range(len(model.convolutions))]
        for name, place in (("embedding", "embedding"), *convolutions[::-1]):
            model.get_submodule(place).load_state_dict(fresh.get_submodule(place).state_dict())
            yield name, replace(self, explained=replace(self.explained, model=copy.deepcopy(model)))

    def _map(self, scan: Scan, cluster: int) -> ChannelMap:
        return channel_confidence_map(
            scan.image,
            activations=self.explained.model.activations,
            score=self.explained.score(cluster + 1),
            chunk_channels=self.chunk,
            offset=scan.view.offset,
        )

    def _view(self) -> View:
        model = self.explained.model

        def log_q(channels: Tensor) -> Tensor:
            z = model.embedding(channels.flatten(1))
            return log_assignment(z, self.explained.centroids, self.explained.scale)

        return View(model.activations, log_q, model.activation_offset if self.correct_shift else 0.0)


@dataclass(frozen=True)
class MapFolders:
    """Where files go: a map a scan (``clam-official`` lies beside it), group maps, and what the maps are made of."""

    maps: Path
    group_maps: Path
    parts: Path


def explain_with(
    model: ConvolutionalAutoencoder,
    settings: Mapping[str, object],
    arrays: Mapping[str, NDArray],
    *,
    device: str,
    precision: str = "float32",
) -> Explained:
    """What ``load_autoencoder`` returned, ready to explain scans on ``device``.

    precision : ``bfloat16`` for the convolutions that see masked images, on a CUDA device; elsewhere nothing changes.
    """
    centroids = torch.from_numpy(arrays["centroids"]).to(device)
    scale = float(settings.get("scale", 1.0))
    model = model.to(device).eval()
    if precision == "bfloat16" and device.startswith("cuda"):  # the order that tensor cores read without a copy
        dimensions = model.convolutions[0].weight.ndim - 2
        model.to(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[dimensions])
    return Explained(model, centroids, scale, Intensity(**settings["intensity"]), device, precision)


def explain_assignments(
    explained: Explained,
    array: NDArray[np.int16],
    clusters: NDArray[np.int64],
    *,
    chunk_channels: int,
    offset: float,
) -> Iterator[ChannelMap]:
    """Map every scan of (N, *size) for its assigned cluster (N,) in 1..K, as published (eq. 8-9), one by one."""
    for scan, cluster in zip(array, clusters, strict=True):
        yield channel_confidence_map(
            explained.image(scan),
            activations=explained.model.activations,
            score=explained.score(int(cluster)),
            chunk_channels=chunk_channels,
            offset=offset,
        )


def write_maps(
    folders: MapFolders,
    explained: Explained,
    cohort: Cohort,
    clusters: NDArray[np.int64],
    regions: Mapping[str, NDArray[np.bool_]],
    *,
    chunk_channels: int,
    correct_shift: bool,
    official: bool,
    emulate_channel_bug: bool,
) -> MapTables:
    """Map every scan for its assigned cluster; write one NIfTI a scan, group maps, and the parts of each map.

    Parameters
    ----------
    cohort : scans (N, Z, Y, X) with their grid; clusters : (N,) in 1..K.
    regions : masks of the template on that grid, as ``Cohort.regions`` makes them.
    correct_shift : puts maps of networks with stride-1 layers where the activations really lie.
    official : also write ``clam-official``, the map of the authors' code; emulate_channel_bug : with its fault.

    Group maps: clam_cluster{k}_mean, _sd, _count (importance above 0.5), clam_population_subject_mean, _sd, _count,
    clam_population_balanced_mean, _sd; ct_mean_ and ct_count_cluster{k}, _population. An SD needs two maps.
    Degenerate maps are left out and counted; so are further scans of one person (split ``repeat``).
    """
    offset = explained.model.activation_offset if correct_shift else 0.0
    options = {"k": len(explained.centroids), "shape": tuple(cohort.grid.shape)}
    groups = MapGroups(PUBLISHED, **options, keep_degenerate=False, balanced=True)
    found = explain_assignments(explained, cohort.array, clusters, chunk_channels=chunk_channels, offset=offset)
    with (
        whole_folder(folders.maps) as maps,
        whole_folder(folders.group_maps) as group_maps,
        whole_folder(folders.parts) as parts,
    ):
        summary, by_region = _publish(maps, parts, found, groups, cohort, clusters, regions, offset)
        tables = [groups.write(group_maps, cohort.grid, regions["lungs"])]
        write_mean_ct(group_maps, cohort, clusters, options["k"])
        authors = folders.maps.with_name(OFFICIAL)
        if official:
            groups = MapGroups(OFFICIAL, **options, keep_degenerate=True, balanced=False)
            bounds = {"chunk_channels": chunk_channels, "emulate_channel_bug": emulate_channel_bug}
            with whole_folder(authors) as official_maps:
                _publish_official(official_maps, explained, groups, cohort, clusters, **bounds)
            tables.append(groups.write(group_maps, cohort.grid, regions["lungs"]))
        else:
            shutil.rmtree(authors, ignore_errors=True)  # of an earlier run, and so of another model
    logger.info("maps: %d scans, %d degenerate", len(summary), int(summary["degenerate"].sum()))
    return MapTables(summary, by_region, pd.concat(tables, ignore_index=True))


def _publish(
    folder: Path,
    parts_folder: Path,
    maps: Iterator[ChannelMap],
    groups: MapGroups,
    cohort: Cohort,
    clusters: NDArray[np.int64],
    regions: Mapping[str, NDArray[np.bool_]],
    offset: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write each map as it comes, add it to its groups, and describe it; returns the rows by scan and by region."""
    summary, by_region, weights, sums, uniform, constant = [], [], [], [], [], {}
    regions = with_zones_of_each_lung(regions)
    voxel_ml = cohort.grid.spacing_mm**3 / 1000
    scans = zip(cohort.subjects, cohort.splits, clusters.tolist(), cohort.array, maps, strict=True)
    for subject, split, cluster, scan, found in scans:
        cohort.grid.write_image(folder / f"{subject}.nii.gz", found.importance)
        groups.add(cluster, found.importance, repeat=split == "repeat")
        name = {"subject": subject, "cluster": cluster}
        covered, rows = describe_scan(found.importance, scan, regions, name=name, voxel_ml=voxel_ml)
        summary.append(covered | _describe_weights(found))
        by_region += rows
        weights.append(found.alpha), sums.append(found.weighted_sum), uniform.append(found.uniform_sum)
        constant[subject] = np.flatnonzero(found.constant).tolist()
    arrays = (np.stack(values) for values in (weights, sums, uniform))
    size = tuple(cohort.grid.shape)
    write_parts(parts_folder, MapParts(cohort.subjects, tuple(clusters.tolist()), *arrays, constant, size, offset))
    return pd.DataFrame(summary), pd.DataFrame(by_region)


def _publish_official(
    folder: Path,
    explained: Explained,
    groups: MapGroups,
    cohort: Cohort,
    clusters: NDArray[np.int64],
    *,
    chunk_channels: int,
    emulate_channel_bug: bool,
) -> None:
    """Twice over the scans: their sums and the largest value of all, then the maps, which are divided by it."""
    sums, maximum, size = [], 0.0, tuple(cohort.grid.shape)
    for scan, cluster in zip(cohort.array, clusters.tolist(), strict=True):
        found = official_sum(
            explained.image(scan),
            activations=explained.model.activations,
            score=explained.score(cluster),
            chunk_channels=chunk_channels,
            emulate_channel_bug=emulate_channel_bug,
        )
        sums.append(found.weighted_sum)
        maximum = max(maximum, float(official_raw(found.weighted_sum, size).max()))
    for subject, split, cluster, total in zip(cohort.subjects, cohort.splits, clusters.tolist(), sums, strict=True):
        importance = official_raw(total, size) / np.float32(maximum or 1.0)
        cohort.grid.write_image(folder / f"{subject}.nii.gz", importance)
        groups.add(cluster, importance, repeat=split == "repeat")


def _describe_weights(found: ChannelMap) -> dict[str, float]:
    mean = float(found.alpha.mean())
    return {
        "alpha_mean": mean,
        "alpha_cv": float(found.alpha.std()) / mean if mean > 0 else np.nan,
        "uniform_correlation": found.uniform_correlation,
        "degenerate": int(found.degenerate),
    }
