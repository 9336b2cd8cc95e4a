"""The engine ``ants``: symmetric normalisation (SyN) of the lungs with ANTs.

Avants et al., Med Image Anal 2008. What differs from the presets of ANTs was measured (benchmarks/registration.py):

- the lungs' shape is a signed distance, cut off at ``distance_mm``: it pulls from further away than a mask, and full
  resolution does not fold it;
- HU inside the lungs join in by local cross-correlation, up to half the resolution, where it is cheap;
- a few iterations at full resolution then fit the surface by the shape alone.

ANTs' results depend on the number of ITK threads and on ANTS_RANDOM_SEED: call
:func:`lungtypes.device.set_itk` before anything imports ants.
"""

from __future__ import annotations

from pathlib import Path

import ants
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.imaging.geometry import Volume, from_sitk, to_ants, to_sitk, write_sitk
from lungtypes.imaging.lung_split import LEFT, RIGHT
from lungtypes.imaging.registration_engine import Lungs, RegistrationSettings
from lungtypes.imaging.transforms import TransformFiles, displacement_field, read_warp

HU_FLOOR, HU_CEILING = -1000.0, 0.0
CC_RADIUS = 2  # voxels; a larger one costs more and fits no better
GRADIENT_STEP = 0.5  # voxels; smaller steps need more iterations for the same fit, 1.0 fits worse
# variance of the Gaussian, in voxels^2, that smooths each update: below, and at full resolution
SMOOTHING, FULL_SMOOTHING = 3.0, 1.5
STIFF_TOTAL = 0.5  # the same for the whole deformation; only for settings stiffer than usual


def register_lungs(fixed: Lungs, moving: Lungs, settings: RegistrationSettings, folder: Path) -> TransformFiles:
    """Bring ``moving`` to ``fixed``; see :mod:`lungtypes.imaging.registration_engine` for the contract.

    folder : fresh; three files of transforms stay there. Raises RuntimeError when ANTs fails.
    """
    images = [_images(lungs, settings.distance_mm) for lungs in (fixed, moving)]
    affine = _affine(fixed, moving, *images, folder)
    coarse, full = settings.iterations[:-1], settings.iterations[-1]
    warps = []
    if any(coarse):
        extras = settings.hu_weight if settings.representation == "mask+hu" else 0.0
        warps.append(_syn(*images, settings, (*coarse, 0), folder / "coarse_", affine=affine, hu_weight=extras))
    if full:
        moved = _moved(images[1], affine, [forward for forward, _ in warps], fixed.labels)
        warps.append(_syn(images[0], moved, settings, (full,), folder / "full_", affine=None, hu_weight=0.0))
    return _composed(affine, warps, fixed.labels, folder)


def _images(lungs: Lungs, distance_mm: float) -> dict[str, Volume]:
    """``mask``: signed distance to the surface, -1 to 1, positive inside; ``hu``: -1000 to 0 HU as 0 to 1, else 0."""
    inside = lungs.labels.array > 0
    hu = (np.clip(lungs.hu.array.astype(np.float32), HU_FLOOR, HU_CEILING) - HU_FLOOR) / (HU_CEILING - HU_FLOOR)
    return {
        "mask": lungs.labels.with_array(_signed_distance(lungs.labels, distance_mm)),
        "hu": lungs.hu.with_array(hu * inside),
    }


def _signed_distance(labels: Volume, distance_mm: float) -> NDArray[np.float32]:
    """The larger of both lungs' distances, so that lungs that touch keep the border between them."""
    best = np.full(labels.array.shape, -distance_mm, np.float32)
    for side in (RIGHT, LEFT):
        inside = labels.array == side
        if inside.any():
            spacing = labels.spacing_mm
            depth = ndimage.distance_transform_edt(inside, sampling=spacing).astype(np.float32)
            depth -= ndimage.distance_transform_edt(~inside, sampling=spacing).astype(np.float32)
            depth -= np.where(inside, 0.5, -0.5).astype(np.float32) * min(spacing)  # from the voxel's face, not centre
            np.maximum(best, depth, out=best)
    return np.clip(best, -distance_mm, distance_mm) / np.float32(distance_mm)


def _affine(fixed: Lungs, moving: Lungs, of_fixed: dict, of_moving: dict, folder: Path) -> Path:
    """From centres and extents of the masks, then by ANTs on their shape."""
    start = folder / "start.mat"
    sitk.WriteTransform(_start(fixed.labels, moving.labels), str(start))
    result = ants.registration(
        to_ants(of_fixed["mask"]),
        to_ants(of_moving["mask"]),
        type_of_transform="Affine",
        initial_transform=str(start),
        aff_metric="meansquares",
        aff_iterations=(40, 20),
        aff_shrink_factors=(4, 2),
        aff_smoothing_sigmas=(2, 1),
        outprefix=str(folder / "affine_"),
    )
    return Path(result["fwdtransforms"][0])


def _start(fixed: Volume, moving: Volume) -> sitk.AffineTransform:
    """Centre on centre, and each axis of the world stretched by the ratio of the lungs' standard deviations."""
    (centre, spread), (moving_centre, moving_spread) = map(_centre_and_spread_mm, (fixed, moving))
    start = sitk.AffineTransform(3)
    start.SetCenter(centre.tolist())
    start.SetMatrix(np.diag(moving_spread / spread).reshape(-1).tolist())
    start.SetTranslation((moving_centre - centre).tolist())
    return start


def _centre_and_spread_mm(labels: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    index = np.argwhere(labels.array > 0)[:, ::-1] * np.array(labels.spacing_mm[::-1])
    points = index @ np.asarray(labels.direction, float).T + np.array(labels.origin_mm)
    return points.mean(axis=0), points.std(axis=0)


def _syn(
    fixed: dict[str, Volume],
    moving: dict[str, Volume],
    settings: RegistrationSettings,
    iterations: tuple[int, ...],
    prefix: Path,
    *,
    affine: Path | None,
    hu_weight: float,
) -> tuple[Path, Path]:
    """One run of SyN: forward and inverse warp."""
    by_hu = settings.representation == "hu"
    first = "hu" if by_hu else "mask"
    smoothing = FULL_SMOOTHING if len(iterations) == 1 else SMOOTHING
    pair = {name: (to_ants(fixed[name]), to_ants(moving[name])) for name in {first, "hu" if hu_weight else first}}
    result = ants.registration(
        *pair[first],
        type_of_transform="SyNOnly",
        initial_transform=None if affine is None else str(affine),
        syn_metric="CC" if by_hu else "meansquares",
        syn_sampling=CC_RADIUS if by_hu else 0,
        reg_iterations=iterations,
        grad_step=GRADIENT_STEP,
        flow_sigma=smoothing * settings.stiffness,
        total_sigma=STIFF_TOTAL if settings.stiffness > 1 else 0,
        multivariate_extras=[["CC", *pair["hu"], hu_weight, CC_RADIUS]] if hu_weight else None,
        outprefix=str(prefix),
    )
    forward = next(f for f in result["fwdtransforms"] if f.endswith("Warp.nii.gz") and "InverseWarp" not in f)
    inverse = next(f for f in result["invtransforms"] if f.endswith("InverseWarp.nii.gz"))
    return Path(forward), Path(inverse)


def _moved(images: dict[str, Volume], affine: Path, warps: list[Path], grid: Volume) -> dict[str, Volume]:
    """The moving images on the fixed grid by what was found so far."""
    mapping = sitk.CompositeTransform([sitk.ReadTransform(str(affine)), *map(read_warp, warps)])
    outside = {"mask": -1.0, "hu": 0.0}
    reference = to_sitk(grid)
    return {
        name: from_sitk(sitk.Resample(to_sitk(volume), reference, mapping, sitk.sitkLinear, outside[name]))
        for name, volume in images.items()
    }


def _composed(affine: Path, warps: list[tuple[Path, Path]], grid: Volume, folder: Path) -> TransformFiles:
    """One warp and one inverse out of those of all runs, first run first, on the fixed grid."""
    files = TransformFiles.of(folder)
    affine.rename(files.affine)
    forward = [read_warp(path) for path, _ in warps]
    write_sitk(displacement_field(sitk.CompositeTransform([sitk.Transform(), *forward]), grid), files.warp)
    del forward
    inverse = [read_warp(path) for _, path in reversed(warps)]
    write_sitk(displacement_field(sitk.CompositeTransform([sitk.Transform(), *inverse]), grid), files.inverse_warp)
    return files
