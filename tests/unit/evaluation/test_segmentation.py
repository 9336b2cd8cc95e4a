"""Dice, volumes and errors of percentages by hand; what is undefined says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.evaluation.segmentation import dice_by_kind, overlap, percentage_errors, percentage_table
from lungtypes.evaluation.segmentation_files import dice_table
from lungtypes.imaging.geometry import write_volume
from lungtypes.imaging.region_files import RegionCohort
from lungtypes.imaging.volumes import CohortGrid

SCHEMAS = Path(__file__).parents[3] / "workflow/schemas/tables"


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


def columns_of(name):
    return list(yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text())["columns"])


def test_errors_stand_by_split_and_by_what_was_given():
    rows = [
        ("A", 10.0, "percent", 13.0, 3.0),
        ("A", 60.0, "percent", 55.0, -5.0),
        ("B", 1.0, "grade", 3.0, 0.0),
        ("B", 2.0, "grade", 29.0, 4.0),
        ("T", 10.0, "percent", 11.0, 1.0),
        ("T", np.nan, np.nan, 50.0, np.nan),
    ]
    table = pd.DataFrame(rows, columns=["subject", "given", "given_kind", "predicted", "error"])
    splits = {"A": "train", "B": "train", "T": "test"}
    found = percentage_table(table, splits, edges=[0, 1, 5, 25, 50, 75, 100])
    assert list(found) == columns_of("percentage_errors")
    by = found.set_index(["split", "given_kind", "grade"])
    assert by["n"].to_dict() == {
        ("test", "percent", "all"): 1,
        ("test", "percent", "2"): 1,
        ("train", "percent", "all"): 2,
        ("train", "percent", "2"): 1,
        ("train", "percent", "4"): 1,
        ("train", "grade", "all"): 2,
        ("train", "grade", "1"): 1,
        ("train", "grade", "2"): 1,
    }
    exact, graded = by.loc[("train", "percent", "all")], by.loc[("train", "grade", "all")]
    assert (exact.mean_absolute_error, exact.bias, exact.correlation) == pytest.approx((4, -1, 1))
    assert (graded.mean_absolute_error, graded.bias) == pytest.approx((2, 2)) and np.isnan(graded.correlation)
    nothing = percentage_table(table.iloc[-1:], splits, edges=[0, 50, 100])
    assert nothing.empty and list(nothing) == columns_of("percentage_errors")


def test_dice_is_of_scans_with_a_mask_alone(tmp_path):
    grid = CohortGrid((4, 4, 4), 10.0, (0.0, 0.0, 0.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    lesions = np.zeros((3, 4, 4, 4), np.uint8)
    lesions[0, :2], lesions[1] = 1, 1
    empty = np.zeros(lesions.shape, np.int16)
    cohort = RegionCohort(
        empty,
        empty.astype(np.uint8),
        lesions,
        (True, False, True),
        tuple("ABC"),
        ("train", "train", "test"),
        (grid,) * 3,
    )
    for subject, top in (("A", 1), ("B", 4), ("C", 0)):
        mask = np.zeros(grid.shape, np.float32)
        mask[:top] = 1
        write_volume(grid.volume(mask), tmp_path / f"{subject}.nii.gz")
    found = dice_table(tmp_path, cohort)
    assert list(found) == columns_of("lesion_dice") and found["subject"].tolist() == ["A", "C"]
    assert found["split"].tolist() == ["train", "test"]
    assert found["dice"].iloc[0] == pytest.approx(2 * 16 / (16 + 32)) and np.isnan(found["dice"].iloc[1])
    assert (found["found_ml"].iloc[0], found["truth_ml"].iloc[0]) == (16.0, 32.0)
    nothing = dice_table(tmp_path, replace(cohort, lesions=None, with_lesions=(False,) * 3))
    assert nothing.empty and list(nothing) == columns_of("lesion_dice")
