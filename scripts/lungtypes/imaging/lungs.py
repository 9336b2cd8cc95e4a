"""Segments the right and left lung by thresholds and morphology in physical units, and checks the result.

Steps after Hu, Hoffman & Reinhardt 2001 and the Chest Imaging Platform (facts only): body, air inside
the body, trachea and main bronchi out, two lungs, closing over vessels and dense disease, checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume, from_sitk, oriented_lps, require_same_grid, to_sitk
from lungtypes.imaging.resample import resample_labels

RIGHT, LEFT = 1, 2
WORKING_SPACING_MM = 2.0
MAX_HOLE_MM2 = 300.0  # a hilar vessel or a nodule; the dome of the diaphragm is larger


@dataclass(frozen=True)
class LungSegmentation:
    """labels: uint8 on the scan's grid, 1 right, 2 left; airway: bool; volumes in mL; checks as plain numbers."""

    labels: Volume
    airway: NDArray[np.bool_]
    right_ml: float
    left_ml: float
    airway_ml: float
    mean_hu: float
    dense_fraction: float
    border_fraction: float
    split_by: str
    warnings: tuple[str, ...]

    def checks(self) -> dict[str, object]:
        """Every number that the gate looks at, for lungs.json."""
        left_out = ("labels", "airway")
        return {k: getattr(self, k) for k in self.__dataclass_fields__ if k not in left_out}


def segment_lungs(
    scan: Volume,
    *,
    air_threshold_hu: float,
    closing_mm: float,
    min_total_ml: float,
    max_total_ml: float,
    min_side_ratio: float,
    max_side_ratio: float,
) -> LungSegmentation:
    """Label the lungs of a CT in HU, index axes along LPS.

    Parameters
    ----------
    scan : int16 HU volume with index axes along +x, +y, +z of LPS.
    air_threshold_hu : upper bound of the threshold; it is adapted to the scan below this bound.
    closing_mm : radius of the closing that takes in vessels, nodules and subpleural disease.
    min_total_ml, max_total_ml, min_side_ratio, max_side_ratio : the gate (right/left volume ratio).

    Raises
    ------
    ScanFault : SEG-NONE, SEG-UNSPLIT, SEG-VOLUME or SEG-RATIO.
    """
    work = _working_image(scan)
    hu = work.array.astype(np.float32)
    body = _body(hu)
    threshold = _threshold(hu, body, air_threshold_hu)
    air = body & (hu < threshold)
    airway = _airway(hu, body, air, work)
    parenchyma = air & ~ndimage.binary_dilation(airway, iterations=1)
    candidates = _lung_components(parenchyma, work)
    halves, split_by = _two_lungs(candidates, work)
    labels = _closed(halves, airway, hu, work, closing_mm)

    grid = to_sitk(scan)
    labels_native = resample_labels(work.with_array(labels), grid)
    airway_native = resample_labels(work.with_array(airway.astype(np.uint8)), grid) > 0
    labels_native[airway_native] = 0
    return _gate(
        scan, labels_native, airway_native, split_by, (min_total_ml, max_total_ml), (min_side_ratio, max_side_ratio)
    )


def check_given_lungs(
    scan: Volume,
    given: Volume,
    *,
    min_total_ml: float,
    max_total_ml: float,
    min_side_ratio: float,
    max_side_ratio: float,
) -> LungSegmentation:
    """Pass the user's own lung mask (1 right, 2 left, 3 airway, on the scan's grid) through the same gate as ours.

    Raises
    ------
    GeometryError : the mask lies on another grid.
    ScanFault : SEG-LABELS for other labels or swapped sides; SEG-VOLUME, SEG-RATIO.
    """
    given = oriented_lps(given)
    require_same_grid(scan, given, "scan and given lung mask")
    found = set(np.unique(given.array).tolist())
    if not {RIGHT, LEFT} <= found <= {0, RIGHT, LEFT, 3}:
        raise ScanFault("SEG-LABELS", f"given mask has labels {sorted(found)}, expected 1 (right) and 2 (left).")
    labels = np.where(given.array <= LEFT, given.array, 0).astype(np.uint8)
    require_right_on_the_right(labels)
    limits = (min_total_ml, max_total_ml), (min_side_ratio, max_side_ratio)
    return _gate(scan, labels, given.array == 3, "given", *limits)


def require_right_on_the_right(labels: NDArray[np.uint8]) -> None:
    """Raise ScanFault SEG-LABELS when label 1 lies to the patient's left of label 2 (index axes along LPS)."""
    x_right, x_left = (float(np.flatnonzero((labels == side).any(axis=(0, 1))).mean()) for side in (RIGHT, LEFT))
    if x_right >= x_left:
        text = "label 1 lies on the patient's left, expected the right lung. Swap 1 and 2, or mend the orientation."
        raise ScanFault("SEG-LABELS", text)


def _working_image(scan: Volume) -> Volume:
    image = to_sitk(scan.with_array(np.clip(scan.array, -1024, 600).astype(np.float32)))
    spacing_in = np.array(image.GetSpacing())
    spacing = np.maximum(spacing_in, WORKING_SPACING_MM)
    spacing[2] = min(spacing[2], 3.0)
    smooth = np.where(spacing > spacing_in * 1.01, 0.4 * spacing / spacing_in, 1e-6) * spacing_in
    image = sitk.SmoothingRecursiveGaussian(image, np.maximum(smooth, 0.35 * spacing_in).tolist())
    size = np.ceil(np.array(image.GetSize()) * spacing_in / spacing).astype(int).tolist()
    resampled = sitk.Resample(
        image,
        size,
        sitk.Transform(),
        sitk.sitkLinear,
        image.GetOrigin(),
        spacing.tolist(),
        image.GetDirection(),
        -1024.0,
    )
    return from_sitk(resampled)


def _body(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    tissue = hu > -500
    tissue = ndimage.binary_opening(tissue, structure=np.ones((1, 3, 3)))
    labels, count = ndimage.label(tissue)
    if count == 0:
        raise ScanFault("SEG-NONE", "found no body in the scan. Is it a chest CT in HU?")
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    tissue = labels == int(sizes.argmax())
    return np.stack([_filled_slice(plane) for plane in tissue])


def _filled_slice(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    closed = ndimage.binary_closing(np.pad(plane, 6), iterations=3)[6:-6, 6:-6] | plane
    return ndimage.binary_fill_holes(closed)


def _threshold(hu: NDArray[np.float32], body: NDArray[np.bool_], upper_hu: float) -> float:
    """Iterative mean-of-means threshold (Ridler-Calvard), never above ``upper_hu``."""
    values = hu[body]
    threshold = -500.0
    for _ in range(50):
        below, above = values[values < threshold], values[values >= threshold]
        if below.size == 0 or above.size == 0:
            return float(min(-500.0, upper_hu))
        new = float(0.5 * (below.mean() + above.mean()))
        if abs(new - threshold) < 1:
            break
        threshold = new
    return float(np.clip(threshold, -650.0, upper_hu))


def _airway(hu: NDArray, body: NDArray, air: NDArray, work: Volume) -> NDArray[np.bool_]:
    """Trachea and main bronchi: seed in the upper slices near the midline, grown below a rising bound."""
    area_mm2 = work.spacing_mm[1] * work.spacing_mm[2]
    dark = body & (hu < -850)
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    middle = 0.5 * (columns[0] + columns[-1])
    seed = np.zeros(hu.shape, bool)
    found, last = 0, None
    depth = hu.shape[0]
    for z in range(depth - 1, int(0.45 * depth), -1):
        spots, count = ndimage.label(dark[z])
        best, best_distance, best_centre = 0, 40.0 if last is None else 9.0, None
        for spot in range(1, count + 1):
            where = spots == spot
            size = where.sum() * area_mm2
            centre = np.array(ndimage.center_of_mass(where)) * work.spacing_mm[1:]
            distance = abs(centre[1] - middle * work.spacing_mm[2]) if last is None else np.linalg.norm(centre - last)
            height, width = (np.ptp(np.flatnonzero(where.any(axis=a))) + 1 for a in (1, 0))
            if 40 <= size <= 700 and distance < best_distance and where.sum() > 0.45 * height * width:
                best, best_distance, best_centre = spot, distance, centre
        if best:
            seed[z] |= spots == best
            found, last = found + 1, best_centre
        elif found:
            if found * work.spacing_mm[0] >= 15:
                break
            seed[:], found, last = False, 0, None
    if not found:
        return seed
    near = _near_trachea(seed, work)
    grown, limit_ml = seed, 55.0
    previous_ml = seed.sum() * work.voxel_ml
    for bound in range(-950, -840, 15):
        mask = (hu < bound) & body & near | seed
        labels, _ = ndimage.label(mask)
        touched = np.unique(labels[seed])
        candidate = np.isin(labels, touched[touched > 0])
        size_ml = candidate.sum() * work.voxel_ml
        if size_ml > limit_ml or size_ml > 1.8 * max(previous_ml, 8.0):
            break
        grown, previous_ml = candidate, size_ml
    lumen = ndimage.binary_dilation(grown, iterations=1) & air
    return ndimage.binary_closing(lumen, iterations=1) & (hu < -300) | grown


def _near_trachea(seed: NDArray[np.bool_], work: Volume) -> NDArray[np.bool_]:
    """Box around the lower end of the trachea that holds the main bronchi but little lung."""
    lowest = int(np.flatnonzero(seed.any(axis=(1, 2)))[0])
    centre = ndimage.center_of_mass(seed[lowest])
    z, y, x = (np.arange(n) * s for n, s in zip(seed.shape, work.spacing_mm, strict=True))
    near_y = np.abs(y - centre[0] * work.spacing_mm[1]) <= 32
    near_x = np.abs(x - centre[1] * work.spacing_mm[2]) <= 50
    near_z = z >= (lowest * work.spacing_mm[0]) - 60
    return near_z[:, None, None] & near_y[None, :, None] & near_x[None, None, :]


def _lung_components(parenchyma: NDArray[np.bool_], work: Volume) -> NDArray[np.bool_]:
    labels, count = ndimage.label(parenchyma)
    if count == 0:
        raise ScanFault("SEG-NONE", "found no air inside the body. Is it a chest CT in HU?")
    sizes = np.bincount(labels.reshape(-1)).astype(float)
    sizes[0] = 0
    largest = int(sizes.argmax())
    if sizes[largest] * work.voxel_ml < 300:
        raise ScanFault("SEG-NONE", f"largest air space is {sizes[largest] * work.voxel_ml:.0f} mL, expected 300.")
    rows = np.flatnonzero((labels == largest).any(axis=(1, 2)))
    low = rows[0] + 0.15 * (rows[-1] - rows[0])
    keep = [largest]
    for label in np.flatnonzero(sizes >= max(0.04 * sizes[largest], 40 / work.voxel_ml)):
        if label == largest:
            continue
        centre = ndimage.center_of_mass(labels == label)[0]
        touches_side = (labels[:, [0, -1], :] == label).any() or (labels[:, :, [0, -1]] == label).any()
        if centre > low and not touches_side:
            keep.append(int(label))
    return np.isin(labels, keep)


def _two_lungs(lungs: NDArray[np.bool_], work: Volume) -> tuple[NDArray[np.uint8], str]:
    """Name the sides by world x (LPS: right is smaller x); split where both lungs are one piece."""
    labels, count = ndimage.label(lungs)
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1).astype(float)
    sizes[0] = 0
    order = np.argsort(sizes)[::-1]
    if count >= 2 and sizes[order[1]] >= 0.25 * sizes[order[0]]:
        first, second = int(order[0]), int(order[1])
        halves = _by_nearest(lungs, [labels == first, labels == second], work)
        return halves, "components"
    return _split_by_erosion(lungs, work)


def _split_by_erosion(lungs: NDArray[np.bool_], work: Volume) -> tuple[NDArray[np.uint8], str]:
    depth = ndimage.distance_transform_edt(lungs, sampling=work.spacing_mm)
    for radius_mm in np.arange(1.5, 20.0, 1.5):
        core, count = ndimage.label(depth > radius_mm)
        if count < 2:
            continue
        sizes = np.bincount(core.reshape(-1)).astype(float)
        sizes[0] = 0
        first, second = (int(i) for i in np.argsort(sizes)[::-1][:2])
        if sizes[second] < 0.25 * sizes[first]:
            continue
        markers = np.zeros(lungs.shape, np.uint8)
        markers[core == first], markers[core == second] = 1, 2
        image = sitk.GetImageFromArray((-depth).astype(np.float32))
        basins = sitk.MorphologicalWatershedFromMarkers(image, sitk.GetImageFromArray(markers), markWatershedLine=False)
        parts = sitk.GetArrayFromImage(basins)
        halves = _by_nearest(lungs, [lungs & (parts == 1), lungs & (parts == 2)], work)
        return halves, f"erosion {radius_mm:g} mm"
    raise ScanFault("SEG-UNSPLIT", "left and right lung could not be told apart. Give a lung mask in the lungs column.")


def _by_nearest(lungs: NDArray, parts: list[NDArray], work: Volume) -> NDArray[np.uint8]:
    """Sides of the two parts by x; smaller pieces join the nearer one."""
    centres = [ndimage.center_of_mass(part)[2] for part in parts]
    right, left = (0, 1) if centres[0] < centres[1] else (1, 0)
    distance_right = ndimage.distance_transform_edt(~parts[right], sampling=work.spacing_mm)
    distance_left = ndimage.distance_transform_edt(~parts[left], sampling=work.spacing_mm)
    sides = np.where(distance_right <= distance_left, RIGHT, LEFT).astype(np.uint8)
    return np.where(lungs, sides, 0).astype(np.uint8)


def _closed(halves: NDArray[np.uint8], airway: NDArray, hu: NDArray, work: Volume, closing_mm: float) -> NDArray:
    """Close each lung over vessels and disease; tissue between the lungs stays out by the other side's claim."""
    pad = int(np.ceil(closing_mm / min(work.spacing_mm))) + 1
    closed = {}
    for side in (RIGHT, LEFT):
        mask = np.pad(halves == side, pad)
        outside = ndimage.distance_transform_edt(~mask, sampling=work.spacing_mm)
        grown = outside <= closing_mm
        inside = ndimage.distance_transform_edt(grown, sampling=work.spacing_mm)
        closing = (inside > closing_mm) | mask
        closing = ndimage.binary_fill_holes(closing)  # what is enclosed on all sides, however large: nodules
        closing = np.stack([_without_small_holes(plane, work.spacing_mm[1] * work.spacing_mm[2]) for plane in closing])
        crop = (slice(pad, -pad),) * 3
        closed[side] = closing[crop]
    bone_free = ndimage.gaussian_filter(hu, 0.7) < 180  # the chest wall's ribs never belong to a lung
    labels = np.zeros(halves.shape, np.uint8)
    both = closed[RIGHT] & closed[LEFT]
    for side in (RIGHT, LEFT):
        labels[closed[side] & ~both & (bone_free | (halves == side))] = side
        labels[halves == side] = side
    labels[airway] = 0
    out = np.zeros_like(labels)
    for side in (RIGHT, LEFT):
        pieces, count = ndimage.label(labels == side)
        if count:
            sizes = np.bincount(pieces.reshape(-1))
            sizes[0] = 0
            out[np.isin(pieces, np.flatnonzero(sizes >= 0.02 * sizes.max()))] = side
    return out


def _without_small_holes(plane: NDArray[np.bool_], pixel_mm2: float) -> NDArray[np.bool_]:
    """Fill what a slice's lung encloses, except the dome of the diaphragm and other large things."""
    holes, count = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
    if count == 0:
        return plane
    sizes = np.bincount(holes.reshape(-1)) * pixel_mm2
    sizes[0] = 0
    return plane | np.isin(holes, np.flatnonzero((sizes > 0) & (sizes <= MAX_HOLE_MM2)))


def _gate(
    scan: Volume,
    labels: NDArray[np.uint8],
    airway: NDArray[np.bool_],
    split_by: str,
    total_limits: tuple[float, float],
    ratio_limits: tuple[float, float],
) -> LungSegmentation:
    right_ml, left_ml = (float((labels == side).sum()) * scan.voxel_ml for side in (RIGHT, LEFT))
    total = right_ml + left_ml
    if not total_limits[0] <= total <= total_limits[1]:
        raise ScanFault(
            "SEG-VOLUME",
            f"lungs of {total:.0f} mL, expected {total_limits[0]:g}-{total_limits[1]:g} mL. "
            "Look at the scan; give a lung mask in the lungs column if the segmentation is wrong.",
        )
    ratio = right_ml / max(left_ml, 1e-6)
    if not ratio_limits[0] <= ratio <= ratio_limits[1]:
        raise ScanFault(
            "SEG-RATIO",
            f"right/left volume ratio {ratio:.2f}, expected {ratio_limits[0]:g}-{ratio_limits[1]:g}. "
            "One lung may be collapsed or missed; give a lung mask in the lungs column.",
        )
    inside = labels > 0
    values = scan.array[inside]
    areas = inside.sum(axis=(1, 2))
    border = float(max(areas[0], areas[-1]) / max(areas.max(), 1))
    warnings = []
    if border > 0.05:
        warnings.append(f"lung reaches the end of the scan ({100 * border:.0f} % of its largest section)")
    if values.mean() > -650:
        warnings.append(f"mean lung density {values.mean():.0f} HU is above -650 HU")
    return LungSegmentation(
        labels=scan.with_array(labels),
        airway=airway,
        right_ml=right_ml,
        left_ml=left_ml,
        airway_ml=float(airway.sum()) * scan.voxel_ml,
        mean_hu=float(values.mean()),
        dense_fraction=float((values > -300).mean()),
        border_fraction=border,
        split_by=split_by,
        warnings=tuple(warnings),
    )
