"""Maps beside the published ones, of any clustering network that is seen through callables.

All explain the log-odds of a cluster, which do not saturate as its probability does, and most do so against a
reference: an image of what the lung would look like without the disease (the mean control), or of the whole cohort.
A region that tells clusters apart need not be an abnormal one (Ryan et al. 2020, discussion); against controls a map
shows at least what differs from health.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from lungtypes.maps.upsampling import upsample_linear

Score = Callable[[Tensor], Tensor]  # log probabilities (n, K) -> (n,)


@dataclass(frozen=True)
class View:
    """A fitted network as a map sees it, on its device.

    activations : images (n, 1, *size) -> channels (n, H, *small). log_q : such channels -> log probabilities (n, K) of
    the clusters, differentiable. offset, stride : of the activations, see :func:`upsample_linear`.
    """

    activations: Callable[[Tensor], Tensor]
    log_q: Callable[[Tensor], Tensor]
    offset: float = 0.0
    stride: int | None = None

    def log_q_of(self, images: Tensor) -> Tensor:
        """Log probabilities (n, K) of images."""
        return self.log_q(self.activations(images))

    def upsampled(self, small: Tensor, size: tuple[int, ...]) -> NDArray[np.float32]:
        """A map (*small) on the grid of the image, (*size) float32."""
        whole = upsample_linear(small[None, None], tuple(size), self.offset, stride=self.stride)
        return whole[0, 0].detach().cpu().numpy()


def log_odds(cluster: int) -> Score:
    """Log-odds of ``cluster`` (from 0) against all others: log q_k - log sum of the other q."""

    def score(log_q: Tensor) -> Tensor:
        others = torch.cat([log_q[:, :cluster], log_q[:, cluster + 1 :]], dim=1)
        return log_q[:, cluster] - torch.logsumexp(others, dim=1)

    return score


def log_ratio(cluster: int, other: int) -> Score:
    """Log probability of ``cluster`` over that of ``other`` (both from 0): why this one and not that one."""
    return lambda log_q: log_q[:, cluster] - log_q[:, other]


def difference_map(channels: Tensor, reference: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of what the channels (1, H, *small) have more than the reference's: (*small), of either sign.

    weights : (H,), the confidences of the published map, so that nothing but the reference is new.
    """
    return torch.einsum("h,h...->...", weights, (channels - reference)[0])


def path_map(
    score: Callable[[Tensor], Tensor], start: Tensor, end: Tensor, *, points: int, sigma: float = 0.0
) -> NDArray[np.float32]:
    """What each voxel adds to the score on the way from the reference to the scan: (*size), of either sign.

    Integrated gradients (Sundararajan et al. 2017) in the image itself, so as fine as the scan. Before smoothing, the
    sum of the map is the score of the scan less that of the reference, up to the rule's error.

    Parameters
    ----------
    score : images (n, 1, *size) -> (n,). start, end : reference and scan (1, 1, *size). points : of the Gauss-Legendre
    rule. sigma : of the Gaussian that smooths the map, in voxels; a single voxel's share is mostly noise.
    """
    nodes, weights = np.polynomial.legendre.leggauss(points)
    step = end - start
    total = torch.zeros_like(step)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        total += float(weight) * _gradient(score, start + float(node) * step)
    found = (total * step)[0, 0].cpu().numpy()
    return gaussian_filter(found, sigma, mode="constant") if sigma > 0 else found


def gradient_map(view: View, channels: Tensor, score: Score) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017): channels weighted by the mean of the score's gradient, positive part."""
    slope = _gradient(lambda a: score(view.log_q(a)), channels).flatten(2).mean(dim=2)
    return torch.relu(torch.einsum("h,h...->...", slope[0], channels[0]))


def occlusion_map(
    view: View,
    image: Tensor,
    reference: Tensor,
    inside: Tensor,
    score: Score,
    *,
    window: int,
    stride: int,
    chunk: int,
) -> NDArray[np.float32]:
    """How much of the score is lost where a window shows the reference instead: (*size), of either sign.

    Parameters
    ----------
    image, reference : (1, 1, *size). inside : (*size) truth values; windows that meet none of it are left out.
    window, stride : edge of the cube and distance between cubes, in voxels. chunk : images at once (memory only).

    A voxel has the mean over the windows that cover it, and 0 outside. Dear: one pass a window.
    """
    size = tuple(image.shape[2:])
    corners = _corners(inside, window, stride)
    total, count = (torch.zeros(size, device=image.device) for _ in range(2))
    with torch.inference_mode():
        whole = score(view.log_q_of(image))
        for part in corners.split(chunk):
            images = image.repeat(len(part), *(1,) * (image.ndim - 1))
            places = [tuple(slice(c, c + window) for c in corner) for corner in part.tolist()]
            for number, place in enumerate(places):
                images[(number, 0, *place)] = reference[(0, 0, *place)]
            drops = (whole - score(view.log_q_of(images))).tolist()
            for place, drop in zip(places, drops, strict=True):
                total[place] += drop
                count[place] += 1
        return (total / count.clamp_min(1) * inside).cpu().numpy()


def n_windows(inside: Tensor, window: int, stride: int) -> int:
    """How many windows :func:`occlusion_map` tries."""
    return len(_corners(inside, window, stride))


def _corners(inside: Tensor, window: int, stride: int) -> Tensor:
    """First voxels (n, dimensions) of the windows that meet ``inside``; the last ones end with the image."""
    axes = [
        torch.tensor(sorted({*range(0, max(n - window, 0), stride), max(n - window, 0)}), device=inside.device)
        for n in inside.shape
    ]
    pool = {2: functional.max_pool2d, 3: functional.max_pool3d}[inside.ndim]
    met = pool(inside[None, None].float(), min(window, *inside.shape), stride=1)[0, 0] > 0
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, inside.ndim)
    return grid[met[tuple(grid.T)]]


def _gradient(score: Callable[[Tensor], Tensor], place: Tensor) -> Tensor:
    with torch.enable_grad():
        place = place.detach().clone().requires_grad_(True)
        return torch.autograd.grad(score(place).sum(), place)[0]
