"""From lung HU to network input: a window fitted nowhere, and a background fitted on the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lungtypes.imaging.hounsfield import AIR_HU, OUTSIDE


@dataclass(frozen=True)
class Intensity:
    """Constants of the input normalisation, stored with the model; HU, background on the 0-1 scale."""

    low_hu: float
    high_hu: float
    background: float

    def normalise(self, hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Lung HU (N, Z, Y, X), OUTSIDE elsewhere, to float32 in 0-1 with the background filled in."""
        scaled = (hu.astype(np.float32) - self.low_hu) / (self.high_hu - self.low_hu)
        return np.where(hu == OUTSIDE, np.float32(self.background), np.clip(scaled, 0, 1).astype(np.float32))


class NormalisedScans:
    """Scans as the network sees them, made when asked for: ``scans[index]`` is (n, *size) float32 in 0-1.

    The cohort stays int16 on disk; only one batch of it is ever in memory as float32.
    """

    def __init__(self, hu: NDArray[np.int16], intensity: Intensity, rows: NDArray[np.int64] | None = None) -> None:
        """hu : (N, *size) lung HU, OUTSIDE elsewhere; rows : which scans, all by default."""
        self._hu, self._intensity = hu, intensity
        self._rows = np.arange(len(hu)) if rows is None else np.asarray(rows)
        self.shape = (len(self._rows), *hu.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._intensity.normalise(self._hu[self._rows[index]])


def fit_intensity(
    hu: NDArray[np.int16],
    *,
    window_hu: Sequence[float] | Literal["data"],
    background: str,
    rows: NDArray[np.int64] | None = None,
) -> Intensity:
    """Fix the constants on the training scans, one scan in memory at a time.

    Parameters
    ----------
    hu : (N, *size) lung HU, OUTSIDE elsewhere; rows : the training scans, all by default.
    window_hu : mapped to 0-1; ``data`` is air (-1024 HU) to the largest value of these scans (the authors' code
        divides by the data set's maximum).
    background : ``lung_mean`` fills the outside with the training lungs' mean (the authors' code), ``zero`` with 0.
    """
    rows = np.arange(len(hu)) if rows is None else rows
    if window_hu == "data":
        low, high = float(AIR_HU), float(max(hu[row].max() for row in rows))
    else:
        low, high = (float(v) for v in window_hu)
    if background == "zero":
        return Intensity(low, high, 0.0)
    total, count = 0.0, 0
    for row in rows:
        scan = np.asarray(hu[row])
        values = np.clip((scan[scan != OUTSIDE].astype(np.float64) - low) / (high - low), 0, 1)
        total, count = total + float(values.sum()), count + values.size
    return Intensity(low, high, total / count)
