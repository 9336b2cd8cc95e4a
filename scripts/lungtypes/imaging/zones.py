"""Regions of the lungs: zones of equal volume, core and rim, and the names of the lobes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ZONES = {1: "upper", 2: "middle", 3: "lower"}
SHELLS = {1: "core", 2: "rim"}
# the order of lungs.lobe_labels in the config, and the labels that lungtypes writes
LOBES = {1: "right_upper", 2: "right_middle", 3: "right_lower", 4: "left_upper", 5: "left_lower"}
# each lung's zones apart: the regions of a template
REGIONS = {
    3 * i + zone: f"{side}_{name}_zone" for i, side in enumerate(("right", "left")) for zone, name in ZONES.items()
}
# what a lesion percentage may be about: lobes, or where a scan has none, the zones of each lung
LOBES_AND_ZONES = LOBES | {len(LOBES) + label: name for label, name in REGIONS.items()}
DEPTH_GRID_MM = 2.0  # depth below the surface is measured on every voxel about this far apart


def lung_zones(lungs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut each lung into thirds of equal volume along z.

    Parameters
    ----------
    lungs : (Z, Y, X) uint8, 1 right, 2 left, index axis 0 towards the head (LPS).

    Returns
    -------
    (Z, Y, X) uint8: 0 outside, 1 upper, 2 middle, 3 lower.
    """
    zones = np.zeros(lungs.shape, np.uint8)
    for label in (1, 2):
        inside = lungs == label
        per_slice = inside.sum(axis=(1, 2)).astype(float)
        if per_slice.sum() == 0:
            continue
        from_top = per_slice[::-1]
        share = np.cumsum(from_top) / from_top.sum()
        zone = np.digitize(share, [1 / 3, 2 / 3], right=True) + 1
        zone = np.minimum(zone, 3).astype(np.uint8)[::-1]
        zones = np.where(inside, zone[:, None, None], zones).astype(np.uint8)
    return zones


def lung_regions(lungs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The zones of each lung apart: 0 outside, else the labels of REGIONS. Arrays as for :func:`lung_zones`."""
    return np.where(lungs > 0, lung_zones(lungs) + 3 * (np.maximum(lungs, 1) - 1), 0).astype(np.uint8)


def lung_shells(lungs: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Cut each lung into a core and a rim of half its volume each, by depth below its surface.

    Half the volume and not a depth in mm, so that small and large lungs are cut alike, as they are into zones.

    Parameters
    ----------
    lungs : (Z, Y, X) uint8, 1 right, 2 left. The surface is the mask's own, towards pleura, hilum and main bronchi.
    spacing_mm : (z, y, x).

    Returns
    -------
    (Z, Y, X) uint8: 0 outside, 1 core, 2 rim.
    """
    steps = [max(int(DEPTH_GRID_MM / s + 1e-6), 1) for s in spacing_mm]
    every = tuple(slice(None, None, n) for n in steps)
    coarse_mm = [n * s for n, s in zip(steps, spacing_mm, strict=True)]
    core = np.zeros(lungs.shape, bool)
    for label in (1, 2):
        coarse = lungs[every] == label
        if not coarse.any():
            continue
        box = ndimage.find_objects(coarse.astype(np.uint8))[0]
        lung = np.pad(coarse[box], 1)  # what lies beyond the image is no lung
        depth = ndimage.distance_transform_edt(lung, sampling=coarse_mm)
        deep = np.zeros(coarse.shape, bool)
        deep[box] = (lung & (depth > np.median(depth[lung])))[1:-1, 1:-1, 1:-1]
        for axis, n in enumerate(steps):
            deep = np.repeat(deep, n, axis=axis) if n > 1 else deep
        core |= deep[tuple(slice(0, n) for n in lungs.shape)] & (lungs == label)
    return np.where(lungs > 0, np.where(core, 1, 2), 0).astype(np.uint8)
