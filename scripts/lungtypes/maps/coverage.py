"""What one map covers: activated volume, density and importance inside and outside it, by region of the lungs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import NDArray

ACTIVE = 0.5  # importance above which a voxel counts as activated; unstated in the paper


@dataclass(frozen=True)
class Coverage:
    """One map in one region; NaN where it is undefined, as the mean over no voxel, or for a map of zeros."""

    region_ml: float
    active_ml: float
    active_mean_hu: float
    inactive_mean_hu: float
    active_mean_importance: float
    inactive_mean_importance: float
    mean_importance: float


def describe_map(
    importance: NDArray[np.float32], hu: NDArray, regions: Mapping[str, NDArray[np.bool_]], *, voxel_ml: float
) -> dict[str, float]:
    """The columns of map_summary.tsv that describe the whole lungs.

    Parameters
    ----------
    importance : (*size) in 0-1; hu : (*size) density, only its values in the lungs are read.
    regions : name -> mask (*size); ``lungs`` is required.

    inside_share : of the importance, inside the lungs. A map of zeros explains nothing: all its figures are NaN.
    """
    lungs = regions["lungs"]
    row = asdict(_cover(importance, hu, lungs, voxel_ml))
    lungs_ml = row.pop("region_ml")
    active_ml = row.pop("active_ml")
    percent = 100 * active_ml / lungs_ml if lungs_ml > 0 else np.nan
    share = _share(importance, lungs, None)
    return {"active_ml": active_ml, "active_percent": percent, **row, "inside_share": share}


def describe_regions(
    importance: NDArray[np.float32], hu: NDArray, regions: Mapping[str, NDArray[np.bool_]], *, voxel_ml: float
) -> list[dict[str, object]]:
    """Rows of map_regions.tsv, one a region but ``lungs``; arguments as for :func:`describe_map`.

    share : of the importance inside the lungs; adds up to 1 over regions that divide them.
    """
    return [
        {
            "region": name,
            **asdict(_cover(importance, hu, mask, voxel_ml)),
            "share": _share(importance, mask, regions["lungs"]),
        }
        for name, mask in regions.items()
        if name != "lungs"
    ]


def _cover(importance: NDArray, hu: NDArray, mask: NDArray[np.bool_], voxel_ml: float) -> Coverage:
    values, density = importance[mask], hu[mask]
    region_ml = values.size * voxel_ml
    if not importance.any():
        return Coverage(region_ml, *[np.nan] * (len(fields(Coverage)) - 1))
    active = values > ACTIVE
    return Coverage(
        region_ml,
        active_ml=float(active.sum()) * voxel_ml,
        active_mean_hu=_mean(density[active]),
        inactive_mean_hu=_mean(density[~active]),
        active_mean_importance=_mean(values[active]),
        inactive_mean_importance=_mean(values[~active]),
        mean_importance=_mean(values),
    )


def _share(importance: NDArray, part: NDArray[np.bool_], whole: NDArray[np.bool_] | None) -> float:
    """Share of the importance in ``whole`` (everywhere when None) that lies in ``part``; NaN where either is empty."""
    total = float((importance if whole is None else importance[whole]).sum(dtype=np.float64))
    return float(importance[part].sum(dtype=np.float64)) / total if total > 0 and part.any() else np.nan


def _mean(values: NDArray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else np.nan
