"""Upsampling against SciPy and against numbers written by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lungtypes.maps.upsampling import upsample_cubic, upsample_linear


@pytest.mark.parametrize(("small", "size"), [((4,), (16,)), ((4, 5), (16, 20)), ((3, 4, 11), (24, 16, 88))])
def test_cubic_equals_scipys_zoom(small, size):
    channels = torch.randn(2, 3, *small, generator=torch.Generator().manual_seed(1))
    found = upsample_cubic(channels, size)
    zoom = np.divide(size, small)
    assert found.shape == (2, 3, *size)
    assert found[1, 2].numpy() == pytest.approx(ndimage.zoom(channels[1, 2].numpy(), zoom, order=3), abs=1e-5)


def test_linear_paints_each_value_in_the_middle_of_its_voxels():
    assert upsample_linear(torch.tensor([[[0.0, 4.0]]]), (4,), 0.0)[0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("offset", "expected"), [(1.0, [0, 0, 1, 3]), (2.0, [0, 0, 0, 1]), (0.5, [0, 0.5, 2, 3.5]), (-1.0, [1, 3, 4, 4])]
)
def test_offset_moves_along_every_axis_and_repeats_the_border(offset, expected):
    ramp = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2)
    for values, line in ((ramp, (0, 0, 0)), (ramp.transpose(2, 3), (0, 0, slice(None), 0))):
        assert upsample_linear(values.expand(1, 1, 2, 2), (4, 4), offset)[line].tolist() == expected


def test_cells_that_reach_beyond_the_image_are_painted_where_they_lie():
    """A network that fills 40 voxels up to three cells of 16 sees cell 1 in voxels 16 to 31, not in 13 to 26."""
    channels = torch.zeros(1, 1, 3, 4)
    channels[0, 0, 1, 2] = 1
    painted = upsample_linear(channels, (40, 56), stride=16)[0, 0]
    whole = upsample_linear(channels, (48, 64))[0, 0]
    assert painted.shape == (40, 56) and torch.equal(painted, whole[:40, :56])
    row, column = np.unravel_index(int(painted.argmax()), painted.shape)
    assert row in (23, 24) and column in (39, 40)


def test_a_grid_of_the_image_is_left_as_it_is():
    channels = torch.randn(1, 2, 5, 7)
    assert torch.equal(upsample_linear(channels, (5, 7), stride=1), channels)
