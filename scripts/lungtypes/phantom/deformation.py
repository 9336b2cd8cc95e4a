"""A known deformation of a virtual scan, so that a registration can be compared with the truth at every voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

OUTSIDE_HU = -1024


def known_displacement(
    shape: tuple[int, int, int],
    spacing_mm: float,
    *,
    sd_mm: float,
    width_mm: float,
    scale: tuple[float, float, float],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Displacements (3, Z, Y, X) in mm along z, y, x: a smooth random field on top of a scaling about the centre.

    Parameters
    ----------
    spacing_mm : isotropic. sd_mm : of each component. width_mm : standard deviation of the Gaussian that smooths the
        noise; at least four times ``sd_mm``, else the field may fold. scale : of z, y, x.
    """
    smooth = np.stack([ndimage.gaussian_filter(rng.standard_normal(shape), width_mm / spacing_mm) for _ in range(3)])
    smooth *= sd_mm / smooth.std()
    for axis, (n, factor) in enumerate(zip(shape, scale, strict=True)):
        ramp = (np.arange(n) - (n - 1) / 2) * spacing_mm * (factor - 1)
        smooth[axis] += ramp.reshape([-1 if i == axis else 1 for i in range(3)])
    return smooth


def deformed(
    hu: NDArray, labels: NDArray[np.uint8], displacement_mm: NDArray, spacing_mm: float
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """The scan whose voxel x shows what lay at x + displacement: HU (Z, Y, X) int16 and labels 1, 2, same shape.

    Registering the scan as it was to this one should find ``displacement_mm``.
    """
    grid = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij")).astype(np.float64)
    places = grid + displacement_mm / spacing_mm
    moved = ndimage.map_coordinates(hu.astype(np.float32), places, order=1, cval=OUTSIDE_HU)
    shares = [ndimage.map_coordinates((labels == side).astype(np.float32), places, order=1) for side in (1, 2)]
    sides = np.where(np.maximum(*shares) >= 0.5, np.argmax(shares, axis=0) + 1, 0)
    return np.rint(moved).astype(np.int16), sides.astype(np.uint8)
