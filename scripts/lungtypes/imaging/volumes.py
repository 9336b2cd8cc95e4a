"""Puts the cohort into one array per space: lung HU on a common grid, N x Z x Y x X, and its description."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lungtypes.errors import GeometryError
from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk, write_volume
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU, OUTSIDE
from lungtypes.imaging.resample import resample_labels


@dataclass(frozen=True)
class CohortGrid:
    """The common grid: shape (Z, Y, X), isotropic spacing, world placement of the template space."""

    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]
    direction: tuple[tuple[float, ...], ...]

    def reference(self) -> sitk.Image:
        """An empty SimpleITK image on the grid."""
        image = sitk.Image([int(n) for n in self.shape[::-1]], sitk.sitkUInt8)
        image.SetSpacing([float(self.spacing_mm)] * 3)
        image.SetOrigin([float(o) for o in self.origin_mm])
        image.SetDirection(np.asarray(self.direction, float).reshape(-1).tolist())
        return image

    def volume(self, array: NDArray) -> Volume:
        """An array of the grid with its geometry; raises GeometryError for another shape."""
        if array.shape != tuple(self.shape):
            raise GeometryError(f"array: found shape {array.shape}, expected {tuple(self.shape)} of the cohort grid.")
        return Volume(array, (self.spacing_mm,) * 3, self.origin_mm, np.asarray(self.direction, float))

    def write_image(self, path: Path, array: NDArray) -> None:
        """Write an array of the grid as float32 NIfTI with the grid's place in the world."""
        write_volume(self.volume(array.astype(np.float32, copy=False)), path)


def grid_around(lungs: Volume, *, size: int, spacing_mm: float) -> CohortGrid:
    """A cube of ``size`` voxels centred on the lungs' bounding box (centre crop or pad)."""
    where = np.argwhere(lungs.array > 0)
    if where.size == 0:
        raise GeometryError("lungs: found no voxel, expected a lung mask.")
    centre_zyx = (where.min(axis=0) + where.max(axis=0)) / 2.0
    direction = np.asarray(lungs.direction, float)
    centre = np.asarray(lungs.origin_mm) + direction @ (centre_zyx[::-1] * np.asarray(lungs.spacing_mm[::-1]))
    corner = centre - direction @ np.full(3, (size - 1) / 2.0 * spacing_mm)
    rows = tuple(tuple(float(v) for v in row) for row in direction)
    return CohortGrid((size, size, size), float(spacing_mm), tuple(float(v) for v in corner), rows)


def share_inside(lungs: Volume, grid: CohortGrid) -> float:
    """Share (0-1) of the lungs' volume that the grid holds; below 1 when they are wider than the cube."""
    held = resample_labels(lungs, grid.reference()) > 0
    whole = float((lungs.array > 0).sum()) * lungs.voxel_ml
    return min(1.0, float(held.sum()) * grid.spacing_mm**3 / 1000.0 / whole)


def lung_hu_on_grid(ct: Volume, lungs: Volume, grid: CohortGrid) -> NDArray[np.int16]:
    """Mean HU of the lung voxels that fall into each voxel of the grid; OUTSIDE where no lung is.

    HU are averaged over lung tissue only (normalised convolution), so that the chest wall does not
    bleed into the lung when the grid is coarser than the scan.
    """
    inside = (lungs.array > 0).astype(np.float32)
    sigma = 0.5 * grid.spacing_mm
    reference = grid.reference()
    weights = _smoothed(ct.with_array(inside), sigma, reference)
    values = _smoothed(ct.with_array(inside * (ct.array.astype(np.float32) + 1024.0)), sigma, reference)
    mean = values / np.maximum(weights, 1e-3) - 1024.0
    labels = resample_labels(lungs, reference)
    keep = (labels > 0) & (weights > 0.05)
    return np.where(keep, np.clip(np.rint(mean), AIR_HU, MAX_HU), OUTSIDE).astype(np.int16)


def _smoothed(volume: Volume, sigma_mm: float, reference: sitk.Image) -> NDArray[np.float32]:
    image = to_sitk(volume)
    if sigma_mm > 0.6 * min(volume.spacing_mm):
        image = sitk.DiscreteGaussian(image, sigma_mm**2, 32, 0.01, True)
    return from_sitk(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, 0.0)).array
