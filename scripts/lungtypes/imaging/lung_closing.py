"""Takes vessels and dense disease into the lungs: a closing, small holes, and bites out of the costal surface.

The costal surface of a lung is convex in a slice, the mediastinal one and the diaphragm are not. So a bite that opens
towards the chest wall is disease; it is filled up to the hull and the arc of the wall beyond it. The rule is our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.lung_split import LEFT, RIGHT

MAX_HOLE_MM2 = 300.0  # a hilar vessel or a nodule; the dome of the diaphragm is larger
BONE_HU = 180.0  # the chest wall's ribs never belong to a lung
DENSE_HU = (-250.0, 120.0)  # consolidation with what partial volume and noise add; no bone, no air
MIN_SECTION_MM2 = 400.0  # of a lung in a slice, to have a shape
MIN_BITE_MM2 = 60.0
MAX_MEDIAL_SHARE = 0.15  # of a bite's mouth that may face the mediastinum
MIN_BENEATH = 0.4  # share of a bite that has lung below it in its own column
MAX_BITES_SHARE = 0.35  # of a lung; if more is missing its shape is not known


@dataclass(frozen=True)
class ClosedLungs:
    """labels: (Z, Y, X) uint8, 1 right, 2 left, on the working grid; restored_ml: what the bites added."""

    labels: NDArray[np.uint8]
    restored_ml: float


def close_lungs(
    halves: NDArray[np.uint8],
    airway: NDArray[np.bool_],
    hu: NDArray[np.float32],
    work: Volume,
    *,
    closing_mm: float,
) -> ClosedLungs:
    """Close each lung over vessels and disease; tissue between the lungs stays out by the other side's claim.

    halves : (Z, Y, X) 1 right, 2 left, air only; airway, hu on the same working grid.
    """
    closed = {side: _closed(halves == side, work, closing_mm) for side in (RIGHT, LEFT)}
    soft = ndimage.gaussian_filter(hu, 0.7)
    labels = np.zeros(halves.shape, np.uint8)
    both = closed[RIGHT] & closed[LEFT]
    for side in (RIGHT, LEFT):
        labels[closed[side] & ~both & ((soft < BONE_HU) | (halves == side))] = side
        labels[halves == side] = side
    labels[airway] = 0
    out = np.zeros_like(labels)
    for side in (RIGHT, LEFT):
        pieces, count = ndimage.label(labels == side)
        if count:
            sizes = np.bincount(pieces.reshape(-1))
            sizes[0] = 0
            out[np.isin(pieces, np.flatnonzero(sizes >= 0.02 * sizes.max()))] = side
    dense = (soft > DENSE_HU[0]) & (soft < DENSE_HU[1]) & (out == 0) & ~airway
    restored = 0
    for side in (RIGHT, LEFT):
        bites = costal_bites(out == side, dense, side, work)
        if bites.sum() <= MAX_BITES_SHARE * (out == side).sum():
            out[bites & (out == 0)] = side
            restored += int(bites.sum())
    return ClosedLungs(out, restored * work.voxel_ml)


def costal_bites(lung: NDArray[np.bool_], dense: NDArray[np.bool_], side: int, work: Volume) -> NDArray[np.bool_]:
    """Dense voxels that belong to one lung by its shape in axial slices.

    lung, dense : (Z, Y, X); side 1 right, 2 left. The mask returned does not overlap with ``lung``.
    """
    bites = np.zeros(lung.shape, bool)
    pixel_mm2 = work.spacing_mm[1] * work.spacing_mm[2]
    lateral = -1.0 if side == RIGHT else 1.0
    for z in np.flatnonzero(lung.sum(axis=(1, 2)) * pixel_mm2 >= MIN_SECTION_MM2):
        bites[z] = _bites_of_slice(lung[z], dense[z], lateral, work.spacing_mm[1:])
    # a real bite goes on through neighbouring slices, and lung lies beneath it: below the diaphragm there is none
    bites = ndimage.binary_opening(bites, np.ones((3, 1, 1), bool))
    pieces, count = ndimage.label(bites)
    beneath = ndimage.mean(np.logical_or.accumulate(lung, axis=0), pieces, np.arange(count + 1))
    return bites & (beneath >= MIN_BENEATH)[pieces]


def _bites_of_slice(
    lung: NDArray[np.bool_], dense: NDArray[np.bool_], lateral: float, spacing_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    found = np.zeros(lung.shape, bool)
    edge = np.argwhere(lung & ~ndimage.binary_erosion(lung)) * spacing_mm
    try:
        hull = ConvexHull(edge)
    except QhullError:  # a line of pixels has no hull
        return found
    y, x = (np.arange(n) * s for n, s in zip(lung.shape, spacing_mm, strict=True))
    # (facets, Y, X): how far outside of each facet a pixel lies, in mm
    normals, offsets = hull.equations[:, :2], hull.equations[:, 2]
    outside = normals[:, 0, None, None] * y[:, None] + normals[:, 1, None, None] * x + offsets[:, None, None]
    nearest = outside.argmax(axis=0)
    depth = outside.max(axis=0)
    labels, _ = ndimage.label((depth <= 0) & ~lung & dense)
    sizes = np.bincount(labels.reshape(-1)) * spacing_mm[0] * spacing_mm[1]
    # a facet faces the chest wall when it looks to the side or to the back; what looks to the front may be heart
    costal = (normals[:, 1] * lateral > np.where(normals[:, 0] < -0.3, 0.7, 0.25)) | (
        (normals[:, 0] > 0.8) & (normals[:, 1] * lateral > -0.45)
    )
    for bite in np.flatnonzero(sizes >= MIN_BITE_MM2):
        if bite == 0:
            continue
        piece = labels == bite
        mouth = nearest[piece & (depth > -1.5 * max(spacing_mm))]
        if mouth.size == 0 or (~costal[mouth]).mean() > MAX_MEDIAL_SHARE:
            continue
        found |= piece
        facet = int(np.bincount(mouth).argmax())
        found |= _arc(edge, hull, facet, lung, dense, outside[facet], (y, x))
    return found


def _arc(
    edge: NDArray, hull: ConvexHull, facet: int, lung: NDArray, dense: NDArray, beyond: NDArray, axes: tuple
) -> NDArray[np.bool_]:
    """What lies between the chord over a bite and the circle through the lung's surface at both of its ends."""
    first, second = edge[hull.simplices[facet]]
    chord = float(np.linalg.norm(second - first))
    near = np.minimum(*(np.linalg.norm(edge - end, axis=1) for end in (first, second))) < max(0.6 * chord, 20)
    rim = edge[near & (hull.equations[facet, :2] @ edge.T + hull.equations[facet, 2] > -0.35 * chord)]
    if len(rim) < 6:
        return np.zeros(lung.shape, bool)
    system = np.column_stack([2 * rim, np.ones(len(rim))])
    (cy, cx, constant), *_ = np.linalg.lstsq(system, (rim**2).sum(axis=1), rcond=None)
    radius = float(np.sqrt(max(constant + cy**2 + cx**2, 0.0)))
    if not 0.5 * chord < radius < 4 * chord:
        return np.zeros(lung.shape, bool)
    y, x = axes
    circle = (y[:, None] - cy) ** 2 + (x - cx) ** 2 < radius**2
    return circle & (beyond > 0) & dense & ~lung


def _closed(mask: NDArray[np.bool_], work: Volume, closing_mm: float) -> NDArray[np.bool_]:
    """Closing by a ball, and the holes that the ball does not reach."""
    result = np.zeros(mask.shape, bool)
    if not mask.any():
        return result
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    pad = int(np.ceil(closing_mm / min(work.spacing_mm))) + 1
    padded = np.pad(mask[box], pad)
    outside = ndimage.distance_transform_edt(~padded, sampling=work.spacing_mm)
    inside = ndimage.distance_transform_edt(outside <= closing_mm, sampling=work.spacing_mm)
    closed = ((inside > closing_mm) | padded)[(slice(pad, -pad),) * 3]
    closed = ndimage.binary_fill_holes(closed)  # what is enclosed on all sides, however large: nodules
    pixel_mm2 = work.spacing_mm[1] * work.spacing_mm[2]
    result[box] = np.stack([_without_small_holes(plane, pixel_mm2) for plane in closed])
    return result


def _without_small_holes(plane: NDArray[np.bool_], pixel_mm2: float) -> NDArray[np.bool_]:
    """Fill what a slice's lung encloses, except the dome of the diaphragm and other large things."""
    holes, count = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
    if count == 0:
        return plane
    sizes = np.bincount(holes.reshape(-1)) * pixel_mm2
    sizes[0] = 0
    return plane | np.isin(holes, np.flatnonzero((sizes > 0) & (sizes <= MAX_HOLE_MM2)))
