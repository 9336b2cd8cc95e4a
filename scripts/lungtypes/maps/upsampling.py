"""Brings activation channels to the size of the image: linear (the published map) or cubic (the authors' code)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor


def upsample_linear(
    channels: Tensor, size: tuple[int, ...], offset: float = 0.0, *, stride: int | None = None
) -> Tensor:
    """Linear upsampling of (n, h, *small) to (n, h, *size), then a shift by ``offset`` voxels along every axis.

    stride : voxels of a cell, for networks that fill sides up at the end to whole cells: what lies beyond the image is
    cut off. None where the cells cover the image exactly.
    """
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    covered = tuple(size) if stride is None else tuple(stride * n for n in channels.shape[2:])
    if covered == tuple(channels.shape[2:]):
        out = channels.clone()  # callers work on it in place
    else:
        out = torch.nn.functional.interpolate(channels, size=covered, mode=mode, align_corners=False)
    out = out[(..., *(slice(n) for n in size))]
    whole, part = int(offset // 1), float(offset % 1)
    if part == 0:
        return _shifted(out, range(2, out.ndim), whole) if whole else out
    for axis in range(2, out.ndim):
        out = torch.lerp(_shifted(out, [axis], whole), _shifted(out, [axis], whole + 1), part)
    return out


def _shifted(out: Tensor, axes: Collection[int], voxels: int) -> Tensor:
    """Moved along ``axes``; the border is repeated. Padding and cutting is far faster than picking by index."""
    pairs = [(voxels, -voxels) if axis in axes else (0, 0) for axis in range(out.ndim - 1, 1, -1)]  # last axis first
    return torch.nn.functional.pad(out, [n for pair in pairs for n in pair], mode="replicate")


def upsample_cubic(channels: Tensor, size: tuple[int, ...]) -> Tensor:
    """``scipy.ndimage.zoom`` of order 3 on (n, h, *small), to (n, h, *size): corners stay corners, values overshoot.

    A spline is linear in the values and goes axis by axis, so SciPy's own zoom of unit vectors gives the weights.
    """
    out = channels
    for axis, large in enumerate(size, start=2):
        weights = torch.tensor(_cubic_weights(out.shape[axis], large), dtype=out.dtype, device=out.device)
        out = torch.tensordot(out, weights, dims=([axis], [1])).movedim(-1, axis)
    return out


@cache
def _cubic_weights(small: int, large: int) -> NDArray[np.float64]:
    return np.stack([ndimage.zoom(unit, large / small, order=3) for unit in np.eye(small)], axis=1)  # (large, small)
