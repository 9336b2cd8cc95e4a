"""Small random changes of a batch during training: size, mirror image, density, noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """scale : largest relative change of size, 0.05 is five percent. On the 0-1 scale of the input: shift, the largest
    change of a whole scan's density (inspiration and scanners differ); noise, its SD.

    flip : left and right are swapped in half of the scans. Off by default: lungs are not symmetric.
    """

    scale: float = 0.05
    shift: float = 0.05
    noise: float = 0.02
    flip: bool = False


def augment(x: Tensor, lungs: Tensor, how: Augmentation, *, seed: int) -> tuple[Tensor, Tensor]:
    """The batch x (n, 1, Z, Y, X) in 0-1 and its lungs of 0 and 1, changed; every scan by draws of its own."""
    generator = torch.Generator().manual_seed(seed)
    n = len(x)
    if how.flip:
        swapped = (torch.rand(n, generator=generator) < 0.5).to(x.device).view(-1, 1, 1, 1, 1)
        x, lungs = torch.where(swapped, x.flip(-1), x), torch.where(swapped, lungs.flip(-1), lungs)
    if how.scale > 0:
        factor = 1 + how.scale * (2 * torch.rand(n, generator=generator) - 1)
        matrix = torch.zeros(n, 3, 4)
        matrix[:, range(3), range(3)] = 1 / factor[:, None]
        grid = functional.affine_grid(matrix.to(x.device), list(x.shape), align_corners=False)
        x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        lungs = functional.grid_sample(lungs, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    if how.shift > 0:
        shift = how.shift * (2 * torch.rand(n, generator=generator) - 1)
        x = (x + lungs * shift.to(x.device).view(-1, 1, 1, 1, 1)).clamp(0, 1)
    if how.noise > 0:
        noise = torch.randn(x.shape, generator=generator).to(x.device)
        x = (x + how.noise * lungs * noise).clamp(0, 1)
    return x, lungs
