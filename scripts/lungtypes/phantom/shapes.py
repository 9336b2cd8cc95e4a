"""Signed distances (mm, negative inside) of the simple bodies that the virtual thorax is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]  # z, y, x in mm


def ellipsoid(points: Points, centre: Sequence[float], radii: Sequence[float]) -> NDArray[np.float32]:
    """First-order signed distance to an ellipsoid with axes along z, y, x."""
    level = np.zeros_like(points[0])
    gradient = np.zeros_like(points[0])
    for coordinate, middle, radius in zip(points, centre, radii, strict=True):
        scaled = (coordinate - np.float32(middle)) / np.float32(radius)
        level += scaled**2
        gradient += (scaled / np.float32(radius)) ** 2
    np.sqrt(level, out=level)
    np.sqrt(gradient, out=gradient)
    return level * (level - 1) / np.maximum(gradient, np.float32(1e-6))


def capsule(points: Points, start: Sequence[float], end: Sequence[float], radius: float) -> NDArray[np.float32]:
    """Signed distance to a round tube with round ends."""
    axis = np.asarray(end, np.float32) - np.asarray(start, np.float32)
    length_squared = float(axis @ axis)
    offsets = [c - np.float32(s) for c, s in zip(points, start, strict=True)]
    along = sum(o * a for o, a in zip(offsets, axis, strict=True)) / np.float32(max(length_squared, 1e-6))
    along = np.clip(along, 0, 1)
    squared = sum((o - along * a) ** 2 for o, a in zip(offsets, axis, strict=True))
    return np.sqrt(squared) - np.float32(radius)


def smooth_union(first: NDArray, second: NDArray, blend_mm: float) -> NDArray:
    """Union whose seam is rounded over ``blend_mm``."""
    share = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0, 1)
    return second * (1 - share) + first * share - blend_mm * share * (1 - share)


def fraction_inside(distance_mm: NDArray, width_mm: float) -> NDArray[np.float32]:
    """Share of a voxel of size ``width_mm`` that lies inside (partial volume), in 0-1."""
    return np.clip(0.5 - distance_mm / np.float32(width_mm), 0, 1)
