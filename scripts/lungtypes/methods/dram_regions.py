"""Lobes (or zones, where no lobes exist) of scans as small cubes, and back again (Xie et al. 2021, dRAM).

A region is cut out with a margin, everything else is set to air, and the cube is resized to the network's size. Lesion
candidates are its voxels above 0.75 of Otsu's threshold in the window: denser than lung, vessels included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import OUTSIDE

CANDIDATE_FACTOR = 0.75  # of Otsu's threshold (the authors' code)
BINS = 256

if TYPE_CHECKING:
    from lungtypes.imaging.region_files import RegionCohort

Region = tuple[int, int]  # row of the scan, label of the region


@dataclass(frozen=True)
class RegionBatch:
    """image in 0-1, mask, candidates and (when there are masks) lesions of 0 and 1: all (n, 1, S, S, S) float32."""

    image: Tensor
    mask: Tensor
    candidates: Tensor
    lesions: Tensor | None


class RegionScans:
    """Regions of scans as tensors, made batch by batch; scans stay int16, on disk or in memory."""

    def __init__(
        self,
        hu: NDArray[np.int16],
        labels: NDArray[np.uint8],
        *,
        spacing_mm: float,
        size: int,
        window_hu: Sequence[float],
        margin_mm: float,
        lesions: NDArray[np.uint8] | None = None,
        with_lesions: Sequence[bool] | None = None,
    ) -> None:
        """Parameters
        ----------
        hu, labels, lesions : (N, Z, Y, X); HU are OUTSIDE where no lung is, labels 0 outside the regions, lesions
            above 0 where there is one.
        with_lesions : (N,) whether each scan has a lesion mask, all by default; without one, its part of ``lesions``
            says nothing.
        size : side of the cubes in voxels. window_hu : mapped to 0-1; outside the region is 0. margin_mm : around the
            region's bounding box.

        Raises InputError when the arrays do not match.
        """
        for name, other in (("labels", labels), ("lesions", lesions)):
            if other is not None and other.shape != hu.shape:
                raise InputError(f"{name}: found shape {other.shape}, expected {hu.shape} of the scans. Make it again.")
        self._hu, self._labels, self._lesions = hu, labels, lesions
        self._with_lesions = [lesions is not None] * len(hu) if with_lesions is None else list(with_lesions)
        self._window = tuple(float(v) for v in window_hu)
        self._margin = round(margin_mm / spacing_mm)
        self.size, self.voxel_ml = size, spacing_mm**3 / 1000
        self._boxes: dict[int, dict[int, tuple[slice, ...]]] = {}
        self._thresholds: dict[Region, float] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) of every scan."""
        return self._hu.shape[1:]

    def has_lesions(self, row: int) -> bool:
        """Whether the scan has a lesion mask."""
        return self._lesions is not None and self._with_lesions[row]

    def regions(self, row: int) -> list[Region]:
        """The regions that a scan has, by label."""
        if row not in self._boxes:
            found = ndimage.find_objects(np.asarray(self._labels[row]))
            self._boxes[row] = {i: self._wider(box) for i, box in enumerate(found, start=1) if box is not None}
        return [(row, label) for label in self._boxes[row]]

    def box(self, region: Region) -> tuple[slice, ...]:
        """Where the region lies in its scan, margin included."""
        self.regions(region[0])
        return self._boxes[region[0]][region[1]]

    def inside(self, region: Region) -> NDArray[np.bool_]:
        """The region's voxels in its box."""
        return np.asarray(self._labels[region[0]][self.box(region)]) == region[1]

    def windowed(self, region: Region) -> NDArray[np.float32]:
        """The region's box in 0-1, with 0 outside the region."""
        low, high = self._window
        hu = np.asarray(self._hu[region[0]][self.box(region)])
        scaled = np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1)
        return np.where(self.inside(region) & (hu != OUTSIDE), scaled, 0).astype(np.float32)

    def threshold(self, region: Region) -> float:
        """Above it, in the window's 0-1, a voxel of the region is a candidate. Of the scan's own voxels, kept."""
        if region not in self._thresholds:
            values = self.windowed(region)[self.inside(region)]
            self._thresholds[region] = CANDIDATE_FACTOR * otsu_threshold(values)
        return self._thresholds[region]

    def candidates(self, region: Region) -> NDArray[np.bool_]:
        """Lesion candidates in the region's box."""
        return self.inside(region) & (self.windowed(region) > self.threshold(region))

    def batch(self, regions: Sequence[Region], device: str) -> RegionBatch:
        """The regions at the network's size, on the device."""
        images, masks, lesions = [], [], []
        for region in regions:
            inside = self.inside(region)
            mask = resized(inside, self.size, mode="nearest-exact")
            masks.append(mask if mask.any() else resized(inside, self.size, mode="trilinear").gt(0).float())
            images.append(resized(self.windowed(region), self.size, mode="trilinear") * masks[-1])
            if self._lesions is not None:
                lesion = np.asarray(self._lesions[region[0]][self.box(region)]) > 0
                lesions.append(resized(lesion & inside, self.size, mode="nearest-exact") * masks[-1])
        image, mask = torch.stack(images), torch.stack(masks)
        limits = torch.tensor([self.threshold(r) for r in regions]).view(-1, 1, 1, 1, 1)
        candidates = (image > limits).float() * mask
        drawn = torch.stack(lesions).to(device) if lesions else None
        return RegionBatch(image.to(device), mask.to(device), candidates.to(device), drawn)

    def paste(self, region: Region, cube: Tensor, whole: NDArray[np.float32]) -> None:
        """Write values (S, S, S) of a region into its own voxels of an array of the scan's grid."""
        box, inside = self.box(region), self.inside(region)
        back = functional.interpolate(
            cube.detach().float().cpu()[None, None], size=inside.shape, mode="trilinear", align_corners=False
        )
        whole[box][inside] = back[0, 0].numpy()[inside]

    def _wider(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        return tuple(
            slice(max(side.start - self._margin, 0), min(side.stop + self._margin, n))
            for side, n in zip(box, self.shape, strict=True)
        )


def scans_of(cohort: RegionCohort, regions: Mapping[str, object]) -> RegionScans:
    """The scans of a cohort with their regions; ``regions`` : size, window_hu, margin_mm."""
    masks = {"lesions": cohort.lesions, "with_lesions": cohort.with_lesions}
    return RegionScans(cohort.array, cohort.labels, spacing_mm=cohort.spacing_mm, **masks, **regions)


def resized(array: NDArray, size: int, *, mode: str) -> Tensor:
    """An array (Z, Y, X) as a cube (1, size, size, size) float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    corners = {"align_corners": False} if mode == "trilinear" else {}
    return functional.interpolate(tensor, size=(size,) * 3, mode=mode, **corners)[0]


def otsu_threshold(values: NDArray) -> float:
    """The value that parts ``values`` into two classes with the largest variance between them (Otsu 1979).

    From a histogram of 256 bins; the middle of the best ones where several part alike; the value itself where all are
    the same, and NaN for none.
    """
    values = np.asarray(values, np.float64).ravel()
    if values.size == 0:
        return np.nan
    low, high = values.min(), values.max()
    if low == high:
        return float(low)
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    middle = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]  # at most up to a bin; the last bin leaves nothing above
    above = values.size - below
    sums = np.cumsum(counts * middle)
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())
