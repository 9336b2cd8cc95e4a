"""How much of a lung's back lies away from the ribs: fluid, or disease that the mask left out.

An independent look at the mask by the rib cage, as Mansoor et al. 2015 advise; the measure is our own.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.lung_split import LEFT, RIGHT

GRID_MM = 3.0
BONE_HU = 180
GAP_MM = 25.0  # healthy lungs lie 3-15 mm in front of the nearest rib
RIB_MM3 = 500.0  # a piece of rib that two neighbouring slices show
NEAR_MM = 15.0  # a ray between two ribs is judged by the ribs above, below and beside it
APEX_SHARE = 0.2  # of a lung's height that is left out: above the ribs' slope the back is far away


def wall_gap_percent(scan: Volume, labels: NDArray[np.uint8]) -> float:
    """Larger share (0-100 %) of a lung's back that has more than GAP_MM of tissue between itself and the ribs.

    scan : HU, index axes along LPS; labels : same grid, 1 right, 2 left. NaN where no ribs are seen.
    """
    steps = [min(max(round(GRID_MM / s), 1), n) for s, n in zip(scan.spacing_mm, scan.array.shape, strict=True)]
    dz, dy, dx = (n * s for n, s in zip(steps, scan.spacing_mm, strict=True))
    means = sitk.GetArrayFromImage(sitk.BinShrink(sitk.GetImageFromArray(scan.array), steps[::-1]))
    bone = _without_specks(means > BONE_HU, dz * dy * dx)
    # the voxel in the middle of each block
    middle = tuple(slice(n // 2, n // 2 + n * (m - 1) + 1, n) for n, m in zip(steps, means.shape, strict=True))
    window = tuple(2 * round(NEAR_MM / d) + 1 for d in (dz, dx))
    shares = [_share(labels[middle] == side, bone, dy, window) for side in (RIGHT, LEFT)]
    seen = [share for share in shares if not np.isnan(share)]
    return max(seen) if seen else float("nan")


def _without_specks(bone: NDArray[np.bool_], voxel_mm3: float) -> NDArray[np.bool_]:
    """Single bright voxels are noise of a sharp kernel, or calcium; ribs are longer."""
    labels, _ = ndimage.label(bone, np.ones((3, 3, 3)))
    return bone & (np.bincount(labels.reshape(-1)) * voxel_mm3 >= RIB_MM3)[labels]


def _share(lung: NDArray[np.bool_], bone: NDArray[np.bool_], step_mm: float, window: tuple[int, int]) -> float:
    if not lung.any():
        return float("nan")
    rows = lung.shape[1]
    back = rows - 1 - lung[:, ::-1].argmax(axis=1)  # (Z, X), last row of lung in each column
    behind = bone & (np.arange(rows)[:, None] > back[:, None])
    there = lung.any(axis=1)
    gap = np.where(there & behind.any(axis=1), (behind.argmax(axis=1) - back) * step_mm, np.inf)
    gap = ndimage.minimum_filter(gap, window, mode="nearest")
    slices = np.flatnonzero(there.any(axis=1))
    there[int(slices[-1] - APEX_SHARE * (slices[-1] - slices[0])) :] = False
    seen = gap[there & np.isfinite(gap)]
    return 100 * float((seen > GAP_MM).mean()) if seen.size else float("nan")
