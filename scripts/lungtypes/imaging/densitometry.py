"""CT densitometry of each lung and zone on the native, unwarped HU (numpy and scipy only)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lungtypes.imaging.zones import LOBES, ZONES, lung_zones

HIGH_ATTENUATION_HU = (-600.0, -250.0)  # Lederer et al., MESA: interstitial lung abnormality
COLUMNS = (
    "region",
    "volume_ml",
    "mass_g",
    "mean_hu",
    "laa950_percent",
    "laa910_percent",
    "perc15_hu",
    "haa_percent",
    "skewness",
    "kurtosis",
)


def measure_density(
    hu: NDArray, lungs: NDArray[np.uint8], lobes: NDArray[np.uint8] | None = None, *, voxel_ml: float
) -> pd.DataFrame:
    """Density measures for both lungs, right, left, three zones of equal volume, and the lobes when there are any.

    Parameters
    ----------
    hu : (Z, Y, X) Hounsfield units, index axis 0 towards the head (LPS).
    lungs : (Z, Y, X) uint8, 1 right, 2 left, without airways; same grid.
    lobes : (Z, Y, X) uint8, 1-5 as in LOBES, same grid; counted inside the lungs only.
    voxel_ml : volume of one voxel in millilitres.

    Returns
    -------
    DataFrame, one row a region, COLUMNS. %LAA counts voxels strictly below the threshold
    (Gevenois et al., AJRCCM 1995); Perc15 is the 15th percentile; skewness and excess kurtosis are
    the biased moments; mass is sum((HU + 1000) / 1000) x voxel volume.
    """
    zones = lung_zones(lungs)
    regions = {"lungs": lungs > 0, "right": lungs == 1, "left": lungs == 2}
    regions |= {name: zones == number for number, name in ZONES.items()}
    if lobes is not None:
        regions |= {name: (lobes == number) & (lungs > 0) for number, name in LOBES.items()}
    rows = [{"region": name, **_measures(hu[mask].astype(np.float64), voxel_ml)} for name, mask in regions.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _measures(values: NDArray[np.float64], voxel_ml: float) -> dict[str, float]:
    if values.size == 0:
        return dict.fromkeys(COLUMNS[1:], float("nan"))
    low, high = HIGH_ATTENUATION_HU
    return {
        "volume_ml": values.size * voxel_ml,
        "mass_g": float(np.clip((values + 1000) / 1000, 0, None).sum() * voxel_ml),
        "mean_hu": float(values.mean()),
        "laa950_percent": 100 * float((values < -950).mean()),
        "laa910_percent": 100 * float((values < -910).mean()),
        "perc15_hu": float(np.percentile(values, 15)),
        "haa_percent": 100 * float(((values >= low) & (values <= high)).mean()),
        "skewness": float(stats.skew(values)),
        "kurtosis": float(stats.kurtosis(values)),
    }
