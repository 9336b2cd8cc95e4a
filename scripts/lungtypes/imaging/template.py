"""A study template by iterated averaging: start, mean of the registered scans, shape update, convergence.

After Avants et al., NeuroImage 2010 (optimal templates) and Ryan et al. 2019 (lungct: DSC >= 0.99).

ANTs averages warps and affines apart, and must then turn the mean warp's vectors by the mean affine. Here each
subject's displacement is composite (affine and warp together, in mm of the world), so the vectors are right as they
are, whatever the directions of the image axes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk
from lungtypes.imaging.hounsfield import AIR_HU
from lungtypes.imaging.lung_split import LEFT, RIGHT
from lungtypes.imaging.registration import dice
from lungtypes.imaging.transforms import vector_image


@dataclass(frozen=True)
class Template:
    """hu: mean HU; lungs: uint8 labels; probability: share of subjects whose lung covers the voxel.

    sd: standard deviation of HU over the subjects (n - 1), float32; None for a single scan.
    displacement_mm: mean of the subjects' displacements less its rigid part, which moved the mean here; float32
        (Z, Y, X, 3) along x, y, z. None for a single scan.
    """

    hu: Volume
    lungs: Volume
    probability: Volume
    sd: Volume | None = None
    displacement_mm: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class WarpedSubject:
    """One subject on the template's grid: HU, lung labels, and its displacement.

    displacement : what to add to a template voxel's place for the matching place in the subject, (x, y, z) in mm.
    """

    hu: Volume
    lungs: Volume
    displacement: sitk.Image


@dataclass(frozen=True)
class Convergence:
    """How far one iteration moved the template.

    dice : with the last template. mean_update_mm : mean length of the update within the lungs.
    net_update_mm : of a whole update less the one before. Registrations never fit wholly, so the mean shape's edges are
    blunter than the template's, and a part of the update only puts that back, the same in each iteration: an update
    that comes again has not moved anything. volume_change_percent : of the lungs.
    """

    dice: float
    mean_update_mm: float
    net_update_mm: float
    volume_change_percent: float

    def within(self, *, min_dice: float, max_update_mm: float, max_volume_percent: float) -> bool:
        """Whether Dice, net update and volume change all say that nothing moves any more."""
        return (
            self.dice >= min_dice
            and self.net_update_mm <= max_update_mm
            and abs(self.volume_change_percent) <= max_volume_percent
        )


def start_template(ct: Volume, lungs: Volume, *, padding_mm: float) -> Template:
    """The first template: one subject's scan on a grid padded on all sides."""
    pad = int(np.ceil(padding_mm / ct.spacing_mm[0]))
    grid = sitk.ConstantPad(to_sitk(ct), [pad] * 3, [pad] * 3, AIR_HU)
    labels = sitk.ConstantPad(to_sitk(lungs), [pad] * 3, [pad] * 3, 0)
    hu, label_volume = from_sitk(grid), from_sitk(labels)
    return Template(hu, label_volume, label_volume.with_array((label_volume.array > 0).astype(np.float32)))


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
    shape, n = previous.hu.array.shape, 0
    hu, squares, field = np.zeros(shape), np.zeros(shape), np.zeros((*shape, 3))
    shares = [np.zeros(shape, np.float32) for _ in range(2)]
    for subject in subjects:
        values = subject.hu.array.astype(np.float64)
        hu += values
        squares += values**2
        field += sitk.GetArrayViewFromImage(subject.displacement)
        for side in (RIGHT, LEFT):
            shares[side - 1] += subject.lungs.array == side
        n += 1
    hu, field, shares = hu / n, field / n, [share / n for share in shares]
    # of n - 1, never below 0 by rounding
    sd = np.sqrt(np.maximum(squares / n - hu**2, 0.0) * n / max(n - 1, 1))
    inside = shares[0] + shares[1] >= 0.5
    field = _without_rigid(field, previous.hu, inside)
    images = [(hu, float(AIR_HU)), (shares[0], 0.0), (shares[1], 0.0), (sd, 0.0)]
    moved_hu, right, left, moved_sd = _moved(images, previous.hu, -step * field, applications)
    labels = np.where(np.maximum(right, left) >= 0.5, np.where(right >= left, RIGHT, LEFT), 0).astype(np.uint8)
    template = Template(
        previous.hu.with_array(np.rint(moved_hu).astype(np.int16)),
        previous.hu.with_array(labels),
        previous.hu.with_array(right + left),
        previous.hu.with_array(moved_sd),
        field.astype(np.float32),
    )
    before, after = previous.lungs.array > 0, labels > 0
    # of whole steps, so that a small step does not look like rest
    net = field if previous.displacement_mm is None else field - previous.displacement_mm
    lengths = [float(np.linalg.norm(f[inside], axis=-1).mean()) for f in (step * applications * field, net)]
    change = 100.0 * (int(after.sum()) - int(before.sum())) / max(int(before.sum()), 1)
    return template, Convergence(dice(before, after), *lengths, float(change))


def _moved(
    images: list[tuple[NDArray, float]], grid: Volume, field_mm: NDArray, applications: int
) -> list[NDArray[np.float32]]:
    """Images (with their value outside) pulled ``applications`` times by one displacement field, each from the last."""
    transform = sitk.DisplacementFieldTransform(vector_image(field_mm, grid))
    moved = []
    for array, outside in images:
        image = to_sitk(grid.with_array(array.astype(np.float32)))
        for _ in range(applications):
            image = sitk.Resample(image, image, transform, sitk.sitkLinear, outside)
        moved.append(sitk.GetArrayFromImage(image))
    return moved


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
