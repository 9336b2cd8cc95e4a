"""Maps beside the published ones, on networks whose decision is known."""

import numpy as np
import pytest
import torch

from lungtypes.maps.attribution import (
    View,
    difference_map,
    gradient_map,
    log_odds,
    log_ratio,
    n_windows,
    occlusion_map,
    path_map,
)
from lungtypes.methods.clam import log_assignment, soft_assignment

SIZE = (12, 12)
INSIDE = np.ones(SIZE, bool)
PLACE = (slice(2, 5), slice(6, 9))  # where the network looks


def looking_at(place=PLACE, k=3):
    """Logits of cluster 0: the sum of the image over ``place``; the others 0."""

    def log_q(channels):
        seen = channels[(slice(None), 0, *place)].flatten(1).sum(dim=1)
        return torch.log_softmax(torch.stack([seen, *[0 * seen] * (k - 1)], dim=1), dim=1)

    return View(lambda images: images, log_q)


def picture(seed=0):
    return torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_log_odds_are_those_of_q():
    q = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    assert log_odds(0)(q.log()).item() == pytest.approx(np.log(0.7 / 0.3))
    assert log_ratio(0, 2)(q.log()).item() == pytest.approx(np.log(7))


def test_log_odds_stay_finite_where_q_is_one():
    z = torch.tensor([[0.0, 1e6]], dtype=torch.float64)
    centroids = torch.tensor([[0.0, 1e6], [5e9, 0.0]], dtype=torch.float64)
    assert soft_assignment(z, centroids)[0, 0] == 1 and 40 < log_odds(0)(log_assignment(z, centroids)).item() < 100


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_log_assignment_is_the_logarithm_of_q(scale):
    generator = torch.Generator().manual_seed(1)
    z, centroids = torch.randn(5, 4, generator=generator), torch.randn(3, 4, generator=generator)
    torch.testing.assert_close(log_assignment(z, centroids, scale).exp(), soft_assignment(z, centroids, scale))


def test_path_map_adds_up_to_the_change_of_the_score():
    view, score = looking_at(), log_odds(0)
    image, reference = picture(), picture(1)
    found = path_map(lambda x: score(view.log_q_of(x)), reference, image, points=16)
    gained = score(view.log_q_of(image)) - score(view.log_q_of(reference))
    assert found.sum() == pytest.approx(gained.item(), rel=1e-4)


def test_path_map_lies_where_the_network_looks_and_nowhere_else():
    view = looking_at()
    found = path_map(lambda x: log_odds(0)(view.log_q_of(x)), picture(1), picture(), points=4)
    outside = np.ones(SIZE, bool)
    outside[PLACE] = False
    assert found[PLACE].any() and not found[outside].any()


def test_smoothing_keeps_the_sum_of_a_path_map():
    view = looking_at((slice(5, 7), slice(5, 7)))
    score = lambda x: log_odds(0)(view.log_q_of(x))  # noqa: E731
    raw, smooth = (path_map(score, picture(1), picture(), points=4, sigma=s) for s in (0.0, 1.0))
    assert smooth.sum() == pytest.approx(raw.sum(), rel=1e-3) and smooth.max() < raw.max()


def test_voxels_like_the_reference_have_no_share():
    view, image, reference = looking_at(), picture(), picture(1)
    image[..., 3, 7] = reference[..., 3, 7]
    assert path_map(lambda x: log_odds(0)(view.log_q_of(x)), reference, image, points=4)[3, 7] == 0


def test_difference_is_the_weighted_sum_of_what_is_more_than_in_the_reference():
    generator = torch.Generator().manual_seed(2)
    channels, reference = (torch.randn(1, 3, 4, 4, generator=generator) for _ in range(2))
    weights = torch.tensor([1.0, 0.0, -2.0])
    expected = (channels - reference)[0, 0] - 2 * (channels - reference)[0, 2]
    torch.testing.assert_close(difference_map(channels, reference, weights), expected)


def test_gradient_map_weighs_channels_with_the_mean_gradient():
    channels = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(3))
    view = View(
        lambda images: images,
        lambda a: torch.stack([a[:, 0].sum((1, 2)) - a[:, 1].sum((1, 2)), 0 * a.sum((1, 2, 3))], 1),
    )
    found = gradient_map(view, channels, log_ratio(0, 1))
    torch.testing.assert_close(found, torch.relu(channels[0, 0] - channels[0, 1]))


def occlude(view, image, reference, inside, **options):
    options = {"window": 3, "stride": 1, "chunk": 7} | options
    return occlusion_map(view, image, reference, torch.from_numpy(inside), log_odds(0), **options)


def test_occlusion_is_zero_where_no_window_meets_what_the_network_sees():
    found = occlude(looking_at(), picture() + 1, torch.zeros(1, 1, *SIZE), INSIDE)
    assert found[3, 7] == found.max() > 0
    assert not found[8:].any() and not found[:, :2].any()


def test_occlusion_does_not_depend_on_the_chunk():
    a, b = (occlude(looking_at(), picture(), picture(1), INSIDE, chunk=n) for n in (1, 64))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_windows_outside_of_the_lungs_are_left_out():
    inside = np.zeros(SIZE, bool)
    inside[:4] = True
    found = occlude(looking_at(), picture() + 1, torch.zeros(1, 1, *SIZE), inside, stride=2)
    assert not found[4:].any()
    assert n_windows(torch.from_numpy(inside), 3, 2) < n_windows(torch.from_numpy(INSIDE), 3, 2) == 36


def test_windows_reach_the_last_voxel():
    inside = np.zeros(SIZE, bool)
    inside[-1, -1] = True
    place = (slice(11, 12), slice(11, 12))
    assert occlude(looking_at(place), picture() + 1, torch.zeros(1, 1, *SIZE), inside, window=5, stride=4)[-1, -1] > 0
