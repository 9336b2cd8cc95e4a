"""From a trained network to lesions in a scan: a map, pasted together region by region, and a mask by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lungtypes.maps.upsampling import upsample_linear
from lungtypes.methods.dram_losses import region_mean
from lungtypes.methods.dram_networks import DenseRegression, RegionClassifier
from lungtypes.methods.dram_regions import Region, RegionScans, otsu_threshold
from lungtypes.methods.training import autocast

HALF = 0.5

Source = Literal["refined", "dense"]
Rule = Literal["otsu", "half"]


@dataclass(frozen=True)
class ScanMap:
    """A scan's map before any threshold, all (Z, Y, X) on the scan's own grid.

    heat : float32 in 0-1, 0 outside the regions. inside, candidates : voxels of any region; those that may be lesion.
    free : voxels of regions that the network calls free of lesions. shares : by label the mean of the dense sigmoid map
    over the region, which is what was regressed; NaN for a classifier. region_ml : by label.
    """

    heat: NDArray[np.float32]
    inside: NDArray[np.bool_]
    candidates: NDArray[np.bool_]
    free: NDArray[np.bool_]
    shares: dict[int, float]
    region_ml: dict[int, float]


def map_scan(
    network: DenseRegression | RegionClassifier,
    scans: RegionScans,
    row: int,
    *,
    free_below: float,
    device: str,
    precision: str,
    batch: int,
    source: Source,
) -> ScanMap:
    """The map of one scan.

    Parameters
    ----------
    free_below : a share (0-1); a region with a smaller one is free of lesions: the upper bound of grade 0. A
        classifier says so itself by its class 0.
    source : ``refined`` takes the sigmoid of R where the network has attention (the source), ``dense`` that of D,
        which is better at faint lesions on small cubes: R learns labels with the foreground weighted up, so that it
        overflows, and the mean of neighbours loses edges there.

    The heat of a classifier is the map of its largest class, ReLU, stretched to 0-1 within each region, and 0 for
    class 0; maps on a coarser grid are interpolated.
    """
    shape = scans.shape
    heat, inside, candidates, free = (np.zeros(shape, kind) for kind in (np.float32, bool, bool, bool))
    shares, region_ml = {}, {}
    regions = scans.regions(row)
    network.eval()
    for start in range(0, len(regions), batch):
        part = regions[start : start + batch]
        for region, cube, share, healthy in zip(
            part, *_cubes(network, scans, part, free_below, device, precision, source), strict=True
        ):
            box, own = scans.box(region), scans.inside(region)
            scans.paste(region, cube, heat)
            inside[box] |= own
            candidates[box] |= scans.candidates(region)
            free[box] |= own & healthy
            shares[region[1]], region_ml[region[1]] = share, float(own.sum()) * scans.voxel_ml
    return ScanMap(heat, inside, candidates, free, shares, region_ml)


def lesion_mask(found: ScanMap, *, rule: Rule, with_candidates: bool) -> NDArray[np.bool_]:
    """Lesions (Z, Y, X) of a map.

    rule : ``otsu`` takes voxels above Otsu's threshold of the heat in the scan's lungs (the source), ``half`` above
        0.5. Regions that are free of lesions count as heat 0 in either. with_candidates : lesions must be lesion
        candidates too (the source; nothing of it for ``dram-supervised``, whose masks say what a lesion is).
    """
    heat = np.where(found.free, 0, found.heat)
    limit = otsu_threshold(heat[found.inside]) if rule == "otsu" else HALF
    mask = found.inside & (heat > limit)
    return mask & found.candidates if with_candidates else mask


def _cubes(
    network: DenseRegression | RegionClassifier,
    scans: RegionScans,
    regions: list[Region],
    free_below: float,
    device: str,
    precision: str,
    source: Source,
) -> tuple[Tensor, list[float], list[bool]]:
    """Heat (n, S, S, S), shares and freedom from lesions of a few regions."""
    batch = scans.batch(regions, device)
    with torch.inference_mode(), autocast(device, precision):
        if isinstance(network, RegionClassifier):
            maps, logits = network(batch.image, batch.mask)
            classes = logits.argmax(dim=1)
            own = maps[torch.arange(len(regions), device=maps.device), classes][:, None]
            own = upsample_linear(own, tuple(batch.image.shape[2:]), stride=network.unet.stride)
            heat = _stretched(functional.relu(own), batch.mask) * (classes > 0).view(-1, 1, 1, 1, 1)
            return heat[:, 0], [np.nan] * len(regions), (classes == 0).tolist()
        dense, refined = network(batch.image)
        shares = region_mean(torch.sigmoid(dense), batch.mask).cpu()
        used = dense if refined is None or source == "dense" else refined
        return torch.sigmoid(used)[:, 0], shares.tolist(), (shares < free_below).tolist()


def _stretched(maps: Tensor, mask: Tensor) -> Tensor:
    """Maps (n, 1, ...) to 0-1 within each region; 0 where a map is flat."""
    low = torch.where(mask > 0, maps, torch.inf).flatten(1).min(dim=1).values.view(-1, 1, 1, 1, 1)
    high = torch.where(mask > 0, maps, -torch.inf).flatten(1).max(dim=1).values.view(-1, 1, 1, 1, 1)
    return ((maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)).clamp(0, 1)
