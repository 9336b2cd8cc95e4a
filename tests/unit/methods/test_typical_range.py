"""Limits of what is like the training scans: by hand, and how often they flag scans that are like them."""

import numpy as np
import pytest

from lungtypes.methods.typical_range import image_figures, image_limits, percentile_of, remarks, upper_limit


def test_limit_by_hand():
    values = np.array([-9.0, 1, 1, 2, 3, 4, 5, 5, 6])  # median 3; those above it lie 1, 2, 2, 3 from it
    assert upper_limit(values) == pytest.approx(3 + 4 * 1.4826 * 2)
    assert upper_limit(values, sds=6) == pytest.approx(3 + 6 * 1.4826 * 2)
    heavy = np.append(values, 1e6)  # a scan like that was in the study: no limit far below it
    assert upper_limit(heavy) == pytest.approx(np.percentile(heavy, 99))
    assert upper_limit(values, at_most=9.0) == 9.0 and upper_limit(values, at_most=4.0) == np.percentile(values, 99)


def test_no_limit_without_spread_or_with_too_few_scans():
    assert upper_limit(np.ones(50)) is None and upper_limit([1.0, 2, 3]) is None


@pytest.mark.parametrize("n", [30, 300])
def test_scans_of_the_same_kind_are_seldom_flagged(n):
    rng = np.random.default_rng(n)
    flagged = [np.mean(rng.gamma(9, size=1000) > upper_limit(rng.gamma(9, size=n))) for _ in range(100)]
    assert np.mean(flagged) < 0.01


def test_percentile_counts_what_is_as_large():
    assert percentile_of(2.0, [1.0, 2.0, 3.0, 4.0]) == 50 and percentile_of(9.0, [1.0, 2.0]) == 100
    assert percentile_of(0.5, [1.0, 2.0]) == 0 and np.isnan(percentile_of(np.nan, [1.0]))


def test_figures_are_those_of_the_worse_lung_and_what_was_not_measured_is_left_out():
    registration = {"dice_right": 0.98, "dice_left": 0.95, "hd95_right_mm": 3.0, "hd95_left_mm": 4.0}
    registration |= {"jacobian_p01": None, "hu_correlation": float("nan")}
    lungs = {"right_ml": 3000.0, "left_ml": 2000.0, "checks": {"mean_hu": {"value": -850.0}}}
    found = image_figures(lungs, registration)
    assert found == {"dice": 0.95, "hd95_mm": 4.0, "lung_ml": 5000.0, "side_ratio": 1.5, "mean_hu": -850.0}
    assert set(image_figures(None, {"dice_right": 1.0, "dice_left": 1.0})) == {"dice"}


def test_suspect_are_only_the_sides_that_are_worse():
    rng = np.random.default_rng(0)
    draw = rng.normal
    rows = [{"dice": draw(0.97, 0.01), "lung_ml": draw(4000, 500), "mean_hu": draw(-850, 30)} for _ in range(99)]
    limits = image_limits(rows)
    words = lambda **image: " ".join(remarks({}, {}, image, limits, held=1.0))  # noqa: E731
    assert "-300 HU" in words(mean_hu=-300.0) and "-1000 HU" in words(mean_hu=-1000.0) and not words(mean_hu=-860.0)
    assert words(dice=0.999, lung_ml=4000.0) == "" and "Dice" in words(dice=0.9)
    assert "1000 mL" in words(lung_ml=1000.0) and "9000 mL" in words(lung_ml=9000.0)
    assert "80 % of the lungs" in " ".join(remarks({}, {}, {}, limits, held=0.8))
