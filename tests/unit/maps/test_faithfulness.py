"""Insertion, deletion and controls: a map of what decides has to win, and a map that says nothing must not."""

import numpy as np
import pytest
import torch

from lungtypes.maps.faithfulness import (
    control_maps,
    insertion_deletion,
    paired_interval,
    rank_correlation,
    recommended,
)

SIZE = (10, 10)
INSIDE = np.zeros(SIZE, bool)
INSIDE[1:9, 1:9] = True
DECIDING = np.zeros(SIZE, bool)
DECIDING[2:4, 3:6] = True
IMAGE, REFERENCE = torch.ones(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)


def score(images):
    return images[:, 0][:, torch.from_numpy(DECIDING)].sum(dim=1)


def faithfulness(importance, *, steps=64, chunk=16, seed=0):
    rng = np.random.default_rng(seed)
    ends = {"image": IMAGE, "reference": REFERENCE, "inside": INSIDE}
    return insertion_deletion(importance, **ends, score=score, steps=steps, chunk=chunk, rng=rng)


def test_truth_wins_over_its_opposite_and_over_nothing():
    truth, nothing, wrong = (faithfulness(m).gain for m in (DECIDING * 1.0, np.zeros(SIZE), -1.0 * DECIDING))
    assert truth > 4 and wrong < -4 and abs(nothing) < 2


def test_areas_are_those_of_the_curves():
    found = faithfulness(DECIDING * 1.0)  # 6 of 64 voxels decide: up and down in 6 of 64 steps
    assert found.insertion == pytest.approx(6 - 6 * 3 / 64) and found.deletion == pytest.approx(6 * 3 / 64)


def test_only_the_order_inside_the_lungs_counts():
    values = np.random.default_rng(1).random(SIZE)
    other = np.where(INSIDE, np.exp(5 * values), 99)
    assert faithfulness(values) == faithfulness(other)


def test_chunks_change_nothing():
    values = np.random.default_rng(1).random(SIZE)
    assert faithfulness(values, chunk=1) == faithfulness(values, chunk=100)


def test_controls_are_what_they_are_called():
    channels = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    image = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(2))
    found = control_maps(image, REFERENCE, channels, lambda small: small.numpy(), rng=np.random.default_rng(0))
    np.testing.assert_allclose(found["uniform"], channels[0].sum(dim=0), rtol=1e-6)
    np.testing.assert_allclose(found["brightness"][0, 0], image[0, 0, :2, :2].mean(), rtol=1e-6)
    np.testing.assert_allclose(found["departure"], found["brightness"], rtol=1e-6)  # the reference is black
    assert set(found) == {"uniform", "random_weights", "brightness", "departure"}


def test_rank_correlation_looks_inside_only():
    values = np.random.default_rng(1).random(SIZE)
    assert rank_correlation(values, np.where(INSIDE, values**3, 0), INSIDE) == pytest.approx(1)
    assert np.isnan(rank_correlation(values, np.ones(SIZE), INSIDE))


def test_interval_is_of_the_paired_differences():
    rng = np.random.default_rng(0)
    base = 10 * rng.random(30)
    mean, low, high = paired_interval(base + 1, base, rng=rng)
    assert mean == low == high == pytest.approx(1)
    assert np.isnan(paired_interval([1.0], [0.0], rng=rng)[1])


def test_recommended_map_is_the_best_that_is_not_dear():
    gains = {"clam": 1.0, "margin": 3.0, "occlusion": 5.0, "gradcam": np.nan}
    assert recommended(gains, {"clam": 10, "margin": 20, "occlusion": 500, "gradcam": 1}, "clam") == "margin"
    assert recommended({}, {"clam": 10}, "clam") == "clam"
