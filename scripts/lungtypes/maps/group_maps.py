"""Group-averaged maps (Ryan et al. 2020, eq. 10 and 11), one scan in memory at a time, in template space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lungtypes.maps.coverage import ACTIVE

EMPTY_HU = -1024.0  # of a mean CT where no scan has lung


@dataclass
class GroupAccumulator:
    """Mean, SD and count of activated maps of a group, (*shape) each: eq. 10 prints a sum, figures and code show means.

    Running sums (Welford 1962), so that no map need be kept. n : maps added; mean : NaN of none; sd : NaN below two.
    """

    shape: tuple[int, ...]
    n: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._mean, self._squares = np.zeros(self.shape), np.zeros(self.shape)
        self._active = np.zeros(self.shape, np.int32)

    def add(self, importance: NDArray[np.float32]) -> None:
        """Take in one map (*shape)."""
        self.n += 1
        step = importance - self._mean
        self._mean += step / self.n
        self._squares += step * (importance - self._mean)
        self._active += importance > ACTIVE

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean importance."""
        return self._mean.astype(np.float32) if self.n else np.full(self.shape, np.nan, np.float32)

    @property
    def sd(self) -> NDArray[np.float32]:
        """Standard deviation over the maps (divisor n - 1)."""
        if self.n < 2:
            return np.full(self.shape, np.nan, np.float32)
        return np.sqrt(self._squares / (self.n - 1)).astype(np.float32)

    @property
    def count_active(self) -> NDArray[np.int32]:
        """How many maps are above 0.5 at the voxel."""
        return self._active.copy()

    def second_moment_about(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean squared distance of the maps from ``centre``."""
        return self._squares / self.n + (self._mean - centre) ** 2


@dataclass(frozen=True)
class BalancedMap:
    """Mean and SD (*shape) of a population in which each cluster weighs the same."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]


def balanced_population(clusters: Sequence[GroupAccumulator]) -> BalancedMap:
    """Population map of eq. 11 with means: the unweighted mean of the maps of the clusters that have any.

    sd : over all maps, each weighing 1 / (K n_k), with the correction of weighted samples, 1 - sum of squared weights.
    In clusters of one size it is the plain SD; NaN for a single map.
    """
    used = [group for group in clusters if group.n]
    centre = np.mean([group.mean.astype(np.float64) for group in used], axis=0)
    spread = np.mean([group.second_moment_about(centre) for group in used], axis=0)
    left = 1 - sum(1 / group.n for group in used) / len(used) ** 2
    sd = np.sqrt(spread / left) if left > 0 else np.full(centre.shape, np.nan)
    return BalancedMap(centre.astype(np.float32), sd.astype(np.float32))


@dataclass
class DensityAccumulator:
    """Mean HU over the scans that have lung at a voxel, and how many have: (*shape) each; ``outside`` marks no lung."""

    shape: tuple[int, ...]
    outside: int

    def __post_init__(self) -> None:
        self._total, self._count = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.int32)

    def add(self, hu: NDArray[np.int16]) -> None:
        """Take in one scan (*shape)."""
        inside = hu != self.outside
        np.add(self._total, hu, out=self._total, where=inside)
        self._count += inside

    @property
    def mean(self) -> NDArray[np.float32]:
        """Mean HU; EMPTY_HU where no scan has lung."""
        mean = self._total / np.maximum(self._count, 1)
        return np.where(self._count > 0, mean, EMPTY_HU).astype(np.float32)

    @property
    def count(self) -> NDArray[np.int32]:
        """Number of scans with lung there."""
        return self._count.copy()
