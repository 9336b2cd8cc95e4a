"""Dense maps of every scan for its own cluster, and group maps in template space (Xie et al. 2021, section 2).

The map of cluster k is the head's k-th output on the dense features; its mean over the lungs is the scan's logit k.
Published maps show its positive part on one scale for all scans; the map itself lies beside it as ``{method}-raw``.
"""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.maps.attribution import View
from lungtypes.maps.upsampling import upsample_linear
from lungtypes.methods.dcam import DcamModel, dense_features, log_assignment
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.methods.lung_scans import Box, LungScans
from lungtypes.methods.map_groups import (
    MapGroups,
    MapTables,
    ToTemplate,
    describe_scan,
    with_zones_of_each_lung,
    write_mean_ct,
)
from lungtypes.methods.map_kinds import Scan
from lungtypes.networks.unet import UNet, pool_features
from lungtypes.provenance import whole_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lungtypes.imaging.volume_files import Cohort

logger = logging.getLogger(__name__)

FULL_SCALE = 99.5  # percentile of the values in the training lungs, negative ones as 0, that is drawn as 1
QUANTILES = np.linspace(0, 1, 1001)  # of each scan, so that every scan counts the same in the scale


@dataclass(frozen=True)
class DenseMap:
    """raw : (*size) additive map, 0 outside the lungs. uniform_correlation : with the plain sum of the features."""

    raw: NDArray[np.float32]
    uniform_correlation: float


@dataclass(frozen=True)
class DcamExplainer:
    """dCAM for the maps beside its own (:class:`lungtypes.methods.map_kinds.Explainer`).

    reference : network input that fills the lungs of the reference, which has the scan's own shape: scans in their own
    space have no common one.
    """

    model: DcamModel
    intensity: Intensity
    box: Box
    reference: float
    device: str
    name: str
    passes: int = 1
    chunk: int = 4

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.model.centroids)

    def scan(self, hu: NDArray[np.int16]) -> Scan:
        """The scan in the network's box, its lungs at the reference density, and the lungs."""
        x, lungs = LungScans(np.asarray(hu)[None], self.intensity, self.box).batch([0], self.device)
        return Scan(x, torch.where(lungs > 0, self.reference, x), (lungs[0, 0] > 0).cpu().numpy(), self._view(lungs))

    def weights(self, scan: Scan, cluster: int) -> Tensor:
        """The head's row of the cluster, (C,)."""
        return self.model.head.weight[cluster].to(scan.image)

    def published(self, scan: Scan, cluster: int, weights: Tensor) -> NDArray[np.float32]:
        """The dense map, inside the lungs."""
        with torch.no_grad():
            own = torch.einsum("c,c...->...", weights, scan.view.activations(scan.image)[0])
            own = own + self.model.head.bias[cluster].to(own)
        return np.where(scan.inside, scan.view.upsampled(own, tuple(scan.image.shape[2:])), np.float32(0))

    def on_grid(self, values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Values of the box in the cohort's cube, 0 around it."""
        whole = np.zeros(shape, np.float32)
        whole[tuple(slice(*edges) for edges in self.box)] = values
        return whole

    def randomised(self, seed: int) -> Iterator[tuple[str, DcamExplainer]]:
        """From head and centroids through the levels up and the bottom to the first level down."""
        network, head, centroids = copy.deepcopy(self.model.network), self.model.head, self.model.centroids
        torch.manual_seed(seed)
        fresh = UNet(filters=network.filters, dense=network.dense, norm=network.norm, encoder_levels=network.levels)
        places = [f"up.{i}" for i in reversed(range(len(network.up)))]
        places += ["bottom", *(f"down.{i}" for i in reversed(range(len(network.down))))]
        weight = head.weight.std() * torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
        drawn = np.random.default_rng(seed).standard_normal(centroids.shape) * centroids.std()
        model = replace(self.model, head=replace(head, weight=weight.to(head.weight)), centroids=drawn)
        yield "head", replace(self, model=model)
        for place in places:
            network.get_submodule(place).load_state_dict(fresh.get_submodule(place).state_dict())
            yield place.replace(".", "_"), replace(self, model=replace(model, network=copy.deepcopy(network).eval()))

    def _view(self, lungs: Tensor) -> View:
        network = self.model.network.eval()

        def log_q(features: Tensor) -> Tensor:
            return log_assignment(self.model, pool_features(features, lungs.expand(len(features), *lungs.shape[1:])))

        return View(lambda images: network(images).float(), log_q, stride=network.stride)


def explain_scans(
    model: DcamModel,
    array: NDArray[np.int16],
    clusters: NDArray[np.int64],
    *,
    intensity: Intensity,
    box: Box,
    device: str,
) -> Iterator[DenseMap]:
    """Map every scan of (N, *size) for its assigned cluster (N,) in 1..K, one by one.

    A map on a coarser grid (``dcam-encoder``) is interpolated to the scan's; its lung mean then is no longer the logit
    to the last digit.
    """
    scans, cut = LungScans(array, intensity, box), tuple(slice(*edges) for edges in box)
    weight, bias = model.head.weight.to(device), model.head.bias.to(device)
    for number, cluster in enumerate(clusters.tolist()):
        x, lungs = scans.batch([number], device)
        with torch.inference_mode():
            features = dense_features(model, x)
            own = torch.einsum("ncdhw,c->ndhw", features, weight[cluster - 1])[:, None] + bias[cluster - 1]
            both = torch.cat([own, features.sum(dim=1, keepdim=True)], dim=1)
            both = upsample_linear(both, tuple(x.shape[2:]), stride=model.network.stride)
            inside = lungs[0, 0] > 0
            found, uniform = both[0, :, inside].cpu().double().numpy()
            whole = np.zeros(array.shape[1:], np.float32)
            whole[cut] = (both[0, 0] * lungs[0, 0]).cpu().numpy()
        moves = found.std() > 0 and uniform.std() > 0
        yield DenseMap(whole, float(np.corrcoef(found, uniform)[0, 1]) if moves else np.nan)


def write_dense_maps(
    folder: Path,
    model: DcamModel,
    settings: Mapping[str, object],
    scans: Cohort,
    template: Cohort,
    clusters: NDArray[np.int64],
    regions: Mapping[str, NDArray[np.bool_]],
    *,
    to_template: ToTemplate | None,
    device: str,
) -> MapTables:
    """Write ``maps/{method}`` and ``maps/{method}-raw``, a NIfTI a scan, and ``group_maps`` into ``folder``.

    Parameters
    ----------
    settings : of the model (:func:`lungtypes.methods.dcam_stages.load_dcam`).
    scans : what the model was trained on, in native or template space; template : the same scans in template space.
    clusters : (N,) in 1..K. regions : masks on the template cohort's grid, as ``Cohort.regions`` makes them.
    to_template : brings a map from a scan's grid to the template cohort's; ``None`` where it is there already. Maps
        brought there lie in ``maps/{method}-template``.

    Group maps and tables are of the maps in template space; files as those of CLAM.
    """
    kind = str(settings["method"])
    intensity, box = Intensity(**settings["intensity"]), tuple(map(tuple, settings["box"]))
    groups = MapGroups(
        kind, k=int(settings["k"]), shape=tuple(template.grid.shape), keep_degenerate=False, balanced=True
    )
    grids = scans.grids or (scans.grid,) * len(scans.subjects)
    found = explain_scans(model, scans.array, clusters, intensity=intensity, box=box, device=device)
    maps = folder / "maps"
    with (
        whole_folder(maps / kind) as own,
        whole_folder(maps / f"{kind}-raw") as raw_folder,
        whole_folder(maps / f"{kind}-template") as brought,
        whole_folder(folder / "group_maps") as group_maps,
    ):
        stored = np.lib.format.open_memmap(
            raw_folder / "maps.npy", mode="w+", dtype=np.float32, shape=scans.array.shape
        )
        correlations, spread = [], []
        for number, explained in enumerate(found):
            stored[number] = explained.raw
            correlations.append(explained.uniform_correlation)
            grids[number].write_image(raw_folder / f"{scans.subjects[number]}.nii.gz", explained.raw)
            if scans.splits[number] == "train":
                lungs = scans.array[number] != OUTSIDE
                spread.append(np.quantile(np.maximum(explained.raw[lungs], 0), QUANTILES))
        scale = float(np.percentile(np.concatenate(spread), FULL_SCALE)) or 1.0
        summary, by_region = [], []
        regions, voxel_ml = with_zones_of_each_lung(regions), template.grid.spacing_mm**3 / 1000
        channels = model.head.weight.cpu().double().numpy()
        for number, subject in enumerate(scans.subjects):
            cluster = int(clusters[number])
            importance = np.clip(stored[number] / np.float32(scale), 0, 1)
            grids[number].write_image(own / f"{subject}.nii.gz", importance)
            if to_template:
                importance = to_template(subject, importance, grids[number])
                template.grid.write_image(brought / f"{subject}.nii.gz", importance)
            groups.add(cluster, importance, repeat=scans.splits[number] == "repeat")
            hu = np.asarray(template.array[number])
            weights = channels[cluster - 1]
            about = {
                "alpha_mean": float(weights.mean()),
                "alpha_cv": float(weights.std() / abs(weights.mean())) if weights.mean() else np.nan,
                "uniform_correlation": correlations[number],
                "degenerate": int(not importance.any()),
            }
            name = {"subject": subject, "cluster": cluster}
            covered, rows = describe_scan(importance, hu, regions, name=name, voxel_ml=voxel_ml)
            summary.append(covered | about)
            by_region += rows
        del stored
        (raw_folder / "maps.npy").unlink()
        table = groups.write(group_maps, template.grid, regions["lungs"])
        write_mean_ct(group_maps, template, clusters, int(settings["k"]))
    if to_template is None:
        shutil.rmtree(maps / f"{kind}-template")
    logger.info("maps: %d scans; 1 on their scale is %.3g of the raw map", len(summary), scale)
    return MapTables(pd.DataFrame(summary), pd.DataFrame(by_region), table)
