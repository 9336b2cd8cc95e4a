"""Does a map show what decides? Insertion and deletion on the log-odds, and controls that know nothing of the network.

Voxels of the lung change from the reference to the scan (insertion; Petsiuk et al. 2018) or back (deletion), the most
important first. A map that shows what decides brings the log-odds up early and takes them down early. Only a comparison
with controls on the same scan means anything: so many voxels in any sensible order do something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Faithfulness:
    """Means of the score along the way, in log-odds; gain : insertion less deletion, the larger the better."""

    insertion: float
    deletion: float

    @property
    def gain(self) -> float:
        """Insertion less deletion."""
        return self.insertion - self.deletion


def insertion_deletion(
    importance: NDArray,
    image: Tensor,
    reference: Tensor,
    inside: NDArray[np.bool_],
    score: Callable[[Tensor], Tensor],
    *,
    steps: int,
    chunk: int,
    rng: np.random.Generator,
) -> Faithfulness:
    """Area under both curves (trapezes over the share of voxels, 0 to 1).

    Parameters
    ----------
    importance : (*size), any scale; only its order inside counts, equal values are put in random order.
    image, reference : (1, 1, *size), which change places voxel by voxel. inside : (*size), the voxels that do.
    score : images (n, 1, *size) -> (n,) log-odds. steps : points of each curve less one. chunk : images at once.
    """
    values = np.asarray(importance, np.float64)[inside]
    order = np.lexsort((rng.random(values.size), -values))
    rank = np.empty(values.size, np.int64)
    rank[order] = np.arange(values.size)
    place = torch.full(tuple(image.shape), values.size, dtype=torch.int64)
    place[0, 0][torch.from_numpy(inside)] = torch.from_numpy(rank)
    place = place.to(image.device)
    counts = torch.from_numpy(np.rint(np.linspace(0, values.size, steps + 1)).astype(np.int64))
    curves = []
    with torch.inference_mode():
        for start, end in ((reference, image), (image, reference)):
            parts = []
            for part in counts.split(chunk):
                changed = place < part.to(image.device).reshape(-1, *(1,) * (image.ndim - 1))
                parts.append(score(torch.where(changed, end, start)).double().cpu())
            curves.append(float(np.trapezoid(torch.cat(parts).numpy(), dx=1 / steps)))
    return Faithfulness(*curves)


def control_maps(
    image: Tensor,
    reference: Tensor,
    channels: Tensor,
    upsampled: Callable[[Tensor], NDArray[np.float32]],
    *,
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float32]]:
    """Maps (*size) that a map has to be better than, on the grid of the channels and brought up as maps are.

    uniform : the plain sum of the channels (1, H, *small). random_weights : their sum with weights of random size.
    brightness : the image alone. departure : how far it is from the reference, without any network.
    """
    weights = torch.from_numpy(rng.random(channels.shape[1])).to(channels)
    small = tuple(channels.shape[2:])
    pool = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}[image.ndim - 2]
    return {
        "uniform": upsampled(channels[0].sum(dim=0)),
        "random_weights": upsampled(torch.einsum("h,h...->...", weights, channels[0])),
        "brightness": upsampled(pool(image, small)[0, 0]),
        "departure": upsampled(pool((image - reference).abs(), small)[0, 0]),
    }


def rank_correlation(first: NDArray, second: NDArray, inside: NDArray[np.bool_]) -> float:
    """Spearman's correlation of two maps inside; NaN where one of them is constant."""
    a, b = (rankdata(np.asarray(values, np.float64)[inside]) for values in (first, second))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def paired_interval(gains: NDArray, controls: NDArray, *, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean of ``gains`` - ``controls`` (n,) and its 95 % bootstrap interval over scans; NaN below two scans."""
    gaps = np.asarray(gains, float) - np.asarray(controls, float)
    if len(gaps) < 2:
        return float(gaps.mean()) if len(gaps) else np.nan, np.nan, np.nan
    means = gaps[rng.integers(0, len(gaps), size=(2000, len(gaps)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gaps.mean()), float(low), float(high)


def recommended(gains: Mapping[str, float], costs: Mapping[str, float], published: str) -> str:
    """The map with the largest mean gain among those that cost at most twice the published one."""
    affordable = [kind for kind in gains if costs[kind] <= 2 * costs[published] and np.isfinite(gains[kind])]
    return max(affordable, key=lambda kind: gains[kind]) if affordable else published
