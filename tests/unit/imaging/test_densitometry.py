"""Density measures against sums done by hand; zones of equal volume."""

import numpy as np
import pytest

from lungtypes.imaging.densitometry import measure_density
from lungtypes.imaging.zones import lung_zones


def test_measures_equal_hand_sums():
    hu = np.array([-980, -960, -940, -900, -850, -800, -500, -300, -100, 0], float).reshape(10, 1, 1)
    lungs = np.ones((10, 1, 1), np.uint8)
    row = measure_density(hu, lungs, voxel_ml=2.0).set_index("region").loc["lungs"]
    assert row.volume_ml == 20 and row.mean_hu == pytest.approx(hu.mean())
    assert row.laa950_percent == 20 and row.laa910_percent == 30 and row.haa_percent == 20
    assert row.mass_g == pytest.approx(2 * (0.02 + 0.04 + 0.06 + 0.1 + 0.15 + 0.2 + 0.5 + 0.7 + 0.9 + 1.0))


def test_empty_side_is_missing_not_zero():
    table = measure_density(np.full((3, 3, 3), -800), np.ones((3, 3, 3), np.uint8), voxel_ml=1.0).set_index("region")
    assert np.isnan(table.loc["left", "mean_hu"]) and table.loc["right", "volume_ml"] == 27


def test_zones_have_equal_volume_with_upper_at_the_head():
    lungs = np.zeros((30, 4, 4), np.uint8)
    lungs[:, :, :2], lungs[6:, :, 2:] = 1, 2
    zones = lung_zones(lungs)
    assert [int((zones[:, :, :2] == z).sum()) for z in (1, 2, 3)] == [80, 80, 80]
    assert zones[-1, 0, 0] == 1 and zones[0, 0, 0] == 3
    assert [int((zones[:, :, 2:] == z).sum()) for z in (1, 2, 3)] == [64, 64, 64]
