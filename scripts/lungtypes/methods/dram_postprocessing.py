"""What stands in for the attention in ablations: a dense CRF, and growing from seeds. Both work on a finished map."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDES = ndimage.generate_binary_structure(3, 1)


def seeded_growing(
    probability: NDArray, candidates: NDArray[np.bool_], *, seed_above: float = 0.8
) -> NDArray[np.bool_]:
    """Lesion candidates (Z, Y, X) that hang together, face by face, with a candidate of a probability above the seed's.

    probability : (Z, Y, X) in 0-1.
    """
    pieces, _ = ndimage.label(candidates, structure=SIDES)
    seeded = np.unique(pieces[candidates & (probability > seed_above)])
    return np.isin(pieces, seeded[seeded > 0])


def local_window_crf(
    probability: NDArray,
    image: NDArray,
    inside: NDArray[np.bool_],
    *,
    smoothness: float = 1.0,
    smoothness_voxels: float = 1.0,
    appearance: float = 2.0,
    appearance_voxels: float = 2.0,
    appearance_intensity: float = 0.1,
    radius: int = 2,
    iterations: int = 5,
) -> NDArray[np.float32]:
    """Mean-field inference of a binary CRF whose voxels see a window around them: a local-window CRF.

    The model of Kraehenbuehl and Koltun (2011): unary -log p; Potts with a spatial Gaussian, and with a Gaussian of
    place and intensity. There every voxel sees all others by a permutohedral lattice; here the second kernel ends at
    ``radius`` voxels, so that it needs no library. Each kernel is divided by its sum over the lungs in its window.

    Parameters
    ----------
    probability, image : (Z, Y, X) in 0-1. inside : the lungs; voxels outside neither change nor are seen.
    smoothness, appearance : weights. *_voxels, appearance_intensity : standard deviations.

    Returns
    -------
    (Z, Y, X) float32 : the probability after ``iterations``, 0 outside.
    """
    result = np.zeros(probability.shape, np.float32)
    if not inside.any():
        return result
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    lungs = inside[box].astype(np.float32)
    start, picture = probability[box].astype(np.float32), image[box].astype(np.float32)
    unary = np.log(np.clip(start, 1e-5, 1 - 1e-5)) - np.log(np.clip(1 - start, 1e-5, 1 - 1e-5))
    near_total = _blurred(lungs, smoothness_voxels)
    alike_total = _alike(lungs, picture, lungs, appearance_voxels, appearance_intensity, radius)
    q = start * lungs
    for _ in range(iterations):
        near = _blurred(q, smoothness_voxels) / np.maximum(near_total, 1e-6)
        alike = _alike(q, picture, lungs, appearance_voxels, appearance_intensity, radius)
        alike /= np.maximum(alike_total, 1e-6)
        # Potts: every unit of a neighbour's lesion speaks for lesion, of its health against
        votes = smoothness * (2 * near - 1) + appearance * np.where(alike_total > 0, 2 * alike - 1, 0)
        q = lungs / (1 + np.exp(-(unary + votes)))
    result[box] = q
    return result


def _blurred(values: NDArray, sd: float) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(values, sd, mode="constant", truncate=3)


def _alike(
    values: NDArray, image: NDArray, lungs: NDArray, sd: float, sd_intensity: float, radius: int
) -> NDArray[np.float32]:
    """Sum over the window, itself left out, of values weighted by nearness and by likeness of intensity."""
    total = np.zeros_like(values)
    for step in itertools.product(range(-radius, radius + 1), repeat=3):
        if not any(step):
            continue
        here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(step, values.shape, strict=True))
        there = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(step, values.shape, strict=True))
        distance = sum(s * s for s in step) / (2 * sd**2)
        weight = np.exp(-distance - (image[here] - image[there]) ** 2 / (2 * sd_intensity**2))
        total[here] += weight * values[there] * lungs[there]
    return total
