"""Group-averaged maps (Ryan et al. 2020, eq. 10 and 11) and what each map covers, in template space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ACTIVE = 0.5  # importance above which a voxel counts as activated; unstated in the paper


@dataclass(frozen=True)
class GroupMap:
    """Mean and SD (*size) over n maps; n counts the maps that are not degenerate."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]
    n: int


def average_maps(maps: Sequence[NDArray[np.float32]]) -> GroupMap:
    """Mean of the maps: eq. 10 prints a sum, its figures and the authors' code show means."""
    mean, squares = np.zeros(maps[0].shape), np.zeros(maps[0].shape)
    for n, importance in enumerate(maps, start=1):  # Welford 1962: one map in memory at a time
        step = importance - mean
        mean += step / n
        squares += step * (importance - mean)
    spread = np.sqrt(squares / max(len(maps) - 1, 1))
    return GroupMap(mean.astype(np.float32), spread.astype(np.float32), len(maps))


def balanced_population(cluster_means: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Population map of eq. 11 with means: the unweighted mean of the cluster maps."""
    return np.mean(np.stack(cluster_means), axis=0).astype(np.float32)


def describe_map(
    importance: NDArray[np.float32],
    hu: NDArray[np.float32],
    regions: dict[str, NDArray[np.bool_]],
    *,
    voxel_ml: float,
) -> dict[str, float]:
    """Activated volume (mL), its mean HU, share of the importance inside the lungs, and by region.

    regions : name -> mask; ``lungs`` is required. Shares by region add up over disjoint regions.
    """
    lungs = regions["lungs"]
    active = (importance > ACTIVE) & lungs
    total, inside = float(importance.sum()), float(importance[lungs].sum())
    row = {
        "active_ml": float(active.sum()) * voxel_ml,
        "active_mean_hu": float(hu[active].mean()) if active.any() else float("nan"),
        "inside_share": inside / total if total > 0 else float("nan"),
    }
    for name, mask in regions.items():
        if name != "lungs":
            share = float(importance[mask].sum()) / inside if inside > 0 else float("nan")
            row[f"share_{name}"] = share
    return row


def mean_ct(hu: NDArray[np.int16], outside: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Mean HU of (N, *size) over the scans that have lung there, and their number; NaN-free (outside = fill)."""
    inside = hu != outside
    count = inside.sum(axis=0).astype(np.int32)
    total = np.where(inside, hu, 0).sum(axis=0, dtype=np.float64)
    mean = np.where(count > 0, total / np.maximum(count, 1), -1024.0)
    return mean.astype(np.float32), count
