"""Paints a branching vessel tree into each virtual lung: a spanning tree with Murray's-law radii."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial import distance_matrix

from lungtypes.phantom.shapes import Points, capsule

TIPS_PER_LUNG = 230
TIP_RADIUS_MM = 0.75
MURRAY_EXPONENT = 2.7
VESSEL_HU = 35.0


def paint_vessels(
    hu: NDArray[np.float32],
    points: Points,
    lungs: NDArray[np.uint8],
    inside: NDArray[np.float32],
    hila: Sequence[tuple[float, float, float]],
    rng: np.random.Generator,
) -> None:
    """Paint vessels into ``hu`` in place, within the lungs only.

    points are canonical coordinates of each voxel, inside the lungs' partial-volume fraction,
    hila the canonical (z, y, x) of the right and left hilum.
    """
    width = _voxel_width(points)
    for label, hilum in zip((1, 2), hila, strict=True):
        voxels = np.flatnonzero(lungs == label)
        if voxels.size == 0:
            continue
        chosen = rng.choice(voxels, size=min(TIPS_PER_LUNG, voxels.size), replace=False)
        tips = np.stack([p.reshape(-1)[chosen] for p in points], axis=1)
        for start, end, radius in _tree(np.vstack([hilum, tips])):
            _paint_segment(hu, points, inside, start, end, radius, width)


def _tree(nodes: NDArray[np.float32]) -> list[tuple[NDArray, NDArray, float]]:
    distances = distance_matrix(nodes, nodes)
    # weighting by the distance to the hilum makes branches run outwards instead of across
    outward = distances * (1 + 0.004 * (distances[0][None, :] + distances[0][:, None]))
    tree = minimum_spanning_tree(outward)
    order, parents = breadth_first_order(tree, 0, directed=False)
    served = np.ones(len(nodes))
    for node in order[::-1]:
        if node != 0:
            served[parents[node]] += served[node]
    radii = TIP_RADIUS_MM * served ** (1 / MURRAY_EXPONENT)
    return [(nodes[parents[n]], nodes[n], float(min(radii[n], 6.0))) for n in order if n != 0]


def _voxel_width(points: Points) -> float:
    steps = [np.abs(np.diff(p, axis=a)).mean() for a, p in enumerate(points)]
    return float(np.mean(steps))


def _paint_segment(
    hu: NDArray, points: Points, inside: NDArray, start: NDArray, end: NDArray, radius: float, width: float
) -> None:
    margin = radius + 2 * width
    box = []
    for axis, (a, b) in enumerate(zip(start, end, strict=True)):
        profile = points[axis].mean(axis=tuple(i for i in range(3) if i != axis))
        low, high = np.searchsorted(profile, [min(a, b) - margin - 14, max(a, b) + margin + 14])
        box.append(slice(max(int(low), 0), max(int(high), 0) + 1))
    box = tuple(box)
    if any(s.stop <= s.start for s in box) or hu[box].size == 0:
        return
    distance = capsule(tuple(p[box] for p in points), start, end, radius)
    # thinner than a voxel: density falls with the share of the voxel that it fills
    strength = min(1.0, (2 * radius / width) ** 2)
    share = np.clip(0.5 - distance / width, 0, 1) * strength * inside[box]
    hu[box] += share * (np.float32(VESSEL_HU) - hu[box])
