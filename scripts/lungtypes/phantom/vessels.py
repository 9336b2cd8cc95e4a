"""Paints a branching vessel tree into each virtual lung: a spanning tree with Murray's-law radii."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from scipy.spatial import distance_matrix

from lungtypes.phantom.shapes import Points, capsule

Tube = tuple[NDArray[np.float32], NDArray[np.float32], float]  # start, end (z, y, x) and radius in mm

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
    for label, hilum in zip((1, 2), hila, strict=True):
        voxels = np.flatnonzero(lungs == label)
        if voxels.size == 0:
            continue
        chosen = rng.choice(voxels, size=min(TIPS_PER_LUNG, voxels.size), replace=False)
        tips = np.stack([p.reshape(-1)[chosen] for p in points], axis=1)
        paint_tubes(hu, points, inside, branching_tree(np.vstack([hilum, tips])), VESSEL_HU)


def paint_tubes(
    image: NDArray[np.float32], points: Points, inside: NDArray[np.float32], tubes: Sequence[Tube], value: float
) -> None:
    """Paint ``tubes`` (start, end, radius in mm) of one ``value`` into ``image`` in place, where ``inside`` is above 0.

    Thinner than a voxel, a tube counts for the part of the voxel that it fills. Arrays as in :func:`paint_vessels`.
    """
    width = _voxel_width(points)
    profiles = [p.mean(axis=tuple(i for i in range(3) if i != axis)) for axis, p in enumerate(points)]
    for start, end, radius in tubes:
        _paint_tube(image, points, inside, profiles, start, end, radius, width, value)


def branching_tree(nodes: NDArray[np.float32]) -> list[Tube]:
    """Tubes (start, end, radius in mm) that join ``nodes`` (n, 3) in mm, the first of which is the root."""
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


def _paint_tube(
    image: NDArray,
    points: Points,
    inside: NDArray,
    profiles: list[NDArray],
    start: NDArray,
    end: NDArray,
    radius: float,
    width: float,
    value: float,
) -> None:
    margin = radius + 2 * width
    box = []
    for profile, a, b in zip(profiles, start, end, strict=True):
        low, high = np.searchsorted(profile, [min(a, b) - margin - 14, max(a, b) + margin + 14])
        box.append(slice(max(int(low), 0), max(int(high), 0) + 1))
    box = tuple(box)
    if any(s.stop <= s.start for s in box) or image[box].size == 0:
        return
    distance = capsule(tuple(p[box] for p in points), start, end, radius)
    # thinner than a voxel: density falls with the share of the voxel that it fills
    strength = min(1.0, (2 * radius / width) ** 2)
    share = np.clip(0.5 - distance / width, 0, 1) * strength * inside[box]
    image[box] += share * (np.float32(value) - image[box])
