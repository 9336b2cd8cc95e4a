"""The autoencoder has the published parameter counts and the shapes of Keras' same padding."""

import pytest
import torch

from lungtypes.networks.cae import ConvolutionalAutoencoder, initialise_like_keras


def count(model):
    return sum(p.numel() for p in model.parameters())


def build(size, filters, strides):
    with torch.device("meta"):
        return ConvolutionalAutoencoder(size=size, filters=filters, strides=strides, latent=60, slope=0.1)


def test_parameter_counts_equal_the_specification():
    assert count(build((64, 64), (32, 64, 128), (2, 1, 2))) == 4_294_013
    assert count(build((88, 88, 88), (32, 64, 128), (2, 2, 2))) == 21_929_725
    assert count(build((88, 88, 88), (16, 32, 64), (2, 2, 2))) == 10_637_213


@pytest.mark.parametrize(
    ("size", "strides"), [((16, 16), (2, 1, 2)), ((16, 16, 16), (2, 2, 2)), ((44, 44, 44), (2, 2, 1))]
)
def test_output_has_the_input_size(size, strides):
    model = ConvolutionalAutoencoder(size=size, filters=(2, 3, 4), strides=strides, latent=5, slope=0.1)
    out, z = model(torch.zeros(2, 1, *size))
    assert out.shape == (2, 1, *size) and z.shape == (2, 5)


def test_same_padding_is_one_before_and_two_after():
    conv = torch.nn.Conv2d(1, 1, 4, padding="same")
    x = torch.randn(1, 1, 9, 9)
    explicit = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 2, 1, 2)), conv.weight, conv.bias)
    assert torch.allclose(conv(x), explicit, atol=1e-6)


def test_initialisation_depends_on_the_seed_only():
    models = [ConvolutionalAutoencoder(size=(8, 8), filters=(2,), strides=(2,), latent=3, slope=0.1) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        initialise_like_keras(model, seed=seed)
    first, same, other = (m.convolutions[0].weight for m in models)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert float(models[0].embedding.bias.detach().abs().max()) == 0
