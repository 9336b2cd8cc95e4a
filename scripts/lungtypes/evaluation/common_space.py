"""A space that no method was trained in, so that validity indices of two methods can be compared.

Indices of different embedding spaces are not comparable, since each method shapes its own. Here lies each scan's
coarse map of lung density instead: means over blocks, then principal components fitted on the training scans.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from lungtypes.errors import InputError

BLOCKS = 11  # along each axis; of the paper's cube of 88 voxels, 8 voxels or 24 mm each
MIN_LUNG_SHARE = 0.25  # of a block's voxels, over the training scans; the rest is border
COMPONENTS = 10


def common_space(
    hu: NDArray[np.int16], subjects: Sequence[str], *, train: NDArray[np.int64], outside: int
) -> pd.DataFrame:
    """Principal components of the coarse lung density of every scan.

    Parameters
    ----------
    hu : (N, Z, Y, X) lung HU in template space, ``outside`` where no lung is; read one scan at a time.
    subjects : N names.
    train : rows that the components are fitted on, at least three.

    Returns
    -------
    DataFrame : subject, c_1..c_D in HU (root of the summed squared block means), D at most COMPONENTS and at most one
        less than the training scans. The sign of a component is that of its largest loading.
    """
    if len(train) < 3:
        raise InputError(f"common space: found {len(train)} training scans, expected at least 3.")
    sums, counts, volume = zip(*(_blocks(np.asarray(scan), outside) for scan in hu), strict=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.stack(sums) / np.stack(counts)  # (N, blocks), NaN where a scan has no lung
    shares = np.stack([counts[row] for row in train]).mean(axis=0) / volume[0]
    used = shares >= MIN_LUNG_SHARE
    if not used.any():
        raise InputError("common space: found no block of the template with enough lung. Check the registrations.")
    points = means[:, used]
    points = np.where(np.isnan(points), np.nanmean(points[train], axis=0), points)
    analysis = PCA(n_components=min(COMPONENTS, len(train) - 1, points.shape[1]), svd_solver="full").fit(points[train])
    strongest = np.abs(analysis.components_).argmax(axis=1)
    signs = np.sign(analysis.components_[np.arange(len(strongest)), strongest])
    scores = analysis.transform(points) * signs
    table = pd.DataFrame(scores, columns=[f"c_{i + 1}" for i in range(scores.shape[1])])
    table.insert(0, "subject", list(subjects))
    return table


def _blocks(scan: NDArray[np.int16], outside: int) -> tuple[NDArray, NDArray, NDArray]:
    """Sum of HU, number of lung voxels and number of voxels of each block, flat."""
    lung = scan != outside
    parts = [np.where(lung, scan, 0).astype(np.float64), lung.astype(np.float64), np.ones(scan.shape)]
    for axis, size in enumerate(scan.shape):
        edges = np.unique(np.linspace(0, size, min(BLOCKS, size), endpoint=False).round().astype(int))
        parts = [np.add.reduceat(part, edges, axis=axis) for part in parts]
    return tuple(part.ravel() for part in parts)
