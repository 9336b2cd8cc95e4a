"""Registers the lungs of one scan to a template: affine, then SyN on lung mask and lung HU (ANTs).

Avants et al., Med Image Anal 2008 (SyN). Settings from measurement: smoothed masks with mean squares
fit best; HU inside the lungs join in by local cross-correlation. ANTs results depend on the number of
ITK threads and on ANTS_RANDOM_SEED: call :func:`lungtypes.device.set_itk` before anything imports ants.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume, from_ants, from_sitk, to_ants
from lungtypes.imaging.hounsfield import AIR_HU, MAX_HU

HU_FLOOR, HU_CEILING = -1000.0, 0.0
HU_SHIFT = 1024.0  # ANTs fills with 0, so 0 must mean air


@dataclass(frozen=True)
class Registration:
    """What one registration leaves: ct, lungs, log_jacobian on the template's grid; transforms as files.

    dice per lung, folded_fraction of voxels with J <= 0 within the template's lungs, 1st and 99th
    percentile of J, correlation of HU with the template.
    """

    ct: Volume
    lungs: Volume
    log_jacobian: Volume
    affine_file: Path
    warp_file: Path
    inverse_warp_file: Path
    dice_right: float
    dice_left: float
    folded_fraction: float
    jacobian_p01: float
    jacobian_p99: float
    hu_correlation: float

    def quality(self) -> dict[str, float]:
        """The figures for registration.json and the gate."""
        names = ("dice_right", "dice_left", "folded_fraction", "jacobian_p01", "jacobian_p99", "hu_correlation")
        return {name: float(getattr(self, name)) for name in names}


def register_to_template(
    ct: Volume,
    lungs: Volume,
    template_hu: Volume,
    template_lungs: Volume,
    *,
    representation: str,
    iterations: tuple[int, ...],
    mask_sigma_mm: float,
    work_dir: Path,
) -> Registration:
    """Bring one scan into the template's space; HU are kept, outside the scan is air.

    Parameters
    ----------
    ct, lungs : the moving scan, int16 HU and uint8 labels (1 right, 2 left), one grid.
    template_hu, template_lungs : the fixed images on one grid.
    representation : ``mask``, ``hu`` or ``mask+hu``: what drives SyN.
    iterations : SyN iterations from coarse to fine (shrink factors 2^n ... 1).
    work_dir : a fresh folder; transforms stay there until the caller moves them.

    Raises
    ------
    ScanFault : REG-FAILED when ANTs fails on this scan.
    """
    import ants

    fixed = _pair(template_hu, template_lungs, mask_sigma_mm)
    moving = _pair(ct, lungs, mask_sigma_mm)
    try:
        affine = ants.registration(
            fixed["mask"],
            moving["mask"],
            type_of_transform="Affine",
            aff_metric="meansquares",
            aff_iterations=(200, 100, 50),
            aff_shrink_factors=(4, 2, 1),
            aff_smoothing_sigmas=(2, 1, 0),
            outprefix=str(work_dir / "affine_"),
        )["fwdtransforms"][0]
        affine = _fresh_name(affine, work_dir / "affine.mat")
        warps = _syn(ants, fixed, moving, representation, iterations, affine, work_dir)
    except RuntimeError as error:
        raise ScanFault("REG-FAILED", f"ANTs could not register the scan ({error}). Look at its lung mask.") from error
    return _apply(ants, ct, lungs, template_hu, template_lungs, affine, warps)


def _pair(hu: Volume, lungs: Volume, sigma_mm: float) -> dict[str, object]:
    inside = (lungs.array > 0).astype(np.float32)
    smooth = ndimage.gaussian_filter(inside, [sigma_mm / s for s in lungs.spacing_mm])
    shifted = (np.clip(hu.array.astype(np.float32), HU_FLOOR, HU_CEILING) - HU_FLOOR) / (HU_CEILING - HU_FLOOR)
    return {"mask": to_ants(lungs.with_array(smooth)), "hu": to_ants(hu.with_array(shifted * inside))}


def _syn(ants, fixed, moving, representation, iterations, affine, work_dir) -> tuple[Path, Path]:
    first, extras = ("hu", None) if representation == "hu" else ("mask", None)
    if representation == "mask+hu":
        extras = [["CC", fixed["hu"], moving["hu"], 0.5, 2]]
    result = ants.registration(
        fixed[first],
        moving[first],
        type_of_transform="SyNOnly",
        initial_transform=str(affine),
        syn_metric="CC" if representation == "hu" else "meansquares",
        syn_sampling=2 if representation == "hu" else 0,
        reg_iterations=tuple(int(i) for i in iterations),
        grad_step=0.2,
        flow_sigma=3,
        total_sigma=0,
        multivariate_extras=extras,
        outprefix=str(work_dir / "syn_"),
    )
    forward = next(f for f in result["fwdtransforms"] if "InverseWarp" not in f and f.endswith("Warp.nii.gz"))
    inverse = next(f for f in result["invtransforms"] if f.endswith("InverseWarp.nii.gz"))
    return _fresh_name(forward, work_dir / "warp.nii.gz"), _fresh_name(inverse, work_dir / "inverse_warp.nii.gz")


def _fresh_name(source: str | Path, target: Path) -> Path:
    Path(source).rename(target)
    return target


def _apply(ants, ct, lungs, template_hu, template_lungs, affine, warps) -> Registration:
    transforms = [str(warps[0]), str(affine)]
    reference = to_ants(template_hu)
    shifted = to_ants(ct.with_array(ct.array.astype(np.float32) + HU_SHIFT))
    warped = from_ants(ants.apply_transforms(reference, shifted, transforms, singleprecision=True))
    hu = warped.with_array(np.rint(np.clip(warped.array - HU_SHIFT, AIR_HU, MAX_HU)).astype(np.int16))
    shares = []
    for label in (1, 2):
        mask = to_ants(lungs.with_array((lungs.array == label).astype(np.float32)))
        shares.append(from_ants(ants.apply_transforms(reference, mask, transforms, singleprecision=True)).array)
    labels = np.where(np.maximum(*shares) >= 0.5, np.argmax(shares, axis=0) + 1, 0).astype(np.uint8)
    jacobian = jacobian_determinant(warps[0], affine)
    inside = template_lungs.array > 0
    values = jacobian.array[inside]
    log_jacobian = np.log(np.clip(jacobian.array, 1e-3, None)).astype(np.float32)
    overlap = inside & (labels > 0)
    return Registration(
        ct=hu,
        lungs=hu.with_array(labels),
        log_jacobian=hu.with_array(log_jacobian),
        affine_file=affine,
        warp_file=warps[0],
        inverse_warp_file=warps[1],
        dice_right=dice(labels == 1, template_lungs.array == 1),
        dice_left=dice(labels == 2, template_lungs.array == 2),
        folded_fraction=float((values <= 0).mean()),
        jacobian_p01=float(np.percentile(values, 1)),
        jacobian_p99=float(np.percentile(values, 99)),
        hu_correlation=hu_correlation(hu.array[overlap], template_hu.array[overlap]),
    )


def jacobian_determinant(warp_file: Path, affine_file: Path) -> Volume:
    """Jacobian of affine and warp together, by SimpleITK (the ANTs tool clamps at zero)."""
    field = sitk.ReadImage(str(warp_file), sitk.sitkVectorFloat64)
    local = from_sitk(sitk.DisplacementFieldJacobianDeterminant(field))
    affine = sitk.ReadTransform(str(affine_file))
    matrix = np.array(affine.GetParameters()[:9]).reshape(3, 3)
    return local.with_array((local.array * np.linalg.det(matrix)).astype(np.float32))


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks in 0-1; two empty masks give 1."""
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total


def hu_correlation(first: NDArray, second: NDArray) -> float:
    """Pearson correlation of the HU of the same voxels; NaN for fewer than ten or constant ones."""
    if first.size < 10 or first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first.astype(np.float64), second.astype(np.float64))[0, 1])
