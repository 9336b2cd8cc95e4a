"""Density measures against sums done by hand and against scipy; zones, core and rim of known volume."""

import numpy as np
import pytest
from scipy import stats

from lungtypes.errors import GeometryError
from lungtypes.imaging.densitometry import COLUMNS, measure_density
from lungtypes.imaging.zones import lung_shells, lung_zones

ONE_ML = (10.0, 10.0, 10.0)


def test_measures_equal_hand_sums():
    hu = np.array([-1010, -960, -940, -900, -850, -800, -500, -300, -100, 20], float).reshape(10, 1, 1)
    lungs = np.ones((10, 1, 1), np.uint8)
    row = measure_density(hu, lungs, spacing_mm=(20.0, 10.0, 10.0)).set_index("region").loc["lungs"]
    assert row.volume_ml == 20 and row.mean_hu == pytest.approx(hu.mean()) and row.median_hu == -825
    assert row.laa950_percent == 20 and row.laa910_percent == 30 and row.laa856_percent == 40 and row.haa_percent == 20
    assert row.mass_g == pytest.approx(2 * (0.0 + 0.04 + 0.06 + 0.1 + 0.15 + 0.2 + 0.5 + 0.7 + 0.9 + 1.02))
    assert row.air_ml == pytest.approx(2 * (1.0 + 0.96 + 0.94 + 0.9 + 0.85 + 0.8 + 0.5 + 0.3 + 0.1 + 0.0))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_moments_and_percentiles_equal_those_of_numpy_and_scipy(dtype):
    hu = np.random.default_rng(3).normal(-820, 130, (9, 10, 11)).round().astype(dtype)
    row = measure_density(hu, np.ones(hu.shape, np.uint8), spacing_mm=ONE_ML).set_index("region").loc["lungs"]
    values = hu.astype(float).ravel()
    expected = [np.percentile(values, 15), np.median(values), values.std(), stats.skew(values), stats.kurtosis(values)]
    assert row[["perc15_hu", "median_hu", "sd_hu", "skewness", "kurtosis"]].tolist() == pytest.approx(expected)


def test_empty_side_is_missing_not_zero_and_one_value_has_no_shape():
    table = measure_density(np.full((3, 3, 3), -800), np.ones((3, 3, 3), np.uint8), spacing_mm=ONE_ML)
    table = table.set_index("region")
    assert table.loc["left"].isna().all() and table.loc["right", "volume_ml"] == pytest.approx(27)
    assert table.loc["right", "sd_hu"] == 0 and np.isnan(table.loc["right", "kurtosis"])


def test_regions_add_up_to_the_lungs():
    lungs = np.zeros((20, 12, 24), np.uint8)
    lungs[2:18, 1:11, 1:11], lungs[5:18, 1:11, 13:23] = 1, 2
    table = measure_density(np.full(lungs.shape, -850), lungs, spacing_mm=ONE_ML).set_index("region")
    assert tuple(table.reset_index().columns) == COLUMNS
    for parts in (["right", "left"], ["upper", "middle", "lower"], ["core", "rim"]):
        assert table.volume_ml[parts].sum() == pytest.approx(table.volume_ml["lungs"])


def test_masks_of_another_grid_are_refused():
    with pytest.raises(GeometryError, match="expected the same grid"):
        measure_density(np.zeros((3, 3, 3)), np.ones((3, 3, 4), np.uint8), spacing_mm=ONE_ML)


def test_zones_have_equal_volume_with_upper_at_the_head():
    lungs = np.zeros((30, 4, 4), np.uint8)
    lungs[:, :, :2], lungs[6:, :, 2:] = 1, 2
    zones = lung_zones(lungs)
    assert [int((zones[:, :, :2] == z).sum()) for z in (1, 2, 3)] == [80, 80, 80]
    assert zones[-1, 0, 0] == 1 and zones[0, 0, 0] == 3
    assert [int((zones[:, :, 2:] == z).sum()) for z in (1, 2, 3)] == [64, 64, 64]


@pytest.mark.parametrize(("spacing_mm", "radius"), [((2.0, 2.0, 2.0), 20), ((0.5, 1.0, 2.0), 14)])
def test_core_of_a_ball_is_the_inner_ball_of_half_its_volume(spacing_mm, radius):
    radius_mm = radius * 2.0
    axes = [np.arange(-radius_mm - 2, radius_mm + 2.1, s) for s in spacing_mm]
    away = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
    shells = lung_shells((away < radius_mm).astype(np.uint8), spacing_mm)
    assert (shells == 1).sum() == pytest.approx(0.5 * (shells > 0).sum(), rel=0.1)
    half = radius_mm * 0.5 ** (1 / 3)
    assert (shells[away < half - 3] == 1).all() and (shells[(away > half + 3) & (away < radius_mm)] == 2).all()


def test_each_lung_has_a_core_of_its_own():
    lungs = np.zeros((22, 22, 40), np.uint8)
    lungs[1:21, 1:21, 1:21], lungs[6:16, 6:16, 25:35] = 1, 2
    shells = lung_shells(lungs, (1.0, 1.0, 1.0))
    assert shells[11, 11, 11] == shells[11, 11, 30] == 1 and shells[1, 11, 11] == shells[6, 11, 30] == 2
