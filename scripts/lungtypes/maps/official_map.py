"""The map of the authors' released code (ryansar/CLAM, commit 6bec725), where it differs from the paper.

Upsampling is cubic with aligned corners, constant channels mask as they are, upsampled channels are summed, and
one maximum over all scans takes the place of each scan's own range. Its group maps are means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lungtypes.maps.channel_masking import channel_confidence, constant_channels, weighted_sum
from lungtypes.maps.upsampling import upsample_cubic


@dataclass(frozen=True)
class OfficialSum:
    """weighted_sum (*small) of alpha_h A_h before upsampling and ReLU; alpha (H,), 0 for channels left out."""

    weighted_sum: NDArray[np.float32]
    alpha: NDArray[np.float32]


def official_sum(
    image: Tensor,
    *,
    activations: Callable[[Tensor], Tensor],
    score: Callable[[Tensor], Tensor],
    chunk_channels: int,
    emulate_channel_bug: bool,
) -> OfficialSum:
    """Channel sum of one image for one cluster; arguments as for ``channel_confidence_map``.

    emulate_channel_bug : the code's loop ends at the length of the last spatial axis in place of the number of
    channels, so that only the first ones contribute (11 of 64 in the authors' network).
    """
    with torch.inference_mode():
        channels = activations(image)
        used = channels[:, : channels.shape[-1]] if emulate_channel_bug else channels
        scores = channel_confidence(
            image,
            used,
            constant_channels(used),
            score=score,
            upsample=partial(upsample_cubic, size=tuple(image.shape[2:])),
            chunk_channels=chunk_channels,
        )
        total = weighted_sum(used, scores).cpu().numpy()
    alpha = np.zeros(channels.shape[1], np.float32)
    alpha[: len(scores)] = scores.cpu().numpy()
    return OfficialSum(total, alpha)


def official_raw(total: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """ReLU of the upsampled sum, (*size), to be divided by the largest value of all scans.

    A spline is linear: upsampling the sum equals the sum of the upsampled channels, which the code takes.
    """
    sums = torch.from_numpy(np.array(total, np.float32))[None, None]
    return torch.relu(upsample_cubic(sums, tuple(size)))[0, 0].contiguous().numpy()
