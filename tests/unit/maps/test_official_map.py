"""The authors' variant against the loop that their code runs, with SciPy's zoom; and its known fault."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lungtypes.maps.official_map import official_raw, official_sum

SIZE = (12, 12, 8)
IMAGE = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(1))
CHANNELS = torch.randn(1, 6, 3, 3, 2, generator=torch.Generator().manual_seed(2))
CHANNELS[:, 4] = 0.3


def score(images):
    return torch.sigmoid(5 * images.flatten(1).mean(dim=1))


def official(emulate, chunk=4):
    return official_sum(
        IMAGE, activations=lambda x: CHANNELS, score=score, chunk_channels=chunk, emulate_channel_bug=emulate
    )


def plain(n):
    """Upsample, mask, score and sum at the image's size, channel by channel."""
    total, alpha = 0, []
    for h in range(n):
        large = ndimage.zoom(CHANNELS[0, h].numpy(), 4, order=3)
        span = large.max() - large.min()
        mask = large if h == 4 else (large - large.min()) / span  # channel 4 is constant: used as it is
        alpha.append(float(score(IMAGE * torch.from_numpy(mask))))
        total = total + alpha[-1] * large
    return np.maximum(total, 0), alpha


def test_equals_the_sum_at_high_resolution():
    found, (expected, alpha) = official(emulate=False), plain(6)
    assert found.alpha == pytest.approx(alpha, abs=1e-5) and found.alpha[4] > 0.5
    assert official_raw(found.weighted_sum, SIZE) == pytest.approx(expected, abs=1e-5) and expected.any()


def test_fault_lets_only_as_many_channels_contribute_as_the_last_axis_is_long():
    found, (expected, alpha) = official(emulate=True), plain(2)
    assert found.alpha == pytest.approx([*alpha, 0, 0, 0, 0], abs=1e-5)
    assert official_raw(found.weighted_sum, SIZE) == pytest.approx(expected, abs=1e-5)


def test_chunks_do_not_change_the_sum():
    assert official(False, chunk=1).weighted_sum == pytest.approx(official(False, chunk=6).weighted_sum, abs=1e-5)


def test_fault_is_none_where_there_are_fewer_channels_than_voxels():
    channels = CHANNELS[:, :2]
    sums = [
        official_sum(IMAGE, activations=lambda x: channels, score=score, chunk_channels=4, emulate_channel_bug=fault)
        for fault in (True, False)
    ]
    assert np.array_equal(sums[0].weighted_sum, sums[1].weighted_sum)
