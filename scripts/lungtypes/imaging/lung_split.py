"""Which air in the body is lung, and which lung is right: components, and the split of lungs that touch.

After Hu, Hoffman & Reinhardt 2001 and the Chest Imaging Platform (facts only); limits are our own.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.geometry import Volume

RIGHT, LEFT = 1, 2
MIN_AIR_ML = 300.0
MIN_PIECE_ML, MIN_PIECE_SHARE = 40.0, 0.04  # of the largest; smaller pieces are bronchi, bowel or noise
OUTSIDE_HU = -960.0  # median of outside air between table, arm and body; even severe emphysema lies above
BOWEL_HU = -940.0  # bowel gas has no vessels and no walls
SECOND_SHARE = 0.25  # of the larger lung: what counts as the other one without looking at its side
SMALL_LUNG_SHARE, APART_MM = 0.05, 60.0  # a collapsed lung: smaller, but well on the other side
ONE_LUNG_MM = 190.0  # wider than this is a pair of lungs
EROSIONS_MM = np.arange(1.5, 20.0, 1.5)


def lung_components(air: NDArray[np.bool_], hu: NDArray[np.float32], work: Volume) -> NDArray[np.bool_]:
    """The pieces of air that belong to the lungs: no bowel, no outside air between table, arms and chest.

    air : (Z, Y, X) without the airway; hu the same grid.

    Raises
    ------
    ScanFault : SEG-NONE when there is too little air.
    """
    labels, count = ndimage.label(air)
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1).astype(float) * work.voxel_ml
    sizes[0] = 0
    boxes = ndimage.find_objects(labels)
    for label in np.flatnonzero(sizes >= MIN_PIECE_ML):
        box = boxes[label - 1]
        at_side = any(box[axis].start == 0 or box[axis].stop == air.shape[axis] for axis in (1, 2))
        if at_side and np.median(hu[box][labels[box] == label]) < OUTSIDE_HU:
            sizes[label] = 0
    largest = int(sizes.argmax())
    if sizes[largest] < MIN_AIR_ML:
        text = f"largest air space inside the body is {sizes[largest]:.0f} mL, expected {MIN_AIR_ML:g}."
        raise ScanFault("SEG-NONE", f"{text} Is it a chest CT in HU?")
    sure = sizes >= SECOND_SHARE * sizes[largest]
    keep = [label for label in np.flatnonzero(sizes >= max(MIN_PIECE_SHARE * sizes[largest], MIN_PIECE_ML))]
    lungs = sure[labels]
    rows = np.flatnonzero(lungs.any(axis=(1, 2)))
    lowest = np.where(lungs.any(axis=0), lungs.argmax(axis=0), air.shape[0])  # (Y, X), first slice with lung
    kept = [n for n in keep if sure[n] or not _is_bowel(labels, int(n), boxes[n - 1], hu, lowest, rows)]
    return np.isin(labels, kept)


def require_right_on_the_right(labels: NDArray[np.uint8]) -> None:
    """Raise ScanFault SEG-LABELS when label 1 lies to the patient's left of label 2 (index axes along LPS)."""
    x_right, x_left = (float(np.flatnonzero((labels == side).any(axis=(0, 1))).mean()) for side in (RIGHT, LEFT))
    if x_right >= x_left:
        text = "label 1 lies on the patient's left, expected the right lung. Swap 1 and 2, or mend the orientation."
        raise ScanFault("SEG-LABELS", text)


def _is_bowel(labels: NDArray, label: int, box: tuple[slice, ...], hu: NDArray, lowest: NDArray, rows: NDArray) -> bool:
    """Gas below the lungs: low, nothing of the lungs beneath it, and either at the very base or without any texture."""
    piece = labels[box] == label
    z, y, x = (c + s.start for c, s in zip(np.nonzero(piece), box, strict=True))
    height = (z.mean() - rows[0]) / max(rows[-1] - rows[0], 1)
    lung_beneath = float((lowest[y, x] < z).mean())
    gas = float(np.median(hu[box][piece])) < BOWEL_HU
    return height <= 0.15 or (height < 0.45 and lung_beneath < 0.2 and gas)


def two_lungs(lungs: NDArray[np.bool_], work: Volume) -> tuple[NDArray[np.uint8], str]:
    """Labels 1 right, 2 left by world x (LPS: right is smaller x), and how they were told apart.

    Raises
    ------
    ScanFault : SEG-UNSPLIT when there is one piece that no erosion separates.
    """
    labels, count = ndimage.label(lungs)
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1).astype(float)
    sizes[0] = 0
    order = np.argsort(sizes)[::-1]
    if count >= 2:
        first, second = labels == order[0], labels == order[1]
        share = sizes[order[1]] / sizes[order[0]]
        if share >= SECOND_SHARE or (share >= SMALL_LUNG_SHARE and _apart(first, second, work)):
            return _by_nearest(lungs, [first, second], work), "components"
    return _split_by_erosion(lungs, work)


def _apart(first: NDArray, second: NDArray, work: Volume) -> bool:
    """Whether the smaller piece lies beside the larger one, which itself is no pair of lungs."""
    columns = np.flatnonzero(first.any(axis=(0, 1))) * work.spacing_mm[2]
    x_first, x_second = (ndimage.center_of_mass(part)[2] * work.spacing_mm[2] for part in (first, second))
    return abs(x_first - x_second) > APART_MM and columns[-1] - columns[0] < ONE_LUNG_MM


def _split_by_erosion(lungs: NDArray[np.bool_], work: Volume) -> tuple[NDArray[np.uint8], str]:
    depth = ndimage.distance_transform_edt(lungs, sampling=work.spacing_mm)
    for radius_mm in EROSIONS_MM:
        core, count = ndimage.label(depth > radius_mm)
        if count < 2:
            continue
        sizes = np.bincount(core.reshape(-1)).astype(float)
        sizes[0] = 0
        first, second = (int(i) for i in np.argsort(sizes)[::-1][:2])
        if sizes[second] < SECOND_SHARE * sizes[first]:
            continue
        markers = np.zeros(lungs.shape, np.uint8)
        markers[core == first], markers[core == second] = 1, 2
        image = sitk.GetImageFromArray((-depth).astype(np.float32))
        basins = sitk.MorphologicalWatershedFromMarkers(image, sitk.GetImageFromArray(markers), markWatershedLine=False)
        parts = sitk.GetArrayFromImage(basins)
        halves = _by_nearest(lungs, [lungs & (parts == 1), lungs & (parts == 2)], work)
        return halves, f"erosion {radius_mm:g} mm"
    text = "left and right lung could not be told apart; one may be missing. Give a lung mask in the lungs column."
    raise ScanFault("SEG-UNSPLIT", text)


def _by_nearest(lungs: NDArray, parts: list[NDArray], work: Volume) -> NDArray[np.uint8]:
    """Sides of the two parts by x; smaller pieces join the nearer one."""
    centres = [ndimage.center_of_mass(part)[2] for part in parts]
    right, left = (0, 1) if centres[0] < centres[1] else (1, 0)
    sides = parts[right] * np.uint8(RIGHT) + parts[left] * np.uint8(LEFT)
    rest = lungs & (sides == 0)
    if rest.any():
        away = [ndimage.distance_transform_edt(~parts[i], sampling=work.spacing_mm)[rest] for i in (right, left)]
        sides[rest] = np.where(away[0] <= away[1], RIGHT, LEFT)
    return np.where(lungs, sides, 0).astype(np.uint8)
