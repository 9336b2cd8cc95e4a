"""The U-Net: published parameter counts, grids, pooling over lungs, independence of scans."""

import copy

import pytest
import torch

from lungtypes.networks.unet import UNet, encoder_filters, n_parameters, pool_features, statistics_kept, weights_on


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_parameters_of_the_published_widths(norm):
    assert n_parameters(UNet(filters=32, dense=True, norm=norm)) == 16_317_856


@pytest.mark.parametrize("filters", [4, 8, 16, 32])
def test_the_baseline_has_as_many_parameters_within_ten_percent(filters):
    dense = n_parameters(UNet(filters=filters, dense=True, norm="group"))
    baseline = n_parameters(UNet(filters=encoder_filters(filters), dense=False, norm="group"))
    assert abs(baseline / dense - 1) < 0.10


def test_grids_and_channels():
    x = torch.randn(2, 1, 16, 24, 20)  # 20 is no multiple of 8
    dense = UNet(filters=2, dense=True, norm="group")
    assert dense(x).shape == (2, 4, 16, 24, 20) and dense.n_features == 4
    coarse = UNet(filters=2, dense=False, norm="group")
    assert coarse(x).shape == (2, 64, 1, 2, 2) and coarse.n_features == 64


@pytest.mark.parametrize("dense", [True, False])
def test_a_scan_does_not_depend_on_its_batch(dense):
    torch.manual_seed(0)
    network, x = UNet(filters=2, dense=dense, norm="group"), torch.randn(3, 1, 16, 16, 16)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_checkpointing_changes_no_gradient_and_no_running_statistics(norm):
    torch.manual_seed(0)
    start, x = UNet(filters=2, dense=True, norm=norm), torch.randn(2, 1, 16, 16, 16)
    gradients, buffers = [], []
    for wanted in (False, True):
        network = copy.deepcopy(start)
        network.checkpointing = wanted
        for _ in range(2):
            network.zero_grad()
            network(x).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
        buffers.append(dict(network.named_buffers()))
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)
    assert (len(buffers[0]) > 0) == (norm == "batch")
    for name, values in buffers[0].items():
        torch.testing.assert_close(buffers[1][name], values)


def test_statistics_are_kept_for_a_pass_that_is_no_training():
    torch.manual_seed(0)
    network, x = UNet(filters=2, dense=True, norm="batch"), torch.randn(2, 1, 16, 16, 16)
    before = copy.deepcopy(dict(network.named_buffers()))
    with torch.no_grad(), statistics_kept(network):
        kept = network(x)
    for name, values in network.named_buffers():
        assert torch.equal(values, before[name]), name
    with torch.no_grad():
        torch.testing.assert_close(network(x), kept)
    assert not torch.equal(dict(network.named_buffers())["bottom.1.running_mean"], before["bottom.1.running_mean"])


def test_pooling_is_the_mean_over_lung_voxels():
    features, lungs = torch.randn(2, 3, 4, 4, 4), (torch.rand(2, 1, 4, 4, 4) > 0.5).float()
    by_hand = torch.stack([f[:, m[0] > 0].mean(dim=1) for f, m in zip(features, lungs, strict=True)])
    torch.testing.assert_close(pool_features(features, lungs), by_hand)
    with pytest.raises(ValueError, match="without any lung voxel"):
        pool_features(features, torch.zeros_like(lungs))


def test_a_coarse_voxel_weighs_as_its_share_of_lung():
    lungs = torch.zeros(1, 1, 4, 4, 6)
    lungs[..., :2, :2, :2] = 1
    lungs[0, 0, 0, 0, 4] = 1
    weights = weights_on(lungs, (1, 1, 2))  # blocks of 4, the last filled up with nothing
    assert weights.flatten().tolist() == [8 / 64, 1 / 64]


def test_no_side_needs_to_be_a_multiple_of_the_stride_for_a_voxel_to_weigh_what_it_holds():
    lungs = torch.zeros(1, 1, 40, 56, 40)
    lungs[..., 16:32, 16:32, 16:32] = 1  # one voxel of the sixteenth grid
    weights = weights_on(lungs, (3, 4, 3))
    assert weights.sum() == 1 and weights[0, 0, 1, 1, 1] == 1
