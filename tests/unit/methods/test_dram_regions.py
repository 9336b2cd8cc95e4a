"""Regions cut out, resized and pasted back; Otsu's threshold; targets by subject and region."""

import numpy as np
import pandas as pd
import pytest
import torch

from lungtypes.errors import InputError
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.methods.dram_regions import RegionScans, otsu_threshold
from lungtypes.methods.dram_targets import balanced_draw, grade_of, targets_of

EDGES = (0, 1, 5, 25, 50, 75, 100)
NAMES = {1: "right_upper", 2: "right_middle", 4: "left_upper"}


def scans(size=8, **changes):
    """Two scans of 20 x 24 x 24 voxels of 2.5 mm: label 1 with a dense corner, label 3; the second has label 3 only."""
    hu = np.full((2, 20, 24, 24), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[0, 4:12, 6:16, 5:9] = 1
    labels[:, 13:18, 10:20, 10:22] = 3
    hu[labels > 0] = -850
    hu[0, 4:6, 6:16, 5:9] = 50
    options = {"spacing_mm": 2.5, "size": size, "window_hu": [-1150, 350], "margin_mm": 5} | changes
    return hu, labels, RegionScans(hu, labels, **options)


def test_boxes_have_the_margin_and_stay_in_the_scan():
    _, _, found = scans()
    assert found.regions(0) == [(0, 1), (0, 3)] and found.regions(1) == [(1, 3)]
    assert found.box((0, 1)) == (slice(2, 14), slice(4, 18), slice(3, 11))
    assert found.box((0, 3)) == (slice(11, 20), slice(8, 22), slice(8, 24))


def test_what_is_not_of_the_region_is_air():
    hu, labels, found = scans()
    box = found.box((0, 1))
    image = found.windowed((0, 1))
    assert image[labels[0][box] != 1].max() == 0
    np.testing.assert_allclose(image[labels[0][box] == 1], (hu[0][box][labels[0][box] == 1] + 1150) / 1500, rtol=1e-6)


def test_voxels_without_lung_are_air_even_inside_a_region():
    hu, labels, _ = scans()
    hu[0, 8, 8, 6] = OUTSIDE
    found = RegionScans(hu, labels, spacing_mm=2.5, size=8, window_hu=[-2500, 350], margin_mm=5)
    assert found.windowed((0, 1))[6, 4, 3] == 0


def test_candidates_are_what_is_dense():
    hu, labels, found = scans()
    box = found.box((0, 1))
    np.testing.assert_array_equal(found.candidates((0, 1)), (labels[0][box] == 1) & (hu[0][box] == 50))
    low, high = 300 / 1500, 1200 / 1500  # any threshold between both parts alike: the middle one
    assert found.threshold((0, 1)) == pytest.approx(0.75 * (low + high) / 2, abs=0.01)


def test_batches_hold_image_mask_candidates_and_lesions():
    hu, _, _ = scans()
    _, labels, found = scans(lesions=(hu == 50).astype(np.uint8) * 4)
    batch = found.batch([(0, 3), (0, 1)], "cpu")
    assert batch.image.shape == (2, 1, 8, 8, 8) and batch.image.dtype == torch.float32
    assert (batch.image[batch.mask == 0] == 0).all()
    box = labels[0][found.box((0, 1))]
    assert batch.mask[1].mean().item() == pytest.approx((box == 1).mean(), abs=0.08)
    torch.testing.assert_close(batch.lesions[1].sum() / batch.mask[1].sum(), torch.tensor(0.25), atol=0.1, rtol=0)
    assert batch.lesions[0].sum() == 0  # what is dense outside of the region is none of its lesions
    assert (batch.candidates[1] <= batch.mask[1]).all() and batch.candidates[1].sum() > 0


def test_a_ramp_comes_back_to_its_own_place():
    _, labels, found = scans(size=32)
    box = found.box((0, 1))
    shape = labels[0][box].shape
    ramp = np.indices(shape).sum(axis=0).astype(np.float32)
    cube = torch.nn.functional.interpolate(
        torch.from_numpy(ramp)[None, None], size=(32, 32, 32), mode="trilinear", align_corners=False
    )[0, 0]
    whole = np.zeros(labels.shape[1:], np.float32)
    found.paste((0, 1), cube, whole)
    wanted = np.zeros_like(whole)
    wanted[box] = np.where(labels[0][box] == 1, ramp, 0)
    np.testing.assert_allclose(whole, wanted, atol=1e-3)


def test_shapes_that_differ_are_told():
    hu, labels, _ = scans()
    with pytest.raises(InputError, match=r"labels: found shape .* expected \(2, 20, 24, 24\)"):
        RegionScans(hu, labels[:1], spacing_mm=2.5, size=8, window_hu=[-1150, 350], margin_mm=5)


def test_otsu_is_the_largest_variance_between_classes():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.2, 0.03, 900), rng.normal(0.7, 0.05, 100)])

    def between(limit):
        low, high = values[values <= limit], values[values > limit]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(limit) for limit in np.sort(values)[:-1])
    assert between(otsu_threshold(values)) == pytest.approx(best, rel=1e-3)


def test_otsu_of_two_values_is_between_them_and_of_one_is_it():
    assert otsu_threshold(np.array([0.0, 0, 0, 1])) == pytest.approx(0.5, abs=0.01)
    assert otsu_threshold(np.full(5, 0.25)) == 0.25
    assert np.isnan(otsu_threshold(np.array([])))


def test_an_edge_belongs_to_the_grade_above_it():
    assert grade_of(np.array([0, 0.99, 1, 5, 24.9, 25, 50, 75, 100]), EDGES).tolist() == [0, 0, 1, 2, 2, 3, 4, 5, 5]


def test_targets_are_sorted_and_missing_regions_are_not_made_up():
    table = pd.DataFrame(
        [("B", "left_upper", 30.0, np.nan), ("A", "right_middle", np.nan, 2.0), ("C", "left_upper", 1.0, np.nan)]
        + [("A", "right_upper", 0.0, np.nan)],
        columns=["subject", "region", "percent", "grade"],
    )
    found = targets_of(table, ["A", "B"], NAMES, edges=EDGES)
    assert found.regions == ((0, 1), (0, 2), (1, 4)) and found.grades.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(found.percents, [0, np.nan, 30])
    low, high = found.bounds()
    np.testing.assert_allclose(low, [0, 0.05, 0.25])
    np.testing.assert_allclose(high, [0.01, 0.25, 0.5])
    np.testing.assert_allclose(found.only(np.array([True, False, True])).frequencies(), [0.5, 0.5])


def test_grades_are_drawn_alike_and_regions_within_them():
    grades = np.array([0] * 90 + [2] * 9 + [5])
    drawn = balanced_draw(grades, 6000, np.random.default_rng(0))
    shares = np.bincount(grades[drawn], minlength=6) / 6000
    np.testing.assert_allclose(shares, [1 / 3, 0, 1 / 3, 0, 0, 1 / 3], atol=0.03)
    assert set(drawn) == set(range(100))


def test_a_grade_that_was_given_stays_beside_its_percentage():
    table = pd.DataFrame(
        [("A", "right_upper", 5.0, 1.0), ("A", "left_upper", 5.0, np.nan)],
        columns=["subject", "region", "percent", "grade"],
    )
    found = targets_of(table, ["A"], {1: "right_upper", 2: "left_upper"}, edges=EDGES)
    assert found.grades.tolist() == [1, 2] and found.percents.tolist() == [5, 5]
    assert np.isnan(found.graded().percents).all() and found.graded().grades.tolist() == [1, 2]
