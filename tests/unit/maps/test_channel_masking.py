"""The published map, equation by equation, on networks whose answer is known."""

import numpy as np
import pytest
import torch

from lungtypes.maps.channel_masking import channel_confidence, channel_confidence_map, importance_from_sum
from lungtypes.maps.upsampling import upsample_cubic, upsample_linear
from lungtypes.methods.clam import soft_assignment
from lungtypes.networks.cae import ConvolutionalAutoencoder

CHANNELS = torch.rand(1, 6, 4, 4, 4, generator=torch.Generator().manual_seed(1))
IMAGE = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(2))


def score(images):
    return torch.sigmoid(images.flatten(1).mean(dim=1))


def explain(channels=CHANNELS, chunk=4, image=IMAGE):
    return channel_confidence_map(image, activations=lambda x: channels, score=score, chunk_channels=chunk, offset=0.0)


def test_weights_are_the_scores_of_the_masked_images():
    mask = torch.nn.functional.interpolate(CHANNELS[:, 2:3], size=(16,) * 3, mode="trilinear", align_corners=False)
    mask = (mask - mask.min()) / (mask.max() - mask.min())
    assert explain().alpha[2] == pytest.approx(float(score(IMAGE * mask)), abs=1e-6)


def test_chunks_do_not_change_the_weights():
    assert explain(chunk=1).alpha == pytest.approx(explain(chunk=64).alpha, abs=1e-6)


def test_map_reaches_one_and_stays_in_its_range():
    importance = explain().importance
    assert importance.max() == 1.0 and importance.min() == 0.0


def test_constant_channel_has_no_weight_and_makes_no_nan():
    channels = CHANNELS.clone()
    channels[:, 3] = 0.7
    found = explain(channels)
    assert found.alpha[3] == 0 and np.isfinite(found.importance).all()


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_unit_of_the_activations_does_not_matter(factor):
    found, plain = explain(CHANNELS * factor), explain()
    assert not found.constant.any() and found.importance == pytest.approx(plain.importance, abs=1e-5)


def test_nearly_constant_channel_is_constant():
    channels = CHANNELS.clone()
    channels[:, 3] = 0.7 * (1 + 1e-7 * CHANNELS[:, 3])  # rounding, which min-max would blow up to a mask
    assert explain(channels).constant.tolist() == [False, False, False, True, False, False]


def test_all_negative_sum_is_flagged_and_zero():
    found = explain(-CHANNELS - 1)
    assert found.degenerate and not found.importance.any()


def test_order_of_the_channels_does_not_matter():
    assert explain(CHANNELS.flip(1)).importance == pytest.approx(explain().importance, abs=1e-5)


def test_peak_lies_where_the_only_activation_is():
    channels = torch.zeros(1, 3, 4, 4, 4)
    channels[0, 1, 2, 1, 3] = 1.0
    peak = np.unravel_index(explain(channels).importance.argmax(), (16, 16, 16))
    assert all(abs(p - (4 * c + 1.5)) <= 1 for p, c in zip(peak, (2, 1, 3), strict=True))


def test_weights_that_say_nothing_are_recognised():
    assert explain().uniform_correlation > 0.9


def test_works_in_two_dimensions():
    image, channels = IMAGE[..., 0], CHANNELS[..., 0]
    found = channel_confidence_map(image, activations=lambda x: channels, score=score, chunk_channels=2, offset=0.0)
    assert found.importance.shape == (16, 16)


@pytest.mark.parametrize("strides", [(2, 1, 2), (2, 2, 1), (1, 2, 2), (2, 2, 2)])
def test_impulse_is_mapped_where_it_is_whatever_the_strides(strides):
    model = ConvolutionalAutoencoder(size=(64, 64), filters=(1, 1, 1), strides=strides, latent=2, slope=0.1)
    with torch.no_grad():
        for convolution in model.convolutions:  # a flat kernel: its answer is centred where it looks
            convolution.weight.fill_(1.0)
            convolution.bias.zero_()
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 30:34, 38:42] = 1.0
    found = channel_confidence_map(
        image, activations=model.activations, score=score, chunk_channels=1, offset=model.activation_offset
    )
    centre = [float((found.raw.sum(axis=1 - a) * np.arange(64)).sum() / found.raw.sum()) for a in (0, 1)]
    assert centre == pytest.approx([31.5, 39.5], abs=0.3)


def test_published_networks_have_the_known_offsets():
    offsets = {(2, 1, 2): 1.0, (2, 2, 2): 0.0, (2, 2, 1): 2.0}
    for strides, expected in offsets.items():
        model = ConvolutionalAutoencoder(size=(16, 16), filters=(1, 1, 1), strides=strides, latent=2, slope=0.1)
        assert model.activation_offset == expected


def network(size, strides):
    torch.manual_seed(0)
    return ConvolutionalAutoencoder(size=size, filters=(4, 7), strides=strides, latent=5, slope=0.1)


@pytest.mark.parametrize(("size", "strides"), [((16, 20), (2, 1)), ((12, 8, 16), (2, 2))])
def test_map_equals_equations_8_and_9_written_out(size, strides):
    model, k = network(size, strides), 1
    centroids = torch.randn(3, 5)
    image = torch.rand(1, 1, *size)
    found = channel_confidence_map(
        image,
        activations=model.activations,
        score=lambda images: soft_assignment(model.encode(images), centroids)[:, k],
        chunk_channels=3,
        offset=0.0,
    )
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    with torch.no_grad():
        a = model.activations(image)[0]
        total = 0
        for h in range(len(a)):  # one channel at a time
            mask = torch.nn.functional.interpolate(a[None, h : h + 1], size=size, mode=mode)
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            d = ((model.encode(image * mask) - centroids) ** 2).sum(dim=1)
            alpha = (1 / (1 + d[k])) / (1 / (1 + d)).sum()  # eq. 8 with q of eq. 4
            assert found.alpha[h] == pytest.approx(float(alpha), abs=1e-4)
            total = total + alpha * a[h]
        relu = torch.nn.functional.interpolate(torch.relu(total)[None, None], size=size, mode=mode)[0, 0]
        expected = (relu - relu.min()) / (relu.max() - relu.min())  # eq. 9
    assert found.importance == pytest.approx(expected.numpy(), abs=1e-4) and found.importance.any()
    assert found.weighted_sum == pytest.approx(total.numpy(), abs=1e-4)
    assert found.uniform_sum == pytest.approx(a.sum(dim=0).numpy(), abs=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1.5])
def test_low_resolution_sum_gives_the_map_again(offset):
    channels = CHANNELS - 0.4
    found = channel_confidence_map(IMAGE, activations=lambda x: channels, score=score, chunk_channels=4, offset=offset)
    again = importance_from_sum(found.weighted_sum, (16,) * 3, offset)
    assert again == pytest.approx(found.importance, abs=1e-6)
    raw = importance_from_sum(found.weighted_sum, (16,) * 3, offset, norm="none")
    assert raw == pytest.approx(found.raw, abs=1e-6)
    scaled = importance_from_sum(found.weighted_sum, (16,) * 3, offset, norm="global_max", maximum=2 * raw.max())
    assert scaled == pytest.approx(raw / (2 * raw.max()), abs=1e-6)


def test_global_maximum_must_be_given_and_may_be_zero():
    with pytest.raises(ValueError, match="expected the largest value of all scans"):
        importance_from_sum(np.ones((2, 2), np.float32), (4, 4), 0.0, norm="global_max")
    negative = importance_from_sum(-np.ones((2, 2), np.float32), (4, 4), 0.0, norm="global_max", maximum=0.0)
    assert not negative.any()


def test_activations_and_image_are_left_as_they_were():
    channels, image = CHANNELS.clone(), IMAGE.clone()
    same_size = torch.rand(1, 2, 16, 16, 16)
    before = same_size.clone()
    explain(channels, image=image)
    explain(same_size, image=image)
    assert torch.equal(channels, CHANNELS) and torch.equal(image, IMAGE) and torch.equal(same_size, before)


@pytest.mark.parametrize(
    "upsample", [lambda x: upsample_linear(x, (16,) * 3, 1.5), lambda x: upsample_cubic(x, (16,) * 3)]
)
def test_no_value_leaves_the_device_while_channels_are_scored(upsample):
    image, channels = IMAGE.to("meta"), CHANNELS.to("meta")  # a device without values: reading one raises
    constant = torch.zeros(6, dtype=torch.bool, device="meta")
    alpha = channel_confidence(image, channels, constant, score=score, upsample=upsample, chunk_channels=4)
    assert alpha.device.type == "meta" and alpha.shape == (6,)
