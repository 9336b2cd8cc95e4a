"""Checks a lung mask, whoever made it: a dozen numbers, each with limits that warn and limits that exclude the scan.

Normal volumes: Cheng et al. 2019 (4.5 +/- 1.3 L). The numbers are those by which failures show themselves in
Meng et al. 2012 and Mansoor et al. 2015; the limits stand in the config and are our own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from lungtypes.imaging.checks import CheckTable
from lungtypes.imaging.geometry import Volume, bounding_box
from lungtypes.imaging.lung_split import LEFT, RIGHT
from lungtypes.imaging.wall_gap import wall_gap_percent

COARSE_MM = 4.0  # grid of the shape checks
DENSE_HU = -300.0  # above it no air is left to speak of
PIECE_ML = 1.0  # smaller pieces are not counted
TISSUE_HU = -500.0
MAX_TURN_DEGREES = 40.0  # between the line through both lungs and the x axis; more is no left and right

# the first that fails names the fault, so causes come before their effects
CHECKS: CheckTable = {
    "border_mm2": ("SEG-BORDER", "{:.0f} mm2 of the lungs lie on the edge of the field of view"),
    "end_slice_percent": ("SEG-TRUNCATED", "the first or last slice shows {:.0f} % of the lungs' largest section"),
    "total_ml": ("SEG-VOLUME", "lungs of {:.0f} mL"),
    "side_ratio": ("SEG-RATIO", "right/left volume ratio {:.2f}"),
    "midline_percent": ("SEG-MIDLINE", "{:.1f} % of a lung lies on the other side"),
    "mean_hu": ("SEG-DENSITY", "mean lung density {:.0f} HU"),
    "dense_percent": ("SEG-DENSITY", "{:.1f} % of the lungs are denser than -300 HU"),
    "solidity": ("SEG-SHAPE", "a lung fills {:.2f} of its convex hull"),
    "wall_gap_percent": ("SEG-GAP", "{:.0f} % of a lung's back lie more than 25 mm from the ribs (fluid, or left out)"),
    "restored_percent": ("SEG-SHAPE", "{:.1f} % of the lungs are dense tissue that their shape took in"),
    "pieces": ("SEG-PIECES", "a lung in {:.0f} pieces"),
    "airway_ml": ("SEG-AIRWAY", "airway of {:.0f} mL"),
}


REMEDY = "Look at the scan; give a lung mask in the lungs column if the segmentation is wrong."


def measure_lungs(scan: Volume, labels: NDArray[np.uint8], *, airway_ml: float, restored_ml: float) -> dict[str, float]:
    """The numbers of CHECKS.

    Parameters
    ----------
    scan : HU, index axes along LPS; labels : same grid, 1 right, 2 left, both there.
    airway_ml, restored_ml : volume of the airway, and of dense disease that the shape of the lungs took in; NaN when
        nobody measured it.
    """
    inside = labels > 0
    box = bounding_box(inside, scan.spacing_mm, 0.0)
    small = labels[box]
    values = scan.array[box][small > 0]
    ml = [float((small == side).sum()) * scan.voxel_ml for side in (RIGHT, LEFT)]
    solid, crossing = _shape(small, scan.spacing_mm)
    return {
        "total_ml": sum(ml),
        "side_ratio": ml[0] / max(ml[1], 1e-6),
        "mean_hu": float(values.mean(dtype=np.float64)),
        "dense_percent": 100 * float((values > DENSE_HU).mean()),
        "airway_ml": airway_ml,
        "end_slice_percent": _end_slice_percent(scan.array, inside),
        "border_mm2": _border_mm2(inside, scan.spacing_mm),
        "solidity": solid,
        "midline_percent": crossing,
        "wall_gap_percent": wall_gap_percent(scan, labels),
        "restored_percent": 100 * restored_ml / sum(ml),
        "pieces": float(max(_pieces(small == side, scan.voxel_ml) for side in (RIGHT, LEFT))),
    }


def _end_slice_percent(hu: NDArray, inside: NDArray[np.bool_]) -> float:
    """Largest share of the widest section in the first or last slice that shows a body; resampled scans are padded."""
    body = np.flatnonzero((hu[:, ::4, ::4] > TISSUE_HU).any(axis=(1, 2)))
    areas = inside.sum(axis=(1, 2))
    ends = areas[[body[0], body[-1]]] if body.size else areas[[0, -1]]
    return 100 * float(ends.max() / areas.max())


def _border_mm2(inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    dz, dy, dx = spacing_mm
    rows = inside[:, 0].sum() + inside[:, -1].sum()
    columns = inside[:, :, 0].sum() + inside[:, :, -1].sum()
    return float(rows * dz * dx + columns * dz * dy)


def _pieces(lung: NDArray[np.bool_], voxel_ml: float) -> int:
    labels, _ = ndimage.label(lung)
    return int((np.bincount(labels.reshape(-1))[1:] * voxel_ml >= PIECE_ML).sum())


def _shape(labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Smaller solidity of both lungs, and the larger share (%) of a lung that lies beyond the plane between them."""
    steps = [max(int(round(COARSE_MM / s)), 1) for s in spacing_mm]
    coarse = labels[:: steps[0], :: steps[1], :: steps[2]]
    size_mm = np.array([n * s for n, s in zip(steps, spacing_mm, strict=True)])
    places = [np.argwhere(coarse == side) * size_mm for side in (RIGHT, LEFT)]  # (voxels, 3) in mm
    if min(len(p) for p in places) == 0:
        return float("nan"), float("nan")
    return min(_solidity(p, size_mm) for p in places), _crossing_percent(*places)


def _solidity(places: NDArray[np.float64], size_mm: NDArray[np.float64]) -> float:
    corners = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T * size_mm
    # the ends of each row of voxels are enough for the hull
    _, first = np.unique(places[:, :2], axis=0, return_index=True)
    last = np.append(first[1:], len(places)) - 1
    ends = places[np.union1d(first, last)]
    try:
        hull = ConvexHull((ends[:, None] + corners).reshape(-1, 3))
    except QhullError:
        return float("nan")
    return float(len(places) * np.prod(size_mm) / hull.volume)


def _crossing_percent(right: NDArray[np.float64], left: NDArray[np.float64]) -> float:
    """The plane stands halfway between the lungs' centres, across the line through them: it turns with the person."""
    centres = right.mean(axis=0), left.mean(axis=0)
    line = centres[1] - centres[0]
    line /= np.linalg.norm(line)
    if line[2] < np.cos(np.deg2rad(MAX_TURN_DEGREES)):  # the two parts lie behind or above each other
        return 100.0
    middle = 0.5 * (centres[0] + centres[1])
    return 100 * max(float(((right - middle) @ line > 0).mean()), float(((left - middle) @ line < 0).mean()))
