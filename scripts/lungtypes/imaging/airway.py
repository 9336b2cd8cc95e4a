"""Trachea and main bronchi: a seed near the midline, grown until it would leak into the lungs.

After the Chest Imaging Platform (facts only): a conservative tree that stops at a volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.imaging.geometry import Volume

LUMEN_HU = -850.0
SEED_MM2 = (40.0, 700.0)  # the trachea's section, from children's to tracheomegaly
MIDLINE_MM = 40.0  # how far from the middle of the body the trachea may start
STEP_MM = 9.0  # and how far it may move from slice to slice
ROUNDNESS = 0.45  # share of its bounding box that a section fills
MIN_LENGTH_MM = 15.0
LIMIT_ML = 55.0
LUNG_HU = -750.0
OPEN_SHARE = 0.15  # of the tree's surroundings; 0.01-0.1 before a leak, 0.2-0.4 after it


def find_airway(
    hu: NDArray[np.float32], body: NDArray[np.bool_], air: NDArray[np.bool_], work: Volume
) -> NDArray[np.bool_]:
    """Lumen of trachea and main bronchi; all False when no trachea is found.

    hu, body, air : (Z, Y, X) on the working grid; air is what lies below the threshold inside the body.
    """
    seed = _trachea(hu, body, work)
    if not seed.any():
        return seed
    near = _near_trachea(seed, work)
    grown = seed
    previous_ml = seed.sum() * work.voxel_ml
    for bound in range(-950, -840, 15):
        mask = (hu < bound) & body & near | seed
        labels, _ = ndimage.label(mask)
        touched = np.unique(labels[seed])
        candidate = np.isin(labels, touched[touched > 0])
        size_ml = candidate.sum() * work.voxel_ml
        if size_ml > LIMIT_ML or size_ml > 1.8 * max(previous_ml, 8.0) or _leaks(candidate, hu, body & near):
            break
        grown, previous_ml = candidate, size_ml
    lumen = ndimage.binary_dilation(grown, iterations=1) & air
    return ndimage.binary_closing(lumen, iterations=1) & (hu < -300) | grown


def _trachea(hu: NDArray[np.float32], body: NDArray[np.bool_], work: Volume) -> NDArray[np.bool_]:
    """The round air-filled section near the midline, followed downwards from the first slice that has one."""
    area_mm2 = work.spacing_mm[1] * work.spacing_mm[2]
    dark = body & (hu < LUMEN_HU)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    middle = 0.5 * (columns[0] + columns[-1])
    seed = np.zeros(hu.shape, bool)
    found, last = 0, None
    depth = hu.shape[0]
    for z in range(depth - 1, int(0.45 * depth), -1):
        spots, _ = ndimage.label(dark[z])
        sizes = np.bincount(spots.reshape(-1)) * area_mm2
        best, best_distance, best_centre = 0, MIDLINE_MM if last is None else STEP_MM, None
        for spot, box in enumerate(ndimage.find_objects(spots), start=1):
            if not SEED_MM2[0] <= sizes[spot] <= SEED_MM2[1]:
                continue
            where = spots[box] == spot
            corner = [s.start for s in box]
            centre = (np.array(ndimage.center_of_mass(where)) + corner) * work.spacing_mm[1:]
            distance = abs(centre[1] - middle * work.spacing_mm[2]) if last is None else np.linalg.norm(centre - last)
            if distance < best_distance and where.mean() > ROUNDNESS:
                best, best_distance, best_centre = spot, distance, centre
        if best:
            seed[z] |= spots == best
            found, last = found + 1, best_centre
        elif found:
            if found * work.spacing_mm[0] >= MIN_LENGTH_MM:
                break
            seed[:], found, last = False, 0, None
    return seed


def _leaks(lumen: NDArray[np.bool_], hu: NDArray[np.float32], where: NDArray[np.bool_]) -> bool:
    """Whether lung instead of wall and mediastinum lies two voxels outside the lumen."""
    around = ndimage.binary_dilation(lumen, iterations=2) & ~ndimage.binary_dilation(lumen) & where
    return around.any() and float((hu[around] < LUNG_HU).mean()) > OPEN_SHARE


def _near_trachea(seed: NDArray[np.bool_], work: Volume) -> NDArray[np.bool_]:
    """Box around the lower end of the trachea that holds the main bronchi but little lung."""
    lowest = int(np.flatnonzero(seed.any(axis=(1, 2)))[0])
    centre = ndimage.center_of_mass(seed[lowest])
    z, y, x = (np.arange(n) * s for n, s in zip(seed.shape, work.spacing_mm, strict=True))
    near_y = np.abs(y - centre[0] * work.spacing_mm[1]) <= 32
    near_x = np.abs(x - centre[1] * work.spacing_mm[2]) <= 50
    near_z = z >= (lowest * work.spacing_mm[0]) - 60
    return near_z[:, None, None] & near_y[None, :, None] & near_x[None, None, :]
