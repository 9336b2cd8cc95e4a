"""From lung HU to network input: a window fitted nowhere, and a background fitted on the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungtypes.imaging.hounsfield import OUTSIDE


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


def fit_intensity(hu: NDArray[np.int16], *, window_hu: tuple[float, float], background: str) -> Intensity:
    """Fix the constants on the training scans.

    Parameters
    ----------
    hu : (N, Z, Y, X) lung HU, OUTSIDE elsewhere; window_hu : mapped to 0-1.
    background : ``lung_mean`` fills the outside with the training lungs' mean (the authors' code), ``zero`` with 0.
    """
    low, high = (float(v) for v in window_hu)
    if background == "zero":
        return Intensity(low, high, 0.0)
    values = np.clip((hu[hu != OUTSIDE].astype(np.float64) - low) / (high - low), 0, 1)
    return Intensity(low, high, float(values.mean()))
