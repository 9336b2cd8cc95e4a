"""Dice, volumes and errors of percentages by hand; what is undefined says so."""

import numpy as np
import pandas as pd
import pytest

from lungtypes.evaluation.segmentation import dice_by_kind, overlap, percentage_errors


def test_dice_and_volumes_by_hand():
    found, truth = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    result = overlap(found, truth, voxel_ml=0.5)
    assert (result.dice, result.found_ml, result.truth_ml, result.note) == (pytest.approx(4 / 6), 1.5, 1.5, "")
    assert overlap(found, np.zeros(5, bool), voxel_ml=1).dice == 0
    empty = overlap(np.zeros(5, bool), np.zeros(5, bool), voxel_ml=1)
    assert np.isnan(empty.dice) and empty.note == "no lesion, and none found"
    with pytest.raises(ValueError, match="found shapes"):
        overlap(found, truth[:4], voxel_ml=1)


def test_dice_by_kind_leaves_undefined_ones_out_and_counts_them():
    scores = pd.DataFrame({"kind": ["b", "a", "a", "none", "none"], "dice": [0.2, 0.4, 0.8, np.nan, 0]})
    found = dice_by_kind(scores.assign(truth_ml=[1, 1, 1, 0, 0])).set_index("kind")
    assert found["n"].to_dict() == {"all": 4, "with lesions": 3, "a": 2, "b": 1, "none": 1}
    assert found["undefined"].to_dict() == {"all": 1, "with lesions": 0, "a": 0, "b": 0, "none": 1}
    assert found.loc["a", "mean"] == pytest.approx(0.6) and found.loc["with lesions", "median"] == pytest.approx(0.4)
    assert found.loc["all", "mean"] == pytest.approx(0.35)
    only = dice_by_kind(scores[3:4].assign(truth_ml=0)).set_index("kind")
    assert np.isnan(only.loc["none", "mean"])


def test_errors_of_percentages_by_hand():
    found = percentage_errors(
        np.array([0, 10, 20, 60, np.nan]), np.array([2, 8, 24, 60, 5]), np.array([0, 2, 2, 4, 1])
    ).set_index("grade")
    assert found["n"].to_dict() == {"all": 4, "0": 1, "2": 2, "4": 1}
    assert found.loc["all", "mean_absolute_error"] == 2 and found.loc["all", "bias"] == 1
    assert found.loc["2", "mean_absolute_error"] == 3 and found.loc["2", "bias"] == 1
    assert found.loc["2", "correlation"] == pytest.approx(1) and np.isnan(found.loc["4", "correlation"])
