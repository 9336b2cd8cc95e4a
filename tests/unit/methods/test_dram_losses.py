"""dRAM's losses: intervals by hand, zero inside of them and only there, gradients, refinement voxel by voxel."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from lungtypes.methods.dram_losses import (
    Interval,
    grade_interval,
    interval_loss,
    overlap_loss,
    percent_interval,
    pseudo_labels,
    refinement_loss,
    region_mean,
)


def vector(*values):
    return torch.tensor(np.array(values), dtype=torch.float32)


def cube(values):
    """(n, 1, 1, 1, voxels) of rows of voxels."""
    return torch.tensor(np.array(values), dtype=torch.float32)[:, None, None, None]


@pytest.mark.parametrize(
    ("candidates", "bounds", "wanted"),
    [
        (0.15, (0.05, 0.25), (0.14, 0.16)),  # the band lies inside the grade
        (0.055, (0.05, 0.25), (0.05, 0.065)),  # they overlap
        (0.02, (0.05, 0.25), (0.01, 0.03)),  # the band lies below: no more lesion than candidates
        (0.60, (0.05, 0.25), (0.05, 0.25)),  # the band lies above: candidates are vessels too
        (0.0, (0.0, 0.01), (0.0, 0.01)),  # a share is never below 0
        (0.26, (0.05, 0.25), (0.25, 0.25)),  # they touch
    ],
)
def test_interval_of_a_grade(candidates, bounds, wanted):
    found = grade_interval(vector(candidates), vector(bounds[0]), vector(bounds[1]), band=0.01)
    assert (found.low.item(), found.high.item()) == pytest.approx(wanted, abs=1e-6)


def test_interval_of_a_percentage():
    found = percent_interval(vector(0, 37.5, 100), band=0.01)
    torch.testing.assert_close(found.low, vector(0, 0.365, 0.99))
    torch.testing.assert_close(found.high, vector(0.01, 0.385, 1))


def test_loss_is_zero_inside_the_interval_and_only_there():
    shares = torch.linspace(0, 1, 1001, dtype=torch.float64)
    wanted = Interval(torch.full_like(shares, 0.0495), torch.full_like(shares, 0.2505))
    loss = interval_loss(shares, wanted, torch.full_like(shares, 0.5))
    inside = (shares > 0.0495) & (shares < 0.2505)
    assert (loss[inside] == 0).all() and (loss[~inside] > 0).all()


def test_loss_by_hand_with_rare_and_common_grades():
    wanted = Interval(vector(0.1, 0.1, 0.1), vector(0.3, 0.3, 0.3))
    loss = interval_loss(vector(0.5, 0.5, 0.5), wanted, vector(0.01, 0.5, 0.95))
    excess = (0.5 - 0.2) ** 2 - 0.1**2
    torch.testing.assert_close(loss, vector(excess / 0.2, excess / 0.5, excess / 0.8))


@pytest.mark.parametrize(("share", "sign"), [(0.02, -1), (0.9, 1)])
def test_a_step_down_the_gradient_moves_the_mean_towards_the_interval(share, sign):
    logits = torch.full((1, 1, 2, 2, 2), float(np.log(share / (1 - share))), requires_grad=True)
    mask = torch.ones(1, 1, 2, 2, 2)
    mask[..., 0] = 0
    found = region_mean(torch.sigmoid(logits), mask)
    interval_loss(found, Interval(vector(0.3), vector(0.5)), vector(0.5)).sum().backward()
    assert (torch.sign(logits.grad[mask > 0]) == sign).all() and (logits.grad[mask == 0] == 0).all()


def test_share_is_the_mean_of_the_sigmoid_map_over_the_mask():
    torch.manual_seed(0)
    logits, mask = torch.randn(3, 1, 4, 4, 4), (torch.rand(3, 1, 4, 4, 4) > 0.6).float()
    maps = 1 / (1 + np.exp(-logits.numpy()))
    by_hand = [float(maps[i][mask[i].numpy() > 0].mean()) for i in range(3)]
    np.testing.assert_allclose(region_mean(torch.sigmoid(logits), mask), by_hand, rtol=1e-5)


def test_pseudo_labels_are_candidates_above_one_half_of_diseased_regions_without_gradient():
    logits = cube([[0.1, 2, 2, -0.1], [2, 2, 2, 2]]).requires_grad_()
    mask, candidates = cube([[1, 1, 0, 1], [1, 1, 1, 1]]), cube([[1, 0, 1, 1], [1, 1, 1, 1]])
    found = pseudo_labels(logits, mask, candidates, vector(1, 0))
    assert found.flatten(1).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]] and not found.requires_grad


def test_refinement_by_hand():
    refined, mask = np.array([1.5, -0.5, 0.2, -2.0, 0.7]), np.array([1, 1, 1, 1, 0])
    labels = np.array([1.0, 0, 0, 0, 0])
    p = 1 / (1 + np.exp(-refined))
    inside = mask > 0
    alpha = 0.75  # 3 of 4 voxels are background
    balanced = np.where(labels > 0, -alpha * np.log(p), -(1 - alpha) * np.log(1 - p))[inside].mean()
    own = log_loss((p > 0.5)[inside], p[inside])
    outside = -np.log(1 - p[~inside]).mean()
    found = refinement_loss(cube([refined]), cube([labels]), cube([mask]))
    np.testing.assert_allclose(found.item(), outside + 0.9 * balanced + 0.1 * own, rtol=1e-5)


def test_weight_of_foreground_is_clipped():
    refined, mask = cube([[0.0] * 100, [0.0] * 100]), cube([[1.0] * 100] * 2)
    labels = cube([[1.0] + [0] * 99, [0.0] + [1] * 99])
    found = refinement_loss(refined, labels, mask)
    log2 = np.log(2)
    few = 0.9 * log2 * (0.75 * 0.01 + 0.25 * 0.99) + 0.1 * log2
    many = 0.9 * log2 * (0.25 * 0.99 + 0.75 * 0.01) + 0.1 * log2
    np.testing.assert_allclose(found, [few, many], rtol=1e-5)


def test_overlap_loss_falls_to_zero_for_the_truth_and_ignores_what_is_outside():
    lesions, mask = cube([[1.0, 1, 0, 0, 1]]), cube([[1.0, 1, 1, 1, 0]])
    right = cube([[30.0, 30, -30, -30, -30]])
    assert overlap_loss(right, lesions * mask, mask).item() == pytest.approx(0, abs=1e-5)
    dice = 1 - (2 * 1 + 1) / (2 + 2 + 1)  # half everywhere: 1 of 2 + 2
    found = overlap_loss(torch.zeros_like(lesions), lesions * mask, mask).item()
    assert found == pytest.approx(dice + np.log(2), rel=1e-5)


def test_each_region_counts_alone():
    torch.manual_seed(0)
    refined, mask = torch.randn(3, 1, 4, 4, 4), (torch.rand(3, 1, 4, 4, 4) > 0.4).float()
    labels = (torch.rand(3, 1, 4, 4, 4) > 0.5).float() * mask
    for loss in (refinement_loss, overlap_loss):
        whole = loss(refined, labels, mask)
        torch.testing.assert_close(whole[1:2], loss(refined[1:2], labels[1:2], mask[1:2]))
