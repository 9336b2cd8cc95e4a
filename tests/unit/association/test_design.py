"""Design matrices: levels, collapsing, rank."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.association.design import build_design, rank_culprits
from lungtypes.errors import InputError


def test_numbers_stay_and_text_becomes_dummies_against_the_commonest_level():
    table = pd.DataFrame({"age": [50.0, 60, 70, 80], "sex": ["f", "m", "f", "f"]})
    design = build_design(table, columns=["age", "sex"], min_group=1)
    assert design.names == ("intercept", "age", "sex=m")
    np.testing.assert_array_equal(design.matrix, [[1, 50, 0], [1, 60, 1], [1, 70, 0], [1, 80, 0]])


def test_small_levels_collapse_until_other_is_large_enough():
    table = pd.DataFrame({"scanner": ["a"] * 10 + ["b"] * 6 + ["c"] * 5 + ["d"]})
    design = build_design(table, columns=["scanner"], min_group=5)
    assert design.names == ("intercept", "scanner=b", "scanner=other")
    assert design.matrix[:, 2].sum() == 6
    assert design.notes == ("scanner: c, d collapsed into 'other'",)


def test_constant_columns_are_left_out_with_a_note():
    table = pd.DataFrame({"dose": [1.0, 1, 1], "site": ["x"] * 3})
    design = build_design(table, columns=["dose", "site"], min_group=1)
    assert design.names == ("intercept",)
    assert design.notes == ("dose: constant, left out", "site: one level, left out")


def test_rank_check_names_the_column_that_adds_nothing():
    rng = np.random.default_rng(0)
    year = rng.integers(2018, 2023, 30).astype(float)
    height_cm = rng.normal(170, 9, 30)
    matrix = np.column_stack([np.ones(30), year, height_cm, height_cm / 2.54])
    assert rank_culprits(matrix, ["intercept", "year", "height_cm", "height_in"]) == ("height_in",)
    assert rank_culprits(matrix[:, :3], ["intercept", "year", "height_cm"]) == ()


def test_unknown_and_incomplete_columns_are_refused_and_nothing_is_evaluated():
    table = pd.DataFrame({"age": [1.0, None]})
    with pytest.raises(InputError, match="__import__"):
        build_design(table, columns=["__import__('os').getcwd()"], min_group=1)
    with pytest.raises(InputError, match="column age: found 1 missing"):
        build_design(table, columns=["age"], min_group=1)
