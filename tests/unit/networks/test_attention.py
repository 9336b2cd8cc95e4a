"""Attention over voxel neighbourhoods: rows, borders, the plain average, where gradients go."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from lungtypes.networks.attention import NEIGHBOURS, NeighbourAttention, neighbours


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return NeighbourAttention(channels=(4, 8), grid=64, norm="group")


def inputs(n=2, side=6):
    torch.manual_seed(1)
    levels = [torch.randn(n, 4, side, side, side), torch.randn(n, 8, side // 2, side // 2, side // 2)]
    return torch.randn(n, 1, side, side, side), torch.rand(n, 1, side, side, side), levels


def test_eighteen_neighbours_share_a_face_or_an_edge():
    structure = ndimage.generate_binary_structure(3, 2)
    structure[1, 1, 1] = False
    assert {tuple(s) for s in np.argwhere(structure) - 1} == set(NEIGHBOURS) and len(NEIGHBOURS) == 18


def test_neighbours_are_what_lies_there():
    x = torch.arange(27.0).view(1, 1, 3, 3, 3)
    found = neighbours(x)[0, :, 1, 1, 1]
    assert found.tolist() == [float(x[0, 0, 1 + z, 1 + y, 1 + x_]) for z, y, x_ in NEIGHBOURS]
    assert neighbours(x)[0, NEIGHBOURS.index((-1, 0, 0)), 0].eq(0).all()


def test_rows_sum_to_one_and_see_nothing_beyond_the_border(attention):
    _, image, levels = inputs()
    weights = attention.weights(image, levels, (6, 6, 6))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 6, 6, 6))
    for number, step in enumerate(NEIGHBOURS):
        for axis, side in itertools.product(range(3), (0, -1)):
            if step[axis] == (-1 if side == 0 else 1):
                assert weights[:, number].select(1 + axis, side).eq(0).all()


def test_one_voxel_by_hand(attention):
    logits, image, levels = inputs(n=1)
    with torch.no_grad():
        features = [image]
        for block, level in zip(attention.squeeze, levels, strict=True):
            features.append(torch.nn.functional.interpolate(block(level), size=(6, 6, 6), mode="trilinear"))
        f = torch.cat(features, dim=1)[0].flatten(1).T  # (216, 17)
        theta = f @ attention.theta.weight.view(8, 17).T + attention.theta.bias
        phi = f @ attention.phi.weight.view(8, 17).T + attention.phi.bias
        at = lambda z, y, x: (z * 6 + y) * 6 + x  # noqa: E731
        i, js = at(2, 3, 1), [at(2 + z, 3 + y, 1 + x) for z, y, x in NEIGHBOURS]
        e = torch.relu(phi[js] @ theta[i]) / np.sqrt(18)
        w = torch.exp(e) / torch.exp(e).sum()
        g = logits.flatten()[js, None] * attention.spread.weight[:, 0] + attention.spread.bias  # G of each neighbour
        wanted = (w[:, None] * g).sum(dim=0) @ attention.gather.weight[0] + attention.gather.bias[0]
        assert e.std() > 0
        torch.testing.assert_close(attention(logits, image, levels)[0, 0, 2, 3, 1], wanted)


def test_without_likeness_it_is_the_plain_average(attention):
    logits, image, levels = inputs()
    with torch.no_grad():
        attention.theta.weight.zero_(), attention.theta.bias.zero_()
        attention.spread.bias.fill_(0.3), attention.gather.weight.fill_(0.5), attention.gather.bias.fill_(-1)
        found = attention(logits, image, levels)
    kernel = ndimage.generate_binary_structure(3, 2).astype(float)
    kernel[1, 1, 1] = 0
    for d, r in zip(logits[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        total = ndimage.convolve(d, kernel, mode="constant")
        mean = total / ndimage.convolve(np.ones_like(d), kernel, mode="constant")
        slope = 0.5 * attention.spread.weight.sum().item()
        np.testing.assert_allclose(r, slope * mean + 8 * 0.5 * 0.3 - 1, rtol=1e-4, atol=1e-5)


def test_a_fresh_one_averages_and_does_not_turn_the_map_round():
    for seed in range(5):
        torch.manual_seed(seed)
        fresh = NeighbourAttention(channels=(4, 8), grid=64, norm="group")
        _, image, levels = inputs()
        torch.testing.assert_close(fresh(torch.full_like(image, 2.5), image, levels), torch.full_like(image, 2.5))


def test_gradients_reach_the_map_and_the_attention_but_not_the_features(attention):
    logits, image, levels = inputs()
    levels = [level.requires_grad_() for level in levels]
    attention(logits.requires_grad_(), image, levels).square().sum().backward()
    assert all(level.grad is None for level in levels) and logits.grad.abs().sum() > 0
    assert all(p.grad is not None for p in attention.parameters())


def test_a_coarser_grid_gives_the_map_back_at_its_own_size():
    torch.manual_seed(0)
    coarse = NeighbourAttention(channels=(4, 8), grid=4, norm="group")
    logits, image, levels = inputs(side=8)
    assert coarse(logits, image, levels).shape == logits.shape
