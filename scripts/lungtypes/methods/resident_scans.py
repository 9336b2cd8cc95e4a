"""A cohort on the graphics card, when it fits: normalised there, so that no batch is copied while a network waits."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.methods.intensity import OUTSIDE, Intensity, NormalisedScans

logger = logging.getLogger(__name__)

LARGEST_SHARE = 0.3  # of the free device memory; the rest is for the network


class ResidentScans:
    """As :class:`NormalisedScans`, from scans that lie on a device: ``scans[index]`` is (n, *size) float32 there."""

    def __init__(self, hu: Tensor, intensity: Intensity, rows: NDArray[np.int64] | None = None) -> None:
        """hu : (N, *size) int16 lung HU, OUTSIDE elsewhere; rows : which scans, all by default."""
        self._hu, self._intensity = hu, intensity
        self._rows = torch.arange(len(hu)) if rows is None else torch.from_numpy(np.asarray(rows, np.int64))
        self.shape = (len(self._rows), *hu.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: NDArray[np.int64]) -> Tensor:
        rows = self._rows[torch.from_numpy(np.asarray(index, np.int64))]
        hu, how = self._hu[rows.to(self._hu.device)], self._intensity
        scaled = (hu.float() - how.low_hu) / (how.high_hu - how.low_hu)
        return torch.where(hu == OUTSIDE, how.background, scaled.clamp(0, 1))


def to_device(hu: NDArray[np.int16], device: str) -> NDArray[np.int16] | Tensor:
    """The cohort (N, *size) on a CUDA device that has room for it; else as it is."""
    if not device.startswith("cuda"):
        return hu
    free = torch.cuda.mem_get_info(device)[0]
    if hu.nbytes > LARGEST_SHARE * free:
        logger.info("cohort of %.1f GB stays on the host: %.1f GB are free", hu.nbytes / 1e9, free / 1e9)
        return hu
    stored = torch.empty(hu.shape, dtype=torch.int16, device=device)
    for row, scan in enumerate(hu):  # a memory map is never whole in memory
        stored[row] = torch.from_numpy(np.array(scan))
    return stored


def normalised(
    hu: NDArray[np.int16] | Tensor, intensity: Intensity, rows: NDArray[np.int64] | None = None
) -> NormalisedScans | ResidentScans:
    """Network inputs of what :func:`to_device` returned."""
    return (ResidentScans if isinstance(hu, Tensor) else NormalisedScans)(hu, intensity, rows)
