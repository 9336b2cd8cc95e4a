"""CLAM maps: channel-wise confidence by masking (Ryan et al. 2020, eq. 8 and 9). Callables in, arrays out.

The masks are the activation channels of the explained network, upsampled and scaled to 0-1; the score
is the assignment probability of the explained cluster. Nothing here knows which network it explains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CONSTANT = 1e-8


@dataclass(frozen=True)
class ChannelMap:
    """One map: importance (*size) in 0-1; raw before scaling; alpha (H,) the confidence of each channel.

    uniform_correlation : with the unweighted channel sum, the published map's own control (1 = the
    weights say nothing). degenerate : the weighted sum was nowhere positive, importance is all zero.
    """

    importance: NDArray[np.float32]
    raw: NDArray[np.float32]
    alpha: NDArray[np.float32]
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
    image : (1, 1, *size) network input.
    activations : images -> (n, H, *small) channels; score : images -> (n,) probability of the cluster.
    chunk_channels : how many masked images are scored at once (memory, not numbers).
    offset : how far (voxels) activations lie beyond where plain upsampling paints them; 0 leaves them there.

    Equation 8: alpha_h = score(image x mask_h), mask_h the upsampled channel scaled to 0-1; a constant
    channel gets 0. Equation 9: ReLU of sum alpha_h A_h, upsampled and scaled to 0-1.
    """
    with torch.inference_mode():
        channels = activations(image)  # (1, H, *small)
        size = tuple(image.shape[2:])
        alpha = torch.zeros(channels.shape[1], dtype=torch.float32)
        for start in range(0, channels.shape[1], chunk_channels):
            part = channels[:, start : start + chunk_channels]
            masks = upsample(part, size, offset).transpose(0, 1)  # (h, 1, *size)
            flat = masks.flatten(1)
            low, span = flat.min(dim=1).values, flat.max(dim=1).values - flat.min(dim=1).values
            usable = span > CONSTANT
            shape = (-1,) + (1,) * (masks.ndim - 1)
            masks = (masks - low.reshape(shape)) / span.clamp_min(CONSTANT).reshape(shape)
            scores = score(image * masks).float().cpu()
            alpha[start : start + len(scores)] = torch.where(usable.cpu(), scores, torch.zeros_like(scores))
        weights = alpha.to(channels.device).reshape(1, -1, *(1,) * (channels.ndim - 2))
        weighted = torch.relu((weights * channels).sum(dim=1, keepdim=True))
        uniform = torch.relu(channels.sum(dim=1, keepdim=True))
        raw, control = (upsample(m, size, offset)[0, 0].cpu().numpy() for m in (weighted, uniform))
    span = float(raw.max() - raw.min())
    degenerate = span <= CONSTANT
    importance = np.zeros_like(raw) if degenerate else (raw - raw.min()) / span
    return ChannelMap(importance, raw, alpha.numpy(), _correlation(raw, control), degenerate)


def upsample(channels: Tensor, size: tuple[int, ...], offset: float) -> Tensor:
    """Linear upsampling of (n, h, *small) to (n, h, *size), then a shift by ``offset`` voxels along every axis."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    out = torch.nn.functional.interpolate(channels, size=size, mode=mode, align_corners=False)
    if offset == 0:
        return out
    whole, part = int(offset // 1), float(offset % 1)
    for axis in range(2, out.ndim):
        place = torch.arange(out.shape[axis], device=out.device)
        near, far = (out.index_select(axis, (place - n).clamp(0, len(place) - 1)) for n in (whole, whole + 1))
        out = near if part == 0 else (1 - part) * near + part * far
    return out


def _correlation(first: NDArray, second: NDArray) -> float:
    if first.std() <= CONSTANT or second.std() <= CONSTANT:
        return float("nan")
    return float(np.corrcoef(first.reshape(-1).astype(np.float64), second.reshape(-1).astype(np.float64))[0, 1])
