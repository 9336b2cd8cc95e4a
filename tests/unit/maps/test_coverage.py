"""What a map covers, on eight voxels whose sums can be done by hand."""

import numpy as np
import pytest

from lungtypes.maps.coverage import describe_map, describe_regions

OUTSIDE = -2000
IMPORTANCE = np.array([[[0.9, 0.6], [0.1, 0.2]], [[0.7, 0.0], [0.0, 0.0]]], np.float32)  # 1.8 inside, 0.7 outside
LUNGS = np.array([[[1, 1], [1, 1]], [[0, 0], [0, 0]]], bool)
HU = np.where(LUNGS, [[[-700, -500], [-900, -800]], [[0, 0], [0, 0]]], OUTSIDE).astype(np.int16)
RIGHT = LUNGS & (np.arange(2) == 0)
REGIONS = {"lungs": LUNGS, "right": RIGHT, "left": LUNGS & ~RIGHT, "none": np.zeros_like(LUNGS)}


def test_summary_counts_the_lungs_only():
    row = describe_map(IMPORTANCE, HU, REGIONS, voxel_ml=3.0)
    assert row == {
        "active_ml": 6.0,
        "active_percent": 50.0,
        "active_mean_hu": -600.0,
        "inactive_mean_hu": -850.0,
        "active_mean_importance": pytest.approx(0.75),
        "inactive_mean_importance": pytest.approx(0.15),
        "mean_importance": pytest.approx(0.45),
        "inside_share": pytest.approx(1.8 / 2.5),
    }


def test_regions_have_their_own_volumes_and_shares():
    right, left, none = describe_regions(IMPORTANCE, HU, REGIONS, voxel_ml=3.0)
    assert (right["region"], right["region_ml"], right["active_ml"]) == ("right", 6.0, 3.0)
    assert (right["active_mean_hu"], right["inactive_mean_hu"]) == (-700.0, -900.0)
    assert right["mean_importance"] == pytest.approx(0.5)
    assert (right["share"], left["share"]) == (pytest.approx(1 / 1.8), pytest.approx(0.8 / 1.8))
    assert none["region_ml"] == none["active_ml"] == 0
    assert all(np.isnan(none[name]) for name in ("active_mean_hu", "inactive_mean_hu", "mean_importance", "share"))


def test_density_of_no_voxel_is_undefined_and_not_zero():
    weak = describe_map(IMPORTANCE * 0.5, HU, REGIONS, voxel_ml=3.0)
    assert weak["active_ml"] == 0 and weak["active_percent"] == 0
    assert np.isnan(weak["active_mean_hu"]) and np.isnan(weak["active_mean_importance"])
    strong = describe_map(np.ones_like(IMPORTANCE), HU, REGIONS, voxel_ml=3.0)
    assert np.isnan(strong["inactive_mean_hu"]) and np.isnan(strong["inactive_mean_importance"])


def test_map_of_zeros_describes_nothing():
    zeros = np.zeros_like(IMPORTANCE)
    assert all(np.isnan(value) for value in describe_map(zeros, HU, REGIONS, voxel_ml=3.0).values())
    rows = describe_regions(zeros, HU, REGIONS, voxel_ml=3.0)
    assert rows[0]["region_ml"] == 6.0 and np.isnan(rows[0]["active_ml"]) and np.isnan(rows[0]["share"])


def test_works_in_two_dimensions_and_without_lungs():
    empty = {"lungs": np.zeros((2, 2), bool)}
    row = describe_map(IMPORTANCE[0], HU[0], {"lungs": LUNGS[0]}, voxel_ml=1.0)
    assert row["active_ml"] == 2 and row["inside_share"] == pytest.approx(1.0)
    assert np.isnan(describe_map(IMPORTANCE[0], HU[0], empty, voxel_ml=1.0)["active_percent"])
