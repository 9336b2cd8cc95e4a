"""CT densitometry of each lung and region on the native, unwarped HU (numpy only)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lungtypes.errors import GeometryError
from lungtypes.imaging.geometry import bounding_box
from lungtypes.imaging.zones import LOBES, SHELLS, ZONES, lung_shells, lung_zones

HIGH_ATTENUATION_HU = (-600.0, -250.0)  # Lederer et al., MESA: interstitial lung abnormality
COLUMNS = (
    "region",
    "volume_ml",
    "air_ml",
    "mass_g",
    "mean_hu",
    "median_hu",
    "sd_hu",
    "laa950_percent",
    "laa910_percent",
    "laa856_percent",
    "perc15_hu",
    "haa_percent",
    "skewness",
    "kurtosis",
)


def measure_density(
    hu: NDArray,
    lungs: NDArray[np.uint8],
    lobes: NDArray[np.uint8] | None = None,
    *,
    spacing_mm: tuple[float, float, float],
) -> pd.DataFrame:
    """Density measures for both lungs, right, left, zones, core and rim, and the lobes when there are any.

    Parameters
    ----------
    hu : (Z, Y, X) Hounsfield units, index axis 0 towards the head (LPS).
    lungs : (Z, Y, X) uint8, 1 right, 2 left, without airways; same grid.
    lobes : (Z, Y, X) uint8, 1-5 as in LOBES, same grid; counted inside the lungs only.
    spacing_mm : (z, y, x).

    Returns
    -------
    DataFrame, one row a region, COLUMNS; NaN for an empty region. %LAA counts voxels strictly below the threshold
    (-950: Gevenois et al., AJRCCM 1995; -856 means trapped air in expiration only); Perc15 is the 15th percentile,
    interpolated linearly; SD is the population's; skewness and excess kurtosis are the biased moments. A voxel of h HU
    holds (h + 1000) / 1000 g of tissue a millilitre, at least 0, and -h / 1000 mL of air, from 0 to 1.

    Raises
    ------
    GeometryError : the shapes differ.
    """
    if hu.shape != lungs.shape or (lobes is not None and lobes.shape != lungs.shape):
        raise GeometryError(f"hu and masks: found shapes {hu.shape} and {lungs.shape}, expected the same grid.")
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    if lungs.any():  # the rest of the scan only takes time
        box = bounding_box(lungs > 0, spacing_mm, 0.0)
        hu, lungs, lobes = hu[box], lungs[box], None if lobes is None else lobes[box]
    zones, shells = lung_zones(lungs), lung_shells(lungs, spacing_mm)
    regions = [("lungs", lungs > 0), ("right", lungs == 1), ("left", lungs == 2)]
    regions += [(name, zones == number) for number, name in ZONES.items()]
    regions += [(name, shells == number) for number, name in SHELLS.items()]
    if lobes is not None:
        regions += [(name, (lobes == number) & (lungs > 0)) for number, name in LOBES.items()]
    rows = [{"region": name, **_measures(*_histogram(hu[mask]), voxel_ml)} for name, mask in regions]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _histogram(values: NDArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distinct HU in ascending order and how often each occurs: all measures follow from it without large copies."""
    if values.size and np.issubdtype(values.dtype, np.integer):
        low = int(values.min())
        counts = np.bincount(values.astype(np.int32) - low)
        there = np.flatnonzero(counts)
        return (there + low).astype(np.float64), counts[there]
    levels, counts = np.unique(values, return_counts=True)
    return levels.astype(np.float64), counts


def _measures(hu: NDArray[np.float64], counts: NDArray[np.int64], voxel_ml: float) -> dict[str, float]:
    if counts.size == 0:
        return dict.fromkeys(COLUMNS[1:], float("nan"))
    n = int(counts.sum())
    share = counts / n
    mean = float(hu @ share)
    second, third, fourth = (float(((hu - mean) ** power) @ share) for power in (2, 3, 4))
    flat = len(hu) == 1  # one value has no shape
    low, high = HIGH_ATTENUATION_HU
    return {
        "volume_ml": n * voxel_ml,
        "air_ml": float(np.clip(-hu / 1000, 0, 1) @ counts) * voxel_ml,
        "mass_g": float(np.clip((hu + 1000) / 1000, 0, None) @ counts) * voxel_ml,
        "mean_hu": mean,
        "median_hu": _percentile(hu, counts, 50),
        "sd_hu": float(np.sqrt(second)),
        "laa950_percent": 100 * int(counts[hu < -950].sum()) / n,
        "laa910_percent": 100 * int(counts[hu < -910].sum()) / n,
        "laa856_percent": 100 * int(counts[hu < -856].sum()) / n,
        "perc15_hu": _percentile(hu, counts, 15),
        "haa_percent": 100 * int(counts[(hu >= low) & (hu <= high)].sum()) / n,
        "skewness": float("nan") if flat else third / second**1.5,
        "kurtosis": float("nan") if flat else fourth / second**2 - 3,
    }


def _percentile(hu: NDArray[np.float64], counts: NDArray[np.int64], percent: float) -> float:
    """As numpy.percentile with linear interpolation."""
    place = percent / 100 * (int(counts.sum()) - 1)
    ends = np.cumsum(counts)
    below, above = (float(hu[np.searchsorted(ends, i, side="right")]) for i in (np.floor(place), np.ceil(place)))
    return below + (place - np.floor(place)) * (above - below)
