"""Attention over voxel neighbourhoods that refines a map, trained with the network (Xie et al. 2021, dRAM).

It stands for a dense CRF or region growing after the training: neighbours of like features share their logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lungtypes.networks.unet import Norm, normalisation

# faces and edges of a voxel of 3x3x3, without itself and the corners
NEIGHBOURS = tuple(s for s in itertools.product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, s)) < 3)
WIDTH = 8  # of squeezed features, queries and keys (the authors' code)


class NeighbourAttention(nn.Module):
    """Logits D (n, 1, Z, Y, X) to refined logits R on the same grid.

    R_i = r(sum_j w_ij G(D_j)) over the 18 neighbours j of voxel i, w_ij = softmax_j(ReLU(theta(f_i) . phi(f_j)) /
    sqrt(18)). Features f are the image and two levels of the network, squeezed to 8 channels each; no gradient flows
    back through them, so that the maps and not the features answer for the refinement.

    Parameters
    ----------
    channels : of the two levels. grid : side in voxels on which the attention works, or the map's where that is
        smaller. norm : as of the network.

    G (1 -> 8) and r (8 -> 1) are linear and rows of w sum to 1; therefore the sum is taken of D itself. At the start
    r undoes G: R is the neighbours' weighted mean, and not its opposite, which random signs would give half the time.
    """

    def __init__(self, *, channels: Sequence[int], grid: int, norm: Norm) -> None:
        super().__init__()
        self.grid = grid
        self.squeeze = nn.ModuleList(
            nn.Sequential(nn.Conv3d(c, WIDTH, 1, bias=False), normalisation(norm, WIDTH), nn.ReLU()) for c in channels
        )
        n_features = 1 + WIDTH * len(channels)
        self.theta, self.phi = nn.Conv3d(n_features, WIDTH, 1), nn.Conv3d(n_features, WIDTH, 1)
        self.spread, self.gather = nn.Linear(1, WIDTH), nn.Linear(WIDTH, 1)
        for layer in (self.theta, self.phi, *(block[0] for block in self.squeeze)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        with torch.no_grad():
            outward = self.spread.weight[:, 0]
            self.gather.weight[0] = outward / outward.square().sum()
            self.spread.bias.zero_(), self.gather.bias.zero_()

    def forward(self, logits: Tensor, image: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """R of D (n, 1, Z, Y, X), the image on its grid, and the levels' outputs on whatever grids they have."""
        size = logits.shape[2:]
        grid = tuple(min(self.grid, n) for n in size)
        weights = self.weights(image, levels, grid)
        mean = (weights * neighbours(_resized(logits, grid))).sum(dim=1, keepdim=True)
        refined = self.gather(self.spread(mean.movedim(1, -1))).movedim(-1, 1)
        return _resized(refined, size)

    def weights(self, image: Tensor, levels: Sequence[Tensor], grid: tuple[int, ...]) -> Tensor:
        """w (n, 18, *grid), in the order of NEIGHBOURS: rows sum to 1, neighbours beyond the border have 0."""
        parts = [_resized(image, grid)]
        for block, level in zip(self.squeeze, levels, strict=True):
            parts.append(_resized(block(level.detach()), grid))
        features = torch.cat(parts, dim=1)
        query, key = self.theta(features), functional.pad(self.phi(features), (1,) * 6)
        likeness = torch.stack([(query * _shifted(key, s)).sum(dim=1) for s in NEIGHBOURS], dim=1)
        inside = neighbours(likeness.new_ones(1, 1, *grid)) > 0
        scaled = functional.relu(likeness) / len(NEIGHBOURS) ** 0.5
        return scaled.masked_fill(~inside, -torch.inf).softmax(dim=1)


def neighbours(x: Tensor) -> Tensor:
    """The 18 neighbours (n, 18, Z, Y, X) of every voxel of (n, 1, Z, Y, X), in the order of NEIGHBOURS; 0 outside."""
    wide = functional.pad(x, (1,) * 6)
    return torch.cat([_shifted(wide, s) for s in NEIGHBOURS], dim=1)


def _shifted(wide: Tensor, step: tuple[int, ...]) -> Tensor:
    """What lies ``step`` voxels on, of an array that is padded by one voxel on every side."""
    return wide[(..., *(slice(1 + s, n - 1 + s) for s, n in zip(step, wide.shape[2:], strict=True)))]


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape[2:] == tuple(size):
        return x
    return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)
