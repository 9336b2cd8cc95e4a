"""A study template by iterated SyN averaging: sample, start, average with shape update, convergence.

After Avants et al., NeuroImage 2010 (optimal templates) and Ryan et al. 2019 (lungct: DSC >= 0.99).
Displacements are composite (affine and warp) and physical, so that the update needs no re-orientation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk
from lungtypes.imaging.hounsfield import AIR_HU
from lungtypes.imaging.registration import dice


@dataclass(frozen=True)
class Template:
    """hu: mean HU; lungs: uint8 labels; probability: share of subjects whose lung covers the voxel."""

    hu: Volume
    lungs: Volume
    probability: Volume


@dataclass(frozen=True)
class WarpedSubject:
    """One subject on the template's grid: HU, lung labels, and its displacement (see composite_displacement)."""

    hu: Volume
    lungs: Volume
    displacement: sitk.Image


@dataclass(frozen=True)
class Convergence:
    """How far one iteration moved the template: Dice with the last, update in mm, volume change in percent."""

    dice: float
    mean_update_mm: float
    volume_change_percent: float

    def within(self, *, min_dice: float, max_update_mm: float, max_volume_percent: float) -> bool:
        """Whether Dice, update and volume change all say that nothing moves any more."""
        return (
            self.dice >= min_dice
            and self.mean_update_mm <= max_update_mm
            and abs(self.volume_change_percent) <= max_volume_percent
        )


def start_template(ct: Volume, lungs: Volume, *, padding_mm: float) -> Template:
    """The first template: one subject's scan on a grid padded on all sides."""
    pad = int(np.ceil(padding_mm / ct.spacing_mm[0]))
    grid = sitk.ConstantPad(to_sitk(ct), [pad] * 3, [pad] * 3, AIR_HU)
    labels = sitk.ConstantPad(to_sitk(lungs), [pad] * 3, [pad] * 3, 0)
    hu, label_volume = from_sitk(grid), from_sitk(labels)
    return Template(hu, label_volume, label_volume.with_array((label_volume.array > 0).astype(np.float32)))


def composite_displacement(affine_file: str, warp_file: str, grid: Volume) -> sitk.Image:
    """Displacement in mm (world x, y, z) from each template voxel to the matching place in the subject."""
    warp = sitk.DisplacementFieldTransform(sitk.ReadImage(str(warp_file), sitk.sitkVectorFloat64))
    whole = sitk.CompositeTransform([sitk.ReadTransform(str(affine_file)), warp])
    reference = to_sitk(grid)
    return sitk.TransformToDisplacementField(
        whole,
        sitk.sitkVectorFloat32,
        reference.GetSize(),
        reference.GetOrigin(),
        reference.GetSpacing(),
        reference.GetDirection(),
    )


def update_template(
    previous: Template,
    subjects: Iterable[WarpedSubject],
    *,
    step: float,
    applications: int,
) -> tuple[Template, Convergence]:
    """Average the warped subjects, then move the average towards the mean shape.

    Parameters
    ----------
    subjects : read one after the other, so that memory does not grow with their number.
    step, applications : the mean displacement times -step is applied that often (ANTs: 0.25, 4).

    HU are averaged as they are, without normalisation. The rigid part of the mean displacement is
    left out, since it only says where in the scanner the subjects lay.
    """
    hu, field, n = np.zeros(previous.hu.array.shape), np.zeros((*previous.hu.array.shape, 3)), 0
    shares = [np.zeros(previous.hu.array.shape, np.float32) for _ in range(2)]
    for subject in subjects:
        hu += subject.hu.array
        field += sitk.GetArrayViewFromImage(subject.displacement)
        for side in (1, 2):
            shares[side - 1] += subject.lungs.array == side
        n += 1
    hu, field, shares = hu / n, field / n, [share / n for share in shares]
    inside = shares[0] + shares[1] >= 0.5
    field = _without_rigid(field, previous.hu, inside)
    images = [(hu, float(AIR_HU)), (shares[0], 0.0), (shares[1], 0.0)]
    moved = [_moved(array, previous.hu, field, step, applications, fill) for array, fill in images]
    labels = np.where(np.maximum(moved[1], moved[2]) >= 0.5, np.where(moved[1] >= moved[2], 1, 2), 0).astype(np.uint8)
    template = Template(
        previous.hu.with_array(np.rint(moved[0]).astype(np.int16)),
        previous.hu.with_array(labels),
        previous.hu.with_array((moved[1] + moved[2]).astype(np.float32)),
    )
    before, after = previous.lungs.array > 0, labels > 0
    lengths = np.linalg.norm(field[inside], axis=-1) * step * applications
    change = 100.0 * (int(after.sum()) - int(before.sum())) / max(int(before.sum()), 1)
    return template, Convergence(dice(before, after), float(lengths.mean()), float(change))


def _moved(
    array: NDArray, grid: Volume, field: NDArray, step: float, applications: int, fill: float
) -> NDArray[np.float32]:
    image = to_sitk(grid.with_array(array.astype(np.float32)))
    for _ in range(applications):
        scaled = sitk.GetImageFromArray((-step * field).astype(np.float64), isVector=True)
        scaled.CopyInformation(image)
        image = sitk.Resample(image, image, sitk.DisplacementFieldTransform(scaled), sitk.sitkLinear, fill)
    return sitk.GetArrayFromImage(image)


def _without_rigid(field: NDArray, grid: Volume, inside: NDArray[np.bool_]) -> NDArray:
    """Remove the best rigid motion (Kabsch 1976) of x -> x + field(x) over the lungs."""
    points = _world_points(grid)
    source, target = points[inside], (points + field)[inside]
    centre, moved_centre = source.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((source - centre).T @ (target - moved_centre))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ flip @ u.T
    back = (points + field - moved_centre) @ rotation + centre  # inverse rotation of row vectors
    return back - points


def _world_points(grid: Volume) -> NDArray[np.float64]:
    axes = [np.arange(n, dtype=np.float64) for n in grid.array.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    index = np.stack([x * grid.spacing_mm[2], y * grid.spacing_mm[1], z * grid.spacing_mm[0]], axis=-1)
    return index @ np.asarray(grid.direction).T + np.asarray(grid.origin_mm)
