"""Plants what makes lung segmentation hard into a virtual chest, with the lungs that are true afterwards.

The causes are those of Meng et al. 2012 and Mansoor et al. 2015 (reviews of failures); the shapes are our own.
Anatomy is changed before the virtual scanner sees it, geometry (cropping, prone, oblique) after.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.imaging.geometry import Volume, bounding_box, crop, from_sitk, to_sitk
from lungtypes.phantom.anatomy import Person
from lungtypes.phantom.scanner import Scanner, acquire, scan_shape
from lungtypes.phantom.thorax import AIR_HU, BONE_HU, FAT_HU, SOFT_HU, Thorax, render_thorax, smooth_field
from lungtypes.randomness import stream

RIGHT, LEFT = 1, 2
CONSOLIDATION_HU, EFFUSION_HU, GAS_HU, BULLA_HU = 30.0, 10.0, -985.0, -990.0
CUT_IN_PLANE_MM = 25.0  # of the right lung that lies outside a field of view that is too small
CUT_END_MM = 60.0
GAP_MM = 36.0  # both lungs are nearer than this to where they are made to touch
OBLIQUE_DEGREES = (8.0, 6.0, 14.0)  # about x, y, z


@dataclass(frozen=True)
class SickScan:
    """ct : int16 HU; lungs : uint8, 1 right, 2 left, the truth on the same grid; index axes as the condition says."""

    ct: Volume
    lungs: Volume


def sick_scan(
    person: Person, scanner: Scanner, condition: str, *, seed: int, spacing_mm: tuple[float, float, float]
) -> SickScan:
    """Scan ``person`` with a planted condition; see ANATOMY and GEOMETRY for the names, ``none`` plants nothing.

    Parameters
    ----------
    spacing_mm : (z, y, x); the field of view is the scanner's own.
    seed : streams are derived from it by condition and person.

    Raises
    ------
    ValueError : the condition is unknown.
    """
    if condition not in {"none", *ANATOMY, *GEOMETRY}:
        raise ValueError(f"condition: found {condition!r}, expected one of none, {', '.join([*ANATOMY, *GEOMETRY])}.")
    field_mm = np.array(scan_shape(scanner)) * scanner.spacing_mm
    shape = tuple(int(n) for n in np.round(field_mm / spacing_mm))
    thorax = render_thorax(person, shape=shape, spacing_mm=spacing_mm, seed=seed)
    if condition in ANATOMY:
        thorax = ANATOMY[condition](thorax, stream(seed, "phantom", condition, person.index))
    own = replace(scanner, spacing_mm=spacing_mm)
    hu = acquire(thorax.hu, own, rng=stream(seed, "phantom", "noise", person.index))
    ct = Volume(hu, thorax.spacing_mm, tuple(thorax.origin_mm[::-1]), np.eye(3))
    scan = SickScan(ct, ct.with_array(thorax.lungs))
    return GEOMETRY[condition](scan) if condition in GEOMETRY else scan


def touching_lungs(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """Lungs that meet behind the sternum, with a septum that the scanner cannot see; the truth meets halfway."""
    del rng
    right, left = (_distance_mm(thorax, thorax.lungs == side) for side in (RIGHT, LEFT))
    lung_z, lung_y, _ = np.nonzero(thorax.lungs)
    z, y, _ = np.ix_(*(np.arange(n) for n in thorax.hu.shape))
    front = (y > np.quantile(lung_y, 0.04)) & (y < np.quantile(lung_y, 0.3)) & (z > np.quantile(lung_z, 0.5))
    soft = (thorax.lungs == 0) & (thorax.hu > -200) & (thorax.hu < 150)
    gap = front & soft & (np.maximum(right, left) < GAP_MM)
    lungs = thorax.lungs.copy()
    lungs[gap] = np.where(right <= left, RIGHT, LEFT)[gap]
    hu = np.where(gap, np.float32(-840), thorax.hu)
    return replace(thorax, hu=np.where(gap & (np.abs(right - left) < 1.5), np.float32(-650), hu), lungs=lungs)


def consolidation(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """Part of the right lower lobe without air, broad on the costal pleura; it stays lung in the truth."""
    lobe = (thorax.lobes == 3) & (thorax.lungs == RIGHT)
    centre = [np.quantile(c, q) for c, q in zip(np.nonzero(lobe), (0.62, 0.75, 0.12), strict=True)]
    return _without_air(thorax, lobe & (_from_voxel_mm(thorax, centre) < 52), CONSOLIDATION_HU, rng)


def lobar_consolidation(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """The whole right lower lobe without air: more than any shape can tell; it stays lung in the truth."""
    return _without_air(thorax, (thorax.lobes == 3) & (thorax.lungs == RIGHT), CONSOLIDATION_HU, rng)


def effusion(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """Fluid behind and below the left lung up to a tilted level; pleural space, hence no lung in the truth."""
    left = thorax.lungs == LEFT
    z, y, _ = (np.broadcast_to(a, left.shape) for a in _axes_mm(thorax))
    depth = y - 0.55 * z  # the meniscus: highest at the back
    fluid = left & (depth > np.quantile(depth[left], 0.68))
    return replace(_without_air(thorax, fluid, EFFUSION_HU, rng), lungs=np.where(fluid, 0, thorax.lungs))


def collapsed_lung(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """A left lung of a fifth of its size at the hilum, fluid around it; the truth is what still holds air."""
    left = thorax.lungs == LEFT
    right_edge = _distance_mm(thorax, thorax.lungs == RIGHT)
    upper = np.broadcast_to(_axes_mm(thorax)[0], left.shape)
    rest = left & (right_edge - 0.4 * upper > np.quantile((right_edge - 0.4 * upper)[left], 0.2))
    return replace(_without_air(thorax, rest, EFFUSION_HU, rng), lungs=np.where(rest, 0, thorax.lungs))


def severe_emphysema(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """Two thirds of both lungs at -975 HU and bullae at the apices."""
    inside = thorax.lungs > 0
    field = smooth_field(rng, inside.shape, thorax.spacing_mm, 8.0)
    holes = inside & (field > np.quantile(field[inside], 0.35)) & (thorax.hu < -700)
    hu = np.where(holes, np.minimum(thorax.hu, np.float32(-975)), thorax.hu)
    for side in (RIGHT, LEFT):
        centre = [np.quantile(c, q) for c, q in zip(np.nonzero(thorax.lungs == side), (0.9, 0.5, 0.5), strict=True)]
        bulla = (thorax.lungs == side) & (_from_voxel_mm(thorax, centre) < 28)
        hu = np.where(bulla, np.float32(BULLA_HU), hu)
    return replace(thorax, hu=hu.astype(np.float32))


def bowel_gas(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """Gas in the stomach below the left dome and in a loop of colon below the right one."""
    hu = thorax.hu.copy()
    lung_mm = _distance_mm(thorax, thorax.lungs > 0)
    wall_mm = 7 + rng.uniform(0, 3)
    for side, radii in ((LEFT, (26, 38, 34)), (RIGHT, (16, 24, 40))):
        z, y, x = np.nonzero(thorax.lungs == side)
        row, column = int(np.quantile(y, 0.4)), int(np.median(x))
        dome = int(z[(y == row) & (x == column)].min())
        centre = (dome - (wall_mm + radii[0]) / thorax.spacing_mm[0], row, column)
        parts = zip(_index_mm(thorax), centre, thorax.spacing_mm, radii, strict=True)
        away = sum(((a - c * s) / r) ** 2 for a, c, s, r in parts)
        hu[(away < 1) & (lung_mm > wall_mm)] = GAS_HU
    return replace(thorax, hu=hu)


def arms_down(thorax: Thorax, rng: np.random.Generator) -> Thorax:
    """Upper arms against the chest, cut by the edge of the field of view, with air between arm and chest."""
    del rng
    hu = thorax.hu.copy()
    body = (hu > -500) & (_axes_mm(thorax)[1] < 120)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    z, y, x = _index_mm(thorax)
    for edge, sign in ((columns[0], -1), (columns[-1], 1)):
        centre_x = edge * thorax.spacing_mm[2] + sign * 26
        away = np.hypot(y - 0.42 * y.max(), x - centre_x) + 0 * z
        for radius, value in ((36, FAT_HU), (28, SOFT_HU), (10, BONE_HU)):
            hu = np.where((away < radius) & ((hu < -300) | (radius < 36)), np.float32(value), hu)
    return replace(thorax, hu=hu)


def cropped_in_plane(scan: SickScan) -> SickScan:
    """A field of view that cuts the right lung's side off."""
    first = np.flatnonzero((scan.lungs.array == RIGHT).any(axis=(0, 1)))[0]
    start = int(first + CUT_IN_PLANE_MM / scan.ct.spacing_mm[2])
    return _cut(scan, (slice(0, None), slice(0, None), slice(start, None)))


def cropped_base(scan: SickScan) -> SickScan:
    """A scan that ends above the diaphragm."""
    first = np.flatnonzero(scan.lungs.array.any(axis=(1, 2)))[0]
    start = int(first + (CUT_END_MM + 30) / scan.ct.spacing_mm[0])
    return _cut(scan, (slice(start, None), slice(0, None), slice(0, None)))


def cropped_apex(scan: SickScan) -> SickScan:
    """A scan that starts below the apices."""
    last = np.flatnonzero(scan.lungs.array.any(axis=(1, 2)))[-1]
    stop = int(last - CUT_END_MM / scan.ct.spacing_mm[0])
    return _cut(scan, (slice(0, stop), slice(0, None), slice(0, None)))


def tight_field(scan: SickScan) -> SickScan:
    """A field of view just around the lungs, as reconstructions of the lungs have; nothing of them is lost."""
    box = bounding_box(scan.lungs.array > 0, scan.lungs.spacing_mm, 8.0)
    return _cut(scan, (slice(0, None), *box[1:]))


def prone(scan: SickScan) -> SickScan:
    """The person lies on the front: rows and columns of the image run to the front and to the right."""
    return SickScan(*(from_sitk(sitk.Flip(to_sitk(v), [True, True, False])) for v in (scan.ct, scan.lungs)))


def flipped(scan: SickScan) -> SickScan:
    """The first slice is the lowest, the first column the patient's left, as in RAI, LAS or RAS files."""
    return SickScan(*(from_sitk(sitk.Flip(to_sitk(v), [True, False, True])) for v in (scan.ct, scan.lungs)))


def oblique(scan: SickScan) -> SickScan:
    """Index axes turned against the patient's by OBLIQUE_DEGREES, with the direction matrix that says so."""
    grid = to_sitk(scan.ct)
    turn = sitk.Euler3DTransform()
    turn.SetCenter(grid.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.GetSize()]))
    turn.SetRotation(*np.deg2rad(OBLIQUE_DEGREES).tolist())
    reference = sitk.Image(grid.GetSize(), sitk.sitkUInt8)
    reference.SetSpacing(grid.GetSpacing())
    reference.SetDirection(turn.GetMatrix())
    reference.SetOrigin(turn.TransformPoint(grid.GetOrigin()))
    ct = sitk.Resample(sitk.Cast(grid, sitk.sitkFloat32), reference, sitk.Transform(), sitk.sitkLinear, AIR_HU)
    lungs = sitk.Resample(to_sitk(scan.lungs), reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    turned = from_sitk(ct)
    return SickScan(turned.with_array(np.rint(turned.array).astype(np.int16)), from_sitk(lungs))


ANATOMY: dict[str, Callable[[Thorax, np.random.Generator], Thorax]] = {
    "touching_lungs": touching_lungs,
    "consolidation": consolidation,
    "lobar_consolidation": lobar_consolidation,
    "effusion": effusion,
    "collapsed_lung": collapsed_lung,
    "severe_emphysema": severe_emphysema,
    "bowel_gas": bowel_gas,
    "arms_down": arms_down,
}
GEOMETRY: dict[str, Callable[[SickScan], SickScan]] = {
    "cropped_in_plane": cropped_in_plane,
    "cropped_base": cropped_base,
    "cropped_apex": cropped_apex,
    "tight_field": tight_field,
    "prone": prone,
    "flipped": flipped,
    "oblique": oblique,
}


def _without_air(thorax: Thorax, where: NDArray[np.bool_], hu: float, rng: np.random.Generator) -> Thorax:
    """``where`` at a density of ``hu`` with a soft texture of 8 HU."""
    texture = hu + 8 * smooth_field(rng, where.shape, thorax.spacing_mm, 3.0)
    return replace(thorax, hu=np.where(where, np.maximum(texture, thorax.hu), thorax.hu).astype(np.float32))


def _distance_mm(thorax: Thorax, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return ndimage.distance_transform_edt(~mask, sampling=thorax.spacing_mm)


def _from_voxel_mm(thorax: Thorax, centre: list[float]) -> NDArray[np.float64]:
    squares = [(a - c * s) ** 2 for a, c, s in zip(_index_mm(thorax), centre, thorax.spacing_mm, strict=True)]
    return np.sqrt(sum(squares))


def _index_mm(thorax: Thorax) -> tuple[NDArray, NDArray, NDArray]:
    """Open grids of z, y, x in mm from the first voxel."""
    axes = [np.arange(n) * s for n, s in zip(thorax.hu.shape, thorax.spacing_mm, strict=True)]
    return np.ix_(*axes)


def _axes_mm(thorax: Thorax) -> tuple[NDArray, NDArray, NDArray]:
    """Open grids of the world's z, y, x in mm."""
    return tuple(a + o for a, o in zip(_index_mm(thorax), thorax.origin_mm, strict=True))


def _cut(scan: SickScan, box: tuple[slice, slice, slice]) -> SickScan:
    whole = tuple(slice(*s.indices(n)[:2]) for s, n in zip(box, scan.ct.array.shape, strict=True))
    return SickScan(crop(scan.ct, whole), crop(scan.lungs, whole))
