"""The common space: planted density found on few components, test scans without influence, borders ignored."""

import numpy as np
import pytest

from lungtypes.errors import InputError
from lungtypes.evaluation.common_space import common_space

OUTSIDE = -2000


def cohort(n=30, size=24, seed=0):
    """Lungs in a ball; half of the scans are 100 HU denser in the upper half; noise of 20 HU."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((size,) * 3) - size / 2
    lung = z**2 + y**2 + x**2 < (size / 2.2) ** 2
    dense = np.arange(n) % 2
    hu = rng.normal(-850, 20, (n, size, size, size)) + 100 * dense[:, None, None, None] * (z < 0)
    return np.where(lung, hu, OUTSIDE).astype(np.int16), [f"S{i}" for i in range(n)], dense


def test_planted_density_is_the_first_component_in_hu():
    hu, subjects, dense = cohort()
    table = common_space(hu, subjects, train=np.arange(30), outside=OUTSIDE)
    assert table["subject"].tolist() == subjects and list(table)[1:] == [f"c_{i + 1}" for i in range(10)]
    first = table["c_1"].to_numpy()
    gap = first[dense == 1].min() - first[dense == 0].max()
    assert gap > 5 * first[dense == 1].std()  # groups far apart
    assert table["c_2"].std() < first.std() / 10


def test_a_test_scan_changes_no_other_row():
    hu, subjects, _ = cohort()
    train = np.arange(20)
    with_all = common_space(hu, subjects, train=train, outside=OUTSIDE)
    changed = hu.copy()
    changed[25][changed[25] != OUTSIDE] = 0
    again = common_space(changed, subjects, train=train, outside=OUTSIDE)
    others = with_all["subject"] != "S25"
    np.testing.assert_array_equal(with_all[others].iloc[:, 1:], again[others].iloc[:, 1:])
    assert not np.allclose(with_all.loc[25, "c_1"], again.loc[25, "c_1"])


def test_a_scan_that_lacks_lung_in_a_block_gets_the_training_mean_there():
    hu, subjects, _ = cohort()
    hu[3, :, :, :12] = OUTSIDE  # one lung missing
    table = common_space(hu, subjects, train=np.arange(30), outside=OUTSIDE)
    assert np.isfinite(table.iloc[:, 1:].to_numpy()).all()


def test_too_few_scans():
    hu, subjects, _ = cohort(n=4)
    with pytest.raises(InputError, match="found 2 training scans"):
        common_space(hu, subjects, train=np.arange(2), outside=OUTSIDE)
