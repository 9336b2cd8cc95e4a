"""Regions of the lungs: zones of equal volume, and the names of the lobes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ZONES = {1: "upper", 2: "middle", 3: "lower"}
# the order of lungs.lobe_labels in the config, and the labels that lungtypes writes
LOBES = {1: "right_upper", 2: "right_middle", 3: "right_lower", 4: "left_upper", 5: "left_lower"}


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
