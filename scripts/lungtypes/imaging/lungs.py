"""Segments the right and left lung by thresholds and morphology in physical units, and checks the result.

Steps after Hu, Hoffman & Reinhardt 2001 and the Chest Imaging Platform (facts only): body, air inside
the body, trachea and main bronchi out, two lungs, closing over vessels and dense disease, checks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.airway import find_airway
from lungtypes.imaging.body import air_threshold, find_body, working_image
from lungtypes.imaging.checks import Check, Limits, checks_record, judge, raise_failures, warnings_of
from lungtypes.imaging.geometry import Volume, bounding_box, crop, oriented_lps, require_same_grid, to_sitk
from lungtypes.imaging.lung_checks import CHECKS, REMEDY, measure_lungs
from lungtypes.imaging.lung_closing import close_lungs
from lungtypes.imaging.lung_split import LEFT, RIGHT, lung_components, require_right_on_the_right, two_lungs
from lungtypes.imaging.resample import resample_labels

NOT_MEASURED = float("nan")


@dataclass(frozen=True)
class LungSegmentation:
    """labels: uint8 on the scan's grid, 1 right, 2 left; airway: bool; volumes in mL.

    split_by : how the sides were told apart: components, erosion, a network, or given. checks : see lung_checks.
    """

    labels: Volume
    airway: NDArray[np.bool_]
    right_ml: float
    left_ml: float
    split_by: str
    checks: tuple[Check, ...]

    def record(self) -> dict[str, object]:
        """Every number that was looked at, with its limits and verdict, for lungs.json."""
        plain = {"right_ml": self.right_ml, "left_ml": self.left_ml, "split_by": self.split_by}
        return {**plain, "checks": checks_record(self.checks), "warnings": warnings_of(self.checks)}


def segment_lungs(scan: Volume, *, air_threshold_hu: float, closing_mm: float, checks: Limits) -> LungSegmentation:
    """Label the lungs of a CT in HU, index axes along LPS.

    Parameters
    ----------
    scan : int16 HU volume with index axes along +x, +y, +z of LPS.
    air_threshold_hu : upper bound of the threshold; it is adapted to the scan below this bound.
    closing_mm : radius of the closing that takes in vessels, nodules and subpleural disease.
    checks : check -> {warn: (low, high) or None, fail: the same}; see :mod:`lungtypes.imaging.lung_checks`.

    Raises
    ------
    ScanFault : SEG-NONE, SEG-UNSPLIT, or the code of a check that failed.
    """
    work = working_image(scan)
    body = find_body(work.array)
    air = body & (work.array < air_threshold(work.array, body, upper_hu=air_threshold_hu))
    airway = find_airway(work.array, body, air, work)
    candidates = lung_components(air & ~ndimage.binary_dilation(airway), work.array, work)
    halves, split_by = two_lungs(candidates, work)
    closed = close_lungs(halves, airway, work.array, work, closing_mm=closing_mm)
    labels, airway = _on_scan_grid(work.with_array(closed.labels), work.with_array(airway), scan)
    return checked_lungs(scan, labels, airway, split_by=split_by, checks=checks, restored_ml=closed.restored_ml)


def check_given_lungs(scan: Volume, given: Volume, *, checks: Limits) -> LungSegmentation:
    """Pass the user's own lung mask (1 right, 2 left, 3 airway, on the scan's grid) through the same checks as ours.

    Raises
    ------
    GeometryError : the mask lies on another grid.
    ScanFault : SEG-LABELS for other labels or swapped sides, or the code of a check that failed.
    """
    given = oriented_lps(given)
    require_same_grid(scan, given, "scan and given lung mask")
    found = set(np.unique(given.array).tolist())
    if not {RIGHT, LEFT} <= found <= {0, RIGHT, LEFT, 3}:
        raise ScanFault("SEG-LABELS", f"given mask has labels {sorted(found)}, expected 1 (right) and 2 (left).")
    labels = np.where(given.array <= LEFT, given.array, 0).astype(np.uint8)
    require_right_on_the_right(labels)
    return checked_lungs(scan, labels, given.array == 3, split_by="given", checks=checks)


def checked_lungs(
    scan: Volume,
    labels: NDArray[np.uint8],
    airway: NDArray[np.bool_],
    *,
    split_by: str,
    checks: Limits,
    restored_ml: float = NOT_MEASURED,
) -> LungSegmentation:
    """The mask with its checks; labels hold both sides. An empty airway of a mask that is not ours is not measured.

    Raises
    ------
    ScanFault : the code of the first check that failed.
    """
    right_ml, left_ml = (float((labels == side).sum()) * scan.voxel_ml for side in (RIGHT, LEFT))
    measured = airway.any() or not np.isnan(restored_ml)
    airway_ml = float(airway.sum()) * scan.voxel_ml if measured else NOT_MEASURED
    judged = judge(measure_lungs(scan, labels, airway_ml=airway_ml, restored_ml=restored_ml), checks, CHECKS)
    raise_failures(judged, remedy=REMEDY)
    return LungSegmentation(scan.with_array(labels), airway, right_ml, left_ml, split_by, judged)


def _on_scan_grid(labels: Volume, airway: Volume, scan: Volume) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Labels and airway of the working grid on the scan's; only the box around them is computed."""
    box = bounding_box((labels.array > 0) | airway.array, labels.spacing_mm, 2 * max(labels.spacing_mm))
    corners = np.array([[s.start for s in box], [s.stop for s in box]], float)  # (2, 3) in z, y, x
    origins = np.array(labels.origin_mm), np.array(scan.origin_mm)
    shift_mm = (scan.direction.T @ (origins[0] - origins[1]))[::-1]  # both grids have the same axes
    own = (corners * labels.spacing_mm + shift_mm) / scan.spacing_mm
    low = np.maximum(np.floor(own[0]), 0).astype(int)
    high = np.minimum(np.ceil(own[1]) + 1, scan.array.shape).astype(int)
    part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    reference = to_sitk(crop(scan.with_array(np.zeros(scan.array.shape, np.uint8)), part))
    lungs, lumen = np.zeros(scan.array.shape, np.uint8), np.zeros(scan.array.shape, bool)
    lungs[part] = resample_labels(labels, reference)
    lumen[part] = resample_labels(airway.with_array(airway.array.astype(np.uint8)), reference) > 0
    lungs[lumen] = 0
    return lungs, lumen
