"""Running means against NumPy on all maps at once."""

import numpy as np
import pytest

from lungtypes.maps.group_maps import DensityAccumulator, GroupAccumulator, balanced_population

MAPS = np.random.default_rng(1).random((7, 4, 5)).astype(np.float32)


def accumulate(maps):
    group = GroupAccumulator(maps.shape[1:])
    for importance in maps:
        group.add(importance)
    return group


@pytest.mark.parametrize("maps", [MAPS, MAPS.reshape(7, 2, 2, 5)])
def test_running_sums_equal_mean_sd_and_count(maps):
    group = accumulate(maps)
    assert group.n == 7 and group.mean.dtype == np.float32
    assert group.mean == pytest.approx(maps.mean(axis=0), abs=1e-6)
    assert group.sd == pytest.approx(maps.std(axis=0, ddof=1), abs=1e-6)
    assert np.array_equal(group.count_active, (maps > 0.5).sum(axis=0))


def test_half_is_not_above_half():
    assert accumulate(np.full((2, 1), 0.5, np.float32)).count_active.tolist() == [0]


def test_one_map_has_no_sd_and_none_has_no_mean():
    assert np.isnan(accumulate(MAPS[:1]).sd).all() and np.isnan(GroupAccumulator((4, 5)).mean).all()


def test_order_of_the_scans_does_not_matter():
    assert accumulate(MAPS[::-1]).sd == pytest.approx(accumulate(MAPS).sd, abs=1e-6)


def test_balanced_map_weighs_clusters_equally():
    ones, zeros = np.ones((3, 2), np.float32), np.zeros((1, 2), np.float32)
    found = balanced_population([accumulate(ones), accumulate(zeros)])
    assert found.mean == pytest.approx(0.5)
    weights = np.array([1 / 6, 1 / 6, 1 / 6, 1 / 2])  # 1 / (K n_k)
    variance = (weights * 0.25).sum() / (1 - (weights**2).sum())
    assert found.sd == pytest.approx(variance**0.5)


def test_balanced_map_is_the_plain_one_for_clusters_of_one_size():
    found = balanced_population([accumulate(MAPS[:3]), accumulate(MAPS[3:6]), GroupAccumulator((4, 5))])
    assert found.mean == pytest.approx(MAPS[:6].mean(axis=0), abs=1e-6)
    assert found.sd == pytest.approx(MAPS[:6].std(axis=0, ddof=1), abs=1e-6)


def test_balanced_map_of_one_scan_has_no_sd():
    assert np.isnan(balanced_population([accumulate(MAPS[:1])]).sd).all()


def test_mean_ct_leaves_the_outside_out():
    group = DensityAccumulator((2,), outside=-2000)
    for scan in ([-800, -2000], [-701, -2000]):
        group.add(np.array(scan, np.int16))
    assert group.mean.tolist() == [-750.5, -1024] and group.count.tolist() == [2, 0]


def test_mean_ct_of_many_scans_does_not_overflow():
    group = DensityAccumulator((1,), outside=-2000)
    for _ in range(100):
        group.add(np.array([-1000], np.int16))
    assert group.mean.tolist() == [-1000]
