"""The published map, equation by equation, on networks whose answer is known."""

import numpy as np
import pytest
import torch

from lungtypes.maps.channel_masking import channel_confidence_map
from lungtypes.maps.group_maps import average_maps, balanced_population, describe_map, mean_ct
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


def test_group_maps_are_means_and_the_balanced_one_weighs_clusters_equally():
    ones, zeros = np.ones((2, 2), np.float32), np.zeros((2, 2), np.float32)
    group = average_maps([ones, zeros, zeros, zeros])
    assert group.n == 4 and group.mean == pytest.approx(0.25) and group.sd == pytest.approx(0.5)
    assert balanced_population([ones, zeros]) == pytest.approx(0.5)


def test_map_summary_counts_active_lung_only():
    importance = np.zeros((2, 2, 2), np.float32)
    importance[0, 0, 0], importance[1, 1, 1] = 0.9, 0.6
    lungs = np.zeros((2, 2, 2), bool)
    lungs[0] = True
    row = describe_map(importance, np.full((2, 2, 2), -700.0), {"lungs": lungs, "upper": lungs}, voxel_ml=3.0)
    assert row["active_ml"] == 3.0 and row["active_mean_hu"] == -700
    assert row["inside_share"] == pytest.approx(0.6) and row["share_upper"] == pytest.approx(1.0)


def test_mean_ct_leaves_the_outside_out():
    hu = np.array([[[[-800]], [[-2000]]], [[[-700]], [[-2000]]]], np.int16)
    mean, count = mean_ct(hu, -2000)
    assert mean[0, 0, 0] == -750 and count[0, 0, 0] == 2 and mean[1, 0, 0] == -1024 and count[1, 0, 0] == 0


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
