"""Maps beside the published one, of any clustering method: which there are, what each costs, and its controls.

A method brings an :class:`Explainer`; nothing here knows which it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.maps.attribution import Score, View, difference_map, gradient_map, log_odds, log_ratio, path_map
from lungtypes.methods.intensity import Intensity

KINDS = ("difference", "margin", "contrast", "gradcam")


@dataclass(frozen=True)
class Way:
    """Of maps along a path: points of the rule, sigma of the smoothing in voxels."""

    points: int
    sigma: float


@dataclass(frozen=True)
class Scan:
    """A scan as its network sees it: image and reference (1, 1, *size) on the device, inside (*size) its lungs."""

    image: Tensor
    reference: Tensor
    inside: NDArray[np.bool_]
    view: View


class Explainer(Protocol):
    """A fitted model that maps explain. Clusters count from 0.

    name : of the published map. k : clusters. passes : of the network that the published map of a scan needs.
    chunk : images that go through the network at once (memory only).
    """

    name: str
    k: int
    passes: int
    chunk: int

    def scan(self, hu: NDArray[np.int16]) -> Scan:
        """One scan (*size) in HU, OUTSIDE where no lung is."""

    def weights(self, scan: Scan, cluster: int) -> Tensor:
        """What the published map multiplies each channel with, (H,)."""

    def published(self, scan: Scan, cluster: int, weights: Tensor) -> NDArray[np.float32]:
        """The published map before it is scaled, (*size) on the grid of ``scan.image``."""

    def on_grid(self, values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A map on the grid of ``scan.image``, on the cohort's grid of ``shape``."""

    def randomised(self, seed: int) -> Iterator[tuple[str, Explainer]]:
        """The model with the last layer drawn anew, then with the last two, and so on; with the layer's name."""


def further_maps(
    scan: Scan, weights: Tensor, cluster: int, other: int, kinds: Sequence[str], way: Way
) -> dict[str, NDArray[np.float32]]:
    """Maps (*size) of either sign on the grid of ``scan.image``.

    difference : the published map of what the channels have more, or less, than the reference's. margin : what each
    voxel adds to the log-odds of the cluster (from 0) against all others, from reference to scan. contrast : the same
    against ``other`` alone. gradcam : Grad-CAM on the log-odds.
    """
    view, size = scan.view, tuple(scan.image.shape[2:])
    with torch.no_grad():
        channels, reference = view.activations(scan.image), view.activations(scan.reference)

    def along_path(score: Score) -> NDArray[np.float32]:
        ends = (scan.reference, scan.image)
        return path_map(lambda images: score(view.log_q_of(images)), *ends, points=way.points, sigma=way.sigma)

    make = {
        "difference": lambda: view.upsampled(difference_map(channels, reference, weights), size),
        "margin": lambda: along_path(log_odds(cluster)),
        "contrast": lambda: along_path(log_ratio(cluster, other)),
        "gradcam": lambda: view.upsampled(gradient_map(view, channels, log_odds(cluster)), size),
    }
    return {kind: make[kind]() for kind in kinds}


def passes_of(kind: str, explainer: Explainer, points: int) -> int:
    """Forward passes of the network that a map of one scan takes, a way back counting as two: its cost anywhere.

    points : of the path of ``margin`` and ``contrast``.
    """
    others = {"difference": explainer.passes + 1, "gradcam": 3, "margin": 3 * points, "contrast": 3 * points}
    return {explainer.name: explainer.passes, **others}[kind]


def runner_up(q: NDArray, cluster: int) -> int:
    """The most probable other cluster of a row of q (K,), from 0."""
    return int(np.argmax(np.where(np.arange(len(q)) == cluster, -np.inf, q)))


def scaled_two_sided(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map divided by its largest size: -1 to 1, and 0 stays 0."""
    largest = float(np.abs(raw).max())
    return raw / np.float32(largest) if largest > 0 else raw


def control_rows(splits: Sequence[str], controls: Sequence[bool]) -> tuple[NDArray[np.int64], str]:
    """Which scans the reference is the mean of, and their name: the training scans of controls, else all of them."""
    train = np.array([split == "train" for split in splits])
    healthy = train & np.asarray(controls, bool)
    return (np.flatnonzero(healthy), "controls") if healthy.any() else (np.flatnonzero(train), "cohort")


def mean_scan(hu: NDArray[np.int16], rows: NDArray[np.int64], intensity: Intensity) -> NDArray[np.float32]:
    """Mean network input (*size) of the scans ``rows`` of (N, *size), one in memory at a time."""
    total = np.zeros(hu.shape[1:])
    for row in rows:
        total += intensity.normalise(np.asarray(hu[row]))
    return (total / len(rows)).astype(np.float32)


def mean_lung(hu: NDArray[np.int16], rows: NDArray[np.int64], intensity: Intensity) -> float:
    """Mean network input over the lung voxels of the scans ``rows``, each scan counting the same."""
    means = []
    for row in rows:
        scan = np.asarray(hu[row])
        means.append(intensity.normalise(scan)[scan != OUTSIDE].mean(dtype=np.float64))
    return float(np.mean(means))
