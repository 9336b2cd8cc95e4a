"""The 3D U-Net of dCAM and dRAM, and its encoder alone (Xie et al. 2021, section 2).

Channel counts are not in the paper; with ``filters`` 32 they are those of the class that its authors published for
their lesion maps (bodyct-dram), which fits every number that the paper gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

GROUPS = 8  # of group normalisation, or as many as divide the channels

Norm = Literal["group", "batch"]


class ConvBlock(nn.Sequential):
    """Two 3x3x3 convolutions, each with normalisation and ReLU: in -> mid -> out channels, grid kept."""

    def __init__(self, channels_in: int, mid: int, out: int, norm: Norm) -> None:
        layers: list[nn.Module] = []
        for start, end in ((channels_in, mid), (mid, out)):
            convolution = nn.Conv3d(start, end, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
            layers += [convolution, normalisation(norm, end), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """Scans (n, 1, Z, Y, X) to features (n, C, ...): dense ones on the scan's grid, or the encoder's on a coarser one.

    Parameters
    ----------
    filters : w of the first level; the levels have (w, 2w), (2w, 4w), (4w, 8w), the bottom (8w, 16w).
    dense : three levels down and three up again, C = 2w features on the scan's grid. Otherwise no way up but one more
        level down, and C = 32w features on a grid of 1/16: the paper's baseline.
    norm : ``group`` does not depend on the other scans of a batch; ``batch`` is the authors' choice.
    checkpointing : recompute activations on the way back; about half the memory for a third more time.
    encoder_levels : levels down of an encoder without a way up; 3 are those of the dense network.

    Sides that the levels do not divide are padded with the scan's corner value, and features are cut back.
    """

    def __init__(
        self, *, filters: int, dense: bool, norm: Norm, checkpointing: bool = False, encoder_levels: int = 4
    ) -> None:
        super().__init__()
        self.filters, self.dense, self.norm = filters, dense, norm
        self.levels = 3 if dense else encoder_levels
        self.checkpointing = checkpointing
        widths = [filters * 2**level for level in range(self.levels + 2)]  # w, 2w, ... of the bottom's output
        self.down = nn.ModuleList()
        channels = 1
        for level in range(self.levels):
            self.down.append(ConvBlock(channels, widths[level], widths[level + 1], norm))
            channels = widths[level + 1]
        self.bottom = ConvBlock(channels, channels, 2 * channels, norm)
        channels = 2 * channels
        self.up = nn.ModuleList()
        for level in reversed(range(self.levels if dense else 0)):
            skip = widths[level + 1]
            self.up.append(ConvBlock(channels + skip, skip, skip, norm))
            channels = skip
        self.n_features = channels
        self.stride = 1 if dense else 2**self.levels

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, C, ceil(Z / stride), ...)."""
        return self.with_levels(x)[0]

    def with_levels(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The features, and the outputs of the levels on the way down: 2w, 4w, ... channels on 1, 1/2, ... grids."""
        size = x.shape[2:]
        x = padded(x, 2**self.levels)
        skips = []
        for block in self.down:
            x = self._run(block, x)
            skips.append(x)
            x = functional.max_pool3d(x, 2)
        x = self._run(self.bottom, x)
        for block, skip in zip(self.up, reversed(skips), strict=False):
            x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
            x = self._run(block, torch.cat([x, skip], dim=1))
        levels = [skip[(..., *(slice(math.ceil(n / 2**level)) for n in size))] for level, skip in enumerate(skips)]
        return x[(..., *(slice(math.ceil(n / self.stride)) for n in size))], levels

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            # what is computed again on the way back is no second step of the running statistics
            return checkpoint(block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), statistics_kept(block)))
        return block(x)


def pool_features(features: Tensor, lungs: Tensor) -> Tensor:
    """Mean of the features (n, C, ...) over the lungs (n, 1, Z, Y, X) of 0 and 1: (n, C).

    On a coarser grid a voxel weighs as its share of lung: the nearest voxel would lose thin parts. Raises ValueError
    for a scan without lung.
    """
    weights = weights_on(lungs, features.shape[2:])
    total = weights.sum(dim=(2, 3, 4))  # (n, 1)
    if bool((total <= 0).any()):
        raise ValueError("lungs: found a scan without any lung voxel, expected a lung mask.")
    return (features * weights).sum(dim=(2, 3, 4)) / total


def weights_on(lungs: Tensor, grid: torch.Size | tuple[int, ...]) -> Tensor:
    """Share of lung (n, 1, *grid) of each voxel of a grid that is 1, 2, 4, ... times coarser, sides filled up."""
    stride = 1
    while any(math.ceil(n / stride) > m for n, m in zip(lungs.shape[2:], grid, strict=True)):
        stride *= 2
    return lungs if stride == 1 else functional.avg_pool3d(padded(lungs, stride, edge=False), stride)


def padded(x: Tensor, multiple: int, *, edge: bool = True) -> Tensor:
    """x (n, C, Z, Y, X) with sides filled up at the end to multiples: with each scan's corner value, or with 0."""
    missing = [-n % multiple for n in x.shape[2:]]
    if not any(missing):
        return x
    places = [value for n in reversed(missing) for value in (0, n)]
    if not edge:
        return functional.pad(x, places)
    corner = x[:, :, :1, :1, :1]
    return functional.pad(x - corner, places) + corner


def encoder_filters(filters: int) -> int:
    """First width of the encoder whose number of parameters is nearest to that of the dense U-Net of ``filters``."""
    wanted = n_parameters(UNet(filters=filters, dense=True, norm="group"))
    counts = {w: n_parameters(UNet(filters=w, dense=False, norm="group")) for w in range(1, filters + 1)}
    return min(counts, key=lambda w: abs(counts[w] - wanted))


def n_parameters(network: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """The layer that ``norm`` names; groups are as many as divide the channels, at most 8."""
    return nn.BatchNorm3d(channels) if norm == "batch" else nn.GroupNorm(math.gcd(GROUPS, channels), channels)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch normalisation as in training, without a step of its running statistics: for a pass that is no training."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm3d)]
    kept = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, counted) in zip(layers, kept, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(counted)
