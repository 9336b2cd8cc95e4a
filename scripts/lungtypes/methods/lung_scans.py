"""Scans with their lung masks, cut to the box that the training lungs need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.errors import InputError
from lungtypes.methods.intensity import OUTSIDE, Intensity

Box = tuple[tuple[int, int], ...]  # first voxel and one past the last, along z, y, x


def lung_box(hu: NDArray[np.int16], rows: NDArray[np.int64], *, multiple: int) -> Box:
    """The smallest box, of sides that are multiples as far as the array allows, that holds the lungs of ``rows``.

    hu : (N, Z, Y, X), OUTSIDE where no lung is. Convolutions over the empty rest of the cube cost as much as over
    lungs; a box of the training scans serves every later scan alike, so that no scan depends on its batch.
    """
    shape = hu.shape[1:]
    lows, highs = np.array(shape), np.zeros(len(shape), int)
    for row in rows:
        lung = np.asarray(hu[row]) != OUTSIDE
        for axis in range(len(shape)):
            where = np.flatnonzero(lung.any(axis=tuple(a for a in range(len(shape)) if a != axis)))
            if where.size:
                lows[axis], highs[axis] = min(lows[axis], where[0]), max(highs[axis], where[-1] + 1)
    if (highs <= lows).any():
        raise InputError("cohort: found no lung voxel in the training scans. See cohort/attrition.tsv.")
    box = []
    for low, high, size in zip(lows.tolist(), highs.tolist(), shape, strict=True):
        side = min(-(-(high - low) // multiple) * multiple, size)
        start = min(max(low - (side - (high - low)) // 2, 0), size - side)
        box.append((start, start + side))
    return tuple(box)


class LungScans:
    """Scans and lungs as tensors, made batch by batch; the cohort itself stays int16, on disk or in memory."""

    def __init__(
        self, hu: NDArray[np.int16], intensity: Intensity, box: Box, rows: NDArray[np.int64] | None = None
    ) -> None:
        """hu : (N, Z, Y, X), OUTSIDE where no lung is; rows : which scans, all by default."""
        self._hu, self._intensity = hu, intensity
        self._cut = tuple(slice(*edges) for edges in box)
        self._rows = np.arange(len(hu)) if rows is None else np.asarray(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, index: Sequence[int] | NDArray[np.int64], device: str) -> tuple[Tensor, Tensor]:
        """x (n, 1, *box) float32 in 0-1 and lungs (n, 1, *box) of 0 and 1, on the device.

        Raises InputError for a scan whose lungs lie outside of the box.
        """
        hu = np.stack([np.asarray(self._hu[row][self._cut]) for row in self._rows[np.asarray(index)]])
        lungs = hu != OUTSIDE
        if not lungs.any(axis=(1, 2, 3)).all():
            raise InputError("cohort: found a scan without lung in the network's box. Look at its lungs and placement.")
        x = torch.from_numpy(self._intensity.normalise(hu))[:, None]
        return x.to(device), torch.from_numpy(lungs.astype(np.float32))[:, None].to(device)
