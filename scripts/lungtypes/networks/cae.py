"""Convolutional autoencoder of CLAM, 2D and 3D (Ryan et al. 2020, section 2.1; kernel 4, LeakyReLU 0.1).

Keras "same" padding: stride 2 is padding 1; stride 1 pads 1 before and 2 after, in PyTorch ``same``.
The clustering layer reads the linear embedding; the activation after it feeds the decoder only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

KERNEL = 4


class ConvolutionalAutoencoder(nn.Module):
    """Encoder, linear embedding, mirrored decoder.

    Parameters
    ----------
    size : spatial size of the input, (Y, X) or (Z, Y, X).
    filters, strides : one per convolution; 32-64-128 with strides 2, 1, 2 in 2D and 2, 2, 2 in 3D.
    latent : width of the embedding (60 in the paper); slope : of LeakyReLU (0.1 in the authors' code).
    output : of the last layer, ``linear``, or ``leaky_relu`` as in the authors' code.
    """

    def __init__(
        self,
        *,
        size: Sequence[int],
        filters: Sequence[int],
        strides: Sequence[int],
        latent: int,
        slope: float,
        output: Literal["linear", "leaky_relu"] = "linear",
    ) -> None:
        super().__init__()
        dimensions = len(size)
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        deconv = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dimensions]
        channels = [1, *filters]
        self.strides = tuple(strides)
        self.slope = slope
        self.output = output
        self.convolutions = nn.ModuleList(
            conv(a, b, KERNEL, stride=s, padding=1 if s == 2 else "same")
            for a, b, s in zip(channels[:-1], channels[1:], strides, strict=True)
        )
        self.deconvolutions = nn.ModuleList(
            deconv(b, a, KERNEL, stride=s, padding=1 if s == 2 else 0)
            for a, b, s in list(zip(channels[:-1], channels[1:], strides, strict=True))[::-1]
        )
        self.small = tuple(n // prod(strides) for n in size)
        self.flat = filters[-1] * prod(self.small)
        self.embedding = nn.Linear(self.flat, latent)
        self.expansion = nn.Linear(latent, self.flat)

    def activations(self, images: Tensor) -> Tensor:
        """Output of the last convolution after its LeakyReLU: (N, H, *small), the CLAM layer."""
        out = images
        for convolution in self.convolutions:
            out = nn.functional.leaky_relu(convolution(out), self.slope)
        return out

    @property
    def activation_offset(self) -> float:
        """How far (input voxels, each axis) an activation's true centre lies beyond where upsampling paints it.

        Zero when all strides are 2; each stride-1 layer with its even kernel adds half a voxel of its level
        (1 voxel for the published 2D network with strides 2, 1, 2).
        """
        scale, centre = 1.0, 0.0
        for stride in self.strides[::-1]:  # index m is centred on stride * m + 0.5 of the layer before
            scale, centre = scale * stride, centre * stride + 0.5
        return centre - (scale - 1) / 2

    def encode(self, images: Tensor) -> Tensor:
        """Linear embedding z of (N, 1, *size) images: (N, latent)."""
        return self.embedding(self.activations(images).flatten(1))

    def decode(self, z: Tensor) -> Tensor:
        """Images (N, 1, *size) from embeddings (N, latent)."""
        out = torch.relu(self.expansion(nn.functional.leaky_relu(z, self.slope)))
        out = out.reshape(len(z), -1, *self.small)
        last = len(self.deconvolutions) - 1
        for i, (deconvolution, stride) in enumerate(zip(self.deconvolutions, self.strides[::-1], strict=True)):
            out = deconvolution(out)
            if stride == 1:  # Keras "same": cut 1 before and 2 after each axis
                out = out[(slice(None), slice(None)) + (slice(1, -2),) * (out.ndim - 2)]
            if i < last or self.output == "leaky_relu":
                out = nn.functional.leaky_relu(out, self.slope)
        return out

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and embedding."""
        z = self.encode(images)
        return self.decode(z), z


def initialise_like_keras(model: nn.Module, *, seed: int) -> None:
    """Glorot-uniform weights and zero biases, drawn from ``seed`` (the Keras defaults of the authors' code)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters(), key=lambda item: item[0]):
            if parameter.ndim == 1:
                parameter.zero_()
                continue
            receptive = prod(parameter.shape[2:])
            fan = (parameter.shape[0] + parameter.shape[1]) * receptive
            limit = (6.0 / fan) ** 0.5
            parameter.copy_(torch.rand(parameter.shape, generator=generator) * 2 * limit - limit)
