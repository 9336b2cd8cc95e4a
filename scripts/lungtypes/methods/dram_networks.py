"""The networks of dRAM and of what it is compared with: one U-Net, with a dense map or a classifier on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from lungtypes.networks.attention import NeighbourAttention
from lungtypes.networks.unet import Norm, UNet, pool_features
from lungtypes.randomness import derive_seed

METHODS = ("dram", "dram-cam", "dram-supervised")
HEAD_BIAS = 0.01  # the authors' code

CamFeatures = Literal["encoder", "dense"]


class DenseRegression(nn.Module):
    """Regions (n, 1, S, S, S) to one logit a voxel: D, and with attention the refined R.

    filters, norm, checkpointing : as of :class:`UNet`. attention_grid : see :class:`NeighbourAttention`; 0 for none.
    """

    def __init__(self, *, filters: int, norm: Norm, attention_grid: int, checkpointing: bool = False) -> None:
        super().__init__()
        self.unet = UNet(filters=filters, dense=True, norm=norm, checkpointing=checkpointing)
        self.head = _head(self.unet.n_features, 1)
        levels = (2 * filters, 4 * filters)  # of the first two levels' outputs
        self.attention = NeighbourAttention(channels=levels, grid=attention_grid, norm=norm) if attention_grid else None

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """D and R (n, 1, S, S, S) in float32; R is None without attention."""
        features, levels = self.unet.with_levels(image)
        dense = self.head(features).float()
        if self.attention is None:
            return dense, None
        return dense, self.attention(dense, image, [level.float() for level in levels[:2]]).float()


class RegionClassifier(nn.Module):
    """Regions (n, 1, S, S, S) to class maps (n, K, ...), whose mean over the region is the class's logit.

    cam_features : ``encoder`` is the U-Net's way down alone, maps on a grid of 1/8 (Zhou et al. 2016 on the same
        encoder: the paper's baseline); ``dense`` is the whole U-Net, maps on the region's grid: what is left of the
        difference to dRAM is then classification against regression.
    """

    def __init__(
        self, *, filters: int, norm: Norm, n_classes: int, cam_features: CamFeatures, checkpointing: bool = False
    ) -> None:
        super().__init__()
        dense = cam_features == "dense"
        self.unet = UNet(filters=filters, dense=dense, norm=norm, checkpointing=checkpointing, encoder_levels=3)
        self.head = _head(self.unet.n_features, n_classes)

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Class maps (n, K, ...) and logits (n, K), float32."""
        maps = self.head(self.unet(image)).float()
        return maps, pool_features(maps, mask)


def build_network(
    method: str, settings: Mapping[str, object], *, n_classes: int, seed: int
) -> DenseRegression | RegionClassifier:
    """The network of a method, its weights drawn from the seed.

    settings : filters, norm, checkpointing, attention_grid (0: the ablation without attention), cam_features.
    """
    torch.manual_seed(derive_seed(seed, "dram", "network"))
    unet = {name: settings[name] for name in ("filters", "norm", "checkpointing")}
    if method == "dram-cam":
        return RegionClassifier(**unet, n_classes=n_classes, cam_features=settings["cam_features"])
    return DenseRegression(**unet, attention_grid=settings["attention_grid"] if method == "dram" else 0)


def _head(channels: int, outputs: int) -> nn.Conv3d:
    head = nn.Conv3d(channels, outputs, 1)
    nn.init.kaiming_normal_(head.weight, mode="fan_in", nonlinearity="relu")
    nn.init.constant_(head.bias, HEAD_BIAS)
    return head
