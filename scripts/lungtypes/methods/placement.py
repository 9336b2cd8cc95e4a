"""Where a fitted model puts one scan: q, the distance to its centroid, and how unlike the training scans it is.

One scan at a time and in evaluation mode, so that no scan's numbers depend on another's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from lungtypes.errors import ScanFault
from lungtypes.methods import clam, dcam
from lungtypes.methods.dcam_stages import load_dcam
from lungtypes.methods.intensity import OUTSIDE, Intensity
from lungtypes.methods.lung_scans import LungScans
from lungtypes.methods.model_files import load_autoencoder

TYPICAL = "typical.safetensors"
SD_FLOOR = 0.01  # of the window: voxels that are alike in all training scans would outweigh the rest
KNOWN_SHARE = 0.5  # of the training scans must have lung in a voxel for its mean and SD to be used


@dataclass(frozen=True)
class Placement:
    """One scan in one model.

    q : (K,), sums to 1. distance : to the centroid of the cluster with the largest q, as the kernel of q sees it.
    deviation : root mean square z score against the training scans, of the lung's voxels (CLAM) or of the pooled
    features (dCAM). reconstruction_error : mean square in the lungs, window as 0-1; NaN but for CLAM.
    held : share of the scan's lung voxels that the network sees (dCAM), or where training scans have lung (CLAM).
    """

    q: NDArray[np.float64]
    distance: float
    deviation: float
    reconstruction_error: float
    held: float

    @property
    def cluster(self) -> int:
        """From 1; the largest q."""
        return int(self.q.argmax()) + 1

    @property
    def margin(self) -> float:
        """Largest minus second largest q."""
        ordered = np.sort(self.q)
        return float(ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0.0))


@dataclass(frozen=True)
class Typical:
    """Mean and SD of the training scans in each voxel, window as 0-1; (Z, Y, X), NaN where too few have lung."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]


@dataclass(frozen=True)
class VoxelSums:
    """Sums over n training scans in each voxel, from which any one of them can be taken out again; (Z, Y, X)."""

    n: int
    count: NDArray[np.int64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    def typical(self) -> Typical:
        """Mean and SD; the SD is at least SD_FLOOR."""
        known = self.count >= max(3, KNOWN_SHARE * self.n)
        count = np.maximum(self.count, 2)
        mean = self.total / count
        sd = np.sqrt(np.maximum(self.squares - count * mean**2, 0) / (count - 1))
        sd = np.maximum(sd, SD_FLOOR)
        return Typical(*(np.where(known, value, np.nan).astype(np.float32) for value in (mean, sd)))

    def without(self, hu: NDArray[np.int16], intensity: Intensity) -> VoxelSums:
        """The sums of the other scans."""
        inside, x = hu != OUTSIDE, intensity.normalise(hu).astype(np.float64)
        return VoxelSums(self.n - 1, self.count - inside, self.total - inside * x, self.squares - inside * x**2)


Place = Callable[[NDArray[np.int16]], Placement]


def voxel_sums(array: NDArray[np.int16], rows: Sequence[int], intensity: Intensity) -> VoxelSums:
    """Of the scans ``rows`` of (N, Z, Y, X) lung HU, one in memory at a time."""
    shape = array.shape[1:]
    count, total, squares = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    for row in rows:
        hu = np.asarray(array[row])
        inside, x = hu != OUTSIDE, intensity.normalise(hu).astype(np.float64)
        count += inside
        total += inside * x
        squares += inside * x**2
    return VoxelSums(len(rows), count, total, squares)


def voxel_deviation(hu: NDArray[np.int16], typical: Typical, intensity: Intensity) -> tuple[float, float]:
    """Root mean square z score of a scan's lung voxels, and the share of them where training scans have lung, too.

    The score is NaN where that share is 0.
    """
    inside = hu != OUTSIDE
    known = inside & np.isfinite(typical.mean)
    if not known.any():
        return np.nan, 0.0
    z = (intensity.normalise(hu)[known].astype(np.float64) - typical.mean[known]) / typical.sd[known]
    return float(np.sqrt(np.mean(z**2))), float(known.sum() / inside.sum())


def load_clam(folder: Path, typical: Callable[[NDArray[np.int16]], Typical], device: str) -> Place:
    """The model of ``folder``. typical : what to compare a scan with; of a training scan, the others."""
    model, settings, arrays = load_autoencoder(folder)
    model.to(device).eval()
    intensity, scale = Intensity(**settings["intensity"]), settings["scale"]
    centroids = torch.from_numpy(arrays["centroids"]).double()

    def place(hu: NDArray[np.int16]) -> Placement:
        x = torch.from_numpy(intensity.normalise(hu[None]))[:, None].to(device)
        with torch.inference_mode():
            output, embedding = model(x)
        z, inside = embedding.cpu().double(), torch.from_numpy(hu != OUTSIDE)
        q = clam.soft_assignment(z, centroids, scale)[0].numpy()
        distance = float((z[0] - centroids[int(q.argmax())]).norm()) * scale
        error = float((output - x)[0, 0].cpu()[inside].double().square().mean())
        deviation, held = voxel_deviation(hu, typical(hu), intensity)
        return Placement(q, distance, deviation, error, held)

    return place


def load_dense(folder: Path, device: str, *, left_out: bool = False) -> Place:
    """The model of ``folder``, of dCAM or one of its references.

    left_out : scans are training scans, and are compared with the others.
    """
    model, settings = load_dcam(folder, device)
    intensity, box = Intensity(**settings["intensity"]), tuple(map(tuple, settings["box"]))
    cut, n = tuple(slice(*edges) for edges in box), int(settings["train_subjects"])

    def place(hu: NDArray[np.int16]) -> Placement:
        if not (hu[cut] != OUTSIDE).any():
            raise ScanFault("BOX-NONE", "no lung lies in the part of the cube that the network sees. Look at the scan.")
        scans = LungScans(hu[None], intensity, box)
        features = dcam.embed(model.network, scans, batch=1, device=device)
        q = dcam.assign(model, features)[0]
        z = model.reduction(features)[0]
        distance = float(np.linalg.norm(z - model.centroids[int(q.argmax())])) * model.scale
        squared = ((features[0] - model.reduction.mean) / model.reduction.scale) ** 2
        if left_out:  # of n values, one taken out of mean and SD: exact
            squared = squared * n / (n - 1) / np.maximum(1 - squared / (n - 1), 1e-6)
        held = float((hu[cut] != OUTSIDE).sum() / (hu != OUTSIDE).sum())
        return Placement(q, distance, float(np.sqrt(np.mean(squared))), np.nan, held)

    return place


def read_typical(folder: Path) -> Typical:
    """What :func:`lungtypes.methods.frozen_stages.freeze_model` wrote."""
    arrays = load_file(str(folder / TYPICAL))
    return Typical(arrays["mean"], arrays["sd"])
