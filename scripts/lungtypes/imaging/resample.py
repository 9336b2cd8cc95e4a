"""Resamples a CT and its lung mask to one isotropic grid, cropped to the lungs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume, bounding_box, crop, from_sitk, require_same_grid, to_sitk
from lungtypes.imaging.hounsfield import AIR_HU


@dataclass(frozen=True)
class ResampledScan:
    """ct int16 HU, lungs uint8 (1 right, 2 left) and, when given, lobes uint8 (1-5) on the same isotropic grid."""

    ct: Volume
    lungs: Volume
    lobes: Volume | None = None


def resample_scan(
    ct: Volume,
    lungs: Volume,
    lobes: Volume | None = None,
    *,
    spacing_mm: float,
    margin_mm: float,
    max_volume_change_percent: float,
) -> ResampledScan:
    """Resample to ``spacing_mm`` and cut out the lungs' box widened by ``margin_mm``.

    HU are smoothed before downsampling (Gaussian, SD half the ratio of spacings) and interpolated
    linearly; labels go through a linear share per label. Outside the scan is air (-1024 HU).

    Raises
    ------
    GeometryError : ct, lungs and lobes have different grids.
    ScanFault : RES-VOLUME when the lungs change by more than ``max_volume_change_percent``.
    """
    require_same_grid(ct, lungs, "ct and lungs")
    if lobes is not None:
        require_same_grid(ct, lobes, "ct and lobes")
    box = bounding_box(lungs.array > 0, lungs.spacing_mm, margin_mm + 2 * max(lungs.spacing_mm))
    ct, lungs = crop(ct, box), crop(lungs, box)
    lobes = None if lobes is None else crop(lobes, box)
    image = sitk.Cast(to_sitk(ct), sitk.sitkFloat32)
    reference = _isotropic_grid(image, spacing_mm)
    smoothed = _anti_aliased(image, spacing_mm)
    hu = from_sitk(sitk.Resample(smoothed, reference, sitk.Transform(), sitk.sitkLinear, float(AIR_HU)))
    hu = hu.with_array(np.rint(hu.array).astype(np.int16))
    labels = hu.with_array(resample_labels(lungs, reference))
    before, after = ((v.array > 0).sum() * v.voxel_ml for v in (lungs, labels))
    if 100 * abs(after - before) > max_volume_change_percent * before:
        raise ScanFault(
            "RES-VOLUME",
            f"lungs of {before:.0f} mL became {after:.0f} mL, expected a change below {max_volume_change_percent:g} %. "
            "The slices are too thick for this spacing; choose a coarser one.",
        )
    box = bounding_box(labels.array > 0, labels.spacing_mm, margin_mm)
    if lobes is not None:  # where lobes meet none has half of a voxel, and still one of them is there
        shares = resample_labels(lobes, reference, min_share=1e-3)
        lobes = crop(hu.with_array(np.where(labels.array > 0, shares, 0).astype(np.uint8)), box)
    return ResampledScan(crop(hu, box), crop(labels, box), lobes)


def resample_labels(
    labels: Volume, reference: sitk.Image, mapping: sitk.Transform | None = None, *, min_share: float = 0.5
) -> np.ndarray:
    """Labels on another grid, in their own dtype: linear share per label, the largest of at least ``min_share`` wins.

    mapping : takes points of ``reference`` to points of ``labels``; None where both have one space.
    """
    mapping = mapping or sitk.Transform()
    result = np.zeros(reference.GetSize()[::-1], labels.array.dtype)
    best = np.full(result.shape, min_share, np.float32)
    for label in np.unique(labels.array[labels.array > 0]):
        image = to_sitk(labels.with_array((labels.array == label).astype(np.float32)))
        share = sitk.GetArrayFromImage(sitk.Resample(image, reference, mapping, sitk.sitkLinear, 0.0))
        better = share >= best
        result[better] = label
        np.copyto(best, share, where=better)
    return result


def _isotropic_grid(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    size = np.maximum(np.ceil(extent / spacing_mm).astype(int), 1)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing([float(spacing_mm)] * 3)
    grid.SetDirection(image.GetDirection())
    # voxel corners, not centres, stay in place
    shift = 0.5 * (np.full(3, spacing_mm) - np.array(image.GetSpacing()))
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid.SetOrigin((np.array(image.GetOrigin()) + direction @ shift).tolist())
    return grid


def _anti_aliased(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    sigma = [0.5 * spacing_mm if spacing_mm > 1.05 * s else 0.0 for s in image.GetSpacing()]
    sigma = [
        float(np.sqrt(max(s**2 - (0.5 * own) ** 2, 0.0))) for s, own in zip(sigma, image.GetSpacing(), strict=True)
    ]
    for axis, value in enumerate(sigma):
        if value > 0:
            image = sitk.RecursiveGaussian(image, value, direction=axis)
    return image
