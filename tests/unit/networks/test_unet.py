"""The U-Net: published parameter counts, grids, pooling over lungs, independence of scans."""

import pytest
import torch

from lungtypes.networks.unet import UNet, encoder_filters, n_parameters, pool_features, weights_on


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


def test_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    network, x = UNet(filters=2, dense=True, norm="group"), torch.randn(1, 1, 8, 8, 8)
    gradients = []
    for wanted in (False, True):
        network.checkpointing = wanted
        network.zero_grad()
        network(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


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
