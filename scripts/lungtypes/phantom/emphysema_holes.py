"""Where emphysema destroys virtual lung: holes drawn in canonical space, and the share of each voxel that they take.

Two patterns: ``upper`` (centrilobular, mostly in the upper third) and ``paraseptal`` (a rim of holes beneath the pleura
and along the fissures). From trace to advanced destructive the holes grow and run together, after the wording of the
Fleischner Society's grades (Lynch et al. 2015). Our own construction; sizes were set by eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lungtypes.phantom.shapes import fraction_inside
from lungtypes.phantom.thorax import body_distances
from lungtypes.randomness import stream

SPOTS = 20_000  # random points in the lungs: possible centres
PROBES = 60_000  # others, which measure how much is destroyed; each hole holds its own centre, so those cannot
BOX_MM = ((-156.0, -92.0, -132.0), (134.0, 92.0, 132.0))  # holds the canonical lungs (z, y, x)
STRETCH = (0.8, 1.25)  # of each hole along each axis; spheres only would look drawn
CLUSTERS, CLUSTER_MM = 25, 22.0
UPPER_FROM_MM, UPPER_SLOPE_MM = 54.0, 11.0  # canonical height; the lungs reach from about -130 to 130
RIM_FROM_MM, RIM_SLOPE_MM = 40.0, 28.0


@dataclass(frozen=True)
class Pattern:
    """How holes of one grade look: radii in mm, how strongly they gather, least gap between centres.

    gaps : in units of the two radii's sum, tried one after the other until enough lung is destroyed; below 1 holes
    run together. bullae : large holes at the apex, of ``bulla_mm`` radius.
    """

    radii_mm: tuple[float, float]
    gather: float
    gaps: tuple[float, ...]
    bullae: int = 0
    bulla_mm: tuple[float, float] = (0.0, 0.0)


PATTERNS = {  # by grade, 1 trace to 5 advanced destructive
    "upper": {
        1: Pattern((2.8, 4.2), 0.0, (1.6, 1.2)),
        2: Pattern((3.0, 5.2), 0.3, (1.35, 1.1, 0.9)),
        3: Pattern((3.3, 6.2), 0.6, (1.2, 1.0, 0.8, 0.6)),
        4: Pattern((4.8, 8.5), 1.4, (0.6, 0.45, 0.35)),
        5: Pattern((7.0, 14.0), 0.9, (0.5, 0.35, 0.25)),
    },
    "paraseptal": {
        1: Pattern((2.8, 4.4), 1.8, (1.1, 0.95)),
        2: Pattern((2.8, 5.5), 1.6, (1.0, 0.9, 0.75)),
        3: Pattern((3.0, 7.0), 1.4, (0.95, 0.8, 0.6)),
        4: Pattern((3.5, 8.5), 1.0, (0.9, 0.7, 0.5, 0.35)),
        5: Pattern((4.5, 9.5), 0.7, (0.85, 0.6, 0.45, 0.3), bullae=5, bulla_mm=(13.0, 24.0)),
    },
}
SIZE_SD = 0.12  # of the logarithm of a person's holes' size: neighbouring grades look alike in some


@dataclass(frozen=True)
class Holes:
    """Destroyed lung: centres (n, 3) and radii along the axes (n, 3), canonical z, y, x in mm."""

    centres_mm: NDArray[np.float32]
    radii_mm: NDArray[np.float32]


def no_holes() -> Holes:
    """The holes of a lung without emphysema."""
    return Holes(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))


def draw_holes(distribution: str, grade: int, destroyed_share: float, rng: np.random.Generator) -> Holes:
    """Draw holes until ``destroyed_share`` (0-1) of the canonical lungs lies in them, or the pattern has no more room.

    Parameters
    ----------
    distribution : ``upper`` or ``paraseptal``; grade : 1-5. Both name the row of PATTERNS.
    """
    pattern = PATTERNS[distribution][grade]
    spots = _lung_spots(SPOTS, rng)
    height = spots[:, 0]
    gathered = np.exp(pattern.gather * _clusters(spots, rng))
    smallest, largest = np.array(pattern.radii_mm) * np.exp(rng.normal(0, SIZE_SD))
    if distribution == "upper":
        radii = rng.uniform(smallest, largest, len(spots))
        # centrilobular holes keep off the pleura, but a lung that is destroyed is so up to its surface
        inner = 1.0 if grade == 5 else 1 / (1 + np.exp(-(_pleura_mm(spots) - 1.2 * radii) / 1.0))
        weight = gathered * inner / (1 + np.exp(-(height - UPPER_FROM_MM) / UPPER_SLOPE_MM))
    else:
        septum_mm, fissure = _septum_mm(spots)
        radii = septum_mm * rng.uniform(0.95, 1.15, len(spots))  # each hole touches its septum
        fits = (radii >= smallest) & (radii <= largest)
        # a large hole takes the place of several small ones, so large ones need a better chance
        weight = fits * gathered * np.maximum(radii, 1) * np.where(fissure, 0.3, 1.0)
        weight = weight * (0.06 + 1 / (1 + np.exp(-(height - RIM_FROM_MM) / RIM_SLOPE_MM)))
    order = np.argsort(rng.exponential(size=len(spots)) / np.maximum(weight, 1e-9))
    order = order[weight[order] > 0]
    if pattern.bullae:
        order, radii = _bullae_first(order, radii, spots, pattern, rng)
    stretch = rng.uniform(*STRETCH, (len(spots), 3))
    taken = _fill(spots, order, radii, stretch, pattern.gaps, max(1, round(destroyed_share * PROBES)))
    return Holes(spots[taken].astype(np.float32), (radii[taken, None] * stretch[taken]).astype(np.float32))


def share_destroyed(
    holes: Holes, points: NDArray[np.float32], offsets: NDArray[np.float32], width_mm: float
) -> NDArray[np.float32]:
    """Share (n,) of each voxel that lies in holes, in 0-1: the mean over its parts.

    points : (n, 3) canonical middles of the voxels; offsets : (m, 3) of the parts of a voxel from its middle, mm.
    width_mm : of a part.
    """
    intact = np.ones((len(points), len(offsets)), np.float32)
    if not len(holes.centres_mm):
        return np.zeros(len(points), np.float32)
    mean = holes.radii_mm.mean(axis=1)
    # an edge as soft as a voxel adds volume to a small ball; a smaller radius takes it away again
    shrunk = mean - width_mm**2 / (12 * mean)
    reach = holes.radii_mm.max(axis=1) + width_mm + np.linalg.norm(offsets, axis=1).max()
    near = cKDTree(points).query_ball_point(holes.centres_mm, reach)
    for at, centre, radii, middle, radius in zip(near, holes.centres_mm, holes.radii_mm, mean, shrunk, strict=True):
        scaled = ((points[at] - centre)[:, None, :] + offsets) / radii  # (k, m, 3)
        distance_mm = np.sqrt(np.einsum("kmi,kmi->km", scaled, scaled)) * middle - radius
        intact[at] *= 1 - fraction_inside(distance_mm, width_mm)
    return 1 - intact.mean(axis=1)


def _lung_spots(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random points (count, 3) in the canonical lungs without the large airways."""
    low, high = np.array(BOX_MM)
    found = np.zeros((0, 3))
    while len(found) < count:
        tried = rng.uniform(low, high, (count, 3))
        found = np.vstack([found, tried[_pleura_mm(tried) > 0]])
    return found[:count]


@cache
def _probes() -> tuple[NDArray[np.float64], cKDTree]:
    """The probes (PROBES, 3) and their tree, the same for all members, since all have the same canonical lungs."""
    probes = _lung_spots(PROBES, stream(0, "emphysema", "probes"))
    return probes, cKDTree(probes)


def _pleura_mm(spots: NDArray) -> NDArray[np.float32]:
    """Depth (n,) below the surface of the lung in mm; negative outside and in the large airways."""
    bodies = body_distances(tuple(np.asarray(c, np.float32) for c in spots.T))
    return np.minimum(-np.minimum(bodies["right"], bodies["left"]), bodies["airway"])


def _septum_mm(spots: NDArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distance (n,) in mm to the pleura or the nearest fissure, and where the fissure is the nearer one."""
    z, y, x = spots.T
    oblique = np.abs(z - 0.95 * y + 18) / np.hypot(1, 0.95)  # the planes that part the lobes in thorax.py
    horizontal = np.where((x < 0) & (z - 0.95 * y + 18 > 0), np.abs(z - 2), np.inf)
    fissure_mm, pleura_mm = np.minimum(oblique, horizontal), _pleura_mm(spots)
    return np.minimum(fissure_mm, pleura_mm), fissure_mm < pleura_mm


def _clusters(spots: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """A smooth field (n,) of mean 0 and SD 1: disease is patchy."""
    centres = spots[rng.choice(len(spots), CLUSTERS, replace=False)]
    height = rng.normal(size=CLUSTERS)
    squared = ((spots[:, None, :] - centres) ** 2).sum(axis=2)  # (n, CLUSTERS)
    field = np.exp(-0.5 * squared / CLUSTER_MM**2) @ height
    return (field - field.mean()) / field.std()


def _bullae_first(
    order: NDArray, radii: NDArray, spots: NDArray, pattern: Pattern, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Order and radii with a few large holes at the front, each at the pleura of the upper lungs."""
    depth, large = _pleura_mm(spots), rng.uniform(*pattern.bulla_mm, len(spots))
    able = np.flatnonzero((depth > 0.75 * large) & (depth < 1.05 * large) & (spots[:, 0] > UPPER_FROM_MM))
    chosen = rng.permutation(able)[: pattern.bullae]
    radii = radii.copy()
    radii[chosen] = large[chosen]
    return np.concatenate([chosen, order[~np.isin(order, chosen)]]), radii


def _fill(
    spots: NDArray,
    order: NDArray,
    radii: NDArray,
    stretch: NDArray,
    gaps: Sequence[float],
    wanted: int,
) -> list[int]:
    """Spots that become centres, in order, until ``wanted`` of the probes lie in holes."""
    near_spots, (probes, near_probes) = cKDTree(spots), _probes()
    covered, room = np.zeros(len(probes), bool), np.full(len(spots), np.inf)
    taken, largest = [], float(radii[order].max())
    for gap in gaps:
        for i in order:
            if room[i] < gap:
                continue
            taken.append(i)
            within = np.array(near_probes.query_ball_point(spots[i], STRETCH[1] * radii[i]), int)
            covered[within] |= (((probes[within] - spots[i]) / (radii[i] * stretch[i])) ** 2).sum(axis=1) <= 1
            if covered.sum() >= wanted:
                return taken
            close = np.array(near_spots.query_ball_point(spots[i], gaps[0] * (radii[i] + largest)), int)
            apart = np.linalg.norm(spots[close] - spots[i], axis=1) / (radii[i] + radii[close])
            room[close] = np.minimum(room[close], apart)
    return taken
