"""CLAM maps: channel-wise confidence by masking (Ryan et al. 2020, eq. 8 and 9). Callables in, arrays out.

The masks are the activation channels of the explained network, upsampled and scaled to 0-1; the score
is the assignment probability of the explained cluster. Nothing here knows which network it explains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.maps.upsampling import upsample_linear

CONSTANT = 1e-6  # of the largest value: a range below it is rounding in float32


@dataclass(frozen=True)
class ChannelMap:
    """One map: importance (*size) in 0-1; raw before scaling; alpha (H,) the confidence of each channel.

    weighted_sum, uniform_sum : (*small) sum of alpha_h A_h and of A_h before ReLU; :func:`importance_from_sum` makes
    the map of them again. constant : (H,) channels without contrast, whose alpha is 0.
    uniform_correlation : with the unweighted channel sum, the published map's own control (1 = the
    weights say nothing). degenerate : the weighted sum was nowhere positive, importance is all zero.
    """

    importance: NDArray[np.float32]
    raw: NDArray[np.float32]
    alpha: NDArray[np.float32]
    weighted_sum: NDArray[np.float32]
    uniform_sum: NDArray[np.float32]
    constant: NDArray[np.bool_]
    uniform_correlation: float
    degenerate: bool


def channel_confidence_map(
    image: Tensor,
    *,
    activations: Callable[[Tensor], Tensor],
    score: Callable[[Tensor], Tensor],
    chunk_channels: int,
    offset: float,
) -> ChannelMap:
    """Map of one image for one cluster.

    Parameters
    ----------
    image : (1, 1, *size) network input, 2D or 3D, on the network's device.
    activations : images -> (n, H, *small) channels; score : images -> (n,) probability of the cluster.
    chunk_channels : how many masked images are scored at once (memory, not numbers).
    offset : how far (voxels) activations lie beyond where plain upsampling paints them; 0 leaves them there.

    Equation 8: alpha_h = score(image x mask_h), mask_h the upsampled channel scaled to 0-1; a constant
    channel gets 0. Equation 9: ReLU of sum alpha_h A_h, upsampled and scaled to 0-1.
    """
    size = tuple(image.shape[2:])
    with torch.inference_mode():
        channels = activations(image)  # (1, H, *small)
        constant = constant_channels(channels)
        alpha = channel_confidence(
            image,
            channels,
            constant,
            score=score,
            upsample=partial(upsample_linear, size=size, offset=offset),
            chunk_channels=chunk_channels,
        )
        alpha = alpha.masked_fill(constant, 0.0)
        weighted, uniform = weighted_sum(channels, alpha).cpu().numpy(), channels.sum(dim=1)[0].cpu().numpy()
    raw, control = (importance_from_sum(total, size, offset, norm="none") for total in (weighted, uniform))
    importance = _scaled(raw)
    return ChannelMap(
        importance,
        raw,
        alpha.cpu().numpy(),
        weighted,
        uniform,
        constant.cpu().numpy(),
        uniform_correlation=_correlation(raw, control),
        degenerate=not importance.any(),
    )


def importance_from_sum(
    total: NDArray[np.float32],
    size: tuple[int, ...],
    offset: float,
    *,
    norm: Literal["per_image", "global_max", "none"] = "per_image",
    maximum: float | None = None,
) -> NDArray[np.float32]:
    """Map (*size) of a channel sum (*small) before ReLU: redoes a map, or scales it otherwise, without a network.

    norm : ``per_image`` scales each map to 0-1 by its own range (the paper; all zero where that range is empty);
    ``global_max`` divides by ``maximum``, the largest value of all scans with ``none``; ``none`` leaves values alone.
    """
    if norm == "global_max" and maximum is None:
        raise ValueError("maximum: found none, expected the largest value of all scans with norm='none'.")
    sums = torch.from_numpy(np.array(total, np.float32))[None, None]
    raw = upsample_linear(torch.relu(sums), tuple(size), offset)[0, 0].numpy()
    if norm == "per_image":
        return _scaled(raw)
    return raw / np.float32(maximum) if norm == "global_max" and maximum > 0 else raw


def constant_channels(channels: Tensor) -> Tensor:
    """Which of (1, H, *small) channels have no contrast, as (H,) truth values."""
    low, high = channels[0].flatten(1).aminmax(dim=1)
    return high - low <= CONSTANT * torch.maximum(low.abs(), high.abs())


def channel_confidence(
    image: Tensor,
    channels: Tensor,
    constant: Tensor,
    *,
    score: Callable[[Tensor], Tensor],
    upsample: Callable[[Tensor], Tensor],
    chunk_channels: int,
) -> Tensor:
    """alpha (H,) of eq. 8: score of the image under each of (1, H, *small) channels, scaled to 0-1 as masks.

    A constant channel cannot be scaled and masks as it is. No value leaves the device before all are there.
    """
    alpha = []
    for part, flat in zip(channels.split(chunk_channels, dim=1), constant.split(chunk_channels), strict=True):
        masks = upsample(part).transpose(0, 1)  # (h, 1, *size)
        shape = (-1,) + (1,) * (masks.ndim - 1)
        low, high = masks.flatten(1).aminmax(dim=1)
        span = torch.where(flat, 1.0, high - low)
        low = torch.where(flat, 0.0, low)
        masks.sub_(low.reshape(shape)).div_(span.reshape(shape)).mul_(image)  # in place: one buffer a chunk
        alpha.append(score(masks).float())
    return torch.cat(alpha)


def weighted_sum(channels: Tensor, alpha: Tensor) -> Tensor:
    """Sum of alpha_h A_h over (1, H, *small) channels: (*small)."""
    return (alpha.reshape(1, -1, *(1,) * (channels.ndim - 2)) * channels).sum(dim=1)[0]


def _scaled(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    low, span = raw.min(), raw.max() - raw.min()
    return np.zeros_like(raw) if span <= CONSTANT * raw.max() else (raw - low) / span


def _correlation(first: NDArray, second: NDArray) -> float:
    if not _scaled(first).any() or not _scaled(second).any():
        return float("nan")
    return float(np.corrcoef(first.reshape(-1).astype(np.float64), second.reshape(-1).astype(np.float64))[0, 1])
