"""The lungs of one scan, segmented or as the user's own lung or lobe mask says, and the lobes when there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lungtypes.errors import ScanFault
from lungtypes.imaging.checks import Limits
from lungtypes.imaging.geometry import Volume, oriented_lps, require_same_grid
from lungtypes.imaging.lung_network import segment_with_lungmask
from lungtypes.imaging.lung_split import LEFT, RIGHT, require_right_on_the_right
from lungtypes.imaging.lungs import LungSegmentation, check_given_lungs, segment_lungs
from lungtypes.imaging.zones import LOBES


@dataclass(frozen=True)
class LungsAndLobes:
    """lungs: labels and checks; lobes: uint8 1-5 (LOBES) inside the lungs, or None."""

    lungs: LungSegmentation
    lobes: Volume | None


def find_lungs(
    scan: Volume,
    *,
    given_lungs: Volume | None,
    given_lobes: Volume | None,
    lobe_labels: Sequence[int],
    engine: Literal["classical", "lungmask"],
    lungmask_weights: str,
    air_threshold_hu: float,
    closing_mm: float,
    checks: Limits,
) -> LungsAndLobes:
    """The user's masks where there are any (a lobe mask also says where the lungs are), else the engine's.

    Raises
    ------
    InputError : the engine is not installed.
    GeometryError, ScanFault : see :func:`check_given_lungs`, :func:`check_given_lobes`, :func:`segment_lungs`,
        :func:`segment_with_lungmask`.
    """
    lobes = None if given_lobes is None else check_given_lobes(scan, given_lobes, lobe_labels=lobe_labels)
    if given_lungs is not None:
        lungs = check_given_lungs(scan, given_lungs, checks=checks)
    elif lobes is not None:
        lungs = check_given_lungs(scan, scan.with_array(lungs_of_lobes(lobes.array)), checks=checks)
    elif engine == "lungmask":
        lungs = segment_with_lungmask(scan, weights=lungmask_weights, checks=checks)
    else:
        lungs = segment_lungs(scan, air_threshold_hu=air_threshold_hu, closing_mm=closing_mm, checks=checks)
    if lobes is not None:
        lobes = lobes.with_array(np.where(lungs.labels.array > 0, lobes.array, 0).astype(np.uint8))
    return LungsAndLobes(lungs, lobes)


def check_given_lobes(scan: Volume, given: Volume, *, lobe_labels: Sequence[int]) -> Volume:
    """The user's lobe mask with labels 1-5 (LOBES), index axes along LPS.

    Parameters
    ----------
    given : labels on the scan's grid.
    lobe_labels : the user's labels of right upper, middle, lower, left upper, lower; others count as background.

    Raises
    ------
    GeometryError : the mask lies on another grid.
    ScanFault : SEG-LABELS when a lung has no lobe, or the lobes lie where the labels say they cannot.
    """
    given = oriented_lps(given)
    require_same_grid(scan, given, "scan and given lobe mask")
    lobes = np.zeros(given.array.shape, np.uint8)
    for ours, theirs in zip(LOBES, lobe_labels, strict=True):
        lobes[given.array == theirs] = ours
    lungs = lungs_of_lobes(lobes)
    if not ((lungs == RIGHT).any() and (lungs == LEFT).any()):
        found = sorted(np.unique(given.array).tolist())[:12]
        raise ScanFault(
            "SEG-LABELS", f"lobe mask has labels {found}, expected {list(lobe_labels)} (lungs.lobe_labels)."
        )
    require_right_on_the_right(lungs)
    height = {lobe: float(np.flatnonzero((lobes == lobe).any(axis=(1, 2))).mean()) for lobe in np.unique(lobes)[1:]}
    for upper, lower in ((1, 3), (4, 5)):
        if upper in height and lower in height and height[upper] <= height[lower]:
            text = f"lobe {LOBES[upper]} lies below {LOBES[lower]}. Mend the order of lungs.lobe_labels, or the mask."
            raise ScanFault("SEG-LABELS", text)
    return scan.with_array(lobes)


def lungs_of_lobes(lobes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lungs (1 right, 2 left) of lobes 1-5."""
    return np.select([(lobes >= 1) & (lobes <= 3), lobes >= 4], [RIGHT, LEFT], 0).astype(np.uint8)
