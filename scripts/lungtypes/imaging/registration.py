"""Brings the lungs of one scan to a template, and measures how well that went.

One transform for both lungs. The engine (see :mod:`lungtypes.imaging.registration_engine`) finds it on images cropped
to the lungs; what lies outside of them is hardly moved, and what lies outside of the scan is air.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume, bounding_box, crop, from_sitk, to_sitk
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU
from lungtypes.imaging.lung_split import LEFT, RIGHT
from lungtypes.imaging.registration_engine import ENGINES, Lungs, RegistrationSettings
from lungtypes.imaging.transforms import (
    TransformFiles,
    displacement_field,
    read_warp,
    warp_image,
    warp_labels,
)

CROP_MARGIN_MM = 15.0  # around the lungs: SyN holds the border of its images still
AROUND_LUNGS_MM = 6.0  # folding is looked for this far around the template's lungs, too
SMALLEST_JACOBIAN = 1e-3  # the logarithm of what folds does not exist


@dataclass(frozen=True)
class Registration:
    """What one registration leaves, on the template's grid; transforms as files.

    ct int16 HU; lungs uint8, 1 right, 2 left; log_jacobian float32, natural logarithm of the scan's volume over the
    template's; figures: those of :func:`measure_overlap` and of the deformation.
    """

    ct: Volume
    lungs: Volume
    log_jacobian: Volume
    transforms: TransformFiles
    figures: dict[str, float]


def register_to_template(
    ct: Volume,
    lungs: Volume,
    template_hu: Volume,
    template_lungs: Volume,
    *,
    settings: RegistrationSettings,
    folder: Path,
) -> Registration:
    """Bring one scan into the template's space; HU are kept, outside the scan is air.

    Parameters
    ----------
    ct, lungs : the moving scan, int16 HU and uint8 labels (1 right, 2 left), one grid.
    template_hu, template_lungs : the fixed images on one grid.
    folder : fresh; transforms stay there until the caller moves them.

    Raises
    ------
    ScanFault : REG-FAILED when the engine fails on this scan.
    """
    try:
        files = ENGINES[settings.engine](
            cropped_to_lungs(template_hu, template_lungs), cropped_to_lungs(ct, lungs), settings, folder
        )
    except RuntimeError as error:
        said = str(error).replace(str(folder), "the scratch folder")
        words = f"{settings.engine} could not register the scan ({said}). Look at its lung mask."
        raise ScanFault("REG-FAILED", words) from error
    return registration_of(files, ct, lungs, template_hu, template_lungs)


def registration_of(
    files: TransformFiles, ct: Volume, lungs: Volume, template_hu: Volume, template_lungs: Volume
) -> Registration:
    """What a transform, from wherever, makes of a scan, and how good it is. Images as in register_to_template."""
    warped = warp_image(ct, files, to="template", reference=template_hu, outside=AIR_HU)
    hu = warped.with_array(np.rint(np.clip(warped.array, AIR_HU, MAX_HU)).astype(np.int16))
    labels = warp_labels(lungs, files, to="template", reference=template_lungs)
    jacobian = jacobian_determinant(files, template_lungs)
    if not np.isfinite(jacobian.array).all():
        raise ScanFault("REG-FAILED", "the deformation is not finite. Look at the lung mask.")
    log_jacobian = jacobian.with_array(np.log(np.maximum(jacobian.array, SMALLEST_JACOBIAN)))
    ratio = _volume_ml(lungs) / _volume_ml(template_lungs)
    figures = {
        **measure_overlap(hu, labels, template_hu, template_lungs),
        **_measure_deformation(jacobian, template_lungs, files, volume_ratio=ratio),
    }
    return Registration(hu, labels, log_jacobian, files, figures)


def cropped_to_lungs(hu: Volume, labels: Volume) -> Lungs:
    """The lungs with CROP_MARGIN_MM around them."""
    box = bounding_box(labels.array > 0, labels.spacing_mm, CROP_MARGIN_MM)
    return Lungs(crop(hu, box), crop(labels, box))


def jacobian_determinant(files: TransformFiles, grid: Volume) -> Volume:
    """The scan's volume over the template's at each voxel of ``grid``, affine and warp together, float32.

    By SimpleITK: the tool of ANTs cuts off at zero, so that folding could not be seen.
    """
    field = sitk.ReadImage(str(files.warp), sitk.sitkVectorFloat64)
    # the filter takes derivatives along the axes of the image, so the vectors have to be along them, too
    axes = np.array(field.GetDirection()).reshape(3, 3)
    straight = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(field) @ axes, isVector=True)
    straight.SetSpacing(field.GetSpacing())
    local = sitk.DisplacementFieldJacobianDeterminant(straight)
    local.CopyInformation(field)
    matrix = np.array(sitk.ReadTransform(str(files.affine)).GetParameters()[:9]).reshape(3, 3)
    on_grid = from_sitk(sitk.Resample(local, to_sitk(grid), sitk.Transform(), sitk.sitkLinear, 1.0))
    return on_grid.with_array((on_grid.array * np.linalg.det(matrix)).astype(np.float32))


def measure_overlap(hu: Volume, labels: Volume, template_hu: Volume, template_lungs: Volume) -> dict[str, float]:
    """dice and hd95 (mm) of each lung, and the correlation of HU where both have lung; all on the template's grid."""
    figures = {}
    for name, side in (("right", RIGHT), ("left", LEFT)):
        pair = labels.array == side, template_lungs.array == side
        figures[f"dice_{name}"] = dice(*pair)
        figures[f"hd95_{name}_mm"] = hausdorff95_mm(*pair, spacing_mm=template_lungs.spacing_mm)
    overlap = (labels.array > 0) & (template_lungs.array > 0)
    figures["hu_correlation"] = hu_correlation(hu.array[overlap], template_hu.array[overlap])
    return figures


def _measure_deformation(
    jacobian: Volume, template_lungs: Volume, files: TransformFiles, *, volume_ratio: float
) -> dict[str, float]:
    """Folding (percent of the voxels in and around the lungs), percentiles of J, inverse consistency (mm).

    volume_ratio : the scan's lungs over the template's; the percentiles are of J over it, so that size is no fault.
    """
    inside = template_lungs.array > 0
    box = bounding_box(inside, template_lungs.spacing_mm, AROUND_LUNGS_MM + max(template_lungs.spacing_mm))
    far = ndimage.distance_transform_edt(~inside[box], sampling=template_lungs.spacing_mm)
    around = jacobian.array[box][far <= AROUND_LUNGS_MM]
    relative = jacobian.array[inside] / volume_ratio
    return {
        "folded_percent": 100 * float((around <= 0).mean()),
        "jacobian_p01": float(np.percentile(relative, 1)),
        "jacobian_p99": float(np.percentile(relative, 99)),
        "inverse_mm": inverse_consistency_mm(files, template_lungs),
        "volume_ratio": volume_ratio,
    }


def inverse_consistency_mm(files: TransformFiles, template_lungs: Volume) -> float:
    """How far points of the template's lungs miss themselves after a way to the scan and back: mean, mm.

    The affine cancels, so only warp and inverse warp take part.
    """
    box = bounding_box(template_lungs.array > 0, template_lungs.spacing_mm, 0.0)
    lungs = crop(template_lungs, box)
    there_and_back = sitk.CompositeTransform([read_warp(files.inverse_warp), read_warp(files.warp)])
    miss = sitk.GetArrayFromImage(displacement_field(there_and_back, lungs))
    return float(np.linalg.norm(miss[lungs.array > 0], axis=-1).mean(dtype=np.float64))


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks in 0-1; two empty masks give 1."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total


def hausdorff95_mm(
    first: NDArray[np.bool_], second: NDArray[np.bool_], *, spacing_mm: tuple[float, float, float]
) -> float:
    """95th percentile of the distance from a surface to the other, the larger of both ways (HD95); NaN if one is empty.

    Surfaces are the masks' outermost voxels.
    """
    if not first.any() or not second.any():
        return float("nan")
    box = bounding_box(first | second, spacing_mm, max(spacing_mm))
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (first[box], second[box])]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    return float(max(np.percentile(away[1][surfaces[0]], 95), np.percentile(away[0][surfaces[1]], 95)))


def hu_correlation(first: NDArray, second: NDArray) -> float:
    """Pearson correlation of the HU of the same voxels; NaN for fewer than ten or constant ones."""
    if first.size < 10 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])


def _volume_ml(lungs: Volume) -> float:
    return int((lungs.array > 0).sum()) * lungs.voxel_ml
